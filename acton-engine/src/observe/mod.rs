//! What can be known of a tunnel that runs.

pub(crate) mod counters;
