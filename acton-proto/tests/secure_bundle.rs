//! Several frames in one datagram, between whole clients and servers of acton/1.

mod secure_rig;

use acton_proto::server::{AnyClient, ServerEvent};
use acton_proto::session::{Bundle, Keys};
use acton_proto::wire::{Caps, HEADER_LEN, Kind, OVERHEAD, TAG_LEN};
use secure_rig::{Packet, Rig, SECOND, client_config, frame, path, server_config};

/// The least and the most, and what is usual.
const LENGTHS: [usize; 5] = [14, 60, 200, 14, 300];

fn frames() -> Vec<Vec<u8>> {
    (0..).zip(LENGTHS).map(|(tag, len)| frame(tag, len)).collect()
}

/// The datagrams that frames which wait together go into.
fn seal(rig: &Rig, keys: &Keys, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut out, mut datagrams) = (Vec::new(), Vec::new());
    let mut open: Option<Bundle<'_>> = None;
    for frame in frames {
        if open.as_mut().is_none_or(|open| !open.push([frame], false, &mut out)) {
            if let Some(full) = open.take() {
                full.seal(rig.now, &mut out).expect("sealed");
                datagrams.push(std::mem::take(&mut out));
            }
            open = Some(Bundle::begin(keys, [frame], false, &mut out));
        }
    }
    open.expect("a frame").seal(rig.now, &mut out).expect("sealed");
    datagrams.push(out);
    datagrams
}

/// A client that has keys of which the server has no proof yet.
fn unconfirmed(caps: Caps) -> Rig {
    let mut rig = Rig::new(server_config(), Box::new(AnyClient));
    let mut config = client_config(10);
    config.caps = caps;
    rig.add(config, path(1));
    rig.tick();
    while rig.stations[0].client.keys().is_none() {
        for packet in rig.take_all() {
            rig.carry(packet);
        }
    }
    rig.take_client(0); // The KEEPALIVE that would confirm them is lost.
    assert_eq!(rig.server.session_count(), 0);
    rig
}

#[test]
fn the_first_datagram_under_new_keys_may_be_several_frames() {
    let mut rig = unconfirmed(Caps::ALL);
    let keys = rig.stations[0].client.keys().expect("keys").clone();
    let datagrams = seal(&rig, &keys, &frames());
    assert_eq!(datagrams.len(), 1);
    rig.carry(Packet { to_server: true, path: path(1), bytes: datagrams[0].clone() });
    assert!(matches!(rig.events[..], [.., ServerEvent::SessionUp { .. }]));
    let came: Vec<_> = rig.frames.iter().map(|(_, frame)| frame.clone()).collect();
    assert_eq!(came, frames());

    let back = rig.server.sessions().next().expect("a session").keys.clone();
    let datagrams = seal(&rig, &back, &frames());
    rig.carry(Packet { to_server: false, path: path(1), bytes: datagrams[0].clone() });
    assert_eq!(rig.stations[0].frames, frames());
}

#[test]
fn to_a_peer_that_takes_none_each_frame_goes_alone() {
    let mut rig = unconfirmed(Caps::CSUM);
    let keys = rig.stations[0].client.keys().expect("keys").clone();
    let datagrams = seal(&rig, &keys, &frames());
    let sizes: Vec<_> = datagrams.iter().map(Vec::len).collect();
    assert_eq!(sizes, LENGTHS.map(|len| len + OVERHEAD));
    for bytes in datagrams {
        rig.carry(Packet { to_server: true, path: path(1), bytes });
    }
    assert_eq!(rig.frames.len(), LENGTHS.len());
}

#[test]
fn a_bundle_has_64_frames_at_most() {
    let mut rig = unconfirmed(Caps::ALL);
    let keys = rig.stations[0].client.keys().expect("keys").clone();
    let frames: Vec<_> = (0..150).map(|tag| frame(tag, 14)).collect();
    let datagrams = seal(&rig, &keys, &frames);
    let sizes: Vec<_> = datagrams.iter().map(|datagram| datagram.len() - OVERHEAD).collect();
    assert_eq!(sizes, [64 * 16, 64 * 16, 22 * 16]);
    for bytes in datagrams {
        rig.carry(Packet { to_server: true, path: path(1), bytes });
    }
    let came: Vec<_> = rig.frames.iter().map(|(_, frame)| frame.clone()).collect();
    assert_eq!(came, frames);
}

/// It is authentic all the same: it confirms the keys.
#[test]
fn a_bundle_that_is_none_is_dropped_whole_and_is_a_sign_of_life() {
    let mut rig = unconfirmed(Caps::ALL);
    let keys = rig.stations[0].client.keys().expect("keys").clone();
    let entry = |frame: &Vec<u8>| [&(frame.len() as u16).to_be_bytes(), &frame[..]].concat();
    let mut plaintext: Vec<u8> = frames().iter().flat_map(entry).collect();
    plaintext.push(0);
    let mut bytes = [&[0; HEADER_LEN][..], &plaintext, &[0; TAG_LEN]].concat();
    let mut counter = keys.reserve(rig.now, 1).expect("fresh keys");
    counter.seal(Kind::Bundle { partial_checksum: false }, &mut bytes).expect("sealed");
    rig.carry(Packet { to_server: true, path: path(1), bytes });
    assert_eq!((rig.server.session_count(), rig.frames.len()), (1, 0));
    rig.run(SECOND);
    rig.assert_works(0, &acton_proto::handshake::public_key(&secure_rig::secret(10)));
}
