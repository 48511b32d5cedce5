//! Frames through real TAPs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use acton_tap::{Interface, Queue, Stop, Tap};
use nix::errno::Errno;
use testbed::sh;
use util::{EXPERIMENT, PATIENCE, bridged_pair, eventually, frame, hush, next_frame, readable};

mod util;

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> Errno {
    Errno::from_raw(result.unwrap_err().raw_os_error().unwrap())
}

/// A TAP that is up, quiet, and whose reads fail rather than wait.
fn quiet_tap(queues: usize) -> Tap {
    hush();
    let tap = Tap::builder().name("t0").queues(queues).nonblocking(true).build().unwrap();
    tap.interface().up().unwrap();
    tap
}

fn frames_of_every_length() {
    let (left, right) = bridged_pair();
    let (left, right) = (&left.queues()[0], &right.queues()[0]);
    for length in 14..=1514 {
        let frame = frame(length);
        assert_eq!(left.send(&frame).unwrap(), length);
        assert_eq!(next_frame(right, EXPERIMENT), frame, "{length} bytes");
    }
    assert_eq!(errno(left.send(&frame(14)[..13])), Errno::EINVAL);
}

fn gather_and_scatter() {
    let (left, right) = bridged_pair();
    let (left, right) = (&left.queues()[0], &right.queues()[0]);
    let sent = frame(100);
    let pieces = [&sent[..6], &sent[6..14], &[], &sent[14..]].map(IoSlice::new);
    assert_eq!(left.send_vectored(&pieces).unwrap(), 100);
    assert!(readable(right, PATIENCE));
    let (mut header, mut payload) = ([0; 14], [0; 200]);
    let mut buffers = [IoSliceMut::new(&mut header), IoSliceMut::new(&mut payload)];
    assert_eq!(right.recv_vectored(&mut buffers).unwrap(), 100);
    assert_eq!([&header[..], &payload[..86]].concat(), sent);
}

fn as_many_pieces_as_a_call_takes() {
    let (left, right) = bridged_pair();
    let (left, right) = (&left.queues()[0], &right.queues()[0]);
    let sent = frame(1025);
    let pieces: Vec<_> = sent.chunks(1).map(IoSlice::new).collect();
    assert_eq!(errno(left.send_vectored(&pieces)), Errno::EINVAL);
    assert_eq!(left.send_vectored(&pieces[..1024]).unwrap(), 1024);
    assert_eq!(next_frame(right, EXPERIMENT), sent[..1024]);
}

fn a_short_buffer_cuts_the_frame() {
    let (left, right) = bridged_pair();
    left.queues()[0].send(&frame(100)).unwrap();
    left.queues()[0].send(&frame(60)).unwrap();
    assert!(readable(&right.queues()[0], PATIENCE));
    let mut buffer = [0; 20];
    assert_eq!(right.queues()[0].recv(&mut buffer).unwrap(), 20);
    assert_eq!(buffer, frame(100)[..20]);
    assert_eq!(next_frame(&right.queues()[0], EXPERIMENT), frame(60), "the rest is not a frame");
}

fn read_and_write() {
    let (left, right) = bridged_pair();
    let (_left_side, mut queues) = left.into_parts();
    let mut owned: Queue = queues.remove(0);
    let (left, mut right) = (&mut owned, &right.queues()[0]);
    let mut buffer = [0; 100];
    left.write_all(&frame(100)).unwrap();
    left.flush().unwrap();
    right.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer[..], frame(100));
    right.write_all(&frame(100)).unwrap();
    left.read_exact(&mut buffer).unwrap();
    assert_eq!(buffer[..], frame(100));
}

