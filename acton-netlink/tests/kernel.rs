//! Links, addresses, routes and news of the running kernel, checked against what ip(8) says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use acton_netlink::{FdbEntry, Group, MacAddr, NewAddress, NewLink, News, Socket, Subscription};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use testbed::sh;

testbed::main! {
    a_link_is_told_as_ip_tells_it,
    a_tap_has_a_status_and_a_tun_has_none,
    a_port_knows_its_master,
    a_bridge_tells_its_settings,
    all_links_are_told,
    links_that_are_not_there,
    set_up_twice,
    addresses_come_and_go,
    an_address_that_is_there_may_be_replaced,
    a_list_of_several_datagrams,
    a_list_that_changes_meanwhile_is_whole,
    a_veth_pair_across_namespaces,
    veth_refusals,
    the_way_to_an_address,
    a_default_route_of_each_family,
    a_socket_stays_in_its_namespace,
    changes_are_heard,
    only_what_was_asked_for_is_heard_and_once,
    more_changes_than_a_socket_keeps,
    default_routes_with_all_their_ways,
    neighbours_and_what_becomes_of_them,
    what_a_bridge_has_learned,
    what_a_bridge_learns_is_heard,
    a_bridge_forgets_what_it_is_told_to,
    a_bridge_forgets_5_000_entries,
    what_changes_after_an_overrun_is_heard,
    a_bridge_of_100_000_entries,
}

