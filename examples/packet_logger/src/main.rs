//! Prints, counts and records the frames of one interface.

fn main() {}
