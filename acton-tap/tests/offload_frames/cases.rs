//! The cases of the kernel's own test of GRO (tools/testing/selftests/drivers/net/gro.c), and a
//! few more.

use super::{ACK, CWR, FIN, PSH, Packet, RST, SYN, URG};

/// Frames in the order they come in, and the bytes of payload of what they become.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) packets: Vec<Packet>,
    /// The frames as they go over the wire.
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) expected: Vec<usize>,
    /// Where the kernel joins what [`Coalescer`](acton_tap::offload::Coalescer) does not.
    pub(crate) kernel: Option<Vec<usize>>,
    /// Whether the test's TAP shows what the kernel joined: it takes no super-frame with equal IPv4
    /// ids, nor one of 65,536 bytes or more.
    pub(crate) seen: bool,
}

impl Case {
    fn new(name: &str, packets: Vec<Packet>, expected: &[usize]) -> Self {
        let version = if packets[0].v6 { "IPv6" } else { "IPv4" };
        let protocol = if packets[0].udp { "UDP" } else { "TCP" };
        let frames = packets.iter().map(Packet::frame).collect();
        let name = format!("{name} ({protocol}, {version})");
        Self { name, packets, frames, expected: expected.to_vec(), kernel: None, seen: true }
    }

    fn kernel(mut self, expected: &[usize]) -> Self {
        self.kernel = Some(expected.to_vec());
        self
    }

    fn unseen(mut self) -> Self {
        self.seen = false;
        self
    }

    /// Changes the bytes of one frame.
    fn spoil(mut self, frame: usize, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.frames[frame]);
        self
    }
}

const MSS: usize = 4096 - 60;

pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for v6 in [false, true] {
        for udp in [false, true] {
            cases.extend(both(&Packet::new(v6, udp, 100)));
        }
        cases.extend(tcp(&Packet::new(v6, false, 100)));
        cases.extend(udp(&Packet::new(v6, true, 100)));
    }
    for udp in [false, true] {
        cases.extend(ipv4(&Packet::new(false, udp, 100)));
        cases.extend(ipv6(&Packet::new(true, udp, 100)));
    }
    cases
}

/// Two packets, of which the second is changed.
fn two(first: &Packet, change: impl FnOnce(&mut Packet)) -> Vec<Packet> {
    vec![first.clone(), first.next().with(change)]
}

fn both(first: &Packet) -> Vec<Case> {
    let checksum = first.checksum();
    let small = first.clone().with(|packet| packet.payload.truncate(50));
    // As many as fit, what just fills the rest, and one byte more.
    let large = Packet::new(first.v6, first.udp, MSS);
    let most = 65_535 - large.head();
    let (count, rest) = (most / MSS, most % MSS);
    let with_rest = |rest| {
        let mut packets = large.run(count);
        packets.push(packets[count - 1].next_with(rest));
        // The last one leaves a gap, which only TCP knows.
        packets.push(packets[count].next_with(rest).with(|packet| packet.sequence += 1));
        packets
    };
    let large_rem = if first.udp {
        vec![most - rest, 2 * (rest + 1)]
    } else {
        vec![most - rest, rest + 1, rest + 1]
    };
    // The kernel has UDP datagrams overtake one whose checksum is wrong, if no id is in the way.
    let mut spoiled = Case::new("payload of the second", first.run(3), &[100, 100, 100])
        .spoil(1, |frame| *frame.last_mut().unwrap() ^= 1);
    if first.udp && first.v6 {
        spoiled = spoiled.kernel(&[100, 200]);
    }
    let tagged = first.clone().with(|packet| packet.tags = vec![(0x8100, 7)]);
    // As many flows as are joined side by side.
    let flow = |flow| first.clone().with(|packet| packet.ports.0 += flow).run(2);
    let flows: Vec<_> = (0..8).map(flow).collect();
    let capacity =
        (0..2).flat_map(|turn| flows.iter().map(move |flow| flow[turn].clone())).collect();
    vec![
        Case::new("data_same", first.run(2), &[200]),
        Case::new("data_lrg_sml", vec![first.clone(), first.next_with(50)], &[150]),
        Case::new("data_sml_lrg", vec![small.clone(), small.next_with(100)], &[50, 100]),
        Case::new(
            "a smaller one ends a run",
            {
                let second = first.next_with(50);
                vec![first.clone(), second.clone(), second.next_with(50)]
            },
            &[150, 50],
        ),
        Case::new("csum", first.run(2), &[100, 100]).spoil(1, |frame| frame[checksum] ^= 1),
        Case::new("payload of the first", first.run(2), &[100, 100])
            .spoil(0, |frame| *frame.last_mut().unwrap() ^= 1),
        spoiled,
        Case::new("trailing bytes", first.run(2), &[100, 101]).spoil(1, |frame| frame.push(0)),
        Case::new("ip_ecn", two(first, |packet| packet.tos = 2), &[100, 100]),
        Case::new("ip_tos", two(first, |packet| packet.tos = 0x40), &[100, 100]),
        Case::new("ip_ttl", two(first, |packet| packet.ttl = 7), &[100, 100]),
        Case::new("another flow", two(first, |packet| packet.ports.0 += 1), &[100, 100]),
        Case::new("capacity", capacity, &[200; 8]),
        // Only a kernel with 802.1Q joins these.
        Case::new("vlan_same", tagged.run(2), &[200]).unseen(),
        Case::new("vlan_diff", two(&tagged, |packet| packet.tags[0].1 = 8), &[100, 100]).unseen(),
        Case::new("large_max", with_rest(rest), &[most, rest]),
        Case::new("large_rem", with_rest(rest + 1), &large_rem).unseen(),
    ]
}

