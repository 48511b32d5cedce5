//! The program itself, on veth pairs in network namespaces.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use acton_raw::{RawSocket, VlanTag};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};
use testbed::sh;

testbed::main! {
    frames_are_printed_and_recorded: ["tshark"],
    filters_and_count_choose,
    killed_logger_leaves_a_readable_file: ["tshark"],
    closed_pipe_ends_it_quietly,
    full_disk_is_told,
    refusals_are_clear: ["setpriv"],
    vanished_interface_ends_it,
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_packet_logger");

/// Makes the pair `a` and `b`, up and without traffic of its own.
fn link() -> RawSocket {
    sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
        ip link add name a address 02:00:00:00:00:0a type veth \
            peer name b address 02:00:00:00:00:0b
        ip link set dev a up
        ip link set dev b up");
    // Until the kernel has given the link its queue, frames are lost.
    for end in ["a", "b"] {
        let start = Instant::now();
        while !sh(&format!("ip link show dev {end}")).contains("noqueue state UP") {
            assert!(start.elapsed() < Duration::from_secs(10), "{end} does not come up");
            thread::sleep(Duration::from_millis(5));
        }
    }
    RawSocket::builder("a").build().unwrap()
}

/// A running logger; killed, should the test fail.
struct Logger {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: BufReader<ChildStderr>,
}

impl Logger {
    /// Starts it on `b` and waits until it listens.
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .arg("b")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut this = Self { child, stdout, stderr };
        let mut line = String::new();
        this.stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "packet_logger: listening on b\n");
        this
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// The next line it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    /// Its status, what is left of its output, and its messages after the first.
    fn end(mut self) -> (ExitStatus, String, String) {
        // It prints less than a pipe holds, so it ends whether or not it is read.
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "it hangs");
            thread::sleep(Duration::from_millis(5));
        };
        let (mut output, mut messages) = (String::new(), String::new());
        if let Some(mut stdout) = self.stdout.take() {
            stdout.read_to_string(&mut output).unwrap();
        }
        self.stderr.read_to_string(&mut messages).unwrap();
        (status, output, messages)
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file of this test's own.
fn record() -> PathBuf {
    std::env::temp_dir().join(format!("packet_logger-{}-{}.pcapng", std::process::id(), gettid()))
}

/// What tshark reads in these fields of a file, a line a frame, and its complaints.
fn tshark(file: &str, fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("-e {field}")).collect();
    sh(&format!("tshark -r {file} -T fields {} 2>&1 | grep -v 'Running as user'", fields.join(" ")))
}

fn arp() -> Vec<u8> {
    let header = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0xa], &[8, 6]].concat();
    let request = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], &request, &[10, 0, 0, 2], &[0; 18]].concat()
}

fn udp(port: u16, payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((28 + payload as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0]);
    frame.extend(port.to_be_bytes());
    frame.extend((8 + payload as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|at| at as u8));
    frame
}

fn frames_are_printed_and_recorded() {
    let a = link();
    let file = record();
    let path = file.to_str().unwrap();
    let logger = Logger::start(&["--write", path]);
    let mut tagged = Vec::new();
    VlanTag { tpid: 0x8100, tci: 0x6005 }.insert(&udp(53, 33), &mut tagged);
    for frame in [&arp(), &udp(80, 100), &tagged] {
        a.send(frame).unwrap();
    }
    RawSocket::builder("b").build().unwrap().send(&udp(81, 0)).unwrap();
    logger.signal(Signal::SIGINT);
    let (status, output, messages) = logger.end();
    assert!(status.success(), "{status}: {messages}");

    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 4, "{output}");
    for (line, rest) in lines.iter().zip([
        "in  02:00:00:00:00:0a > ff:ff:ff:ff:ff:ff ARP 60: who-has 10.0.0.2 tell 10.0.0.1",
        "in  02:00:00:00:00:0a > 02:00:00:00:00:0b IPv4 142: \
         10.0.0.1 port 4096 > 10.0.0.2 port 80 udp",
        "in  02:00:00:00:00:0a > 02:00:00:00:00:0b vlan 5 IPv4 79: \
         10.0.0.1 port 4096 > 10.0.0.2 port 53 udp",
        "out 02:00:00:00:00:0a > 02:00:00:00:00:0b IPv4 42: \
         10.0.0.1 port 4096 > 10.0.0.2 port 81 udp",
    ]) {
        let (time, text) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), text), ("00:00:00.000000".len(), rest));
    }
    assert!(messages.starts_with("4 frames (3 in, 1 out), 323 bytes in "), "{messages}");
    assert!(messages.ends_with(" 0 dropped by the kernel\n"), "{messages}");

    let fields = ["frame.len", "vlan.id", "udp.dstport", "frame.packet_flags_direction"];
    assert_eq!(
        tshark(path, &fields),
        "60\t\t\t0x00000001\n142\t\t80\t0x00000001\n79\t5\t53\t0x00000001\n42\t\t81\t0x00000002\n"
    );
    let bytes = fs::read(&file).unwrap();
    for frame in [&arp(), &udp(80, 100), &tagged] {
        assert!(bytes.windows(frame.len()).any(|window| window == frame), "byte for byte");
    }
    let times = tshark(path, &["frame.time_epoch", "frame.interface_name"]);
    assert!(times.lines().all(|line| line.ends_with("\tb")), "{times}");
    fs::remove_file(file).unwrap();
}

