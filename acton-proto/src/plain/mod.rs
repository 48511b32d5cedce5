//! Plain mode: the wire of acton 0.1.1, without keys and without I/O.
//!
//! A UDP payload of 14 bytes and more is one whole Ethernet frame; a shorter one is control and
//! is exactly the ASCII text `HELLO`, `KEEPALIVE` or `BYE` ([`Datagram::parse`]). The server
//! answers HELLO and KEEPALIVE with the same text and never speaks first.
//!
//! ```text
//! client                                            server
//!   | HELLO, at once, then every 1, 2, 3 .. 10 s       |
//!   |------------------------------------------------->|  session up
//!   |<-------------------------------------------------|  HELLO
//!   | connected                                        |
//!   |<================ frames, both ways =============>|
//!   | KEEPALIVE every 10 s ...                         |
//!   |------------------------------------------------->|  session up, if there was none
//!   |<-------------------------------------------------|  KEEPALIVE
//!   | nothing heard for 30 s: lost, HELLO again        |  nothing heard for 30 s: session down
//!   | BYE                                              |
//!   |------------------------------------------------->|  session down at once
//! ```
//!
//! [`Client`] and [`Server`] are state machines that own no socket and no clock. Time is a
//! [`Duration`](std::time::Duration) since any fixed moment, best boot time, so that a suspended
//! machine notices; it should not go back. After each call that takes a time, drain `poll_event`
//! and `poll_transmit`, then sleep until `poll_timeout` and call `handle_timeout`.
//!
//! Nothing here is authenticated: who can send from a peer's address can be that peer. What an
//! outsider can make the server hold or send is bounded, see [`Server`].
//!
//! ```
//! use std::net::SocketAddr;
//! use std::time::Duration;
//!
//! use acton_proto::plain::{
//!     Client, ClientConfig, ClientEvent, Control, Datagram, ParseError, Server, ServerConfig,
//! };
//!
//! let here: SocketAddr = "192.0.2.7:40000".parse()?;
//! let mut now = Duration::ZERO;
//! let mut client = Client::new(ClientConfig::default(), 1, now);
//! let mut server = Server::new(ServerConfig::default(), now);
//!
//! // The client says HELLO. What goes over the network is the text.
//! let hello = client.poll_transmit().ok_or("nothing to send")?;
//! assert_eq!(hello.as_bytes(), b"HELLO");
//!
//! // The server opens a session and answers.
//! now += Duration::from_millis(20);
//! if let Datagram::Control(control) = Datagram::parse(hello.as_bytes())? {
//!     server.handle_control(now, here, control);
//! }
//! assert_eq!(server.poll_transmit(), Some((here, Control::Hello)));
//!
//! // The client is connected and knows the round-trip time.
//! now += Duration::from_millis(20);
//! client.handle_input(now, &Datagram::parse(b"HELLO")?);
//! assert_eq!(client.poll_event(), Some(ClientEvent::Connecting { attempt: 1 }));
//! let rtt = Some(Duration::from_millis(40));
//! assert_eq!(client.poll_event(), Some(ClientEvent::Connected { rtt }));
//!
//! assert_eq!(Datagram::parse(b"HOWDY"), Err(ParseError::UnknownControl { len: 5 }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod codec;
mod jitter;
mod server;

pub use client::{Client, ClientConfig, ClientEvent};
pub use codec::{Control, Datagram, MAX_DATAGRAM, MIN_FRAME_LEN, ParseError};
pub use server::{DownReason, Origin, Server, ServerConfig, ServerEvent, Session, SessionId};
