//! Batched UDP: many datagrams a system call in both directions, with segmentation and merging
//! left to the kernel (UDP_SEGMENT and UDP_GRO, udp(7)).
//!
//! The message headers are our own and allocated once: control messages must be reset for each
//! call and differ from message to message, which ready-made wrappers do not allow.

#![deny(unsafe_code)]

mod address;
mod recv;
mod send;
mod socket;
mod sys;

pub use address::{Destination, Source};
pub use recv::{Received, RecvBatch};
pub use send::{SendBatch, SendBuffer, SendCounts, is_full};
pub use socket::{Report, UdpSocket};

/// Errors of a call after which it counts as refused: the ones before may be what the network said of
/// earlier datagrams, which anybody can forge at any rate, and which is told to one call each.
pub const REFUSALS: u32 = 4;

/// The largest UDP payload over IPv4 without jumbograms, in bytes: 65,535 less the IPv4 header
/// (20) and the UDP header (8).
pub const MAX_PAYLOAD: usize = 65_507;
