//! The guards and policies as tools of every day meet them, from both sides: a router by radvd, questions by
//! arping, ndisc6 and rdisc6, a concentrator of PPPoE. What no tool sends is tried by `contrib/guards/trial`.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;
use std::thread;
use std::time::Duration;

use acton_engine::{LearntFrom, LeaseReport, SessionStatus};
use acton_netns::Namespace;
use nix::sys::signal::Signal;
use support::ask::{sessions, told, until};
use support::{
    Acton, ROOT_V4, ROOT_V6, SERVER_MAC, Site, TEST_ETHERTYPE, Wire, client_mac, frame, leaf, mac,
    ping_until_answered, shell, wait_until,
};

fn main() {
    let test = |name, needs, body| testbed::Test { name, needs, body };
    testbed::run(&[
        test(
            "a_router_behind_a_client_is_one_if_it_is_trusted",
            &["radvd", "rdisc6"],
            a_router_behind_a_client_is_one_if_it_is_trusted,
        ),
        test(
            "a_client_follows_a_router_that_renumbers",
            &["radvd", "rdisc6"],
            a_client_follows_a_router_that_renumbers,
        ),
        test("arp_is_asked_from_both_sides", &["arping"], arp_is_asked_from_both_sides),
        test(
            "neighbours_are_asked_for_from_both_sides",
            &["ndisc6"],
            neighbours_are_asked_for_from_both_sides,
        ),
        test(
            "a_concentrator_behind_a_client_is_heard_where_its_kind_is_allowed",
            &["pppoe-server", "pppoe-discovery"],
            a_concentrator_behind_a_client_is_heard_where_its_kind_is_allowed,
        ),
    ])
}

/// How many frames of a client were dropped for a reason.
fn drops(server: &Acton, i: u8, reason: &str) -> u64 {
    let name = format!("site-{i}");
    let session = sessions(server).into_iter().find(|session| session.name == name).unwrap();
    session.traffic.drops.get(reason).copied().unwrap_or_default()
}

/// What a command says, whatever it comes to.
fn says(namespace: &Namespace, command: &str) -> String {
    shell(namespace, &format!("{command} 2>&1 || true"))
}

/// A router on a device, by radvd.
struct Router {
    process: Acton,
    file: String,
    device: &'static str,
}

impl Router {
    fn start(site: &Site, namespace: &Namespace, device: &'static str, prefixes: &str) -> Self {
        let path = |name: &str| site.world.keys.path(name).display().to_string();
        let file = path("radvd.conf");
        fs::write(&file, configuration(device, prefixes)).unwrap();
        let mut command = Command::new("radvd");
        command.args(["--nodaemon", "--logmethod", "stderr", "--debug", "1"]);
        command.args(["--config", &file, "--pidfile", &path("radvd.pid")]);
        Self { process: Acton::spawn("radvd", namespace, &mut command), file, device }
    }

    /// Has it advertise other prefixes from now on.
    fn advertise(&self, prefixes: &str) {
        fs::write(&self.file, configuration(self.device, prefixes)).unwrap();
        self.process.signal(Signal::SIGHUP);
    }
}

fn configuration(device: &str, prefixes: &str) -> String {
    format!(
        "interface {device} {{ AdvSendAdvert on; IgnoreIfMissing off; MinRtrAdvInterval 3; \
         MaxRtrAdvInterval 4; {prefixes} }};\n"
    )
}

/// A prefix in such a file, with its lifetimes in seconds.
fn prefix(prefix: &str, valid: u32, preferred: u32) -> String {
    format!(
        "prefix {prefix} {{ AdvOnLink on; AdvAutonomous on; AdvValidLifetime {valid}; \
         AdvPreferredLifetime {preferred}; }};"
    )
}

/// Has the kernel of a host take what routers advertise, forwarding or not.
fn accept_routers(namespace: &Namespace, device: &str) {
    shell(namespace, &format!("echo 2 >/proc/sys/net/ipv6/conf/{device}/accept_ra"));
}

