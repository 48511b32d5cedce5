//! What workers show of the frames and datagrams that pass through their hands: to those who capture,
//! and of what was dropped last the beginning, always. `run/capture.rs` is the reading end.

pub(crate) mod desk;
pub(crate) mod drop_ring;
pub(crate) mod packet;
pub(crate) mod recorder;
