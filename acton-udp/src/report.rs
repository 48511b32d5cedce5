//! What the network said of datagrams that were sent.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::control::{Control, ExtendedError};
use crate::name::Name;

/// Bytes of an IPv4 header without options (20) and a UDP header (8).
const HEADERS_V4: usize = 28;
/// Bytes of an IPv6 header without extensions (40) and a UDP header (8).
const HEADERS_V6: usize = 48;

/// `SO_EE_ORIGIN_LOCAL`, `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6` of linux/errqueue.h.
const ORIGIN_LOCAL: u8 = 1;
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// What became of an earlier datagram, from the socket's error queue
/// ([`UdpSocket::take_report`](crate::UdpSocket::take_report)).
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// Where the datagram was going. The port is 0 where this host reports ([`Origin::Local`]) of
    /// IPv4 and the socket is not connected.
    pub to: Option<SocketAddr>,
    /// Why it did not get there: `ConnectionRefused` where nobody listens at the port,
    /// `HostUnreachable` and `NetworkUnreachable`, `EMSGSIZE` where it is too large.
    pub error: io::Error,
    /// Of one that was too large (`EMSGSIZE`): the largest payload that gets further, in bytes,
    /// where that was said.
    pub max_payload: Option<usize>,
    /// Who says so.
    pub origin: Origin,
}

/// Who reports what became of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// This host: the datagram does not fit its first link.
    Local,
    /// An ICMP message with this source address (`None` where the kernel does not tell), which
    /// anybody may have forged.
    Icmp(Option<IpAddr>),
}

impl Report {
    /// From a message of the error queue; `None` where that is of something else, e.g. of a time
    /// stamp that another holder of the socket asked for.
    pub(crate) fn decode(name: &Name, control: &[u8]) -> Option<Self> {
        let ExtendedError { errno, origin, info, offender } = Control::decode_error(control)?;
        let origin = match origin {
            ORIGIN_LOCAL => Origin::Local,
            ORIGIN_ICMP | ORIGIN_ICMP6 => Origin::Icmp(offender),
            _ => return None,
        };
        let to = name.decode();
        let headers = if to.is_some_and(|to| to.is_ipv6()) { HEADERS_V6 } else { HEADERS_V4 };
        let fits = (info as usize).checked_sub(headers).filter(|_| errno == libc::EMSGSIZE);
        Some(Self { to, error: io::Error::from_raw_os_error(errno), max_payload: fits, origin })
    }
}
