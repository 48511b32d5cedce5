//! What lies between the system calls, piece by piece.

use std::env;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, Config};
use acton_proto::handshake::Split;
use acton_proto::session::{Bundle, Keys, Link, Role, Setup, Suite};
use acton_proto::wire::{Caps, Fragment, HEADER_LEN, Header, Kind, OVERHEAD, TAG_LEN};
use acton_tap::offload::{Coalescer, Fill, MAX_HEAD, Segments, Trust};
use acton_tap::{Offloads, VnetHeader};

use super::{callgrind, collected};
use crate::Result;
use offload_frames::Packet;

#[path = "../../../../acton-tap/tests/offload_frames/mod.rs"]
mod offload_frames;

/// Something that is done a number of times.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// Frames that once stands for.
    frames: usize,
    pub(super) work: fn(usize),
}

use Suite::{Aes256Gcm as Aes, ChaCha20Poly1305 as ChaCha};

/// Segments of a super-frame, and frames that are joined to one.
const TCP_SEGMENTS: usize = 44;
const UDP_SEGMENTS: usize = 64;
/// Frames of 60 bytes that a bundle of 1,200 bytes, the path MTU of a new session, has room for.
const BUNDLED: usize = 18;

pub(super) const ALL: [Case; 21] = [
    Case { name: "seal 60 bytes, AES-256-GCM", frames: 1, work: |n| seal(Aes, 60, n) },
    Case { name: "seal 1,400 bytes, AES-256-GCM", frames: 1, work: |n| seal(Aes, 1_400, n) },
    Case { name: "seal 60 bytes, ChaCha20-Poly1305", frames: 1, work: |n| seal(ChaCha, 60, n) },
    Case {
        name: "seal 1,400 bytes, ChaCha20-Poly1305",
        frames: 1,
        work: |n| seal(ChaCha, 1_400, n),
    },
    Case { name: "open 60 bytes, AES-256-GCM", frames: 1, work: |n| open(Aes, 60, n) },
    Case { name: "open 1,400 bytes, AES-256-GCM", frames: 1, work: |n| open(Aes, 1_400, n) },
    Case { name: "open 60 bytes, ChaCha20-Poly1305", frames: 1, work: |n| open(ChaCha, 60, n) },
    Case {
        name: "open 1,400 bytes, ChaCha20-Poly1305",
        frames: 1,
        work: |n| open(ChaCha, 1_400, n),
    },
    Case {
        name: "seal 18 frames of 60 bytes in a bundle, AES-256-GCM",
        frames: BUNDLED,
        work: seal_bundles,
    },
    Case {
        name: "open 18 frames of 60 bytes in a bundle, AES-256-GCM",
        frames: BUNDLED,
        work: open_bundles,
    },
    Case { name: "header of a sealed datagram, written", frames: 1, work: encode_header },
    Case { name: "header of a sealed datagram, read", frames: 1, work: parse_header },
    Case {
        name: "cut 64 KiB of TCP, full checksums",
        frames: TCP_SEGMENTS,
        work: |n| cut(Fill::Full, n),
    },
    Case {
        name: "cut 64 KiB of TCP, partial checksums",
        frames: TCP_SEGMENTS,
        work: |n| cut(Fill::Partial, n),
    },
    Case {
        name: "join 44 TCP frames of 1,514 bytes, vouched for",
        frames: TCP_SEGMENTS,
        work: |n| join(&tcp(), 1_448, Trust::Vouched, n),
    },
    Case {
        name: "join 44 TCP frames of 1,514 bytes, to be verified",
        frames: TCP_SEGMENTS,
        work: |n| join(&tcp(), 1_448, Trust::Verify, n),
    },
    Case {
        name: "join 64 UDP frames of 60 bytes, vouched for",
        frames: UDP_SEGMENTS,
        work: |n| join(&udp(), 18, Trust::Vouched, n),
    },
    Case {
        name: "join 64 UDP frames of 60 bytes, to be verified",
        frames: UDP_SEGMENTS,
        work: |n| join(&udp(), 18, Trust::Verify, n),
    },
    Case { name: "bridge: from the root to one of 10,000 MACs", frames: 1, work: look_up },
    Case { name: "bridge: from a leaf, a MAC it knows, a later time", frames: 1, work: refresh },
    Case { name: "bridge: from a leaf, a new MAC", frames: 1, work: learn },
];

