//! What a frame costs the bridge: `cargo bench -p acton-bridge --bench fdb`.
//!
//! The table holds 50,000 addresses of 5,000 leaves; frames come in random order, so that caches
//! miss as they would.

use std::time::Duration;

use acton_bridge::{Bridge, Config, Owner};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

const LEAVES: u32 = 5_000;
const MACS: u32 = 10;
/// Frames of one measurement.
const BATCH: u32 = 1_000;

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
fn random_leaves() -> impl FnMut() -> u32 {
    let mut state = 0x9e37_79b9_u32;
    move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % LEAVES
    }
}

/// Times frames on the full table, [`BATCH`] a round; `frame` is told a frame's number and a leaf.
fn each(bencher: Bencher<'_, '_>, frame: impl Fn(&Bridge<u32>, u64, u32)) {
    let (bridge, mut leaf, mut n) = (full(), random_leaves(), 0);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        for _ in 0..BATCH {
            n += 1;
            frame(&bridge, n, leaf());
        }
    });
}

#[divan::bench]
fn root_to_a_known_leaf(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, _, leaf| {
        let _ = black_box(bridge.from_root(&frame(mac(leaf, 3), u32::MAX), Duration::ZERO));
    });
}

#[divan::bench]
fn leaf_to_the_root(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, _, leaf| {
        let frame = frame(u32::MAX, mac(leaf, 3));
        let _ = black_box(bridge.from_leaf(leaf, &frame, Duration::ZERO));
    });
}

#[divan::bench]
fn leaf_to_the_root_each_a_refresh(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, n, leaf| {
        let frame = frame(u32::MAX, mac(leaf, 3));
        let _ = black_box(bridge.from_leaf(leaf, &frame, Duration::from_nanos(n)));
    });
}

#[divan::bench]
fn learn(bencher: Bencher<'_, '_>) {
    let empty = || Bridge::<u32>::new(Config::default().max_macs_per_leaf(0));
    bencher.counter(ItemsCount::new(BATCH)).with_inputs(empty).bench_local_values(|bridge| {
        for n in 0..BATCH {
            let _ = black_box(bridge.from_leaf(1, &frame(u32::MAX, n), Duration::ZERO));
        }
        bridge
    });
}

/// A flood of forged addresses, which costs the others nothing.
#[divan::bench]
fn new_address_past_the_limit(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, n, _| {
        let frame = frame(u32::MAX, (1 << 24) + (n as u32 & 0xff_ffff));
        let _ = black_box(bridge.from_leaf(7, &frame, Duration::from_nanos(n)));
    });
}

#[divan::bench]
fn address_of_another_leaf(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, n, leaf| {
        let frame = frame(u32::MAX, mac(leaf, 3));
        let _ = black_box(bridge.from_leaf(LEAVES, &frame, Duration::from_nanos(n)));
    });
}

#[divan::bench]
fn purge_of_10_addresses_and_back(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, _, leaf| {
        black_box(bridge.purge(leaf));
        for n in 0..MACS {
            let _ = bridge.from_leaf(leaf, &frame(u32::MAX, mac(leaf, n)), Duration::ZERO);
        }
    });
}

#[divan::bench]
fn explain_a_new_address(bencher: Bencher<'_, '_>) {
    each(bencher, |bridge, n, leaf| {
        let frame = frame(u32::MAX, (1 << 24) + (n as u32 & 0xff_ffff));
        black_box(bridge.explain(Owner::Leaf(leaf), &frame, Duration::ZERO));
    });
}

#[divan::bench]
fn list_all_addresses(bencher: Bencher<'_, '_>) {
    let bridge = full();
    bencher.counter(ItemsCount::new(LEAVES * MACS)).bench_local(|| {
        black_box(bridge.entries(Duration::ZERO).count());
    });
}

#[divan::bench]
fn list_all_addresses_by_owner(bencher: Bencher<'_, '_>) {
    let bridge = full();
    bencher.counter(ItemsCount::new(LEAVES * MACS)).bench_local(|| {
        black_box(bridge.entries_by_owner(Duration::ZERO));
    });
}
