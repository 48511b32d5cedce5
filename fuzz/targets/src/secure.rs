//! acton/1 whole: a server and clients, with the fuzzer as their network, as a stranger, as a
//! liar who holds keys, and as an owner who restarts things.

mod world;

use std::time::Duration;

use acton_proto::handshake::{Initiator, MacKey, Responder};
use acton_proto::server::{Admission, AnyClient, Clients, Notice};
use acton_proto::wire::{
    Bye, Caps, Datagram, Fragment, HEADER_LEN, Hello, HelloPayload, Key, Kind, PAYLOAD_LEN, Suites,
    TAG_LEN, VERSION, Welcome, WelcomePayload,
};

use crate::input::Input;
use world::{NETWORK, Packet, SERVER, STRANGER, TWIN, World, public, secret};

/// The most steps of one run, so that no input takes long.
const MAX_STEPS: usize = 400;
/// The private key of a client that only lies.
const LIAR: u8 = 99;

/// Admits one client.
struct Only(Key);

impl Clients for Only {
    fn admit(&self, client: &Key) -> Option<Admission> {
        (*client == self.0).then(Admission::default)
    }
}

fn change(bytes: &mut [u8], input: &mut Input<'_>) {
    for _ in 0..input.below(4) {
        let at = input.below(bytes.len());
        bytes[at] ^= input.u8();
    }
}

/// A HELLO that opens, of a client whose payload says anything.
fn hello(world: &mut World, input: &mut Input<'_>) -> Vec<u8> {
    let private = secret([LIAR, 10, 11][input.below(3)]);
    let payload = HelloPayload {
        version_min: VERSION,
        version_max: VERSION,
        suites: Suites(3),
        caps: Caps::ALL,
        instance: input.u8().into(),
        timestamp: world.wall(),
        max_frame: 1514,
        pmtu: 1472,
        keepalive: 15,
    };
    let mut payload: [u8; PAYLOAD_LEN] = payload.encode();
    change(&mut payload, input);
    let server = public(SERVER);
    let psk = secret(NETWORK);
    let (_, noise) = Initiator::new(&private, &server, &psk, &payload, &mut world.random)
        .expect("keys that are fit for use");
    let hello = Hello { sender_id: 1 + u32::from(input.u8()), noise, mac1: [0; 16], mac2: [0; 16] };
    let mut bytes = hello.encode();
    MacKey::new(&server, Some(&psk)).sign_hello(&mut bytes);
    bytes.to_vec()
}

/// A WELCOME to a HELLO that is on its way, from somebody with the server's key.
fn welcome(world: &mut World, input: &mut Input<'_>) -> Option<Packet> {
    let mut hellos = world.queue.iter().filter_map(|packet| match Datagram::parse(&packet.bytes) {
        Ok(Datagram::Hello(hello)) => Some((hello, packet.path)),
        _ => None,
    });
    let (hello, path) = hellos.next_back()?;
    let responder = Responder::new(&secret(SERVER), &hello.noise, &mut world.random).ok()?;
    let client = *responder.client();
    let payload = WelcomePayload {
        version: VERSION,
        suite: 1 + input.u8() % 3,
        refusal: None,
        caps: Caps::ALL,
        max_frame: 1514,
        pmtu: 1472,
        keepalive: 15,
        dead_after: 50,
        instance: input.u64(),
        time: world.wall(),
    };
    let mut payload: [u8; PAYLOAD_LEN] = payload.encode();
    change(&mut payload, input);
    let psk = secret(NETWORK);
    let (noise, _) = responder.finish(&psk, &payload).ok()?;
    let sender_id = 1 + u32::from(input.u8());
    let welcome = Welcome { receiver_id: hello.sender_id, sender_id, noise, mac1: [0; 16] };
    let mut bytes = welcome.encode();
    MacKey::new(&client, Some(&psk)).sign_welcome(&mut bytes);
    Some(Packet { to_server: false, path, bytes: bytes.to_vec() })
}

/// What a holder of a session's keys may seal: any kind, any plaintext.
fn lie(world: &World, input: &mut Input<'_>) -> Option<Packet> {
    let at = input.below(world.stations.len());
    let bits = input.u8();
    let (to_server, path) = (bits & 1 == 0, world.stations[at].path);
    let keys = if to_server {
        world.stations[at].client.keys()?.clone()
    } else {
        world.session_keys(at)?
    };
    let kind = if bits & 2 == 0 {
        Kind::Control
    } else {
        let fragment = Fragment { index: bits >> 4, last: bits & 8 != 0 };
        let partial_checksum = bits & 4 != 0;
        // As DATA it would not even parse.
        if bits >> 4 == 15 && bits & 8 == 0 {
            Kind::Bundle { partial_checksum }
        } else {
            Kind::Data { fragment, partial_checksum }
        }
    };
    let plaintext = match kind {
        Kind::Control => input.chunk().to_vec(),
        // Nothing that looks like an honest one's.
        Kind::Bundle { .. } if input.below(2) == 0 => {
            input.chunk().iter().map(|byte| byte | 0x80).collect()
        }
        Kind::Bundle { .. } => (0..input.below(70))
            .flat_map(|_| {
                let len = 13 + input.below(50) as u16;
                [&len.to_be_bytes()[..], &vec![0xee; usize::from(len)]].concat()
            })
            .collect(),
        Kind::Data { .. } => vec![0xee; usize::from(input.u16() % 2000)],
    };
    let mut bytes = [&[0; HEADER_LEN][..], &plaintext, &[0; TAG_LEN]].concat();
    keys.reserve(world.now, 1).ok()?.seal(kind, &mut bytes).ok()?;
    Some(Packet { to_server, path, bytes })
}

