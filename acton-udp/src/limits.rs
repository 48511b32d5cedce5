//! Limits of the kernel and of UDP.

/// The largest UDP payload over IPv4 without jumbograms, in bytes: 65,535 less the IPv4 header
/// (20) and the UDP header (8). The kernel holds the payload of a message of several datagrams
/// (`UDP_SEGMENT`) to it too.
pub const MAX_PAYLOAD: usize = 65_507;

/// Datagrams a message holds at most: UDP_MAX_SEGMENTS of linux/udp.h before 6.9 (128 since).
pub(crate) const SEGMENTS: usize = 64;

/// Parts a datagram has at most, so that those of a full message are no more than the 1,024
/// (UIO_MAXIOV of linux/uio.h) that the kernel takes.
pub(crate) const MAX_PARTS: usize = 1_024 / SEGMENTS;
