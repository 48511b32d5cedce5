//! Questions for groups of the bridge's own, to one leaf: RFC 4541, section 2.1.1, lets a switch ask in
//! the querier's place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_frame::field::{ethernet, icmpv6, ipv6};
use pnet_base::MacAddr;

use super::checksum::{checksum, checksum_v6};
use super::group::{IpFamily, group_mac};

/// How long hosts may take to answer: 1 s, the last member query interval (RFC 3376, section 8.8), in
/// tenths of a second and in milliseconds.
const RESPONSE_TENTHS: u8 = 10;
const RESPONSE_MS: u16 = 1_000;
/// Other routers are not to go by it (the S flag); two queries may get lost.
const FLAGS: u8 = 1 << 3 | 2;
/// Seconds between general queries, as a querier has them by default.
const INTERVAL: u8 = 125;

/// Something that a leaf is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupAsk<P> {
    /// Who is to be asked.
    pub leaf: P,
    /// On which VLAN, 0 for untagged.
    pub vlan: u16,
    /// By IGMP or by MLD.
    pub family: IpFamily,
    /// For which group; `None` for all that there is somebody for.
    pub group: Option<IpAddr>,
}

/// The frame that asks it, by IGMPv3 or MLDv2, which older hosts understand too: from 0.0.0.0 or the
/// link-local address of `from`, so that it wins no election of IGMP.
#[must_use]
pub fn group_query(vlan: u16, family: IpFamily, group: Option<IpAddr>, from: MacAddr) -> Vec<u8> {
    let all: IpAddr = match family {
        IpFamily::V4 => Ipv4Addr::new(224, 0, 0, 1).into(),
        IpFamily::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
    };
    let to = group.unwrap_or(all);
    let mut frame = [group_mac(to).octets(), from.octets()].concat();
    if vlan != 0 {
        frame.extend(ethernet::C_TAG.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    match to {
        IpAddr::V4(to) => add_igmp(&mut frame, to, group.is_some()),
        IpAddr::V6(to) => add_mld(&mut frame, to, group.is_some(), from),
    }
    frame
}

fn add_igmp(frame: &mut Vec<u8>, to: Ipv4Addr, is_specific: bool) {
    let group = if is_specific { to } else { Ipv4Addr::UNSPECIFIED };
    let mut message = vec![0x11, RESPONSE_TENTHS, 0, 0];
    message.extend(group.octets());
    message.extend([FLAGS, INTERVAL, 0, 0]);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    // Of internetwork control, one hop, with the option "router alert" (RFC 2113).
    let mut header = vec![0x46, 0xc0, 0, 24 + message.len() as u8, 0, 0, 0, 0, 1, 2, 0, 0];
    header.extend(Ipv4Addr::UNSPECIFIED.octets());
    header.extend(to.octets());
    header.extend([0x94, 4, 0, 0]);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ethernet::IPV4.to_be_bytes());
    frame.extend(header);
    frame.extend(message);
}

fn add_mld(frame: &mut Vec<u8>, to: Ipv6Addr, is_specific: bool, from: MacAddr) {
    let group = if is_specific { to } else { Ipv6Addr::UNSPECIFIED };
    let [r0, r1] = RESPONSE_MS.to_be_bytes();
    let mut message = vec![130, 0, 0, 0, r0, r1, 0, 0];
    message.extend(group.octets());
    message.extend([FLAGS, INTERVAL, 0, 0]);
    let addresses = [link_local(from).octets(), to.octets()].concat();
    let sum = checksum_v6(&addresses, icmpv6::NUMBER, &message);
    message[icmpv6::CHECKSUM].copy_from_slice(&sum.to_be_bytes());
    // Options of 8 bytes: a router alert for MLD (RFC 2711), and padding.
    let options = [icmpv6::NUMBER, 0, 5, 2, 0, 0, 1, 0];
    let length = (options.len() + message.len()) as u8;
    frame.extend(ethernet::IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0, 0, length, ipv6::HOP_BY_HOP, 1]);
    frame.extend(addresses);
    frame.extend(options);
    frame.extend(message);
}

/// The link-local address that goes with a MAC (RFC 4291, appendix A).
fn link_local(MacAddr(a, b, c, d, e, f): MacAddr) -> Ipv6Addr {
    let octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use acton_frame::Headers;

    use super::*;
    use crate::multicast::message::GroupMessage;

    #[test]
    fn a_question_is_read_as_what_it_is() {
        let from = MacAddr(2, 3, 4, 5, 6, 7);
        let groups: [(_, Option<IpAddr>, _); 4] = [
            (IpFamily::V4, None, [1, 0, 0x5e, 0, 0, 1]),
            (IpFamily::V4, Some("239.129.2.3".parse().unwrap()), [1, 0, 0x5e, 1, 2, 3]),
            (IpFamily::V6, None, [0x33, 0x33, 0, 0, 0, 1]),
            (IpFamily::V6, Some("ff0e::102:304".parse().unwrap()), [0x33, 0x33, 1, 2, 3, 4]),
        ];
        for (family, group, to) in groups {
            for vlan in [0, 7] {
                let frame = group_query(vlan, family, group, from);
                let headers = Headers::parse(&frame);
                assert_eq!(frame[..6], to);
                assert_eq!(headers.ethernet().unwrap().vlan(), vlan);
                assert!(headers.ip().unwrap().fills);
                let Some(GroupMessage::Query(query)) = GroupMessage::read(&headers, &frame) else {
                    panic!("{frame:02x?}");
                };
                assert_eq!((query.group, query.robustness), (group, Some(2)));
                assert_eq!(query.response.as_secs(), 1);
                match family {
                    IpFamily::V4 => assert!(query.source.is_unspecified()),
                    IpFamily::V6 => assert_eq!(query.source.to_string(), "fe80::3:4ff:fe05:607"),
                }
            }
        }
    }
}