fn socket() -> Socket {
    Socket::open().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn errno<T>(result: io::Result<T>) -> Errno {
    Errno::from_raw(result.map(drop).unwrap_err().raw_os_error().unwrap())
}

/// An interface named d0, up and with a link; its index.
fn ethernet() -> u32 {
    sh("ip link add d0 type veth peer d1; ip link set d0 up; ip link set d1 up");
    socket().link("d0").unwrap().index
}

/// The addresses of an interface without the link-local one that the kernel makes, in order.
fn listed(index: u32) -> Vec<String> {
    let mut list: Vec<_> =
        socket().addresses(index).unwrap().iter().map(|a| a.to_string()).collect();
    list.retain(|address| !address.starts_with("fe80"));
    list.sort();
    list
}

fn a_link_is_told_as_ip_tells_it() {
    sh("ip link add d0 mtu 1400 address 02:00:00:00:00:0d type bridge");
    let link = socket().link("d0").unwrap();
    assert_eq!((link.name.as_str(), link.mtu, link.up), ("d0", 1400, false));
    assert_eq!(link.mac, Some(MacAddr::new(2, 0, 0, 0, 0, 0xd)));
    assert_eq!((link.kind.as_str(), link.master, link.tap), ("bridge", None, None));
    assert!(sh("ip -o link show d0").starts_with(&format!("{}: d0:", link.index)));
    assert_eq!(socket().link_by_index(link.index).unwrap(), link);

    let lo = socket().link_by_index(1).unwrap();
    assert_eq!((lo.name.as_str(), lo.mtu, lo.up, lo.kind.as_str()), ("lo", 65_536, true, ""));
}

fn a_tap_has_a_status_and_a_tun_has_none() {
    sh("ip tuntap add t0 mode tap user 7 group 8 vnet_hdr multi_queue; ip tuntap add u0 mode tun");
    let link = socket().link("t0").unwrap();
    let status = link.tap.unwrap();
    assert_eq!((status.owner, status.group), (Some(7), Some(8)));
    assert!(status.persist && status.vnet_header && status.multi_queue);
    assert!(!status.packet_information);
    sh("ip tuntap add t1 mode tap pi");
    assert!(socket().link("t1").unwrap().tap.unwrap().packet_information);
    assert_eq!((status.queues, status.detached_queues), (0, 0));
    let link = socket().link("u0").unwrap();
    assert_eq!((link.kind.as_str(), link.tap, link.mac), ("tun", None, None));
}

fn a_port_knows_its_master() {
    ethernet();
    sh("ip link add br0 type bridge; ip link set d0 master br0");
    let link = socket().link("d0").unwrap();
    assert_eq!(link.master_kind, "bridge");
    let bridge = socket().link_by_index(link.master.unwrap()).unwrap();
    assert_eq!((bridge.name.as_str(), bridge.kind.as_str()), ("br0", "bridge"));
}

fn a_bridge_tells_its_settings() {
    ethernet();
    sh("ip link add br0 type bridge stp_state 1 forward_delay 3000 mcast_querier 1
        ip link set br0 up; ip link set d0 txqueuelen 7 master br0");
    let bridge = socket().link("br0").unwrap();
    let status = bridge.bridge.unwrap();
    assert!(status.stp && status.snooping && status.querier, "{status:?}");
    assert_eq!((bridge.forwards, bridge.tx_queue_len), (None, 1_000));
    let port = socket().link("d0").unwrap();
    assert_eq!((port.forwards, port.tx_queue_len), (Some(false), 7));
    sh("ip link set br0 type bridge stp_state 0 mcast_snooping 0; bridge link set dev d0 state 3");
    let status = socket().link("br0").unwrap().bridge.unwrap();
    assert!(!status.stp && !status.snooping, "{status:?}");
    assert_eq!(socket().link("d0").unwrap().forwards, Some(true));
}

fn all_links_are_told() {
    let index = ethernet();
    let links = socket().links().unwrap();
    let found = links.iter().find(|link| link.name == "d0").unwrap();
    assert_eq!((found.index, found.vlan), (index, None));
    let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    assert!(names.contains(&"lo") && names.contains(&"d1"), "{names:?}");
}

fn links_that_are_not_there() {
    for name in ["nosuch", "sixteen-bytes-00", "", "lo\0"] {
        assert_eq!(errno(socket().link(name)), Errno::ENODEV, "{name:?}");
    }
    assert_eq!(errno(socket().link_by_index(4711)), Errno::ENODEV);
    assert_eq!(errno(socket().set_up(4711)), Errno::ENODEV);
    assert_eq!(errno(socket().add_address(4711, &NewAddress::new(ip("::2"), 64))), Errno::ENODEV);
    assert!(socket().addresses(4711).unwrap().is_empty());
}

fn set_up_twice() {
    sh("ip link add d0 promisc on type bridge");
    let index = socket().link("d0").unwrap().index;
    for _ in 0..2 {
        socket().set_up(index).unwrap();
        assert!(socket().link("d0").unwrap().up);
    }
    assert!(sh("ip link show d0").contains("PROMISC"), "other flags stay as they are");
}

fn addresses_come_and_go() {
    let (index, mut socket) = (ethernet(), socket());
    let broadcast = Ipv4Addr::new(192, 0, 2, 255);
    let [v4, v6] = [ip("192.0.2.1"), ip("2001:db8::1")];
    socket.add_address(index, &NewAddress::new(v4, 24).broadcast(broadcast)).unwrap();
    socket.add_address(index, &NewAddress::new(ip("192.0.2.2"), 24)).unwrap();
    socket.add_address(index, &NewAddress::new(v6, 64).without_duplicate_detection()).unwrap();
    assert_eq!(listed(index), ["192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64"]);
    let shown = sh("ip addr show dev d0");
    assert!(shown.contains("inet 192.0.2.1/24 brd 192.0.2.255 "), "{shown}");
    assert!(shown.contains("inet 192.0.2.2/24 scope"), "{shown}");
    assert!(shown.contains("inet6 2001:db8::1/64 scope global nodad"), "{shown}");
    let with_broadcast = socket.addresses(index).unwrap();
    let with_broadcast = with_broadcast.iter().find(|address| address.ip == v4);
    assert_eq!(with_broadcast.unwrap().broadcast, Some(broadcast));

    for (new, too_long) in [("192.0.2.3", 33), ("2001:db8::3", 129)] {
        let refused = socket.add_address(index, &NewAddress::new(ip(new), too_long));
        assert_eq!(errno(refused), Errno::EINVAL);
    }
    for (ip, prefix_len) in [(v4, 24), (v6, 64)] {
        let again = socket.add_address(index, &NewAddress::new(ip, prefix_len)).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
        socket.remove_address(index, ip, prefix_len).unwrap();
        let again = socket.remove_address(index, ip, prefix_len).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AddrNotAvailable, "{again}");
    }
    sh("echo 1 > /proc/sys/net/ipv6/conf/d0/disable_ipv6");
    assert_eq!(errno(socket.add_address(index, &NewAddress::new(v6, 64))), Errno::EACCES);
}

fn an_address_that_is_there_may_be_replaced() {
    let (index, mut socket) = (ethernet(), socket());
    sh("ip addr add 192.0.2.1/24 valid_lft 1000 preferred_lft 1000 dev d0");
    sh("ip addr add 2001:db8::1/64 valid_lft 1000 preferred_lft 1000 dev d0");
    for text in ["192.0.2.1/24", "2001:db8::1/64", "192.0.2.9/24", "2001:db8::9/64"] {
        let (address, prefix_len) = text.split_once('/').unwrap();
        let address = NewAddress::new(ip(address), prefix_len.parse().unwrap());
        for _ in 0..2 {
            socket.replace_address(index, &address).unwrap();
        }
        let shown = sh(&format!("ip addr show dev d0 to {text}"));
        assert!(shown.contains("valid_lft forever"), "{shown}");
    }
    assert_eq!(listed(index).len(), 4);
}

/// 10.1.1.1/24 to 10.200.4.1/24.
fn add_800_addresses() {
    sh("for a in $(seq 1 200); do for b in 1 2 3 4; do \
            echo addr add 10.$a.$b.1/24 dev d0; done; done | ip -batch -");
}

fn a_list_of_several_datagrams() {
    let index = ethernet();
    add_800_addresses();
    assert_eq!(listed(index).len(), 800);
    assert_eq!(listed(1), ["127.0.0.1/8", "::1/128"]);
}

/// Where an address goes while a list is read, the kernel leaves out the next one and marks the
/// list, which is then read again.
fn a_list_that_changes_meanwhile_is_whole() {
    let index = ethernet();
    add_800_addresses();
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        // A thread starts in the namespace of the one that starts it.
        scope.spawn(|| {
            let mut socket = socket();
            for a in (1..=200).cycle().take_while(|_| !end.load(Ordering::Relaxed)) {
                let address = Ipv4Addr::new(10, a, 1, 1);
                socket.remove_address(index, address.into(), 24).unwrap();
                socket.add_address(index, &NewAddress::new(address, 24)).unwrap();
            }
        });
        let found: Vec<_> = (0..100).map(|_| listed(index)).collect();
        end.store(true, Ordering::Relaxed);
        for list in found {
            // Three in four stay all the time.
            let staying = list.iter().filter(|address| !address.ends_with(".1.1/24"));
            assert_eq!(staying.count(), 600);
        }
    });
}

