//! Filters of `acton capture` against tcpdump's own.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

use std::path::Path;
use std::process::Command;
use std::time::UNIX_EPOCH;

use acton_engine::Filter;
use acton_frame::Headers;
use acton_pcapng::{Flags, Interface, Packet, Writer};

testbed::main! {
    a_filter_means_what_it_means_to_tcpdump: ["tcpdump"],
}

/// Frames in all, of few kinds and few addresses, so that each test has some that it is true of.
const FRAMES: usize = 400;

/// Numbers without a pattern, the same each time.
struct Numbers(u64);

impl Numbers {
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        choices[(self.0 >> 33) as usize % choices.len()]
    }
}

/// An untagged frame without fragments and extension headers, of which acton and tcpdump say the same.
fn frame(numbers: &mut Numbers) -> Vec<u8> {
    let macs = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]];
    let mut frame = [numbers.of(&macs), numbers.of(&macs[..2])].concat();
    let v4 = [[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 1, 1], [192, 0, 2, 1]];
    let v6 =
        [1_u8, 2, 3].map(|last| [[0x20, 1, 0xd, 0xb8], [0; 4], [0; 4], [0, 0, 0, last]].concat());
    let ports = [53_u16, 67, 68, 80, 8_005, 40_000].map(u16::to_be_bytes);
    let protocol = numbers.of(&[1_u8, 2, 6, 17, 58, 89, 132]);
    let payload =
        [&numbers.of(&ports)[..], &numbers.of(&ports), &[0, 24, 0, 0], &[0x50; 16]].concat();
    match numbers.of(&[0, 1, 1, 1, 2, 2, 3]) {
        0 => {
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend([2, 0, 0, 0, 0, 1]);
            frame.extend(numbers.of(&v4));
            frame.extend([0; 6]);
            frame.extend(numbers.of(&v4));
        }
        1 => {
            frame.extend([8, 0, 0x45, 0, 0, 44, 0, 0, 0, 0, 64, protocol, 0, 0]);
            frame.extend(numbers.of(&v4));
            frame.extend(numbers.of(&v4));
            frame.extend(payload);
        }
        2 => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, protocol, 64]);
            frame.extend(numbers.of(&[&v6[0], &v6[1], &v6[2]]));
            frame.extend(numbers.of(&[&v6[0], &v6[1], &v6[2]]));
            frame.extend(payload);
        }
        _ => frame.extend([0x88, 0xb5, 0, 0]),
    }
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Which packets of the file pass, as tcpdump has it: by their numbers, which are their times in
/// seconds.
fn passing(file: &Path, filter: &str) -> Vec<usize> {
    let mut command = Command::new("tcpdump");
    command.args(["-n", "-tt", "-r"]).arg(file).arg(filter);
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{filter}: {complaint}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Lines that go on are indented.
    let times = text.lines().filter(|line| !line.starts_with(char::is_whitespace));
    times.map(|line| line.split('.').next().unwrap().parse().unwrap()).collect()
}

fn a_filter_means_what_it_means_to_tcpdump() {
    let mut numbers = Numbers(7);
    let frames: Vec<_> = (0..FRAMES).map(|_| frame(&mut numbers)).collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("filters.pcapng");
    let mut writer = Writer::new(std::fs::File::create(&file).unwrap(), "test").unwrap();
    let lan = writer.interface(&Interface { name: "lan", snaplen: 0 }).unwrap();
    for (number, bytes) in frames.iter().enumerate() {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
        let packet = Packet { time, bytes, len: bytes.len(), flags: Flags::NONE, comment: None };
        writer.packet(lan, &packet).unwrap();
    }
    writer.flush().unwrap();
    for text in [
        "arp",
        "ip",
        "ip6",
        "icmp",
        "igmp",
        "icmp6",
        "tcp",
        "udp",
        "host 10.0.0.1",
        "src host 10.0.0.1",
        "dst 10.0.0.2",
        "host 2001:db8::1",
        "net 10.0.0.0/24",
        "src net 10.0.0.0/16",
        "dst net 2001:db8::2/127",
        "port 53",
        "src port 53",
        "udp dst port 80",
        "tcp port 8005",
        "portrange 60-80",
        "tcp src portrange 8000-8010",
        "ether host 02:00:00:00:00:01",
        "ether src 02:00:00:00:00:02",
        "ether dst 01:00:5e:00:00:01",
        "ether proto 0x88b5",
        "ether broadcast",
        "ether multicast",
        "broadcast",
        "multicast",
        "not ip and not ip6",
        "arp or ip and host 10.0.0.1",
        "arp or (ip and host 10.0.0.1)",
        "not (tcp or udp) and host 10.0.0.1 or port 53",
        "!udp && (port 80 || arp)",
    ] {
        let filter: Filter = text.parse().unwrap();
        let ours = frames
            .iter()
            .enumerate()
            .filter(|(_, frame)| filter.matches(&Headers::parse(frame), frame));
        let ours: Vec<_> = ours.map(|(number, _)| number).collect();
        assert_eq!(ours, passing(&file, text), "{text}");
        assert!(!ours.is_empty() && ours.len() < FRAMES, "{text} says nothing");
    }
}
