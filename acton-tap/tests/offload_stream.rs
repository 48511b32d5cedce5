//! Kernels that talk through `acton_tap::offload`: everything is cut up and joined on its way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use acton_tap::offload::{Coalescer, Fill, Segments, Trust};
use acton_tap::{Offloads, Queue, Stop, Tap, VnetHeader};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use testbed::sh;
use util::PATIENCE;

mod util;

const LARGEST: usize = VnetHeader::LEN + 14 + 65_535;
const BYTES: usize = 8 << 20;

/// What went through one direction.
#[derive(Debug, Default)]
struct Traffic {
    /// Frames that super-frames were cut into, and frames that were joined to one.
    cut: usize,
    joined: usize,
}

fn tap(address: &str, prefix: u8) -> Tap {
    sh("echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad");
    let builder = Tap::builder().name("t0").vnet_header(true).offloads(Offloads::all());
    let tap = builder.nonblocking(true).build().unwrap();
    tap.interface().up().unwrap();
    tap.interface().add_address(address.parse().unwrap(), prefix).unwrap();
    util::eventually("the address to be of use", || !sh("ip address show").contains("tentative"));
    tap
}

/// Takes what waits in `from`, cuts it up, joins it again and writes it to `to`, until stopped.
fn relay(from: &Queue, to: &Queue, stop: &Stop, fill: Fill) -> Traffic {
    let trust = if fill == Fill::Full { Trust::Verify } else { Trust::Partial };
    let mut coalescer = Coalescer::new(Offloads::all());
    let mut traffic = Traffic::default();
    let mut buffer = vec![0; LARGEST];
    let mut cut = vec![0; 1 << 20];
    while let Some(length) = from.recv_or_stopped(&mut buffer, stop).unwrap() {
        let mut next = Some(length);
        let (mut rest, mut frames) = (&mut cut[..], Vec::new());
        while let Some(length) = next {
            let (header, frame) = buffer[..length].split_first_chunk().unwrap();
            let header = VnetHeader::decode(header).unwrap();
            let mut segments = Segments::new(&header, frame, 1514, fill).unwrap();
            if segments.len() > 1 {
                traffic.cut += segments.len();
            }
            while let Some(length) = segments.copy_next(rest) {
                let (frame, after) = rest.split_at_mut(length);
                frames.push(&*frame);
                rest = after;
            }
            assert!(segments.is_empty());
            let room = rest.len() > 2 * LARGEST;
            next = room.then(|| from.recv(&mut buffer)).and_then(|read| match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                other => Some(other.unwrap()),
            });
        }
        let mut batch = coalescer.batch(|super_frame| {
            if super_frame.frames() > 1 {
                traffic.joined += super_frame.frames();
            }
            to.send_vectored(super_frame.pieces()).unwrap();
        });
        for frame in frames {
            // Frames that never had a checksum to be filled in, as of ICMP, have none to trust.
            batch.push(frame, trust).or_else(|_| batch.push(frame, Trust::Verify)).unwrap();
        }
    }
    traffic
}

/// Runs `server` in a namespace that the TAP of this one reaches, and `client` here. Both must find
/// that no checksum was wrong.
fn joined_by_relays<T: Send + 'static>(
    v6: bool,
    fill: Fill,
    server: impl FnOnce(IpAddr, Sender<()>) -> T + Send + 'static,
    client: impl FnOnce(IpAddr, Receiver<()>),
) -> (T, Traffic) {
    let (near, far, prefix) =
        if v6 { ("fd00::1", "fd00::2", 64) } else { ("192.0.2.1", "192.0.2.2", 24) };
    let near = tap(near, prefix);
    let address: IpAddr = far.parse().unwrap();
    let (taps, tap_of_server) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let server = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        taps.send(tap(far, prefix)).unwrap();
        let result = server(address, ready);
        (result, wrong_checksums())
    });
    let far = tap_of_server.recv_timeout(PATIENCE).unwrap();
    let (near, far) = (&near.queues()[0], &far.queues()[0]);
    let stop = Stop::new().unwrap();
    let (result, traffic) = thread::scope(|scope| {
        let there = scope.spawn(|| relay(near, far, &stop, fill));
        scope.spawn(|| relay(far, near, &stop, fill));
        let _stops_also_after_a_panic = StopOnDrop(&stop);
        client(address, is_ready);
        let (result, wrong) = server.join().unwrap();
        assert_eq!((wrong, wrong_checksums()), (0, 0));
        stop.stop();
        (result, there.join().unwrap())
    });
    assert!(traffic.cut > 1000 && traffic.joined > traffic.cut / 2, "{traffic:?}");
    (result, traffic)
}

