//! The examples in README.md and docs, compiled and run by `cargo test`.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
