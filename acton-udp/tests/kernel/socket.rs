//! Sockets: groups, families, connections, conversions.

use std::io::ErrorKind;
use std::net::{self, SocketAddr};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use acton_udp::{Destination, RecvBatch, SendBuffer, SendCounts, UdpSocket};

use crate::hosts::{LOOPBACK, MOMENT, SOON, here, pair, receive, receive_datagrams, send};

pub(crate) fn a_word_chooses_the_socket() {
    for [_, local] in LOOPBACK {
        let group = UdpSocket::bind_group(local.parse().unwrap(), 3).unwrap();
        let there = group[0].local_addr().unwrap();
        assert!(group.iter().all(|socket| socket.local_addr().unwrap() == there));
        let ask = |payload: &[u8]| {
            // From several sources, which alone would spread over the group.
            let sender = here(local);
            sender.send(&sender.destination(there, None), payload).unwrap();
        };
        group[1].steer_by_word(4, 2).unwrap();
        for (index, socket) in group.iter().enumerate() {
            let word = 0xabcd_ef00_u32 | index as u32;
            let payload = [&[0xff; 4][..], &word.to_be_bytes()].concat();
            (0..8).for_each(|_| ask(&payload));
            assert_eq!(receive_datagrams(socket, 8), vec![payload; 8]);
        }
        // Too short for the word.
        ask(&[3; 7]);
        assert_eq!(receive_datagrams(&group[0], 1), [[3; 7]]);
        // A number that no socket has.
        ask(&[0xff; 8]);
        let ready = |socket: &&UdpSocket| socket.wait_readable(MOMENT).unwrap();
        assert_eq!(group.iter().filter(ready).count(), 1);
        group.iter().filter(ready).for_each(|socket| drop(receive(socket, 1)));
        // All 32 bits, and none.
        group[0].steer_by_word(0, 32).unwrap();
        ask(&[0, 0, 0, 2]);
        receive(&group[2], 1);
        group[0].steer_by_word(0, 0).unwrap();
        ask(&[0xff; 4]);
        receive(&group[0], 1);
    }
}

pub(crate) fn a_port_in_use_is_noticed_by_a_group_too() {
    let local = "127.0.0.1:0".parse().unwrap();
    let group = UdpSocket::bind_group(local, 2).unwrap();
    let taken = group[0].local_addr().unwrap();
    let error = UdpSocket::bind_group(taken, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(UdpSocket::bind_group(local, 0).unwrap().len(), 1);
}

pub(crate) fn a_group_grows_from_sockets_that_were_bound_elsewhere() {
    let shared = |to: &str| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&to.parse::<SocketAddr>().unwrap().into()).unwrap();
        UdpSocket::try_from(OwnedFd::from(socket)).unwrap()
    };
    let ask = |there: SocketAddr, payload: &[u8]| {
        let sender = here("127.0.0.1:0");
        sender.send(&sender.destination(there, None), payload).unwrap();
    };
    let complete = |bound, count| UdpSocket::builder().complete_group(bound, count);
    let first = shared("127.0.0.1:0");
    let there = first.local_addr().unwrap();
    let second = shared(&there.to_string());
    // It waits for whoever takes the socket.
    ask(there, b"early");
    let group = complete(vec![first, second], 3).unwrap();
    assert_eq!(group.len(), 3);
    assert!(group.iter().all(|socket| socket.local_addr().unwrap() == there));
    let ready = |socket: &&UdpSocket| socket.wait_readable(MOMENT).unwrap();
    assert_eq!(group.iter().take(2).filter(ready).count(), 1);
    // They are a group: a word chooses among them, in their order.
    group[0].steer_by_word(0, 2).unwrap();
    ask(there, &[0, 0, 0, 2]);
    assert_eq!(receive_datagrams(&group[2], 1), [[0, 0, 0, 2]]);
    assert_eq!(complete(group, 1).unwrap().len(), 3, "each has its share");

    let alone = complete(vec![here("[::1]:0")], 2).unwrap();
    assert_eq!(alone.len(), 1, "it shares its port with nobody");
    let refused = |bound| complete(bound, 2).unwrap_err().kind();
    assert_eq!(refused(vec![here("127.0.0.1:0"), here("127.0.0.1:0")]), ErrorKind::InvalidInput);
    assert_eq!(refused(Vec::new()), ErrorKind::InvalidInput);
    let unbound = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    let unbound = UdpSocket::try_from(OwnedFd::from(unbound)).unwrap();
    assert_eq!(refused(vec![unbound]), ErrorKind::InvalidInput);
}

