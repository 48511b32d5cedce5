//! The headers of an Ethernet frame, found in one pass.
//!
//! [`Headers::parse`] says where each header of a frame is: the Ethernet header with up to two VLAN
//! tags, IPv4 or IPv6 with its extension headers, TCP or UDP. It never fails: what is cut short or
//! unknown is absent. The result is a small value without a reference to the frame, so that it can
//! wait beside the frame and serve all who handle it.
//!
//! ```
//! use acton_frame::{Fragment, Headers, IpVersion, MacAddr, Protocol};
//!
//! // VLAN 7, IPv4, UDP from port 1024 to port 53, 4 bytes.
//! let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0x00, 0, 7, 0x08, 0x00];
//! frame.extend([0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
//! frame.extend([4, 0, 0, 53, 0, 12, 0, 0, b'a', b'b', b'c', b'd']);
//!
//! let headers = Headers::parse(&frame);
//! let ethernet = headers.ethernet().expect("it is no runt");
//! assert_eq!(ethernet.destination(), MacAddr::new(2, 0, 0, 0, 0, 1));
//! assert_eq!((ethernet.vlan(), headers.ethertype()), (7, Some(0x0800)));
//!
//! let ip = headers.ip().expect("a whole IP header");
//! assert_eq!((ip.version, ip.start, ip.protocol), (IpVersion::V4, 18, 17));
//! assert_eq!((ip.fragment, ip.fills), (Fragment::Whole, true));
//! assert_eq!(headers.hosts(&frame), Some(&[192, 0, 2, 1, 192, 0, 2, 2][..]));
//!
//! let udp = headers.transport().expect("a whole UDP header");
//! assert_eq!((udp.protocol, udp.start, udp.payload), (Protocol::Udp, 38, 46));
//! assert_eq!(headers.ports(&frame), Some(&[4, 0, 0, 53]));
//! ```
//!
//! [`Filter`] says in words which frames somebody wants to see, and goes by what was found.
//!
//! # What holds of the offsets
//! They lie inside the frame: a slice from any of them to [`frame_len`](Headers::frame_len) exists in
//! every frame of that length. Headers stay right while the frame changes only where they do not
//! look, such as in a checksum, a TCP option's value or IP's traffic class.

#![forbid(unsafe_code)]

mod ethernet;
pub mod field;
mod filter;
mod headers;
mod ip;
mod tags;
mod transport;

pub use ethernet::Ethernet;
pub use filter::{Filter, FilterError};
pub use headers::Headers;
pub use ip::{Fragment, Ip, IpVersion};
pub use pnet_base::MacAddr;
pub use tags::{Tag, TagBytes, Tags, hide_tag, show_tag};
pub use transport::{Protocol, Transport};

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
