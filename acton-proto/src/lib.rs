//! The wire protocol of acton and its state machines, without I/O.
//!
//! Two protocols carry Ethernet frames over UDP:
//!
//! - acton/1, the default, is encrypted: [`wire`] has its layouts, [`handshake`] makes keys,
//!   [`session`] seals and opens with them, [`client`] and [`server`] are the state machines.
//! - [`plain`] is the wire of acton 0.1.1 and of socat, without keys.
//!
//! Nothing here reads a clock, a socket or the system's random numbers by itself. A state machine
//! takes datagrams and the time (`handle_input`, `handle_timeout`) and says what to send
//! (`poll_transmit`), what happened (`poll_event`) and when to come back (`poll_timeout`).
//!
//! A client and a server of acton/1 get to know each other:
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//! use acton_proto::client::{Client, ClientConfig};
//! use acton_proto::handshake::{Secret, SystemRandom, public_key};
//! use acton_proto::server::{AnyClient, Server, ServerConfig};
//!
//! let (now, wall) = (Duration::from_secs(1), 1_767_225_600_000_000_000);
//! let network_key = Some(Secret::generate(&mut SystemRandom));
//! let server_key = Secret::generate(&mut SystemRandom);
//!
//! let mut config = ClientConfig::new(Secret::generate(&mut SystemRandom), public_key(&server_key));
//! config.network_key = network_key.clone();
//! let mut client = Client::new(config, Box::new(SystemRandom), now);
//!
//! let mut config = ServerConfig::new(server_key);
//! config.network_key = network_key;
//! let mut server = Server::new(config, Box::new(AnyClient), Box::new(SystemRandom), now);
//!
//! let address: SocketAddr = "192.0.2.7:4242".parse()?;
//! client.handle_timeout(now, wall);
//! let mut buffer = Vec::new();
//! for _ in 0..3 {
//!     // HELLO, then the KEEPALIVE that confirms the keys.
//!     while let Some(segment) = client.poll_transmit(64, &mut buffer) {
//!         for datagram in buffer.chunks_mut(segment) {
//!             server.handle_input(now, wall, address.into(), datagram);
//!         }
//!         buffer.clear();
//!     }
//!     // WELCOME, then ECHO.
//!     while let Some(transmit) = server.poll_transmit(64, &mut buffer) {
//!         for datagram in buffer.chunks_mut(transmit.segment) {
//!             client.handle_input(now, datagram);
//!         }
//!         buffer.clear();
//!     }
//! }
//! assert!(client.keys().is_some());
//! assert_eq!(server.session_count(), 1);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

#![forbid(unsafe_code)]

pub mod client;
pub mod handshake;
mod jitter;
pub mod plain;
pub mod server;
pub mod session;
mod timer;
pub mod wire;

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
