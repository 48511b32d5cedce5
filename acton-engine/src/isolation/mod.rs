//! A test of isolation: clients that agree send frames of every kind to one another, and all listen
//! (docs/PROTOCOL.md, section 21).
//!
//! `trial` is the server's part and `subject` a client's, functions of messages and times; `frame` makes
//! the frames and knows them again. The control threads carry out what they decide. Workers know of a test
//! by a [`Listener`](listener::Listener) at a client and [`Fates`](fates::Fates) at a server.

pub(crate) mod fates;
pub(crate) mod frame;
pub(crate) mod kind;
pub(crate) mod listener;
pub(crate) mod plan;
pub(crate) mod report;
#[cfg(test)]
mod simulation;
pub(crate) mod subject;
pub(crate) mod trial;
