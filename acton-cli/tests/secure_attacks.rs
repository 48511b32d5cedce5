//! What somebody in the middle, or anywhere, can do to acton/1: replay, forge, change.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use acton_proto::wire::{Datagram, Reset};
use pnet_base::MacAddr;
use support::{
    Acton, Forger, HANG, Impairment, Mode, PORT, ROOT_V4, Recorded, SERVER_MAC, SERVER_V4,
    TEST_ETHERTYPE, Wire, World, client_mac, counter, frame, leaf, ping_until_answered, said,
};

testbed::main! {
    a_replayed_capture_delivers_nothing_and_changes_nothing,
    forged_bye_reset_and_icmp_tear_nothing_down,
    changed_datagrams_are_dropped_and_the_tunnel_lives,
    random_datagrams_hurt_nobody,
    nothing_is_answered_larger_than_asked,
}

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

fn numbered(to: MacAddr, from: MacAddr, number: u16) -> Vec<u8> {
    let mut payload = vec![0xc3; 300];
    payload[..2].copy_from_slice(&number.to_be_bytes());
    frame(to, from, TEST_ETHERTYPE, &payload)
}

fn up(number: u16) -> Vec<u8> {
    numbered(SERVER_MAC, client_mac(0), number)
}

fn down(number: u16) -> Vec<u8> {
    numbered(client_mac(0), SERVER_MAC, number)
}

/// The test frames that came before `last`, which is sent now.
fn heard_before(last: &[u8], from: &Wire, to: &Wire) -> Vec<Vec<u8>> {
    from.send(last);
    let mut before = to.receive_until(last);
    before.retain(|frame| frame[12..14] == TEST_ETHERTYPE.to_be_bytes());
    before
}

/// Demands that the session is the one of the beginning, where it was.
#[track_caller]
fn undisturbed(client: &Acton, server: &Acton) {
    let (client, server) = (client.log(), server.log());
    let count = |log: &str, text| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(
        [said::CONNECTED, said::LOST, "refused"].map(|text| count(&client, text)),
        [1, 0, 0],
        "{client}"
    );
    assert_eq!(
        [" up: ", " down: ", said::MOVED, "goes on with"].map(|text| count(&server, text)),
        [1, 0, 0, 0],
        "{server}"
    );
}

fn hellos(capture: &[Recorded]) -> usize {
    capture.iter().filter(|datagram| datagram.payload[0] == 0x11).count()
}

