//! Multicast groups, and which of them are asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use acton_frame::{Headers, IpVersion};
use pnet_base::MacAddr;

/// A version of IP, each of which has queriers and reports of its own: IGMP and MLD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    /// IPv4, whose groups IGMP tells of.
    V4,
    /// IPv6, whose groups MLD tells of.
    V6,
}

impl IpFamily {
    /// That of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl From<IpVersion> for IpFamily {
    fn from(version: IpVersion) -> Self {
        match version {
            IpVersion::V4 => Self::V4,
            IpVersion::V6 => Self::V6,
        }
    }
}

/// A multicast group on a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Group {
    /// The VLAN, 0 for untagged.
    pub vlan: u16,
    /// The group's address, which is never one that [everybody gets](Self::of).
    pub address: IpAddr,
}

impl Group {
    /// The group of that address, where hosts ask for it. `None` for what everybody gets: 224.0.0.0/24
    /// (RFC 4541, section 2.1.2, rule 2), IPv6 groups that do not leave the link (scopes 0 to 2, without
    /// which there is no neighbour discovery), and whatever is no group.
    #[must_use]
    pub fn new(vlan: u16, address: IpAddr) -> Option<Self> {
        let is_asked_for = match address {
            IpAddr::V4(ip) => ip.is_multicast() && ip.octets()[..3] != [224, 0, 0],
            IpAddr::V6(ip) => ip.is_multicast() && ip.octets()[1] & 0xf > 2,
        };
        is_asked_for.then_some(Self { vlan, address })
    }

    /// The group that a frame is for; `None` where everybody gets it. It goes by the IP address, for one
    /// MAC stands for 32 groups of IPv4, of which one may be of the link's own. What is behind two tags
    /// everybody gets, and a frame whose MAC is not that of its group.
    #[must_use]
    pub fn of(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let ethernet = headers.ethernet().filter(|_| headers.tags() <= 1)?;
        let address = destination(headers, frame)?;
        let group = Self::new(ethernet.vlan(), address)?;
        (ethernet.destination() == group_mac(address)).then_some(group)
    }

    /// The version of IP.
    #[must_use]
    pub const fn family(self) -> IpFamily {
        IpFamily::of(self.address)
    }
}

/// The IP address that a frame is for.
fn destination(headers: &Headers, frame: &[u8]) -> Option<IpAddr> {
    let hosts = headers.hosts(frame)?;
    Some(match headers.ip()?.version {
        IpVersion::V4 => Ipv4Addr::from(*hosts.last_chunk()?).into(),
        IpVersion::V6 => Ipv6Addr::from(*hosts.last_chunk()?).into(),
    })
}

/// The MAC that frames for a multicast group have (RFC 1112, section 6.4; RFC 2464, section 7).
#[must_use]
pub fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(ip) => {
            let [_, b, c, d] = ip.octets();
            MacAddr(0x01, 0x00, 0x5e, b & 0x7f, c, d)
        }
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            MacAddr(0x33, 0x33, a, b, c, d)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame of UDP to a group, behind these tags.
    pub(in crate::multicast) fn data(tags: &[u8], group: IpAddr) -> Vec<u8> {
        let mut frame = [&group_mac(group).octets()[..], &[2, 0, 0, 0, 0, 1], tags].concat();
        match group {
            IpAddr::V4(ip) => {
                frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1]);
                frame.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
                frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                frame.extend(ip.octets());
            }
        }
        frame.extend([0x10, 0, 0x10, 0, 0, 8, 0, 0]);
        frame
    }

    fn group_of(frame: &[u8]) -> Option<(u16, IpAddr)> {
        let group = Group::of(&Headers::parse(frame), frame)?;
        Some((group.vlan, group.address))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_of_the_link_everybody_gets() {
        for everybodys in [
            "224.0.0.1",
            "224.0.0.251",
            "224.0.0.255",
            "ff01::1",
            "ff02::1",
            "ff02::fb",
            "ff02::1:ff00:1",
            "ff12::9",
        ] {
            assert_eq!(group_of(&data(&[], ip(everybodys))), None, "{everybodys}");
        }
        for asked_for in
            ["224.0.1.1", "239.255.255.250", "232.1.1.1", "ff05::2", "ff0e::101", "ff3e::8000:1"]
        {
            assert_eq!(group_of(&data(&[], ip(asked_for))), Some((0, ip(asked_for))));
        }
        assert!(Group::new(0, ip("10.0.0.1")).is_none() && Group::new(0, ip("fe80::1")).is_none());
    }

    #[test]
    fn groups_that_share_a_mac_are_told_apart() {
        // All of these are 01:00:5e:00:00:fb.
        let [mdns, other] = [ip("224.0.0.251"), ip("239.128.0.251")];
        assert_eq!(group_mac(mdns), group_mac(other));
        assert_eq!(group_of(&data(&[], mdns)), None);
        assert_eq!(group_of(&data(&[], other)), Some((0, other)));
    }

    #[test]
    fn a_vlan_has_its_own_groups() {
        let group = ip("239.1.2.3");
        assert_eq!(group_of(&data(&[0x81, 0, 0xe0, 7], group)), Some((7, group)));
        assert_eq!(group_of(&data(&[0x81, 0, 0xe0, 0], group)), Some((0, group)), "a priority");
        let twice = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 8];
        assert_eq!(group_of(&data(&twice, group)), None, "in a customer's network");
    }

    #[test]
    fn what_is_odd_everybody_gets() {
        let whole = data(&[], ip("239.1.2.3"));
        let mut another_mac = whole.clone();
        another_mac[5] ^= 1;
        assert_eq!(group_of(&another_mac), None);
        let not_ip = [&whole[..12], &[0x88, 0xb5], &whole[14..]].concat();
        assert_eq!(group_of(&not_ip), None);
        for length in 0..34 {
            assert_eq!(group_of(&whole[..length]), None, "{length} bytes");
        }
        let mut fragment = whole;
        fragment[21] = 9;
        assert_eq!(group_of(&fragment), Some((0, ip("239.1.2.3"))), "it is for the same group");
    }
}
