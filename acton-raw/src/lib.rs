//! AF_PACKET sockets bound to one Ethernet interface: whole frames out and in, with all that the
//! kernel tells about them (`packet(7)`).
//!
//! [`RawSocket::builder`] opens a socket in the order that lets no foreign frame in: without a
//! protocol it is deaf until it has its filter, options and ring, and is bound last. It needs
//! CAP_NET_RAW.
//!
//! ```no_run
//! use acton_raw::{Filter, RawSocket};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let arp_or_dns = Filter::ethertype(0x0806).or(Filter::port(53));
//! let socket = RawSocket::builder("eth0").promiscuous(true).filter(arp_or_dns).build()?;
//! let (mut buffer, mut wire) = (vec![0; 65_536], Vec::new());
//! loop {
//!     let meta = socket.recv(&mut buffer)?;
//!     println!("{:?} {} bytes", meta.packet_type, meta.original_len);
//!     if let Some(tag) = meta.vlan {
//!         tag.insert(&buffer[..meta.captured_len], &mut wire);
//!         println!("in VLAN {}, on the wire {wire:02x?}", tag.id());
//!     }
//! }
//! # }
//! ```
//!
//! - A [`Filter`] is an expression that is compiled to classic BPF; a [`Program`] is raw
//!   instructions.
//! - [`RecvBatch`] and [`RawSocket::send_batch`] move up to 64 frames a system call.
//! - A [`Ring`] receives through memory shared with the kernel: for captures that must keep up.
//! - A [`Fanout`] group shares an interface's frames among several sockets.
//! - To stop a reader, have it [`wait`](RawSocket::wait) for a descriptor of its own besides the
//!   frames, or poll the socket, which is [`AsFd`](std::os::fd::AsFd), in a loop of one's own.
//!
//! # What the kernel does to frames
//! It takes the outermost VLAN tag out of a frame that comes in ([`FrameMeta::vlan`] has it, and
//! [`VlanTag::insert`] puts it back). It hands over frames larger than the MTU, up to 64 KiB,
//! where receive or segmentation offload is on, and transport checksums that nobody has filled in
//! yet ([`Checksum::Partial`]).
#![deny(unsafe_code)]

mod batch;
mod builder;
mod error;
mod fanout;
mod filter;
mod frame;
mod ring;
mod socket;
#[allow(unsafe_code)]
mod sys;
mod wait;

pub use batch::RecvBatch;
pub use builder::Builder;
pub use error::{Error, FilterError};
pub use fanout::{Fanout, FanoutMode};
pub use filter::{Filter, Instruction, Program};
pub use frame::{Checksum, Frame, FrameMeta, PacketType, VlanTag};
pub use ring::{Block, Frames, Ring, RingConfig};
pub use socket::{RawSocket, Statistics};
pub use wait::Wake;

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
