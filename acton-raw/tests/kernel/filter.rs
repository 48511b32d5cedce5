//! Filters, run by the kernel.

use acton_raw::{Error, Filter, Instruction, Program, RawSocket, VlanTag};
use pnet_base::MacAddr;

use testbed::sh;

use crate::veth::{A, B, assert_silent, frame, link, number, open, receive};

/// An Ethernet frame to `to` with an IP packet in it.
fn ip(to: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let ethertype: u16 = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    [to.as_slice(), &A, &ethertype.to_be_bytes(), packet].concat()
}

fn ipv4(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 24];
    packet[0] = 0x46; // with four bytes of options
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = protocol;
    packet.extend(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = next;
    packet.extend(payload);
    packet
}

/// From port 4096 to port 53.
const PORTS: [u8; 8] = [0x10, 0, 0, 53, 0, 0, 0, 0];

pub(crate) fn filter_selects_in_the_kernel() {
    link();
    let a = open("a");
    let mut tagged_arp = Vec::new();
    let arp = [&[0xff; 6][..], &A, &[0x08, 0x06], &[0; 46]].concat();
    VlanTag { tpid: 0x8100, tci: 0x2005 }.insert(&arp, &mut tagged_arp);
    let mut stacked = Vec::new();
    VlanTag { tpid: 0x88a8, tci: 7 }.insert(&tagged_arp, &mut stacked);
    let hop_by_hop = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &PORTS].concat();
    let frames = [
        arp,                                                        // 0
        tagged_arp,                                                 // 1: VLAN 5
        stacked,                                                    // 2: VLAN 7, and 5 in it
        ip(B, &ipv4(17, 0, &PORTS)),                                // 3: UDP to 53
        ip(B, &ipv4(17, 1, &PORTS)),                                // 4: a later fragment
        ip(B, &ipv4(6, 0, &PORTS)),                                 // 5: TCP to 53
        ip(B, &ipv4(6, 0, &PORTS[..3])),                            // 6: cut in the ports
        ip(B, &ipv6(17, &PORTS)),                                   // 7: UDP to 53
        ip(B, &ipv6(0, &hop_by_hop)), // 8: the same behind hop-by-hop options
        ip(B, &ipv6(58, &[0; 8])),    // 9: ICMPv6
        ip([2, 0, 0, 0, 0, 9], &ipv4(1, 0, &[])), // 10: ICMP to another host
        B.iter().chain(&A).chain(&[0x08, 0x00]).copied().collect(), // 11: no packet at all
    ];
    let (arp, udp, dns) = (Filter::ethertype(0x0806), Filter::ip_protocol(17), Filter::port(53));
    let everything: Vec<usize> = (0..frames.len()).collect();
    let cases: Vec<(Filter, Vec<usize>)> = vec![
        (arp.clone(), vec![0, 1, 2]),
        (Filter::ethertype(0x0800), vec![3, 4, 5, 6, 10, 11]),
        (Filter::tagged(), vec![1, 2]),
        (Filter::vlan(5), vec![1]),
        (Filter::vlan(7), vec![2]),
        ((!Filter::tagged()).and(arp.clone()), vec![0]),
        (udp.clone(), vec![3, 4, 7, 8]),
        (dns.clone(), vec![3, 5, 7, 8]),
        (Filter::source_port(4096), vec![3, 5, 7, 8]),
        (Filter::source_port(53), vec![]),
        (Filter::destination_port(53).and(!udp.clone()), vec![5]),
        (Filter::ip_protocol(58).or(arp.clone()), vec![0, 1, 2, 9]),
        (!dns, vec![0, 1, 2, 4, 6, 9, 10, 11]),
        (Filter::mac(MacAddr::broadcast()), vec![0, 1, 2]),
        (Filter::mac(A.into()), everything.clone()),
        (Filter::destination_mac(A.into()), vec![]),
        (
            Filter::source_mac(A.into()).and(Filter::destination_mac(B.into())),
            (3..=9).chain([11]).collect(),
        ),
        (arp.clone().or(!arp), everything),
    ];
    for (filter, expected) in cases {
        let b = RawSocket::builder("b").filter(filter.clone()).nonblocking(true).build().unwrap();
        for sent in &frames {
            a.send(sent).unwrap();
        }
        for &index in &expected {
            let (meta, bytes) = receive(&b);
            let mut wire = bytes.clone();
            if let Some(tag) = meta.vlan {
                tag.insert(&bytes, &mut wire);
            }
            assert_eq!(wire, frames[index], "frame {index} for {filter:?}");
        }
        assert_silent(&b);
    }
}