fn step(world: &mut World, input: &mut Input<'_>) {
    let count = world.stations.len();
    match input.below(40) {
        0..=5 => world.deliver_next(),
        6 => {
            for _ in 0..world.queue.len() {
                world.deliver_next();
            }
        }
        7 => drop(world.queue.pop_front()),
        8 => world.queue.extend(world.queue.front().cloned()),
        9 => {
            if let Some(first) = world.queue.pop_front() {
                world.queue.push_back(first);
            }
        }
        10 => {
            if let Some(mut packet) = world.queue.front().cloned() {
                let bit = usize::from(input.u16()) % (packet.bytes.len() * 8);
                packet.bytes[bit / 8] ^= 1 << (bit % 8);
                world.deliver(&packet);
            }
        }
        11 => {
            if let Some(mut packet) = world.queue.front().cloned() {
                let len = usize::from(input.u16()) % (packet.bytes.len() + 50);
                packet.bytes.resize(len, 0);
                world.deliver(&packet);
            }
        }
        12 => {
            // A copy comes from elsewhere, before or after the original.
            if let Some(packet) = world.queue.front().cloned() {
                world.deliver_strange(packet.bytes);
            }
        }
        13 => {
            if let Some(bytes) = world.captured(input.u8()) {
                world.deliver_strange(bytes);
            }
        }
        14 => {
            if let Some(bytes) = world.captured(input.u8()) {
                let (to_server, at) = (input.bool(), input.below(count));
                let path = world.stations[at].path;
                world.deliver(&Packet { to_server, path, bytes });
            }
        }
        15 => world.deliver_strange(input.chunk().to_vec()),
        16 => {
            let path = world.stations[input.below(count)].path;
            let bytes = input.chunk().to_vec();
            world.deliver(&Packet { to_server: input.bool(), path, bytes });
        }
        17 | 18 => {
            if let Some(packet) = lie(world, input) {
                world.deliver(&packet);
            }
        }
        19 => {
            if let Some(packet) = lie(world, input).filter(|packet| packet.to_server) {
                world.deliver_strange(packet.bytes);
            }
        }
        20 => {
            let bytes = hello(world, input);
            world.deliver_strange(bytes);
        }
        21 => {
            let bytes = hello(world, input);
            let path = world.stations[0].path;
            world.deliver(&Packet { to_server: true, path, bytes });
        }
        22 => {
            if let Some(packet) = welcome(world, input) {
                world.deliver(&packet);
            }
        }
        23 | 24 => world.advance_to_timeout(),
        25 => world.advance(Duration::from_millis(input.u16().into())),
        26 => world.advance(Duration::from_secs(input.u8().into())),
        27 | 28 => world.send_up(input.below(count), input.u16().into()),
        29 | 30 => world.send_down(input.below(count), input.u16().into()),
        31 => {
            let (at, told) = (input.below(count), input.bool());
            world.rebind(at);
            if told {
                world.stations[at].client.handle_network_change(world.now);
            }
        }
        32 => {
            let client = &mut world.stations[input.below(count)].client;
            if input.bool() {
                client.handle_network_error(world.now);
            } else {
                client.handle_too_large(input.u16());
            }
        }
        33 => {
            let session = world.server.sessions().next().map(|session| session.id);
            if let Some(id) = session {
                world.server.handle_too_large(world.now, id, input.u16());
            }
        }
        34 => {
            let at = input.below(count);
            if input.bool() {
                world.stations[at].client.close(world.now);
                world.collect();
            }
            world.renew(at);
        }
        35 => {
            if input.bool() {
                world.server.close(world.now, Bye::Restart, Duration::from_secs(3));
                world.collect();
            }
            world.restart_server();
        }
        36 => {
            let key = world.stations[input.below(count)].key;
            if input.bool() {
                world.server.remove(world.now, &key);
            } else {
                let clients: [Box<dyn Clients>; 2] = [Box::new(AnyClient), Box::new(Only(key))];
                let [any, only] = clients;
                let clients = if input.bool() { any } else { only };
                world.server.set_clients(world.now, clients);
            }
        }
        37 => world.stations[TWIN].on ^= true,
        38 => {
            // A thread of the server opens a datagram, and its notice comes, or is lost.
            let told = input.bool();
            if let Some(notice) = world.open_elsewhere().filter(|_| told) {
                world.server.handle_notice(world.now, &notice);
            }
        }
        _ => {
            // News of what was opened under keys that are gone.
            let local_id = input.u8().into();
            let notice = Notice { local_id, from: STRANGER, bytes: 0, newest: true };
            world.server.handle_notice(world.now, &notice);
        }
    }
    world.collect();
}

/// A server and clients of acton/1. Frames arrive as they were sent, once, at whom they are for;
/// a stranger gets no more bytes than he sends; and when the network is a good one again, all
/// clients come back.
pub fn secure(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut world = World::new(input.u8());
    for _ in 0..MAX_STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut world, &mut input);
    }
    let any = world.delivered();
    world.heal();
    any
}
