//! `acton doctor`: what is amiss on this host, on the way to the server, and with a tunnel that runs.
//!
//! `gather` collects facts, and nothing but that; `checks` are functions of facts. docs/DOCTOR.md
//! is made of [`Code`].

mod bundle;
mod checks;
mod code;
mod facts;
mod finding;
pub(crate) mod gather;
mod report;

pub(crate) use bundle::write as write_bundle;
pub(crate) use checks::all as judge;
pub use code::Code;
pub(crate) use facts::{Running, Tunnel};
pub use finding::{Finding, Verdict};
pub(crate) use gather::{By, Subject, Target, find, gather};
pub(crate) use report::{json, text};