fn filters_and_count_choose() {
    let a = link();
    let logger = Logger::start(&["--proto", "udp", "--not-port", "80", "--count", "2", "-q"]);
    for frame in [&arp(), &udp(80, 0), &udp(81, 0), &udp(82, 0), &udp(83, 0)] {
        a.send(frame).unwrap();
    }
    let (status, output, messages) = logger.end();
    assert!(status.success());
    assert_eq!(output, "", "quiet");
    assert!(messages.starts_with("2 frames (2 in, 0 out), 84 bytes"), "{messages}");

    let logger = Logger::start(&["--promiscuous", "--snaplen", "20", "--count", "1"]);
    assert!(sh("ip -d link show dev b").contains("promiscuity 1"));
    a.send(&udp(80, 0)).unwrap();
    let (_, output, _) = logger.end();
    assert!(output.ends_with("IPv4 42: cut or malformed\n"), "{output}");
    assert!(sh("ip -d link show dev b").contains("promiscuity 0"));
}

fn killed_logger_leaves_a_readable_file() {
    let a = link();
    let file = record();
    let path = file.to_str().unwrap();
    let mut logger = Logger::start(&["--write", path, "--snaplen", "60"]);
    for port in 0..300 {
        a.send(&udp(port, 100)).unwrap();
    }
    for port in 0..300 {
        let line = logger.line();
        assert!(line.ends_with(&format!("port {port} udp\n")), "{line}");
    }
    logger.signal(Signal::SIGKILL);
    let (status, ..) = logger.end();
    assert!(!status.success());
    let read = tshark(path, &["udp.dstport", "frame.len", "frame.cap_len"]);
    let expected: String = (0..300).map(|port| format!("{port}\t142\t60\n")).collect();
    assert_eq!(read, expected);
    fs::remove_file(file).unwrap();
}

fn closed_pipe_ends_it_quietly() {
    let a = link();
    let mut logger = Logger::start(&[]);
    a.send(&arp()).unwrap();
    assert!(logger.line().contains("who-has"));
    drop(logger.stdout.take());
    a.send(&arp()).unwrap();
    let (status, _, messages) = logger.end();
    assert!(status.success(), "{status}");
    assert_eq!(messages, "");
}

fn full_disk_is_told() {
    link();
    let output = Command::new(PROGRAM).args(["b", "--write", "/dev/full"]).output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(messages.starts_with("packet_logger: cannot write /dev/full: No space"), "{messages}");
    assert_eq!(output.status.code(), Some(1));
}

fn refusals_are_clear() {
    link();
    let says = |command: &mut Command, expected: &str| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    };
    says(
        Command::new("setpriv").args([
            "--bounding-set",
            "-net_raw",
            "--inh-caps",
            "-net_raw",
            PROGRAM,
            "b",
        ]),
        "packet_logger: b: permission denied opening a packet socket: needs CAP_NET_RAW; run as \
         root or in a user namespace\n",
    );
    says(
        Command::new(PROGRAM).arg("nobody"),
        "packet_logger: nobody: no such interface in this network namespace; `ip link` lists \
         them\n",
    );
}

fn vanished_interface_ends_it() {
    let a = link();
    let mut logger = Logger::start(&[]);
    a.send(&arp()).unwrap();
    assert!(logger.line().contains("who-has"));
    sh("ip link del dev a");
    let (status, _, messages) = logger.end();
    assert_eq!(status.code(), Some(1));
    // It may have been seen going down first.
    let down = "packet_logger: b is down; waiting for it\n";
    let (summary, error) = messages.trim_start_matches(down).split_once('\n').unwrap();
    assert!(summary.starts_with("1 frames (1 in, 0 out), 60 bytes"), "{summary}");
    assert_eq!(error, "packet_logger: b: No such device (os error 19)\n");
}
