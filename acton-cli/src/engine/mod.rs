//! The running tunnel: workers that move frames, and a control thread that keeps the sessions.
//!
//! A frame is handled start to end by the worker that read it. What workers share is read-mostly:
//! the table of peers (a snapshot that the control thread replaces), the bridge, and counters of
//! their own that are added up on demand.

mod client;
mod clock;
mod counters;
mod cut;
mod dial;
mod ecn;
mod error;
mod flow;
mod frames;
mod housekeeping;
mod inner;
mod launch;
mod leaves;
mod mss;
mod name;
mod network;
mod owned_macs;
mod plain;
mod route;
mod router;
mod running;
mod scheduling;
mod secure;
mod server;
mod tap;
mod worker;

pub use client::{Client, ClientBuilder};
pub use counters::Totals;
pub use error::Error;
pub use name::ServerName;
pub use running::{Running, SessionInfo, Stopper};
pub use scheduling::Scheduling;
pub use secure::{ClientKeys, ServerKeys};
pub use server::{Server, ServerBuilder};
pub use tap::TapSettings;
