//! The plainest tunnel there is: a frame a system call, no header, no offloads. This program, run
//! again as each end, so that its processor time is counted as that of others.

use std::env;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;

use acton_netns::Namespace;
use acton_tap::{Queue, Tap};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Contender, Process};
use crate::Result;
use crate::world::{Network, OVERLAY, PORT, UNDERLAY, World};

/// One end of it, as told to the program that is to be it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct End {
    /// Its TAP's address
    #[arg(long, hide = true, requires_all = ["loop_local", "loop_remote"])]
    loop_address: Option<Ipv4Addr>,
    #[arg(long, hide = true)]
    loop_local: Option<Ipv4Addr>,
    #[arg(long, hide = true)]
    loop_remote: Option<Ipv4Addr>,
}

struct Loop;

pub(super) fn find() -> Result<Box<dyn Contender>> {
    Ok(Box::new(Loop))
}

impl Contender for Loop {
    fn start(&self, world: &World) -> Result<Vec<Process>> {
        let (server, client) = (UNDERLAY.server, UNDERLAY.client);
        Ok(vec![
            end(&world.server, OVERLAY.server, server, client)?,
            end(&world.client, OVERLAY.client, client, server)?,
        ])
    }
}

fn end(
    namespace: &Namespace,
    address: Ipv4Addr,
    local: Ipv4Addr,
    remote: Ipv4Addr,
) -> Result<Process> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--loop-address", &address.to_string()]);
    command.args(["--loop-local", &local.to_string(), "--loop-remote", &remote.to_string()]);
    Process::start(namespace, &mut command)
}

impl End {
    /// Moves frames until it is killed, if this program is to be one.
    pub(crate) fn run(&self) -> Option<Result<()>> {
        let (address, local, remote) = (self.loop_address?, self.loop_local?, self.loop_remote?);
        Some(run(address, local, remote))
    }
}

fn run(address: Ipv4Addr, local: Ipv4Addr, remote: Ipv4Addr) -> Result<()> {
    let tap = Tap::builder().name(OVERLAY.device).build()?;
    tap.interface().add_address(address.into(), Network::PREFIX)?;
    tap.interface().up()?;
    let socket = UdpSocket::bind((local, PORT))?;
    socket.connect((remote, PORT))?;
    Ok(carry(&tap.queues()[0], &socket)?)
}

/// Room for the largest frame, in bytes.
const FRAME: usize = 2_048;

/// One thread for both ways: with one for each and reads that block, a ping takes half as long again.
fn carry(tap: &Queue, socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; FRAME];
    loop {
        let mut fds = [
            PollFd::new(tap.as_fd(), PollFlags::POLLIN),
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        let [tap_ready, socket_ready] = fds.map(|fd| fd.any() == Some(true));
        if tap_ready {
            outward(tap, socket, &mut buffer)?;
        }
        if socket_ready {
            inward(socket, tap, &mut buffer)?;
        }
    }
}

fn outward(tap: &Queue, socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    let length = tap.recv(buffer)?;
    // The other end may not be there yet; what was lost is sent again by whoever cares.
    let _ = socket.send(&buffer[..length]);
    Ok(())
}

fn inward(socket: &UdpSocket, tap: &Queue, buffer: &mut [u8]) -> io::Result<()> {
    if let Ok(length) = socket.recv(buffer) {
        tap.send(&buffer[..length])?;
    }
    Ok(())
}
