//! What can be known of a tunnel that runs.

pub(crate) mod counters;
pub(crate) mod event;
#[cfg(feature = "serde")]
mod event_fields;
pub(crate) mod event_kinds;
pub(crate) mod event_log;
mod event_session;
mod event_values;
#[cfg(all(test, feature = "serde"))]
mod json_tests;
mod lines;
mod log_reader;
pub(crate) mod pulse;
#[cfg(feature = "serde")]
pub(crate) mod serialise;
pub(crate) mod status;
pub(crate) mod tally;
mod words;
