//! Orders of a test of isolation, and what a client says to them.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod secure_rig;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use acton_proto::client::{ClientConfig, ClientEvent};
use acton_proto::server::{AnyClient, ServerEvent, SessionId};
use acton_proto::session::Keys;
use acton_proto::wire::{
    Caps, Control, HEADER_LEN, IsolationAnswer, IsolationOrder, IsolationRefusal, IsolationReply,
    IsolationStep, Kind, TAG_LEN, TestFrames, TestToken,
};
use secure_rig::{Rig, SECOND, client_config, path, server_config};

const TOKEN: TestToken = TestToken([7; 16]);
const KNOWS: Caps = Caps::ALL.union(Caps::ISOLATION);

fn rig(clients: &[Caps]) -> Rig {
    let mut config = server_config();
    config.caps = KNOWS;
    let mut rig = Rig::new(config, Box::new(AnyClient));
    for (n, &caps) in (0..).zip(clients) {
        let mut config: ClientConfig = client_config(10 + n);
        config.caps = caps;
        rig.add(config, path(n.into()));
    }
    rig.run(SECOND / 2);
    assert_eq!(rig.server.session_count(), clients.len());
    rig
}

/// A control message as its sender seals it.
fn sealed(keys: &Keys, now: Duration, message: Control) -> Vec<u8> {
    let mut datagram = vec![0; HEADER_LEN];
    message.encode(&mut datagram);
    datagram.resize(datagram.len() + TAG_LEN, 0);
    keys.reserve(now, 1).unwrap().seal(Kind::Control, &mut datagram).unwrap();
    datagram
}

fn heard(rig: &Rig, index: usize) -> Vec<IsolationOrder> {
    let order = |event: &ClientEvent| match event {
        ClientEvent::IsolationOrder { order } => Some(*order),
        _ => None,
    };
    rig.stations[index].events.iter().filter_map(order).collect()
}

fn answers(rig: &Rig) -> Vec<(SessionId, IsolationAnswer)> {
    let answer = |event: &ServerEvent| match event {
        ServerEvent::IsolationAnswer { id, answer } => Some((*id, *answer)),
        _ => None,
    };
    rig.events.iter().filter_map(answer).collect()
}

#[test]
fn who_knows_such_tests_is_ordered_and_answers_and_nobody_else_is() {
    let mut rig = rig(&[KNOWS, Caps::ALL]);
    let now = rig.now;
    let ids: Vec<_> = rig.server.sessions().map(|session| session.id).collect();
    let frames = TestFrames {
        number: 32,
        kinds: 5,
        root: [2; 6],
        peer: [4; 6],
        ipv4: Ipv4Addr::new(10, 0, 0, 2),
        ipv6: Ipv6Addr::LOCALHOST,
    };
    let order = IsolationOrder { token: TOKEN, step: IsolationStep::Send(frames) };
    let ordered: Vec<_> =
        ids.iter().map(|&id| rig.server.order_isolation(now, id, order)).collect();
    assert_eq!(ordered.iter().filter(|ordered| **ordered).count(), 1);
    rig.run(SECOND / 10);
    assert_eq!((heard(&rig, 0), heard(&rig, 1)), (vec![order], vec![]));
    let reply = IsolationReply::Refused(IsolationRefusal::NotAllowed);
    let answer = IsolationAnswer { token: TOKEN, reply };
    let now = rig.now;
    // Who does not know them says nothing that is listened to.
    rig.stations.iter_mut().for_each(|station| station.client.answer_isolation(now, answer));
    rig.run(SECOND / 10);
    let id = ids[ordered.iter().position(|ordered| *ordered).unwrap()];
    assert_eq!(answers(&rig), [(id, answer)]);
    assert_eq!(rig.server.stats().sealed.bad_control, 1);
}

#[test]
fn no_answer_is_larger_than_its_order_and_neither_end_takes_the_others_part() {
    let size = |message: Control| {
        let mut plaintext = Vec::new();
        message.encode(&mut plaintext);
        plaintext.len()
    };
    let order = |step| Control::IsolationOrder(IsolationOrder { token: TOKEN, step });
    let reply = IsolationReply::Heard { from: 0, total: 0, numbers: [0; 32] };
    let answer = Control::IsolationAnswer(IsolationAnswer { token: TOKEN, reply });
    for step in [IsolationStep::Begin, IsolationStep::Report { from: 1 }, IsolationStep::End] {
        assert_eq!(size(order(step)), 88);
    }
    assert_eq!(size(answer), 88);

    let mut rig = rig(&[KNOWS]);
    let now = rig.now;
    let keys = rig.stations[0].client.keys().unwrap().clone();
    let wrong = sealed(&keys, now, order(IsolationStep::Begin));
    rig.give_server(path(0), &wrong);
    assert_eq!(rig.server.stats().sealed.bad_control, 1);
    let keys = rig.server.sessions().next().unwrap().keys.clone();
    let wrong = sealed(&keys, now, answer);
    rig.give_client(0, &wrong);
    assert_eq!(rig.stations[0].client.stats().sealed.bad_control, 1);
    assert!(answers(&rig).is_empty() && heard(&rig, 0).is_empty());
}
