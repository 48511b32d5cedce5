//! Frames out and in, and what the kernel tells about them.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, SystemTime};

use acton_raw::{
    Checksum, Fanout, FanoutMode, Frame, PacketType, RawSocket, RecvBatch, VlanTag, Wake,
};
use nix::sys::socket::{TimestampingFlag, setsockopt, sockopt};
use testbed::sh;

use crate::veth::{
    A, B, MOMENT, SOON, assert_silent, frame, link, number, open, receive, settle, wait_until,
};

pub(crate) fn packet_types() {
    link();
    let (a, b) = (open("a"), open("b"));
    for (to, expected) in [
        (B, PacketType::Host),
        ([0xff; 6], PacketType::Broadcast),
        ([0x33, 0x33, 0, 0, 0, 1], PacketType::Multicast),
        ([2, 0, 0, 0, 0, 0xc], PacketType::OtherHost),
    ] {
        let sent = frame(to, 0, 60);
        a.send(&sent).unwrap();
        let (meta, bytes) = receive(&b);
        assert_eq!((meta.packet_type, meta.original_len), (expected, 60));
        assert_eq!((meta.vlan, meta.checksum), (None, Checksum::Unknown));
        assert_eq!(bytes, sent);
    }
    assert_silent(&b);
}

pub(crate) fn own_frames_are_outgoing() {
    link();
    let (a, observer) = (open("a"), open("a"));
    // In line, as nobody has taken it out yet.
    let mut tagged = Vec::new();
    VlanTag { tpid: 0x8100, tci: 5 }.insert(&frame(B, 0, 60), &mut tagged);
    a.send(&tagged).unwrap();
    let (meta, bytes) = receive(&observer);
    assert_eq!((meta.packet_type, meta.vlan), (PacketType::Outgoing, None));
    assert_eq!(bytes, tagged);
    assert_silent(&a);
}