/// How often a case is done.
const UNITS: usize = 2_000;

impl Case {
    /// Instructions for a frame.
    pub(super) fn count(&self) -> Result<f64> {
        let program = env::current_exe()?;
        let mut command = callgrind(&[&format!("--toggle-collect=*{MEASURED}*")]);
        command.arg(program).args(["--case", self.name, "--units", &UNITS.to_string()]);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(said.into());
        }
        Ok(collected(&said)? / (UNITS * self.frames) as f64)
    }
}

/// The path of [`measured`]: callgrind counts what is done in it and below.
const MEASURED: &str = "cases::measured";

#[inline(never)]
fn measured(count: usize, mut once: impl FnMut(usize)) {
    for n in 0..count {
        once(n);
    }
}

const NOW: Duration = Duration::from_secs(1);

fn keys(role: Role, suite: Suite) -> Keys {
    let split = Split { to_server: [1; 32], to_client: [2; 32] };
    let setup =
        Setup { suite, local_id: 1, remote_id: 1, caps: Caps::ALL, max_frame: 1_514, born: NOW };
    let link = Link::new(NOW);
    Keys::new(role, &split, &setup, Arc::new(link))
}

/// Copies a frame into a datagram and seals it there, as a worker does.
fn seal_one(keys: &Keys, frame: &[u8], datagram: &mut Vec<u8>) {
    datagram.clear();
    datagram.extend_from_slice(&[0; HEADER_LEN]);
    datagram.extend_from_slice(frame);
    datagram.extend_from_slice(&[0; TAG_LEN]);
    let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: true };
    let sealed = keys.reserve(NOW, 1).and_then(|mut one| one.seal(kind, datagram));
    sealed.expect("fresh keys and a datagram's layout");
}

fn seal(suite: Suite, len: usize, count: usize) {
    let (keys, frame) = (keys(Role::Client, suite), vec![7; len]);
    let mut datagram = Vec::with_capacity(OVERHEAD + len);
    measured(count, |_| {
        seal_one(&keys, black_box(&frame), &mut datagram);
        black_box(&datagram);
    });
}

fn open(suite: Suite, len: usize, count: usize) {
    let (client, server) = (keys(Role::Client, suite), keys(Role::Server, suite));
    let frame = vec![7; len];
    let mut datagrams = vec![Vec::new(); count];
    datagrams.iter_mut().for_each(|datagram| seal_one(&client, &frame, datagram));
    measured(count, |n| {
        let datagram = &mut datagrams[n];
        let header = Header::parse(black_box(datagram)).expect("a datagram");
        black_box(server.receive(NOW, &header, datagram).expect("authentic and new"));
    });
}

/// Gathers frames in a datagram and seals it there, as a worker does.
fn seal_bundle(keys: &Keys, frame: &[u8], datagram: &mut Vec<u8>) {
    datagram.clear();
    let mut bundle = Bundle::begin(keys, [frame], true, datagram);
    for _ in 1..BUNDLED {
        assert!(bundle.push([frame], true, datagram), "there is room");
    }
    bundle.seal(NOW, datagram).expect("fresh keys and a datagram's layout");
}

fn seal_bundles(count: usize) {
    let (keys, frame) = (keys(Role::Client, Aes), [7; 60]);
    let mut datagram = Vec::with_capacity(2_048);
    measured(count, |_| {
        seal_bundle(&keys, black_box(&frame), &mut datagram);
        black_box(&datagram);
    });
}

fn open_bundles(count: usize) {
    let (client, server) = (keys(Role::Client, Aes), keys(Role::Server, Aes));
    let mut datagrams = vec![Vec::new(); count];
    datagrams.iter_mut().for_each(|datagram| seal_bundle(&client, &[7; 60], datagram));
    measured(count, |n| {
        let datagram = &mut datagrams[n];
        let header = Header::parse(black_box(datagram)).expect("a datagram");
        let received = server.receive(NOW, &header, datagram).expect("authentic and new");
        let frames = received.content.into_frames();
        assert_eq!(frames.len(), BUNDLED, "a bundle");
        frames.for_each(|frame| drop(black_box(frame)));
    });
}

