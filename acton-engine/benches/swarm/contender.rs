//! What serves: acton in either mode, or what it was before.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use ipnet::{IpNet, Ipv4Net};

use crate::support::Result;
use crate::support::process::ServerProcess;
use crate::support::server::{Mode, Serve};

/// The server's TAP.
pub(crate) const TAP: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 9, 0, 1), 16);
/// The UDP port of the server.
pub(crate) const PORT: u16 = 8080;

/// Prints the path of the program of acton 0.1.1, having built it where it was absent.
const SCRIPT: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../acton-cli/tests/peers/acton-0.1.1.sh");
/// How long that one may take until it listens.
const LISTEN: Duration = Duration::from_secs(10);
/// Time between two looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

/// A server, or how one is started.
#[derive(Debug, Clone)]
pub(crate) enum Contender {
    Acton(Mode),
    /// acton 0.1.1, the published crate's example program.
    Predecessor(PathBuf),
}

impl Contender {
    /// The predecessor, which is built where this machine does not have it.
    pub(crate) fn predecessor() -> Result<Self> {
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let target = scratch.parent().ok_or("cargo's scratch folder is in no other")?;
        let output = Command::new(SCRIPT).arg(target).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("{SCRIPT}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{SCRIPT}: {}", output.status).into());
        }
        Ok(Self::Predecessor(String::from_utf8(output.stdout)?.trim_end().into()))
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Acton(Mode::Secure) => "secure",
            Self::Acton(Mode::Plain) => "plain",
            Self::Predecessor(_) => "acton 0.1.1",
        }
    }

    /// What its clients speak.
    pub(crate) fn mode(&self) -> Mode {
        match self {
            Self::Acton(mode) => *mode,
            Self::Predecessor(_) => Mode::Plain,
        }
    }

    /// Starts a server for so many sessions at most, and waits until it listens on [`PORT`].
    pub(crate) fn start(
        &self,
        listen: Ipv4Addr,
        max_sessions: usize,
        workers: Option<usize>,
    ) -> Result<ServerProcess> {
        match self {
            Self::Acton(mode) => ServerProcess::start(&Serve {
                serve: Some(SocketAddr::from((listen, PORT))),
                mode: *mode,
                max_sessions,
                tap_address: Some(IpNet::V4(TAP)),
                workers,
                snooping: false,
                untagged: None,
            }),
            Self::Predecessor(program) => {
                let mut command = Command::new(program);
                command.env("ACTON_LOG_LEVEL", "error").env("RUST_LOG", "error");
                command.args(["server", "-t", "acton0", "-a", &TAP.to_string()]);
                let server = ServerProcess::start_other(command.args(["-p", &PORT.to_string()]))?;
                wait_listening()?;
                Ok(server)
            }
        }
    }
}

fn wait_listening() -> Result<()> {
    let deadline = Instant::now() + LISTEN;
    // The local address is the second word of a line (proc_net(5)).
    let local = format!(":{PORT:04X}");
    let listens = |line: &str| {
        line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&local))
    };
    while !fs::read_to_string("/proc/thread-self/net/udp")?.lines().any(listens) {
        if Instant::now() > deadline {
            return Err(format!("nobody listens on UDP port {PORT}").into());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
