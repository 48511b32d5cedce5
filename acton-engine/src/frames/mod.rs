//! A batch of frames from the TAP, and what is done to frames on their way.

pub(crate) mod announcement;
pub(crate) mod batch;
pub(crate) mod copies;
pub(crate) mod cut;
pub(crate) mod ecn;
pub(crate) mod flow;
pub(crate) mod mss;
pub(crate) mod store;
pub(crate) mod tags;
#[cfg(test)]
mod vectors;
