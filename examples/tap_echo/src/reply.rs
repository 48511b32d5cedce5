//! Turns a frame into its reply, in place.

use std::net::Ipv4Addr;

use acton_tap::MacAddr;

use crate::subnet::Subnet;

/// The MAC of all hosts that are played: locally administered, "acton" in ASCII.
pub(crate) const MAC: MacAddr = MacAddr(0x02, b'a', b'c', b't', b'o', b'n');

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The MAC of `host` was asked for.
    Arp { host: Ipv4Addr },
    /// `host` was pinged.
    Echo { host: Ipv4Addr, sequence: u16 },
}

/// Makes `frame` the reply to itself, if a host of `subnet` would reply to it; otherwise leaves it
/// as it is. Fragments get none.
pub(crate) fn reply(frame: &mut [u8], subnet: &Subnet) -> Option<Reply> {
    let (ethernet, payload) = frame.split_first_chunk_mut::<14>()?;
    let [d0, d1, d2, d3, d4, d5, source @ .., t0, t1] = ethernet;
    let to = MacAddr(*d0, *d1, *d2, *d3, *d4, *d5);
    let reply = match u16::from_be_bytes([*t0, *t1]) {
        0x0806 => arp(payload, subnet),
        0x0800 if to == MAC => ipv4(payload, subnet),
        _ => None,
    }?;
    let source = *source;
    ethernet[..6].copy_from_slice(&source);
    ethernet[6..12].copy_from_slice(&MAC.octets());
    Some(reply)
}

/// RFC 826, for IPv4 over Ethernet: hardware and protocol, their lengths, operation, then MAC and
/// address of the sender and of the target.
fn arp(packet: &mut [u8], subnet: &Subnet) -> Option<Reply> {
    const REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
    let packet = packet.first_chunk_mut::<28>()?;
    let host = address(&packet[24..])?;
    if packet[..8] != REQUEST || !subnet.plays(host) {
        return None;
    }
    packet[7] = 2; // the operation: reply
    packet.copy_within(8..18, 18);
    packet[8..14].copy_from_slice(&MAC.octets());
    packet[14..18].copy_from_slice(&host.octets());
    Some(Reply::Arp { host })
}

/// RFC 791. Swapping the addresses leaves the header's checksum right.
fn ipv4(packet: &mut [u8], subnet: &Subnet) -> Option<Reply> {
    const ICMP: u8 = 1;
    let header = packet.first_chunk::<20>()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let host = address(&header[16..])?;
    if header[0] >> 4 != 4 || header_len < 20 || header[9] != ICMP || fragment {
        return None;
    }
    if !subnet.plays(host) {
        return None;
    }
    let sequence = icmp(packet.get_mut(header_len..)?)?;
    let (from, to) = packet[12..20].split_at_mut(4);
    from.swap_with_slice(to);
    Some(Reply::Echo { host, sequence })
}

/// RFC 792: an echo request becomes the reply by its type alone.
fn icmp(message: &mut [u8]) -> Option<u16> {
    const REQUEST: u8 = 8;
    let [kind, code, sum0, sum1, _, _, s0, s1] = message.first_chunk_mut::<8>()?;
    if (*kind, *code) != (REQUEST, 0) {
        return None;
    }
    *kind = 0;
    // RFC 1624, with m = 0x0800 and m' = 0. Data that was damaged on the way stays detectable.
    let (sum, carry) = u16::from_be_bytes([*sum0, *sum1]).overflowing_add(0x0800);
    [*sum0, *sum1] = (sum + u16::from(carry)).to_be_bytes();
    Some(u16::from_be_bytes([*s0, *s1]))
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    bytes.first_chunk().map(|&octets: &[u8; 4]| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const SUBNET: Subnet = Subnet { kernel: Ipv4Addr::new(192, 0, 2, 1), prefix_len: 24 };

    fn frame(to: [u8; 6], ethertype: [u8; 2], payload: &[&[u8]]) -> Vec<u8> {
        [&to[..], &KERNEL_MAC, &ethertype, &payload.concat()].concat()
    }

    fn arp_request(host: [u8; 4]) -> Vec<u8> {
        let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
        frame([0xff; 6], [8, 6], &[&fixed, &KERNEL_MAC, &[192, 0, 2, 1], &[0; 6], &host])
    }

    /// RFC 1071.
    fn checksum(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2).map(|word| {
            u32::from(u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]))
        });
        let mut sum: u32 = words.sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    fn echo_request(host: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut icmp = [&[8, 0, 0, 0, 0, 7, 0, 9], payload].concat();
        let sum = checksum(&icmp).to_be_bytes();
        icmp[2..4].copy_from_slice(&sum);
        let length = (20 + icmp.len() as u16).to_be_bytes();
        let ip = [0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, 1, 0, 0, 192, 0, 2, 1];
        frame(MAC.octets(), [8, 0], &[&ip, &host, &icmp])
    }

    #[test]
    fn answers_arp_for_others_only() {
        let mut frame = arp_request([192, 0, 2, 77]);
        let host = Ipv4Addr::new(192, 0, 2, 77);
        assert_eq!(reply(&mut frame, &SUBNET), Some(Reply::Arp { host }));
        let ethernet = [&KERNEL_MAC[..], &MAC.octets(), &[8, 6]].concat();
        let sender = [&MAC.octets()[..], &[192, 0, 2, 77]].concat();
        let target = [&KERNEL_MAC[..], &[192, 0, 2, 1]].concat();
        assert_eq!(frame, [&ethernet[..], &[0, 1, 8, 0, 6, 4, 0, 2], &sender, &target].concat());

        for host in [[192, 0, 2, 1], [192, 0, 2, 0], [192, 0, 2, 255], [192, 0, 3, 1]] {
            let mut frame = arp_request(host);
            assert_eq!(reply(&mut frame, &SUBNET), None, "{host:?}");
            assert_eq!(frame, arp_request(host), "left as it was");
        }
    }

    #[test]
    fn echoes_with_a_right_checksum() {
        // Sums at both ends of the range, so that the update carries and does not.
        for payload in [&b""[..], b"x", &[0xff; 56], &[0xf7, 0xf0], &[0; 56]] {
            let mut frame = echo_request([192, 0, 2, 9], payload);
            let host = Ipv4Addr::new(192, 0, 2, 9);
            assert_eq!(reply(&mut frame, &SUBNET), Some(Reply::Echo { host, sequence: 9 }));
            assert_eq!(frame[26..34], [192, 0, 2, 9, 192, 0, 2, 1]);
            assert_eq!(frame[34], 0);
            assert_eq!(frame[42..], *payload);
            assert_eq!(checksum(&frame[34..]), 0, "{payload:x?}");
        }
    }

    #[test]
    fn leaves_the_rest_alone() {
        let request = echo_request([192, 0, 2, 9], b"payload");
        // Another MAC, EtherType, IP version, a fragment, protocol, ICMP type: byte by byte.
        for (index, value) in
            [(5, 0), (13, 6), (14, 0x65), (14, 0x44), (20, 0x20), (23, 17), (34, 0)]
        {
            let mut frame = request.clone();
            frame[index] = value;
            assert_eq!(reply(&mut frame, &SUBNET), None, "byte {index} = {value:#x}");
        }
        for length in 0..14 + 20 + 8 {
            assert_eq!(reply(&mut request.clone()[..length], &SUBNET), None, "{length} bytes");
        }
    }
}
