//! Descriptors that another process opened and passed over a Unix socket: python3, which can make them
//! in every way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use acton_tap::{Builder, Error, FdProblem, Interface, Offloads, Queue, Tap, VnetHeader};
use nix::sched::{CloneFlags, unshare};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use testbed::sh;
use util::{EXPERIMENT, eventually, frame, hush, next_frame};

mod util;

/// Passes descriptors that are attached (TUNSETIFF) as its arguments say: NAME, the flags of
/// linux/if_tun.h, the vnet header's size or 0, and r, w or rw. Then it ends with standard input, so
/// that it holds the TAP no longer than its parent lives.
const HELPER: &str = r#"
import array, fcntl, os, socket, struct, sys
TUNSETIFF, TUNSETVNETHDRSZ = 0x400454ca, 0x400454d8
mode = {"r": os.O_RDONLY, "w": os.O_WRONLY, "rw": os.O_RDWR}
fds = []
for argument in sys.argv[1:]:
    name, flags, size, access = argument.split(",")
    fd = os.open("/dev/net/tun", mode[access])
    if name:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), int(flags, 0)))
    if int(size):
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", int(size)))
    fds.append(fd)
parent = socket.socket(fileno=0)
parent.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
for fd in fds:
    os.close(fd)
parent.recv(1)
"#;

/// linux/if_tun.h.
const TUN: u16 = 0x1001;
const TAP: u16 = 0x1002;
const WITH_INFORMATION: u16 = 0x0002;
const MULTI_QUEUE: u16 = 0x0100;
const VNET: u16 = 0x4000;

/// The process that passed descriptors, killed when the test ends.
struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a helper passes that was told to attach so.
fn passed(descriptors: &[(&str, u16, usize, &str)]) -> (Vec<OwnedFd>, Helper) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let arguments = descriptors
        .iter()
        .map(|(name, flags, size, access)| format!("{name},{flags},{size},{access}"));
    let child = Command::new("python3")
        .args(["-c", HELPER])
        .args(arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let helper = Helper(child);
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let mut bytes = [IoSliceMut::new(&mut byte)];
    recvmsg(&ours, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    assert_eq!(fds.len(), descriptors.len(), "the helper passed what it was told to");
    (fds, helper)
}

fn one(name: &str, flags: u16, size: usize, access: &str) -> (OwnedFd, Helper) {
    let (mut fds, helper) = passed(&[(name, flags, size, access)]);
    (fds.remove(0), helper)
}

fn with_header() -> Builder {
    Tap::builder().vnet_header(true)
}

/// What is wrong with a descriptor, and the message.
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (FdProblem, String) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    match error {
        Error::Descriptor { problem, .. } => (problem, message),
        other => panic!("{other}"),
    }
}

fn frames_pass_both_ways() {
    let (left, right) = util::bridged_pair();
    drop(right);
    eventually("its queue to be free", || Interface::open("right").is_err());
    let (fd, _helper) = one("right", TAP, 0, "rw");
    let right = Tap::builder().nonblocking(true).adopt([fd]).unwrap();
    right.interface().join_bridge("br0").unwrap();
    right.interface().up().unwrap();
    assert_eq!((right.name(), right.has_vnet_header()), ("right", false));
    let idle = right.queues()[0].recv(&mut [0; 100]).unwrap_err();
    assert_eq!(idle.kind(), ErrorKind::WouldBlock);

    left.queues()[0].send(&frame(60)).unwrap();
    assert_eq!(next_frame(&right.queues()[0], EXPERIMENT), frame(60));
    right.queues()[0].send(&frame(99)).unwrap();
    assert_eq!(next_frame(&left.queues()[0], EXPERIMENT), frame(99));
}

fn super_frames_and_several_queues() {
    hush();
    let flags = TAP | VNET | MULTI_QUEUE;
    let (fds, helper) = passed(&[("t0", flags, 10, "rw"), ("t0", flags, 10, "rw")]);
    let tap = with_header().offloads(Offloads::all()).adopt(fds).unwrap();
    assert!(tap.offloads().contains(Offloads::CSUM | Offloads::TSO4), "{}", tap.offloads());
    let status = tap.interface().tap_status().unwrap().unwrap();
    assert_eq!((status.queues, tap.queues().len()), (2, 2));
    drop(helper);
    tap.interface().up().unwrap();
    let framed = [&VnetHeader::default().encode()[..], &frame(60)].concat();
    assert_eq!(tap.queues()[1].send(&framed).unwrap(), framed.len(), "the helper is not needed");
}