fn non_blocking() {
    let tap = quiet_tap(1);
    let queue = &tap.queues()[0];
    let mut buffer = [0; 2000];
    assert_eq!(queue.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(!readable(queue, Duration::ZERO));
    queue.set_nonblocking(false).unwrap();
    assert!(nonblocking_flag(queue).is_empty());
    queue.set_nonblocking(true).unwrap();
    assert_eq!(queue.recv(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
}

fn nonblocking_flag(queue: &Queue) -> nix::fcntl::OFlag {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    OFlag::from_bits_retain(fcntl(queue, FcntlArg::F_GETFL).unwrap()) & OFlag::O_NONBLOCK
}

fn the_descriptor_comes_and_goes() {
    let (left, right) = bridged_pair();
    let (_left_side, mut queues) = left.into_parts();
    let fd = OwnedFd::from(queues.remove(0));
    let queue = Queue::from(fd);
    assert_eq!(queue.name().unwrap(), "left");
    queue.send(&frame(60)).unwrap();
    assert_eq!(next_frame(&right.queues()[0], EXPERIMENT), frame(60));
    let other = Queue::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    assert!(other.name().is_err() && other.set_carrier(true).is_err());
}

/// Sends one datagram from each of `ports` out of the TAP to a neighbour that does not exist.
fn send_flows(ports: std::ops::Range<u16>) {
    for port in ports {
        let socket = UdpSocket::bind(("192.0.2.1", port)).unwrap();
        socket.send_to(&port.to_be_bytes(), "192.0.2.2:9").unwrap();
    }
}

/// Ports of the datagrams that wait in a queue.
fn drain(queue: &Queue) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut frame = [0; 2000];
    while let Ok(length) = queue.recv(&mut frame) {
        assert_eq!((length, &frame[12..14]), (14 + 20 + 8 + 2, &[8, 0][..]));
        ports.push(u16::from_be_bytes([frame[42], frame[43]]));
    }
    ports
}

fn every_queue_gets_frames() {
    let tap = quiet_tap(2);
    tap.interface().add_address("192.0.2.1".parse().unwrap(), 24).unwrap();
    sh("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev t0");
    let [first, second] = tap.queues() else { panic!("two were asked for") };

    send_flows(2000..2064);
    let (mut got, also) = (drain(first), drain(second));
    // 64 flows fall on one side with probability 2^-63.
    assert!(!got.is_empty() && !also.is_empty(), "{got:?} {also:?}");
    got.extend(also);
    got.sort_unstable();
    assert_eq!(got, (2000..2064).collect::<Vec<_>>());

    // Both send, too: the kernel answers for its own address.
    for queue in tap.queues() {
        queue.send(&arp_request()).unwrap();
        let replied = || tap.queues().iter().any(|queue| queue.recv(&mut [0; 100]).is_ok());
        eventually("an ARP reply", replied);
    }

    second.detach().unwrap();
    send_flows(3000..3064);
    assert_eq!(drain(first).len(), 64, "a detached queue gets nothing");
    assert_eq!(errno(second.recv(&mut [0; 100])), Errno::EAGAIN);
    assert_eq!(second.send(&arp_request()).unwrap(), 42, "it still sends");
    eventually("an ARP reply", || first.recv(&mut [0; 100]).is_ok());
    let status = tap.interface().tap_status().unwrap().unwrap();
    assert_eq!((status.queues, status.detached_queues), (1, 1));
    assert!(second.detach().unwrap_err().to_string().contains("a queue that is attached"));
    second.attach().unwrap();
    send_flows(4000..4064);
    assert!(!drain(second).is_empty());
    assert!(second.attach().unwrap_err().to_string().contains("attached already"));
}

/// Who has 192.0.2.1? Tell 192.0.2.2.
fn arp_request() -> Vec<u8> {
    let mut request = frame(14);
    request[12..14].copy_from_slice(&[8, 6]);
    request.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2]);
    request.extend([0, 0, 0, 0, 0, 0, 192, 0, 2, 1]);
    request
}

fn one_queue_does_not_detach() {
    let tap = quiet_tap(1);
    let error = tap.queues()[0].detach().unwrap_err().to_string();
    assert!(error.contains("t0: cannot detach a queue: only a TAP built with several"), "{error}");
}

fn a_deleted_tap_has_no_queue_to_detach() {
    let tap = quiet_tap(2);
    tap.queues()[1].detach().unwrap();
    let error = tap.queues()[1].detach().unwrap_err().to_string();
    assert!(error.contains("a queue that is attached"), "{error}");
    sh("ip link del t0");
    for error in [tap.queues()[0].detach().unwrap_err(), tap.queues()[1].attach().unwrap_err()] {
        assert_eq!(error.raw_os_error(), Some(Errno::EBADFD as i32), "{error}");
    }
}

