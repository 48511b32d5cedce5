//! Many threads on one bridge: what isolation and availability rest on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, FromLeaf, FromRoot, Learned, MovePolicy, Owner, Verdict,
};
use pnet_base::MacAddr;

const ROUNDS: u32 = 20_000;
const GATEWAY: u32 = 0xffff_0000;

fn octets(n: u32) -> [u8; 6] {
    let [a, b, c, d] = n.to_be_bytes();
    [2, 0, a, b, c, d]
}

fn mac(n: u32) -> MacAddr {
    octets(n).into()
}

fn frame(to: u32, from: u32) -> Vec<u8> {
    [&octets(to)[..], &octets(from), &[0x08, 0x00]].concat()
}

/// Stops readers when the writers are done, however they end.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Address `n` is only ever used by leaves `n` and `n + ODD`: it moves between them, is purged,
/// ages out and comes back, so that slots change hands all the time. Whatever a reader is told
/// about address `n` must name one of the two.
#[test]
fn no_reader_is_told_the_owner_of_another_address() {
    const ODD: u32 = 1 << 16;
    const ADDRESSES: u32 = 24;
    // Few slots, so that each is reused at once.
    let config = Config::default()
        .ageing(Duration::from_micros(50))
        .max_macs(ADDRESSES as usize)
        .max_macs_per_leaf(0)
        .moves(MovePolicy::FirstFrame);
    let bridge = &Bridge::<u32>::new(config);
    let clock = &AtomicU64::new(0);
    let now = || Duration::from_micros(clock.fetch_add(1, Ordering::Relaxed));
    let done = &AtomicBool::new(false);
    let writer = |first: u32| {
        let _done = Done(done);
        for round in 0..ROUNDS {
            let n = (round.wrapping_mul(7) + first) % ADDRESSES;
            let leaf = if round & 1 == 0 { n } else { n + ODD };
            let _ = bridge.from_leaf(leaf, &frame(GATEWAY, n), now());
            match round % 16 {
                3 => drop(bridge.purge(n)),
                7 => drop(bridge.purge(n + ODD)),
                11 => drop(bridge.sweep(now(), 16)),
                _ => {}
            }
        }
    };
    let reader = || {
        let (mut hits, mut n) = (0_u64, 0);
        // At least some of both, even where the writers never pause.
        while !done.load(Ordering::Relaxed) || hits == 0 && n < 10_000_000 {
            n += 1;
            let wanted = n % ADDRESSES;
            let (verdict, _) = bridge.from_root(&frame(wanted, GATEWAY), now());
            match verdict {
                FromRoot::Leaf(leaf) => {
                    assert_eq!(leaf % ODD, wanted, "leaf {leaf} was named for {wanted}");
                    hits += 1;
                }
                other => assert_eq!(other, FromRoot::Flood(BumKind::Unknown)),
            }
        }
        hits
    };
    let explainer = || {
        let mut n = 0;
        while !done.load(Ordering::Relaxed) {
            n += 1;
            let (wanted, at) = (n % ADDRESSES, now());
            let _ = bridge.explain(Owner::Leaf(wanted), &frame(GATEWAY, wanted), at);
            let explanation = bridge.explain(Owner::Root, &frame(wanted, GATEWAY), at);
            if let Verdict::FromRoot(FromRoot::Leaf(leaf)) = explanation.verdict {
                assert_eq!(leaf % ODD, wanted, "leaf {leaf} was named for {wanted}");
            }
        }
    };
    let hits: u64 = thread::scope(|scope| {
        scope.spawn(explainer);
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(reader)).collect();
        let writers: Vec<_> = (0..2).map(|first| scope.spawn(move || writer(first))).collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(hits > 0, "readers met no entry at all");
}

/// While an address moves to and fro it is always known at one of its owners.
#[test]
fn a_moving_address_is_never_missed() {
    let bridge = &Bridge::<u32>::new(Config::default().moves(MovePolicy::FirstFrame));
    let now = Duration::from_secs(1);
    let _ = bridge.from_leaf(1, &frame(GATEWAY, 9), now);
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let owner = bridge.lookup(0, mac(9), now);
                    assert!(
                        matches!(owner, Some(Owner::Leaf(1 | 2))),
                        "known nowhere, or wrongly: {owner:?}"
                    );
                }
            });
        }
        let _done = Done(done);
        for round in 0..ROUNDS * 5 {
            let (_, learned) = bridge.from_leaf(1 + round % 2, &frame(GATEWAY, 9), now);
            assert!(round == 0 || matches!(learned, Learned::Moved { .. }));
        }
    });
}

