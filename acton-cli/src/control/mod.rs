//! The control socket: how a tunnel that runs is asked and steered from outside, and the asking end.
//!
//! A Unix socket takes one JSON object a line, a [`RequestLine`], and answers with some, each an
//! [`AnswerLine`]; docs/CONTROL.md is the reference. What is answered comes from
//! [`Handle`](acton_engine::Handle):
//! nothing is kept here but how many connections there were.

mod answer;
mod capture;
mod client;
mod connection;
mod health;
mod listener;
mod live;
mod peer;
mod place;
mod server;
mod wire;
mod writer;

pub use client::{Answers, AskError, Connection, RawAnswer, Stopper};
pub use listener::ListenError;
pub use place::{FindError, Place, find, path_of, usual_directory};
pub use server::{ControlServer, Process, Reloaded, Settings};
pub use wire::{
    Answer, AnswerLine, Capturing, ControlCounts, DropCount, DropsRequest, End, EventRecord,
    Health, HookReport, Instance, ListReport, LiveTrace, PacketRecord, Refusal, RefusalCode,
    Request, RequestError, RequestLine, SCHEMA,
};
