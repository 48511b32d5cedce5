//! What crosses the tunnel between real kernels: programs' traffic, and frames byte for byte.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use acton_netns::Namespace;
use pnet_base::MacAddr;
use socket2::{Domain, Protocol, Socket, Type};
use support::{
    CLIENT_MAC, HANG, Mode, ROOT_V4, ROOT_V6, SERVER_MAC, TEST_ETHERTYPE, Wire, World, frame, leaf,
    mac, ping, ping_until_answered, shell, tcp_transfer,
};

support::in_both_modes! {
    ping_and_tcp_over_an_ipv4_underlay,
    ping_and_tcp_over_an_ipv6_underlay,
    three_clients_at_once,
    an_arp_request_is_answered,
    a_dhcp_like_broadcast_reaches_the_server_and_the_answer_the_client,
    multicast_goes_both_ways,
    vlan_tags_pass_untouched,
    other_ethertypes_pass_untouched,
    frames_of_every_length_arrive_byte_for_byte,
    full_size_packets_need_no_larger_underlay,
    jumbo_frames_over_a_jumbo_underlay,
    jumbo_frames_over_an_underlay_of_1500,
}

fn ping_and_tcp_over_an_ipv4_underlay(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    everything_works(&world, 0);
    client.stop();
    server.stop();
}

fn ping_and_tcp_over_an_ipv6_underlay(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&["--listen", "::"]);
    let client = world.join_at(0, "[2001:db8::1]:8080", &[]);
    everything_works(&world, 0);
    // And on the same socket, over IPv4.
    let other = world.join_at(1, "192.0.2.1", &[]);
    everything_works(&world, 1);
    client.stop();
    other.stop();
    server.stop();
}

/// ICMP and TCP, IPv4 and IPv6, each way.
fn everything_works(world: &World, i: u8) {
    let (server, client) = (&world.server, &world.clients[usize::from(i)]);
    for (root, leaf) in [ROOT_V4, ROOT_V6].into_iter().zip(leaf(i)) {
        ping_until_answered(client, root);
        ping_until_answered(server, leaf);
        tcp_transfer(client, server, root, 3_000_000);
        tcp_transfer(server, client, leaf, 3_000_000);
    }
}

fn three_clients_at_once(mode: Mode) {
    let world = World::new(3).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [0, 1, 2].map(|i| world.join(i, &[]));
    std::thread::scope(|scope| {
        for i in 0..3 {
            let world = &world;
            scope.spawn(move || everything_works(world, i));
        }
    });
}

fn an_arp_request_is_answered(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let wire = world.client_wire(0);
    let asking = mac(0x77);
    let IpAddr::V4(root) = ROOT_V4 else { unreachable!("ROOT_V4 is IPv4") };
    // RFC 826: Ethernet, IPv4, lengths, request, sender, target.
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend(asking.octets());
    request.extend([10, 9, 0, 77]);
    request.extend([0; 6]);
    request.extend(root.octets());
    wire.send(&frame(MacAddr::broadcast(), asking, 0x0806, &request));

    let mut reply = vec![0, 1, 8, 0, 6, 4, 0, 2];
    reply.extend(SERVER_MAC.octets());
    reply.extend(root.octets());
    reply.extend(asking.octets());
    reply.extend([10, 9, 0, 77]);
    wire.receive_until(&frame(asking, SERVER_MAC, 0x0806, &reply));
}

/// A UDP socket on a device, as a DHCP program has it before there is an address.
fn udp_on(namespace: &Namespace, device: &str, address: SocketAddr) -> UdpSocket {
    let socket = namespace.run(|| {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(device.as_bytes()))?;
        if address.is_ipv4() {
            socket.set_broadcast(true)?;
        }
        socket.set_read_timeout(Some(HANG))?;
        socket.bind(&address.into())?;
        Ok::<UdpSocket, std::io::Error>(socket.into())
    });
    socket.unwrap()
}

