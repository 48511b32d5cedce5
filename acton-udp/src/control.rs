//! Control messages (cmsg(3)) as the kernel reads and writes them, in safe code.

use std::net::IpAddr;

use crate::bytes::array;
use crate::name::Name;
use crate::source::Source;

/// Length of `struct cmsghdr` in bytes, cmsg(3): a length of the machine's word, level, type.
const CMSG_HEADER_LEN: usize = size_of::<usize>() + 8;
/// Alignment of control messages in bytes, cmsg(3).
const CMSG_ALIGN: usize = size_of::<usize>();

/// Bytes for what a message carries at most, each with its header: sent, packet info of one family
/// (40), a segment size and an ECN field of either family (24 each); received, packet info, a
/// segment size, and ECN fields; of the error queue, packet info, an ECN field (24) and the report
/// with the address of who made it (64).
const CONTROL_CAPACITY: usize = 128;

/// The two bits of the ECN field in the TOS byte and in the traffic class, RFC 3168.
const ECN_MASK: u8 = 3;

/// Length of `struct sock_extended_err` in bytes, linux/errqueue.h; the address of who made the
/// report follows it.
const EXTENDED_ERR_LEN: usize = 16;

/// The control messages of one datagram, cmsg(3).
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control {
    pub(crate) bytes: [u8; CONTROL_CAPACITY],
    pub(crate) len: usize,
}

impl Control {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CONTROL_CAPACITY], len: 0 };
    pub(crate) const CAPACITY: usize = CONTROL_CAPACITY;

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let end = self.len + CMSG_HEADER_LEN + data.len();
        let next = end.next_multiple_of(CMSG_ALIGN);
        // What is pushed here fits by the capacity's definition.
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

    /// Has the datagram leave from `source`.
    pub(crate) fn push_source(&mut self, source: Source, ipv6_socket: bool) {
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

    /// Has the kernel cut the payload into datagrams of `size` bytes.
    pub(crate) fn push_segment_size(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    /// Has the datagram bear `ecn`, the two bits of RFC 3168, with DSCP 0, by the option of one
    /// family.
    pub(crate) fn push_ecn(&mut self, ecn: u8, level: i32, kind: i32) {
        self.push(level, kind, &i32::from(ecn & ECN_MASK).to_ne_bytes());
    }

    /// What came with a datagram.
    pub(crate) fn decode(bytes: &[u8]) -> Ancillary {
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
                    found.ecn = data.first().map_or(0, |tos| tos & ECN_MASK);
                }
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    let class = |bytes| i32::from_ne_bytes(bytes) as u8;
                    found.ecn = array(data, 0).map_or(0, |bytes| class(bytes) & ECN_MASK);
                }
                _ => {}
            }
        }
        found
    }

    /// What a message of the error queue says.
    pub(crate) fn decode_error(bytes: &[u8]) -> Option<ExtendedError> {
        control_messages(bytes).find_map(|(level, kind, data)| match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                // struct sock_extended_err: errno, origin, type, code, pad, info, data.
                let [origin] = array(data, 4)?;
                Some(ExtendedError {
                    errno: i32::from_ne_bytes(array(data, 0)?),
                    origin,
                    info: u32::from_ne_bytes(array(data, 8)?),
                    offender: data
                        .get(EXTENDED_ERR_LEN..)
                        .and_then(Name::from_bytes)
                        .and_then(|name| name.decode())
                        .map(|address| address.ip()),
                })
            }
            _ => None,
        })
    }
}

/// What the kernel tells of a received message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    /// The local address that it came to.
    pub(crate) to: Option<Source>,
    /// The size of each of its datagrams, where it is several merged ones.
    pub(crate) segment: Option<usize>,
    /// The ECN field of the IP header, RFC 3168.
    pub(crate) ecn: u8,
}

