//! Questions by ARP and neighbour discovery: who gets them, and how many there can be.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use support::{
    Acton, CLIENT_MAC, Mode, ROOT_V4, ROOT_V6, SERVER_MAC, Wire, World, counter, counters, frame,
    in_both_modes, leaf, ping_until_answered, shell, wait_until,
};

in_both_modes! {
    who_told_of_an_address_is_asked_alone,
    an_address_that_moved_without_a_word_is_found;
    secure: made_up_sources_make_the_root_ask_but_few,
}

/// The attacker, client 0, and those who would be asked.
const CLIENTS: u8 = 6;
/// Frames of the attack, a second and in all, half of them of IPv6. Neighbour tables are limited for
/// all namespaces together: many more would take the room of other tests.
const RATE: u32 = 200;
const FRAMES: u16 = 600;
/// Questions for addresses that nobody is known to have: at once, and a second.
const BURST: u64 = 500;
const BUDGET: u64 = 50;
/// Bytes of a datagram with one such question, at most.
const DATAGRAM: u64 = 160;

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

/// An echo request for the root from an address that there is not.
fn made_up(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut echo = [8, 0, 0, 0, 0, 0, 0, 1];
    if number.is_multiple_of(2) {
        let sum = checksum(&echo);
        echo[2..4].copy_from_slice(&sum);
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 10, 64 + high, low];
        packet.extend([10, 10, 0, 1]);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum);
        packet.extend(echo);
        return frame(SERVER_MAC, CLIENT_MAC, 0x0800, &packet);
    }
    let from = Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 1, number);
    let hosts = [from.octets(), Ipv6Addr::new(0xfd10, 0, 0, 0, 0, 0, 0, 1).octets()].concat();
    echo[0] = 128;
    let sum = checksum(&[&hosts[..], &[0, 0, 0, 8, 0, 0, 0, 58], &echo].concat());
    echo[2..4].copy_from_slice(&sum);
    let packet = [&[0x60, 0, 0, 0, 0, 8, 58, 64][..], &hosts, &echo].concat();
    frame(SERVER_MAC, CLIENT_MAC, 0x86dd, &packet)
}

/// Has the root ask for an address anew.
fn forget(world: &World, address: IpAddr) {
    shell(&world.server, &format!("ip neigh flush to {address} dev server"));
}

/// Whether the root's first datagram to a client finds it within a second. (No ping would do: all
/// namespaces of a processor share the room for ICMP that waits for an answer to a question.)
fn reaches(world: &World, client: u8, address: IpAddr) -> bool {
    let receiver =
        world.clients[usize::from(client)].run(|| UdpSocket::bind((address, 0))).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sender = world.server.run(|| UdpSocket::bind(any)).unwrap();
    sender.send_to(b"are you there", receiver.local_addr().unwrap()).unwrap();
    receiver.recv(&mut [0; 64]).is_ok()
}

/// Bytes and questions that a server sent everybody, and questions that it did not.
fn sent(server: &Acton) -> [u64; 3] {
    let log = counters(server);
    ["udp.sent.bytes", "bridge.flooded", "drop.budget_unresolved"].map(|name| counter(&log, name))
}