fn a_dhcp_like_broadcast_reaches_the_server_and_the_answer_the_client(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let _server = world.serve(&[]);
    let _clients = [0, 1].map(|i| world.join(i, &[]));
    let any = |port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let dhcp_server = udp_on(&world.server, "server", any(67));
    let clients = [0, 1].map(|i| udp_on(&world.clients[i as usize], "client", any(68)));
    let mut buffer = [0; 600];
    clients[0].send_to(&[1; 300], (Ipv4Addr::BROADCAST, 67)).unwrap();
    let (length, from) = dhcp_server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&[1; 300][..], SocketAddr::new(leaf(0)[0], 68)));
    // A broadcast from the root reaches every client, as DHCP needs it.
    dhcp_server.send_to(&[2; 548], (Ipv4Addr::BROADCAST, 68)).unwrap();
    for client in &clients {
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&[2; 548][..], SocketAddr::new(ROOT_V4, 67)));
    }
}

fn multicast_goes_both_ways(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V6);
    let groups: [IpAddr; 2] =
        [Ipv4Addr::new(239, 1, 2, 3).into(), Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x123).into()];
    let ends = [(&world.server, "server"), (&world.clients[0], "client")];
    for group in groups {
        for (from, to) in [(0, 1), (1, 0)] {
            let any = match group {
                IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
                IpAddr::V6(_) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
            };
            let (sender, receiver) =
                (udp_on(ends[from].0, ends[from].1, any), udp_on(ends[to].0, ends[to].1, any));
            let device = ends[to].0.run(|| nix::net::if_::if_nametoindex(ends[to].1)).unwrap();
            match group {
                IpAddr::V4(group) => {
                    let device = socket2::InterfaceIndexOrAddress::Index(device);
                    socket2::SockRef::from(&receiver).join_multicast_v4_n(&group, &device)
                }
                IpAddr::V6(group) => receiver.join_multicast_v6(&group, device),
            }
            .unwrap();
            let port = receiver.local_addr().unwrap().port();
            sender.send_to(b"to all members", (group, port)).unwrap();
            let mut buffer = [0; 64];
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"to all members", "{group} to {}", ends[to].1);
        }
    }
}

/// Sends each frame from one TAP and waits for the very same bytes at the other.
fn sent_as_received(sender: &Wire, receiver: &Wire, frames: impl IntoIterator<Item = Vec<u8>>) {
    for frame in frames {
        sender.send(&frame);
        receiver.receive_until(&frame);
    }
}

/// A host behind the client's TAP and one behind the server's, which the tests play.
const BEHIND_CLIENT: MacAddr = MacAddr(2, 0xac, 0x70, 0, 1, 1);
const BEHIND_SERVER: MacAddr = MacAddr(2, 0xac, 0x70, 0, 1, 2);

/// `make` is given destination and source, for each direction.
fn both_ways(world: &World, make: impl Fn(MacAddr, MacAddr) -> Vec<Vec<u8>>) {
    let (server, client) = (world.server_wire(), world.client_wire(0));
    sent_as_received(&client, &server, make(BEHIND_SERVER, BEHIND_CLIENT));
    sent_as_received(&server, &client, make(BEHIND_CLIENT, BEHIND_SERVER));
    sent_as_received(&client, &server, make(MacAddr::broadcast(), CLIENT_MAC));
    sent_as_received(&server, &client, make(MacAddr::broadcast(), SERVER_MAC));
}

