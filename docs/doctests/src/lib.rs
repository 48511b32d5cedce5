//! The examples in README.md and docs, compiled and run by `cargo test`.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../crates/moving-from-tun-rs.md")]
struct MovingFromTunRs;

#[cfg(doctest)]
#[doc = include_str!("../../crates/moving-from-pnet_datalink.md")]
struct MovingFromPnetDatalink;