/// `struct sock_extended_err` of linux/errqueue.h, as far as it is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtendedError {
    pub(crate) errno: i32,
    /// `SO_EE_ORIGIN_LOCAL` and the like.
    pub(crate) origin: u8,
    /// Of `EMSGSIZE` the path's MTU, in bytes from the IP header on; 0 where it is not known.
    pub(crate) info: u32,
    /// Who sent the ICMP message.
    pub(crate) offender: Option<IpAddr>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Destination;
    use proptest::prelude::*;

    fn written(control: &Control) -> &[u8] {
        &control.bytes[..control.len]
    }

    /// A local address as the kernel may name it: an interface stands with a link-local one alone.
    fn source() -> impl Strategy<Value = Source> {
        let v4 = any::<[u8; 4]>().prop_map(|ip| Source { ip: ip.into(), interface: 0 });
        let v6 = any::<[u8; 16]>().prop_map(|mut ip| {
            ip[0] &= 0x7f; // no multicast address
            Source { ip: IpAddr::from(ip).to_canonical(), interface: 0 }
        });
        let link_local = any::<([u8; 8], u32)>().prop_map(|(host, interface)| {
            let mut ip = [0; 16];
            (ip[0], ip[1]) = (0xfe, 0x80);
            ip[8..].copy_from_slice(&host);
            Source { ip: ip.into(), interface }
        });
        prop_oneof![v4, v6, link_local]
    }

    proptest! {
        #[test]
        fn what_is_sent_reads_back(source in source(), ecn in 0..=u8::MAX, ipv6_socket: bool) {
            let ipv6_socket = ipv6_socket || source.ip.is_ipv6();
            let remote = (source.ip, 9).into();
            let to = Destination::new(remote, Some(source), ipv6_socket);
            let mut control = to.control(ecn);
            control.push_segment_size(1_400);
            let read = Control::decode(written(&control));
            prop_assert_eq!((read.to, read.ecn), (Some(source), ecn & 3));
        }

        #[test]
        fn what_the_kernel_merged_reads_back(size in 1..=65_507_i32) {
            let mut merged = Control::EMPTY;
            merged.push(libc::SOL_UDP, libc::UDP_GRO, &size.to_ne_bytes());
            let expected = Ancillary { segment: Some(size as usize), ..Ancillary::default() };
            prop_assert_eq!(Control::decode(written(&merged)), expected);
        }

        #[test]
        fn reports_read_back(errno: i32, origin: u8, info: u32, ip: [u8; 4], v6: bool) {
            let (offender, len) = Name::encode((ip, 0).into(), v6);
            let mut data = [0; EXTENDED_ERR_LEN];
            data[..4].copy_from_slice(&errno.to_ne_bytes());
            data[4] = origin;
            data[8..12].copy_from_slice(&info.to_ne_bytes());
            let data = [&data, &offender.0[..len as usize]].concat();
            let mut control = Control::EMPTY;
            control.push(libc::IPPROTO_IP, libc::IP_TOS, &[2]);
            control.push(libc::IPPROTO_IPV6, libc::IPV6_RECVERR, &data);
            let expected = ExtendedError { errno, origin, info, offender: Some(ip.into()) };
            prop_assert_eq!(Control::decode_error(written(&control)), Some(expected));
        }

        #[test]
        fn any_bytes_decode_to_something(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            Control::decode(&bytes);
            Control::decode_error(&bytes);
        }

        /// Bytes that get past the header: of the right length, level and type.
        #[test]
        fn any_data_decodes_to_something(
            which in 0..7_usize,
            data in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let (level, kind) = [
                (libc::IPPROTO_IP, libc::IP_PKTINFO),
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO),
                (libc::SOL_UDP, libc::UDP_GRO),
                (libc::IPPROTO_IP, libc::IP_TOS),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
                (libc::IPPROTO_IP, libc::IP_RECVERR),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
            ][which];
            let mut control = Control::EMPTY;
            control.push(level, kind, &data);
            let read = Control::decode(written(&control));
            prop_assert!(read.ecn <= 3 && read.segment != Some(0));
            let error = Control::decode_error(written(&control));
            prop_assert_eq!(error.is_some(), which >= 5 && data.len() >= 12);
        }
    }
}
