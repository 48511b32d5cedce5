//! What crosses on the way: the confirmation of new keys that is lost, the end of an old session
//! and the beginning of a new one.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod secure_rig;

use std::time::Duration;

use acton_proto::handshake::public_key;
use acton_proto::server::{DownReason, ServerEvent};
use acton_proto::wire::Bye;
use secure_rig::{Packet, Rig, SECOND, client_config, frame, name, path, secret};

/// Runs `time` in steps of 50 ms. Both ends send a frame each second; what `up` refuses does not get
/// to the server. Says when a frame arrived there first.
fn live(rig: &mut Rig, time: Duration, up: impl Fn(&Packet) -> bool) -> Option<Duration> {
    let end = rig.now + time;
    let mut first = None;
    for step in 0.. {
        if rig.now >= end {
            break;
        }
        rig.tick();
        let mut packets = rig.take_all();
        if step % 20 == 0 {
            packets.extend(rig.seal(0, &frame(1, 100)));
            packets.extend(rig.seal_back(&public_key(&secret(10)), &frame(2, 100)));
        }
        let before = rig.frames.len();
        for packet in packets {
            if !packet.to_server || up(&packet) {
                rig.carry(packet);
            }
        }
        if rig.frames.len() > before {
            first = first.or(Some(rig.now));
        }
        rig.now += SECOND / 20;
    }
    first
}

/// How long no frame gets to the server after a time in which its client's new keys could not be
/// confirmed; `moved`: the client's network changed at the end of that.
fn outage_after_lost_confirmations(moved: bool) -> Duration {
    let mut rig = Rig::connected();
    rig.run(SECOND * 130); // The server says no RESET any more.
    let born = |rig: &Rig| rig.stations[0].client.keys().unwrap().setup().born;
    let old = born(&rig);
    while born(&rig) == old {
        live(&mut rig, SECOND / 20, |packet| name(&packet.bytes) != "CONTROL");
    }
    live(&mut rig, SECOND * 38 / 10, |_| false);
    if moved {
        let now = rig.now;
        rig.stations[0].client.handle_network_change(now);
    }
    live(&mut rig, SECOND * 15 / 10, |_| false);
    let from = rig.now;
    live(&mut rig, SECOND * 120, |_| true).map_or(Duration::MAX, |at| at - from)
}

#[test]
fn unconfirmed_keys_are_replaced_whatever_else_asked_for_a_keepalive() {
    for moved in [false, true] {
        let outage = outage_after_lost_confirmations(moved);
        assert!(outage <= SECOND * 3, "moved: {moved}, {outage:?}");
    }
}

/// A client's process begins anew and is answered just before its old session ends; how long until
/// it has a session.
fn begin_anew(end: DownReason) -> Duration {
    let mut rig = Rig::connected();
    rig.run(SECOND * 200);
    rig.stations[0].on = false;
    let mut late = Vec::new();
    if end == DownReason::Timeout {
        let heard = rig.server.sessions().next().unwrap().keys.link().last_received();
        while rig.now + SECOND / 20 < heard + SECOND * 50 {
            rig.run(SECOND / 100);
        }
    } else {
        // Its BYE is overtaken by the new one's HELLO.
        let now = rig.now;
        rig.stations[0].client.close(now);
        late = rig.take_client(0);
    }
    let start = rig.now;
    let index = rig.add(client_config(10), path(1));
    rig.tick();
    rig.take_client(index).into_iter().for_each(|packet| rig.carry(packet));
    let welcome = rig.take_server();
    assert!(welcome.iter().any(|packet| name(&packet.bytes) == "WELCOME"));
    late.into_iter().for_each(|packet| rig.carry(packet));
    rig.now += SECOND * 6 / 100;
    rig.tick();
    let is_end = |event: &ServerEvent| matches!(event, ServerEvent::SessionDown { reason, .. } if *reason == end);
    assert!(rig.events.iter().any(is_end), "{:?}", rig.events);
    welcome.into_iter().for_each(|packet| rig.carry(packet));
    let is_up = |event: &&ServerEvent| matches!(event, ServerEvent::SessionUp { .. });
    while rig.events.iter().filter(is_up).count() < 2 {
        assert!(rig.now < start + SECOND * 60, "no session");
        rig.settle();
        rig.run(SECOND / 20);
    }
    rig.assert_works(index, &public_key(&secret(10)));
    rig.now - start
}

#[test]
fn the_end_of_the_old_session_is_not_the_end_of_the_new_handshake() {
    for end in [DownReason::Timeout, DownReason::Bye(Bye::Stop)] {
        let took = begin_anew(end);
        assert!(took < SECOND, "{end:?}: {took:?}");
    }
}
