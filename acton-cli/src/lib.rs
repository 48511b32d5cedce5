//! The `acton` command, and the lab it shows itself in.
//!
//! To embed a server or a client, take `acton-engine`.
#![forbid(unsafe_code)]

mod authorize;
pub mod cli;
pub mod config;
mod confine;
pub mod control;
pub mod doctor;
pub mod evpn;
mod guests;
mod hook;
mod http;
pub mod lab;
pub mod reference;
mod service;
