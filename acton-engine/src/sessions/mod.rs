//! Who is there, and where a frame goes by that.

pub(crate) mod housekeeping;
pub(crate) mod leaves;
pub(crate) mod owned_macs;
pub(crate) mod router;
