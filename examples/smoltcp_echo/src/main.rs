//! A TCP echo server on smoltcp, behind a TAP that trades super-frames.
//!
//! ```text
//! smoltcp_echo        # as root; makes smol0 with 192.0.2.1/24, and is itself 192.0.2.2 and fd00::2
//! socat - TCP:192.0.2.2:7
//! ```
//!
//! At the end of each connection it says how many frames there were each way, and how long the
//! longest was: with an MTU of 1,500 bytes, up to 64 KiB over IPv4.

mod device;

use std::error::Error;
use std::io::{self, Write};
use std::os::fd::AsFd;

use acton_tap::{Offloads, Queue, Tap};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

use crate::device::{OFFLOADS, SuperFrames};

/// smoltcp's side of the TAP; locally administered.
const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
/// The port of echo (RFC 862).
const PORT: u16 = 7;
/// Bytes of each of a connection's buffers: several super-frames, so that some are on their way.
const BUFFER: usize = 512 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = OFFLOADS.into_iter().fold(Offloads::none(), |all, one| all | one);
    let tap = Tap::builder().name("smol0").nonblocking(true).vnet_header(true).offloads(wanted);
    let tap = tap.build()?;
    tap.interface().add_address([192, 0, 2, 1].into(), 24)?;
    tap.interface().up()?;
    let (mtu, granted) = (tap.interface().mtu()? as usize, tap.offloads());
    let (_kernel_side, mut queues) = tap.into_parts();
    let mut device = SuperFrames::new(queues.remove(0), mtu, granted);

    let mut interface = Interface::new(Config::new(MAC.into()), &mut device, Instant::now());
    interface.update_ip_addrs(|addresses| {
        for address in ["192.0.2.2/24", "fd00::2/64"] {
            let address: IpCidr = address.parse().expect("an address with a prefix");
            addresses.push(address).expect("room for two");
        }
    });
    let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
    let mut sockets = SocketSet::new(Vec::new());
    let echo = sockets.add(tcp::Socket::new(buffer(), buffer()));
    writeln!(io::stdout(), "192.0.2.2 echoes TCP at port {PORT}, {granted}")?;

    let mut bytes = 0;
    let mut moved = Vec::new();
    loop {
        interface.poll(Instant::now(), &mut device, &mut sockets);
        device.take_error()?;
        let socket = sockets.get_mut::<tcp::Socket>(echo);
        if !socket.is_open() {
            if bytes > 0 {
                let (received, sent) = (device.received, device.sent);
                writeln!(
                    io::stdout(),
                    "echoed {bytes} bytes: {} frames in, the longest of {} bytes; {} frames out, the \
                     longest of {} bytes",
                    received.frames,
                    received.longest,
                    sent.frames,
                    sent.longest
                )?;
                (bytes, device.received, device.sent) = Default::default();
            }
            socket.listen(PORT)?;
        }
        bytes += turn_round(socket, &mut moved)?;
        wait(device.queue(), interface.poll_delay(Instant::now(), &sockets))?;
    }
}

/// Gives back what came, as far as there is room; ends the connection once its peer has. Returns the
/// bytes given back.
fn turn_round(socket: &mut tcp::Socket<'_>, moved: &mut Vec<u8>) -> Result<usize, Box<dyn Error>> {
    moved.clear();
    let room = socket.send_capacity() - socket.send_queue();
    if socket.can_recv() && socket.can_send() {
        socket.recv(|data| {
            let length = data.len().min(room);
            moved.extend_from_slice(&data[..length]);
            (length, ())
        })?;
        socket.send_slice(moved)?;
    }
    if socket.state() == tcp::State::CloseWait && socket.recv_queue() == 0 {
        socket.close();
    }
    Ok(moved.len())
}

/// Waits for a frame, or until smoltcp has something to do.
fn wait(queue: &Queue, delay: Option<Duration>) -> io::Result<()> {
    let timeout = match delay {
        // Rounded up: a wait that ends early would end at once again.
        Some(delay) => {
            PollTimeout::try_from(delay.total_micros().div_ceil(1_000)).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut [PollFd::new(queue.as_fd(), PollFlags::POLLIN)], timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