pub(crate) fn long_filter_is_taken() {
    link();
    let a = open("a");
    let filter = (0..1300).map(Filter::destination_port).reduce(Filter::or).unwrap();
    let program = filter.compile(u32::MAX).unwrap();
    assert!((3900..4096).contains(&program.instructions().len()));
    let b = RawSocket::builder("b").filter(filter).nonblocking(true).build().unwrap();
    for port in [1300_u16, 0, 1299] {
        let mut ports = PORTS;
        ports[2..4].copy_from_slice(&port.to_be_bytes());
        a.send(&ip(B, &ipv4(17, 0, &ports))).unwrap();
    }
    let ports: Vec<u8> = (0..2).map(|_| receive(&b).1[41]).collect();
    assert_eq!(ports, [0_u16, 1299].map(|port| port as u8));
    assert_silent(&b);

    let too_long = (0..3000).map(Filter::destination_port).reduce(Filter::or).unwrap();
    let error = RawSocket::builder("b").filter(too_long).build().unwrap_err();
    assert!(matches!(error, Error::Filter { .. }), "{error}");
}

pub(crate) fn new_filter_drains_what_is_queued() {
    link();
    let (a, b) = (open("a"), open("b"));
    for index in 0..10 {
        a.send(&frame(B, index, 60)).unwrap();
    }
    assert_eq!(number(&receive(&b).1), 0);
    let ours = Filter::ethertype(0x88b5).compile(u32::MAX).unwrap();
    b.set_filter(&ours).unwrap();
    assert_silent(&b);
    a.send(&[&B[..], &A, &[0x88, 0xb6], &[0; 46]].concat()).unwrap();
    a.send(&frame(B, 10, 60)).unwrap();
    assert_eq!(number(&receive(&b).1), 10);
    assert_silent(&b);

    b.clear_filter().unwrap();
    b.clear_filter().unwrap();
    a.send(&[&B[..], &A, &[0x88, 0xb6], &[0; 46]].concat()).unwrap();
    assert_eq!(receive(&b).1[12..14], [0x88, 0xb6]);
}

pub(crate) fn new_filter_drains_a_link_that_went_down() {
    link();
    let (a, b) = (open("a"), open("b"));
    a.send(&frame(B, 7, 60)).unwrap();
    sh("ip link set dev b down");
    let theirs = Filter::ethertype(0x88b6).compile(u32::MAX).unwrap();
    let error = b.set_filter(&theirs).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
    assert_silent(&b);
}

pub(crate) fn raw_program_cuts() {
    link();
    let a = open("a");
    let ret = Instruction { code: 0x06, jt: 0, jf: 0, k: 20 };
    let program = Program::new(vec![ret]).unwrap();
    let b = RawSocket::builder("b").program(program).nonblocking(true).build().unwrap();
    a.send(&frame(B, 0, 60)).unwrap();
    let (meta, bytes) = receive(&b);
    assert_eq!((meta.captured_len, meta.original_len), (20, 60));
    assert_eq!(bytes, frame(B, 0, 60)[..20]);
}

pub(crate) fn wrong_program_keeps_the_old() {
    link();
    let endless = Instruction { code: 0x05, jt: 0, jf: 0, k: u32::MAX };
    let wrong = Program::new(vec![endless]).unwrap();
    let error = RawSocket::builder("b").program(wrong.clone()).build().unwrap_err();
    assert_eq!(error.to_string(), "b: cannot attach the filter");
    let (a, b) = (open("a"), open("b"));
    a.send(&frame(B, 5, 60)).unwrap();
    assert_eq!(b.set_filter(&wrong).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(number(&receive(&b).1), 5, "and costs no frame");
}
