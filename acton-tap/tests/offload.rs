//! Cutting and joining frames, without a kernel.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU16;

use acton_frame::{Tag, Tags};
use acton_tap::offload::{
    Coalescer, Fill, Headers, MAX_HEAD, Malformed, NotPartial, Segments, Sum, SuperFrame, Trust,
    partial_checksum,
};
use acton_tap::{Checksum, Gso, GsoKind, Offloads, VnetHeader};
use offload_frames::any::{flow, packet};
use offload_frames::{CWR, FIN, PSH, Packet, cases};
use proptest::prelude::*;

mod offload_frames;

/// A frame as written to a TAP, and how many it was made of.
#[derive(Debug, Clone, PartialEq)]
struct Written {
    header: VnetHeader,
    frame: Vec<u8>,
    frames: usize,
}

impl Written {
    fn of(super_frame: &SuperFrame<'_>) -> Self {
        let bytes = super_frame.pieces().iter().flat_map(|piece| piece.iter().copied());
        let bytes: Vec<_> = bytes.collect();
        let (header, frame) = bytes.split_first_chunk().unwrap();
        let header = VnetHeader::decode(header).unwrap();
        assert_eq!(header, super_frame.header());
        assert_eq!(frame.len(), super_frame.frame_len());
        assert_eq!(super_frame.members().count(), super_frame.frames());
        Self { header, frame: frame.to_vec(), frames: super_frame.frames() }
    }
}

fn coalesce<'f>(frames: impl IntoIterator<Item = &'f Vec<u8>>, trust: Trust) -> Vec<Written> {
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut written = Vec::new();
    let mut batch = coalescer.batch(|super_frame| written.push(Written::of(super_frame)));
    for frame in frames {
        batch.push(frame, trust).unwrap();
    }
    drop(batch);
    written
}

fn any_tag() -> impl Strategy<Value = (u16, u16)> {
    (prop::sample::select(vec![0x8100, 0x88a8]), any::<u16>())
}

fn segment(header: &VnetHeader, frame: &[u8], max_frame: usize, fill: Fill) -> Vec<Vec<u8>> {
    let mut segments = Segments::new(header, frame, max_frame, fill).unwrap();
    let mut copies = segments.clone();
    let longest = segments.frame_len();
    let mut head = [0; MAX_HEAD];
    let mut buffer = vec![0; 1 << 17];
    let mut frames = Vec::new();
    while let Some(segment) = segments.next_in(&mut head) {
        let frame = [segment.head, segment.payload].concat();
        assert_eq!(copies.copy_next(&mut buffer), Some(frame.len()));
        assert_eq!(buffer[..frame.len()], frame);
        assert!(frame.len() == longest || frame.len() < longest && segments.is_empty());
        frames.push(frame);
    }
    assert_eq!((copies.copy_next(&mut buffer), copies.frame_len()), (None, 0));
    frames
}

/// The cases of the kernel's test of GRO.
#[test]
fn gro_joins_as_the_kernel_does() {
    for case in cases::all() {
        let written = coalesce(&case.frames, Trust::Verify);
        let mut index = 0;
        let mut lengths = Vec::new();
        for super_frame in &written {
            lengths.push(super_frame.frame.len() - case.packets[index].head());
            index += super_frame.frames;
        }
        assert_eq!(lengths, case.expected, "{}", case.name);
        // What is cut up again is what came.
        let cut = written.iter().flat_map(|super_frame| {
            segment(&super_frame.header, &super_frame.frame, 1 << 16, Fill::Full)
        });
        if case.seen {
            // Flows, which their source ports tell, may pass each other.
            let port = case.packets[0].transport();
            let [cut, came] = [cut.collect(), case.frames].map(|mut frames: Vec<_>| {
                frames.sort_by_key(|frame| [frame[port], frame[port + 1]]);
                frames
            });
            assert!(cut == came, "{}", case.name);
        }
    }
}