/// The addresses that a kernel made itself, no more probed for.
fn made(namespace: &Namespace, device: &str) -> Vec<Ipv6Addr> {
    let command = format!("ip -6 -o address show dev {device} scope global dynamic -tentative");
    let said = shell(namespace, &command);
    said.split_whitespace().filter_map(|word| word.strip_suffix("/64")?.parse().ok()).collect()
}

fn made_in(namespace: &Namespace, start: &str) -> Option<Ipv6Addr> {
    made(namespace, "client").into_iter().find(|address| address.to_string().starts_with(start))
}

fn a_router_behind_a_client_is_one_if_it_is_trusted() {
    let site = Site::new("", &["trusted = false", ""]);
    let world = &site.world;
    let server = world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    ping_until_answered(&world.clients[0], ROOT_V6);
    accept_routers(&world.server, "server");
    accept_routers(&world.clients[1], "client");
    let bad = prefix("2001:db8:bad::/64", 3_600, 1_800);
    let router = Router::start(&site, &world.clients[0], "client", &bad);
    wait_until("its advertisements are dropped", || drops(&server, 0, "guard_ra") >= 2);
    // An answer to who asks is an advertisement too: the only one that it sends now.
    router.advertise(&format!("UnicastOnly on; {bad}"));
    router.process.wait_for("resuming normal operation");
    let asks = || says(&world.server, "rdisc6 -n -1 -r 2 -w 1000 server");
    let before = drops(&server, 0, "guard_ra");
    let said = asks();
    assert!(said.contains("No response") && !said.contains("2001:db8:bad"), "{said}");
    wait_until("its answers are dropped", || drops(&server, 0, "guard_ra") > before);
    assert!(made(&world.server, "server").is_empty(), "{}", router.process.log());
    let routes = "ip -6 route show proto ra";
    assert_eq!(shell(&world.server, routes), "");
    // Its owner has the server's list say that it may.
    router.advertise(&bad);
    site.change("trusted = false", "trusted = true");
    wait_until("who asks is answered", || asks().contains("2001:db8:bad::/64"));
    wait_until("the root goes by it", || shell(&world.server, routes).contains("default"));
    // The other client is still beyond it.
    assert!(made(&world.clients[1], "client").is_empty());
    assert_eq!(shell(&world.clients[1], routes), "");
}

/// What a client holds of a prefix, by how it begins.
fn held(session: &SessionStatus, start: &str) -> Option<LeaseReport> {
    let leases = &session.policy.as_ref()?.leases;
    leases.iter().find(|lease| lease.address.to_string().starts_with(start)).cloned()
}

