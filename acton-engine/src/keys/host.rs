//! This host's addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

use crate::ServerName;

/// An address anywhere else, to ask the kernel for the way to: documentation ranges (RFC 5737,
/// RFC 3849), to which nothing is sent.
const ELSEWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
];

/// The address at which other hosts most likely reach a server that listens on IPv4, on IPv6 where
/// `ipv6` says so: the source address towards the default route, else the first of any interface;
/// any of IPv4 before IPv6. `None` if this host has only loopback and link-local addresses.
#[must_use]
pub fn default_address(ipv6: bool) -> Option<IpAddr> {
    let routed = ELSEWHERE.iter().filter_map(|&elsewhere| source_towards(elsewhere));
    let mut addresses: Vec<_> = routed.chain(own_addresses()).collect();
    addresses.sort_by_key(IpAddr::is_ipv6); // stable: what is routed stays first
    addresses.into_iter().find(|&address| is_for_others(address) && (ipv6 || address.is_ipv4()))
}

/// Whether a server's name can only be this host's.
pub(super) fn is_this_host(name: &ServerName) -> bool {
    let text = name.to_string();
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            let ip = address.ip().to_canonical();
            ip.is_loopback() || ip.is_unspecified() || own_addresses().contains(&ip)
        }
        Err(_) => text.split(':').next().is_some_and(|host| host.eq_ignore_ascii_case("localhost")),
    }
}

fn source_towards(elsewhere: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match elsewhere {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((elsewhere, 9)).ok()?; // of UDP: a look at the routes
    Some(socket.local_addr().ok()?.ip())
}

/// The addresses of interfaces that are up.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| ip(&interface.address?))
        .collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

fn is_for_others(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_host() {
        for (name, own) in [
            ("127.0.0.1", true),
            ("127.9.9.9:1", true),
            ("::1", true),
            ("[::ffff:127.0.0.1]:7", true),
            ("localhost", true),
            ("LocalHost:9", true),
            ("203.0.113.77", false),
            ("[2001:db8::77]:8080", false),
            ("localhost.example.net", false),
        ] {
            assert_eq!(is_this_host(&ServerName::parse(name, 8080).unwrap()), own, "{name}");
        }
    }

    #[test]
    fn the_default_address_is_of_this_host_and_for_others() {
        if let Some(address) = default_address(true) {
            assert!(is_this_host(&SocketAddr::new(address, 8080).into()), "{address}");
            assert!(is_for_others(address), "{address}");
        }
        for address in ["127.0.0.1", "169.254.1.1", "0.0.0.0", "::1", "::", "fe80::1"] {
            assert!(!is_for_others(address.parse().unwrap()), "{address}");
        }
    }
}