pub(crate) fn ipv4_arrives_at_an_ipv6_socket() {
    let both = here("[::]:0");
    assert!(both.is_ipv6());
    let port = both.local_addr().unwrap().port();
    for [local, there] in [["127.0.0.1:0", "127.0.0.1"], ["[::1]:0", "::1"]] {
        let sender = here(local);
        let there = SocketAddr::new(there.parse().unwrap(), port);
        sender.send(&sender.destination(there, None), b"hello").unwrap();
        let message = receive(&both, 1).remove(0);
        // Never in its IPv6 form.
        assert_eq!(message.from, sender.local_addr().unwrap());
        assert_eq!(message.to.map(|to| to.ip()), Some(there.ip()));
        let back = both.destination(message.from, message.to);
        both.send(&back, b"hello yourself").unwrap();
        assert_eq!(receive(&sender, 1)[0].from, there);
    }
    drop(both);
    let builder = UdpSocket::builder().ipv6_only(true);
    let _only = builder.bind((net::Ipv6Addr::UNSPECIFIED, port).into()).unwrap();
    // IPv4's port is free beside it.
    UdpSocket::bind((net::Ipv4Addr::UNSPECIFIED, port).into()).unwrap();
}

pub(crate) fn a_connected_socket_hears_its_peer_alone() {
    for addresses in LOOPBACK {
        let (socket, first, _) = pair(addresses);
        let (_, second, _) = pair(addresses);
        let to = Destination::connected();
        let error = socket.send(&to, b"to whom?").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
        for (peer, other) in [(&first, &second), (&second, &first)] {
            socket.connect(peer.local_addr().unwrap()).unwrap();
            send(&socket, |batch| batch.push_run(&to, 0, b"hello", 3));
            let heard = receive(peer, 2);
            let back = peer.destination(heard[0].from, None);
            other.send(&other.destination(heard[0].from, None), b"noise").unwrap();
            peer.send(&back, b"answer").unwrap();
            assert_eq!(receive_datagrams(&socket, 1), [b"answer"]);
        }
    }
}

pub(crate) fn sockets_made_elsewhere_serve() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let made = net::UdpSocket::bind(local).unwrap();
        let there = made.local_addr().unwrap();
        let socket = UdpSocket::try_from(made).unwrap();
        assert_eq!((socket.is_ipv6(), socket.merges()), (there.is_ipv6(), true));
        let sender = here(local);
        let to = sender.destination(there, None);
        send(&sender, |batch| batch.push_run(&to, 1, b"abcdef", 2));
        let message = receive(&socket, 3).remove(0);
        assert_eq!((message.ecn, message.to.map(|to| to.ip())), (1, Some(there.ip())));
        // And back: what std makes of it has the same port.
        let fd = OwnedFd::from(socket);
        assert_eq!(net::UdpSocket::from(fd).local_addr().unwrap(), there);
    }
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = UdpSocket::try_from(OwnedFd::from(listener)).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::InvalidInput, "not a UDP socket".into())
    );
}

pub(crate) fn buffers_work_in_another_thread() {
    let (from, at, to) = pair(LOOPBACK[0]);
    let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
    let mut received = RecvBatch::new();
    let mut batch = buffer.begin(&from, &mut counts);
    batch.push_parts(&to, [b"hello"]);
    // A batch half full goes to a thread, and buffers that were in use to another.
    thread::scope(|scope| scope.spawn(move || batch.finish()).join().unwrap());
    assert!(at.wait_readable(SOON).unwrap());
    received.receive(&at).unwrap();
    thread::scope(|scope| {
        let read = scope.spawn(|| {
            received
                .messages()
                .flat_map(|message| message.datagrams())
                .map(|d| d.to_vec())
                .collect()
        });
        let read: Vec<Vec<u8>> = read.join().unwrap();
        assert_eq!(read, [b"hello"]);
    });
    assert_eq!((counts.sent, counts.calls), (1, 1));
}

pub(crate) fn waiting_ends_in_time() {
    let (from, at, to) = pair(LOOPBACK[0]);
    let start = Instant::now();
    assert!(!at.wait_readable(Some(Duration::from_micros(30_500))).unwrap());
    assert!(start.elapsed() >= Duration::from_micros(30_500), "not before");
    thread::scope(|scope| {
        let waiter = scope.spawn(|| at.wait_readable(None).unwrap());
        from.send(&to, b"hello").unwrap();
        assert!(waiter.join().unwrap());
    });
    let there: SocketAddr = at.local_addr().unwrap();
    assert_eq!(at.try_clone().unwrap().local_addr().unwrap(), there);
}
