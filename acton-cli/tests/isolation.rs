//! No frame of one client at another, whatever its destination; with the server's TAP as the
//! positive control that the frames were sent at all.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use pnet_base::MacAddr;
use support::{
    Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, Wire, World, answers, client_mac, counter, frame,
    leaf, mac, ping_until_answered,
};

support::in_both_modes! {
    clients_never_hear_one_another,
    clients_have_no_ip_between_them,
    a_unicast_from_the_server_goes_to_its_client_only,
    a_broadcast_and_an_unknown_unicast_go_to_all_clients,
    forged_sources_are_dropped_and_counted,
    what_bridges_do_not_forward_is_dropped_and_counted,
}

/// A test frame with a number of its own to know it by.
fn numbered(to: MacAddr, from: MacAddr, number: u8) -> Vec<u8> {
    frame(to, from, TEST_ETHERTYPE, &[number; 64])
}

/// The test frames among what a client received before a broadcast that the server sends now.
/// What was under way to the client before is ahead of that broadcast.
fn heard(server: &Wire, clients: &[&Wire], number: u8) -> Vec<Vec<Vec<u8>>> {
    let last = numbered(MacAddr::broadcast(), SERVER_MAC, number);
    server.send(&last);
    let test_frames = |wire: &&Wire| {
        let mut frames = wire.receive_until(&last);
        let ethertype = TEST_ETHERTYPE.to_be_bytes();
        frames.retain(|frame| frame[12..14] == ethertype || frame[16..18] == ethertype);
        frames
    };
    clients.iter().map(test_frames).collect()
}

fn clients_never_hear_one_another(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let server = world.serve(&[]);
    let _clients = [0, 1, 2].map(|i| world.join(i, &[]));
    let root = world.server_wire();
    let [talker, other, third] = [0, 1, 2].map(|i| world.client_wire(i));
    // The server knows where everybody is.
    for (i, wire) in [&talker, &other, &third].into_iter().enumerate() {
        let hello = numbered(SERVER_MAC, client_mac(i as u8), 0xf0);
        wire.send(&hello);
        root.receive_until(&hello);
    }
    let to_the_server_side = [
        MacAddr::broadcast(),
        MacAddr::new(1, 0, 0x5e, 1, 2, 3),
        MacAddr::new(0x33, 0x33, 0, 0, 0, 1),
        mac(0xee), // unknown
        SERVER_MAC,
    ];
    for (number, to) in to_the_server_side.into_iter().enumerate() {
        let plain = numbered(to, client_mac(0), number as u8);
        let mut tagged = plain.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        for frame in [plain, tagged] {
            talker.send(&frame);
            root.receive_until(&frame);
        }
    }
    // To the others by name: not even the server's side hears it.
    for to in [client_mac(1), client_mac(2), client_mac(0)] {
        talker.send(&numbered(to, client_mac(0), 0x40));
    }
    let after = numbered(SERVER_MAC, client_mac(0), 0x41);
    talker.send(&after);
    let before = root.receive_until(&after);
    assert!(!before.iter().any(|frame| frame[14..] == [0x40; 64]), "{before:02x?}");

    let silence = vec![Vec::<Vec<u8>>::new(); 3];
    assert_eq!(heard(&root, &[&talker, &other, &third], 0x50), silence);
    let log = server.stop();
    assert_eq!(counter(&log, "drop.leaf_to_leaf"), 2, "{log}");
    assert_eq!(counter(&log, "drop.local"), 1, "{log}");
}

fn clients_have_no_ip_between_them(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [0, 1].map(|i| world.join(i, &[]));
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    for address in leaf(1) {
        assert!(!answers(&world.clients[0], address), "{address}");
    }
    // Nor with the neighbour entry that ARP would have brought.
    let neighbour = format!("ip neigh replace {} lladdr {} dev client", leaf(1)[0], client_mac(1));
    support::shell(&world.clients[0], &neighbour);
    assert!(!answers(&world.clients[0], leaf(1)[0]));
    assert!(answers(&world.clients[0], ROOT_V4));
}

fn a_unicast_from_the_server_goes_to_its_client_only(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [0, 1, 2].map(|i| world.join(i, &[]));
    let root = world.server_wire();
    let leaves = [0, 1, 2].map(|i| world.client_wire(i));
    for (i, wire) in leaves.iter().enumerate() {
        let hello = numbered(SERVER_MAC, client_mac(i as u8), i as u8);
        wire.send(&hello);
        root.receive_until(&hello);
    }
    for i in 0..3 {
        let to_one = numbered(client_mac(i), SERVER_MAC, 0x10 + i);
        root.send(&to_one);
        let heard = heard(&root, &leaves.each_ref(), 0x20 + i);
        for (j, frames) in heard.into_iter().enumerate() {
            let expected = if usize::from(i) == j { vec![to_one.clone()] } else { vec![] };
            assert_eq!(frames, expected, "to client {i}, heard by client {j}");
        }
    }
}

fn a_broadcast_and_an_unknown_unicast_go_to_all_clients(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [0, 1, 2].map(|i| world.join(i, &[]));
    let root = world.server_wire();
    let leaves = [0, 1, 2].map(|i| world.client_wire(i));
    for to in [MacAddr::broadcast(), MacAddr::new(1, 0, 0x5e, 1, 2, 3), mac(0xee)] {
        let to_all = numbered(to, SERVER_MAC, 1);
        root.send(&to_all);
        for frames in heard(&root, &leaves.each_ref(), 2) {
            assert_eq!(frames, std::slice::from_ref(&to_all));
        }
    }
}

fn forged_sources_are_dropped_and_counted(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let forged =
        [MacAddr::broadcast(), MacAddr::new(1, 0, 0x5e, 0, 0, 1), MacAddr::zero(), SERVER_MAC];
    for from in forged {
        leaf.send(&numbered(MacAddr::broadcast(), from, 1));
    }
    let honest = numbered(MacAddr::broadcast(), client_mac(0), 2);
    leaf.send(&honest);
    let before = root.receive_until(&honest);
    assert!(!before.iter().any(|frame| frame[14..] == [1; 64]), "{before:02x?}");
    let log = server.stop();
    assert_eq!(counter(&log, "drop.source_group"), 2, "{log}");
    assert_eq!(counter(&log, "drop.source_zero"), 1, "{log}");
    assert_eq!(counter(&log, "drop.source_protected"), 1, "{log}");
}

fn what_bridges_do_not_forward_is_dropped_and_counted(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    // IEEE 802.1Q, table 8-1: spanning tree, PAUSE, LACP, 802.1X, LLDP.
    let reserved = [0, 1, 2, 3, 0xe].map(|last| MacAddr::new(1, 0x80, 0xc2, 0, 0, last));
    let ends = [(&root, &leaf, SERVER_MAC), (&leaf, &root, client_mac(0))];
    for (sender, receiver, from) in ends {
        for to in reserved {
            sender.send(&numbered(to, from, 1));
        }
        let last = numbered(MacAddr::broadcast(), from, 2);
        sender.send(&last);
        let before = receiver.receive_until(&last);
        assert!(!before.iter().any(|frame| frame[14..] == [1; 64]), "{before:02x?}");
    }
    let log = server.stop();
    assert_eq!(counter(&log, "drop.reserved"), 8, "{log}");
    assert_eq!(counter(&log, "drop.pause"), 2, "{log}");
}
