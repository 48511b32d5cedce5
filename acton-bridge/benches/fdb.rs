//! What a frame costs the bridge, in nanoseconds: `cargo bench -p acton-bridge`.
//!
//! The table holds 50,000 addresses of 5,000 leaves; frames come in random order, so that caches
//! miss as they would. Prints the median of nine runs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use acton_bridge::{Bridge, Config};

const LEAVES: u32 = 5_000;
const MACS: u32 = 10;
const FRAMES: usize = 200_000;
const RUNS: usize = 9;

type Frame = [u8; 14];

fn frame(to: u32, from: u32) -> Frame {
    let mut frame = [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 8, 0];
    frame[2..6].copy_from_slice(&to.to_be_bytes());
    frame[8..12].copy_from_slice(&from.to_be_bytes());
    frame
}

/// Address `n` of a leaf; the root's gateway is `u32::MAX`.
fn mac(leaf: u32, n: u32) -> u32 {
    leaf * MACS + n
}

fn full() -> Bridge<u32> {
    let bridge = Bridge::new(Config::default());
    for leaf in 0..LEAVES {
        for n in 0..MACS {
            let _ = bridge.from_leaf(leaf, &frame(u32::MAX, mac(leaf, n)), Duration::ZERO);
        }
    }
    let _ = bridge.from_root(&frame(0, u32::MAX), Duration::ZERO);
    bridge
}

/// Leaves in an order without a pattern (xorshift).
fn random_leaves() -> Vec<u32> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..FRAMES).map(|_| next() % LEAVES).collect()
}

fn report(name: &str, setup: impl Fn() -> Bridge<u32>, run: impl Fn(&Bridge<u32>, u64, u32)) {
    let leaves = random_leaves();
    let mut nanos: Vec<f64> = (0..RUNS)
        .map(|_| {
            let bridge = setup();
            let start = Instant::now();
            for (n, &leaf) in leaves.iter().enumerate() {
                run(&bridge, n as u64, leaf);
            }
            start.elapsed().as_nanos() as f64 / FRAMES as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    println!("{name:<44} {:>6.1} ns a frame", nanos[RUNS / 2]);
}

fn main() {
    let at = Duration::from_nanos;
    report("root to a known leaf, time stands", full, |bridge, _, leaf| {
        let _ = black_box(bridge.from_root(&frame(mac(leaf, 3), u32::MAX), at(1)));
    });
    report("leaf to the root, time stands", full, |bridge, _, leaf| {
        let _ = black_box(bridge.from_leaf(leaf, &frame(u32::MAX, mac(leaf, 3)), at(0)));
    });
    report("leaf to the root, each frame a refresh", full, |bridge, n, leaf| {
        let _ = black_box(bridge.from_leaf(leaf, &frame(u32::MAX, mac(leaf, 3)), at(n)));
    });
    report(
        "leaf's new address, learned",
        || Bridge::new(Config::default().max_macs(1 << 20).max_macs_per_leaf(0)),
        |bridge, n, leaf| {
            let _ = black_box(bridge.from_leaf(leaf, &frame(u32::MAX, n as u32), at(n)));
        },
    );
    report(
        "leaf's new address, past its limit",
        || {
            let bridge = full();
            (MACS..16).for_each(|n| {
                let _ = bridge.from_leaf(7, &frame(u32::MAX, (1 << 24) + n), at(0));
            });
            bridge
        },
        |bridge, n, _| {
            let _ = black_box(bridge.from_leaf(7, &frame(u32::MAX, (1 << 25) + n as u32), at(n)));
        },
    );
    report("address of another leaf, held", full, |bridge, n, leaf| {
        let _ = black_box(bridge.from_leaf(LEAVES, &frame(u32::MAX, mac(leaf, 3)), at(n)));
    });
    report("purge of a leaf with 10 addresses, and back", full, |bridge, _, leaf| {
        black_box(bridge.purge(leaf));
        for n in 0..MACS {
            let _ = bridge.from_leaf(leaf, &frame(u32::MAX, mac(leaf, n)), at(0));
        }
    });
}