fn a_veth_pair_across_namespaces() {
    // Held by a descriptor; the thread that made it is gone.
    let other = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        (File::open("/proc/thread-self/ns/net").unwrap(), Socket::open().unwrap())
    });
    let (namespace, mut inside) = other.join().unwrap();
    let mac = MacAddr::new(2, 0, 0, 0, 0, 0xa);
    let mut socket = socket();
    let (left, right) = (NewLink::new("left").mtu(9000).mac(mac), NewLink::new("right").mtu(1300));
    socket.add_veth(&left, &right, Some(namespace.as_fd())).unwrap();
    let left = socket.link("left").unwrap();
    assert_eq!((left.mtu, left.mac, left.up), (9000, Some(mac), false));
    assert_eq!(left.kind, "veth");
    assert_eq!(inside.link("right").unwrap().mtu, 1300);
    assert_eq!(errno(socket.link("right")), Errno::ENODEV);

    socket.add_veth(&NewLink::new("a"), &NewLink::new("b"), None).unwrap();
    assert!(sh("ip -o link").contains("a@b:"));
}

fn veth_refusals() {
    let mut socket = socket();
    socket.add_veth(&NewLink::new("a"), &NewLink::new("b"), None).unwrap();
    for (left, right) in [("a", "c"), ("c", "a")] {
        let refused = socket.add_veth(&NewLink::new(left), &NewLink::new(right), None);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(errno(socket.link("c")), Errno::ENODEV, "a pair is made whole or not at all");
    let small = NewLink::new("c").mtu(67);
    assert_eq!(errno(socket.add_veth(&small, &NewLink::new("d"), None)), Errno::EINVAL);
    // Longer than the length field of an attribute can say.
    let long = NewLink::new("x".repeat(70_000));
    assert!(socket.add_veth(&long, &NewLink::new("d"), None).is_err());
    assert_eq!(errno(socket.link("d")), Errno::ENODEV);
}

fn the_way_to_an_address() {
    let (index, mut socket) = (ethernet(), socket());
    sh("ip addr add 192.0.2.1/24 dev d0; ip addr add 2001:db8::1/64 nodad dev d0");
    sh("ip route add 198.51.100.0/24 via 192.0.2.7");
    sh("ip route add 203.0.113.0/24 via inet6 2001:db8::7 dev d0");
    sh("ip route add 2001:db8:1::/64 via 2001:db8::7");
    for (to, gateway, source) in [
        ("192.0.2.9", None, "192.0.2.1"),
        ("198.51.100.9", Some("192.0.2.7"), "192.0.2.1"),
        ("203.0.113.9", Some("2001:db8::7"), "192.0.2.1"),
        ("2001:db8::9", None, "2001:db8::1"),
        ("2001:db8:1::9", Some("2001:db8::7"), "2001:db8::1"),
    ] {
        let route = socket.route_to(ip(to), None).unwrap();
        assert_eq!(route.interface, index, "{to}");
        assert_eq!((route.gateway, route.source), (gateway.map(ip), Some(ip(source))), "{to}");
    }
    for to in ["127.0.0.1", "::1"] {
        assert_eq!(socket.route_to(ip(to), None).unwrap().interface, 1, "{to}");
    }
    // A link-local address may be on each link.
    for name in ["d0", "d1"] {
        let index = socket.link(name).unwrap().index;
        let route = socket.route_to(ip("fe80::9"), Some(index)).unwrap();
        assert_eq!(route.interface, index, "{name}");
    }
    let error = socket.route_to(ip("8.8.8.8"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{error}");
    // A refusal leaves nothing behind that the next question meets.
    assert!(socket.route_to(ip("192.0.2.9"), None).is_ok());
}

fn a_default_route_of_each_family() {
    let mut socket = socket();
    ethernet();
    assert_eq!(errno(socket.add_default_route(ip("192.0.2.7"))), Errno::ENETUNREACH);
    sh("ip addr add 192.0.2.1/24 dev d0; ip addr add 2001:db8::1/64 nodad dev d0");
    for (gateway, option) in [("192.0.2.7", "-4"), ("2001:db8::7", "-6")] {
        socket.add_default_route(ip(gateway)).unwrap();
        let shown = sh(&format!("ip {option} route show default"));
        assert!(
            shown.starts_with(&format!("default via {gateway} dev d0 proto static")),
            "{shown}"
        );
        let again = socket.add_default_route(ip(gateway)).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");
    }
}

fn a_socket_stays_in_its_namespace() {
    let index = ethernet();
    let mut socket = socket();
    thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            assert_eq!(errno(Socket::open().unwrap().link("d0")), Errno::ENODEV);
            socket.add_address(index, &NewAddress::new(ip("192.0.2.1"), 24)).unwrap();
        });
    });
    assert_eq!(listed(index), ["192.0.2.1/24"]);
}

