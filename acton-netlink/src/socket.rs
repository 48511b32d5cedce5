//! One request after the other, each with its answers.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use nix::unistd::write;

use crate::message::{Message, Messages, Request, number};

/// Bytes of a read: the kernel fills a datagram of a dump with up to 32 KiB (net/netlink/af_netlink.c).
pub(crate) const ROOM: usize = 1 << 15;

/// Requests that are sent together: the kernel's answers, of some 800 bytes each as it counts them,
/// have to find room in a socket of the usual 208 KiB (net.core.rmem_default).
const TOGETHER: usize = 64;

/// A socket to ask rtnetlink of one network namespace.
///
/// It is that of the thread that opens it, whatever thread uses it afterwards.
#[derive(Debug)]
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket of the calling thread's network namespace.
    ///
    /// # Errors
    /// There are too many open files, or this kind of socket is forbidden here.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: bound(SockFlag::empty(), 0)?, sequence: 0 })
    }

    /// Asks for a change, which the kernel makes or refuses.
    pub(crate) fn request(&mut self, request: Request) -> io::Result<()> {
        self.transact(request, |_| {}).map(drop)
    }

    /// Asks for many changes, each of which the kernel makes or refuses by itself, and hands what came
    /// of each to `done`, with its number. A system call stands for many of them.
    pub(crate) fn request_all(
        &mut self,
        requests: impl ExactSizeIterator<Item = Request>,
        mut done: impl FnMut(usize, io::Result<()>),
    ) -> io::Result<()> {
        let (mut requests, mut first) = (requests, 0);
        let mut buffer = vec![0; ROOM];
        while requests.len() > 0 {
            let before = self.sequence;
            let mut bytes = Vec::new();
            for mut request in requests.by_ref().take(TOGETHER) {
                self.sequence = self.sequence.wrapping_add(1);
                bytes.extend_from_slice(request.bytes(self.sequence));
            }
            write(&self.socket, &bytes)?;
            let sent = self.sequence.wrapping_sub(before) as usize;
            let mut answered = 0;
            while answered < sent {
                let datagram = receive(&self.socket, &mut buffer)?;
                for message in Messages(datagram) {
                    // 0 is the first; another number is left over from a request that failed half-way.
                    let number = message.sequence.wrapping_sub(before).wrapping_sub(1) as usize;
                    if number < sent && libc::c_int::from(message.kind) == libc::NLMSG_ERROR {
                        answered += 1;
                        done(first + number, outcome(&message));
                    }
                }
            }
            first += sent;
        }
        Ok(())
    }

    /// Asks a question that has one answer.
    pub(crate) fn ask<T>(
        &mut self,
        request: Request,
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<T> {
        let mut found = None;
        self.transact(request, |body| found = parse(body))?;
        found.ok_or_else(unexpected)
    }

    /// Asks for the list of all there is of a kind, again where it changed meanwhile, and keeps
    /// what `parse` makes of each: something, several things or nothing.
    pub(crate) fn dump<T, I: IntoIterator<Item = T>>(
        &mut self,
        request: impl Fn() -> Request,
        parse: impl Fn(&[u8]) -> I,
    ) -> io::Result<Vec<T>> {
        loop {
            let mut found = Vec::new();
            if self.transact(request(), |body| found.extend(parse(body)))? == Answers::Whole {
                return Ok(found);
            }
        }
    }

    /// Sends a request and hands the body of each answer to `answer`, until the kernel
    /// acknowledges or the dump is done.
    fn transact(
        &mut self,
        mut request: Request,
        mut answer: impl FnMut(&[u8]),
    ) -> io::Result<Answers> {
        self.sequence = self.sequence.wrapping_add(1);
        write(&self.socket, request.bytes(self.sequence))?;
        let mut buffer = vec![0; ROOM];
        let mut answers = Answers::Whole;
        loop {
            for message in Messages(receive(&self.socket, &mut buffer)?) {
                if message.sequence != self.sequence {
                    continue; // left over from a request that failed half-way
                }
                if message.flags & libc::NLM_F_DUMP_INTR as u16 != 0 {
                    answers = Answers::Changed;
                }
                match libc::c_int::from(message.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return outcome(&message).map(|()| answers);
                    }
                    _ => answer(message.body),
                }
            }
        }
    }
}

/// The next datagram from the kernel.
fn receive<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    loop {
        // With MSG_TRUNC the length is that of the datagram, also where it is cut.
        let length = match recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_TRUNC) {
            Err(Errno::EINTR) => continue,
            length => length?,
        };
        // What was not read may be the end that the caller waits for.
        return buffer.get(..length).ok_or_else(unexpected);
    }
}

/// What `NLMSG_ERROR` or `NLMSG_DONE` says.
fn outcome(message: &Message<'_>) -> io::Result<()> {
    match number(message.body).unwrap_or(0) as i32 {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

fn unexpected() -> io::Error {
    io::Error::other("rtnetlink answered something else than it was asked")
}

/// Whether the answers to one request fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Whole,
    /// What they list changed while they were on their way (`NLM_F_DUMP_INTR`).
    Changed,
}

/// A socket that hears the multicast groups whose bits are set (`struct sockaddr_nl`).
pub(crate) fn bound(flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}
