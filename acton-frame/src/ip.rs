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
    /// Bytes from the frame's first to what it carries, behind options and extension headers; `None`
    /// where that is outside the frame, or not found, or the rest of it only
    /// ([`Fragment::Later`]).
    pub payload: Option<usize>,
}