struct StopOnDrop<'a>(&'a Stop);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What the kernel counted in this namespace.
fn wrong_checksums() -> u64 {
    let count = sh("nstat -asz | awk '/InCsumErrors/ { sum += $2; seen++ } \
                    END { if (seen < 4) exit 1; print sum }'");
    count.trim().parse().unwrap()
}

fn sent() -> Vec<u8> {
    (0..BYTES as u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Both ways at once.
fn tcp(v6: bool, fill: Fill) {
    let exchange = |stream: TcpStream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                (&stream).write_all(&sent()).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            (&stream).read_to_end(&mut received).unwrap();
            assert!(received == sent(), "{} bytes came of {BYTES}, or others", received.len());
        });
    };
    joined_by_relays(
        v6,
        fill,
        move |address, ready| {
            let listener = TcpListener::bind((address, 7)).unwrap();
            ready.send(()).unwrap();
            exchange(listener.accept().unwrap().0);
        },
        |address, ready| {
            ready.recv_timeout(PATIENCE).unwrap();
            exchange(TcpStream::connect((address, 7)).unwrap());
        },
    );
}

/// Batches of datagrams, each sent with one system call and acknowledged.
fn udp(v6: bool, fill: Fill) {
    const SIZE: usize = 1000;
    const BATCH: usize = 40;
    const BATCHES: usize = 200;
    joined_by_relays(
        v6,
        fill,
        |address, ready| {
            let socket = UdpSocket::bind((address, 7)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            ready.send(()).unwrap();
            let mut buffer = [0; 2 * SIZE];
            for expected in sent().chunks(SIZE).take(BATCH * BATCHES).enumerate() {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                assert!(buffer[..length] == *expected.1, "datagram {}", expected.0);
                if expected.0 % BATCH == BATCH - 1 {
                    socket.send_to(b"next", from).unwrap();
                }
            }
        },
        |address, ready| {
            ready.recv_timeout(PATIENCE).unwrap();
            let any: SocketAddr = if v6 { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap();
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect((address, 7)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            setsockopt(&socket, sockopt::UdpGsoSegment, &(SIZE as i32)).unwrap();
            for batch in sent().chunks(SIZE * BATCH).take(BATCHES) {
                assert_eq!(socket.send(batch).unwrap(), batch.len());
                socket.recv(&mut [0; 4]).unwrap();
            }
        },
    );
}

fn tcp_over_ipv4_with_full_checksums() {
    tcp(false, Fill::Full);
}

fn tcp_over_ipv6_with_full_checksums() {
    tcp(true, Fill::Full);
}

fn tcp_over_ipv4_with_partial_checksums() {
    tcp(false, Fill::Partial);
}

fn tcp_over_ipv6_with_partial_checksums() {
    tcp(true, Fill::Partial);
}

fn udp_over_ipv4_with_full_checksums() {
    udp(false, Fill::Full);
}

fn udp_over_ipv6_with_partial_checksums() {
    udp(true, Fill::Partial);
}

testbed::main! {
    tcp_over_ipv4_with_full_checksums: ["nstat"],
    tcp_over_ipv6_with_full_checksums: ["nstat"],
    tcp_over_ipv4_with_partial_checksums: ["nstat"],
    tcp_over_ipv6_with_partial_checksums: ["nstat"],
    udp_over_ipv4_with_full_checksums: ["nstat"],
    udp_over_ipv6_with_partial_checksums: ["nstat"],
}
