//! The control socket: how a tunnel that runs is asked and steered from outside, and the asking end.
//!
//! A Unix socket takes one JSON object a line, a [`RequestLine`], and answers with some, each an
//! [`AnswerLine`]; docs/CONTROL.md is the reference. What is answered comes from
//! [`Handle`](acton_engine::Handle), by `look` for those who only look, also by HTTP:
//! nothing is kept here but how many connections there were.

mod answer;
mod capture;
mod client;
mod connection;
mod health;
mod listener;
mod live;
mod look;
mod peer;
mod place;
mod server;
mod source;
mod wire;
mod writer;

pub(crate) use health::{CODES as HEALTH_CODES, DeadLinks, carry, drain_reasons};
pub(crate) use look::{
    Readiness, Sink, drops, events, fdb, newest_event, readiness, status, trace,
};
pub(crate) use source::Counts;
pub(crate) use writer::write_within;

pub use client::{Answers, AskError, Connection, RawAnswer, Stopper};
pub use listener::ListenError;
pub use place::{FindError, Place, find, path_of, sockets_in, usual_directory};
pub use server::{ControlServer, Settings};
pub use source::{Process, Reloaded, Source};
pub use wire::{
    Answer, AnswerLine, AuthorizeReport, Capturing, DoorCounts, DropCount, DropsRequest, End,
    EventRecord, Health, HookReport, Instance, ListReport, LiveTrace, PacketRecord, Refusal,
    RefusalCode, Request, RequestError, RequestLine, SCHEMA,
};
