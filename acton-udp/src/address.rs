//! Socket addresses and source selection as the kernel reads and writes them, in safe code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Length of `struct sockaddr_in` in bytes, ip(7).
const SOCKADDR_IN_LEN: usize = 16;
/// Length of `struct sockaddr_in6` in bytes, ipv6(7).
const SOCKADDR_IN6_LEN: usize = 28;
/// Length of `struct cmsghdr` in bytes, cmsg(3): a length of the machine's word, level, type.
const CMSG_HEADER_LEN: usize = size_of::<usize>() + 8;
/// Alignment of control messages in bytes, cmsg(3).
const CMSG_ALIGN: usize = size_of::<usize>();

/// A `struct sockaddr` of either family.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Name(pub(super) [u8; SOCKADDR_IN6_LEN]);

impl Name {
    pub(super) const ZERO: Self = Self([0; SOCKADDR_IN6_LEN]);

    /// The address in the kernel's layout and its length. IPv4 is mapped into IPv6 where the
    /// socket is an IPv6 one.
    fn encode(address: SocketAddr, ipv6_socket: bool) -> (Self, u32) {
        let mut name = Self::ZERO;
        let bytes = &mut name.0;
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) if !ipv6_socket => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (name, SOCKADDR_IN_LEN as u32)
            }
            _ => {
                let (ip, scope) = match address {
                    SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
                    SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
                };
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[8..24].copy_from_slice(&ip.octets());
                bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
                (name, SOCKADDR_IN6_LEN as u32)
            }
        }
    }

    /// The address that the kernel wrote; an IPv4-mapped one comes back as IPv4.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        let bytes = &self.0;
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
                Some(SocketAddrV4::new(ip, port).into())
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(array::<16>(bytes, 8)?);
                if let Some(v4) = ip.to_ipv4_mapped() {
                    return Some(SocketAddrV4::new(v4, port).into());
                }
                let scope = u32::from_ne_bytes(array(bytes, 24)?);
                Some(SocketAddrV6::new(ip, port, 0, scope).into())
            }
            _ => None,
        }
    }
}

/// The local address that a datagram came to, so that the answer leaves from there: a host with
/// several addresses must not answer from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    ip: IpAddr,
    /// Interface index, kept for link-local addresses alone: elsewhere routing decides.
    interface: u32,
}

impl Source {
    /// The local address `ip` of a peer at `remote`.
    pub fn of(ip: IpAddr, remote: SocketAddr) -> Self {
        let interface = match remote {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Self { ip, interface }
    }

    /// The local address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// Where datagrams go, in the kernel's own layout, made once a peer.
#[derive(Debug)]
pub struct Destination {
    /// The largest datagram that the kernel still cuts out of a larger send to there: one that
    /// does not fit the path in one packet is refused. Learnt from refusals; 0 is none at all.
    segment_limit: AtomicUsize,
    /// The owner's name for it, to be told of what became of a datagram.
    pub(super) tag: u32,
    ipv4: bool,
    pub(super) name: Name,
    /// 0 for a connected socket.
    pub(super) name_len: u32,
    pub(super) source: Control,
}

impl Destination {
    /// A peer at `remote`, reached from `source` where that is known.
    pub fn new(remote: SocketAddr, source: Option<Source>, ipv6_socket: bool) -> Self {
        let (name, name_len) = Name::encode(remote, ipv6_socket);
        let mut control = Control::EMPTY;
        if let Some(source) = source {
            control.push_source(source, ipv6_socket);
        }
        let ipv4 = remote.is_ipv4();
        Self { name, name_len, ipv4, source: control, ..Self::connected() }
    }

    /// The peer that the socket is connected to.
    pub const fn connected() -> Self {
        Self {
            segment_limit: AtomicUsize::new(usize::MAX),
            tag: 0,
            ipv4: false,
            name: Name::ZERO,
            name_len: 0,
            source: Control::EMPTY,
        }
    }

    /// The control messages of a datagram to there that bears `ecn`.
    pub(super) fn control(&self, ecn: u8) -> Control {
        let mut control = self.source;
        if ecn != 0 {
            control.push_ecn(ecn, self.ipv4);
        }
        control
    }

    pub(super) fn segment_limit(&self) -> usize {
        self.segment_limit.load(Ordering::Relaxed)
    }

    pub(super) fn limit_segments(&self, limit: usize) {
        self.segment_limit.fetch_min(limit, Ordering::Relaxed);
    }

    /// The same under a name.
    pub fn tagged(self, tag: u32) -> Self {
        Self { tag, ..self }
    }
}

impl Clone for Destination {
    fn clone(&self) -> Self {
        Self {
            segment_limit: AtomicUsize::new(self.segment_limit()),
            tag: self.tag,
            ipv4: self.ipv4,
            name: self.name,
            name_len: self.name_len,
            source: self.source,
        }
    }
}

/// Room for what a message carries at most: packet info of one family (40 bytes with its
/// header), a segment size and an ECN field (24 each); of the error queue packet info, an ECN field
/// and the report (64).
const CONTROL_CAPACITY: usize = 128;

/// The control messages of one datagram, cmsg(3).
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; CONTROL_CAPACITY],
    pub(super) len: usize,
}

