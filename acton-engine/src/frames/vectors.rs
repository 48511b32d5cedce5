//! The test vectors of what is done to frames (docs/vectors), as acton-proto's tests write theirs.

use acton_tap::Checksum;
use acton_tap::offload::{Headers, Sum, partial_checksum};

use super::{ecn, mss};
use crate::vectors_text::Vectors;

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Ethernet with these tags in front of what comes.
fn ethernet(tags: &[u16], ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(rest);
    frame
}

/// An IPv4 packet, with `options` and the fragment field as given.
fn ipv4(tos: u8, fragment: u16, options: &[u8], protocol: u8, carried: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, tos];
    packet.extend(((header + carried.len()) as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(options);
    let sum = Sum::of(&packet).checksum();
    packet[10..12].copy_from_slice(&sum);
    packet.extend(carried);
    packet
}

/// An IPv6 packet behind extension headers of eight bytes each.
fn ipv6(class: u8, extensions: &[u8], protocol: u8, carried: &[u8]) -> Vec<u8> {
    let kinds: Vec<u8> = extensions.iter().copied().chain([protocol]).collect();
    let mut packet = vec![0x60 | class >> 4, class << 4, 0, 0];
    packet.extend(((8 * extensions.len() + carried.len()) as u16).to_be_bytes());
    packet.extend([kinds[0], 64]);
    packet.extend([0xfd; 16]);
    packet.extend([0xfc; 16]);
    for (&kind, next) in extensions.iter().zip(&kinds[1..]) {
        packet.extend([*next, 0]);
        // Padding, but in a fragment header, which says that there is no other fragment.
        packet.extend(if kind == FRAGMENT { [0; 6] } else { [1, 4, 0, 0, 0, 0] });
    }
    packet.extend(carried);
    packet
}

/// A TCP header with these flags and options, checksum 0, and no payload.
fn tcp(flags: u8, options: &[u8]) -> Vec<u8> {
    let words = (20 + options.len()) / 4;
    let mut header = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, (words as u8) << 4, flags];
    header.extend([0xff, 0xff, 0, 0, 0, 0]);
    header.extend(options);
    header
}

fn udp(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39, 0, 53];
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// Puts the pseudo-header's sum into the checksum field, which ends the header's `end` bytes.
fn with_pseudo_sum(v6: bool, protocol: u8, mut carried: Vec<u8>) -> Vec<u8> {
    let v4 = [10, 0, 0, 1, 10, 0, 0, 2];
    let addresses = if v6 { [[0xfd; 16], [0xfc; 16]].concat() } else { v4.to_vec() };
    let sum = Sum::pseudo_header(&addresses, protocol, carried.len()).folded();
    let at = if protocol == TCP { 16 } else { 6 };
    carried[at..at + 2].copy_from_slice(&sum);
    carried
}

