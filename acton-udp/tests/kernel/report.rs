//! The error queue: what the network and this host say of datagrams.

use std::io::ErrorKind;
use std::net::SocketAddr;

use acton_netns::{Namespace, Veth, veth};
use acton_udp::{Origin, RecvBatch, Report, UdpSocket};

use crate::hosts::{
    Hosts, LINK, LOOPBACK, SOON, bind, here, joined, on, pair, receive_datagrams, send,
};

/// Bytes of IP and UDP headers of a peer's family.
fn headers(peer: SocketAddr) -> usize {
    if peer.is_ipv4() { 28 } else { 48 }
}

/// The next report to come.
#[track_caller]
fn report(of: &UdpSocket) -> Report {
    assert!(of.wait_readable(SOON).unwrap(), "a report comes");
    of.take_report().unwrap()
}

pub(crate) fn closed_ports_are_reported() {
    let hosts = Hosts::new();
    for addresses in LINK {
        let (from, gone, to) = hosts.pair(addresses);
        from.keep_reports().unwrap();
        assert!(from.take_report().is_none());
        let closed = gone.local_addr().unwrap();
        drop(gone);
        send(&from, |batch| batch.push_parts(&to, [b"to nobody"]));
        let report = report(&from);
        assert_eq!(report.error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!((report.to, report.max_payload), (Some(closed), None));
        assert_eq!(report.origin, Origin::Icmp(Some(closed.ip())));
        assert!(from.take_report().is_none());
    }
}

pub(crate) fn datagrams_over_the_first_link_are_reported() {
    let hosts = Hosts::new();
    for addresses in LINK {
        let (from, at, to) = hosts.pair(addresses);
        from.forbid_fragments().unwrap();
        from.keep_reports().unwrap();
        let peer = at.local_addr().unwrap();
        let most = 1_500 - headers(peer);
        let payload = vec![7; most + 1];
        let counts = send(&from, |batch| {
            batch.push_parts(&to, [&payload]);
            batch.push_parts(&to, [&payload[..most]]);
        });
        assert_eq!((counts.sent, counts.too_large), (1, 1), "{addresses:?}");
        assert_eq!(receive_datagrams(&at, 1), [&payload[..most]]);
        let report = report(&from);
        assert_eq!(report.error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!((report.origin, report.max_payload), (Origin::Local, Some(most)));
        // Of IPv4 the kernel knows the port of a connected socket alone.
        let to = report.to.unwrap();
        assert_eq!(to.ip(), peer.ip());
        assert!(to.port() == peer.port() || to.is_ipv4() && to.port() == 0, "{to}");
    }
}

/// The left host, a router, and the right host behind a link of 1,400 bytes.
pub(crate) fn routers_say_what_fits() {
    let [left, router, right] = [(); 3].map(|()| Namespace::new().unwrap());
    veth(&left, "l", &router, "near", &Veth::new()).unwrap();
    veth(&router, "far", &right, "r", &Veth::new().mtu(1_400)).unwrap();
    on(&router, "echo 1 > /proc/sys/net/ipv4/ip_forward");
    on(&router, "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    for (host, device, net, number) in
        [(&left, "l", 1, 1), (&router, "near", 1, 9), (&router, "far", 2, 9), (&right, "r", 2, 1)]
    {
        host.add_address(device, [10, 0, net, number].into(), 24).unwrap();
        let address = [0xfd00, 0, 0, net.into(), 0, 0, 0, number.into()].into();
        host.add_address(device, address, 64).unwrap();
    }
    for (host, net) in [(&left, 1), (&right, 2)] {
        host.add_default_route([10, 0, net, 9].into()).unwrap();
        host.add_default_route([0xfd00, 0, 0, net.into(), 0, 0, 0, 9].into()).unwrap();
    }
    for (local, peer, near) in [
        ("10.0.1.1:0", "10.0.2.1:0", "10.0.1.9"),
        ("[fd00:0:0:1::1]:0", "[fd00:0:0:2::1]:0", "fd00:0:0:1::9"),
        ("[::]:0", "10.0.2.1:0", "10.0.1.9"),
    ] {
        let (from, at, to) = joined(bind(&left, local), bind(&right, peer));
        from.forbid_fragments().unwrap();
        from.keep_reports().unwrap();
        // Until the links have their queues, datagrams may be lost.
        let arrives = (0..500).any(|_| {
            let _ = from.send(&to, b"?");
            at.wait_readable(Some(std::time::Duration::from_millis(20))).unwrap()
        });
        assert!(arrives, "{local} to {peer}");
        while from.take_report().is_some() {}
        let peer = at.local_addr().unwrap();
        from.send(&to, &vec![7; 1_500 - headers(peer)]).unwrap();
        let report = report(&from);
        assert_eq!(report.error.raw_os_error(), Some(libc::EMSGSIZE));
        assert_eq!(report.origin, Origin::Icmp(Some(near.parse().unwrap())));
        assert_eq!((report.to, report.max_payload), (Some(peer), Some(1_400 - headers(peer))));
    }
}

pub(crate) fn a_report_is_news_and_in_nobodys_way() {
    for [local, peer] in LOOPBACK {
        // Whether kept or told by a connected socket: the next send and what waits are not lost.
        let (socket, at, to) = pair([local, peer]);
        socket.keep_reports().unwrap();
        let gone = here(peer);
        let nobody = socket.destination(gone.local_addr().unwrap(), None);
        drop(gone);
        socket.send(&nobody, b"to nobody").unwrap();
        socket.send(&to, b"to somebody").unwrap();
        assert_eq!(receive_datagrams(&at, 1), [b"to somebody"]);
        assert_eq!(socket.take_report().unwrap().error.kind(), ErrorKind::ConnectionRefused);

        let port = socket.local_addr().unwrap().port();
        let back = at.destination((at.local_addr().unwrap().ip(), port).into(), None);
        socket.send(&nobody, b"to nobody").unwrap();
        at.send(&back, b"waits behind").unwrap();
        let mut batch = RecvBatch::new();
        let error = batch.receive(&socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(batch.messages().count(), 0);
        assert_eq!(batch.receive(&socket).unwrap(), 1);
        assert!(socket.take_report().is_some());
        assert!(socket.take_report().is_none());
        assert_eq!(batch.receive(&socket).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
