//! A program of the operator's that is given each event of a tunnel. docs/HOOKS.md says how.
//!
//! A tunnel that runs starts no programs, so a small process that was started before the tunnel confined
//! itself does: it has nothing of the tunnel's but a socket, knows which program to start, and ends with
//! the tunnel.

mod environment;
mod feeder;
mod queue;
mod runner;
mod starter;
mod wire;

pub(crate) use feeder::Hooks;
pub(crate) use runner::run;
pub(crate) use starter::{HookError, HookStarter};
