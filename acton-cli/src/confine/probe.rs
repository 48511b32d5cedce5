//! For tests, and not part of a release: each thread tries, once it is confined, what somebody would try
//! who has taken it over, and logs what came of it.

use std::env;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

use acton_engine::ThreadKind;
use nix::sys::ptrace;
use nix::unistd::getppid;

/// Has threads try, and names the file that they try to read.
const VARIABLE: &str = "ACTON_TEST_PROBE";

/// Tries to read a file, to start a program, to open a socket and to look into another process.
pub(super) fn attempt(kind: ThreadKind) {
    let Some(file) = env::var_os(VARIABLE) else { return };
    let tell = |what, result: io::Result<()>| match result {
        Ok(()) => log::info!("probe: {kind:?} {what}: done"),
        Err(error) => log::info!("probe: {kind:?} {what}: {error}"),
    };
    tell("open", File::open(file).map(drop));
    tell("exec", Command::new("/bin/true").status().map(drop));
    tell("socket", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop));
    // Of one that is not traced, so that all that comes of it is that the kernel says so.
    tell("ptrace", ptrace::detach(getppid(), None).map_err(Into::into));
}