fn vlan_tags_pass_untouched(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    both_ways(&world, |to, from| {
        let tagged = |tags: &[[u16; 2]]| {
            let mut payload = Vec::new();
            for [_, tci] in tags {
                payload.extend(tci.to_be_bytes());
                payload.extend(TEST_ETHERTYPE.to_be_bytes());
            }
            // Each tag's protocol stands where the EtherType of what is before it was.
            for (i, [tpid, _]) in tags.iter().enumerate().skip(1) {
                payload[i * 4 - 2..i * 4].copy_from_slice(&tpid.to_be_bytes());
            }
            payload.extend(0..100);
            frame(to, from, tags[0][0], &payload)
        };
        vec![
            // 802.1Q with every bit of priority and identifier in use, and priority only.
            tagged(&[[0x8100, 0x0001]]),
            tagged(&[[0x8100, 0xb5a5]]),
            tagged(&[[0x8100, 0xe000]]),
            tagged(&[[0x8100, 0x1ffe]]),
            // 802.1ad, alone and with a customer tag inside.
            tagged(&[[0x88a8, 0x0123]]),
            tagged(&[[0x88a8, 0x0123], [0x8100, 0xa456]]),
        ]
    });
}

fn other_ethertypes_pass_untouched(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    both_ways(&world, |to, from| {
        // AppleTalk, IPX, PPPoE discovery, MPLS, EAPOL, LLDP, MACsec, the experimental two, an
        // unknown one; and LLC (a length in place of the type).
        [0x809b, 0x8137, 0x8863, 0x8847, 0x888e, 0x88cc, 0x88e5, 0x88b5, 0x88b6, 0xfffe, 50]
            .map(|ethertype| frame(to, from, ethertype, &[0x5a; 50]))
            .into()
    });
}

fn frames_of_every_length_arrive_byte_for_byte(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    let (server, client) = (world.server_wire(), world.client_wire(0));
    let frames = |to, from| {
        (0..=1500).map(move |length: usize| {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
            frame(to, from, TEST_ETHERTYPE, &payload)
        })
    };
    sent_as_received(&client, &server, frames(BEHIND_SERVER, BEHIND_CLIENT));
    sent_as_received(&server, &client, frames(BEHIND_CLIENT, BEHIND_SERVER));
}

/// Pings that fill the MTU of the TAPs exactly, and TCP.
fn full_packets(world: &World, mtu: usize) {
    for device in [(&world.server, "server"), (&world.clients[0], "client")] {
        let link = shell(device.0, &format!("ip -o link show dev {}", device.1));
        assert!(link.contains(&format!(" mtu {mtu} ")), "{link}");
    }
    for (root, leaf) in [ROOT_V4, ROOT_V6].into_iter().zip(leaf(0)) {
        ping_until_answered(&world.clients[0], root);
        // The IP header, and the ICMP header's 8 bytes.
        let data = mtu - if root.is_ipv4() { 28 } else { 48 };
        ping(&world.clients[0], root, data, HANG).unwrap();
        ping(&world.server, leaf, data, HANG).unwrap();
        tcp_transfer(&world.clients[0], &world.server, root, 3_000_000);
        tcp_transfer(&world.server, &world.clients[0], leaf, 3_000_000);
    }
}

fn full_size_packets_need_no_larger_underlay(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&[]);
    let _client = world.join(0, &[]);
    full_packets(&world, 1500);
}

fn jumbo_frames_over_a_jumbo_underlay(mode: Mode) {
    let world = World::with_mtu(1, 9100).speaking(mode);
    let _server = world.serve(&["--mtu", "9000"]);
    let _client = world.join(0, &["--mtu", "9000"]);
    full_packets(&world, 9000);
}

fn jumbo_frames_over_an_underlay_of_1500(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let _server = world.serve(&["--mtu", "9000"]);
    let _client = world.join(0, &["--mtu", "9000"]);
    full_packets(&world, 9000);
    let (server, client) = (world.server_wire(), world.client_wire(0));
    let largest = frame(BEHIND_SERVER, BEHIND_CLIENT, TEST_ETHERTYPE, &[0xa5; 9000]);
    sent_as_received(&client, &server, [largest]);
    assert_eq!(server.receive(Duration::ZERO).filter(|frame| frame.len() > 9000), None);
}