fn tcp(first: &Packet) -> Vec<Case> {
    let options = |bytes: &[u8]| {
        let bytes = bytes.to_vec();
        move |packet: &mut Packet| packet.tcp_options = bytes
    };
    let stamp = |order: usize, value: u8| {
        let stamp = [8, 10, 0, 0, 0, value, 0, 0, 0, 0];
        match order {
            0 => [&[1, 1], &stamp[..]].concat(),
            1 => [&[1], &stamp[..], &[1]].concat(),
            _ => [&stamp[..], &[1, 1]].concat(),
        }
    };
    // A flag in the middle of five packets, on one without payload.
    let flagged = |flags: u8| {
        let mut packets = first.run(5);
        packets[2].flags |= flags;
        packets[2].payload.clear();
        packets
    };
    let mut pushed = first.run(5);
    pushed[2].flags |= PSH;
    let mut reduced = first.run(5);
    reduced[1].flags |= CWR;
    reduced[2].flags |= CWR;
    let stamped: Vec<_> = first
        .run(5)
        .into_iter()
        .zip([(0, 0), (0, 0), (0, 100), (1, 100), (2, 100)])
        .map(|(packet, (order, value))| packet.with(options(&stamp(order, value))))
        .collect();
    let optional: Vec<_> = first
        .run(3)
        .into_iter()
        .zip([stamp(0, 0), stamp(0, 0), vec![1, 3, 3, 0]])
        .map(|(packet, bytes)| packet.with(options(&bytes)))
        .collect();
    let bare = first.clone().with(|packet| packet.payload.clear());
    let acknowledgements =
        vec![bare.clone(), bare.clone(), bare.with(|packet| packet.acknowledged += 1)];
    vec![
        Case::new("ack", acknowledgements, &[0, 0, 0]),
        Case::new("flags_psh", pushed, &[300, 200]),
        Case::new("flags_syn", flagged(SYN), &[200, 0, 200]),
        Case::new("flags_rst", flagged(RST), &[200, 0, 200]),
        Case::new("flags_urg", flagged(URG), &[200, 0, 200]),
        // The kernel's test has the two with CWR joined, but a TAP does not take them so.
        Case::new("flags_cwr", reduced, &[100, 100, 100, 200]),
        Case::new("flags_fin", two(first, |packet| packet.flags |= FIN), &[200]),
        Case::new("flags_ack", two(first, |packet| packet.flags &= !ACK), &[100, 100]),
        Case::new(
            "psh on the first",
            {
                let first = first.clone().with(|packet| packet.flags |= PSH);
                vec![first.clone(), first.next().with(|packet| packet.flags &= !PSH)]
            },
            &[100, 100],
        ),
        Case::new("tcp_seq", two(first, |packet| packet.sequence += 1), &[100, 100]),
        Case::new("a retransmission", vec![first.clone(), first.clone()], &[100, 100]),
        Case::new("tcp_ts", stamped, &[200, 100, 100, 100]),
        Case::new("tcp_opt", optional, &[200, 100]),
        Case::new("tcp_ack", two(first, |packet| packet.acknowledged += 1), &[100, 100]),
        Case::new("tcp_window", two(first, |packet| packet.window -= 1), &[100, 100]),
        Case::new(
            "sequence numbers wrap",
            first.clone().with(|packet| packet.sequence = u32::MAX - 150).run(4),
            &[400],
        ),
    ]
}

