//! The subnet whose hosts are played.

use std::net::Ipv4Addr;
use std::str::FromStr;

/// The address of the kernel's side and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) kernel: Ipv4Addr,
    pub(crate) prefix_len: u8,
}

impl Subnet {
    /// Whether `ip` is a host of the subnet other than the kernel's side.
    pub(crate) fn plays(&self, ip: Ipv4Addr) -> bool {
        let hosts = u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0);
        let (own, ip) = (self.kernel.to_bits(), ip.to_bits());
        // The first and last address are the network's own, save in a /31 (RFC 3021).
        let reserved = hosts > 1 && (ip & hosts == 0 || ip & hosts == hosts);
        ip & !hosts == own & !hosts && ip != own && !reserved
    }

    /// The lowest address that is played.
    pub(crate) fn first(&self) -> Ipv4Addr {
        let hosts = u32::MAX.checked_shr(self.prefix_len.into()).unwrap_or(0);
        let network = self.kernel.to_bits() & !hosts;
        let candidates = (0..=hosts.min(2)).map(|host| Ipv4Addr::from_bits(network | host));
        candidates.into_iter().find(|&ip| self.plays(ip)).unwrap_or(self.kernel)
    }
}

impl FromStr for Subnet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "expected an IPv4 address and a prefix length, as in 192.0.2.1/24";
        let (kernel, prefix_len) = text.split_once('/').ok_or(wanted)?;
        let kernel: Ipv4Addr = kernel.parse().map_err(|_| wanted)?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| wanted)?;
        if prefix_len > 31 {
            return Err("the prefix length must be 0 to 31, to leave an address to ping");
        }
        Ok(Self { kernel, prefix_len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn plays_every_other_host() {
        let subnet = subnet("192.0.2.130/25");
        let played = |last| subnet.plays(Ipv4Addr::new(192, 0, 2, last));
        let hosts: Vec<u8> = (0..=255).filter(|&last| played(last)).collect();
        let expected: Vec<u8> = (129..=254).filter(|&last| last != 130).collect();
        assert_eq!(hosts, expected);
        assert_eq!(subnet.first(), Ipv4Addr::new(192, 0, 2, 129));
    }

    #[test]
    fn small_and_large_subnets() {
        assert!(subnet("10.0.0.0/31").plays(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(subnet("10.0.0.1/31").first(), Ipv4Addr::new(10, 0, 0, 0));
        assert_eq!(subnet("10.0.0.1/30").first(), Ipv4Addr::new(10, 0, 0, 2));
        assert!(subnet("10.0.0.1/0").plays(Ipv4Addr::new(200, 0, 0, 1)));
        assert!(!subnet("10.0.0.1/0").plays(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["", "10.0.0.1", "10.0.0/8", "::1/64", "10.0.0.1/x", "10.0.0.1/-1"] {
            assert!(text.parse::<Subnet>().unwrap_err().contains("as in 192.0.2.1/24"), "{text}");
        }
        assert!("10.0.0.1/32".parse::<Subnet>().unwrap_err().contains("0 to 31"));
    }
}
