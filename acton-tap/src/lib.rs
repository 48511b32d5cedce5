//! Linux TAP interfaces: creation, configuration, frames.
//!
//! A TAP is an Ethernet interface whose other end is a file: what the kernel sends out of it, the
//! program reads, and what the program writes, the kernel receives. Four types cover it:
//!
//! - [`Builder`] creates a TAP or attaches to one that exists, and gives a [`Tap`];
//! - [`Queue`] is one open file of it: frames in and out, gather and scatter, from `&self`;
//! - [`Stop`] ends a blocked read from another thread;
//! - [`Interface`] programs the kernel's side (MAC, MTU, addresses, up and down, bridge), for a
//!   TAP or for any other interface.
//!
//! ```no_run
//! use std::net::Ipv4Addr;
//! use acton_tap::{Stop, Tap};
//!
//! let tap = Tap::builder().name("tap%d").build()?;
//! tap.interface().add_address(Ipv4Addr::new(192, 0, 2, 1).into(), 24)?;
//! tap.interface().up()?;
//! println!("{} is up with MAC {}", tap.name(), tap.interface().mac()?);
//!
//! let stop = Stop::new()?; // a clone of it in another thread ends the loop
//! let queue = &tap.queues()[0];
//! let mut frame = [0; 1514];
//! while let Some(length) = queue.recv_or_stopped(&mut frame, &stop)? {
//!     println!("{length} bytes for {:02x?}", &frame[..6]);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A TAP goes away with its last queue unless it is [persistent](Builder::persist).
//!
//! # What it needs
//! `CAP_NET_ADMIN` in the network namespace (root, or a user namespace of one's own) and
//! `/dev/net/tun`, which this crate never creates; or descriptors that somebody passes who has both
//! ([`Builder::adopt`]). An interface is looked up in the network
//! namespace of the thread that builds or opens it, and is programmed there from then on, whatever
//! thread uses it.
//!
//! # Async
//! The features `tokio` and `async-io`, both off by default, add modules of these names, each with an
//! `AsyncQueue`. For another runtime, [`Queue`] is [`AsFd`](std::os::fd::AsFd) and can be
//! [non-blocking](Builder::nonblocking).
//!
//! # Super-frames
//! With [`Builder::vnet_header`] every frame is preceded by a [`VnetHeader`] of 10 bytes, and with
//! [`Builder::offloads`] the kernel hands over TCP and UDP payloads of up to 64 KiB in one frame,
//! unsegmented and without checksums. [`Tap::offloads`] says which of them the kernel granted, and
//! [`offload`] cuts such super-frames and makes them.
#![deny(unsafe_code)]

mod adopt;
#[cfg(feature = "async-io")]
pub mod async_io;
mod builder;
mod driver;
mod error;
mod interface;
mod name;
pub mod offload;
mod queue;
#[allow(unsafe_code, reason = "the system calls that have no safe wrapper")]
mod sys;
#[cfg(feature = "tokio")]
pub mod tokio;
mod vnet;

pub use acton_netlink::{Address, TapStatus};
pub use adopt::FdProblem;
pub use builder::{Builder, Tap};
pub use driver::Driver;
pub use error::Error;
pub use interface::Interface;
pub use pnet_base::MacAddr;
pub use queue::{Queue, Stop};
pub use vnet::{Checksum, Gso, GsoKind, Offloads, VnetHeader, VnetHeaderError};

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
