//! Network namespaces held by a file descriptor, and veth pairs between them, for labs and tests.
//!
//! A [`Namespace`] has no name in the file system: the kernel frees it, with every device in it,
//! when the last descriptor, thread and process in it is gone, so even SIGKILL leaves nothing
//! behind. Devices, addresses and routes are set by rtnetlink; no other program is run.
//!
//! Everything here needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`: run as root, or call
//! [`enter_user_namespace`] before the first thread starts.
//!
//! ```no_run
//! use std::process::Command;
//! use acton_netns::{Namespace, Veth, veth};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let left = Namespace::new()?;
//! let right = Namespace::new()?;
//! veth(&left, "to-right", &right, "to-left", &Veth::new().mtu(9000))?;
//! left.add_address("to-right", "10.0.0.1".parse()?, 24)?;
//! right.add_address("to-left", "10.0.0.2".parse()?, 24)?;
//!
//! // A program inside, a closure inside, a socket that stays inside.
//! let links = left.output(Command::new("ip").arg("link"))?;
//! assert!(String::from_utf8_lossy(&links.stdout).contains("to-right"));
//! let listener = right.run(|| std::net::TcpListener::bind("10.0.0.2:0"))?;
//! let address = listener.local_addr()?;
//! let stream = left.run(|| std::net::TcpStream::connect(address))?;
//! # drop(stream);
//! # Ok(())
//! # }
//! ```
//!
//! A thread has one network namespace, and what it creates (threads, processes, sockets) starts
//! in that one. So [`Namespace::run`] and the functions that start programs do their work on a
//! thread that has entered; the calling thread stays where it is.
#![forbid(unsafe_code)]

mod error;
mod link;
mod namespace;
mod user;

pub use error::Error;
pub use link::{Veth, veth};
pub use namespace::Namespace;
pub use user::enter_user_namespace;

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
