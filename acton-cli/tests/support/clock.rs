use std::path::Path;
use std::process::Command;

use super::{Acton, World, leaf};

/// An `acton` whose wall clock, and no other, is off by so much.
pub(crate) fn off_by(offset: &str, arguments: &[&str]) -> Command {
    let mut command = faked(arguments);
    command.env("FAKETIME", offset);
    command
}

/// The same by what this file says, whenever it looks at its clock.
pub(crate) fn off_by_file(file: &Path, arguments: &[&str]) -> Command {
    let mut command = faked(arguments);
    command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_NO_CACHE", "1");
    command
}

fn faked(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acton"));
    command
        .args(arguments)
        // What faketime(1) sets. It runs the program as a child, which signals do not reach.
        .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

/// Starts client `i` like that, with its address.
pub(crate) fn client_off_by(world: &World, i: u8, offset: &str) -> Acton {
    let address = format!("{}/24", leaf(i)[0]);
    let arguments = [world.client_arguments(i, "192.0.2.1"), vec!["-a".into(), address]].concat();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let host = &world.clients[usize::from(i)];
    Acton::spawn("client", host, &mut off_by(offset, &arguments))
}
