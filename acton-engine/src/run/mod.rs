//! The threads of a tunnel: workers that move frames, and one that keeps the sessions.

pub(crate) mod clock;
pub(crate) mod launch;
pub(crate) mod running;
pub(crate) mod scheduling;
pub(crate) mod tap;
pub(crate) mod worker;