/// Whatever threads did, counts agree with what is there, and everything can be taken away.
#[test]
fn counts_agree_after_threads_fought_over_addresses() {
    let config = Config::default().max_macs(100).max_macs_per_leaf(8).max_macs_root(10);
    let bridge = &Bridge::<u32>::new(config.moves(MovePolicy::FirstFrame));
    let now = |round: u32| Duration::from_millis(round.into());
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let n = round.wrapping_mul(2_654_435_761).wrapping_add(worker) >> 20;
                    let leaf = n % 20;
                    match round % 64 {
                        0 => drop(bridge.purge(leaf)),
                        1 => drop(bridge.from_root(&frame(GATEWAY, n % 300), now(round))),
                        2 => drop(bridge.add_static(0, mac(n % 300), leaf)),
                        3 => drop(bridge.remove_static(0, mac(n % 300))),
                        4 => drop(bridge.protect(mac(n % 300))),
                        5 => drop(bridge.unprotect(mac(n % 300))),
                        _ => drop(bridge.from_leaf(leaf, &frame(GATEWAY, n % 300), now(round))),
                    }
                }
            });
        }
    });
    let now = now(ROUNDS);
    bridge.sweep(now, usize::MAX);
    let entries: Vec<_> = bridge.entries(now).collect();
    assert_eq!(bridge.len(), entries.len());
    for leaf in 0..20 {
        let of_leaf = entries.iter().filter(|entry| entry.owner == Owner::Leaf(leaf));
        assert_eq!(bridge.leaf_len(leaf), of_leaf.clone().count());
        assert!(of_leaf.filter(|entry| entry.age.is_some()).count() <= 8);
        bridge.purge(leaf);
        assert_eq!(bridge.leaf_len(leaf), 0);
    }
    // All room came back: the limits are reached exactly, by new leaves with new addresses.
    for n in 0..100 {
        let (verdict, learned) = bridge.from_leaf(100 + n / 8, &frame(GATEWAY, 1_000 + n), now);
        assert!(matches!(verdict, FromLeaf::Root { .. }), "{n}: {verdict:?}");
        assert_eq!(learned, Learned::New);
    }
    let (verdict, _) = bridge.from_leaf(200, &frame(GATEWAY, 2_000), now);
    assert_eq!(verdict, FromLeaf::Drop(DropReason::TableFull));
}

/// A million random addresses from one leaf: the others keep theirs, and can learn.
#[test]
fn a_million_forged_addresses_hurt_nobody_else() {
    let bridge = &Bridge::<u32>::new(Config::default().max_macs_per_leaf(16));
    let now = |n: u32| Duration::from_nanos(n.into());
    for leaf in 1..=1_000 {
        for n in 0..10 {
            let _ = bridge.from_leaf(leaf, &frame(GATEWAY, leaf * 16 + n), now(0));
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut learned, mut refused) = (0, 0);
            for n in 0..1_000_000_u32 {
                // Odd numbers times a constant: all different, none of them another leaf's.
                let forged = n.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9e37_79b1);
                match bridge.from_leaf(0, &frame(GATEWAY, forged | 1 << 31), now(n)) {
                    (FromLeaf::Root { .. }, Learned::New) => learned += 1,
                    (FromLeaf::Drop(DropReason::LeafLimit), Learned::Nothing) => refused += 1,
                    (FromLeaf::Root { .. }, Learned::Nothing) => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(learned, 16);
            assert!(refused > 900_000, "{refused}");
        });
        scope.spawn(|| {
            for n in 10..15 {
                for leaf in 1..=1_000 {
                    let new = bridge.from_leaf(leaf, &frame(GATEWAY, leaf * 16 + n), now(1));
                    assert_eq!(new.1, Learned::New);
                    let old = bridge.from_root(&frame(leaf * 16, GATEWAY), now(1));
                    assert_eq!(old.0, FromRoot::Leaf(leaf));
                }
            }
        });
    });
    for leaf in 1..=1_000 {
        for n in 0..15 {
            let owner = bridge.lookup(0, mac(leaf * 16 + n), now(1_000_000));
            assert_eq!(owner, Some(Owner::Leaf(leaf)));
        }
    }
    assert_eq!(bridge.leaf_len(0), 16);
}