pub(crate) fn truncation_shows() {
    link();
    let (a, b) = (open("a"), open("b"));
    let short = RawSocket::builder("b").snaplen(30).nonblocking(true).build().unwrap();
    let sent = frame(B, 0, 100);
    a.send(&sent).unwrap();
    assert_eq!(b.wait(None, SOON).unwrap(), Wake::Ready);
    let mut buffer = [0; 20];
    let meta = b.recv(&mut buffer).unwrap();
    assert_eq!((meta.captured_len, meta.original_len), (20, 100));
    assert!(meta.is_truncated());
    assert_eq!(buffer, sent[..20]);

    let (meta, bytes) = receive(&short);
    assert_eq!((meta.captured_len, meta.original_len), (30, 100));
    assert_eq!(bytes, sent[..30]);
    for len in [14, 15, 1514] {
        a.send(&frame(B, 0, 1514)[..len]).unwrap();
        let (meta, bytes) = receive(&b);
        assert_eq!((meta.original_len, meta.is_truncated()), (len, false));
        assert_eq!(bytes, frame(B, 0, 1514)[..len]);
    }
    let error = a.send(&frame(B, 0, 1515)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    assert_eq!(a.send(&[0; 13]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

pub(crate) fn timestamp_is_now() {
    link();
    let (a, b) = (open("a"), open("b"));
    // The kernel begins to stamp some time after the first socket asks for it; until then it
    // stamps what is read when it is read.
    wait_until("the stamp is of arrival, not of reading", || {
        let before = SystemTime::now();
        a.send(&frame(B, 0, 60)).unwrap();
        assert_eq!(b.wait(None, SOON).unwrap(), Wake::Ready);
        let arrived = SystemTime::now();
        thread::sleep(Duration::from_millis(10));
        let stamp = receive(&b).0.timestamp;
        assert!((before..=SystemTime::now()).contains(&stamp));
        stamp <= arrived
    });
}

/// The kernel takes the outermost tag out; put back, the frame is what was sent.
pub(crate) fn vlan_tag_goes_back() {
    link();
    let (a, b) = (open("a"), open("b"));
    let plain = frame(B, 0, 60);
    let (inner, outer) =
        (VlanTag { tpid: 0x8100, tci: 0xb064 }, VlanTag { tpid: 0x88a8, tci: 0x0fff });
    let (mut once, mut twice, mut wire) = (Vec::new(), Vec::new(), Vec::new());
    inner.insert(&plain, &mut once);
    outer.insert(&once, &mut twice);
    for (sent, tag, stripped) in [(&once, inner, &plain), (&twice, outer, &once)] {
        a.send(sent).unwrap();
        let (meta, bytes) = receive(&b);
        assert_eq!(meta.vlan, Some(tag));
        assert_eq!(meta.original_len, stripped.len());
        assert_eq!(bytes, *stripped);
        assert_eq!(Frame { meta, bytes: &bytes }.tagged(&mut wire), sent);
    }
    a.send(&plain).unwrap();
    let (meta, bytes) = receive(&b);
    assert_eq!(Frame { meta, bytes: &bytes }.tagged(&mut wire), plain);
}

/// Who has the descriptor may have asked the kernel for more than this crate does.
pub(crate) fn other_control_messages_do_no_harm() {
    link();
    let (a, b) = (open("a"), open("b"));
    let tag = VlanTag { tpid: 0x88a8, tci: 7 };
    let mut tagged = Vec::new();
    tag.insert(&frame(B, 1, 60), &mut tagged);
    let asked = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
        | TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE;
    setsockopt(&b, sockopt::Timestamping, &asked).unwrap();
    setsockopt(&b, sockopt::RxqOvfl, &1).unwrap();
    a.send(&tagged).unwrap();
    assert_eq!(receive(&b).0.vlan, Some(tag));
}

pub(crate) fn batch_of_64() {
    link();
    let (a, b) = (open("a"), open("b"));
    let frames: Vec<Vec<u8>> =
        (0..200).map(|index| frame(B, index, 60 + usize::from(index))).collect();
    let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    assert_eq!(a.send_batch(&slices).unwrap(), 200);
    assert_eq!(a.send_batch(&[]).unwrap(), 0);

    let mut batch = RecvBatch::new(RecvBatch::MAX, 200);
    let mut got = 0;
    let mut largest = 0;
    while got < 200 {
        assert_eq!(b.wait(None, SOON).unwrap(), Wake::Ready);
        let count = b.recv_batch(&mut batch).unwrap();
        assert_eq!((batch.len(), batch.frames().len()), (count, count));
        largest = largest.max(count);
        for received in batch.frames() {
            let sent = &frames[got];
            assert_eq!(received.meta.original_len, sent.len());
            assert_eq!(received.bytes, &sent[..sent.len().min(200)]);
            got += 1;
        }
    }
    assert_eq!(largest, 64);
    assert_eq!(b.recv_batch(&mut batch).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(batch.is_empty());

    b.set_nonblocking(false).unwrap();
    a.send(&frames[0]).unwrap();
    assert_eq!(b.recv_batch(&mut batch).unwrap(), 1, "waits for the first frame only");
}

pub(crate) fn partial_batch() {
    link();
    let (a, b) = (open("a"), open("b"));
    let (good, long) = (frame(B, 0, 60), frame(B, 0, 2000));
    assert_eq!(a.send_batch(&[&good, &long, &good]).unwrap(), 1);
    let error = a.send_batch(&[&long, &good]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    let mut frames = vec![good.as_slice(); 64];
    frames.push(&long);
    assert_eq!(a.send_batch(&frames).unwrap(), 64);
    for _ in 0..65 {
        assert_eq!(number(&receive(&b).1), 0);
    }
    assert_silent(&b);
}

pub(crate) fn fanout_shares_frames() {
    link();
    let a = open("a");
    let member = || {
        let fanout = Fanout::new(3, FanoutMode::RoundRobin);
        RawSocket::builder("b").fanout(fanout).nonblocking(true).build().unwrap()
    };
    let members = [member(), member()];
    for index in 0..100 {
        a.send(&frame(B, index, 60)).unwrap();
    }
    let mut all = Vec::new();
    for member in &members {
        all.extend((0..50).map(|_| number(&receive(member).1)));
        assert_silent(member);
    }
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
}

pub(crate) fn statistics_add_up() {
    link();
    let a = open("a");
    let b = RawSocket::builder("b").receive_buffer(1).nonblocking(true).build().unwrap();
    assert_eq!(b.statistics().unwrap(), Default::default());
    for round in 1..=2 {
        for index in 0..500 {
            a.send(&frame(B, index, 1000)).unwrap();
        }
        let mut received = 0;
        while b.recv(&mut []).is_ok() {
            received += 1;
        }
        let statistics = b.statistics().unwrap();
        assert!((1..500).contains(&received), "a queue of the least size holds some frames");
        assert_eq!(statistics.received, round * received);
        assert_eq!(statistics.dropped, round * (500 - received));
        assert_eq!(statistics.ring_freezes, 0);
        assert_eq!(b.statistics().unwrap(), statistics, "reading does not clear");
    }
}

pub(crate) fn qdisc_bypass_is_unseen() {
    link();
    let (observer, b) = (open("a"), open("b"));
    let bypass = RawSocket::builder("a").qdisc_bypass(true).build().unwrap();
    bypass.send(&frame(B, 1, 60)).unwrap();
    assert_eq!(number(&receive(&b).1), 1);
    assert_silent(&observer);
    open("a").send(&frame(B, 2, 60)).unwrap();
    assert_eq!(number(&receive(&b).1), 2);
    assert_eq!(number(&receive(&observer).1), 2);
}

pub(crate) fn ignore_outgoing_leaves_them_out() {
    link();
    let (sender, b) = (open("a"), open("b"));
    let a = RawSocket::builder("a").ignore_outgoing(true).nonblocking(true).build().unwrap();
    sender.send(&frame(B, 1, 60)).unwrap();
    assert_silent(&a);
    b.send(&frame(A, 2, 60)).unwrap();
    let (meta, bytes) = receive(&a);
    assert_eq!((meta.packet_type, number(&bytes)), (PacketType::Host, 2));
    let a = RawSocket::builder("a").ignore_outgoing(true).nonblocking(true);
    let a = a.fanout(Fanout::new(4, FanoutMode::Hash)).build().unwrap();
    sender.send(&frame(B, 3, 60)).unwrap();
    assert_silent(&a);
    b.send(&frame(A, 4, 60)).unwrap();
    assert_eq!(number(&receive(&a).1), 4);
}

pub(crate) fn link_down_and_up_again() {
    link();
    let (a, b) = (open("a"), open("b"));
    sh("ip link set dev b down");
    let error = b.recv(&mut [0; 64]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
    assert_eq!(b.send(&frame(A, 0, 60)).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    assert_eq!(b.recv(&mut [0; 64]).unwrap_err().kind(), ErrorKind::WouldBlock);
    sh("ip link set dev b up");
    settle(["a", "b"]);
    a.send(&frame(B, 9, 60)).unwrap();
    assert_eq!(number(&receive(&b).1), 9);
}

/// Seen while it goes down, the end of an interface is still told.
pub(crate) fn link_that_goes_down_and_away() {
    link();
    let b = open("b");
    sh("ip link set dev b down");
    assert_eq!(b.wait(None, SOON).unwrap_err().raw_os_error(), Some(libc::ENETDOWN));
    assert_eq!(b.wait(None, MOMENT).unwrap(), Wake::TimedOut);
    assert!(!b.is_gone().unwrap());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| b.wait(None, SOON).unwrap_err());
        thread::sleep(Duration::from_millis(20));
        sh("ip link del dev a");
        assert_eq!(waiter.join().unwrap().raw_os_error(), Some(libc::ENODEV));
    });
    assert!(b.is_gone().unwrap());
    assert_eq!(b.wait(None, None).unwrap_err().raw_os_error(), Some(libc::ENODEV));
}

pub(crate) fn link_that_is_gone() {
    link();
    let (b, waiting) = (open("b"), open("b"));
    sh("ip link del dev a");
    assert_eq!(b.recv(&mut [0; 64]).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    assert_eq!(b.send(&frame(A, 0, 60)).unwrap_err().raw_os_error(), Some(libc::ENXIO));
    let error = waiting.wait(None, SOON).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
}

pub(crate) fn stop_ends_a_wait() {
    link();
    let b = open("b");
    let (stopper, stop) = UnixStream::pair().unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| b.wait(Some(stop.as_fd()), SOON).unwrap());
        thread::sleep(Duration::from_millis(20));
        assert!(!waiter.is_finished());
        drop(stopper);
        assert_eq!(waiter.join().unwrap(), Wake::Stopped);
    });
}
