//! What the kernel refuses, or the other end would: the frames come by another way or are counted.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::process::Command;

use support::{
    Acton, CLIENT_MAC, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, counter, counters, frame,
    in_both_modes, leaf, ping_until_answered, said, tcp_transfer, wait_until,
};

in_both_modes! {
    super_frames_that_the_tap_refuses_go_frame_by_frame: ["python3"],
    frames_that_the_tap_refuses_are_counted: ["python3"];
    plain: a_segmentation_that_is_refused_costs_no_datagram;
    secure: a_frame_that_the_other_end_does_not_take_is_counted
}

/// Runs the program behind it with a kernel that refuses writev(2) of so many pieces or more.
const REFUSING: &str = r"
import ctypes, os, struct, sys
errno, pieces, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
writev = {'x86_64': 20, 'aarch64': 66}[os.uname().machine]
instruction = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
code = (instruction(0x20, 0, 0, 0) + instruction(0x15, 0, 3, writev)   # the number of the call
        + instruction(0x20, 0, 0, 32) + instruction(0x35, 0, 1, pieces)  # its third argument
        + instruction(0x06, 0, 0, 0x50000 | errno) + instruction(0x06, 0, 0, 0x7fff0000))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0                                 # PR_SET_NO_NEW_PRIVS
filter = Program(len(code) // 8, code)
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0              # PR_SET_SECCOMP
os.execv(program[0], program)
";

/// A server whose kernel refuses to write so many pieces at once.
fn refusing(world: &World, mode: Mode, errno: i32, pieces: usize) -> Acton {
    let state = world.keys.server_state();
    let mac = SERVER_MAC.to_string();
    let mode = match mode {
        Mode::Plain => &["--plain"][..],
        Mode::Secure => &["--state", &state],
    };
    // Else the first start prints an invite.
    world.keys.server();
    let mut command = Command::new("python3");
    command.args(["-c", REFUSING, &errno.to_string(), &pieces.to_string()]);
    command.arg(env!("CARGO_BIN_EXE_acton"));
    command.args(["server", "-m", &mac, "-a", "10.9.0.1/24", "--workers", "1"]).args(mode);
    let server = Acton::spawn("server", &world.server, &mut command);
    server.wait_for(said::LISTENING);
    server
}

fn super_frames_that_the_tap_refuses_go_frame_by_frame(mode: Mode) {
    let world = World::new(1).speaking(mode);
    // A frame is two pieces, its header and itself; one that others joined has more.
    let server = refusing(&world, mode, libc::EINVAL, 3);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 5_000_000);
    server.wait_for("the kernel takes no super-frames; going on without");
    let log = counters(&server);
    assert!(counter(&log, "tap.super_frame_refused") >= 1, "{log}");
    assert_eq!(counter(&log, "drop.tap_refused"), 0, "{log}");
    // Others are not tried again.
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 5_000_000);
    let again = counters(&server);
    let refused = |log: &str| counter(log, "tap.super_frame_refused");
    assert_eq!(refused(&again), refused(&log), "{again}");
    assert_eq!(counter(&again, "tap.writes"), counter(&again, "tap.written.frames"), "{again}");
    client.stop();
    server.stop();
}

fn frames_that_the_tap_refuses_are_counted(mode: Mode) {
    let world = World::new(1).speaking(mode);
    let server = refusing(&world, mode, libc::ENOBUFS, 1);
    let client = world.join(0, &[]);
    let wire = world.client_wire(0);
    let before = counter(&counters(&server), "drop.tap_refused");
    let up = frame(SERVER_MAC, CLIENT_MAC, TEST_ETHERTYPE, &[7; 60]);
    wire.send(&up);
    wait_until("it is counted", || counter(&counters(&server), "drop.tap_refused") > before);
    assert_eq!(counter(&counters(&server), "tap.writes"), 0);
    client.stop();
    server.stop();
}

/// Datagrams of 1,514 bytes on a link of 1,300: the kernel does not cut a message into them, but sends
/// each in fragments.
fn a_segmentation_that_is_refused_costs_no_datagram() {
    let world = World::with_mtu(1, 1_300);
    let server = world.serve(&[]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    tcp_transfer(&world.server, &world.clients[0], leaf(0)[0], 2_000_000);
    let log = server.stop();
    assert!(counter(&log, "udp.segmentation_refused") >= 1, "{log}");
    assert_eq!(counter(&log, "drop.udp_too_large"), 0, "{log}");
    client.stop();
}

fn a_frame_that_the_other_end_does_not_take_is_counted() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&[]);
    let client = world.join(0, &["--mtu", "9000"]);
    let (root, leaf) = (world.server_wire(), world.client_wire(0));
    leaf.send(&frame(SERVER_MAC, CLIENT_MAC, TEST_ETHERTYPE, &[7; 4_000]));
    let small = frame(SERVER_MAC, CLIENT_MAC, TEST_ETHERTYPE, &[8; 1_500]);
    leaf.send(&small);
    root.receive_until(&small);
    let log = client.stop();
    assert_eq!(counter(&log, "drop.frame_too_long"), 1, "{log}");
    server.stop();
}
