//! The threads of a tunnel: workers that move frames, and one that keeps the sessions.

pub(crate) mod announcer;
mod apply;
pub(crate) mod capture;
pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod fdb;
pub(crate) mod groups;
pub(crate) mod handle;
pub(crate) mod lane;
pub(crate) mod launch;
pub(crate) mod pages;
pub(crate) mod recording;
pub(crate) mod running;
pub(crate) mod scheduling;
pub(crate) mod side;
mod standing_queue;
pub(crate) mod tap;
pub(crate) mod tap_interface;
pub(crate) mod tap_mac;
pub(crate) mod tap_writer;
pub(crate) mod threads;
pub(crate) mod trace;
pub(crate) mod worker;
mod workers;