impl Control {
    pub(super) const EMPTY: Self = Self { bytes: [0; CONTROL_CAPACITY], len: 0 };
    pub(super) const CAPACITY: usize = CONTROL_CAPACITY;

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let end = self.len + CMSG_HEADER_LEN + data.len();
        let next = end.next_multiple_of(CMSG_ALIGN);
        // What acton pushes fits by the capacity's definition.
        debug_assert!(next <= CONTROL_CAPACITY);
        let message = &mut self.bytes[self.len..end];
        let (header, body) = message.split_at_mut(CMSG_HEADER_LEN);
        let length = CMSG_HEADER_LEN + data.len();
        header[..CMSG_ALIGN].copy_from_slice(&length.to_ne_bytes());
        header[CMSG_ALIGN..CMSG_ALIGN + 4].copy_from_slice(&level.to_ne_bytes());
        header[CMSG_ALIGN + 4..].copy_from_slice(&kind.to_ne_bytes());
        body.copy_from_slice(data);
        self.len = next;
    }

    fn push_source(&mut self, source: Source, ipv6_socket: bool) {
        match source.ip {
            IpAddr::V4(ip) if !ipv6_socket => {
                // struct in_pktinfo: interface index, source address, destination (unused here)
                let mut info = [0; 12];
                info[..4].copy_from_slice(&source.interface.to_ne_bytes());
                info[4..8].copy_from_slice(&ip.octets());
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            ip => {
                let ip = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                // struct in6_pktinfo: address, interface index
                let mut info = [0; 20];
                info[..16].copy_from_slice(&ip.octets());
                info[16..].copy_from_slice(&source.interface.to_ne_bytes());
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }

    /// Asks the kernel to cut the payload into datagrams of `size` bytes.
    pub(super) fn push_segment_size(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    /// Has the datagram bear `ecn`, the two bits of RFC 3168; with DSCP 0.
    fn push_ecn(&mut self, ecn: u8, ipv4: bool) {
        let (level, kind) = match ipv4 {
            true => (libc::IPPROTO_IP, libc::IP_TOS),
            false => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
        };
        self.push(level, kind, &i32::from(ecn).to_ne_bytes());
    }

    /// What came with a message.
    pub(super) fn decode(bytes: &[u8]) -> Ancillary {
        let mut found = Ancillary::default();
        for (level, kind, data) in control_messages(bytes) {
            match (level, kind) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => found.to = Source::from_pktinfo(data),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => found.to = Source::from_pktinfo6(data),
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = array(data, 0).map(|size| i32::from_ne_bytes(size) as usize);
                    found.segment = size.filter(|&size| size > 0);
                }
                // A byte of IPv4, an int of IPv6.
                (libc::IPPROTO_IP, libc::IP_TOS) => {
                    found.ecn = data.first().map_or(0, |tos| tos & 3);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    found.ecn =
                        array(data, 0).map_or(0, |class| i32::from_ne_bytes(class) as u8 & 3);
                }
                _ => {}
            }
        }
        found
    }

    /// The error number and the MTU (0 for none) in a message of the error queue.
    pub(super) fn decode_error(&self) -> Option<(i32, u32)> {
        control_messages(&self.bytes[..self.len]).find_map(|(level, kind, data)| {
            // struct sock_extended_err of linux/errqueue.h: errno, four bytes, info.
            let error = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            let error = error.then(|| Some((array(data, 0)?, array(data, 8)?))).flatten()?;
            Some((i32::from_ne_bytes(error.0), u32::from_ne_bytes(error.1)))
        })
    }
}

/// What the kernel tells of a received message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ancillary {
    /// The local address that it came to.
    pub(super) to: Option<Source>,
    /// The size of each of its datagrams, where it is several merged ones.
    pub(super) segment: Option<usize>,
    /// The ECN field of the IP header, RFC 3168.
    pub(super) ecn: u8,
}

