//! Ethernet over UDP: an acton server or client to embed.
//!
//! A server owns a TAP interface, each client owns one, and together they are one Ethernet: a
//! frame for a known MAC goes to the client that has it, broadcast and the like go to all, and
//! what a client sends goes to the server's TAP and to no other client.
//!
//! ```no_run
//! use acton_engine::keys::State;
//! use acton_engine::{Server, TapSettings};
//!
//! let mut tap = TapSettings::new("lan0");
//! tap.addresses.push("10.0.0.1/24".parse()?);
//! let identity = State::new("/etc/acton").server_identity()?;
//! let running = Server::secure(identity.into())
//!     .listen("192.0.2.1:8080".parse()?)
//!     .tap(tap)
//!     .start()?;
//!
//! let handle = running.handle(); // watches it and ends it, from any thread
//! for session in handle.status().sessions {
//!     println!("{} is {:?}", session.name, session.state);
//! }
//! # handle.stop();
//! let totals = running.wait()?;
//! println!("{totals}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here exits the process, prints, or keeps global state; events go to [`log`].
//!
//! A frame is handled start to end by the worker that read it. What workers share is read-mostly:
//! the directory of sessions (which the control thread changes), the bridge, and counters of
//! their own that are added up on demand.
#![forbid(unsafe_code)]

mod authorize;
mod capture;
mod client;
mod error;
mod floods;
mod frames;
mod isolation;
pub mod keys;
mod loops;
mod observe;
mod plain;
mod reach;
mod root;
mod run;
mod secure;
mod server;
mod sessions;
mod settings;
mod throttle;
#[cfg(test)]
#[path = "../../acton-proto/tests/vectors_rig/text.rs"]
mod vectors_text;

// What signatures here have of other crates.
pub use acton_bridge::{
    AllReason, Budget, CompiledPolicy, EtherType, EtherTypeError, FloodClass, LearntFrom, MacRange,
    MacRangeError, Policy, Rate, Sources, TagPair, VlanId, VlanRange, VlanSet, Vlans, group_mac,
};
pub use acton_frame::{Filter, FilterError};
pub use acton_proto::handshake::{Secret, SystemRandom, public_key};
pub use acton_proto::session::{KeyLog, KeyLogEntry};
pub use acton_proto::wire::Key;
pub use acton_tap::Error as TapError;
pub use ipnet::IpNet;
pub use pnet_base::MacAddr;

pub use authorize::{
    ALLOWED_FOR, Authority, DENIED_FOR, Decision, Decisions, MAX_VALID_FOR, Question, Verdict,
};
pub use capture::packet::Direction;
pub use client::{Client, ClientBuilder, PlainClient, SecureClient};
pub use error::Error;
pub use floods::budgets::{Budgets, FloodBudgets};
pub use isolation::report::{
    ISOLATION_BESIDE, IsolationClient, IsolationKind, IsolationLeak, IsolationOptions,
    IsolationPart, IsolationReport, IsolationVerdict,
};
pub use observe::counters::{Totals, counters, drop_reasons};
pub use observe::event::{
    Beginning, EndReason, Event, EventKind, Limit, LoopWitness, NotKept, Place, RefusalReason,
};
pub use observe::event_kinds::{EventDescription, event_kinds};
pub use observe::event_log::Events;
pub use observe::pulse::Pulse;
pub use observe::status::{
    ActedReport, BridgeReport, CircuitReport, LeaseReport, Listing, LoopReport, LossReport,
    MacReport, MulticastReport, PastSession, PolicyReport, Protocol, QuerierReport, Role,
    RttReport, SCHEMA, ServerReport, SessionStatus, SocketReport, State, Status, TapReport,
};
pub use observe::tally::Traffic;
pub use reach::name::ServerName;
pub use reach::servers::Rank;
pub use run::capture::{
    CaptureLayer, CaptureOptions, CaptureStream, CapturedPacket, DatagramPath, DropsWanted,
};
pub use run::fdb::FdbEntry;
pub use run::groups::GroupMember;
pub use run::handle::Handle;
pub use run::pages::StatusPages;
pub use run::running::Running;
pub use run::scheduling::Scheduling;
pub use run::threads::ThreadKind;
pub use run::trace::{Trace, TraceStep, TraceVerdict};
pub use secure::{ClientKeys, ServerKeys};
pub use server::{PlainServer, SecureServer, Server, ServerBuilder};
pub use sessions::admission::{Admission, Admit, Anybody, ClientPolicy, NetworkKeys};
pub use sessions::lease_store::{KeptLease, LeaseStore};
pub use settings::{
    Applied, ClientMode, ClientSettings, Common, PlainServerSettings, SecureSettings, ServerMode,
    ServerSettings, Settings, SuiteChoice, TapSettings,
};

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
