//! HTTP, for browsers and monitors: a page, metrics, the status, events and health of one tunnel.
//!
//! It only looks: all of it comes from the [`Source`](crate::control::Source) that the control socket
//! answers from, in the same words and the same JSON. docs/HTTP.md is the reference. Requests are read
//! here, with `httparse` for their heads: what servers there are without an async runtime have no
//! limits on connections, sizes and time.

mod door;
mod events;
mod exchange;
mod guard;
mod history;
mod json;
mod metrics;
mod page;
mod request;
mod response;
mod routes;

pub(crate) use door::{HttpServer, Listener};
pub(crate) use guard::Token;