/// The control messages in `bytes`: level, type and data of each.
fn control_messages(bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = array(rest, 0).map(usize::from_ne_bytes)?;
        let message = rest.get(..length).filter(|message| message.len() >= CMSG_HEADER_LEN)?;
        let level = i32::from_ne_bytes(array(message, CMSG_ALIGN)?);
        let kind = i32::from_ne_bytes(array(message, CMSG_ALIGN + 4)?);
        rest = rest.get(length.next_multiple_of(CMSG_ALIGN)..).unwrap_or_default();
        Some((level, kind, &message[CMSG_HEADER_LEN..]))
    })
}

impl Source {
    fn from_pktinfo(data: &[u8]) -> Option<Self> {
        let ip = Ipv4Addr::from(array::<4>(data, 4)?);
        Some(Self { ip: ip.into(), interface: 0 })
    }

    fn from_pktinfo6(data: &[u8]) -> Option<Self> {
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

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_survive_both_kinds_of_socket() {
        for text in ["192.0.2.7:8080", "[2001:db8::1]:443", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, len) = Name::encode(address, true);
            assert_eq!(len, 28);
            assert_eq!(name.decode(), Some(address), "{text}");
        }
        let v4: SocketAddr = "192.0.2.7:8080".parse().unwrap();
        let (name, len) = Name::encode(v4, false);
        assert_eq!((name.decode(), len), (Some(v4), 16));
    }

    #[test]
    fn control_messages_read_back() {
        let source = Source { ip: "192.0.2.1".parse().unwrap(), interface: 0 };
        for ipv6_socket in [false, true] {
            let mut control = Control::EMPTY;
            control.push_source(source, ipv6_socket);
            control.push_segment_size(1_400);
            control.push_ecn(2, !ipv6_socket);
            let read = Control::decode(&control.bytes[..control.len]);
            assert_eq!((read.to, read.ecn), (Some(source), 2));
        }
        let mut merged = Control::EMPTY;
        merged.push(libc::SOL_UDP, libc::UDP_GRO, &1_400_i32.to_ne_bytes());
        let read = Control::decode(&merged.bytes[..merged.len]);
        assert_eq!(read, Ancillary { segment: Some(1_400), ..Ancillary::default() });
    }

    proptest! {
        #[test]
        fn any_control_bytes_decode_to_something(bytes in proptest::collection::vec(any::<u8>(), 0..96)) {
            Control::decode(&bytes);
            let mut control = Control::EMPTY;
            control.bytes[..bytes.len()].copy_from_slice(&bytes);
            control.len = bytes.len();
            control.decode_error();
        }
    }
}
