//! Runs the program and pings it from the kernel's side.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddrV4;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use testbed::sh;

/// Guards against a hang; nothing waits as long when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program, killed when the test ends.
struct Echo {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Echo {
    /// Starts it and returns when it says that it is up.
    fn start(arguments: &[&str]) -> Self {
        let mut child = tap_echo(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut echo = Self { child, out };
        let line = echo.line();
        assert!(line.contains("is up; from another terminal: ping "), "{line}");
        echo
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// What it says, and how it ends, after `signal`.
    fn end(mut self, signal: &str) -> (String, std::process::ExitStatus) {
        sh(&format!("kill -{signal} {}", self.child.id()));
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program with Ctrl-C as a terminal has it: what a script starts in the background ignores it,
/// and so would all that this test starts.
fn tap_echo(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_tap_echo")]).args(arguments);
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = tap_echo(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// Sends an echo request with `payload` and waits for its reply, whose payload it returns.
fn ping(host: &str, sequence: u8, payload: &[u8]) -> Vec<u8> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(&SocketAddrV4::new(host.parse().unwrap(), 0).into()).unwrap();
    let mut request = [&[8, 0, 0, 0, 0x12, 0x34, 0, sequence], payload].concat();
    let sum = checksum(&request).to_be_bytes();
    request[2..4].copy_from_slice(&sum);
    socket.send(&request).unwrap();
    let mut packet = [0; 2000];
    let length = (&socket).read(&mut packet).expect("a reply");
    let icmp = &packet[20..length];
    assert_eq!((icmp[0], checksum(icmp)), (0, 0), "an echo reply with a right checksum");
    assert_eq!(icmp[4..8], [0x12, 0x34, 0, sequence]);
    icmp[8..].to_vec()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |word: &[u8]| u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
    let mut sum: u32 = bytes.chunks(2).map(|bytes| u32::from(word(bytes))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn every_other_address_answers() {
    let mut echo = Echo::start(&["e0", "192.0.2.6/29"]);
    assert!(sh("ip addr show dev e0").contains("inet 192.0.2.6/29 brd 192.0.2.7"));
    for (sequence, host) in (1..=5).enumerate() {
        let payload = vec![0xa5 ^ host; usize::from(host) * 290];
        let (host, sequence) = (format!("192.0.2.{host}"), sequence as u8);
        assert_eq!(ping(&host, sequence, &payload), payload);
        assert_eq!(echo.line(), format!("{host} is at 02:61:63:74:6f:6e\n"));
        assert_eq!(echo.line(), format!("{host} echoes ping {sequence}\n"));
    }
    assert!(sh("ip neigh show dev e0").contains("192.0.2.3 lladdr 02:61:63:74:6f:6e"));
}

fn ctrl_c_leaves_nothing() {
    let echo = Echo::start(&[]);
    assert!(sh("ip addr show dev echo0").contains("inet 192.0.2.1/24"));
    assert_eq!(ping("192.0.2.254", 1, b"hello"), b"hello");
    let (said, status) = echo.end("INT");
    assert!(said.contains("192.0.2.254 echoes ping 1"), "{said}");
    assert!(!status.success());
    assert!(!sh("ip -o link").contains("echo0"));
}

fn errors_say_what_to_do() {
    let (code, said) = output(&["e0", "192.0.2.1"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("\"192.0.2.1\": expected an IPv4 address and a prefix"), "{said}");
    assert!(said.contains("usage: tap_echo"), "{said}");
    assert_eq!(output(&["e0", "192.0.2.1/24", "more"]).0, Some(2));

    let (code, said) = output(&["sixteen-bytes-00"]);
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("tap_echo: interface name \"sixteen-bytes-00\" is too long"),
        "{said}"
    );
    let (code, said) = output(&["lo"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("tap_echo: lo: an interface of that name exists"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn its_tap_is_deleted() {
    let mut child =
        tap_echo(&["e0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    sh("ip link del e0");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("tap_echo: e0: "), "{said}");
}

testbed::main! {
    every_other_address_answers,
    ctrl_c_leaves_nothing,
    errors_say_what_to_do,
    its_tap_is_deleted,
}
