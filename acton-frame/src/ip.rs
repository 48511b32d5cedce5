//! What is known of an IP packet.

/// The version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which part of a packet a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first fragment, with the transport header. So is an IPv6 packet whose fragment header
    /// says that it is the only fragment (RFC 6946), and an IPv4 packet with the reserved flag set:
    /// they are nothing to cut or join.
    First,
    /// A later fragment, without a transport header.
    Later,
}

/// An IP header that lies whole in the frame, and is of the version that its EtherType says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Its version.
    pub version: IpVersion,
    /// Bytes from the frame's first to the header.
    pub start: usize,
    /// The number of the protocol that it carries, behind the IPv6 extension headers; that of an
    /// extension header where they are cut short, or more than eight.
    pub protocol: u8,
    /// Which part of a packet it is.
    pub fragment: Fragment,
    /// Whether the packet, by the length in its header, ends where the frame does: no padding
    /// follows, and nothing is missing.
    pub fills: bool,
    /// Bytes from the frame's first to what it carries, behind options and extension headers. `None`
    /// where the frame ends before it, where it was not found behind extension headers, and in a
    /// [later fragment](Fragment::Later).
    pub payload: Option<usize>,
}

/// What is known of an IP header, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpBits(u8);

impl IpBits {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const V4: u8 = 1;
    pub(crate) const V6: u8 = 1 << 1;
    pub(crate) const FIRST: u8 = 1 << 2;
    pub(crate) const LATER: u8 = 1 << 3;
    pub(crate) const FILLS: u8 = 1 << 4;

    #[inline]
    pub(crate) fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Of a header of this version.
    #[inline]
    pub(crate) fn new(version: u8, fills: bool) -> Self {
        Self(version | if fills { Self::FILLS } else { 0 })
    }

    /// Adds that it is a fragment that starts at `offset` of the packet.
    #[inline]
    pub(crate) fn add_fragment(&mut self, offset: u16) {
        self.0 |= if offset == 0 { Self::FIRST } else { Self::LATER };
    }

    #[inline]
    pub(crate) fn is_fragment(self) -> bool {
        self.has(Self::FIRST | Self::LATER)
    }

    #[inline]
    pub(crate) fn version(self) -> Option<IpVersion> {
        match self.0 & (Self::V4 | Self::V6) {
            0 => None,
            Self::V4 => Some(IpVersion::V4),
            _ => Some(IpVersion::V6),
        }
    }

    #[inline]
    pub(crate) fn fragment(self) -> Fragment {
        match self.0 & (Self::FIRST | Self::LATER) {
            0 => Fragment::Whole,
            Self::FIRST => Fragment::First,
            _ => Fragment::Later,
        }
    }
}
