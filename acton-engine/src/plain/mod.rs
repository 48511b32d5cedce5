//! Plain mode, the wire of acton 0.1.1: what a worker and the control thread do at each end.

mod client;
mod server;

pub(crate) use client::start as start_client;
pub(crate) use server::{PlainServer, start as start_server};
