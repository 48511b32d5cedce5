//! Ethernet over UDP: the acton server and client, to run (`acton`) or to embed.
//!
//! A server owns a TAP interface, each client owns one, and together they are one Ethernet: a
//! frame for a known MAC goes to the client that has it, broadcast and the like go to all, and
//! what a client sends goes to the server's TAP and to no other client.
//!
//! ```no_run
//! use acton_cli::keys::State;
//! use acton_cli::{Server, TapSettings};
//!
//! let mut tap = TapSettings::new("lan0");
//! tap.addresses.push("10.0.0.1/24".parse()?);
//! let identity = State::new("/etc/acton").server_identity()?;
//! let running = Server::builder()
//!     .listen("192.0.2.1:8080".parse()?)
//!     .keys(identity.into())
//!     .tap(tap)
//!     .start()?;
//!
//! let stopper = running.stopper(); // ends it from any thread
//! # stopper.stop();
//! let totals = running.wait()?;
//! println!("{totals}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here exits the process, prints, or keeps global state; events go to [`log`].
#![deny(unsafe_code)]

pub mod cli;
mod engine;
pub mod keys;
pub mod lab;
mod udp;

pub use engine::{
    Client, ClientBuilder, ClientKeys, Error, Running, Scheduling, Server, ServerBuilder,
    ServerKeys, ServerName, SessionInfo, Stopper, TapSettings, Totals,
};

/// The examples of README.md, so that they keep compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
