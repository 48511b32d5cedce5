//! What several kernel tests need.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use acton_tap::{Interface, Queue, Tap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Guards against a hang; nothing waits as long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An EtherType for experiments (IEEE 802), which no kernel sends of itself.
pub(crate) const EXPERIMENT: u16 = 0x88b5;

/// Keeps the kernel from sending frames of its own on interfaces made from here on.
pub(crate) fn hush() {
    testbed::sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
}

/// Polls `condition` until it holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Drops a TAP that is not persistent and waits until it is gone: a child process that another
/// test is just starting has a copy of each descriptor until its exec.
#[track_caller]
pub(crate) fn close(tap: Tap) {
    let name = tap.name().to_owned();
    drop(tap);
    eventually("the TAP to go", || Interface::open(&name).is_err());
}

/// Whether the queue is readable within `timeout`.
pub(crate) fn readable(queue: &Queue, timeout: Duration) -> bool {
    let mut fds = [PollFd::new(queue.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::try_from(timeout).unwrap()).unwrap() > 0
}

/// The next frame of `ethertype`.
#[track_caller]
pub(crate) fn next_frame(queue: &Queue, ethertype: u16) -> Vec<u8> {
    let start = Instant::now();
    let mut buffer = [0; 1 << 16];
    while readable(queue, PATIENCE.saturating_sub(start.elapsed())) {
        let length = queue.recv(&mut buffer).unwrap();
        if buffer[12..14] == ethertype.to_be_bytes() {
            return buffer[..length].to_vec();
        }
    }
    panic!("no frame of {ethertype:#06x} within {PATIENCE:?}");
}

/// A broadcast frame of `length` bytes, counting up.
pub(crate) fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5];
    frame.extend((14..length).map(|byte| byte as u8));
    frame
}

/// Two TAPs that are ports of one bridge: what one sends, the other receives.
pub(crate) fn bridged_pair() -> (Tap, Tap) {
    hush();
    // A bridge that snoops sends IGMP reports of its own.
    testbed::sh("ip link add br0 type bridge mcast_snooping 0; ip link set br0 up");
    let port = |name: &str| {
        let tap = Tap::builder().name(name).build().unwrap();
        tap.interface().join_bridge("br0").unwrap();
        tap.interface().up().unwrap();
        tap
    };
    (port("left"), port("right"))
}
