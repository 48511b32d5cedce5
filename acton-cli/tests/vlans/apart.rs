//! What clients cannot do to the VLANs of others.

use super::*;

/// Without probes, and with one worker, so that frames keep their order.
const ALONE: [&str; 3] = ["--no-loop-guard", "--workers", "1"];

/// VLAN 1000, which a trunk has, is the outer one of another client's pair, too.
pub(super) fn a_trunk_has_no_pair_of_another_s() {
    let policies = ["vlans = [1000]", "vlan = \"1000.17\"\ntpid = 0x8100", ""];
    let site = Site::new("", &policies);
    let server = site.world.serve(&ALONE);
    let _trunks = [site.join(0), site.join(2)];
    let (root, wires) = (site.world.server_wire(), [0, 2].map(|i| site.world.client_wire(i)));
    let all = MacAddr::broadcast();
    let (pair, free) = ([(C_TAG, 1_000), (C_TAG, 17)], [(C_TAG, 1_000), (C_TAG, 18)]);
    let is_kept = |server: &Acton, root: &Wire, number: u8| {
        let before = counter(&counters(server), "drop.vlan");
        for to in [all, HOST] {
            wires[0].send(&tagged(&pair, &numbered(to, client_mac(0), number)));
            root.send(&tagged(&pair, &numbered(to, mac(0x60), number)));
        }
        let last = tagged(&free, &numbered(all, client_mac(0), number));
        wires[0].send(&last);
        assert_eq!(heard_before(root, &last), Vec::<Vec<u8>>::new());
        let last = tagged(&free, &numbered(all, mac(0x60), number));
        root.send(&last);
        for wire in &wires {
            assert_eq!(heard_before(wire, &last), Vec::<Vec<u8>>::new());
        }
        counter(&counters(server), "drop.vlan") - before
    };
    // Neither before its client is here, nor while it is, nor afterwards.
    // What the trunk's host says of its own, without a tag, is dropped, too.
    assert!(is_kept(&server, &root, 1) >= 4);
    server.wait_for("counted as vlan");
    let owner = site.join(1);
    let wire = site.world.client_wire(1);
    assert!(is_kept(&server, &root, 2) >= 2, "the owner gets what the root sent");
    let frame = numbered(all, mac(0x60), 2);
    assert_eq!(heard_before(&wire, &frame), Vec::<Vec<u8>>::new());
    drop(wire);
    owner.stop();
    wait_until("it is gone", || support::session_names(&server).len() == 2);
    assert!(is_kept(&server, &root, 3) >= 4);
    // Nor where the list gives it to nobody any more: then it is of VLAN 1000 as any.
    site.change("vlan = \"1000.17\"", "vlan = \"1000.19\"");
    wait_until("the list is another", || {
        let last = tagged(&pair, &numbered(all, client_mac(0), 4));
        wires[0].send(&last);
        root.receive(Duration::from_millis(300)).is_some_and(|frame| frame == last)
    });
}

/// Another client says in the outer VLAN that it has the MAC that a host behind a pair speaks to.
pub(super) fn nobody_draws_the_frames_of_a_pair() {
    let site = Site::new("", &["vlan = \"1000.17\"\ntpid = 0x8100", "", "vlan = 1000"]);
    let server = site.world.serve(&[&ALONE[..], &["--budget", "unknown=1/1"]].concat());
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let (all, far) = (MacAddr::broadcast(), mac(0x61));
    let claim = numbered(all, far, 1);
    wires[1].send(&tagged(&[(C_TAG, 1_000)], &claim));
    root.receive_until(&tagged(&[(C_TAG, 1_000)], &claim));
    for number in 0..50 {
        let frame = numbered(far, client_mac(0), number);
        wires[0].send(&frame);
        root.receive_until(&tagged(&[(C_TAG, 1_000), (C_TAG, 17)], &frame));
    }
    // The one in VLAN 1000 has a LAN in common with it, so there it stays apart from it.
    let own = numbered(far, client_mac(2), 60);
    wires[2].send(&own);
    wait_until("it is dropped", || counter(&counters(&server), "drop.leaf_to_leaf") == 1);
}

/// A storm in one VLAN uses up the budget of that one.
pub(super) fn a_storm_in_a_vlan_leaves_others_their_budget() {
    let site = Site::new("", &["vlan = 100", "vlan = 200"]);
    let server = site.world.serve(&[&ALONE[..], &["--budget", "root:broadcast=1/20"]].concat());
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let all = MacAddr::broadcast();
    for number in 0..200 {
        root.send(&tagged(&[(C_TAG, 100)], &numbered(all, HOST, number)));
    }
    wait_until("the budget acts", || counter(&counters(&server), "drop.budget_broadcast") > 100);
    for number in 0..10 {
        let frame = numbered(all, HOST, number);
        root.send(&tagged(&[(C_TAG, 200)], &frame));
        wires[1].receive_until(&frame);
    }
    let text = told(&server, &["status"]);
    assert!(text.contains("broadcast"), "{text}");
}

