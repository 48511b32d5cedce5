//! A quiet link, `a` to `b`, and frames to send over it.

use std::thread;
use std::time::{Duration, Instant};

use acton_raw::{FrameMeta, RawSocket, Wake};
use testbed::sh;

/// MAC address of `a`.
pub(crate) const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// MAC address of `b`.
pub(crate) const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

/// A generous time for what must come.
pub(crate) const SOON: Option<Duration> = Some(Duration::from_secs(10));
/// Time enough to see what must not come.
pub(crate) const MOMENT: Option<Duration> = Some(Duration::from_millis(30));

/// Makes the pair `a` and `b`, up, without IPv6 and so without traffic of their own.
pub(crate) fn link() {
    sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    pair(["a", "02:00:00:00:00:0a"], ["b", "02:00:00:00:00:0b"]);
}

/// Makes a veth pair, each end given as name and MAC address.
pub(crate) fn pair(one: [&str; 2], other: [&str; 2]) {
    let ([one, mac], [other, other_mac]) = (one, other);
    sh(&format!(
        "ip link add name {one} address {mac} type veth \
                     peer name {other} address {other_mac}"
    ));
    for end in [one, other] {
        sh(&format!("ip link set dev {end} up"));
    }
    settle([one, other]);
}

/// Waits for the kernel to give both ends of a link that is up their queues; until then it takes
/// frames and loses them.
pub(crate) fn settle(ends: [&str; 2]) {
    for end in ends {
        let ready = || sh(&format!("ip link show dev {end}")).contains("noqueue state UP");
        wait_until("the link has its queue", ready);
    }
}

/// Fails if `condition` does not become true.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A non-blocking socket without options.
pub(crate) fn open(interface: &str) -> RawSocket {
    RawSocket::builder(interface).nonblocking(true).build().unwrap()
}

/// A frame from `a` to `to`, of `len` bytes, numbered.
pub(crate) fn frame(to: [u8; 6], number: u16, len: usize) -> Vec<u8> {
    let mut frame = [to, A].concat();
    frame.extend([0x88, 0xb5]);
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|at| at as u8));
    frame
}

/// The number of a frame made by [`frame`].
pub(crate) fn number(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[14], frame[15]])
}

/// The next frame that `socket` gets.
pub(crate) fn receive(socket: &RawSocket) -> (FrameMeta, Vec<u8>) {
    assert_eq!(socket.wait(None, SOON).unwrap(), Wake::Ready, "a frame must come");
    let mut buffer = vec![0; 65_536];
    let meta = socket.recv(&mut buffer).unwrap();
    buffer.truncate(meta.captured_len);
    (meta, buffer)
}

/// Fails if a frame comes.
#[track_caller]
pub(crate) fn assert_silent(socket: &RawSocket) {
    assert_eq!(socket.wait(None, MOMENT).unwrap(), Wake::TimedOut, "no frame may come");
}
