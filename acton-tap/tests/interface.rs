//! Programming interfaces, checked against what ip(8) says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use acton_tap::{Interface, MacAddr, Tap};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use testbed::sh;

mod util;

fn tap() -> Tap {
    Tap::builder().name("t0").build().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The addresses as `prefix/length broadcast`, without the link-local one the kernel makes.
fn listed(interface: &Interface) -> Vec<String> {
    let addresses = interface.addresses().unwrap();
    let text = addresses.iter().filter(|address| !address.ip.to_string().starts_with("fe80"));
    text.map(|address| match address.broadcast {
        Some(broadcast) => format!("{address} brd {broadcast}"),
        None => address.to_string(),
    })
    .collect()
}

fn open_finds_interfaces() {
    let lo = Interface::open("lo").unwrap();
    assert_eq!((lo.name(), lo.index()), ("lo", 1));
    assert!(lo.mac().unwrap().is_zero());
    assert!(lo.tap_status().unwrap().is_none());
    let error = Interface::open("nosuch").unwrap_err();
    assert!(error.to_string().contains("nosuch: cannot find it: no such interface"), "{error}");
    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENODEV as i32));
    assert_eq!(Interface::open("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn mac() {
    let tap = tap();
    let interface = tap.interface();
    let mac = MacAddr::new(2, 0x11, 0x22, 0x33, 0x44, 0x55);
    interface.set_mac(mac).unwrap();
    assert_eq!(interface.mac().unwrap(), mac);
    assert!(sh("ip link show t0").contains("link/ether 02:11:22:33:44:55"));
    interface.up().unwrap();
    interface.set_mac(MacAddr::new(2, 0, 0, 0, 0, 9)).expect("a TAP's MAC changes while it is up");
    for bad in [MacAddr::zero(), MacAddr::broadcast(), MacAddr::new(1, 0, 0x5e, 0, 0, 1)] {
        let error = interface.set_mac(bad).unwrap_err();
        assert!(error.to_string().contains("must be unicast and not zero"), "{error}");
    }
    assert_eq!(interface.mac().unwrap(), MacAddr::new(2, 0, 0, 0, 0, 9));
}

fn mtu_and_queue_length() {
    let tap = tap();
    let interface = tap.interface();
    assert_eq!(interface.mtu().unwrap(), 1500);
    for mtu in [68, 1280, 9000, 65_521] {
        interface.set_mtu(mtu).unwrap();
        assert_eq!(interface.mtu().unwrap(), mtu);
        assert!(sh("ip link show t0").contains(&format!("mtu {mtu} ")));
    }
    for bad in [0, 67, 65_536, u32::MAX] {
        let error = interface.set_mtu(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}: {error}");
    }
    interface.set_tx_queue_len(77).unwrap();
    assert_eq!(interface.tx_queue_len().unwrap(), 77);
    assert!(sh("ip link show t0").contains("qlen 77"));
}

fn up_and_down() {
    let tap = tap();
    let interface = tap.interface();
    assert!(!interface.is_up().unwrap() && !interface.is_running().unwrap());
    interface.up().unwrap();
    assert!(interface.is_up().unwrap() && interface.is_running().unwrap());
    assert!(sh("ip link show t0").contains(",UP"));
    // Other flags stay as they are.
    sh("ip link set t0 promisc on");
    interface.down().unwrap();
    assert!(!interface.is_up().unwrap());
    let shown = sh("ip link show t0");
    assert!(shown.contains("PROMISC") && !shown.contains(",UP"), "{shown}");
}

fn several_ipv4_addresses() {
    let tap = tap();
    let interface = tap.interface();
    interface.up().unwrap();
    let added = ["192.0.2.1/24", "192.0.2.2/24", "198.51.100.1/30", "10.9.8.7/32", "10.7.0.0/31"];
    for address in added {
        let (address, prefix_len) = address.split_once('/').unwrap();
        interface.add_address(ip(address), prefix_len.parse().unwrap()).unwrap();
    }
    let shown = sh("ip -4 -o addr show dev t0");
    assert_eq!(shown.lines().count(), 5, "{shown}");
    for line in [
        "inet 192.0.2.1/24 brd 192.0.2.255 ",
        "inet 192.0.2.2/24 brd 192.0.2.255 ",
        "inet 198.51.100.1/30 brd 198.51.100.3 ",
        "inet 10.9.8.7/32 scope",
        "inet 10.7.0.0/31 scope",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let mut list = listed(interface);
    list.sort();
    assert_eq!(
        list,
        [
            "10.7.0.0/31",
            "10.9.8.7/32",
            "192.0.2.1/24 brd 192.0.2.255",
            "192.0.2.2/24 brd 192.0.2.255",
            "198.51.100.1/30 brd 198.51.100.3"
        ]
    );
    // The route is the subnet's, not that of the address's class.
    let routes = sh("ip route");
    assert!(routes.contains("192.0.2.0/24 dev t0") && !routes.contains("10.0.0.0/8"), "{routes}");

    let error = interface.add_address(ip("10.9.8.7"), 32).unwrap_err();
    assert!(error.to_string().contains("cannot add 10.9.8.7/32: it has that already"), "{error}");
    interface.remove_address(ip("10.9.8.7"), 32).unwrap();
    assert!(!sh("ip addr show dev t0").contains("10.9.8.7"));
    let error = interface.remove_address(ip("10.9.8.7"), 32).unwrap_err();
    assert!(error.to_string().contains("it has no such address"), "{error}");
}

/// The first address goes by another way than the rest, and must come out the same.
fn the_first_ipv4_address() {
    let cases = [
        ("10.9.8.7", 24, "10.9.8.7/24 brd 10.9.8.255"),
        ("10.9.8.7", 8, "10.9.8.7/8 brd 10.255.255.255"),
        ("10.9.8.7", 31, "10.9.8.7/31"),
        ("10.9.8.7", 32, "10.9.8.7/32"),
        ("192.0.2.9", 16, "192.0.2.9/16 brd 192.0.255.255"),
        ("169.254.3.4", 16, "169.254.3.4/16 brd 169.254.255.255"),
    ];
    for (address, prefix_len, expected) in cases {
        let tap = tap();
        tap.interface().up().unwrap();
        tap.interface().add_address(ip(address), prefix_len).unwrap();
        assert_eq!(listed(tap.interface()), [expected]);
        let routes = sh("ip route show table all dev t0 type unicast; ip -4 addr show dev t0");
        assert_eq!(routes.matches("10.0.0.0/8").count(), usize::from(prefix_len == 8), "{routes}");
        let error = tap.interface().add_address(ip(address), 33).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        tap.interface().remove_address(ip(address), prefix_len).unwrap();
        assert!(listed(tap.interface()).is_empty());
        util::close(tap);
    }
}

fn the_first_ipv4_address_goes_alone() {
    let tap = tap();
    let interface = tap.interface();
    sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.t0.promote_secondaries=0");
    interface.add_address(ip("192.0.2.1"), 24).unwrap();
    interface.add_noted_address(ip("192.0.2.2"), 24, 172).unwrap();
    interface.add_ipv4_address(Ipv4Addr::new(192, 0, 2, 3), 24, None).unwrap();
    interface.add_address(ip("192.0.2.4"), 25).unwrap();
    let of = |interface: &Interface| {
        let mut all = interface.addresses().unwrap();
        all.sort_by_key(|address| address.ip);
        all
    };
    let others = of(interface)[1..].to_vec();
    interface.remove_address(ip("192.0.2.1"), 24).unwrap();
    assert_eq!(of(interface), others);
    interface.remove_address(ip("192.0.2.3"), 24).unwrap();
    assert_eq!(of(interface), [others[0], others[2]]);
}

/// Nor for a moment: traffic of the whole class would go into the TAP.
fn an_ipv4_address_makes_no_route_of_its_class() {
    let tap = tap();
    tap.interface().up().unwrap();
    let route = SockProtocol::NetlinkRoute;
    let monitor =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_NONBLOCK, route).unwrap();
    let groups = libc::RTMGRP_IPV4_ROUTE as u32;
    bind(monitor.as_raw_fd(), &NetlinkAddr::new(0, groups)).unwrap();
    tap.interface().add_address(ip("10.9.8.7"), 24).unwrap();
    // A struct nlmsghdr of 16 bytes, then the family and the prefix's length.
    let mut prefixes = Vec::new();
    let mut message = [0; 1024];
    while recv(monitor.as_raw_fd(), &mut message, MsgFlags::empty()).is_ok() {
        prefixes.push(message[17]);
    }
    assert!(prefixes.contains(&24), "{prefixes:?}");
    assert!(!prefixes.contains(&8), "{prefixes:?}");
}

fn a_broadcast_address_of_one_s_own() {
    let tap = tap();
    let interface = tap.interface();
    let zeros = Ipv4Addr::new(192, 0, 2, 0);
    interface.add_ipv4_address(Ipv4Addr::new(192, 0, 2, 1), 24, Some(zeros)).unwrap();
    interface.add_ipv4_address(Ipv4Addr::new(192, 0, 2, 2), 24, None).unwrap();
    interface.add_ipv4_address(Ipv4Addr::new(192, 0, 2, 3), 24, Some(zeros)).unwrap();
    assert_eq!(
        listed(interface),
        ["192.0.2.1/24 brd 192.0.2.0", "192.0.2.2/24", "192.0.2.3/24 brd 192.0.2.0"]
    );
}

fn ipv6_addresses() {
    let tap = tap();
    let interface = tap.interface();
    interface.up().unwrap();
    interface.add_address(ip("2001:db8::1"), 64).unwrap();
    interface.add_address(ip("2001:db8:1::1"), 128).unwrap();
    let shown = sh("ip -6 addr show dev t0");
    assert!(
        shown.contains("inet6 2001:db8::1/64") && shown.contains("2001:db8:1::1/128"),
        "{shown}"
    );
    let mut list = listed(interface);
    list.sort();
    assert_eq!(list, ["2001:db8:1::1/128", "2001:db8::1/64"]);
    let error = interface.add_address(ip("2001:db8::1"), 64).unwrap_err();
    assert!(error.to_string().contains("it has that already"), "{error}");
    let error = interface.add_address(ip("2001:db8::2"), 129).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    interface.remove_address(ip("2001:db8::1"), 64).unwrap();
    assert_eq!(listed(interface), ["2001:db8:1::1/128"]);
    let error = interface.remove_address(ip("2001:db8::1"), 64).unwrap_err();
    assert!(error.to_string().contains("it has no such address"), "{error}");

    sh("echo 1 > /proc/sys/net/ipv6/conf/t0/disable_ipv6");
    let error = interface.add_address(ip("2001:db8::1"), 64).unwrap_err();
    assert!(error.to_string().contains("disable_ipv6"), "{error}");
}

fn addresses_of_many() {
    let tap = tap();
    sh("for a in $(seq 1 200); do for b in 1 2 3 4; do \
            echo addr add 10.$a.$b.1/24 dev t0; done; done | ip -batch -");
    assert_eq!(listed(tap.interface()).len(), 800, "a dump of several datagrams");
    assert_eq!(listed(&Interface::open("lo").unwrap()), ["127.0.0.1/8", "::1/128"]);
}

fn bridge_port() {
    sh("ip link add br0 type bridge; ip link add br1 type bridge");
    let tap = tap();
    let interface = tap.interface();
    assert_eq!(interface.bridge().unwrap(), None);
    interface.join_bridge("br0").unwrap();
    assert_eq!(interface.bridge().unwrap().as_deref(), Some("br0"));
    assert!(sh("ip link show t0").contains("master br0"));
    let refused = |bridge| interface.join_bridge(bridge).unwrap_err().to_string();
    assert!(refused("br1").contains("a port of some bridge or bond already"));
    interface.leave_bridge().unwrap();
    assert_eq!(interface.bridge().unwrap(), None);
    assert!(!sh("ip link show t0").contains("master"));
    interface.leave_bridge().expect("leaving none is nothing to do");
    assert!(refused("nosuch").contains("the bridge or the interface is not there"));
    assert!(refused("lo").contains("that is not a bridge"));
    assert!(refused("sixteen-bytes-00").contains("too long"));
}

fn a_deleted_interface() {
    let tap = tap();
    sh("ip link del t0");
    let interface = tap.interface();
    for error in [
        interface.mac().unwrap_err(),
        interface.up().unwrap_err(),
        interface.bridge().unwrap_err(),
        interface.add_address(ip("192.0.2.1"), 24).unwrap_err(),
        interface.add_address(ip("2001:db8::1"), 64).unwrap_err(),
        interface.remove_address(ip("192.0.2.1"), 24).unwrap_err(),
    ] {
        let message = error.to_string();
        assert!(message.starts_with("t0: ") && message.contains("no such interface"), "{message}");
    }
    assert!(interface.addresses().unwrap().is_empty());
}

/// An interface belongs to the namespace that it was opened in, whatever thread uses it.
fn the_namespace_is_that_of_opening() {
    let tap = tap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            assert!(Interface::open("t0").is_err());
            for address in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
                tap.interface().add_address(ip(address), 32).unwrap();
            }
            tap.interface().up().unwrap();
        });
    });
    let shown = sh("ip addr show dev t0");
    let there = ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::1/32", ",UP"];
    assert!(there.iter().all(|text| shown.contains(text)), "{shown}");
}

testbed::main! {
    open_finds_interfaces,
    mac,
    mtu_and_queue_length,
    up_and_down,
    several_ipv4_addresses,
    the_first_ipv4_address,
    the_first_ipv4_address_goes_alone,
    an_ipv4_address_makes_no_route_of_its_class,
    a_broadcast_address_of_one_s_own,
    ipv6_addresses,
    addresses_of_many,
    bridge_port,
    a_deleted_interface,
    the_namespace_is_that_of_opening,
}