/// Whether there is something to hear within that time.
fn hears(subscription: &Subscription, time: PollTimeout) -> bool {
    let mut fds = [PollFd::new(subscription.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, time).unwrap() == 1
}

/// What changed is told before the call that changed it returns; of IPv6 addresses, later.
fn changes_are_heard() {
    ethernet();
    sh("ip addr add 192.0.2.1/24 dev d0");
    for (group, change) in [
        (Group::Link, "ip link set d0 mtu 1400"),
        (Group::Ipv4Address, "ip addr add 192.0.2.2/24 dev d0"),
        (Group::Ipv4Route, "ip route add 198.51.100.0/24 via 192.0.2.7"),
        (Group::Ipv4Rule, "ip rule add from 192.0.2.9 table 9"),
        (Group::Ipv6Address, "ip addr add 2001:db8::1/64 nodad dev d0"),
        (Group::Ipv6Route, "ip route add 2001:db8:1::/64 dev d0"),
        (Group::Ipv6Rule, "ip -6 rule add from 2001:db8::9 table 9"),
    ] {
        let subscription = Subscription::new(&[group]).unwrap();
        sh(change);
        assert!(hears(&subscription, PollTimeout::from(10_000_u16)), "{change}");
    }
}

fn only_what_was_asked_for_is_heard_and_once() {
    ethernet();
    let subscription = Subscription::new(&[Group::Ipv4Address, Group::Ipv4Rule]).unwrap();
    for change in ["ip addr add 192.0.2.2/24 dev d0", "ip rule add from 192.0.2.9 table 9"] {
        sh("ip link set d0 mtu 1400; ip link set d0 mtu 1300");
        assert!(!hears(&subscription, PollTimeout::ZERO), "before {change}");
        sh(change);
        assert!(hears(&subscription, PollTimeout::ZERO), "{change}");
        subscription.discard().unwrap();
        assert!(!hears(&subscription, PollTimeout::ZERO), "after {change}");
    }
}

fn more_changes_than_a_socket_keeps() {
    let index = ethernet();
    let subscription = Subscription::new(&[Group::Ipv4Address]).unwrap();
    let mut socket = socket();
    let address = ip("192.0.2.1");
    for _ in 0..2000 {
        socket.add_address(index, &NewAddress::new(address, 24)).unwrap();
        socket.remove_address(index, address, 24).unwrap();
    }
    assert!(hears(&subscription, PollTimeout::ZERO));
    subscription.discard().unwrap();
    assert!(!hears(&subscription, PollTimeout::ZERO));
    socket.add_address(index, &NewAddress::new(address, 24)).unwrap();
    assert!(hears(&subscription, PollTimeout::ZERO), "deaf for ever after an overflow");
}

fn default_routes_with_all_their_ways() {
    let (index, mut socket) = (ethernet(), socket());
    assert_eq!(socket.default_routes().unwrap(), []);
    sh("ip addr add 192.0.2.1/24 dev d0; ip addr add 2001:db8::1/64 nodad dev d0");
    sh("ip route add default metric 7 nexthop via 192.0.2.7 dev d0 nexthop via 192.0.2.8 dev d0");
    sh("ip route add default metric 8 via inet6 2001:db8::9 dev d0");
    sh("ip route add 198.51.100.0/24 via 192.0.2.6; ip route add blackhole default metric 9");
    sh("ip -6 route add default via 2001:db8::7 dev d0");
    let mut gateways = Vec::new();
    for route in socket.default_routes().unwrap() {
        assert_eq!(route.interface, index);
        gateways.push(route.gateway.unwrap().to_string());
    }
    gateways.sort();
    assert_eq!(gateways, ["192.0.2.7", "192.0.2.8", "2001:db8::7", "2001:db8::9"]);
    // The ends of a veth are made on one another.
    assert_eq!(socket.link("d1").unwrap().lower, Some(index));
}

const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

/// The news of a subscription to neighbours so far.
fn news(subscription: &Subscription) -> Vec<News> {
    let mut all = Vec::new();
    assert!(subscription.read(|news| all.push(news)).unwrap());
    all
}

fn neighbours_and_what_becomes_of_them() {
    let (index, mut socket) = (ethernet(), socket());
    sh("ip addr add 192.0.2.1/24 dev d0; ip addr add 2001:db8::1/64 nodad dev d0");
    let subscription = Subscription::new(&[Group::Neighbour]).unwrap();
    subscription.set_room(1 << 20).unwrap();
    for address in ["192.0.2.9", "2001:db8::9"] {
        let heard = |mac| {
            let news = news(&subscription).into_iter();
            let mut about = news.filter_map(|news| match news {
                News::Neighbour(it) if it.ip == ip(address) => Some((it.interface, it.mac)),
                _ => None,
            });
            assert!(about.any(|it| it == (index, mac)), "{address}");
        };
        let of_socket = |socket: &mut Socket| {
            let all = socket.neighbours(index).unwrap();
            all.iter().find(|it| it.ip == ip(address)).and_then(|it| it.mac)
        };
        sh(&format!("ip neigh replace {address} lladdr {MAC} nud stale dev d0"));
        heard(Some(MAC));
        assert_eq!(of_socket(&mut socket), Some(MAC));
        assert_eq!(socket.neighbours(1).unwrap(), []);
        sh(&format!("ip neigh del {address} dev d0"));
        heard(None);
        assert_eq!(of_socket(&mut socket), None);
    }
}

/// A bridge br0 with port d0, and their indices.
fn bridge() -> [u32; 2] {
    let port = ethernet();
    sh("ip link add br0 type bridge; ip link set br0 up; ip link set d0 master br0");
    [socket().link("br0").unwrap().index, port]
}

/// Entries of one address as port and VLAN.
fn of_mac(entries: &[FdbEntry], mac: MacAddr) -> Vec<(u32, Option<u16>)> {
    let mut found: Vec<_> =
        entries.iter().filter(|it| it.mac == mac).map(|it| (it.port, it.vlan)).collect();
    found.sort_unstable();
    found
}

fn what_a_bridge_has_learned() {
    let [bridge, port] = bridge();
    let mut socket = socket();
    sh(&format!("bridge fdb add {MAC} dev d0 master dynamic"));
    // Another bridge's, and the interface's own filter.
    sh("ip link add br1 type bridge; ip link add e0 type veth peer e1; ip link set e0 master br1");
    sh(
        "bridge fdb add 02:00:00:00:00:08 dev e0 master; bridge fdb add 02:00:00:00:00:07 dev d0 self",
    );
    let entries = socket.fdb(bridge).unwrap();
    assert!(entries.iter().all(|entry| entry.bridge == bridge), "{entries:?}");
    assert_eq!(of_mac(&entries, MAC), [(port, None)]);
    for other in [8, 7] {
        assert_eq!(of_mac(&entries, MacAddr::new(2, 0, 0, 0, 0, other)), []);
    }
    let own = socket.link_by_index(bridge).unwrap().mac.unwrap();
    let at = of_mac(&entries, own);
    assert!(at.contains(&(bridge, None)) || at.contains(&(port, None)), "{entries:?}");
    assert_eq!(socket.fdb(port).unwrap(), [], "no bridge");
}

fn what_a_bridge_learns_is_heard() {
    let [bridge, port] = bridge();
    let subscription = Subscription::new(&[Group::Neighbour]).unwrap();
    let heard = || -> Vec<_> {
        let news = news(&subscription).into_iter();
        news.filter_map(|news| match news {
            News::FdbAdded(it) if it.mac == MAC => Some((true, it.bridge, it.port)),
            News::FdbRemoved(it) if it.mac == MAC => Some((false, it.bridge, it.port)),
            _ => None,
        })
        .collect()
    };
    sh(&format!("bridge fdb add {MAC} dev d0 master dynamic"));
    assert_eq!(heard(), [(true, bridge, port)]);
    sh(&format!("bridge fdb del {MAC} dev d0 master"));
    assert_eq!(heard(), [(false, bridge, port)]);
}

fn a_bridge_forgets_what_it_is_told_to() {
    let [bridge, port] = bridge();
    sh("ip link add e0 type veth peer e1; ip link set e1 up; ip link set e0 master br0 up");
    let [here, elsewhere, nowhere] = [7, 8, 9].map(|last| MacAddr::new(2, 0, 0, 0, 0, last));
    sh(&format!(
        "bridge fdb add {here} dev d0 master dynamic; bridge fdb add {elsewhere} dev e0 master dynamic"
    ));
    let mut socket = socket();
    let places = [nowhere, here, elsewhere].map(|mac| (mac, None));
    let (mut there, mut new) = (Vec::new(), Vec::new());
    socket.remove_from_fdb(port, &places, |number| there.push(number)).unwrap();
    assert_eq!(there, [1]);
    let entries = socket.fdb(bridge).unwrap();
    assert_eq!((of_mac(&entries, here), of_mac(&entries, elsewhere).len()), (vec![], 1));
    socket.add_to_fdb(port, &places, |number| new.push(number)).unwrap();
    assert_eq!(new, [0, 1]);
    let shown = sh("bridge fdb show br br0");
    for mac in [nowhere, here] {
        assert!(shown.contains(&format!("{mac} dev d0 master br0")), "{shown}");
    }
    assert!(shown.contains(&format!("{elsewhere} dev e0")), "it stays: {shown}");
    assert!(!shown.contains("02:00:00:00:00:09 dev d0 master br0 permanent"), "it ages: {shown}");
    sh("ip link set d0 nomaster");
    let no_port = socket.remove_from_fdb(port, &places, |_| panic!("it is in no bridge"));
    assert_eq!(errno(no_port), Errno::EOPNOTSUPP);
    let nothing = socket.remove_from_fdb(4711, &places, |_| panic!("there is none"));
    assert_eq!(errno(nothing), Errno::ENODEV);
    socket.remove_from_fdb(4711, &[], |_| {}).unwrap();
}

fn a_bridge_forgets_5_000_entries() {
    const ENTRIES: u16 = 5_000;
    let [bridge, port] = bridge();
    add_entries(ENTRIES.into());
    let places: Vec<_> =
        (0..ENTRIES).map(|i| (MacAddr::new(2, 1, 0, 0, (i >> 8) as u8, i as u8), None)).collect();
    let start = std::time::Instant::now();
    let mut there = Vec::new();
    socket().remove_from_fdb(port, &places, |number| there.push(number)).unwrap();
    println!("{} entries in {:.0?}", there.len(), start.elapsed());
    assert_eq!(there, (0..places.len()).collect::<Vec<_>>());
    assert!(!socket().fdb(bridge).unwrap().iter().any(|entry| is_added(entry.mac)));
}

/// Has the bridge of [`bridge`] know that many addresses, from 02:01:00:00:00:00 on, at its port.
fn add_entries(count: usize) {
    sh(&format!(
        "awk 'BEGIN {{ for (i = 0; i < {count}; i++) printf \"fdb add 02:01:00:%02x:%02x:%02x dev \
         d0 master dynamic\\n\", i / 65536, i / 256 % 256, i % 256 }}' | bridge -batch -"
    ));
}

/// Whether [`add_entries`] may have added it; the kernel draws those of devices.
fn is_added(mac: MacAddr) -> bool {
    mac.octets()[..3] == [2, 1, 0]
}

/// The queue keeps more news than one read takes, and the kernel has lost some.
fn what_changes_after_an_overrun_is_heard() {
    bridge();
    let subscription = Subscription::new(&[Group::Neighbour]).unwrap();
    subscription.set_room(4 << 20).unwrap();
    add_entries(20_000);
    assert!(!subscription.read(|_| {}).unwrap());
    // From here on somebody asks for the whole table, and hears of nothing but news.
    assert_eq!(news(&subscription), []);
    sh(&format!("bridge fdb add {MAC} dev d0 master dynamic"));
    let news = news(&subscription);
    assert!(matches!(news[..], [News::FdbAdded(it)] if it.mac == MAC), "{news:?}");
}

fn a_bridge_of_100_000_entries() {
    const ENTRIES: usize = 100_000;
    let [bridge, port] = bridge();
    let subscription = Subscription::new(&[Group::Neighbour]).unwrap();
    add_entries(ENTRIES);
    // That many news have no room; whoever listens hears so.
    assert!(!subscription.read(|_| {}).unwrap());
    let start = std::time::Instant::now();
    let entries = socket().fdb(bridge).unwrap();
    println!("{} entries in {:.0?}", entries.len(), start.elapsed());
    let added = entries.iter().filter(|entry| entry.port == port && is_added(entry.mac));
    assert_eq!(added.count(), ENTRIES);
}
