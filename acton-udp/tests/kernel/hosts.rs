//! Hosts joined by veth, sockets on them, and what arrives there.

use std::net::SocketAddr;
use std::time::Duration;

use acton_netns::{Namespace, Veth, veth};
use acton_udp::{Destination, RecvBatch, SendBatch, SendBuffer, SendCounts, Source, UdpSocket};
use testbed::sh;

/// A generous time for what must come.
pub(crate) const SOON: Option<Duration> = Some(Duration::from_secs(10));
/// Time enough to see what must not come.
pub(crate) const MOMENT: Option<Duration> = Some(Duration::from_millis(30));

/// Local addresses of a socket and of its peer on loopback: IPv4, IPv6, and IPv4 from an IPv6
/// socket.
pub(crate) const LOOPBACK: [[&str; 2]; 3] =
    [["127.0.0.1:0", "127.0.0.1:0"], ["[::1]:0", "[::1]:0"], ["[::]:0", "127.0.0.1:0"]];

/// Local addresses of a socket on the left host and of its peer on the right, likewise.
pub(crate) const LINK: [[&str; 2]; 3] =
    [["10.0.0.1:0", "10.0.0.2:0"], ["[fd00::1]:0", "[fd00::2]:0"], ["[::]:0", "10.0.0.2:0"]];

/// Two hosts on one link of 1,500 bytes: `left` (10.0.0.1, fd00::1) by its device `l`, `right`
/// (10.0.0.2, fd00::2) by `r`.
pub(crate) struct Hosts {
    pub(crate) left: Namespace,
    pub(crate) right: Namespace,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        let (left, right) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        veth(&left, "l", &right, "r", &Veth::new()).unwrap();
        for (host, device, number) in [(&left, "l", 1), (&right, "r", 2)] {
            host.add_address(device, [10, 0, 0, number].into(), 24).unwrap();
            host.add_address(device, [0xfd00, 0, 0, 0, 0, 0, 0, number.into()].into(), 64).unwrap();
        }
        let hosts = Self { left, right };
        // The link takes frames and loses them until the kernel has given it its queues.
        let (from, at) = (bind(&hosts.left, LINK[0][0]), bind(&hosts.right, LINK[0][1]));
        let to = from.destination(at.local_addr().unwrap(), None);
        let carries = (0..500).any(|_| {
            let _ = from.send(&to, b"?");
            at.wait_readable(Some(Duration::from_millis(20))).unwrap()
        });
        assert!(carries, "the link carries datagrams");
        hosts
    }

    /// A socket on the left, one on the right, and the way from the first to the second.
    pub(crate) fn pair(&self, [left, right]: [&str; 2]) -> (UdpSocket, UdpSocket, Destination) {
        joined(bind(&self.left, left), bind(&self.right, right))
    }
}

/// A socket on a host.
pub(crate) fn bind(host: &Namespace, local: &str) -> UdpSocket {
    host.run(|| here(local))
}

/// A socket in the namespace of this test.
pub(crate) fn here(local: &str) -> UdpSocket {
    UdpSocket::bind(local.parse().unwrap()).unwrap()
}

/// Two sockets in the namespace of this test, and the way from the first to the second.
pub(crate) fn pair([one, other]: [&str; 2]) -> (UdpSocket, UdpSocket, Destination) {
    joined(here(one), here(other))
}

pub(crate) fn joined(from: UdpSocket, at: UdpSocket) -> (UdpSocket, UdpSocket, Destination) {
    let to = from.destination(at.local_addr().unwrap(), None);
    (from, at, to)
}

/// Runs a shell command on a host.
pub(crate) fn on(host: &Namespace, command: &str) {
    host.run(|| sh(command));
}

/// Sends the batch that `fill` makes.
pub(crate) fn send<'a>(from: &UdpSocket, fill: impl FnOnce(&mut SendBatch<'a, '_>)) -> SendCounts {
    let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
    let mut batch = buffer.begin(from, &mut counts);
    fill(&mut batch);
    batch.finish();
    counts
}

/// A message that arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) from: SocketAddr,
    pub(crate) to: Option<Source>,
    pub(crate) ecn: u8,
    pub(crate) datagrams: Vec<Vec<u8>>,
}

/// The messages that arrive until `datagrams` datagrams are there; no more may come.
#[track_caller]
pub(crate) fn receive(at: &UdpSocket, datagrams: usize) -> Vec<Message> {
    let (mut batch, mut messages, mut count) = (RecvBatch::new(), Vec::new(), 0);
    while count < datagrams {
        assert!(at.wait_readable(SOON).unwrap(), "{count} of {datagrams} datagrams came");
        let taken = batch.receive(at).unwrap();
        assert_eq!(batch.messages().count(), taken);
        for message in batch.messages() {
            let (from, to, ecn, bytes) = (message.from, message.to, message.ecn, message.bytes());
            let datagrams: Vec<_> = message.datagrams().map(|datagram| datagram.to_vec()).collect();
            assert_eq!(datagrams.iter().map(Vec::len).sum::<usize>(), bytes);
            count += datagrams.len();
            messages.push(Message { from, to, ecn, datagrams });
        }
    }
    assert_eq!(count, datagrams);
    assert!(!at.wait_readable(Some(Duration::ZERO)).unwrap(), "more came than was sent");
    messages
}

/// The datagrams of [`receive`].
#[track_caller]
pub(crate) fn receive_datagrams(at: &UdpSocket, datagrams: usize) -> Vec<Vec<u8>> {
    receive(at, datagrams).into_iter().flat_map(|message| message.datagrams).collect()
}

/// Bytes of which no two neighbouring datagrams are alike.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}
