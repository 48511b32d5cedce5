//! What acton's fuzzers run: a function for each parser and state machine, from any bytes.
//!
//! A function panics where what it calls breaks a promise, and else says whether the bytes came
//! past the first door: whether they parsed, or whether frames went through. The fuzzers of
//! `fuzz/fuzz_targets` call one function each; the tests run all of them over the inputs in
//! `fuzz/corpus`.
//!
//! ```
//! let (name, run) = fuzz_targets::TARGETS[0];
//! assert_eq!(name, "plain_codec");
//! assert!(run(b"HELLO"));
//! assert!(!run(b"HOWDY"));
//! ```

#![forbid(unsafe_code)]

mod bridge;
mod circuit;
mod config;
mod filter;
mod frame;
mod frame_filter;
mod input;
mod keys;
mod offload;
mod plain;
mod request;
mod secure;
mod session;
mod vnet;
mod wire;

pub use bridge::bridge;
pub use circuit::circuit;
pub use config::config;
pub use filter::filter;
pub use frame::frame;
pub use frame_filter::frame_filter;
pub use keys::{client_list, invite, key_text, server_name};
pub use offload::{coalesce, segment};
pub use plain::{plain_codec, plain_session};
pub use request::request;
pub use secure::secure;
pub use session::session;
pub use vnet::vnet;
pub use wire::{control, payload, wire};

/// A function that runs on any bytes.
pub type Target = fn(&[u8]) -> bool;

/// All of them, by the names of their fuzzers and their directories in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("plain_codec", plain_codec),
    ("plain_session", plain_session),
    ("wire", wire),
    ("payload", payload),
    ("control", control),
    ("session", session),
    ("secure", secure),
    ("frame", frame),
    ("frame_filter", frame_filter),
    ("bridge", bridge),
    ("circuit", circuit),
    ("vnet", vnet),
    ("segment", segment),
    ("coalesce", coalesce),
    ("filter", filter),
    ("server_name", server_name),
    ("key_text", key_text),
    ("invite", invite),
    ("client_list", client_list),
    ("config", config),
    ("request", request),
];
