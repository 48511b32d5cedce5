//! The vnet header on real TAPs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;

use acton_tap::{Checksum, GsoKind, Offloads, Stop, Tap, VnetHeader};
use nix::sched::{CloneFlags, unshare};
use testbed::sh;
use util::{PATIENCE, hush, readable};

mod util;

/// Bytes of the largest header and frame that a TAP gives.
const LARGEST: usize = VnetHeader::LEN + 14 + 65_535;

fn tap(address: &str) -> Tap {
    hush();
    let builder = Tap::builder().name("t0").vnet_header(true).offloads(Offloads::all());
    let tap = builder.build().unwrap();
    tap.interface().add_address(address.parse().unwrap(), 24).unwrap();
    tap.interface().up().unwrap();
    tap
}

fn header(bytes: &[u8]) -> VnetHeader {
    VnetHeader::decode(bytes.first_chunk().expect("a header precedes each frame")).unwrap()
}

fn a_datagram_has_a_partial_checksum() {
    let tap = tap("192.0.2.1");
    sh("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev t0");
    let socket = UdpSocket::bind("192.0.2.1:0").unwrap();
    socket.send_to(b"hello", "192.0.2.2:9").unwrap();
    assert!(readable(&tap.queues()[0], PATIENCE));
    let mut buffer = [0; LARGEST];
    let length = tap.queues()[0].recv(&mut buffer).unwrap();
    assert_eq!(length, VnetHeader::LEN + 14 + 20 + 8 + 5);
    assert_eq!(header(&buffer).checksum, Checksum::Partial { start: 34, offset: 6 });
    assert_eq!(header(&buffer).gso, None);

    // Without offloads the kernel finishes the checksum.
    tap.queues()[0].set_offloads(Offloads::none()).unwrap();
    socket.send_to(b"hello", "192.0.2.2:9").unwrap();
    assert!(readable(&tap.queues()[0], PATIENCE));
    tap.queues()[0].recv(&mut buffer).unwrap();
    assert_eq!(header(&buffer).checksum, Checksum::Unverified);
}

/// TCP between two namespaces whose TAPs are joined by two threads that copy super-frames whole.
fn super_frames_carry_tcp() {
    const BYTES: usize = 8 << 20;
    let near = tap("192.0.2.1");
    let (sender, receiver) = mpsc::channel();
    let server = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        sender.send(tap("192.0.2.2")).unwrap();
        let listener = TcpListener::bind("192.0.2.2:7").unwrap();
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        received
    });
    let far = receiver.recv_timeout(PATIENCE).unwrap();
    let stop = Stop::new().unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|byte| (byte / 7) as u8).collect();
    // Copies until stopped; returns the length and segmentation of the largest frame.
    let copy = |from: &Tap, to: &Tap| {
        let mut buffer = vec![0; LARGEST];
        let mut largest = (0, None);
        while let Some(length) = from.queues()[0].recv_or_stopped(&mut buffer, &stop).unwrap() {
            if length > largest.0 {
                largest = (length, header(&buffer).gso);
            }
            assert_eq!(to.queues()[0].send(&buffer[..length]).unwrap(), length);
        }
        largest
    };
    let largest = thread::scope(|scope| {
        let there = scope.spawn(|| copy(&near, &far));
        scope.spawn(|| copy(&far, &near));
        let _stops_also_after_a_panic = StopOnDrop(&stop);
        let mut client = connect();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&sent).unwrap();
        drop(client);
        let received = server.join().unwrap();
        assert!(received == sent, "{} bytes came of {BYTES}, or others", received.len());
        stop.stop();
        there.join().unwrap()
    });
    let (length, gso) = largest;
    assert!(length > 10_000, "the largest frame had {length} bytes");
    let gso = gso.expect("so large a frame says how to cut it");
    assert_eq!(gso.kind, GsoKind::Tcp4);
    assert!((500..=1460).contains(&gso.size.get()), "{gso:?}");
}

struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The server listens soon after its TAP is there.
fn connect() -> TcpStream {
    let mut stream = None;
    util::eventually("the server listens", || {
        stream = TcpStream::connect("192.0.2.2:7").ok();
        stream.is_some()
    });
    stream.expect("eventually() saw it")
}

fn a_super_frame_to_the_kernel_needs_a_good_header() {
    let tap = tap("192.0.2.1");
    let queue = &tap.queues()[0];
    let plain = VnetHeader::default().encode();
    let send = |header: &[u8], length| queue.send(&[header, &util::frame(length)[..]].concat());
    assert_eq!(send(&plain, 60).unwrap(), 70);
    let beyond = VnetHeader {
        checksum: Checksum::Partial { start: 60, offset: 16 },
        ..VnetHeader::default()
    };
    assert!(send(&beyond.encode(), 60).is_err(), "a checksum outside the frame");
    assert!(send(&[0, 0x77, 0, 0, 1, 0, 0, 0, 0, 0], 60).is_err(), "an unknown kind");
    assert!(queue.send(&plain[..9]).is_err(), "less than a header");
}

testbed::main! {
    a_datagram_has_a_partial_checksum,
    super_frames_carry_tcp,
    a_super_frame_to_the_kernel_needs_a_good_header,
}