#[test]
fn a_super_frame_is_what_the_kernel_takes() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let first = Packet::new(v6, udp, 100).with(|packet| packet.tags = vec![(0x8100, 7)]);
        let packets = first.run(3);
        let frames: Vec<_> = packets.iter().map(Packet::frame).collect();
        let whole = Packet { payload: offload_frames::content(300, 100), ..first };
        let (header, frame) = whole.super_frame(100);
        assert_eq!(coalesce(&frames, Trust::Verify), [Written { header, frame, frames: 3 }]);
    }
}

#[test]
fn a_frame_alone_goes_as_it_came() {
    let packet = Packet::new(false, false, 100);
    let odd = vec![0xff; 60];
    let mut broken = packet.frame();
    broken[60] ^= 1;
    for frame in [&odd, &broken, &packet.frame(), &vec![], &vec![0; 13]] {
        let alone = |header| [Written { header, frame: frame.clone(), frames: 1 }];
        assert_eq!(coalesce([frame], Trust::Verify), alone(VnetHeader::default()));
        let header = VnetHeader { checksum: Checksum::Valid, ..VnetHeader::default() };
        assert_eq!(coalesce([frame], Trust::Vouched), alone(header));
    }
    let frame = packet.partial();
    let header = VnetHeader { checksum: packet.partial_checksum(), ..VnetHeader::default() };
    let alone = Written { header, frame: frame.clone(), frames: 1 };
    assert_eq!(coalesce([&frame], Trust::Partial), [alone]);
}

