//! rtnetlink(7): what programs most often ask of a Linux network namespace and set up in it, as
//! plain calls with plain types.
//!
//! A [`Socket`] belongs to the network namespace that the calling thread is in when it opens it,
//! and speaks to that namespace from then on, whatever thread uses it. Reading needs no privilege,
//! changes need `CAP_NET_ADMIN`.
//!
//! ```no_run
//! use std::io::ErrorKind;
//! use acton_netlink::{Group, NewAddress, NewLink, Socket, Subscription};
//!
//! # fn main() -> std::io::Result<()> {
//! let changes = Subscription::new(&[Group::Link, Group::Ipv4Address])?; // poll it
//!
//! let mut netlink = Socket::open()?;
//! netlink.add_veth(&NewLink::new("left").mtu(9000), &NewLink::new("right"), None)?;
//! let left = netlink.link("left")?;
//! netlink.set_up(left.index)?;
//! let address = NewAddress::new([192, 0, 2, 1], 24);
//! match netlink.add_address(left.index, &address) {
//!     Err(error) if error.kind() == ErrorKind::AlreadyExists => println!("it has that already"),
//!     added => added?,
//! }
//! for address in netlink.addresses(left.index)? {
//!     println!("{address} on {}, MTU {} bytes", left.name, left.mtu);
//! }
//! let route = netlink.route_to([198, 51, 100, 7].into(), None)?;
//! println!("by interface {} from {:?}", route.interface, route.source);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//! An error is the kernel's own, with its errno(3). Those that say that all is as asked for
//! already, or that there is nothing to ask it of, can be told apart:
//!
//! | errno | [`ErrorKind`](std::io::ErrorKind) | says |
//! |---|---|---|
//! | `EEXIST` | `AlreadyExists` | the address, the link or the route is there already |
//! | `EADDRNOTAVAIL` | `AddrNotAvailable` | the address to remove is not there |
//! | `ENODEV` | | there is no such interface |
//! | `EPERM` | `PermissionDenied` | `CAP_NET_ADMIN` is missing |
//!
//! # Why not one of the big crates
//! They know every attribute of every message and are large for it. This one knows those that it
//! has a use for, skips all others, and builds on `nix` alone.
#![forbid(unsafe_code)]

mod address;
mod link;
mod message;
mod neighbour;
mod route;
mod socket;
mod subscription;

pub use address::{Address, NewAddress};
pub use link::{BridgeStatus, Link, NewLink, PortStatus, PortVlans, TapStatus, VxlanStatus};
pub use neighbour::{FdbEntry, Neighbour};
pub use pnet_base::MacAddr;
pub use route::Route;
pub use socket::Socket;
pub use subscription::{Group, News, Subscription};

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
