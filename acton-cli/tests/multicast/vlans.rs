//! Groups in VLANs that clients' policies name: what is tagged at the root has no tag at the clients.

use super::support::Site;
use super::*;

/// Which of these clients get data for a group that the LAN sends in a VLAN, without its tag.
fn who_gets_in(vlan: u8, root: &Wire, wires: &[Wire], number: u8) -> Vec<usize> {
    let sent = data(GROUP.into(), number);
    root.send(&tagged(sent.clone(), vlan));
    let last = frame(MacAddr::broadcast(), SERVER_MAC, TEST_ETHERTYPE, &[number; 50]);
    for vlan in [100, 200] {
        root.send(&tagged(last.clone(), vlan));
    }
    let got = |wire: &Wire| wire.receive_until(&last).contains(&sent);
    wires.iter().enumerate().filter(|(_, wire)| got(wire)).map(|(index, _)| index).collect()
}

pub(super) fn groups_in_a_vlan_go_to_its_clients_who_asked() {
    let site = Site::new("", &["vlan = 100", "vlan = 100", "vlan = 200", "vlan = 200"]);
    let world = &site.world;
    let server = world.serve(&SNOOPING);
    let _clients = site.join_all();
    let (root, wires) = (world.server_wire(), site.client_wires());
    // Their kernels know of no tag.
    let hosts = [0, 2].map(|i| join(&world.clients[usize::from(i)], i, GROUP.into()));
    let gets = |vlan, number| who_gets_in(vlan, &root, &wires, number);
    assert_eq!((gets(100, 1), gets(200, 2)), (vec![0, 1], vec![2, 3]), "nobody asks");
    root.send(&tagged(query(SERVER_MAC, 125), 100));
    // Both said so when they began to want it, each in its VLAN.
    until_members(&server, GROUP, 2);
    until_settled(&server, 1);
    assert_eq!((gets(100, 3), gets(200, 4)), (vec![0], vec![2, 3]), "VLAN 200 has no querier");
    let groups = json(&server, &["groups"])["groups"].clone();
    let of = |vlan: u8| {
        let is_it = |it: &&Value| it["vlan"] == vlan && it["group"] == GROUP.to_string().as_str();
        let found = groups.as_array().unwrap().iter().find(is_it).unwrap();
        found["at"]["session"]["client"].as_str().unwrap()
    };
    assert_eq!((of(100), of(200)), ("site-0", "site-2"));
    root.send(&tagged(query(SERVER_MAC, 125), 200));
    until_settled(&server, 2);
    assert_eq!((gets(100, 5), gets(200, 6)), (vec![0], vec![2]));
    // The hosts have it themselves.
    hosts[0].set_read_timeout(Some(support::HANG)).unwrap();
    hosts[0].recv(&mut [0; 9]).unwrap();
    // Whose kernel knows nothing of a new session is asked without a tag, and answers.
    told(&server, &["kick", "site-0"]);
    server.wait_for_nth(" up: ", 5);
    until_members(&server, GROUP, 2);
    until_settled(&server, 2);
    assert_eq!((gets(100, 7), gets(200, 8)), (vec![0], vec![2]));
    // Who leaves in one VLAN leaves the other alone.
    let [first, _second] = hosts;
    drop(first);
    until_members(&server, GROUP, 1);
    assert_eq!((gets(100, 9), gets(200, 10)), (vec![], vec![2]));
    // A client asks no other.
    wires[2].send(&query(client_mac(2), 125));
    until(&server, "its query is dropped", |session| {
        session.name == "site-2" && session.traffic.drops.get("guard_query") == Some(&1)
    });
}