fn a_client_follows_a_router_that_renumbers() {
    let site = Site::new("ips = \"learn\"", &[""]);
    let world = &site.world;
    let server = world.serve(&["--no-loop-guard"]);
    let client = &world.clients[0];
    // Long ones too: RFC 4862, section 5.5.3, leaves two hours of them.
    let (long, short) = ("2001:db8:a:", "2001:db8:b:");
    let first = prefix("2001:db8:a::/64", 86_400, 14_400) + &prefix("2001:db8:b::/64", 12, 11);
    let router = Router::start(&site, &world.server, "server", &first);
    let join = Acton::start(
        "client 0",
        client,
        &[
            "client",
            &site.invites[0],
            "--state",
            &world.keys.client_state(0),
            "-m",
            &client_mac(0).to_string(),
        ],
    );
    join.wait_for(support::said::CONNECTED);
    accept_routers(client, "client");
    wait_until("the client hears the router", || {
        says(client, "rdisc6 -n -1 -r 1 -w 1000 client").contains("2001:db8:b::/64")
    });
    shell(
        &world.server,
        "for it in a b c; do ip -6 address add 2001:db8:$it::1/64 dev server nodad; done",
    );
    wait_until("it has made an address in each", || {
        [long, short].iter().all(|start| made_in(client, start).is_some())
    });
    let [old, gone] = [long, short].map(|start| made_in(client, start).unwrap());
    let ping = |from: Ipv6Addr, to: &str| {
        says(client, &format!("ping -n -c 1 -W 1 -I {from} {to}")).contains(" 0% packet loss")
    };
    wait_until("both may be used", || ping(old, "2001:db8:a::1") && ping(gone, "2001:db8:b::1"));
    let session = until(&server, "both are known", |session| {
        held(session, long).is_some() && held(session, short).is_some()
    });
    for (start, left) in [(long, 86_370..=86_400), (short, 0..=12)] {
        let lease = held(&session, start).unwrap();
        assert_eq!(lease.from, LearntFrom::Slaac);
        assert!(left.contains(&lease.left.as_secs()), "{lease:?}");
    }
    // Another prefix in place of these. Each address is the client's for as long as its kernel has it.
    let third = prefix("2001:db8:a::/64", 0, 0) + &prefix("2001:db8:c::/64", 3_600, 1_800);
    router.advertise(&third);
    wait_until("it has made an address in the new one", || {
        made_in(client, "2001:db8:c:").is_some_and(|new| ping(new, "2001:db8:c::1"))
    });
    until(&server, "two hours are left of the long one", |session| {
        held(session, long).is_some_and(|lease| lease.left <= Duration::from_secs(7_200))
    });
    let said = shell(client, "ip -6 -o address show dev client deprecated");
    assert!(said.contains(&old.to_string()), "{said}");
    wait_until("what is deprecated may be used", || ping(old, "2001:db8:a::1"));
    wait_until("the short one is over", || {
        let is_held = sessions(&server).iter().any(|session| held(session, short).is_some());
        !is_held && !made(client, "client").contains(&gone)
    });
    // Its owner takes it by hand: it is not the client's any more.
    shell(client, &format!("ip -6 address add {gone}/64 dev client nodad"));
    let before = drops(&server, 0, "source_ip");
    assert!(!ping(gone, "2001:db8:b::1"));
    assert!(drops(&server, 0, "source_ip") > before);
    wait_until("the long one may still be used", || ping(old, "2001:db8:a::1"));
    let text = told(&server, &["status", "site-0"]);
    assert!(text.contains(&format!("{old} of its own in an advertised prefix")), "{text}");
}

/// Two clients with an address each, and hands on all TAPs.
struct Neighbours {
    site: Site,
    server: Acton,
    _clients: Vec<Acton>,
    marks: Cell<u8>,
}

impl Neighbours {
    fn new() -> Self {
        let policies = ["ips = [\"10.9.0.10\", \"fd09::a\"]", "ips = [\"10.9.0.11\", \"fd09::b\"]"];
        let site = Site::new("", &policies);
        // One worker, since what flows of several send comes in any order.
        let server = site.world.serve(&["--no-loop-guard", "--workers", "1"]);
        let clients = site.join_all();
        // So the root knows them and has asked for none: who asks again at once has everybody asked.
        for client in &site.world.clients {
            for address in [ROOT_V4, ROOT_V6] {
                ping_until_answered(client, address);
            }
        }
        Self { site, server, _clients: clients, marks: Cell::new(0) }
    }

    /// Runs a command at a client; what it said, and how many of its frames were dropped for their address.
    fn tries(&self, i: u8, command: &str) -> (String, u64) {
        let before = drops(&self.server, i, "source_ip");
        let said = says(&self.site.world.clients[usize::from(i)], command);
        // What it sent came before this.
        let root = self.site.world.server_wire();
        self.mark(&root, &self.site.world.client_wire(i), i);
        (said, drops(&self.server, i, "source_ip") - before)
    }

    /// Sends a frame and waits for it; what came before.
    fn mark(&self, to: &Wire, from: &Wire, i: u8) -> Vec<Vec<u8>> {
        self.marks.set(self.marks.get() + 1);
        let mark = frame(SERVER_MAC, client_mac(i), TEST_ETHERTYPE, &[self.marks.get(); 64]);
        from.send(&mark);
        to.receive_until(&mark)
    }

