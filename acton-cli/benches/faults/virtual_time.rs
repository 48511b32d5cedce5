//! What takes too long for a real clock.

use std::time::Duration;

use acton_proto::handshake::public_key;
use acton_proto::server::AnyClient;
use acton_proto::session::{REJECT_AFTER_PACKETS, REKEY_AFTER_PACKETS};

use crate::checks::Checks;
use crate::rig::{Rig, SECOND, client_config, frame, name, path, secret, server_config};

const HOUR: Duration = Duration::from_secs(3_600);
const CLIENTS: u8 = 20;

pub(crate) fn server_away_for_an_hour(checks: &Checks) {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    for number in 0..CLIENTS {
        rig.add(client_config(10 + number), path(u16::from(number)));
    }
    rig.run(60 * SECOND);
    let all = usize::from(CLIENTS);
    checks.equal("sessions before", rig.server.session_count(), all);
    // The wire carries nothing.
    rig.mtu = 0;
    rig.wire.clear();
    rig.run(HOUR);
    let hellos = |index: u8| {
        let own = rig.wire.iter().filter(|packet| packet.path == path(u16::from(index)));
        own.filter(|packet| packet.to_server && name(&packet.bytes) == "HELLO").count() as u64
    };
    let counts: Vec<_> = (0..CLIENTS).map(hellos).collect();
    // At first each second, later each 30 s: PROTOCOL.md, section 7.
    checks.at_least("HELLO a client says in that hour", counts.iter().copied().min().unwrap(), 100);
    checks.at_most("HELLO a client says in that hour", counts.iter().copied().max().unwrap(), 250);
    rig.restart_server(server_config());
    rig.mtu = usize::MAX;
    let back = rig.now;
    while rig.server.session_count() < all && rig.now < back + HOUR {
        rig.run(SECOND / 10);
    }
    // Between two HELLO are 30 s and a jitter.
    checks.within("all are in again", rig.now - back, 40 * SECOND);
    for number in 0..CLIENTS {
        rig.assert_works(usize::from(number), &public_key(&secret(10 + number)));
    }
    checks.equal("clients with frames both ways", CLIENTS, CLIENTS);
}

pub(crate) fn counters_near_their_limits(checks: &Checks) {
    let client = public_key(&secret(10));
    // At the number of datagrams that asks for new keys.
    let mut rig = Rig::connected();
    let skip = |rig: &Rig, to: u64| {
        let keys = rig.stations[0].client.keys().unwrap();
        // What is reserved and not used is lost.
        let _ = keys.reserve(rig.now, to - keys.sealed()).unwrap();
    };
    let id = |rig: &Rig| rig.stations[0].client.keys().unwrap().setup().local_id;
    let before = id(&rig);
    skip(&rig, REKEY_AFTER_PACKETS - 1);
    rig.assert_works(0, &client);
    checks.holds("keys of 2^26 - 1 datagrams still open", "a frame each way", true);
    rig.run(10 * SECOND);
    checks.holds("new keys within 10 s of 2^26", id(&rig) != before, id(&rig) != before);
    rig.assert_works(0, &client);

    // At the number of datagrams that these keys may seal at all, before anybody had a moment.
    let before = id(&rig);
    skip(&rig, REJECT_AFTER_PACKETS - 1);
    let last = rig.seal(0, &frame(3, 60));
    for packet in last {
        rig.carry(packet);
    }
    checks.equal("frames at the server of the last counter", rig.frames.len(), 3);
    let keys = rig.stations[0].client.keys().unwrap().clone();
    let spent = keys.seal_frame(rig.now, &frame(4, 60), false, &mut Vec::new());
    checks.holds("one more is refused", format!("{spent:?}"), spent.is_err());
    checks.equal("counter after that", keys.sealed(), REJECT_AFTER_PACKETS);
    rig.run(10 * SECOND);
    checks.holds("new keys within 10 s of 2^28", id(&rig) != before, id(&rig) != before);
    rig.assert_works(0, &client);
    checks.equal("sessions", rig.server.session_count(), 1);
    let downs = rig.changes();
    checks.equal("changes of the session beside its begin and keys", downs as u64, 3);
}
