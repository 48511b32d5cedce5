//! Packets of all kinds, by chance.

use proptest::prelude::*;

use super::{CWR, FIN, PSH, Packet, RST, SYN, URG, content};

/// Any packet that a kernel may make a super-frame of.
pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    let tags =
        prop::collection::vec((prop::sample::select(vec![0x8100, 0x88a8]), any::<u16>()), 0..3);
    let options = prop::collection::vec(any::<u8>(), 0..11);
    let numbers = (any::<(u16, u16)>(), any::<u32>(), any::<u32>(), any::<u16>(), any::<u16>());
    let bits = (any::<bool>(), any::<bool>(), any::<u8>(), 1..=u8::MAX, any::<bool>(), 0..4_u8);
    (tags, options, numbers, bits).prop_map(|(tags, options, numbers, bits)| {
        let (ports, sequence, acknowledged, window, id) = numbers;
        let (v6, udp, tos, ttl, df, flags) = bits;
        Packet {
            tags,
            tos,
            ttl,
            id,
            fragment: if df { 0x4000 } else { 0 },
            ports,
            sequence,
            acknowledged,
            window,
            flags: 0x10 | [0, PSH, FIN, FIN | PSH][usize::from(flags)],
            tcp_options: options.iter().flat_map(|&byte| [byte; 4]).collect(),
            ..Packet::new(v6, udp, 0)
        }
    })
}

/// A flow of packets that mostly follow one another, and whether the frame is to be spoiled.
pub(crate) fn flow() -> impl Strategy<Value = Vec<(Packet, bool)>> {
    let step = (0..100_u8, any::<u8>(), 1..60_usize);
    (packet(), 1..120_usize, prop::collection::vec(step, 1..100)).prop_map(
        |(first, size, steps)| {
            let mut packet = Packet { flags: 0x10, payload: content(size, 1), ..first };
            let mut packets = Vec::new();
            for (what, value, length) in steps {
                let mut broken = false;
                match what {
                    0 => packet.tos ^= value,
                    1 => packet.ttl ^= value,
                    2 => packet.sequence ^= u32::from(value),
                    3 => packet.acknowledged ^= u32::from(value),
                    4 => packet.window ^= u16::from(value),
                    5 => packet.id ^= u16::from(value),
                    6 => packet.fragment ^= 0x4000,
                    7 => packet.flow_label ^= u16::from(value),
                    8 => packet.ports.0 ^= u16::from(value & 1),
                    9 => broken = true,
                    10 => packet.flags ^= value & (FIN | SYN | RST | PSH | URG | CWR),
                    11 => packet.flags |= PSH,
                    12 if packet.tcp_options.len() < 40 => packet.tcp_options.extend([value; 4]),
                    13 | 17 => packet.payload = content(length, packet.sequence),
                    14 | 18 => packet.payload = content(size, packet.sequence),
                    15 => packet.fragment ^= 0x2000,
                    16 => packet.payload.clear(),
                    _ => {}
                }
                packets.push((packet.clone(), broken));
                let following = packet.next();
                let fragment = packet.fragment & 0x4000;
                packet = Packet { fragment, flags: 0x10, ..following };
            }
            packets
        },
    )
}