fn each_fault_has_its_words() {
    let (fd, _helper) = one("", 0, 0, "rw");
    let (problem, message) = refusal(Tap::builder().adopt([fd]));
    assert_eq!(problem, FdProblem::NotAttached);
    assert!(message.starts_with("descriptor "), "{message}");

    for file in [File::open("/dev/null").unwrap().into(), UnixStream::pair().unwrap().0.into()] {
        let (problem, message) = refusal(Tap::builder().adopt([file]));
        assert_eq!(problem, FdProblem::NotTun);
        assert!(message.contains(": not a TAP's: it is another kind of file"), "{message}");
    }

    let faults: [(u16, usize, &str, Builder, FdProblem); 7] = [
        (TUN, 0, "rw", Tap::builder(), FdProblem::Tun),
        (TUN | VNET, 10, "rw", with_header(), FdProblem::Tun),
        (WITH_INFORMATION, 0, "rw", Tap::builder(), FdProblem::PacketInformation),
        (TAP, 0, "r", Tap::builder(), FdProblem::OneWay),
        (TAP, 0, "rw", with_header(), FdProblem::NoVnetHeader),
        (TAP | VNET, 10, "rw", Tap::builder(), FdProblem::UnexpectedVnetHeader),
        (TAP | VNET, 12, "rw", with_header(), FdProblem::VnetHeaderSize(12)),
    ];
    for (number, (flags, size, access, builder, expected)) in faults.into_iter().enumerate() {
        let name = format!("t{number}");
        let (fd, _helper) = one(&name, flags, size, access);
        let (problem, message) = refusal(builder.adopt([fd]));
        assert_eq!(problem, expected);
        assert_eq!(message, format!("{name}: {expected}"));
    }
}

fn queues_are_of_one_tap() {
    let (fds, _helper) = passed(&[("t0", TAP, 0, "rw"), ("t1", TAP, 0, "rw")]);
    let (problem, _) = refusal(Tap::builder().adopt(fds));
    assert_eq!(problem, FdProblem::OtherInterface("t1".to_owned()));
    assert!(matches!(Tap::builder().adopt([]), Err(Error::QueueCount(0))));
    let (fd, _helper) = one("t2", TAP, 0, "rw");
    let offloads = Tap::builder().offloads(Offloads::CSUM).adopt([fd]);
    assert!(matches!(offloads, Err(Error::OffloadsWithoutHeader)));
}

fn a_deleted_tap_is_not_attached() {
    let (fd, _helper) = one("t0", TAP, 0, "rw");
    sh("ip link del t0");
    assert_eq!(refusal(Tap::builder().adopt([fd])).0, FdProblem::NotAttached);
}

fn another_namespace_has_the_frames_alone() {
    hush();
    let (fd, _helper) = one("t0", TAP, 0, "rw");
    sh("ip link set t0 up");
    let again = fd.try_clone().unwrap();
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    assert_eq!(refusal(Tap::builder().adopt([fd])).0, FdProblem::OtherNamespace);

    // One of the same name, but not the same.
    let (fd, _other) = one("t0", TAP, 0, "rw");
    let here = Tap::builder().adopt([fd]).unwrap();
    let mixed = refusal(Tap::builder().adopt([again.try_clone().unwrap()])).0;
    assert_eq!(mixed, FdProblem::OtherNamespace);
    assert!(!here.interface().is_up().unwrap());

    let queue: Queue = Tap::builder().adopt_queue(again).unwrap();
    assert_eq!(queue.name().unwrap(), "t0");
    assert_eq!(queue.send(&frame(60)).unwrap(), 60, "it is up there");
}

testbed::main! {
    frames_pass_both_ways: ["python3"],
    super_frames_and_several_queues: ["python3"],
    each_fault_has_its_words: ["python3"],
    queues_are_of_one_tap: ["python3"],
    a_deleted_tap_is_not_attached: ["python3"],
    another_namespace_has_the_frames_alone: ["python3"],
}
