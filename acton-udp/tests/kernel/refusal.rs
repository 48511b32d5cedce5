//! What the kernel refuses: nothing is lost that could be sent, and the rest is counted.

use acton_udp::{MAX_PAYLOAD, SendBuffer, SendCounts, UdpSocket};

use crate::hosts::{
    Hosts, LINK, LOOPBACK, bind, joined, on, pair, pattern, receive_datagrams, send,
};

/// A datagram is larger than the link, so the kernel does not cut it out of a message;
/// alone it takes it, and IP fragments it.
pub(crate) fn datagrams_over_the_mtu_are_sent_one_by_one() {
    let hosts = Hosts::new();
    for addresses in LINK {
        let (from, at, to) = hosts.pair(addresses);
        let run = pattern(8 * 2_000);
        let counts = send(&from, |batch| {
            batch.push_run(&to, 0, &run, 2_000);
            batch.push_parts(&to, [b"behind", b" it"]);
        });
        assert_eq!((counts.sent, counts.bytes), (9, 16_000 + 9));
        assert_eq!((counts.cut, to.segment_limit()), (1, 1_999), "{addresses:?}");
        let mut expected: Vec<_> = run.chunks(2_000).map(<[u8]>::to_vec).collect();
        expected.push(b"behind it".to_vec());
        assert!(receive_datagrams(&at, 9) == expected);
        // It is not tried again, but what fits still goes as one message.
        let counts = send(&from, |batch| {
            batch.push_run(&to, 0, &run, 2_000);
            batch.push_run(&to, 0, &run, 1_000);
        });
        assert_eq!((counts.sent, counts.messages, counts.calls, counts.cut), (24, 9, 1, 0));
        let expected = run.chunks(2_000).chain(run.chunks(1_000));
        assert!(receive_datagrams(&at, 24).iter().eq(expected));
    }
}

/// The link carries more now, of which nobody tells.
pub(crate) fn segmentation_that_was_refused_is_tried_again() {
    let hosts = Hosts::new();
    let (from, _at, to) = hosts.pair(LINK[0]);
    let run = pattern(8 * 2_000);
    let send_run = || send(&from, |batch| batch.push_run(&to, 0, &run, 2_000));
    assert_eq!((send_run().cut, to.segment_limit()), (1, 1_999));
    on(&hosts.left, "ip link set dev l mtu 9000");
    on(&hosts.right, "ip link set dev r mtu 9000");
    let mut alone = 0;
    while to.segment_limit() != usize::MAX {
        let counts = send_run();
        assert_eq!(counts.cut, 0);
        alone += counts.sent;
    }
    assert!((1_024..1_200).contains(&alone), "{alone}");
    let counts = send_run();
    assert_eq!((counts.sent, counts.messages, counts.cut), (8, 1, 0));
}

/// Kernels before 6.11 refuse to segment there (EIO), later ones fill in the checksums themselves.
pub(crate) fn a_device_without_checksums_costs_no_datagram() {
    let hosts = Hosts::new();
    on(&hosts.left, "ethtool -K l tx off");
    for addresses in LINK {
        let (from, at, to) = hosts.pair(addresses);
        let run = pattern(20 * 1_200 - 1);
        let counts = send(&from, |batch| batch.push_run(&to, 0, &run, 1_200));
        let limit = if counts.cut == 0 { usize::MAX } else { 0 };
        assert_eq!((counts.sent, to.segment_limit()), (20, limit));
        assert_eq!(counts.messages, if counts.cut == 0 { 1 } else { 20 });
        assert!(receive_datagrams(&at, 20).iter().eq(run.chunks(1_200)));
    }
}

pub(crate) fn a_datagram_larger_than_udp_is_counted_and_the_rest_sent() {
    for addresses in LOOPBACK {
        let (from, at, to) = pair(addresses);
        let to = to.tagged(7);
        let len = 65_536;
        assert!(len > MAX_PAYLOAD);
        let payloads = [vec![1; 10], vec![2; len], vec![3; 10]];
        let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
        let mut batch = buffer.begin(&from, &mut counts);
        payloads.iter().for_each(|payload| batch.push_parts(&to, [payload]));
        batch.finish();
        assert_eq!((counts.sent, counts.too_large), (2, 1));
        assert_eq!(buffer.refused().collect::<Vec<_>>(), [(7, len)]);
        assert_eq!(buffer.refused().count(), 0);
        assert_eq!(receive_datagrams(&at, 2), [vec![1; 10], vec![3; 10]]);
        let error = from.send(&to, &payloads[1]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}

pub(crate) fn a_stuck_device_costs_what_finds_no_room() {
    let hosts = Hosts::new();
    // A kilobyte a second.
    on(&hosts.left, "tc qdisc add dev l root tbf rate 8kbit burst 2000 limit 10mb");
    let small = || UdpSocket::builder().send_buffer(1).bind("10.0.0.1:0".parse().unwrap()).unwrap();
    let (from, _at, to) = joined(hosts.left.run(small), bind(&hosts.right, LINK[0][1]));
    let run = pattern(40 * 1_000);
    // By turns, so that no two are in one message.
    let other = to.clone();
    let counts = send(&from, |batch| {
        for (datagram, to) in run.chunks(1_000).zip([&to, &other].into_iter().cycle()) {
            batch.push_parts(to, [datagram]);
        }
    });
    assert!(counts.full > 0, "{counts:?}");
    assert_eq!(counts.sent + counts.full, 40);
    let error = from.send(&to, &run[..1_000]).unwrap_err();
    assert!(acton_udp::is_full(&error), "{error}");
}

pub(crate) fn what_has_no_way_is_counted() {
    let (from, at, to) = pair(["0.0.0.0:0", "127.0.0.1:0"]);
    let nowhere = from.destination("192.0.2.1:9".parse().unwrap(), None);
    let counts = send(&from, |batch| {
        batch.push_parts(&to, [b"before"]);
        batch.push_run(&nowhere, 0, b"lost", 2);
        batch.push_parts(&to, [b"behind"]);
    });
    assert_eq!((counts.sent, counts.unreachable), (2, 2));
    assert_eq!(receive_datagrams(&at, 2), [b"before", b"behind"]);
    let error = from.send(&nowhere, b"lost").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
    // IPv6 addresses are none of an IPv4 socket's.
    let v6 = from.destination("[::1]:9".parse().unwrap(), None);
    let error = from.send(&v6, b"lost").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
}
