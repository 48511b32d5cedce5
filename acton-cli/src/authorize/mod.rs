//! A program of the operator's that decides on clients which no list names, and hears how their sessions
//! go. docs/AUTHORIZE.md says how it is spoken to.

mod queue;
mod socket;
mod wire;

pub(crate) use socket::AuthorizeSocket;
