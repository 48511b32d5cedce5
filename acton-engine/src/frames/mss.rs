//! Clamps the TCP maximum segment size in SYNs (RFC 9293, section 3.7.1), so that TCP inside the
//! tunnel never makes a frame that needs more than one datagram.

use acton_frame::field::tcp;
use acton_frame::{Headers, Protocol};
use acton_tap::offload::Sum;

/// TCP option kinds: end of list, no operation, maximum segment size.
const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;

/// The MSS that a TCP SYN offers; `None` for anything else.
pub(crate) fn offered(headers: &Headers, frame: &[u8]) -> Option<u16> {
    let (start, at) = find(headers, frame)?;
    frame[start + at..].first_chunk().map(|&mss| u16::from_be_bytes(mss))
}

/// Makes the MSS of a TCP SYN the `offered` one, or less if the segments that it allows would make
/// frames of more than `max_frame` bytes. Anything else stays as it is. A `partial` checksum is not of
/// the option, and is left to be filled in.
pub(crate) fn clamp(
    headers: &Headers,
    frame: &mut [u8],
    offered: u16,
    max_frame: usize,
    partial: bool,
) {
    let Some((start, at)) = find(headers, frame) else { return };
    let limit = max_frame.checked_sub(start + tcp::LEN).and_then(|limit| u16::try_from(limit).ok());
    let mss = limit.map_or(offered, |limit| limit.min(offered)).to_be_bytes();
    let header = &mut frame[start..];
    let before = [header[at], header[at + 1]];
    if before == mss {
        return;
    }
    header[at..at + 2].copy_from_slice(&mss);
    if partial {
        return;
    }
    // The option may stand at an odd offset, where its bytes fall into two words of the sum.
    let word = |[high, low]: [u8; 2]| if at.is_multiple_of(2) { [high, low] } else { [low, high] };
    let sum = &mut header[tcp::CHECKSUM];
    sum.copy_from_slice(&Sum::updated([sum[0], sum[1]], word(before), word(mss)));
}

/// Where the TCP header of a SYN begins in its frame, and where in that the value of its MSS option is.
fn find(headers: &Headers, frame: &[u8]) -> Option<(usize, usize)> {
    let transport = headers.transport().filter(|header| header.protocol == Protocol::Tcp)?;
    let header = frame.get(transport.start..transport.payload)?;
    if header[tcp::FLAGS] & tcp::SYN == 0 {
        return None;
    }
    Some((transport.start, find_mss(&header[tcp::LEN..])? + tcp::LEN))
}

