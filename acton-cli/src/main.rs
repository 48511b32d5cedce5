//! The `acton` command.

fn main() {}