    /// What reaches the clients while a command runs at the root, and what that said.
    fn reaches(&self, command: &str) -> (String, [Vec<Vec<u8>>; 2]) {
        let (wires, root) = (self.site.client_wires(), self.site.world.server_wire());
        let said = says(&self.site.world.server, command);
        let reached = [0, 1].map(|i| {
            let mark = frame(client_mac(i), mac(0x77), TEST_ETHERTYPE, &[i; 64]);
            root.send(&mark);
            wires[usize::from(i)].receive_until(&mark)
        });
        (said, reached)
    }

    /// Runs a command at the root by which it asks for the first client's address: that alone is asked, and
    /// answers.
    fn asks_alone(&self, command: &str, is_question: impl Fn(&[u8]) -> bool) {
        wait_until("the first client alone is asked", || {
            let (said, reached) = self.reaches(command);
            assert!(said.to_lowercase().contains(&client_mac(0).to_string()), "{said}");
            let asked =
                reached.map(|frames| frames.iter().filter(|frame| is_question(frame)).count());
            assert!(asked[0] > 0, "{asked:?}");
            // Who has just been asked by the root's kernel has everybody asked with the next question.
            thread::sleep(Duration::from_secs(2 * u64::from(asked[1] > 0)));
            asked[1] == 0
        });
    }
}

/// Whether a frame is ARP that asks for an address.
fn asks_for(frame: &[u8], address: IpAddr) -> bool {
    let IpAddr::V4(address) = address else { return false };
    frame[12..14] == [8, 6] && frame[20..22] == [0, 1] && frame[38..42] == address.octets()
}

fn arp_is_asked_from_both_sides() {
    let lan = Neighbours::new();
    let (own, other) = (leaf(0)[0], leaf(1)[0]);
    // The root's question goes to who has the address, and to nobody else.
    lan.asks_alone(&format!("arping -c 1 -w 5 -i server {own}"), |frame| asks_for(frame, own));
    // A client is answered by the root, and no other client.
    let (said, dropped) = lan.tries(0, &format!("arping -c 5 -C 1 -i client {ROOT_V4}"));
    assert!(said.contains(&SERVER_MAC.to_string()), "{said}");
    assert_eq!(dropped, 0);
    let (said, dropped) = lan.tries(0, &format!("arping -c 1 -w 1 -i client {other}"));
    assert!(said.contains("100% unanswered") && dropped == 0, "{said}");
    // By another's address it asks nobody, and probes for none; its own it may probe for, and announce.
    let spoofs = [
        format!("arping -c 1 -w 1 -i client -S {other} {ROOT_V4}"),
        format!("arping -c 1 -w 1 -i client -0 {other}"),
        format!("arping -c 1 -w 1 -i client -U -S {other} {other}"),
        format!("arping -c 1 -w 1 -i client -P -U -S {other} {other}"),
        format!("arping -c 1 -w 1 -i client -V 7 -S {other} {ROOT_V4}"),
        format!("arping -c 1 -w 1 -i client -b {ROOT_V4}"),
    ];
    for command in &spoofs {
        let (said, dropped) = lan.tries(0, command);
        assert!(said.contains("100% unanswered") && dropped == 1, "{command}: {dropped}: {said}");
    }
    let honest = [
        format!("arping -c 1 -w 1 -i client -0 {own}"),
        format!("arping -c 1 -w 1 -i client -U -S {own} {own}"),
        format!("arping -c 1 -w 1 -i client -P -U -S {own} {own}"),
        format!("arping -c 1 -w 1 -i client -V 7 -S {own} {ROOT_V4}"),
    ];
    let root = lan.site.world.server_wire();
    for command in &honest {
        assert_eq!(lan.tries(0, command).1, 0, "{command}");
    }
    let came = lan.mark(&root, &lan.site.world.client_wire(0), 0);
    let count = |tag: &[u8]| {
        let is_arp = |frame: &[u8]| frame[12..].starts_with(&[tag, &[8, 6]].concat());
        came.iter().filter(|frame| is_arp(frame)).count()
    };
    assert!(count(&[]) >= 3 && count(&[0x81, 0, 0, 7]) == 1, "{came:02x?}");
    // Nobody probes for the root's.
    let gateway = || drops(&lan.server, 0, "guard_gateway");
    assert_eq!(gateway(), 0);
    says(&lan.site.world.clients[0], &format!("arping -c 1 -w 1 -i client -0 {ROOT_V4}"));
    wait_until("it is dropped", || gateway() == 1);
    let known = shell(&lan.site.world.server, "ip neigh show dev server");
    assert!(known.contains(&format!("{other} lladdr {}", client_mac(1))), "{known}");
}

