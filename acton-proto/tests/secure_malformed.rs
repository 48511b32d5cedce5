//! Datagrams that nobody honest sends, given to both state machines: they are dropped.

mod secure_rig;

use acton_proto::client::ClientEvent;
use acton_proto::handshake::public_key;
use acton_proto::wire::{MAX_DATAGRAM, Reset};
use secure_rig::{Rig, SECOND, frame, name, path, secret};

#[test]
fn every_length_of_every_type_changes_nothing() {
    let mut rig = Rig::connected();
    let setup = *rig.stations[0].client.keys().expect("a session").setup();
    let mut bytes = vec![0; MAX_DATAGRAM + 1];
    // Every length of what may be short, and then steps: sealed ones are opened at each.
    for len in (0..=2048).chain((2048..=MAX_DATAGRAM + 1).step_by(53)).chain([MAX_DATAGRAM]) {
        for kind in [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x00, b'H'] {
            for (to_server, id) in [(true, setup.remote_id), (false, setup.local_id)] {
                let frag = u8::from(kind == 0x14);
                let head = [&[kind, frag, 0, 0][..], &id.to_be_bytes(), &7_u64.to_be_bytes()];
                let head = head.concat();
                bytes[..len].fill(0x55);
                bytes[..16].copy_from_slice(&head);
                let datagram = &mut bytes[..len];
                if to_server {
                    let wall = rig.wall();
                    let made = rig.server.handle_input(rig.now, wall, path(1), datagram);
                    assert!(made.is_none());
                } else {
                    let client = &mut rig.stations[0].client;
                    assert!(client.handle_input(rig.now, datagram).next().is_none());
                }
            }
        }
    }
    assert!(rig.take_all().is_empty(), "nobody answers");
    rig.run(SECOND * 5);
    let over = |event: &ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert!(!rig.stations[0].events.iter().any(over));
    assert_eq!((rig.changes(), rig.server.session_count()), (1, 1));
    rig.assert_works(0, &public_key(&secret(10)));
}

/// RESET is not sealed, but must name a datagram that was sent. The one that does hurries a HELLO.
#[test]
fn a_reset_with_a_bit_changed_is_of_no_datagram() {
    let mut rig = Rig::connected();
    rig.seal(0, &frame(1, 60));
    let keys = rig.stations[0].client.keys().expect("a session").clone();
    let receiver_id = keys.setup().remote_id;
    let reset = Reset { receiver_id, counter: keys.sealed() - 1 }.encode();
    let hurried = |rig: &mut Rig| {
        rig.tick();
        rig.take_client(0).iter().any(|packet| name(&packet.bytes) == "HELLO")
    };
    for bit in 0..reset.len() * 8 {
        let mut bad = reset;
        bad[bit / 8] ^= 1 << (bit % 8);
        let counter = u64::from_be_bytes(*bad.last_chunk().expect("a counter"));
        if bit >= 64 && counter < keys.sealed() {
            continue; // Another one that was sent.
        }
        rig.give_client(0, &bad);
        assert!(!hurried(&mut rig), "bit {bit}");
    }
    rig.give_client(0, &reset);
    assert!(hurried(&mut rig));
}
