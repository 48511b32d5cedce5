use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use super::{HANG, wait_until};

/// Sends one ICMP echo request with `size` bytes of data and waits `timeout` for the reply.
pub(crate) fn ping(
    from: &Namespace,
    to: IpAddr,
    size: usize,
    timeout: Duration,
) -> io::Result<Duration> {
    from.run(|| {
        let (domain, protocol, request, reply) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129),
        };
        // The kernel gives echo sockets the identifier and the checksum (icmp(7)), to those whom
        // this allows.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        socket.set_read_timeout(Some(timeout))?;
        socket.connect(&SocketAddr::new(to, 0).into())?;
        let mut message = vec![request, 0, 0, 0, 0, 0, 0, 1];
        message.extend((0..size).map(|i| i as u8));
        let start = Instant::now();
        socket.send(&message)?;
        let mut answer = vec![0; message.len() + 1];
        let length = (&socket).read(&mut answer)?;
        let elapsed = start.elapsed();
        if answer[0] == reply && answer[8..length] == message[8..] {
            Ok(elapsed)
        } else {
            Err(io::Error::other(format!("not the reply: {:02x?}", &answer[..length])))
        }
    })
}

/// Whether one ping is answered within a second.
pub(crate) fn answers(from: &Namespace, to: IpAddr) -> bool {
    ping(from, to, 56, Duration::from_secs(1)).is_ok()
}

/// Pings until the first answer.
#[track_caller]
pub(crate) fn ping_until_answered(from: &Namespace, to: IpAddr) {
    wait_until(&format!("{to} answers a ping"), || {
        ping(from, to, 56, Duration::from_secs(1)).is_ok()
    });
}

/// Sends `length` bytes by TCP from one namespace to `address` in another, and checks that the
/// same bytes come out.
#[track_caller]
pub(crate) fn tcp_transfer(from: &Namespace, to: &Namespace, address: IpAddr, length: usize) {
    let listener = to.run(|| TcpListener::bind((address, 0))).unwrap();
    let address = listener.local_addr().unwrap();
    let sent = pattern(length);
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = from.run(|| TcpStream::connect_timeout(&address, HANG)).unwrap();
            stream.set_write_timeout(Some(HANG)).unwrap();
            stream.write_all(&sent).unwrap();
        });
        // Where nothing connects, that thread panics: its word is not to be waited for here.
        listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        wait_until("TCP connects", || {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        let (mut stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let mut received = Vec::with_capacity(length);
        stream.read_to_end(&mut received).unwrap();
        received
    });
    assert!(received == sent, "sent {length} bytes, received {} or others", received.len());
}

/// Bytes with no short period, so that a lost, repeated or swapped piece shows.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state >> 24).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
