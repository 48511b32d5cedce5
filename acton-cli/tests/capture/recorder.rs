//! `acton capture` at work, and what it wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use acton_netns::Namespace;
use nix::sys::signal::Signal;

use super::support::{Acton, World, wait_until};

/// A packet that was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) interface: String,
    /// `in` or `out`.
    pub(super) direction: String,
    pub(super) comment: String,
    pub(super) len: usize,
    pub(super) bytes: Vec<u8>,
}

impl Packet {
    /// All that is said about it.
    pub(super) fn about(&self) -> [&str; 3] {
        [&self.interface, &self.direction, &self.comment]
    }
}

/// A capture that runs, to a file.
pub(super) struct Recorder {
    process: Acton,
    file: PathBuf,
}

impl Recorder {
    /// Starts it for the instance `end`, and waits until it captures.
    #[track_caller]
    pub(super) fn start(world: &World, end: &Acton, name: &str, arguments: &[&str]) -> Self {
        let file = world.keys.path(name);
        let process = spawn(&world.server, end, &file, arguments);
        process.wait_for("capturing at ");
        Self { process, file }
    }

    /// Ends it by SIGINT; what it captured.
    #[track_caller]
    pub(super) fn stop(self) -> Vec<Packet> {
        self.process.signal(Signal::SIGINT);
        self.end()
    }

    /// Waits for its own end; what it captured.
    #[track_caller]
    pub(super) fn end(self) -> Vec<Packet> {
        let (status, log) = self.process.end();
        assert!(status.success(), "{log}");
        let packets = read(&self.file);
        let says = format!("{} packets captured, 0 lost", packets.len());
        assert!(log.contains(&says), "{log}");
        packets
    }

    /// Waits until the file has `bytes` somewhere.
    #[track_caller]
    pub(super) fn wait_for(&self, bytes: &[u8]) {
        wait_until("it is captured", || {
            let file = fs::read(&self.file).unwrap();
            file.windows(bytes.len()).any(|window| window == bytes)
        });
    }

    pub(super) fn process(&self) -> &Acton {
        &self.process
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// Starts a capture to `file`.
pub(super) fn spawn(host: &Namespace, end: &Acton, file: &Path, arguments: &[&str]) -> Acton {
    let control = super::support::control(end);
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command.args(["capture", "-w"]).arg(file).args(arguments).env("ACTON_CONTROL", control);
    Acton::spawn("capture", host, &mut command)
}

/// Runs a capture that ends by itself; what it captured.
#[track_caller]
pub(super) fn captured(world: &World, end: &Acton, arguments: &[&str]) -> Vec<Packet> {
    let file = world.keys.path("captured.pcapng");
    let (status, log) = spawn(&world.server, end, &file, arguments).end();
    assert!(status.success(), "{log}");
    read(&file)
}

/// What a capture that must fail says, and its exit code.
pub(super) fn refused(world: &World, end: &Acton, arguments: &[&str]) -> (Option<i32>, String) {
    let file = world.keys.path("refused.pcapng");
    let (status, log) = spawn(&world.server, end, &file, arguments).end();
    (status.code(), log)
}

/// The packets of a file, by a reader of this test's own: tshark takes a second to begin.
#[track_caller]
pub(super) fn read(file: &Path) -> Vec<Packet> {
    let file = fs::read(file).unwrap();
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let (mut rest, mut interfaces, mut packets) = (&file[..], Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (block, behind) = rest.split_at(word(&rest[4..]));
        rest = behind;
        let body = &block[8..block.len() - 4];
        match word(block) {
            // Interface description: its name.
            1 => interfaces.push(text(option(&body[8..], 2))),
            // Enhanced packet: its comment and flags.
            6 => {
                let kept = word(&body[12..]);
                let options = &body[20 + kept.next_multiple_of(4)..];
                let direction = match word(option(options, 2)) & 3 {
                    1 => "in",
                    2 => "out",
                    other => panic!("direction {other}"),
                };
                packets.push(Packet {
                    interface: interfaces[word(body)].clone(),
                    direction: direction.to_owned(),
                    comment: text(option(options, 1)),
                    len: word(&body[16..]),
                    bytes: body[20..20 + kept].to_vec(),
                });
            }
            _ => {}
        }
    }
    packets
}

/// The value of an option; empty where it is not there.
fn option(mut options: &[u8], wanted: u16) -> &[u8] {
    let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    while !options.is_empty() {
        let (code, len) = (half(options), usize::from(half(&options[2..])));
        if code == wanted {
            return &options[4..4 + len];
        }
        options = &options[4 + len.next_multiple_of(4)..];
    }
    &[]
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A line of these fields for each packet.
#[track_caller]
pub(super) fn tshark(file: &Path, fields: &[&str], more: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-T", "fields", "-E", "separator=|"]).args(more);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}
