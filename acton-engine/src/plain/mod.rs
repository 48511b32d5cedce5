//! Plain mode, the wire of acton 0.1.1: what a worker and the control thread do at each end.

mod client;
mod client_control;
mod client_worker;
mod server;
mod server_control;
mod server_worker;

use acton_proto::plain::ParseError;

use crate::observe::counters::Counter;

pub(crate) use client::start as start_client;
pub(crate) use server::start as start_server;

/// What a datagram is counted as that is neither control nor a frame.
fn bad_datagram(error: ParseError) -> Counter {
    match error {
        ParseError::UnknownControl { .. } => Counter::UnknownControl,
        _ => Counter::Malformed,
    }
}
