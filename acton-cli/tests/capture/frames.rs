//! Frames and datagrams that pass.

use std::process::Command;

use acton_engine::MacAddr;

use super::recorder::{Packet, Recorder, tshark};
use super::support::{
    Acton, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, control, frame, leaf, mac,
    ping_until_answered, session_names, shell, tcp_transfer,
};

/// Hosts behind the server and behind client 0.
const BEHIND_SERVER: MacAddr = mac(0x71);
const BEHIND_CLIENT: MacAddr = mac(0x72);

fn test_frame(to: MacAddr, from: MacAddr, text: &str) -> Vec<u8> {
    let mut frame = frame(to, from, TEST_ETHERTYPE, text.as_bytes());
    frame.resize(100, 0x5a);
    frame
}

/// What client `i` is called at the server.
fn name(mode: Mode, end: &Acton, i: usize) -> String {
    let sessions = session_names(end);
    match mode {
        // By its address, whose port the kernel chose.
        Mode::Plain => {
            let ip = format!("192.0.2.{}:", 10 + i);
            sessions.into_iter().find(|name| name.starts_with(&ip)).unwrap()
        }
        Mode::Secure => sessions[i].clone(),
    }
}

pub(super) fn what_passes_is_captured_at_both_ends(mode: Mode) {
    let world = World::new(2).speaking(mode);
    let server = world.serve(&["--no-loop-guard", "--name", "lan0"]);
    let client = world.join(0, &["--no-loop-guard"]);
    let other = world.join(1, &["--no-loop-guard"]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    let berlin = name(mode, &server, 0);

    // Of all frames, by a filter; of one session; at the client.
    let ours = "ether proto 0x88b5";
    let all = Recorder::start(&world, &server, "all.pcapng", &[ours]);
    let of_berlin = Recorder::start(&world, &server, "berlin.pcapng", &[&berlin, ours]);
    let paris = name(mode, &server, 1);
    let of_paris = Recorder::start(&world, &server, "paris.pcapng", &[&paris, ours]);
    let at_client = Recorder::start(&world, &client, "client.pcapng", &[ours, "-s", "60"]);
    let file = std::fs::metadata(all.file()).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);

    // From the client, to all at the root; to it, now that it is known; to all.
    let up = test_frame(MacAddr::broadcast(), BEHIND_CLIENT, "up");
    let down = test_frame(BEHIND_CLIENT, BEHIND_SERVER, "down");
    let flood = test_frame(MacAddr::broadcast(), BEHIND_SERVER, "flood");
    // From a MAC that is the server's own.
    let forged = test_frame(BEHIND_SERVER, SERVER_MAC, "forged");
    leaf.send(&up);
    root.receive_until(&up);
    root.send(&down);
    leaf.receive_until(&down);
    root.send(&flood);
    leaf.receive_until(&flood);
    leaf.send(&forged);
    all.wait_for(&forged);
    for recorder in [&all, &of_berlin, &of_paris] {
        recorder.wait_for(&flood);
    }
    of_berlin.wait_for(&forged);

    let file = all.file().to_owned();
    let all = all.stop();
    // As Wireshark reads it.
    let fields =
        ["frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.len"];
    for (line, packet) in tshark(&file, &fields, &[]).iter().zip(&all) {
        let [interface, direction, comment, len] = &line[..] else { panic!("{line:?}") };
        let [ours, way, says] = packet.about();
        assert_eq!([&**interface, comment, len], [ours, says, "100"]);
        let direction = u32::from_str_radix(direction.trim_start_matches("0x"), 16);
        assert_eq!(direction, Ok(if way == "in" { 1 } else { 2 }));
    }
    let about: Vec<_> = all.iter().map(Packet::about).collect();
    let said = about.last().unwrap()[2];
    assert!(said.starts_with("drop (source_protected): "), "{said}");
    assert_eq!(
        about,
        [
            [&berlin, "in", "forward to the TAP"],
            [&berlin, "out", &format!("forward to {berlin}")],
            ["server", "out", "forward to all 2 sessions"],
            [&berlin, "in", said],
        ]
    );
    let bytes: Vec<_> = all.iter().map(|packet| &packet.bytes).collect();
    assert_eq!(bytes, [&up, &down, &flood, &forged]);
    assert_eq!(of_berlin.stop(), all);
    // Of the other one there is only what is for all.
    assert_eq!(of_paris.stop(), [all[2].clone()]);
    let at_client = at_client.stop();
    let server_name = session_names(&client)[0].clone();
    let about: Vec<_> = at_client.iter().map(Packet::about).collect();
    let to_server = format!("forward to {server_name}");
    assert_eq!(
        about,
        [
            [&*server_name, "out", &to_server],
            [&server_name, "in", "forward to the TAP"],
            [&server_name, "in", "forward to the TAP"],
            [&server_name, "out", &to_server],
        ]
    );
    for (packet, whole) in at_client.iter().zip([&up, &down, &flood, &forged]) {
        assert_eq!((packet.len, &packet.bytes), (100, &whole[..60].to_vec()));
    }

    // Into a pipe, as somebody looks at it.
    let acton = env!("CARGO_BIN_EXE_acton");
    let control = control(&server).display();
    let script =
        format!("ACTON_CONTROL={control} {acton} capture -c 2 '{ours}' | tcpdump -n -e -r - 2>&1");
    let mut reader = Command::new("sh");
    reader.args(["-c", &script]);
    let reader = Acton::spawn("tcpdump", &world.server, &mut reader);
    reader.wait_for("capturing at server");
    leaf.send(&up);
    root.send(&down);
    let (_, log) = reader.end();
    let ethertypes = log.matches("ethertype Unknown (0x88b5), length 100").count();
    assert_eq!(ethertypes, 2, "{log}");
    assert!(log.contains("2 packets captured, 0 lost"), "{log}");
    drop((client, other));
}