fn neighbours_are_asked_for_from_both_sides() {
    let lan = Neighbours::new();
    let [own, other] = [0, 1].map(|i| leaf(i)[1]);
    let capitals = |mac: pnet_base::MacAddr| mac.to_string().to_uppercase();
    let is_solicitation = |frame: &[u8]| {
        frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && frame.get(54) == Some(&135)
    };
    let IpAddr::V6(target) = own else { unreachable!() };
    let asks = |frame: &[u8]| is_solicitation(frame) && frame[62..78] == target.octets();
    lan.asks_alone(&format!("ndisc6 -n -1 {own} server"), asks);
    let (said, dropped) = lan.tries(0, &format!("ndisc6 -n -1 {ROOT_V6} client"));
    assert!(said.contains(&capitals(SERVER_MAC)) && dropped == 0, "{said}");
    let (said, dropped) = lan.tries(0, &format!("ndisc6 -n -1 -r 1 -w 500 {other} client"));
    assert!(said.contains("No response") && dropped == 0, "{said}");
    // It has the other's address, and asks from it: nobody hears that.
    shell(&lan.site.world.clients[0], &format!("ip -6 address add {other}/64 dev client nodad"));
    // An answer to what the kernel itself asks just then is one to the tool.
    wait_until("it has no answer", || {
        let (said, dropped) =
            lan.tries(0, &format!("ndisc6 -n -1 -r 1 -w 500 -s {other} {ROOT_V6} client"));
        assert!(dropped >= 1, "{said}");
        said.contains("No response")
    });
    // Nor is it found by it: who has it is.
    let (said, _) = lan.reaches(&format!("ndisc6 -n -m {other} server"));
    assert!(said.contains(&capitals(client_mac(1))), "{said}");
    assert!(!said.contains(&capitals(client_mac(0))), "{said}");
}

fn a_concentrator_behind_a_client_is_heard_where_its_kind_is_allowed() {
    let site = Site::new("", &["allow = [\"ip\", \"ip6\", \"arp\"]"]);
    let world = &site.world;
    let server = world.serve(&["--no-loop-guard"]);
    let _clients = site.join_all();
    ping_until_answered(&world.clients[0], ROOT_V4);
    let pid = world.keys.path("pppoe").display().to_string();
    let mut command = Command::new("pppoe-server");
    command.args(["-F", "-I", "client", "-C", "rogue", "-L", "10.8.0.1", "-R", "10.8.0.10"]);
    let _rogue = Acton::spawn("pppoe-server", &world.clients[0], command.args(["-X", &pid]));
    let discover = || says(&world.server, "pppoe-discovery -I server -t 1 -a 1");
    wait_until("its offer is dropped", || {
        let said = discover();
        assert!(!said.contains("rogue"), "{said}");
        drops(&server, 0, "ethertype") > 0
    });
    site.change("allow = [\"ip\", \"ip6\", \"arp\"]", "allow = \"all\"");
    wait_until("it is found", || discover().contains("rogue"));
}
