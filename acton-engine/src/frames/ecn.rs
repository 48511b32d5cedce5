//! Explicit congestion notification (RFC 3168) through the tunnel, as RFC 6040 has it: a datagram
//! bears the mark of the packet inside, and a mark that it gets on its way is put on the packet.

use acton_frame::field::ipv4;
use acton_frame::{Headers, IpVersion};
use acton_tap::offload::Sum;

/// The ECN field: two bits.
pub(crate) const NOT_ECT: u8 = 0;
/// Congestion experienced.
pub(crate) const CE: u8 = 3;

/// A packet whose ends do not know ECN came with the mark, which says to them what a loss does: it
/// must be dropped (RFC 6040, section 4.2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unmarkable;

/// What a datagram with `frame` in it bears: the field of the IP packet, or nothing.
pub(crate) fn of(headers: &Headers, frame: &[u8]) -> u8 {
    let Some(ip) = headers.ip() else { return NOT_ECT };
    match (ip.version, frame.get(ip.start + ipv4::TOS)) {
        (IpVersion::V4, Some(tos)) => tos & CE,
        // The traffic class ends in the middle of the byte.
        (IpVersion::V6, Some(class)) => class >> 4 & CE,
        (_, None) => NOT_ECT,
    }
}

/// Marks the IP packet in `frame` as having seen congestion; false if it is marked already, or is no
/// IP packet, which bears no mark.
pub(crate) fn mark(headers: &Headers, frame: &mut [u8]) -> Result<bool, Unmarkable> {
    let Some(ip) = headers.ip() else { return Ok(false) };
    match (of(headers, frame), ip.version) {
        (CE, _) => return Ok(false),
        (NOT_ECT, _) => return Err(Unmarkable),
        (_, IpVersion::V4) => {
            let header = &mut frame[ip.start..];
            let old = [header[0], header[ipv4::TOS]];
            header[ipv4::TOS] |= CE;
            let new = [header[0], header[ipv4::TOS]];
            let sum = &mut header[ipv4::CHECKSUM];
            sum.copy_from_slice(&Sum::updated([sum[0], sum[1]], old, new));
        }
        (_, IpVersion::V6) => frame[ip.start + 1] |= CE << 4,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use pnet_packet::ipv4::{Ipv4Packet, checksum};
    use proptest::prelude::*;

    use super::*;

    fn of(frame: &[u8]) -> u8 {
        super::of(&Headers::parse(frame), frame)
    }

    fn mark(frame: &mut [u8]) -> Result<bool, Unmarkable> {
        super::mark(&Headers::parse(frame), frame)
    }

    fn ipv4(tags: usize, tos: u8) -> (Vec<u8>, usize) {
        let mut frame = vec![2; 12];
        frame.extend([0x81, 0, 0, 7].repeat(tags));
        frame.extend([8, 0]);
        let at = frame.len();
        let header = [0x45, tos, 0, 28, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        frame.extend(header);
        let sum = checksum(&Ipv4Packet::new(&frame[at..]).unwrap());
        frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0; 8]);
        (frame, at)
    }

    #[test]
    fn an_ipv4_packet_is_marked_and_its_checksum_stays_right() {
        for tags in 0..=2 {
            for tos in 0..=u8::MAX {
                let (mut frame, at) = ipv4(tags, tos);
                assert_eq!(of(&frame), tos & 3);
                let before = frame.clone();
                let marked = mark(&mut frame);
                if tos & 3 == NOT_ECT {
                    assert_eq!((marked, frame), (Err(Unmarkable), before));
                    continue;
                }
                assert_eq!((marked, of(&frame), frame[at + 1]), (Ok(tos & 3 != CE), CE, tos | 3));
                let header = Ipv4Packet::new(&frame[at..]).unwrap();
                assert_eq!(header.get_checksum(), checksum(&header));
            }
        }
    }

    #[test]
    fn an_ipv6_packet_is_marked_in_its_traffic_class_alone() {
        for class in 0..=u8::MAX {
            let mut frame = vec![2; 12];
            frame.extend([0x86, 0xdd, 0x60 | class >> 4, class << 4 | 0x0a, 1, 2, 0, 8]);
            frame.resize(14 + 40 + 8, 0);
            assert_eq!(of(&frame), class & 3);
            let marked = mark(&mut frame);
            assert_eq!(marked.is_err(), class & 3 == NOT_ECT);
            let class = if marked.is_ok() { class | 3 } else { class };
            assert_eq!(frame[14..18], [0x60 | class >> 4, class << 4 | 0x0a, 1, 2]);
        }
    }

    #[test]
    fn what_is_no_ip_bears_no_mark_and_goes_through() {
        let mut arp = [2; 60];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!((of(&arp), mark(&mut arp)), (NOT_ECT, Ok(false)));
    }

    proptest! {
        #[test]
        fn any_frame_is_no_trouble(mut frame in proptest::collection::vec(any::<u8>(), 0..60)) {
            let ecn = of(&frame);
            if mark(&mut frame).is_ok() && ecn != NOT_ECT {
                prop_assert_eq!(of(&frame), CE);
            }
        }
    }
}
