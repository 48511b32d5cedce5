//! Opening: what must not come in, what is undone, what is refused.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use acton_raw::{Error, Fanout, FanoutMode, RawSocket};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, getsockopt, recv, socket, sockopt,
};
use testbed::sh;

use crate::veth::{assert_silent, frame, link, open, pair};

/// Other interfaces are flooded while sockets are opened. That the flood would be seen is shown
/// by a socket opened the naive way, with its protocol from the start.
pub(crate) fn foreign_frames_never_come() {
    link();
    pair(["c", "02:00:00:00:00:0c"], ["d", "02:00:00:00:00:0d"]);
    let flood = open("c");
    let stop = AtomicBool::new(false);
    let mut naive = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let frame = frame([0xff; 6], 0, 60);
            let frames = [frame.as_slice(); 64];
            while !stop.load(Ordering::Relaxed) {
                let _ = flood.send_batch(&frames);
            }
        });
        for round in 0..100 {
            let builder = RawSocket::builder("b").nonblocking(true);
            let builder = if round % 2 == 0 {
                builder
            } else {
                builder.fanout(Fanout::new(1, FanoutMode::RoundRobin))
            };
            let ours = builder.promiscuous(true).build().unwrap();
            let got = ours.recv(&mut [0; 64]);
            if got.is_ok() {
                stop.store(true, Ordering::Relaxed);
            }
            assert_eq!(got.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);

            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let protocol = SockProtocol::EthAll;
            let theirs = socket(AddressFamily::Packet, SockType::Raw, flags, protocol).unwrap();
            thread::yield_now();
            naive +=
                usize::from(recv(theirs.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(naive > 0, "the flood was seen by nobody, so this test shows nothing");
}

pub(crate) fn promiscuous_is_undone() {
    link();
    let promiscuity = || sh("ip -d link show b | grep -o 'promiscuity [0-9]*'");
    let plain = open("b");
    assert_eq!(promiscuity(), "promiscuity 0\n", "off by default");
    let first = RawSocket::builder("b").promiscuous(true).build().unwrap();
    let second = RawSocket::builder("b").promiscuous(true).build().unwrap();
    assert_eq!(promiscuity(), "promiscuity 2\n");
    drop(first);
    assert_eq!(promiscuity(), "promiscuity 1\n");
    drop(second);
    assert_eq!(promiscuity(), "promiscuity 0\n");
    drop(plain);
}

pub(crate) fn names_that_cannot_be() {
    for name in ["", "sixteen-byte-nam", "a/b", "a b", "a\0b", "a:b"] {
        let error = RawSocket::builder(name).build().unwrap_err();
        assert!(matches!(error, Error::InterfaceName { .. }), "{name:?}: {error}");
    }
    let error = RawSocket::builder("fifteen-byte-na").build().unwrap_err();
    assert!(matches!(error, Error::NoSuchInterface { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "fifteen-byte-na: no such interface in this network namespace; `ip link` lists them"
    );
    sh("ip link add fifteen-byte-na type veth peer name a");
    let socket = RawSocket::builder("fifteen-byte-na").build().unwrap();
    assert_eq!(socket.interface(), "fifteen-byte-na");
    assert!(socket.interface_index() > 1);
}

pub(crate) fn tun_is_not_ethernet() {
    sh("ip tuntap add mode tun name t0");
    let error = RawSocket::builder("t0").build().unwrap_err();
    assert!(matches!(error, Error::NotEthernet { hardware_type: 65534, .. }), "{error}");
    let loopback = RawSocket::builder("lo").nonblocking(true).build().unwrap();
    assert_silent(&loopback);
}

pub(crate) fn fanout_needs_one_mode() {
    link();
    let join = |mode| RawSocket::builder("b").fanout(Fanout::new(7, mode)).build();
    let member = join(FanoutMode::Hash).unwrap();
    let error = join(FanoutMode::Random).unwrap_err();
    let Error::Step { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.raw_os_error(), Some(libc::EINVAL));
    assert!(error.to_string().starts_with("b: cannot join the fanout group"), "{error}");
    drop(member);
    join(FanoutMode::Random).unwrap();
    let twice = Fanout::new(8, FanoutMode::Rollover).rollover(true);
    RawSocket::builder("b").fanout(twice).build().unwrap();
}

pub(crate) fn a_receive_buffer_may_be_any_size() {
    link();
    let size = |bytes| {
        let socket = RawSocket::builder("b").receive_buffer(bytes).build().unwrap();
        getsockopt(&socket, sockopt::RcvBuf).unwrap()
    };
    let megabyte = size(1 << 20);
    assert!(size(0) < megabyte);
    for more in [1 << 31, 3 << 30, 1 << 32] {
        assert!(size(more) > megabyte, "{more}");
    }
}
