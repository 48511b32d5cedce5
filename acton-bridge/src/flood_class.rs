//! What kind of flood a frame is, for those who limit them.

use std::fmt;

use acton_frame::Headers;
use acton_frame::field::{ethernet, icmpv6, udp};

use crate::verdict::BumKind;

macro_rules! classes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What a frame without a single destination is for. Each is limited by itself, so that a
        /// storm of one kind leaves the others alone.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub enum FloodClass {
            $($(#[doc = $doc])+ #[cfg_attr(feature = "serde", serde(rename = $name))] $variant,)+
        }

        impl FloodClass {
            /// Every class, in the order of [`FloodClass::index`].
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant,)+];

            /// A stable name for options, logs and counters, in lower case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

classes! {
    /// A broadcast that is none of the following.
    Broadcast = "broadcast",
    /// ARP (RFC 826).
    Arp = "arp",
    /// Neighbour discovery of IPv6 (RFC 4861): ICMPv6 of types 133 to 137.
    Nd = "nd",
    /// DHCP (RFC 2131) and DHCPv6 (RFC 8415), of clients and servers.
    Dhcp = "dhcp",
    /// A frame to another group that is none of the above.
    Multicast = "multicast",
    /// A frame to a unicast address that is not known.
    Unknown = "unknown",
    /// A question, by ARP or neighbour discovery, for an IP address that
    /// [nobody is known](crate::Neighbours::ask) to have. It is [`Arp`](Self::Arp) or
    /// [`Nd`](Self::Nd) too, and [`FloodClass::of`] says so.
    Unresolved = "unresolved",
}

impl FloodClass {
    /// The class of a frame of that kind, which was parsed before.
    #[must_use]
    pub fn of(kind: BumKind, headers: &Headers, frame: &[u8]) -> Self {
        let other = match kind {
            BumKind::Unknown => return Self::Unknown,
            BumKind::Broadcast => Self::Broadcast,
            BumKind::Multicast => Self::Multicast,
        };
        if headers.ethertype() == Some(ethernet::ARP) {
            return Self::Arp;
        }
        let Some(ip) = headers.ip() else { return other };
        match ip.protocol {
            icmpv6::NUMBER => {
                let kind = ip.payload.and_then(|start| frame.get(start));
                let is_nd = kind.is_some_and(|kind| icmpv6::NEIGHBOUR_DISCOVERY.contains(kind));
                if is_nd { Self::Nd } else { other }
            }
            udp::NUMBER => {
                let port =
                    headers.ports(frame).map(|ports| u16::from_be_bytes([ports[2], ports[3]]));
                let is_dhcp = port.is_some_and(|port| matches!(port, 67 | 68 | 546 | 547));
                if is_dhcp { Self::Dhcp } else { other }
            }
            _ => other,
        }
    }

    /// Whether frames of this class may ask who has an IP address.
    #[must_use]
    pub const fn may_ask(self) -> bool {
        matches!(self, Self::Arp | Self::Nd)
    }

    /// The position of this class in [`FloodClass::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for FloodClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn class(to: [u8; 6], rest: &[u8]) -> FloodClass {
        let frame = [&to[..], &SOURCE, rest].concat();
        let kind = match to[0] {
            0xff => BumKind::Broadcast,
            first if first & 1 == 1 => BumKind::Multicast,
            _ => BumKind::Unknown,
        };
        FloodClass::of(kind, &Headers::parse(&frame), &frame)
    }

    /// UDP over IPv4 to this port, behind its EtherType.
    fn udp4(port: u16) -> Vec<u8> {
        let [a, b] = port.to_be_bytes();
        let mut packet = vec![8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
        packet.extend([0, 0, 0, 0, 255, 255, 255, 255, 0x99, 0x99, a, b, 0, 8, 0, 0]);
        packet
    }

    /// What is carried over IPv6, behind its EtherType and what stands before it.
    fn ip6(tag: &[u8], next: u8, carried: &[u8]) -> Vec<u8> {
        let mut packet =
            [tag, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, carried.len() as u8, next, 255]].concat();
        packet.extend([0xfe; 32]);
        packet.extend(carried);
        packet
    }

    #[test]
    fn each_kind_of_flood_has_its_class() {
        let (all, group, other) = ([0xff; 6], [0x33, 0x33, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]);
        let arp = [&[8, 6], &[0; 28][..]].concat();
        assert_eq!(class(all, &arp), FloodClass::Arp);
        assert_eq!(class(all, &[&[0x81, 0, 0, 7], &arp[..]].concat()), FloodClass::Arp);
        assert_eq!(
            class(other, &arp),
            FloodClass::Unknown,
            "a unicast one is one frame to one host"
        );
        assert_eq!(class(all, &[0x88, 0xb5]), FloodClass::Broadcast);
        assert_eq!(class(group, &[0x88, 0xb5]), FloodClass::Multicast);
        for (port, expected) in [
            (67, FloodClass::Dhcp),
            (68, FloodClass::Dhcp),
            (66, FloodClass::Broadcast),
            (5_353, FloodClass::Broadcast),
        ] {
            assert_eq!(class(all, &udp4(port)), expected, "{port}");
        }
        let dhcp6 = [0x02, 0x22, 0x02, 0x23, 0, 8, 0, 0];
        assert_eq!(class(group, &ip6(&[], 17, &dhcp6)), FloodClass::Dhcp);
        for kind in 0..=255 {
            let nd = (133..=137).contains(&kind);
            let expected = if nd { FloodClass::Nd } else { FloodClass::Multicast };
            assert_eq!(class(group, &ip6(&[], 58, &[kind, 0, 0, 0])), expected, "{kind}");
            assert_eq!(class(group, &ip6(&[0x81, 0, 0, 7], 58, &[kind])), expected, "{kind}");
        }
        assert_eq!(class(group, &ip6(&[], 58, &[])), FloodClass::Multicast);
    }

    #[test]
    fn names_and_positions_are_their_own() {
        for (position, class) in FloodClass::ALL.into_iter().enumerate() {
            assert_eq!((class.index(), class.to_string().as_str()), (position, class.as_str()));
        }
    }
}