/// Runs `read` on a thread, lets it block, then calls `after`, and gives what `read` returned.
fn blocked<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
    after: impl FnOnce(),
) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(read()));
    let early = receiver.recv_timeout(Duration::from_millis(100)).is_ok();
    assert!(!early, "nothing was there to read");
    after();
    receiver.recv_timeout(PATIENCE).expect("the reader came back")
}

fn a_blocked_reader_is_stopped() {
    for nonblocking in [false, true] {
        let tap = quiet_tap(1);
        tap.queues()[0].set_nonblocking(nonblocking).unwrap();
        let (_interface, mut queues) = tap.into_parts();
        let queue = queues.remove(0);
        let stop = Stop::new().unwrap();
        let readers = stop.clone();
        let (queue, result) = blocked(
            move || {
                let result = queue.recv_or_stopped(&mut [0; 100], &readers);
                (queue, result)
            },
            || stop.stop(),
        );
        assert_eq!(result.unwrap(), None);
        assert!(stop.is_stopped());
        assert_eq!(queue.recv_or_stopped(&mut [0; 100], &stop).unwrap(), None, "it stays so");
        drop(queue);
        eventually("the TAP to go", || Interface::open("t0").is_err());
    }
}

fn a_stop_ends_several_readers() {
    let tap = quiet_tap(4);
    let stop = Stop::new().unwrap();
    assert!(!stop.is_stopped());
    thread::scope(|scope| {
        let stop = &stop;
        let mut readers = Vec::new();
        for queue in tap.queues() {
            readers.push(scope.spawn(move || queue.recv_or_stopped(&mut [0; 100], stop)));
        }
        thread::sleep(Duration::from_millis(50));
        stop.stop();
        stop.stop();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap(), None);
        }
    });
}

fn recv_or_stopped_receives() {
    let (left, right) = bridged_pair();
    let (_side, mut queues) = right.into_parts();
    let queue = queues.remove(0);
    let stop = Stop::new().unwrap();
    let received = blocked(
        move || {
            let mut buffer = [0; 2000];
            let length = queue.recv_or_stopped(&mut buffer, &stop).unwrap().unwrap();
            buffer[..length].to_vec()
        },
        || drop(left.queues()[0].send(&frame(80))),
    );
    assert_eq!(received, frame(80));
}

fn deleted_underneath_a_reader() {
    let tap = quiet_tap(1);
    let queue = &tap.queues()[0];
    queue.set_nonblocking(false).unwrap();
    let reader = Queue::from(queue.as_fd().try_clone_to_owned().unwrap());
    let result = blocked(move || reader.recv(&mut [0; 100]), || drop(sh("ip link del t0")));
    assert_eq!(errno(result), Errno::EFAULT);
    assert_eq!(errno(queue.recv(&mut [0; 100])), Errno::EBADFD);
    assert_eq!(errno(queue.send(&frame(60))), Errno::EBADFD);
    assert!(queue.name().unwrap_err().to_string().contains("the interface is gone"));

    let tap = quiet_tap(1);
    let reader = Queue::from(tap.queues()[0].as_fd().try_clone_to_owned().unwrap());
    let stop = Stop::new().unwrap();
    let result = blocked(
        move || reader.recv_or_stopped(&mut [0; 100], &stop),
        || drop(sh("ip link del t0")),
    );
    assert_eq!(errno(result), Errno::EBADFD);
}

fn down_means_no_frames() {
    let tap = quiet_tap(1);
    let queue = &tap.queues()[0];
    queue.send(&frame(60)).unwrap();
    tap.interface().down().unwrap();
    assert_eq!(errno(queue.send(&frame(60))), Errno::EIO);
    assert_eq!(queue.recv(&mut [0; 100]).unwrap_err().kind(), ErrorKind::WouldBlock);
    tap.interface().up().unwrap();
    queue.send(&frame(60)).unwrap();
}

testbed::main! {
    frames_of_every_length,
    gather_and_scatter,
    as_many_pieces_as_a_call_takes,
    a_short_buffer_cuts_the_frame,
    read_and_write,
    non_blocking,
    the_descriptor_comes_and_goes,
    every_queue_gets_frames,
    one_queue_does_not_detach,
    a_deleted_tap_has_no_queue_to_detach,
    a_blocked_reader_is_stopped,
    a_stop_ends_several_readers,
    recv_or_stopped_receives,
    deleted_underneath_a_reader,
    down_means_no_frames,
}