fn udp(first: &Packet) -> Vec<Case> {
    let at = first.transport();
    let many = first.run(65);
    vec![
        Case::new("no checksum", first.run(2), &[100, 100]).spoil(1, |frame| {
            frame[at + 6..at + 8].fill(0);
        }),
        Case::new("length of UDP", first.run(2), &[100, 100]).spoil(1, |frame| frame[at + 5] -= 1),
        Case::new("64 and one", many, &[6400, 100]),
    ]
}

fn ipv4(first: &Packet) -> Vec<Case> {
    let ids = |fragment: u16, ids: &[u16]| -> Vec<Packet> {
        let packets = first.run(ids.len()).into_iter().zip(ids);
        packets.map(|(packet, &id)| Packet { id, fragment, ..packet }).collect()
    };
    let mut optional = first.run(3);
    optional[1].ip_options = vec![68, 8, 5, 0, 0, 0, 0, 0];
    vec![
        Case::new("ip_id_df1_inc", ids(0x4000, &[8, 9]), &[200]),
        Case::new("ip_id_df1_fixed", ids(0x4000, &[8, 8]), &[200]).unseen(),
        Case::new("ip_id_df0_inc", ids(0, &[8, 9]), &[200]),
        Case::new("ip_id_df0_fixed", ids(0, &[8, 8]), &[100, 100]).kernel(&[200]).unseen(),
        Case::new("ip_id_df1_inc_fixed", ids(0x4000, &[8, 9, 9]), &[200, 100]),
        Case::new("ip_id_df1_fixed_inc", ids(0x4000, &[8, 8, 9]), &[200, 100]).unseen(),
        Case::new("ids go back", ids(0x4000, &[8, 9, 8]), &[200, 100]),
        Case::new("ids wrap", ids(0, &[0xffff, 0]), &[200]),
        Case::new("ids leap", ids(0x4000, &[8, 10]), &[100, 100]),
        Case::new("df of the second", two(first, |packet| packet.fragment = 0), &[100, 100]),
        Case::new("ip_opt", optional, &[100, 100, 100]),
        Case::new("ip_frag4", two(first, |packet| packet.fragment = 0x6000), &[100, 100]),
        Case::new("a later fragment", two(first, |packet| packet.fragment = 0x0010), &[100, 100]),
        Case::new("checksum of IP", first.run(2), &[100, 100]).spoil(1, |frame| frame[24] ^= 1),
    ]
}

fn ipv6(first: &Packet) -> Vec<Case> {
    let protocol = if first.udp { 17 } else { 6 };
    let extended = |kind: u8, second: u8| -> Vec<Packet> {
        let with = |last: u8| {
            let header = vec![protocol, 0, 1, 4, 0, 0, 0, last];
            move |packet: &mut Packet| (packet.ip_options, packet.extension) = (header, kind)
        };
        let packets = first.run(2);
        packets.into_iter().zip([0, second]).map(|(packet, last)| packet.with(with(last))).collect()
    };
    let mut fragmented = first.run(4);
    fragmented[2].extension = 44;
    fragmented[2].ip_options = vec![protocol, 0, 0, 0, 0, 0, 0, 0];
    // The kernel's test sleeps where this continues: the fragment ends no run there.
    fragmented.remove(3);
    vec![
        Case::new("ip_frag6", fragmented, &[200, 100]),
        Case::new("ip_v6ext_same", extended(60, 0), &[100, 100]).kernel(&[200]),
        Case::new("ip_v6ext_diff", extended(60, 1), &[100, 100]),
        Case::new("hop-by-hop", extended(0, 1), &[100, 100]),
        Case::new("hop-by-hop, the same", extended(0, 0), &[100, 100]).kernel(&[200]),
        Case::new("flow label", two(first, |packet| packet.flow_label += 1), &[100, 100]),
    ]
}