/// What a trunk gets of all VLANs is one budget; `trace` says what it misses, and who gets it still.
pub(super) fn a_trunk_misses_what_others_get() {
    let site = Site::new("", &["vlan = 100", "vlan = 200", ""]);
    let server = site.world.serve(&[&ALONE[..], &["--budget", "root:broadcast=1/20"]].concat());
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let all = MacAddr::broadcast();
    let said = |vlan: u16| {
        let (host, vlan) = (HOST.to_string(), vlan.to_string());
        let said = said_by(control(&server), &["trace", &host, &all.to_string(), "--vlan", &vlan]);
        // Long lines are broken.
        said.out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let misses = "broadcast for sessions in more than 64 VLANs, or in all: 0 of 20 left";
    assert!(said(200).contains("forward to all 2 sessions"), "{}", said(200));
    // What comes meanwhile is used up again.
    wait_until("the trunk had what there is for it", || {
        for number in 0..100 {
            root.send(&tagged(&[(C_TAG, 100)], &numbered(all, HOST, number)));
        }
        // All of them were looked at before that.
        let last = numbered(mac(0x50), HOST, 0);
        root.send(&tagged(&[(C_TAG, 100)], &last));
        wires[0].receive_until(&last);
        let [with_another, alone] = [200, 300].map(said);
        with_another.contains(misses)
            && with_another.contains("1 session misses it")
            && with_another.contains("forward to the one session")
            && alone.contains(misses)
            && alone.contains("drop (budget_broadcast)")
    });
    let frame = numbered(all, HOST, 0xee);
    root.send(&tagged(&[(C_TAG, 200)], &frame));
    wires[1].receive_until(&frame);
}

/// Two clients have one IP address, each in its VLAN: each is asked there and nowhere else.
pub(super) fn one_address_in_two_vlans() {
    let site = Site::new("ips = [\"10.9.0.40\", \"10.9.0.0/24\"]", &["vlan = 100", "vlan = 200"]);
    let _server = site.world.serve(&ALONE);
    let _clients = site.join_all();
    let (root, wires) = (site.world.server_wire(), site.client_wires());
    let all = MacAddr::broadcast();
    let arp = |from: MacAddr, sender: [u8; 4]| {
        let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1];
        message.extend([&from.octets()[..], &sender, &[0; 6], &[10, 9, 0, 40], &[0; 18]].concat());
        frame(all, from, 0x0806, &message)
    };
    let vlans = [100, 200];
    for (i, vlan) in vlans.into_iter().enumerate() {
        let tells = arp(client_mac(i as u8), [10, 9, 0, 40]);
        wires[i].send(&tells);
        root.receive_until(&tagged(&[(C_TAG, vlan)], &tells));
    }
    for (i, vlan) in vlans.into_iter().enumerate() {
        let asks = arp(mac(0x70 + i as u8), [10, 9, 0, 0x70 + i as u8]);
        root.send(&tagged(&[(C_TAG, vlan)], &asks));
        wires[i].receive_until(&asks);
        let last = numbered(all, HOST, i as u8);
        root.send(&tagged(&[(C_TAG, vlans[1 - i])], &last));
        assert!(!wires[1 - i].receive_until(&last).contains(&asks));
    }
}

/// A client in a VLAN has what a DHCP server of that gave it, and no other address. The server is a client of
/// another acton server's on the same bridge, so that what is said crosses that with a tag.
pub(super) fn an_address_that_was_given_in_a_vlan() {
    let pair =
        Pair::new(&["vlan = 100\nips = \"learn\""], &["vlan = 100\ntrusted = true\nips = \"any\""]);
    let world = &pair.site.world;
    let _clients = [pair.join(0, 0), pair.join(1, 1)];
    let file = |name: &str| world.keys.path(name).to_str().unwrap().to_owned();
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null"]);
    command.args(["--user=root", "--port=0", "--no-ping", "--dhcp-authoritative"]);
    command.args(["--interface=client", "--dhcp-range=10.9.0.100,10.9.0.200,1h"]);
    command.arg(format!("--pid-file={}", file("pid")));
    command.arg(format!("--dhcp-leasefile={}", file("dhcp-leases")));
    let dhcp = Acton::spawn("dnsmasq", &world.clients[1], &mut command);
    dhcp.wait_for("DHCP, IP range");
    let script = file("bound");
    fs::write(&script, "#!/bin/sh\n[ \"$1\" != bound ] || ip address add $ip/24 dev $interface\n")
        .unwrap();
    let host = &world.clients[0];
    shell(host, &format!("chmod +x {script}; ip -4 address flush dev client"));
    wait_until("it has a lease", || {
        let ask = format!("udhcpc -f -q -n -t 5 -T 1 -i client -s {script} 2>&1 || true");
        shell(host, &ask).contains("lease of ")
    });
    let [first, _] = &pair.servers;
    let session = until(first, "the lease is known", |session| {
        session.policy.as_ref().is_some_and(|policy| !policy.leases.is_empty())
    });
    let lease = session.policy.unwrap().leases.remove(0);
    assert_eq!(lease.vlan, 100, "{lease:?}");
    ping_until_answered(host, support::leaf(1)[0]);
    // It is kept as one of that VLAN's.
    let kept = world.keys.path("server").join("leases");
    wait_until("the lease is on the disk", || {
        let line = format!(" 100 {} ", lease.address);
        fs::read_to_string(&kept).is_ok_and(|text| text.contains(&line))
    });
    // Another address is not its own.
    shell(host, "ip address flush dev client; ip address add 10.9.0.77/24 dev client");
    assert!(!answers(host, support::leaf(1)[0]));
    until(first, "it is counted", |session| {
        session.traffic.drops.get("source_ip").is_some_and(|drops| *drops > 0)
    });
}
