//! Segmentation and merging over a link.

use acton_udp::UdpSocket;

use crate::hosts::{Hosts, LINK, joined, on, pattern, receive, send};

/// Datagrams and length of each: a full message.
const COUNT: usize = 45;
const SIZE: usize = 1_400;

pub(crate) fn a_segmented_run_crosses_in_one_call() {
    let hosts = Hosts::new();
    for addresses in LINK {
        let (from, at, to) = hosts.pair(addresses);
        assert!(at.merges());
        let run = pattern(COUNT * SIZE - 9);
        let counts = send(&from, |batch| batch.push_run(&to, 0, &run, SIZE));
        assert_eq!((counts.sent, counts.messages, counts.calls), (COUNT as u64, 1, 1));
        assert_eq!((counts.cut, to.segment_limit()), (0, usize::MAX));
        // veth hands the message on as it is.
        let messages = receive(&at, COUNT);
        assert_eq!(messages.len(), 1, "{addresses:?}");
        assert!(messages[0].datagrams.iter().eq(run.chunks(SIZE)));
    }
}

pub(crate) fn the_receiving_device_merges() {
    let hosts = Hosts::new();
    // Each datagram crosses the link alone, and the other end holds it back for what follows, as a
    // network card does.
    on(&hosts.left, "ethtool -K l tx-udp-segmentation off tso off");
    on(&hosts.right, "ethtool -K r gro on");
    for addresses in LINK {
        let (from, at, to) = hosts.pair(addresses);
        let run = pattern(COUNT * SIZE - 9);
        let counts = send(&from, |batch| batch.push_run(&to, 0, &run, SIZE));
        assert_eq!((counts.sent, counts.messages, counts.cut), (COUNT as u64, 1, 0));
        let messages = receive(&at, COUNT);
        assert!(messages.len() < COUNT / 2, "{} messages, {addresses:?}", messages.len());
        let datagrams = messages.iter().flat_map(|message| &message.datagrams);
        assert!(datagrams.eq(run.chunks(SIZE)));
    }
}

pub(crate) fn merging_may_be_left_out() {
    let hosts = Hosts::new();
    for [local, peer] in LINK {
        let from = hosts.left.run(|| UdpSocket::bind(local.parse().unwrap()).unwrap());
        let alone = || UdpSocket::builder().merge(false).bind(peer.parse().unwrap()).unwrap();
        let (from, at, to) = joined(from, hosts.right.run(alone));
        assert!(!at.merges());
        let run = pattern(COUNT * SIZE - 9);
        let counts = send(&from, |batch| batch.push_run(&to, 0, &run, SIZE));
        assert_eq!((counts.sent, counts.messages, counts.calls), (COUNT as u64, 1, 1));
        let messages = receive(&at, COUNT);
        assert_eq!(messages.len(), COUNT);
        assert!(messages.iter().flat_map(|message| &message.datagrams).eq(run.chunks(SIZE)));
    }
}
