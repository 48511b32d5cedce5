//! `acton_tap::offload` against the kernel's own GSO and GRO.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Trust};
use acton_tap::{Checksum, Gso, Offloads, Queue, Tap, VnetHeader};
use offload_frames::{CWR, FIN, PSH, Packet, cases, content};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use testbed::sh;
use util::{PATIENCE, hush, readable};

mod offload_frames;
mod util;

/// Bytes of the largest header and frame that a TAP gives.
const LARGEST: usize = VnetHeader::LEN + 14 + 8 + 65_535;
/// The kernel holds frames for as long (see `gro_setup`); then there are no more.
const QUIET: Duration = Duration::from_millis(100);

/// A frame from a TAP.
type Read = (VnetHeader, Vec<u8>);

/// A TAP that is up and a port of `bridge`.
fn port(name: &str, bridge: &str, offloads: Offloads) -> Tap {
    let builder = Tap::builder().name(name).vnet_header(true).offloads(offloads);
    let tap = builder.build().unwrap();
    tap.interface().set_mtu(9000).unwrap();
    tap.interface().join_bridge(bridge).unwrap();
    tap.interface().up().unwrap();
    tap
}

fn bridge(name: &str) {
    // Where netfilter is told of bridged frames, it trims and drops some before GRO sees them.
    sh("test ! -d /proc/sys/net/bridge ||
        for call in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do echo 0 > $call; done");
    sh(&format!("ip link add {name} type bridge mcast_snooping 0; ip link set {name} mtu 9000 up"));
}

fn send(queue: &Queue, header: &VnetHeader, frame: &[u8]) {
    queue.send(&[&header.encode(), frame].concat()).unwrap();
}

fn receive(queue: &Queue) -> Read {
    let mut buffer = vec![0; LARGEST];
    let length = queue.recv(&mut buffer).unwrap();
    let (header, frame) = buffer[..length].split_first_chunk().unwrap();
    (VnetHeader::decode(header).unwrap(), frame.to_vec())
}

fn sample<T: Strategy>(runner: &mut TestRunner, strategy: &T) -> T::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// Super-frames of every kind, size and number of segments.
fn super_frames() -> impl Strategy<Value = (Packet, u16)> {
    use proptest::prelude::*;
    let tags = prop::collection::vec((Just(0x8100), 1..4095_u16), 0..3);
    let kind = (any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (any::<u16>(), any::<u32>(), any::<u8>(), 2..=255_u8);
    let shape = (0..11_usize, 0..3_usize, 1..1448_u16, 2..=44_usize, 1..=1448_usize);
    let flags = prop::sample::select(vec![0, PSH, FIN | PSH, CWR, CWR | PSH]);
    (tags, kind, numbers, shape, flags).prop_map(|(tags, kind, numbers, shape, flags)| {
        let (v6, udp, df) = kind;
        let (id, sequence, tos, ttl) = numbers;
        let (options, extended, size, segments, last) = shape;
        let length = usize::from(size) * (segments - 1) + last.min(size.into());
        let protocol = if udp { 17 } else { 6 };
        let ip_options = match (extended, v6) {
            (0, false) => vec![1, 1, 1, 0],
            (0, true) => vec![protocol, 0, 1, 4, 0, 0, 0, 0],
            _ => Vec::new(),
        };
        let packet = Packet {
            tags,
            id,
            sequence,
            tos,
            ttl,
            fragment: if df { 0x4000 } else { 0 },
            flags: 0x10 | flags,
            tcp_options: vec![1; options * 4],
            ip_options,
            payload: content(length, sequence),
            ..Packet::new(v6, udp, 0)
        };
        (packet, size)
    })
}

/// What the kernel makes of super-frames for a TAP with `offloads`, against what [`Segments`] does.
fn gso_is_the_kernel_s(offloads: Offloads, fill: Fill) {
    hush();
    bridge("br0");
    let from = port("from", "br0", Offloads::all());
    let to = port("to", "br0", offloads);
    let (from, to) = (&from.queues()[0], &to.queues()[0]);
    let mut runner = TestRunner::deterministic();
    let mut cut = 0;
    for _ in 0..300 {
        let (packet, size) = sample(&mut runner, &super_frames());
        let (header, frame) = packet.super_frame(size);
        send(from, &header, &frame);
        let mut segments = Segments::new(&header, &frame, LARGEST, fill).unwrap();
        let checksum = match segments.checksum() {
            Checksum::Valid => Checksum::Unverified, // the TAP does not tell
            other => other,
        };
        let mut head = [0; MAX_HEAD];
        while let Some(segment) = segments.next_in(&mut head) {
            assert!(readable(to, PATIENCE), "{packet:?}");
            let (header, frame) = receive(to);
            assert_eq!((header.checksum, header.gso), (checksum, None), "{packet:?}");
            assert_eq!(frame, [segment.head, segment.payload].concat(), "{packet:?}");
            cut += 1;
        }
    }
    assert!(cut > 3000, "{cut} segments compared");
    assert!(!readable(to, QUIET), "the kernel has nothing more");
}

fn gso_with_full_checksums() {
    gso_is_the_kernel_s(Offloads::none(), Fill::Full);
}

fn gso_with_partial_checksums() {
    gso_is_the_kernel_s(Offloads::CSUM, Fill::Partial);
}

/// Frames that are no super-frames, with a checksum to be filled in.
fn checksums_are_the_kernel_s() {
    hush();
    bridge("br0");
    let from = port("from", "br0", Offloads::all());
    let to = port("to", "br0", Offloads::none());
    let (from, to) = (&from.queues()[0], &to.queues()[0]);
    let mut runner = TestRunner::deterministic();
    for round in 0..300 {
        let (mut packet, size) = sample(&mut runner, &super_frames());
        packet.payload.truncate(size.into());
        if round % 4 == 0 {
            // The checksum of all comes out as zero, which UDP has another use for.
            packet.payload = vec![0; 2];
            packet.payload = packet.frame()[packet.checksum()..][..2].to_vec();
        }
        let header = VnetHeader { checksum: packet.partial_checksum(), ..VnetHeader::default() };
        let frame = packet.partial();
        send(from, &header, &frame);
        assert!(readable(to, PATIENCE), "{packet:?}");
        let mut segments = Segments::new(&header, &frame, LARGEST, Fill::Full).unwrap();
        let mut buffer = vec![0; frame.len()];
        assert_eq!(segments.copy_next(&mut buffer), Some(frame.len()));
        assert_eq!(receive(to).1, buffer, "{packet:?}");
    }
}

/// Two TAPs, a veth pair between them whose far end runs the kernel's GRO.
fn gro_setup() -> (Tap, Tap) {
    hush();
    bridge("br0");
    bridge("br1");
    sh("ip link add near type veth peer name far
        ethtool -K near tso off; ethtool -K far gro on rx-udp-gro-forwarding on
        ip link set near mtu 9000 master br0 up; ip link set far mtu 9000 master br1 up");
    // Frames are held for 20 ms and not only while the queue is not empty.
    sh("unshare --mount sh -ec 'mount -t sysfs none /sys
        echo 20000000 > /sys/class/net/far/gro_flush_timeout
        echo 1 > /sys/class/net/far/napi_defer_hard_irqs'");
    let from = port("from", "br0", Offloads::none());
    let to = port("to", "br1", Offloads::all());
    (from, to)
}

/// What the kernel makes of `frames`.
fn gro_of_the_kernel(from: &Queue, to: &Queue, frames: &[Vec<u8>]) -> Vec<Read> {
    for frame in frames {
        send(from, &VnetHeader::default(), frame);
    }
    let mut read = Vec::new();
    let mut patience = PATIENCE;
    while readable(to, patience) {
        read.push(receive(to));
        patience = QUIET;
    }
    read
}

/// What [`Coalescer`] makes of `frames`; vnet headers as the TAP reads them.
fn gro_of_ours(frames: &[Vec<u8>]) -> Vec<Read> {
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut written = Vec::new();
    let mut batch = coalescer.batch(|super_frame| {
        let bytes = super_frame.pieces().iter().flat_map(|piece| piece.iter().copied());
        written.push((super_frame.header(), bytes.skip(VnetHeader::LEN).collect()));
    });
    frames.iter().for_each(|frame| batch.push(frame, Trust::Verify).unwrap());
    drop(batch);
    written
}

/// A frame, and what is to be done to it if it is a super-frame.
type Meaning<'a> = (&'a [u8], Option<(Gso, Checksum)>);

/// What matters of `read`, sorted: the length of headers is only a hint, and a TAP does not tell
/// which frames the kernel verified.
fn meaning(read: &[Read]) -> Vec<Meaning<'_>> {
    let mut read: Vec<_> = read
        .iter()
        .map(|(header, frame)| (&frame[..], header.gso.map(|gso| (gso, header.checksum))))
        .collect();
    read.sort_by_key(|(frame, _)| *frame);
    read
}

/// Bytes of payload in each of `read`, sorted: the kernel lets pass first what it does not hold.
fn payloads(read: &[Read], head: impl Fn(&[u8]) -> usize) -> Vec<usize> {
    let mut lengths: Vec<_> = read.iter().map(|(_, frame)| frame.len() - head(frame)).collect();
    lengths.sort_unstable();
    lengths
}

/// The cases of the kernel's own test. The kernel lets go of the frames it holds when a jiffy ends,
/// so it may need another try to show that it joins them.
fn gro_cases() {
    let (from, to) = gro_setup();
    let (from, to) = (&from.queues()[0], &to.queues()[0]);
    for case in cases::all().iter().filter(|case| case.seen) {
        // Only the frames that differ in the length of their headers hold no more than 100 bytes.
        let head = |frame: &[u8]| {
            let same = case.packets.iter().zip(&case.frames);
            let alone = same.clone().find(|(_, own)| *own == frame);
            alone.map_or(case.packets[0].head(), |(packet, _)| packet.head())
        };
        let mut expected = case.kernel.as_ref().unwrap_or(&case.expected).clone();
        expected.sort_unstable();
        let mut kernel = Vec::new();
        for _ in 0..5 {
            kernel = gro_of_the_kernel(from, to, &case.frames);
            if payloads(&kernel, head) == expected {
                break;
            }
        }
        assert_eq!(payloads(&kernel, head), expected, "{}", case.name);
        if case.kernel.is_none() {
            assert!(meaning(&gro_of_ours(&case.frames)) == meaning(&kernel), "{}", case.name);
        }
    }
}

/// Flows by chance, without what only the kernel joins (see [`Coalescer`]), or a TAP does not show.
fn gro_of_any_flow() {
    let (from, to) = gro_setup();
    let (from, to) = (&from.queues()[0], &to.queues()[0]);
    let mut runner = TestRunner::deterministic();
    let (mut came, mut went) = (0, 0);
    for _ in 0..100 {
        let mut flow = sample(&mut runner, &offload_frames::any::flow());
        // The kernel has UDP datagrams overtake empty ones and spoiled ones.
        flow.retain(|(packet, _)| !packet.udp || !packet.payload.is_empty());
        flow.truncate(20);
        if flow.is_empty() {
            continue;
        }
        for index in 0..flow.len() {
            let before = index.checked_sub(1).map(|before| flow[before].0.id);
            let (packet, spoiled) = &mut flow[index];
            packet.tags.clear();
            packet.flags &= !CWR;
            packet.fragment &= 0x4000;
            packet.id ^= u16::from(before == Some(packet.id)) << 7;
            *spoiled &= !packet.udp;
        }
        let frames: Vec<_> = flow
            .iter()
            .map(|(packet, spoiled)| {
                let mut frame = packet.frame();
                *frame.last_mut().unwrap() ^= u8::from(*spoiled);
                frame
            })
            .collect();
        let ours = gro_of_ours(&frames);
        let same = || meaning(&gro_of_the_kernel(from, to, &frames)) == meaning(&ours);
        assert!((0..5).any(|_| same()), "{flow:?}");
        came += frames.len();
        went += ours.len();
    }
    assert!(went * 2 < came, "{went} of {came} frames: few were joined");
}

testbed::main! {
    gso_with_full_checksums,
    gso_with_partial_checksums,
    checksums_are_the_kernel_s,
    gro_cases: ["ethtool", "unshare"],
    gro_of_any_flow: ["ethtool", "unshare"],
}