/// The same with the whole checksum.
fn with_checksum(v6: bool, protocol: u8, carried: Vec<u8>) -> Vec<u8> {
    let mut carried = with_pseudo_sum(v6, protocol, carried);
    let sum = Sum::of(&carried).checksum();
    let at = if protocol == TCP { 16 } else { 6 };
    carried[at..at + 2].copy_from_slice(&sum);
    carried
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

#[test]
fn mss_of_a_syn() {
    let mut vectors = Vectors::new(
        "What becomes of a frame with TCP before it is sealed: `frame` over a path of `mtu`, with `csum` 1\n\
         where its checksum is partial; `sealed` is what goes on.",
    );
    let mss = |mss: u16| [&[2, 4][..], &mss.to_be_bytes()].concat();
    let odd = |value: u16| [&[1][..], &mss(value), &[1, 1, 1]].concat();
    let whole = |v6, segment| with_checksum(v6, TCP, segment);
    let v4 = |segment: Vec<u8>| ipv4(0, 0x4000, &[], TCP, &segment);
    let v6 = |extensions: &[u8], segment: Vec<u8>| ipv6(0, extensions, TCP, &segment);
    let cases = [
        ("ipv4", 1472, false, ethernet(&[], IPV4, &v4(whole(false, tcp(SYN, &mss(1460)))))),
        (
            "syn-ack",
            1472,
            false,
            ethernet(&[], IPV4, &v4(whole(false, tcp(SYN | ACK, &mss(1460))))),
        ),
        ("ipv6", 1452, false, ethernet(&[], IPV6, &v6(&[], whole(true, tcp(SYN, &mss(1440)))))),
        ("tag", 1472, false, ethernet(&[0x8100], IPV4, &v4(whole(false, tcp(SYN, &mss(1460)))))),
        (
            "two-tags",
            1472,
            false,
            ethernet(&[0x88a8, 0x8100], IPV4, &v4(whole(false, tcp(SYN, &mss(1460))))),
        ),
        (
            "ipv4-options",
            1472,
            false,
            ethernet(&[], IPV4, &ipv4(0, 0, &[1; 4], TCP, &whole(false, tcp(SYN, &mss(1460))))),
        ),
        (
            "ipv6-extensions",
            1452,
            false,
            ethernet(&[], IPV6, &v6(&[HOP_BY_HOP, DESTINATION], whole(true, tcp(SYN, &mss(1440))))),
        ),
        ("odd-offset", 1200, false, ethernet(&[], IPV4, &v4(whole(false, tcp(SYN, &odd(1460)))))),
        (
            "partial",
            1472,
            true,
            ethernet(&[], IPV4, &v4(with_pseudo_sum(false, TCP, tcp(SYN, &mss(1460))))),
        ),
        ("low-enough", 1472, false, ethernet(&[], IPV4, &v4(whole(false, tcp(SYN, &mss(1386)))))),
        ("no-syn", 1472, false, ethernet(&[], IPV4, &v4(whole(false, tcp(ACK, &mss(1460)))))),
        ("no-option", 1472, false, ethernet(&[], IPV4, &v4(whole(false, tcp(SYN, &[1; 4]))))),
        (
            "fragment",
            1472,
            false,
            ethernet(&[], IPV4, &ipv4(0, 0x2000, &[], TCP, &whole(false, tcp(SYN, &mss(1460))))),
        ),
        (
            "three-tags",
            1472,
            false,
            ethernet(&[0x88a8, 0x8100, 0x8100], IPV4, &v4(whole(false, tcp(SYN, &mss(1460))))),
        ),
    ];
    for (name, mtu, partial, frame) in cases {
        let mut sealed = frame.clone();
        let headers = Headers::parse(&frame);
        if let Some(offered) = mss::offered(&headers, &frame) {
            mss::clamp(&headers, &mut sealed, offered, mtu - 32, partial);
        }
        let same = ["low-enough", "no-syn", "no-option", "fragment", "three-tags"].contains(&name);
        assert_eq!(sealed == frame, same, "{name}");
        vectors.block(name, "");
        vectors.word("mtu", &mtu);
        vectors.word("csum", &u8::from(partial));
        vectors.bytes("frame", &frame);
        vectors.bytes("sealed", &sealed);
    }
    vectors.check("mss.txt");
}

#[test]
fn partial_checksums() {
    let mut vectors = Vectors::new(
        "A frame with a partial checksum (CSUM), and the same with the whole one; `drop` where no receiver\n\
         finds the field.",
    );
    let segment = |v6| with_pseudo_sum(v6, TCP, [tcp(ACK, &[]), vec![0x5a; 31]].concat());
    let datagram = |v6| with_pseudo_sum(v6, UDP, udp(&[0xa5; 21]));
    // Its checksum would be 0.
    let sum = with_checksum(false, UDP, udp(&[0, 0]));
    let zero = with_pseudo_sum(false, UDP, udp(&[sum[6], sum[7]]));
    let padded =
        [ethernet(&[], IPV4, &ipv4(0, 0, &[], UDP, &datagram(false))), vec![0; 4]].concat();
    let cut = ipv4(0, 0, &[], TCP, &segment(false)[..19]);
    let cases = [
        ("tcp-ipv4", ethernet(&[], IPV4, &ipv4(0, 0x4000, &[], TCP, &segment(false)))),
        ("udp-ipv4", ethernet(&[], IPV4, &ipv4(0, 0, &[], UDP, &datagram(false)))),
        ("tcp-ipv6", ethernet(&[], IPV6, &ipv6(0, &[], TCP, &segment(true)))),
        ("udp-ipv6", ethernet(&[], IPV6, &ipv6(0, &[], UDP, &datagram(true)))),
        ("tags", ethernet(&[0x88a8, 0x8100], IPV4, &ipv4(0, 0, &[], UDP, &datagram(false)))),
        ("ipv4-options", ethernet(&[], IPV4, &ipv4(0, 0, &[1; 8], TCP, &segment(false)))),
        (
            "ipv6-extensions",
            ethernet(
                &[],
                IPV6,
                &ipv6(0, &[HOP_BY_HOP, ROUTING, DESTINATION], UDP, &datagram(true)),
            ),
        ),
        ("udp-whose-checksum-is-0", ethernet(&[], IPV4, &ipv4(0, 0, &[], UDP, &zero))),
        ("icmp", ethernet(&[], IPV4, &ipv4(0, 0, &[], 1, &[8; 40]))),
        ("arp", ethernet(&[], 0x0806, &[1; 40])),
        ("ipv4-fragment", ethernet(&[], IPV4, &ipv4(0, 0x2000, &[], UDP, &datagram(false)))),
        ("ipv6-only-fragment", ethernet(&[], IPV6, &ipv6(0, &[FRAGMENT], UDP, &datagram(true)))),
        ("padding", padded),
        ("header-cut-short", ethernet(&[], IPV4, &cut)),
        ("nine-extensions", ethernet(&[], IPV6, &ipv6(0, &[DESTINATION; 9], UDP, &datagram(true)))),
    ];
    let mut dropped = 0;
    for (name, frame) in cases {
        vectors.block(name, "");
        vectors.bytes("partial", &frame);
        let Some(Checksum::Partial { start, offset }) = partial_checksum(&frame) else {
            dropped += 1;
            vectors.word("complete", &"drop");
            continue;
        };
        let (start, offset) = (usize::from(start), usize::from(offset));
        let mut sum = Sum::of(&frame[start..]).checksum();
        if offset == 6 && sum == [0, 0] {
            assert_eq!(name, "udp-whose-checksum-is-0");
            sum = [0xff, 0xff];
        }
        let mut complete = frame;
        complete[start + offset..][..2].copy_from_slice(&sum);
        vectors.bytes("complete", &complete);
    }
    assert_eq!(dropped, 7);
    vectors.check("csum.txt");
}

#[test]
fn congestion() {
    let mut vectors = Vectors::new(
        "A frame, the ECN field that its datagram `bears`, and the frame once that datagram came as CE\n\
         (`marked`), or `drop`.",
    );
    let v4 = |tos| ipv4(tos, 0, &[], UDP, &udp(&[3; 4]));
    let v6 = |class| ipv6(class, &[], UDP, &udp(&[3; 4]));
    let cases = [
        ("ipv4-not-ect", 0, ethernet(&[], IPV4, &v4(0xb8))),
        ("ipv4-ect-1", 1, ethernet(&[], IPV4, &v4(0xb9))),
        ("ipv4-ect-0", 2, ethernet(&[], IPV4, &v4(0x02))),
        ("ipv4-ce", 3, ethernet(&[], IPV4, &v4(0x03))),
        ("ipv6-not-ect", 0, ethernet(&[], IPV6, &v6(0xb8))),
        ("ipv6-ect-1", 1, ethernet(&[], IPV6, &v6(0x01))),
        ("ipv6-ect-0", 2, ethernet(&[], IPV6, &v6(0xba))),
        ("two-tags", 2, ethernet(&[0x88a8, 0x8100], IPV4, &v4(0x02))),
        ("three-tags", 0, ethernet(&[0x88a8, 0x8100, 0x8100], IPV4, &v4(0x02))),
        ("arp", 0, ethernet(&[], 0x0806, &[1; 28])),
    ];
    for (name, bears, frame) in cases {
        let headers = Headers::parse(&frame);
        assert_eq!(ecn::of(&headers, &frame), bears, "{name}");
        vectors.block(name, "");
        vectors.word("bears", &bears);
        vectors.bytes("frame", &frame);
        let mut marked = frame;
        match ecn::mark(&headers, &mut marked) {
            Ok(_) => vectors.bytes("marked", &marked),
            Err(ecn::Unmarkable) => vectors.word("marked", &"drop"),
        }
    }
    vectors.check("ecn.txt");
}