pub(super) fn super_frames_are_captured_whole(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let _client = world.join(0, &["--no-loop-guard"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let recorder = Recorder::start(&world, &server, "super.pcapng", &["tcp", "-s", "200"]);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 2_000_000);
    let packets = recorder.stop();
    let large = packets.iter().find(|packet| packet.len > 10_000).unwrap();
    assert!(large.comment.contains("; a super-frame of "), "{}", large.comment);
    assert!(packets.iter().any(|packet| packet.direction == "in"));
    assert!(packets.iter().all(|packet| packet.bytes.len() == packet.len.min(200)));
}

pub(super) fn datagrams_are_captured_as_they_are_on_the_way(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = world.serve(&["--no-loop-guard"]);
    let client = world.join(0, &["--no-loop-guard"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let recorders = [
        Recorder::start(&world, &server, "outer.pcapng", &["--outer"]),
        Recorder::start(&world, &client, "outer-client.pcapng", &["--outer"]),
    ];
    let berlin = name(mode, &server, 0);
    let server_name = session_names(&client)[0].clone();
    // One more than is demanded: the last answer is back before a worker has shown it.
    shell(&world.clients[0], "ping -c 4 -i 0.2 10.9.0.1");
    let lua = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/wireshark/acton.lua");
    let script = format!("lua_script:{lua}");
    for (recorder, session) in recorders.into_iter().zip([berlin, server_name]) {
        let file = recorder.file().to_owned();
        let packets = recorder.stop();
        // Pings and their answers, and nothing that is of nobody.
        for direction in ["in", "out"] {
            let those = packets.iter().filter(|packet| packet.direction == direction);
            assert!(those.clone().count() >= 3, "{direction}: {packets:?}");
            assert!(those.clone().all(|packet| packet.interface == session), "{packets:?}");
        }
        // Wireshark finds the tunnel's protocol in them, and no fault.
        let fields = ["frame.protocols", "udp.checksum.status", "ip.checksum.status", "udp.port"];
        let more = ["-X", &script, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
        for line in tshark(&file, &fields, &more) {
            let [protocols, udp, ip, port] = &line[..] else { panic!("{line:?}") };
            assert!(protocols.starts_with("eth:ethertype:ip:udp:acton"), "{line:?}");
            // 1 is good. Plain mode shows the packets inside too.
            assert!(udp.starts_with('1') && ip.starts_with('1'), "{line:?}");
            assert!(port.split(',').any(|port| port == "8080"), "{line:?}");
        }
    }
}