#[test]
fn only_what_can_be_partial_is_taken_as_partial() {
    let packet = Packet::new(false, true, 100);
    let padded = [packet.partial(), vec![0; 4]].concat();
    let fragment = packet.clone().with(|packet| packet.fragment = 0x2000).partial();
    let other = [vec![0xff; 12], vec![8, 6], vec![0; 46]].concat();
    let none = Vec::new();
    // A UDP packet behind so many extension headers that the vnet header cannot say where it starts.
    let plain = Packet::new(true, true, 0).partial();
    let (headers, datagram) = plain.split_at(14 + 40);
    let extension = |next, units| [vec![next, units], vec![0; 8 * usize::from(units) + 6]].concat();
    let extensions = [extension(60, 255).repeat(31), extension(17, 253)].concat();
    let mut far = [headers, &extensions, datagram].concat();
    let length = u16::try_from(far.len() - 14 - 40).unwrap();
    far[18..20].copy_from_slice(&length.to_be_bytes());
    far[20] = 60;
    assert!(14 + 40 + extensions.len() > 65_535);
    let mut written = 0;
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut batch = coalescer.batch(|super_frame| written += super_frame.frames());
    for frame in [&padded, &fragment, &other, &none, &far] {
        assert_eq!(partial_checksum(frame), None);
        assert_eq!(batch.push(frame, Trust::Partial), Err(NotPartial));
        batch.push(frame, Trust::Verify).unwrap();
    }
    drop(batch);
    assert_eq!(written, 5);
    // Extension headers do not hide it.
    for kind in [0, 43, 60] {
        let extended = Packet::new(true, false, 9).with(|packet| {
            packet.extension = kind;
            packet.ip_options = vec![6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        });
        assert_eq!(partial_checksum(&extended.partial()), Some(extended.partial_checksum()));
    }
}

#[test]
fn trust_decides_what_is_verified() {
    let run = Packet::new(true, false, 100).run(3);
    let [intact, partial] =
        [Packet::frame, Packet::partial].map(|bytes| run.iter().map(bytes).collect::<Vec<_>>());
    let mut spoiled = intact.clone();
    spoiled[1][100] ^= 1;
    assert_eq!(coalesce(&spoiled, Trust::Verify).len(), 3);
    assert_eq!(coalesce(&spoiled, Trust::Vouched).len(), 1, "its checksum is not looked at");
    assert_eq!(coalesce(&partial, Trust::Verify).len(), 3, "no partial checksum is right");
    let mut without = [Packet::new(true, true, 100).frame(), Packet::new(true, true, 100).frame()];
    without[1][60..62].fill(0);
    assert_eq!(coalesce(&without, Trust::Vouched).len(), 2, "it has no checksum");
    let whole = coalesce(&intact, Trust::Verify);
    assert_eq!(whole.len(), 1);
    assert_eq!(coalesce(&partial, Trust::Partial), whole);
}

#[test]
fn flows_grow_side_by_side_and_keep_their_order() {
    let flow = |port| Packet::new(false, true, 60).with(|packet| packet.ports.0 = port).run(4);
    let flows: Vec<_> = (0..8).map(flow).collect();
    let frames: Vec<_> =
        (0..4).flat_map(|turn| flows.iter().map(move |flow| flow[turn].frame())).collect();
    let written = coalesce(&frames, Trust::Verify);
    assert_eq!(written.iter().map(|one| one.frames).collect::<Vec<_>>(), [4; 8]);

    // A ninth takes the place of the oldest, so the oldest's next is the newest.
    let ninth = flow(9)[0].frame();
    let nine = frames[..8].iter().chain([&ninth, &frames[9], &frames[8]]);
    let written = coalesce(nine, Trust::Verify);
    let frames_in: Vec<_> = written.iter().map(|one| one.frames).collect();
    assert_eq!(frames_in, [1, 2, 1, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!((&written[0].frame, &written[9].frame), (&frames[0], &frames[8]));

    // Ports alone make no flow: MAC addresses, VLAN and IP addresses do too.
    for changed in [0, 6, 14, 16 + 4 + 12, 16 + 4 + 16] {
        let run = flow(1)
            .into_iter()
            .map(|packet| packet.with(|packet| packet.tags = vec![(0x8100, 7)]).frame());
        let frames: Vec<_> = run
            .flat_map(|frame| {
                let mut other = frame.clone();
                other[changed] ^= 4;
                let ip = &mut other[18..38];
                ip[10..12].fill(0);
                let checksum = Sum::of(ip).checksum();
                ip[10..12].copy_from_slice(&checksum);
                [frame, other]
            })
            .collect();
        let written = coalesce(&frames, Trust::Vouched);
        assert_eq!(written.iter().map(|one| one.frames).collect::<Vec<_>>(), [4, 4], "{changed}");
    }

    // Nothing overtakes what is neither TCP nor UDP.
    let arp = [vec![0xff; 12], vec![8, 6], vec![0; 46]].concat();
    let written = coalesce([&frames[0], &frames[1], &arp, &frames[8], &frames[9]], Trust::Verify);
    assert_eq!(written[2].frame, arp);
    assert_eq!(written.len(), 5);
}

#[test]
fn only_granted_super_frames_are_made() {
    let runs = [(false, false), (true, false), (false, true), (true, true)]
        .map(|(v6, udp)| Packet::new(v6, udp, 100).run(2));
    let kinds = [Offloads::TSO4, Offloads::TSO6, Offloads::USO4, Offloads::USO6];
    for kind in kinds {
        let mut coalescer = Coalescer::new(Offloads::all());
        coalescer.set_offloads(kind | Offloads::CSUM);
        for (packets, own) in runs.iter().zip(kinds) {
            let frames: Vec<_> = packets.iter().map(Packet::frame).collect();
            let mut written = Vec::new();
            let mut batch = coalescer.batch(|super_frame| written.push(super_frame.frames()));
            frames.iter().for_each(|frame| batch.push(frame, Trust::Verify).unwrap());
            drop(batch);
            assert_eq!(written, if own == kind { vec![2] } else { vec![1, 1] });
        }
    }
}

#[test]
fn what_is_passed_goes_behind_what_was_pushed() {
    let frames: Vec<_> = Packet::new(false, true, 60).run(3).iter().map(Packet::partial).collect();
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut written = Vec::new();
    let mut batch = coalescer.batch(|super_frame| written.push(Written::of(super_frame)));
    frames[..2].iter().for_each(|frame| batch.push(frame, Trust::Partial).unwrap());
    batch.pass(&frames[2].clone(), Trust::Partial).unwrap();
    assert_eq!(batch.pass(&[0; 60], Trust::Partial), Err(NotPartial));
    batch.push(&frames[0], Trust::Partial).unwrap();
    drop(batch);
    assert_eq!(written.iter().map(|one| one.frames).collect::<Vec<_>>(), [2, 1, 1]);
    let checksum = Checksum::Partial { start: 34, offset: 6 };
    let header = VnetHeader { checksum, ..VnetHeader::default() };
    assert_eq!((written[1].header, &written[1].frame), (header, &frames[2]));
}

#[test]
fn members_are_the_frames_as_they_came() {
    let frames: Vec<_> = Packet::new(false, true, 60).run(3).iter().map(Packet::partial).collect();
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut members = Vec::new();
    let mut batch = coalescer.batch(|super_frame| {
        members.extend(super_frame.members().map(|member| (member.header, member.frame.to_vec())));
    });
    frames.iter().for_each(|frame| batch.push(frame, Trust::Partial).unwrap());
    batch.flush();
    drop(batch);
    let checksum = Checksum::Partial { start: 34, offset: 6 };
    let header = VnetHeader { checksum, ..VnetHeader::default() };
    assert!(members.into_iter().eq(frames.into_iter().map(|frame| (header, frame))));
}

#[test]
fn frames_that_are_no_super_frames_are_completed() {
    for (v6, udp) in [(false, false), (true, false), (false, true), (true, true)] {
        let packet = Packet::new(v6, udp, 101);
        let header = VnetHeader { checksum: packet.partial_checksum(), ..VnetHeader::default() };
        assert_eq!(segment(&header, &packet.partial(), 60, Fill::Full), [packet.frame()]);
        assert_eq!(segment(&header, &packet.partial(), 60, Fill::Partial), [packet.partial()]);
        // What the other end could not find is completed.
        let padded = [packet.partial(), vec![0; 3]].concat();
        let whole = [packet.frame(), vec![0; 3]].concat();
        assert_eq!(segment(&header, &padded, 60, Fill::Partial), [whole]);
    }
    // Some other protocol: the sum from byte 20 on, at byte 22.
    let mut frame = [vec![0xff; 12], vec![0x88, 0xb5], vec![0; 8], vec![0xff, 0xfe]].concat();
    let checksum = Checksum::Partial { start: 20, offset: 2 };
    let header = VnetHeader { checksum, ..VnetHeader::default() };
    let whole = segment(&header, &frame, 60, Fill::Partial);
    frame[22..].copy_from_slice(&[0, 1]);
    assert_eq!(whole, [frame.clone()]);
    assert_eq!(segment(&VnetHeader::default(), &frame, 60, Fill::Full), [frame]);
    assert_eq!(segment(&VnetHeader::default(), &[], 60, Fill::Full), [vec![]]);
}

/// A checksum of zero means that there is none (RFC 768): the other zero is sent.
#[test]
fn udp_s_checksum_is_never_zero() {
    let mut packet = Packet::new(true, true, 2);
    packet.payload = vec![0; 2];
    packet.payload = packet.frame()[60..62].to_vec();
    let header = VnetHeader { checksum: packet.partial_checksum(), ..VnetHeader::default() };
    let alone = segment(&header, &packet.partial(), 1514, Fill::Full);
    // The same datagram twice in a super-frame.
    let payload = [&packet.payload[..], &packet.payload].concat();
    let (header, frame) = Packet { payload, ..packet.clone() }.super_frame(2);
    let cut = segment(&header, &frame, 1514, Fill::Full);
    for frame in alone.iter().chain(&cut) {
        assert_eq!(frame[60..62], [0xff, 0xff]);
        assert_eq!(*frame, packet.frame());
    }
}

#[test]
fn bad_super_frames_are_refused() {
    let packet = Packet::new(false, false, 3000);
    let (header, frame) = packet.super_frame(1000);
    let refused = |header: VnetHeader, frame: &[u8], max_frame| {
        Segments::new(&header, frame, max_frame, Fill::Full).unwrap_err()
    };
    let gso = |kind| Some(Gso { kind, size: NonZeroU16::MIN, ecn: false });
    for kind in [GsoKind::Tcp6, GsoKind::Udp] {
        assert_eq!(
            refused(VnetHeader { gso: gso(kind), ..header }, &frame, 1514),
            Malformed::Headers
        );
    }
    assert_eq!(refused(header, &frame[..53], 1514), Malformed::Headers);
    let elsewhere = Checksum::Partial { start: 34, offset: 6 };
    for checksum in [Checksum::Unverified, Checksum::Valid, elsewhere] {
        assert_eq!(refused(VnetHeader { checksum, ..header }, &frame, 1514), Malformed::Checksum);
    }
    let tight = Malformed::NoRoom { head: 54, max_frame: 54 };
    assert_eq!(refused(header, &frame, 54), tight);
    assert_eq!(tight.to_string(), "headers of 54 bytes leave no room in frames of 54 bytes");
    let single = VnetHeader { gso: None, ..header };
    assert_eq!(refused(single, &frame[..51], 1514), Malformed::Outside);
    let checksum = Checksum::Partial { start: 255, offset: 0 };
    assert_eq!(refused(VnetHeader { checksum, ..single }, &frame, 1514), Malformed::LongHead(257));
    let long = Packet::new(true, false, 10).with(|packet| {
        packet.ip_options = [vec![6, 31], vec![0; 254]].concat();
    });
    let (header, frame) = long.super_frame(5);
    assert_eq!(refused(header, &frame, 1514), Malformed::LongHead(14 + 40 + 256 + 20));
    // More than an IP header can tell: no kernel sends it, but the bytes can be written.
    let mut frame = Packet::new(false, true, 100).partial();
    frame.resize(70_000, 0);
    let header = VnetHeader {
        checksum: elsewhere,
        gso: Some(Gso { kind: GsoKind::Udp, size: NonZeroU16::MAX, ecn: false }),
        header_len: 42,
    };
    assert_eq!(refused(header, &frame, 1 << 17), Malformed::LongPacket(20 + 8 + 65_535));
    let gso = Some(Gso { kind: GsoKind::Udp, size: NonZeroU16::new(65_507).unwrap(), ecn: false });
    assert!(Segments::new(&VnetHeader { gso, ..header }, &frame, 1 << 17, Fill::Full).is_ok());
}

#[test]
fn tcp_is_cut_smaller_where_it_must() {
    let packet = Packet::new(false, false, 3000).with(|packet| packet.flags |= PSH | FIN | CWR);
    let (header, frame) = packet.super_frame(1460);
    let frames = segment(&header, &frame, 1054, Fill::Full);
    let whole = Packet { flags: packet.flags & !(PSH | FIN), ..packet.clone() };
    let [first, second] = [0, 1].map(|index| {
        let payload = packet.payload[index * 1000..][..1000].to_vec();
        let (id, sequence) = (100 + index as u16, 100 + index as u32 * 1000);
        let flags = if index == 0 { whole.flags } else { whole.flags & !CWR };
        Packet { payload, id, sequence, flags, ..whole.clone() }
    });
    let third = Packet { flags: packet.flags & !CWR, ..second.next() };
    assert_eq!(frames, [&first, &second, &third].map(Packet::frame));

    let datagrams = Packet::new(false, true, 3000);
    let (header, frame) = datagrams.super_frame(1400);
    let lengths: Vec<_> = segment(&header, &frame, 1054, Fill::Full).iter().map(Vec::len).collect();
    assert_eq!(lengths, [1442, 1442, 242], "datagrams stay whole");
}

proptest! {
    #[test]
    fn segment_then_coalesce_gives_back_the_super_frame(
        packet in packet(), size in 1..2000_u16, segments in 2..=64_usize, last in 1..2000_usize,
        partial in any::<bool>(),
    ) {
        let most = 65_535 - packet.head();
        let length = (segments - 1) * usize::from(size) + last.min(usize::from(size));
        prop_assume!(length <= most);
        let packet = Packet { payload: offload_frames::content(length, 7), ..packet };
        let (header, frame) = packet.super_frame(size);
        let (fill, trust) =
            if partial { (Fill::Partial, Trust::Partial) } else { (Fill::Full, Trust::Verify) };
        let frames = segment(&header, &frame, 1 << 16, fill);
        prop_assert_eq!(frames.len(), segments);
        let expected = Written { header, frame, frames: segments };
        prop_assert_eq!(coalesce(&frames, trust), vec![expected]);
    }

    /// Tags that are written behind the addresses do as those that stand there already.
    #[test]
    fn tags_from_outside_are_as_tags_of_the_frame(
        packets in flow(),
        sets in prop::collection::vec(prop::collection::vec(any_tag(), 0..=2), 1..4),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        partial in any::<bool>(),
    ) {
        let choices = choices.iter().cycle().map(|choice| choice.get(&sets));
        let packets = packets.iter().filter(|(packet, _)| !partial || packet.fragment & 0x2000 == 0);
        let frames: Vec<_> = packets
            .zip(choices)
            .map(|((packet, broken), tags)| {
                let with = |tags: &[(u16, u16)]| {
                    let packet = Packet { tags: tags.to_vec(), ..packet.clone() };
                    let mut frame = if partial { packet.partial() } else { packet.frame() };
                    *frame.last_mut().unwrap() ^= u8::from(*broken && !partial);
                    frame
                };
                let tag = |(tpid, tci)| Tag { tpid, tci };
                let outside = match **tags {
                    [] => Tags::NONE,
                    [one] => Tags::one(tag(one)),
                    [outer, inner, ..] => Tags::two(tag(outer), tag(inner)),
                };
                (with(&[]), outside, with(tags))
            })
            .collect();
        let trust = if partial { Trust::Partial } else { Trust::Verify };
        let mut coalescer = Coalescer::new(Offloads::all());
        let (mut written, mut members) = (Vec::new(), Vec::new());
        let mut batch = coalescer.batch(|super_frame| {
            written.push(Written::of(super_frame));
            members.extend(super_frame.members().map(|member| member.tags.in_front_of(member.frame)));
        });
        for (frame, tags, _) in &frames {
            batch.push_tagged(frame, &Headers::parse(frame), *tags, trust).unwrap();
        }
        drop(batch);
        prop_assert_eq!(&written, &coalesce(frames.iter().map(|(.., tagged)| tagged), trust));
        let mut expected: Vec<_> = frames.iter().map(|(.., tagged)| tagged.clone()).collect();
        members.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(members, expected);
        // And so it is with one that does not stay.
        for (frame, tags, tagged) in frames.iter().take(3) {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            let mut batch = coalescer.batch(|super_frame| ours.push(Written::of(super_frame)));
            batch.pass_tagged(frame, &Headers::parse(frame), *tags, trust).unwrap();
            drop(batch);
            let mut batch = coalescer.batch(|super_frame| theirs.push(Written::of(super_frame)));
            batch.pass(tagged, trust).unwrap();
            drop(batch);
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn coalesce_then_segment_gives_back_the_frames(packets in flow(), partial in any::<bool>()) {
        let frames: Vec<_> = packets
            .iter()
            .filter(|(packet, _)| !partial || packet.fragment & 0x2000 == 0)
            .map(|(packet, broken)| {
                let mut frame = if partial { packet.partial() } else { packet.frame() };
                *frame.last_mut().unwrap() ^= u8::from(*broken && !partial);
                frame
            })
            .collect();
        let (fill, trust) =
            if partial { (Fill::Partial, Trust::Partial) } else { (Fill::Full, Trust::Verify) };
        let written = coalesce(&frames, trust);
        prop_assert_eq!(written.iter().map(|one| one.frames).sum::<usize>(), frames.len());
        let cut = written.iter().flat_map(|one| segment(&one.header, &one.frame, 1 << 17, fill));
        let (first, _) = &packets[0];
        let [cut, frames] = [cut.collect(), frames].map(|mut frames: Vec<_>| {
            // The two flows, which the lowest bit of the source port tells, may pass each other.
            frames.sort_by_key(|frame| frame[first.transport() + 1] & 1);
            // Ids that stayed the same with DF count up now.
            let ip = first.ip();
            if !first.v6 {
                for header in frames.iter_mut().map(|frame| &mut frame[ip..ip + 20]) {
                    if header[6] & 0x40 != 0 {
                        [header[4], header[5], header[10], header[11]] = [0; 4];
                    }
                }
            }
            frames
        });
        prop_assert_eq!(cut, frames);
    }

    #[test]
    fn no_frame_that_is_spoiled_is_joined(
        packet in packet(), at in any::<prop::sample::Index>(), bit in 0..8_u32, which in 0..3_usize,
    ) {
        let first = Packet { payload: offload_frames::content(40, 1), flags: 0x10, ..packet };
        let mut frames: Vec<_> = first.run(3).iter().map(Packet::frame).collect();
        // Neither Ethernet's nor IPv6's headers are protected.
        let from = if first.v6 { first.transport() } else { first.ip() };
        let at = from + at.index(frames[which].len() - from);
        frames[which][at] ^= 1 << bit;
        let written = coalesce(&frames, Trust::Verify);
        let spoiled = written.iter().find(|one| one.frame == frames[which]);
        prop_assert_eq!(spoiled.map(|one| (one.header, one.frames)), Some((VnetHeader::default(), 1)));
    }

    #[test]
    fn any_bytes_are_survived(
        (header, mut frame) in prop_oneof![
            (any::<[u8; VnetHeader::LEN]>(), prop::collection::vec(any::<u8>(), 0..200)),
            (packet(), 0..200_usize, 1..99_u16).prop_map(|(packet, length, size)| {
                let payload = offload_frames::content(length, 1);
                let (header, frame) = Packet { payload, ..packet }.super_frame(size);
                (header.encode(), frame)
            }),
        ],
        noise in prop::collection::vec((0..80_usize, any::<u8>()), 0..3),
        cut in 0..300_usize,
        fill in prop::sample::select(vec![Fill::Full, Fill::Partial]),
        max_frame in prop_oneof![Just(1514), 0..200_usize],
    ) {
        frame.truncate(cut);
        for (at, byte) in noise {
            if let Some(to) = frame.get_mut(at) {
                *to = byte;
            }
        }
        let header = VnetHeader::decode(&header).ok();
        let segments = header.and_then(|it| Segments::new(&it, &frame, max_frame, fill).ok());
        if let Some(mut segments) = segments {
            let mut head = [0; MAX_HEAD];
            let (mut left, mut bytes) = (segments.len(), 0);
            while let Some(segment) = segments.next_in(&mut head) {
                bytes += segment.payload.len();
                left -= 1;
            }
            prop_assert_eq!(left, 0);
            prop_assert!(bytes <= frame.len() && bytes + MAX_HEAD >= frame.len());
        }
        for trust in [Trust::Verify, Trust::Vouched] {
            let written = coalesce([&frame, &frame], trust);
            prop_assert_eq!(written.iter().map(|one| one.frames).sum::<usize>(), 2);
        }
    }

    /// A caller may mix frames up. Nothing breaks: super-frames are refused and frames stay alone,
    /// or, where the lengths happen to be equal, come out wrong.
    #[test]
    fn headers_of_another_frame_are_no_harm(
        (packet, other) in (packet(), packet()),
        (size, length) in (1..200_u16, 0..1_000_usize),
        bytes in prop::collection::vec(any::<u8>(), 200),
        fill in prop::sample::select(vec![Fill::Full, Fill::Partial]),
    ) {
        let payload = offload_frames::content(length, 1);
        let (header, frame) = Packet { payload, ..packet }.super_frame(size);
        let headers = Headers::parse(&frame);
        let longer = [other.frame(), bytes.clone()].concat();
        let refused = Segments::new_parsed(&header, &longer, &headers, 1514, fill);
        prop_assert!(frame.len() == longer.len() || refused.is_err());
        let as_long = bytes.iter().copied().cycle().take(frame.len()).collect::<Vec<_>>();
        let mut head = [0; MAX_HEAD];
        let segments = Segments::new_parsed(&header, &as_long, &headers, 1514, fill);
        let mut segments = segments.unwrap();
        while segments.next_in(&mut head).is_some() {}

        let mut coalescer = Coalescer::new(Offloads::all());
        let mut written = 0;
        let mut batch = coalescer.batch(|super_frame| written += super_frame.frames());
        for frame in [&longer, &as_long, &as_long, &frame, &frame, &as_long] {
            batch.push_parsed(frame, &headers, Trust::Vouched).unwrap();
        }
        batch.pass_parsed(&longer, &headers, Trust::Verify).unwrap();
        drop(batch);
        prop_assert_eq!(written, 7);
    }
}
