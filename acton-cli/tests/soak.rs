//! The paths of `benches/soak`, each with as much as a test may take: every byte that comes out is
//! the one that went in, and no kernel finds a wrong checksum.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "../benches/soak/kernel.rs"]
mod kernel;
#[path = "../benches/soak/phases.rs"]
mod phases;
mod support;
#[path = "../benches/soak/traffic/mod.rs"]
mod traffic;

use std::time::Duration;

use phases::{Phase, Run, Speech};
use support::Mode;

support::in_both_modes! {
    the_plain_path,
    loss_and_delay: ["ethtool", "nft", "tc"],
    a_router_behind_the_client: ["ethtool"],
    a_bridge_behind_the_server: ["ethtool"],
    offloads_that_come_and_go: ["ethtool"],
}

fn run(phase: Phase, mode: Mode, megabytes: u64) {
    let speech = if mode == Mode::Plain { Speech::Plain } else { Speech::Aes };
    let (bytes, toggle_every) = (megabytes * 1_000_000, Duration::from_millis(50));
    let summary = Run { phase, speech, bytes, seed: 1, toggle_every }.go();
    println!("{summary}");
    assert!(summary.errors.is_empty(), "{:#?}", summary.errors);
}

fn the_plain_path(mode: Mode) {
    run(Phase::Plain, mode, 60);
}

fn loss_and_delay(mode: Mode) {
    run(Phase::Impaired, mode, 20);
}

fn a_router_behind_the_client(mode: Mode) {
    run(Phase::Router, mode, 30);
}

fn a_bridge_behind_the_server(mode: Mode) {
    run(Phase::Bridge, mode, 30);
}

fn offloads_that_come_and_go(mode: Mode) {
    run(Phase::Toggled, mode, 30);
}
