//! The way of a small frame through `acton` itself, from one system call to the next.
//!
//! One end runs under callgrind, stopped while frames are sent to it, so that it finds them all at
//! once: a batch is then as large as it is meant to be. What it does by itself meanwhile is none of a
//! frame's: as much time without frames is counted too, and taken off.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::collected;
use crate::Result;
use crate::contender::{self, Overlay, Process};
use crate::measure::Lane;
use crate::world::Underlay;

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Plain,
    Secure,
}

impl Mode {
    pub(super) const ALL: [Self; 2] = [Self::Plain, Self::Secure];
}

/// The end that is counted. Frames go from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl End {
    pub(super) const ALL: [Self; 2] = [Self::Client, Self::Server];
}

/// How often frames are sent at once.
const BURSTS: usize = 100;
/// Frames that the counter of those that arrive may swallow.
const FIRST_FEW: usize = 10;
/// What an end tells its neighbours when a session begins is over by then; it is none of a frame's.
const SETTLED: Duration = Duration::from_secs(6);
/// For datagrams to be where they wait for a program that is stopped.
const PASSAGE: Duration = Duration::from_millis(30);
/// A burst that takes longer was lost.
const ARRIVAL: Duration = Duration::from_secs(10);

pub(super) fn name(mode: Mode, end: End, burst: usize) -> String {
    let mode = match mode {
        Mode::Plain => "plain",
        Mode::Secure => "AES-256-GCM",
    };
    let end = match end {
        End::Client => "TAP to UDP",
        End::Server => "UDP to TAP",
    };
    let batch = if burst == 1 { "alone".to_owned() } else { format!("{burst} at once") };
    format!("acton, {mode}: 60 bytes, {end}, {batch}")
}

/// Instructions of one end for a frame, of `burst` frames at once: of this acton, or of the one before.
pub(super) fn count(mode: Mode, end: End, burst: usize, before: bool) -> Result<f64> {
    let (busy, took) = counted(mode, end, before, |lane, processes| {
        let start = Instant::now();
        send_bursts(lane, processes, end, burst)?;
        Ok(start.elapsed())
    })?;
    let (idle, ()) = counted(mode, end, before, |_, _| {
        thread::sleep(took);
        Ok(())
    })?;
    Ok((busy - idle) / (BURSTS * burst) as f64)
}

/// Instructions of one end while `work` is done.
fn counted<T>(
    mode: Mode,
    end: End,
    before: bool,
    work: impl FnOnce(&mut Lane, [&Process; 2]) -> Result<T>,
) -> Result<(f64, T)> {
    let subcommand = match end {
        End::Client => "client",
        End::Server => "server",
    };
    let plain = matches!(mode, Mode::Plain);
    let contender = contender::acton_under_callgrind(plain, subcommand, before)?;
    let overlay = Overlay::start(&*contender, Underlay::Through)?;
    let [server, client] = overlay.processes() else { return Err("two ends".into()) };
    let counted = if end == End::Client { client } else { server };
    let mut lane = Lane::equal(&overlay)?;
    for _ in 0..FIRST_FEW {
        lane.send(1)?;
        thread::sleep(PASSAGE);
    }
    thread::sleep(SETTLED);
    set_counting(counted, true)?;
    let done = work(&mut lane, [server, client])?;
    set_counting(counted, false)?;
    Ok((collected(&overlay.stop())?, done))
}

fn send_bursts(
    lane: &mut Lane,
    [server, client]: [&Process; 2],
    end: End,
    burst: usize,
) -> Result<()> {
    for _ in 0..BURSTS {
        let arrived = lane.arrived()?;
        client.signal(Signal::SIGSTOP)?;
        if end == End::Server {
            server.signal(Signal::SIGSTOP)?;
        }
        lane.send(burst)?;
        client.signal(Signal::SIGCONT)?;
        if end == End::Server {
            thread::sleep(PASSAGE);
            server.signal(Signal::SIGCONT)?;
        }
        let deadline = Instant::now() + ARRIVAL;
        while lane.arrived()?.wrapping_sub(arrived) < burst as u32 {
            if Instant::now() > deadline {
                return Err(format!("not all of {burst} frames arrived").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Has callgrind count from now on, or no more; vgdb comes with valgrind.
fn set_counting(process: &Process, on: bool) -> Result<()> {
    let mut command = Command::new("vgdb");
    command.arg(format!("--pid={}", process.id()));
    command.args(["instrumentation", if on { "on" } else { "off" }]);
    contender::output(&mut command).map(drop)
}
