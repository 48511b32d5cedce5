//! The wire protocol of acton and its state machines, without I/O.