/// Where the value of the MSS option stands among `options`.
fn find_mss(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *options.get(at)? {
            END => return None,
            NOP => at += 1,
            MSS => {
                return (*options.get(at + 1)? == 4 && at + 4 <= options.len()).then_some(at + 2);
            }
            _ => at += usize::from(*options.get(at + 1)?).max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use pnet_packet::tcp::{TcpPacket, ipv4_checksum, ipv6_checksum};
    use proptest::prelude::*;

    use super::*;

    fn clamp(frame: &mut [u8], max_frame: usize, partial: bool) {
        let headers = Headers::parse(frame);
        if let Some(offered) = offered(&headers, frame) {
            super::clamp(&headers, frame, offered, max_frame, partial);
        }
    }

    const V4: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));

    fn sum(tcp: &[u8], ipv6: bool) -> u16 {
        let packet = TcpPacket::new(tcp).unwrap();
        let v6 = |ip: Ipv4Addr| ip.to_ipv6_mapped();
        match ipv6 {
            false => ipv4_checksum(&packet, &V4.0, &V4.1),
            true => ipv6_checksum(&packet, &v6(V4.0), &v6(V4.1)),
        }
    }

    /// A SYN with `pad` NOPs before its MSS option, and the offset of its TCP header.
    fn syn(tags: usize, ipv6: bool, pad: usize, mss: u16) -> (Vec<u8>, usize) {
        let mut frame = vec![2; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0, 0, 7]);
        }
        let options = (pad + 4).next_multiple_of(4);
        let tcp_len = tcp::LEN + options;
        if ipv6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, tcp_len as u8, tcp::NUMBER, 64]);
            let v6 = |ip: Ipv4Addr| -> [u8; 16] { Ipv6Addr::octets(&ip.to_ipv6_mapped()) };
            frame.extend(v6(V4.0));
            frame.extend(v6(V4.1));
        } else {
            frame.extend([8, 0, 0x45, 0, 0, 20 + tcp_len as u8, 0, 1, 0x40, 0, 64, tcp::NUMBER]);
            frame.extend([0, 0]);
            frame.extend(V4.0.octets());
            frame.extend(V4.1.octets());
        }
        let start = frame.len();
        let mut tcp = vec![0; tcp::LEN];
        (tcp[1], tcp[3], tcp[12], tcp[13]) = (9, 80, ((tcp_len / 4) << 4) as u8, tcp::SYN);
        tcp.extend(vec![NOP; pad]);
        tcp.extend([MSS, 4]);
        tcp.extend(mss.to_be_bytes());
        tcp.resize(tcp_len, END);
        let sum = sum(&tcp, ipv6);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        frame.extend(tcp);
        (frame, start)
    }

    fn read_mss(tcp: &[u8]) -> u16 {
        let at = tcp::LEN + find_mss(&tcp[tcp::LEN..]).unwrap();
        u16::from_be_bytes([tcp[at], tcp[at + 1]])
    }

    proptest! {
        #[test]
        fn a_syn_is_clamped_and_its_checksum_stays_right(
            tags in 0_usize..3, ipv6: bool, pad in 0_usize..20, mss: u16, max_frame in 200_usize..2_000,
        ) {
            let (mut frame, start) = syn(tags, ipv6, pad, mss);
            clamp(&mut frame, max_frame, false);
            let tcp = &frame[start..];
            prop_assert_eq!(read_mss(tcp), mss.min((max_frame - start - tcp::LEN) as u16));
            prop_assert_eq!(sum(tcp, ipv6), u16::from_be_bytes([tcp[16], tcp[17]]));
        }

        /// As in a flood, where each receiver has a path of its own.
        #[test]
        fn each_of_several_receivers_gets_its_own(
            ipv6: bool, pad in 0_usize..20, mss: u16, paths in prop::collection::vec(200_usize..2_000, 1..5),
        ) {
            let (mut frame, start) = syn(0, ipv6, pad, mss);
            let headers = Headers::parse(&frame);
            for max_frame in paths {
                super::clamp(&headers, &mut frame, mss, max_frame, false);
                let tcp = &frame[start..];
                prop_assert_eq!(read_mss(tcp), mss.min((max_frame - start - tcp::LEN) as u16));
                // 0 and 0xffff are one number.
                let (right, stands) = (sum(tcp, ipv6), u16::from_be_bytes([tcp[16], tcp[17]]));
                prop_assert_eq!(right % 0xffff, stands % 0xffff);
            }
        }

        #[test]
        fn anything_else_stays_as_it_is(mut frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let before = frame.clone();
            clamp(&mut frame, 65_535 + 200, false);
            prop_assert_eq!(frame, before);
        }
    }

    #[test]
    fn a_frame_that_ends_anywhere_is_no_matter() {
        for (tags, ipv6) in [(0, false), (0, true), (1, false), (2, true)] {
            let (whole, _) = syn(tags, ipv6, 3, 1_460);
            for len in 0..whole.len() {
                clamp(&mut whole[..len].to_vec(), 600, false);
                clamp(&mut whole[..len].to_vec(), 600, true);
            }
        }
    }

    #[test]
    fn only_syns_are_touched() {
        let (mut frame, start) = syn(0, false, 0, 1_460);
        frame[start + 13] = 0x10;
        let before = frame.clone();
        clamp(&mut frame, 600, false);
        assert_eq!(frame, before);
    }
}
