//! Where datagrams go.

use std::net::SocketAddr;

use crate::control::Control;
use crate::name::Name;
use crate::segment_limit::SegmentLimit;
use crate::source::Source;

/// Where datagrams go and from which local address, in the kernel's own layout: made once a peer by
/// [`UdpSocket::destination`](crate::UdpSocket::destination), used for each of its datagrams.
///
/// It also remembers how far the kernel segments to there
/// ([`segment_limit`](Self::segment_limit)); a clone starts with what the original knows.
#[derive(Debug, Clone)]
pub struct Destination {
    /// See [`segment_limit`](Self::segment_limit).
    pub(crate) segments: SegmentLimit,
    /// See [`tagged`](Self::tagged).
    pub(crate) tag: u32,
    family: Family,
    pub(crate) name: Name,
    /// 0 for a connected socket.
    pub(crate) name_len: u32,
    pub(crate) source: Control,
}

/// Which header bears the ECN field.
#[derive(Debug, Clone, Copy)]
enum Family {
    V4,
    V6,
    /// Only the socket knows.
    Connected,
}

impl Destination {
    /// A peer at `remote`, reached from `source` where that is known.
    pub(crate) fn new(remote: SocketAddr, source: Option<Source>, ipv6_socket: bool) -> Self {
        let (name, name_len) = Name::encode(remote, ipv6_socket);
        let mut control = Control::EMPTY;
        if let Some(source) = source {
            control.push_source(source, ipv6_socket);
        }
        let family = if remote.is_ipv4() { Family::V4 } else { Family::V6 };
        Self { name, name_len, family, source: control, ..Self::connected() }
    }

    /// The peer that the socket is [connected](crate::UdpSocket::connect) to.
    #[must_use]
    pub const fn connected() -> Self {
        Self {
            segments: SegmentLimit::none(),
            tag: 0,
            family: Family::Connected,
            name: Name::ZERO,
            name_len: 0,
            source: Control::EMPTY,
        }
    }

    /// The same with a number of the caller's own (0 at first), by which
    /// [`SendBuffer::refused`](crate::SendBuffer::refused) tells of it.
    #[must_use]
    pub fn tagged(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    /// The peer's address; `None` for the one that the socket is connected to.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        if self.name_len == 0 { None } else { self.name.decode() }
    }

    /// The largest datagram, in bytes of payload, that the kernel is still asked to cut out of a
    /// larger message to there: at first there is no limit (`usize::MAX`). Where it refused the
    /// segmentation of a message and took the same datagrams one by one, it is less than these; 0
    /// where the device segments nothing (`EIO`). After a number of datagrams that went alone for it,
    /// twice as many each time, there is none again.
    #[must_use]
    pub fn segment_limit(&self) -> usize {
        self.segments.get()
    }

    /// The control messages of a datagram to there that bears `ecn`.
    pub(crate) fn control(&self, ecn: u8) -> Control {
        let mut control = self.source;
        if ecn != 0 {
            // Of a connected socket both: each family passes over the message of the other.
            if !matches!(self.family, Family::V6) {
                control.push_ecn(ecn, libc::IPPROTO_IP, libc::IP_TOS);
            }
            if !matches!(self.family, Family::V4) {
                control.push_ecn(ecn, libc::IPPROTO_IPV6, libc::IPV6_TCLASS);
            }
        }
        control
    }
}
