//! What a frame of ARP or neighbour discovery says and asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_frame::Headers;
use acton_frame::field::{arp, ethernet, icmpv6};

/// What one says. Of what tells and asks nothing both are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NeighbourMessage {
    /// The sender has this address.
    pub(crate) tells: Option<IpAddr>,
    /// The sender wants to know who has this one.
    pub(crate) asks: Option<IpAddr>,
}

impl NeighbourMessage {
    /// Reads a frame of any kind. Who probes for an address (RFC 5227, RFC 4862) will have it unless it
    /// is another's, so that tells; but a probe asks nothing, for everybody is to see it. Nor do
    /// announcements ask.
    pub(crate) fn read(headers: &Headers, frame: &[u8]) -> Self {
        let message = match headers.ethertype() {
            Some(ethernet::ARP) => Self::read_arp(headers, frame),
            Some(ethernet::IPV6) => Self::read_icmpv6(headers, frame),
            _ => None,
        };
        message.unwrap_or_default()
    }

    fn read_arp(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let message: &[u8; arp::LEN] = frame.get(headers.network()?..)?.first_chunk()?;
        if !message.starts_with(&arp::IPV4_OVER_ETHERNET) {
            return None;
        }
        let address =
            |at| Some(Ipv4Addr::from(*message.get::<std::ops::Range<_>>(at)?.as_array()?));
        let (sender, target) = (address(arp::SENDER)?, address(arp::TARGET)?);
        if sender.is_unspecified() {
            return Some(Self { tells: Some(target.into()), asks: None });
        }
        let is_request = message[arp::OPERATION] == arp::REQUEST.to_be_bytes();
        let asks = (is_request && sender != target).then_some(target.into());
        Some(Self { tells: Some(sender.into()), asks })
    }

    fn read_icmpv6(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let ip = headers.ip().filter(|ip| ip.protocol == icmpv6::NUMBER)?;
        let message = frame.get(ip.payload?..)?;
        let target = Ipv6Addr::from(*message.get(icmpv6::TARGET)?.as_array()?).into();
        match message[0] {
            icmpv6::NEIGHBOUR_SOLICITATION => {
                let source = Ipv6Addr::from(*headers.hosts(frame)?.first_chunk()?);
                Some(match source.is_unspecified() {
                    true => Self { tells: Some(target), asks: None },
                    false => Self { tells: Some(source.into()), asks: Some(target) },
                })
            }
            icmpv6::NEIGHBOUR_ADVERTISEMENT => Some(Self { tells: Some(target), asks: None }),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame of ARP, behind these tags.
    pub(crate) fn arp(tags: &[u8], operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], tags, &[8, 6]].concat();
        frame.extend(arp::IPV4_OVER_ETHERNET);
        frame.extend([0, operation, 2, 0, 0, 0, 0, 1]);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    /// A frame of neighbour discovery.
    pub(crate) fn nd(kind: u8, source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
        let mut frame = vec![0x33, 0x33, 0xff, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, 24, icmpv6::NUMBER, icmpv6::HOP_LIMIT]);
        frame.extend(source.octets());
        frame.extend([0xff; 16]);
        frame.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(target.octets());
        frame
    }

    fn read(frame: &[u8]) -> (Option<IpAddr>, Option<IpAddr>) {
        let NeighbourMessage { tells, asks } =
            NeighbourMessage::read(&Headers::parse(frame), frame);
        (tells, asks)
    }

    #[test]
    fn arp_tells_its_sender_and_a_request_asks() {
        let (one, two) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (first, second) = (Some(IpAddr::from(one)), Some(IpAddr::from(two)));
        for tags in [&[][..], &[0x81, 0, 0, 7], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8]] {
            assert_eq!(read(&arp(tags, 1, one, two)), (first, second));
            assert_eq!(read(&arp(tags, 2, one, two)), (first, None), "a reply");
            assert_eq!(read(&arp(tags, 1, one, one)), (first, None), "an announcement");
            assert_eq!(read(&arp(tags, 1, [0; 4], two)), (second, None), "a probe");
        }
        let whole = arp(&[], 1, one, two);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), (None, None), "{length} bytes");
        }
        let mut of_another_kind = whole;
        of_another_kind[15] = 6;
        assert_eq!(read(&of_another_kind), (None, None));
    }

    #[test]
    fn a_solicitation_asks_and_an_advertisement_tells() {
        let (one, two) = (Ipv6Addr::LOCALHOST, Ipv6Addr::from(0xfe80_u128 << 112 | 2));
        let (first, second) = (Some(IpAddr::from(one)), Some(IpAddr::from(two)));
        assert_eq!(read(&nd(135, one, two)), (first, second));
        assert_eq!(read(&nd(136, one, two)), (second, None));
        assert_eq!(read(&nd(135, Ipv6Addr::UNSPECIFIED, two)), (second, None), "a probe");
        assert_eq!(read(&nd(134, one, two)), (None, None));
        let whole = nd(135, one, two);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), (None, None), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(
            tail in prop::collection::vec(any::<u8>(), 0..90),
            kind in prop::sample::select(vec![[8, 6], [0x86, 0xdd], [0x81, 0]]),
        ) {
            let frame = [&[2; 12][..], &kind, &tail].concat();
            let _ = read(&frame);
        }
    }
}