fn a_replayed_capture_delivers_nothing_and_changes_nothing() {
    let world = world(2);
    let server = world.serve(&[]);
    let proxy = world.proxy(Impairment::default(), 1);
    // A new handshake every second, so that there are several in the capture.
    let client = world.join_at(0, "192.0.2.200", &["--rekey", "1"]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    let mut number = 0;
    while hellos(&proxy.recorded()) < 3 {
        number += 1;
        leaf.send(&up(number));
        root.receive_until(&up(number));
        root.send(&down(number));
        leaf.receive_until(&down(number));
    }
    let capture = proxy.recorded();
    let data = |to_server| {
        let sealed = |d: &&Recorded| d.to_server == to_server && d.payload[0] == 0x14;
        capture.iter().filter(sealed).count()
    };
    println!("replaying {} datagrams, {} HELLO among them", capture.len(), hellos(&capture));
    assert!(data(true) >= usize::from(number) && data(false) >= usize::from(number));

    // From the very addresses they came from, both ways.
    proxy.replay(capture.clone());
    // From another port and from another host, to the server.
    let others = [
        world.proxy.run(|| UdpSocket::bind("192.0.2.200:0")).unwrap(),
        world.clients[1].run(|| UdpSocket::bind("192.0.2.11:0")).unwrap(),
    ];
    for socket in &others {
        for datagram in capture.iter().filter(|datagram| datagram.to_server) {
            socket.send_to(&datagram.payload, SocketAddr::new(SERVER_V4, PORT)).unwrap();
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    // The client rekeys until the replayed ones have gone through, too.
    let before = hellos(&capture);
    while hellos(&proxy.recorded()) < before + 2 {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(heard_before(&up(u16::MAX), &leaf, &root), Vec::<Vec<u8>>::new());
    assert_eq!(heard_before(&down(u16::MAX), &root, &leaf), Vec::<Vec<u8>>::new());
    undisturbed(&client, &server);
    let (client, server) = (client.stop(), server.stop());
    // What was not of keys that are dropped by now.
    let known = |log: &str| counter(log, "drop.replayed");
    println!(
        "replays known as such: {} by the server, {} by the client",
        known(&server),
        known(&client)
    );
    assert!(known(&server) > 0 && known(&client) > 0, "{server}{client}");
    for log in [&client, &server] {
        assert_eq!(counter(log, "drop.forged"), 0, "{log}");
    }
}

fn v4(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn forged_bye_reset_and_icmp_tear_nothing_down() {
    let world = world(1);
    let server = world.serve(&["--keepalive", "1"]);
    let proxy = world.proxy(Impairment::default(), 1);
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);

    // The ends of both conversations: client and proxy, proxy and server. The forger hears all of
    // it and can claim to be either.
    let sockets = |host: &acton_netns::Namespace, from: &str| -> SocketAddrV4 {
        let text = support::shell(host, "ss -Hnua");
        let local = |line: &str| line.split_whitespace().nth(3).unwrap().to_owned();
        let mut ports = text
            .lines()
            .map(local)
            .filter(|local| !local.ends_with(&format!(":{PORT}")))
            .filter_map(|local| local.rsplit(':').next()?.parse().ok());
        v4(from.parse().unwrap(), ports.next().unwrap())
    };
    let at_client = sockets(&world.clients[0], "192.0.2.10");
    let at_proxy = sockets(&world.proxy, "192.0.2.200");
    let front = v4("192.0.2.200".parse().unwrap(), PORT);
    let at_server = v4("192.0.2.1".parse().unwrap(), PORT);
    let forger = Forger::new(&world.proxy);
    let router: Ipv4Addr = "192.0.2.254".parse().unwrap();

    let (start, mut forged) = (Instant::now(), 0_u32);
    for round in 0..60_u16 {
        let capture = proxy.recorded();
        for (to_server, from, to) in [(true, at_proxy, at_server), (false, front, at_client)] {
            let sealed = |d: &&Recorded| d.to_server == to_server && d.payload[0] == 0x14;
            let last = &capture.iter().rfind(sealed).unwrap().payload;
            // BYE: CONTROL with the right id and the next counter, and a seal that is none.
            let mut bye = last[..16].to_vec();
            bye[..2].copy_from_slice(&[0x15, 0]);
            bye[15] = bye[15].wrapping_add(1);
            bye.extend([0x77; 12 + 16]);
            // RESET for a datagram that was really sent.
            let opposite = |d: &&Recorded| d.to_server != to_server && d.payload[0] == 0x14;
            let theirs = &mut capture.iter().rfind(opposite).unwrap().payload.clone();
            let Ok(Datagram::Sealed(header)) = Datagram::parse(theirs) else { unreachable!() };
            let reset = Reset { receiver_id: header.receiver_id, counter: header.counter };
            for payload in [&bye[..], &reset.encode()] {
                forger.send(&Forger::udp(from, to, payload)).unwrap();
                forged += 1;
            }
            // Port, host, protocol unreachable, prohibited, too large (for 576 and for 0 bytes),
            // time exceeded: about a datagram that `to` really sent.
            let about = Forger::udp(to, from, theirs);
            for (kind, code, rest) in
                [(3, 3, 0), (3, 1, 0), (3, 2, 0), (3, 13, 0), (3, 4, 576), (3, 4, 0), (11, 0, 0)]
            {
                for claims in [router, *from.ip()] {
                    forger.send(&Forger::icmp(claims, kind, code, rest, &about)).unwrap();
                    forged += 1;
                }
            }
        }
        // Frames of the full size pass all the time, each way.
        let full = |mut frame: Vec<u8>| {
            frame.resize(1514, 0);
            frame
        };
        let (sent_up, sent_down) = (full(up(round)), full(down(round)));
        leaf.send(&sent_up);
        root.receive_until(&sent_up);
        root.send(&sent_down);
        leaf.receive_until(&sent_down);
    }
    println!("{forged} forged packets");
    undisturbed(&client, &server);
    // RESET may hurry one handshake in 5 s, no more, and that was the first.
    let hellos = hellos(&proxy.recorded()) as u64;
    assert!(hellos <= 2 + start.elapsed().as_secs() / 5, "{hellos} HELLO");
    let log = server.stop();
    assert!(!log.contains("panicked"), "{log}");
    client.stop();
}

fn changed_datagrams_are_dropped_and_the_tunnel_lives() {
    let world = world(1);
    let server = world.serve(&["--keepalive", "1"]);
    let proxy = world.proxy(Impairment::default(), 3);
    let client = world.join_at(0, "192.0.2.200", &["--keepalive", "1"]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    ping_until_answered(&world.clients[0], ROOT_V4);
    proxy.set(Impairment { flip: 0.3, ..Impairment::default() });
    let [mut at_root, mut at_leaf] = [Vec::new(), Vec::new()];
    for number in 0..1_000 {
        leaf.send(&up(number));
        root.send(&down(number));
        for (wire, received) in [(&root, &mut at_root), (&leaf, &mut at_leaf)] {
            received.extend(wire.receive(Duration::from_micros(500)));
        }
    }
    ping_until_answered(&world.clients[0], ROOT_V4);
    proxy.set(Impairment::default());
    at_root.extend(heard_before(&up(u16::MAX), &leaf, &root));
    at_leaf.extend(heard_before(&down(u16::MAX), &root, &leaf));
    let ends = [(at_root, up as fn(u16) -> Vec<u8>), (at_leaf, down)];
    let [at_root, at_leaf] = ends.map(|(mut received, make)| {
        received.retain(|frame| frame[12..14] == TEST_ETHERTYPE.to_be_bytes());
        // Each is one that was sent: nothing changed, nothing twice. Where a flow begins the kernel may move
        // it to another queue of the TAP, so the first may overtake one another.
        let mut numbers: Vec<_> = received
            .iter()
            .map(|frame| {
                let number = u16::from_be_bytes([frame[14], frame[15]]);
                assert_eq!(*frame, make(number));
                number
            })
            .collect();
        numbers.sort_unstable();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        numbers.len()
    });
    println!("30 % changed: {at_root} of 1,000 frames up, {at_leaf} down");
    // On a busy machine up to four frames go in a datagram, and are lost together: these are five
    // deviations of that.
    for received in [at_root, at_leaf] {
        assert!((550..850).contains(&received), "{received}");
    }
    undisturbed(&client, &server);
    let flipped = proxy.stop().flipped;
    let logs = [client.stop(), server.stop()];
    let dropped: Vec<_> = logs.iter().map(|log| counter(log, "drop.forged")).collect();
    println!("{flipped} changed; counted as forged: {dropped:?}");
    // Of 332 bytes 16 are a header; with another type or id it is nobody's.
    assert!(dropped.iter().sum::<u64>() * 10 > flipped * 8, "{logs:?}");
    for (forged, log) in dropped.iter().zip(&logs) {
        assert!(*forged * 4 > flipped, "{log}");
    }
}

fn random_datagrams_hurt_nobody() {
    let world = world(2);
    let server = world.serve(&["--keepalive", "1"]);
    let client = world.join(0, &["--keepalive", "1"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let socket = world.clients[1].run(|| UdpSocket::bind("192.0.2.11:0")).unwrap();
    socket.connect((SERVER_V4, PORT)).unwrap();
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        // xorshift64: any bytes will do, as long as they are the same ones each time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for round in 0..20_000_u32 {
        let length = next() as usize % 200;
        let mut datagram: Vec<u8> =
            (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
        datagram.truncate(length);
        // Three of four begin like a message that there is.
        if let (Some(first), true) = (datagram.first_mut(), round % 4 > 0) {
            *first = 0x11 + (round % 8) as u8;
        }
        socket.send(&datagram).unwrap();
    }
    for length in [1_400, 9_000, 65_507] {
        socket.send(&vec![0x14; length]).unwrap();
        socket.send(&vec![0x15; length]).unwrap();
    }
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    undisturbed(&client, &server);
    let log = server.stop();
    assert!(!log.contains("panicked"), "{log}");
    client.stop();
}

fn nothing_is_answered_larger_than_asked() {
    let world = world(1);
    let _server = world.serve(&[]);
    let socket = world.clients[0].run(|| UdpSocket::bind("192.0.2.10:0")).unwrap();
    socket.connect((SERVER_V4, PORT)).unwrap();
    let mut answers = 0;
    let mut buffer = [0; 2_000];
    for first in 0..=u8::MAX {
        for length in [1, 15, 16, 17, 31, 32, 33, 44, 64, 108, 168, 500] {
            let mut datagram = vec![0; length];
            datagram[0] = first;
            // An id, which must not be zero.
            if length > 7 {
                datagram[7] = 1;
            }
            socket.send(&datagram).unwrap();
        }
        // An answer that comes later than this is one to the next of them.
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        while let Ok(received) = socket.recv(&mut buffer) {
            answers += 1;
            assert!(received <= 16, "{received} bytes in answer to {first:#x}");
        }
    }
    // RESET for sealed datagrams of nobody's id, each of 16 bytes to 32 and more.
    socket.set_read_timeout(Some(HANG)).unwrap();
    let mut nobodys = vec![0x15, 0, 0, 0, 0, 0, 0, 1];
    nobodys.resize(44, 9);
    socket.send(&nobodys).unwrap();
    assert_eq!(socket.recv(&mut buffer).unwrap(), 16);
    println!("{answers} answers of 16 bytes");
}
