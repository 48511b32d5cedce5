//! The way to the server, as this host's routing has it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr as NetlinkAddr};

/// Bytes of an IP header and a UDP header.
const HEADERS_V4: u32 = 20 + 8;
const HEADERS_V6: u32 = 40 + 8;

/// Where datagrams to one address leave this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// Interface, gateway and source address. With any of them the server may see another address
    /// of ours.
    way: Vec<RouteAttribute>,
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
        let (family, bits, headers) = match ip {
            IpAddr::V4(_) => (AddressFamily::Inet, 32, HEADERS_V4),
            IpAddr::V6(_) => (AddressFamily::Inet6, 128, HEADERS_V6),
        };
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        request.header.destination_prefix_length = bits;
        request.attributes.push(RouteAttribute::Destination(ip.into()));
        if let SocketAddr::V6(v6) = remote
            && v6.scope_id() != 0
        {
            request.attributes.push(RouteAttribute::Oif(v6.scope_id()));
        }
        let answer = ask(RouteNetlinkMessage::GetRoute(request))?;
        let RouteNetlinkMessage::NewRoute(mut route) = answer else { return Err(unexpected()) };
        route.attributes.retain(|attribute| {
            use RouteAttribute::{Gateway, Oif, PrefSource, Via};
            matches!(attribute, Oif(_) | Gateway(_) | Via(_) | PrefSource(_))
        });
        let interface = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        let mtu = mtu(interface.ok_or_else(unexpected)?)?;
        let pmtu = u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX);
        Ok(Self { way: route.attributes, pmtu })
    }
}

/// The largest IP packet that an interface carries, in bytes.
fn mtu(interface: u32) -> io::Result<u32> {
    let mut request = LinkMessage::default();
    request.header.index = interface;
    let answer = ask(RouteNetlinkMessage::GetLink(request))?;
    let RouteNetlinkMessage::NewLink(link) = answer else { return Err(unexpected()) };
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    mtu.ok_or_else(unexpected)
}

/// One question to rtnetlink(7) that has one answer.
fn ask(question: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::deserialize(&answer).map_err(io::Error::other)?.payload {
        NetlinkPayload::InnerMessage(message) => Ok(message),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> io::Error {
    io::Error::other("rtnetlink answered something else than it was asked")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

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
