//! What the kernel counts of a socket.

use std::thread;

use acton_udp::UdpSocket;

use crate::hosts::{Hosts, LINK, SOON, here, joined, on, receive, send};

pub(crate) fn drops_and_what_waits_are_told() {
    const SENT: u32 = 500;
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let builder = UdpSocket::builder().receive_buffer(100_000).send_buffer(50_000);
        let (from, at, to) = joined(here(local), builder.bind(local.parse().unwrap()).unwrap());
        let fresh = at.kernel_statistics().unwrap();
        assert_eq!((fresh.dropped, fresh.receive_queued, fresh.send_queued), (0, 0, 0));
        assert_eq!((fresh.receive_buffer, fresh.send_buffer), (200_000, 100_000));
        let payload = [7; 1_000];
        // By turns, so that no two are in one message.
        let other = to.clone();
        send(&from, |batch| {
            for _ in 0..SENT / 2 {
                batch.push_parts(&to, [&payload]);
                batch.push_parts(&other, [&payload]);
            }
        });
        // From another thread, through a descriptor of its own.
        let clone = at.try_clone().unwrap();
        let full = thread::spawn(move || clone.kernel_statistics().unwrap()).join().unwrap();
        assert!((1..SENT).contains(&full.dropped), "{full:?}");
        let waiting = SENT - full.dropped;
        assert!((waiting * 1_000..=full.receive_buffer).contains(&full.receive_queued), "{full:?}");
        receive(&at, waiting as usize);
        let drained = at.kernel_statistics().unwrap();
        assert_eq!((drained.dropped, drained.receive_queued), (full.dropped, 0));
    }
}

pub(crate) fn what_has_not_left_is_told() {
    let hosts = Hosts::new();
    let (from, at, to) = hosts.pair(LINK[0]);
    from.send(&to, &[7; 1_000]).unwrap();
    assert!(at.wait_readable(SOON).unwrap());
    assert_eq!(from.kernel_statistics().unwrap().send_queued, 0);
    on(&hosts.left, "tc qdisc add dev l root tbf rate 8kbit burst 2000 limit 10mb");
    let run = vec![7; 20_000];
    let counts = send(&from, |batch| {
        run.chunks(1_000).for_each(|datagram| batch.push_parts(&to, [datagram]));
    });
    assert_eq!(counts.sent, 20);
    let statistics = from.kernel_statistics().unwrap();
    assert!(statistics.send_queued > 10_000, "{statistics:?}");
    assert!(statistics.send_queued < statistics.send_buffer);
}
