//! Socket addresses as the kernel reads and writes them, in safe code.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::bytes::array;

/// Length of `struct sockaddr_in` in bytes, ip(7).
const SOCKADDR_IN_LEN: usize = 16;
/// Length of `struct sockaddr_in6` in bytes, ipv6(7).
const SOCKADDR_IN6_LEN: usize = 28;

/// A `struct sockaddr` of either family.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Name(pub(crate) [u8; SOCKADDR_IN6_LEN]);

impl Name {
    pub(crate) const ZERO: Self = Self([0; SOCKADDR_IN6_LEN]);

    /// The address in the kernel's layout and its length. IPv4 is mapped into IPv6 where the
    /// socket is an IPv6 one.
    pub(crate) fn encode(address: SocketAddr, ipv6_socket: bool) -> (Self, u32) {
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

    /// A `struct sockaddr` inside a control message; `None` where it is cut off.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut name = Self::ZERO;
        let len = match i32::from(u16::from_ne_bytes(array(bytes, 0)?)) {
            libc::AF_INET => SOCKADDR_IN_LEN,
            _ => SOCKADDR_IN6_LEN,
        };
        name.0[..len].copy_from_slice(bytes.get(..len)?);
        Some(name)
    }

    /// The address that the kernel wrote; an IPv4-mapped one comes back as IPv4.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any address, as the kernel writes it: flow labels are not kept, and one of IPv4 is never in
    /// its IPv6 form.
    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
        let v6 = any::<([u8; 16], u16, u32)>().prop_map(|(ip, port, scope)| {
            SocketAddr::from(SocketAddrV6::new(ip.into(), port, 0, scope))
        });
        prop_oneof![v4, v6.prop_filter("mapped", |v6| v6.ip() == v6.ip().to_canonical())]
    }

    proptest! {
        #[test]
        fn addresses_survive_both_kinds_of_socket(address in address(), ipv6_socket: bool) {
            let (name, len) = Name::encode(address, ipv6_socket);
            prop_assert_eq!(name.decode(), Some(address));
            let expected = if address.is_ipv4() && !ipv6_socket { 16 } else { 28 };
            prop_assert_eq!(len, expected);
            let inside = Name::from_bytes(&name.0[..len as usize]).unwrap();
            prop_assert_eq!(inside.decode(), Some(address));
        }

        #[test]
        fn any_bytes_decode_to_something(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(name) = Name::from_bytes(&bytes) {
                name.decode();
            }
        }
    }
}