fn encode_header(count: usize) {
    let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum: true };
    let header = Header { kind, receiver_id: 1, counter: 1 };
    measured(count, |_| {
        black_box(black_box(&header).encode());
    });
}

fn parse_header(count: usize) {
    let mut datagram = Vec::new();
    seal_one(&keys(Role::Client, Aes), &[0; 60], &mut datagram);
    measured(count, |_| {
        let _ = black_box(Header::parse(black_box(&datagram)));
    });
}

/// A super-frame with the timestamps that every stream has.
fn tcp() -> Packet {
    let options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    Packet::new(false, false, 1_448 * TCP_SEGMENTS).with(|packet| packet.tcp_options = options)
}

fn udp() -> Packet {
    Packet::new(false, true, 18 * UDP_SEGMENTS)
}

fn cut(fill: Fill, count: usize) {
    let (header, frame) = tcp().super_frame(1_448);
    let mut head = [0; MAX_HEAD];
    measured(count, |_| {
        let segments = Segments::new(black_box(&header), black_box(&frame), 1_514, fill);
        let mut segments = segments.expect("a super-frame");
        while let Some(segment) = segments.next_in(&mut head) {
            black_box(segment);
        }
    });
}

fn join(packet: &Packet, size: u16, trust: Trust, count: usize) {
    let (header, frame): (VnetHeader, Vec<u8>) = packet.super_frame(size);
    let mut cut = Segments::new(&header, &frame, 1_514, Fill::Full).expect("a super-frame");
    let mut frames = Vec::new();
    let mut buffer = [0; 1_514];
    while let Some(length) = cut.copy_next(&mut buffer) {
        frames.push(buffer[..length].to_vec());
    }
    let mut coalescer = Coalescer::new(Offloads::all());
    measured(count, |_| {
        let mut batch = coalescer.batch(|joined| {
            black_box(joined.pieces());
        });
        for frame in black_box(&frames) {
            batch.push(frame, trust).expect("no partial checksum");
        }
    });
}

/// Addresses of the bridge's table, and of each leaf.
const MACS: u32 = 10_000;
const LEAF_MACS: u32 = 10;

/// Untagged, to and from MACs by number.
fn frame(to: u32, from: u32) -> [u8; 14] {
    let mut frame = [2, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 8, 0];
    frame[2..6].copy_from_slice(&to.to_be_bytes());
    frame[8..12].copy_from_slice(&from.to_be_bytes());
    frame
}

fn bridge() -> Bridge<u32> {
    let bridge = Bridge::new(Config::default().max_macs_per_leaf(0));
    for mac in 0..MACS {
        let _ = bridge.from_leaf(mac / LEAF_MACS, &frame(u32::MAX, mac), NOW);
    }
    let _ = bridge.from_root(&frame(0, u32::MAX), NOW);
    bridge
}

/// One after the other in an order that no cache likes.
fn scattered(n: usize) -> u32 {
    (n as u32).wrapping_mul(7_919) % MACS
}

fn look_up(count: usize) {
    let bridge = bridge();
    measured(count, |n| {
        let frame = frame(scattered(n), u32::MAX);
        let _ = black_box(bridge.from_root(black_box(&frame), NOW));
    });
}

fn refresh(count: usize) {
    let bridge = bridge();
    let later = NOW + Duration::from_millis(1);
    measured(count, |n| {
        let mac = scattered(n);
        let frame = frame(u32::MAX, mac);
        let _ = black_box(bridge.from_leaf(mac / LEAF_MACS, black_box(&frame), later));
    });
}

fn learn(count: usize) {
    let bridge = bridge();
    measured(count, |n| {
        let frame = frame(u32::MAX, MACS + n as u32);
        let _ = black_box(bridge.from_leaf(1, black_box(&frame), NOW));
    });
}