fn made_up_sources_make_the_root_ask_but_few() {
    let world = World::new(CLIENTS).speaking(Mode::Secure);
    let server = world.serve(&["-a", "10.10.0.1/16", "-a", "fd10::1/64", "--no-loop-guard"]);
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| world.join(client, &["--no-loop-guard"])).collect();
    for (client, root) in
        world.clients.iter().flat_map(|client| [(client, ROOT_V4), (client, ROOT_V6)])
    {
        ping_until_answered(client, root);
    }
    // Who asks again so soon that it seems to have got no answer is helped by asking everybody.
    thread::sleep(Duration::from_secs(2));
    let (attacker, before, start) = (world.client_wire(0), sent(&server), Instant::now());
    let mut asked = 0;
    for number in 0..FRAMES {
        thread::sleep(
            (Duration::from_secs(1) / RATE * number.into()).saturating_sub(start.elapsed()),
        );
        attacker.send(&made_up(number));
        if number % 100 == 99 {
            // Whoever is there is found meanwhile, as soon as ever.
            let client = 1 + asked % (CLIENTS - 1);
            for address in leaf(client) {
                forget(&world, address);
                assert!(reaches(&world, client, address), "{address}");
            }
            asked += 1;
        }
    }
    // The kernel asks for each address three times, and once it has given up for all of them, no more.
    let given_up = || {
        let waiting = "ip neigh show dev server nud incomplete";
        shell(&world.server, &format!("{waiting}; ip -6 neigh show dev server nud incomplete"))
    };
    wait_until("the root has given up", || given_up().is_empty());
    let (after, seconds) = (sent(&server), start.elapsed().as_secs() + 1);
    let [bytes, flooded, dropped] = [0, 1, 2].map(|index| after[index] - before[index]);
    println!(
        "of {FRAMES} frames in, {flooded} questions out to each of {CLIENTS} clients, \
         {dropped} dropped, {bytes} bytes out in {seconds} s"
    );
    // Three times each; but the kernel's table of neighbours is one for all of its namespaces, and where
    // it is full it gives up sooner.
    assert!(flooded + dropped >= FRAMES.into(), "the root asked: {flooded} + {dropped}");
    assert!(dropped > 0);
    // Beside the questions some announcements and the like go to all.
    let most = BURST + BUDGET * seconds + 50;
    assert!(flooded <= most, "{flooded} of {most}");
    assert!(bytes <= most * DATAGRAM * u64::from(CLIENTS), "{bytes} bytes");
    for client in &clients {
        assert!(!client.log().contains(support::said::LOST), "{}", client.log());
    }
    let log = server.stop();
    assert_eq!(log.matches("more unresolved frames").count(), 1, "{log}");
}

/// Frames of ARP with an address in them that came to a TAP.
fn questions_for(wire: &Wire, address: Ipv4Addr) -> usize {
    let frames = std::iter::from_fn(|| wire.receive(Duration::from_millis(200)));
    let is_question =
        |frame: &Vec<u8>| frame[12..14] == [8, 6] && frame[38..42] == address.octets();
    frames.filter(is_question).count()
}

fn v4(client: u8) -> Ipv4Addr {
    let IpAddr::V4(address) = leaf(client)[0] else { unreachable!("the first is of IPv4") };
    address
}

fn who_told_of_an_address_is_asked_alone(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let _server = world.serve(&["--no-loop-guard"]);
    let _clients: Vec<_> = (0..3).map(|client| world.join(client, &["--no-loop-guard"])).collect();
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    let wires = [0, 1, 2].map(|client| world.client_wire(client));
    forget(&world, v4(1).into());
    assert!(support::answers(&world.server, v4(1).into()));
    assert_eq!(wires.each_ref().map(|wire| questions_for(wire, v4(1))), [0, 1, 0]);
    // Nobody is known to have another.
    let nobody = Ipv4Addr::new(10, 9, 0, 99);
    assert!(!support::answers(&world.server, nobody.into()));
    let asked = wires.each_ref().map(|wire| questions_for(wire, nobody));
    assert!(asked.iter().all(|&asked| asked >= 1), "{asked:?}");
}

fn an_address_that_moved_without_a_word_is_found(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [world.join(0, &[]), world.join(1, &[])];
    for client in [0, 1] {
        ping_until_answered(&world.server, leaf(client)[0]);
    }
    let address = IpAddr::from(v4(1));
    shell(&world.clients[1], &format!("ip addr del {address}/24 dev client"));
    shell(&world.clients[0], &format!("ip addr add {address}/24 dev client"));
    forget(&world, address);
    ping_until_answered(&world.server, address);
    // From now on its new place is known.
    forget(&world, address);
    assert!(support::answers(&world.server, address));
}
