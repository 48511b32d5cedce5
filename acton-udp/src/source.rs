//! The local address of a datagram.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::bytes::array;

/// The local address that a datagram came to. Given to
/// [`UdpSocket::destination`](crate::UdpSocket::destination), the answer leaves from there: a host
/// with several addresses must not answer from another one than was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    pub(crate) ip: IpAddr,
    /// Interface index, kept for link-local addresses alone: elsewhere routing decides.
    pub(crate) interface: u32,
}

impl Source {
    /// The local address `ip`, for datagrams to `remote`. Where that is a link-local IPv6 address,
    /// its scope says on which interface `ip` is.
    #[must_use]
    pub fn of(ip: IpAddr, remote: SocketAddr) -> Self {
        let interface = match remote {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Self { ip, interface }
    }

    /// The address; one of IPv4 is never in its IPv6 form.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// From `struct in_pktinfo`: interface index, local address, destination in the header. The
    /// second is what to answer from, also where the third is a broadcast or multicast address.
    pub(crate) fn from_pktinfo(data: &[u8]) -> Option<Self> {
        let ip = Ipv4Addr::from(array::<4>(data, 4)?);
        Some(Self { ip: ip.into(), interface: 0 })
    }

    /// From `struct in6_pktinfo`: destination in the header, interface index. There is nothing to
    /// answer from where the first is a multicast address.
    pub(crate) fn from_pktinfo6(data: &[u8]) -> Option<Self> {
        let ip = Ipv6Addr::from(array::<16>(data, 0)?);
        let interface = u32::from_ne_bytes(array(data, 16)?);
        if ip.is_multicast() {
            return None;
        }
        Some(match ip.to_ipv4_mapped() {
            Some(v4) => Self { ip: v4.into(), interface: 0 },
            None => {
                let interface = if ip.is_unicast_link_local() { interface } else { 0 };
                Self { ip: ip.into(), interface }
            }
        })
    }
}
