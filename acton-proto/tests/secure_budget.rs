//! What threads beside the server's may keep from it, and what one session may make it do.

mod secure_rig;

use std::collections::HashSet;
use std::time::Duration;

use acton_proto::handshake::public_key;
use acton_proto::server::{AnyClient, Path, ServerEvent};
use acton_proto::wire::{Datagram, Header, Key};
use secure_rig::{Rig, SECOND, Seeded, client_config, frame, path, secret, server_config};

fn key(n: u8) -> Key {
    public_key(&secret(n))
}

/// Which ids a worker knows, by the events it is told of.
#[derive(Default)]
struct Known {
    sessions: HashSet<u32>,
    expected: HashSet<u32>,
}

impl Known {
    fn follow(&mut self, event: &ServerEvent) {
        match event {
            ServerEvent::SessionUp { keys, .. }
            | ServerEvent::KeysReady { keys, .. }
            | ServerEvent::KeysChanged { keys, .. } => {
                self.sessions.insert(keys.setup().local_id);
            }
            ServerEvent::KeysDropped { local_id, .. } => {
                assert!(self.sessions.remove(local_id));
            }
            ServerEvent::IdExpected { local_id } => {
                self.expected.insert(*local_id);
            }
            ServerEvent::IdForgotten { local_id } => {
                assert!(self.expected.remove(local_id));
            }
            _ => {}
        }
    }

    fn has(&self, id: u32) -> bool {
        self.sessions.contains(&id) || self.expected.contains(&id)
    }
}

/// A server whose clients come, rekey, are replaced, removed and lost gets every datagram that it
/// has keys for from a worker that passes on only ids it was told of, and at last none is left.
#[test]
fn workers_are_told_of_every_id_that_the_server_knows() {
    for seed in 0..40 {
        let mut rng = Seeded(seed);
        let mut config = server_config();
        (config.max_sessions, config.max_pending) = (6, 4);
        let mut rig = Rig::new(config, Box::new(AnyClient));
        rig.keep_ids = true;
        for n in 0..8 {
            // Two of them with one key.
            rig.add(client_config(10 + n % 7), path(n.into()));
        }
        let (mut known, mut told, mut carried) = (Known::default(), 0, 0);
        for _ in 0..200 {
            for packet in rig.take_all() {
                if rng.below(8) == 0 {
                    continue;
                }
                let id = match Datagram::parse(&packet.bytes) {
                    Ok(Datagram::Sealed(Header { receiver_id, .. })) if packet.to_server => {
                        Some(receiver_id)
                    }
                    _ => None,
                };
                let before = rig.server.stats().sealed.unknown;
                rig.carry(packet);
                let is_known = rig.server.stats().sealed.unknown == before;
                carried += usize::from(id.is_some() && is_known);
                assert!(!is_known || id.is_none_or(|id| known.has(id)), "seed {seed}");
                rig.events[told..].iter().for_each(|event| known.follow(event));
                told = rig.events.len();
            }
            match rng.below(12) {
                0 => {
                    rig.server.remove(rig.now, &key(10 + rng.below(7) as u8));
                }
                1 => {
                    let index = rng.below(8);
                    rig.stations[index].on ^= true;
                }
                2 => rig.now += SECOND * 40,
                _ => rig.now += SECOND / 10,
            }
            rig.tick();
            rig.events[told..].iter().for_each(|event| known.follow(event));
            told = rig.events.len();
        }
        assert!(carried > 50, "{carried}");
        rig.stations.iter_mut().for_each(|station| station.on = false);
        rig.run(SECOND * 120);
        rig.events[told..].iter().for_each(|event| known.follow(event));
        assert!(known.sessions.is_empty() && known.expected.is_empty(), "seed {seed}");
    }
}

/// How often the session moves where a client says KEEPALIVE from these places in turn.
fn moves(places: &[Path], interval: Duration, time: Duration) -> (usize, Rig) {
    let mut rig = Rig::connected();
    let (end, mut turn) = (rig.now + time, 0);
    while rig.now < end {
        rig.stations[0].path = places[turn % places.len()];
        rig.seal(0, &frame(1, 100)).into_iter().for_each(|packet| rig.carry(packet));
        rig.run(interval);
        turn += 1;
    }
    let moved = |e: &&ServerEvent| matches!(e, ServerEvent::AddressChanged { .. });
    (rig.events.iter().filter(moved).count(), rig)
}

#[test]
fn a_client_behind_a_load_balancer_is_followed() {
    let places: Vec<_> = (100..104).map(path).collect();
    let (moves, mut rig) = moves(&places, SECOND / 4, SECOND * 60);
    assert_eq!((moves, rig.server.stats().moves_limited), (240, 0));
    rig.assert_works(0, &key(10));
}

#[test]
fn a_client_that_never_rests_is_followed_eight_times_a_second() {
    let (moves, mut rig) = moves(&[path(100), path(101)], SECOND / 1_000, SECOND * 10);
    assert!((80..100).contains(&moves), "{moves} moves in ten seconds");
    assert!(rig.server.stats().moves_limited > 1_000);
    // Where it rests at last it is found.
    rig.run(SECOND);
    rig.seal(0, &frame(1, 100)).into_iter().for_each(|packet| rig.carry(packet));
    rig.run(SECOND);
    rig.assert_works(0, &key(10));
}
