//! The TPACKET_V3 receive ring.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime};

use acton_raw::{Error, Filter, PacketType, RawSocket, Ring, RingConfig, VlanTag, Wake};
use testbed::sh;

use crate::veth::{B, MOMENT, SOON, frame, link, number, open};

fn small() -> RingConfig {
    RingConfig::default().block_size(4096).blocks(4).hold(Duration::from_millis(2))
}

fn open_ring(config: RingConfig) -> Ring {
    RawSocket::builder("b").build_ring(config).unwrap()
}

/// The next `count` frames as the ring gives them, through `look`.
fn each(ring: &mut Ring, count: usize, mut look: impl FnMut(acton_raw::Frame<'_>)) {
    let mut got = 0;
    while got < count {
        let block = ring.next_block(SOON).unwrap().expect("frames must come");
        for frame in block.frames() {
            look(frame);
            got += 1;
        }
    }
    assert_eq!(got, count);
}

/// 2,000 frames of changing length through room for some 80.
pub(crate) fn ring_keeps_order_around_its_end() {
    link();
    let a = open("a");
    let mut ring = open_ring(small());
    let (mut next, mut blocks) = (0, 0);
    for round in 0..100 {
        for index in 0..20 {
            let number = round * 20 + index;
            a.send(&frame(B, number, 16 + usize::from(number % 97))).unwrap();
        }
        while next < (round + 1) * 20 {
            let block = ring.next_block(SOON).unwrap().expect("frames must come");
            blocks += 1;
            for received in block.frames() {
                assert_eq!(received.bytes, frame(B, next, 16 + usize::from(next % 97)));
                next += 1;
            }
        }
    }
    assert!(blocks > 8, "went round at least twice");
    let statistics = ring.statistics().unwrap();
    assert_eq!((statistics.received, statistics.dropped), (2000, 0));
    assert!(ring.next_block(MOMENT).unwrap().is_none());
}

pub(crate) fn ring_tells_about_frames() {
    link();
    let a = open("a");
    let mut ring = open_ring(small());
    let before = SystemTime::now();
    let plain = frame([0xff; 6], 1, 60);
    let mut tagged = Vec::new();
    let tag = VlanTag { tpid: 0x88a8, tci: 0x6123 };
    tag.insert(&plain, &mut tagged);
    a.send(&tagged).unwrap();
    ring.send(&frame([0xff; 6], 2, 60)).unwrap();
    let (mut scratch, mut count) = (Vec::new(), 0);
    each(&mut ring, 1, |received| {
        assert_eq!(received.meta.packet_type, PacketType::Broadcast);
        assert_eq!((received.meta.captured_len, received.meta.original_len), (60, 60));
        assert_eq!(received.meta.vlan, Some(tag));
        assert!((before..=SystemTime::now()).contains(&received.meta.timestamp));
        assert_eq!(received.bytes, plain);
        assert_eq!(received.tagged(&mut scratch), tagged);
        count += 1;
    });
    assert_eq!(count, 1);

    // What another socket sends is seen going out.
    open("b").send(&plain).unwrap();
    each(&mut ring, 1, |received| {
        assert_eq!(received.meta.packet_type, PacketType::Outgoing);
    });
}

pub(crate) fn ring_cuts_and_filters() {
    link();
    let a = open("a");
    let builder = RawSocket::builder("b").filter(Filter::ethertype(0x88b5)).snaplen(40);
    let mut ring = builder.build_ring(small()).unwrap();
    a.send(&[0xff; 60]).unwrap();
    a.send(&frame(B, 7, 100)).unwrap();
    each(&mut ring, 1, |received| {
        assert_eq!((received.meta.captured_len, received.meta.original_len), (40, 100));
        assert_eq!(received.bytes, &frame(B, 7, 100)[..40]);
    });

    // A frame larger than a block is cut too.
    sh("ip link set dev a mtu 9000 && ip link set dev b mtu 9000");
    let mut ring = open_ring(small());
    a.send(&frame(B, 8, 9000)).unwrap();
    each(&mut ring, 1, |received| {
        assert_eq!(received.meta.original_len, 9000);
        assert!(received.meta.is_truncated());
        assert_eq!(received.bytes, &frame(B, 8, 9000)[..received.meta.captured_len]);
    });
}

pub(crate) fn ring_counts_what_it_drops() {
    link();
    let a = open("a");
    let mut ring = open_ring(small().blocks(2));
    for index in 0..500 {
        a.send(&frame(B, index, 1000)).unwrap();
    }
    let (mut received, mut last) = (0, None);
    while let Some(block) = ring.next_block(MOMENT).unwrap() {
        for frame in block.frames() {
            assert!(last < Some(number(frame.bytes)), "in order");
            last = Some(number(frame.bytes));
            received += 1;
        }
    }
    let statistics = ring.statistics().unwrap();
    assert!((1..500).contains(&received));
    assert_eq!(statistics.received, received);
    assert_eq!(statistics.dropped, 500 - received);
    assert!(statistics.ring_freezes > 0);
    assert_eq!(ring.statistics().unwrap(), statistics);

    // The ring goes on.
    a.send(&frame(B, 600, 1000)).unwrap();
    each(&mut ring, 1, |frame| assert_eq!(number(frame.bytes), 600));
}

pub(crate) fn ring_waits_and_stops() {
    link();
    let a = open("a");
    let mut ring = open_ring(small());
    for _ in 0..3 {
        assert!(ring.next_block(Some(Duration::ZERO)).unwrap().is_none());
    }
    assert_eq!(ring.wait(None, MOMENT).unwrap(), Wake::TimedOut);
    a.send(&frame(B, 1, 60)).unwrap();
    assert_eq!(ring.wait(None, SOON).unwrap(), Wake::Ready);
    let block = ring.next_block(Some(Duration::ZERO)).unwrap().unwrap();
    assert_eq!(block.frames().count(), 1);
    assert_eq!(block.frames().count(), 1, "until it is given back");
    drop(block);

    let (stopper, stop) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| ring.wait(Some(stop.as_fd()), SOON).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(stopper);
        assert_eq!(waiter.join().unwrap(), Wake::Stopped);
    });
}

pub(crate) fn ring_of_a_link_that_is_gone() {
    link();
    let a = open("a");
    let mut ring = open_ring(small());
    a.send(&frame(B, 1, 60)).unwrap();
    each(&mut ring, 1, |frame| assert_eq!(number(frame.bytes), 1));
    sh("ip link del dev a");
    let error = ring.next_block(SOON).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
}

pub(crate) fn ring_config_is_checked() {
    link();
    for config in [
        small().block_size(5000),
        small().block_size(0),
        small().blocks(0),
        small().block_size(1 << 31).blocks(u32::MAX),
    ] {
        let error = RawSocket::builder("b").build_ring(config).unwrap_err();
        let Error::Step { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput, "{config:?}");
        assert!(error.to_string().starts_with("b: cannot make the receive ring"), "{error}");
    }
}
