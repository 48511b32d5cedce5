//! The way to the server, as this host's routing has it.

use std::io;
use std::net::SocketAddr;

use acton_netlink::Socket;

/// Bytes of an IP header and a UDP header.
const HEADERS_V4: u32 = 20 + 8;
const HEADERS_V6: u32 = 40 + 8;

/// Where datagrams to one address leave this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Interface, gateway and source address. With any of them the server may see another address
    /// of ours.
    way: acton_netlink::Route,
    /// The largest UDP payload that the interface carries, in bytes.
    pub(crate) pmtu: u16,
}

impl Route {
    /// The route to `remote`, in the calling thread's network namespace.
    ///
    /// The size is that of the interface, for that is what the kernel goes by where datagrams must
    /// not be fragmented (IP_PMTUDISC_PROBE); what it believes of the path beyond, anybody can
    /// forge by ICMP.
    ///
    /// # Errors
    /// Where no route leads there, or those of a netlink socket.
    pub(crate) fn to(remote: SocketAddr) -> io::Result<Self> {
        let ip = remote.ip().to_canonical();
        let headers = if ip.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let scope = match remote {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id()),
            _ => None,
        };
        let mut netlink = Socket::open()?;
        let way = netlink.route_to(ip, scope)?;
        let mtu = netlink.link_by_index(way.interface)?.mtu;
        let pmtu = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        Ok(Self { way, pmtu })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, UdpSocket};

    use super::*;

    #[test]
    fn the_way_to_this_host_itself() {
        // Kernels without IPv6 have no way to ::1.
        for (ip, headers) in [("127.0.0.1", HEADERS_V4), ("::1", HEADERS_V6)] {
            let ip: IpAddr = ip.parse().unwrap();
            let Ok(socket) = UdpSocket::bind((ip, 0)) else { continue };
            let remote = socket.local_addr().unwrap();
            let route = Route::to(remote).unwrap();
            let device = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
            let mtu: u32 = device.trim().parse().unwrap();
            assert_eq!(u32::from(route.pmtu), (mtu - headers).min(u16::MAX.into()), "{route:?}");
            assert_eq!(Route::to(remote).unwrap(), route);
        }
    }
}
