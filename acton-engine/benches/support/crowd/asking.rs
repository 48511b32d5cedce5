//! Clients that ask for the address of the server's TAP, once or again and again, and from where.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Crowd, DATAGRAM, Socket, mac, wall_clock, who_has};
use crate::support::Result;

impl Crowd {
    /// Has a client go on from another address.
    pub(crate) fn roam(&mut self, number: usize, to: Ipv4Addr) -> Result<()> {
        let socket = Socket::new(to, self.server)?;
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        let member = &mut self.members[number];
        (member.socket, member.asked) = (socket, None);
        Ok(())
    }

    /// Has a client ask, if it has a session, for `target`, the address of the server's TAP.
    pub(crate) fn ask(&mut self, number: usize, target: Ipv4Addr) -> Result<()> {
        let now = self.now();
        let member = &mut self.members[number];
        let Some(client) = &mut member.client else { return Ok(()) };
        let question = who_has(target, mac(number), Ipv4Addr::UNSPECIFIED);
        let mut datagram = Vec::with_capacity(DATAGRAM);
        if client.frame(now, &question, &mut datagram)? {
            member.asked.get_or_insert_with(wall_clock);
            member.socket.send(&datagram)?;
        }
        Ok(())
    }

    /// Has a client send a frame, if it has a session.
    pub(crate) fn say(&mut self, number: usize, frame: &[u8]) -> Result<()> {
        let now = self.now();
        let member = &mut self.members[number];
        let Some(client) = &mut member.client else { return Ok(()) };
        let mut datagram = Vec::with_capacity(DATAGRAM);
        if client.frame(now, frame, &mut datagram)? {
            member.socket.send(&datagram)?;
        }
        Ok(())
    }

    /// Has those of these clients ask again that had no answer so far; the time goes on.
    pub(crate) fn ask_again(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        target: Ipv4Addr,
    ) -> Result<()> {
        for number in numbers {
            if self.members[number].asked.is_some() {
                self.ask(number, target)?;
            }
        }
        Ok(())
    }

    /// Has all clients [`ask`](Self::ask) in turn, each once in `interval`, until told otherwise.
    pub(crate) fn chat(&mut self, interval: Option<(Duration, Ipv4Addr)>) {
        let (clients, now) = (self.members.len(), self.now());
        let of = |(interval, target)| Chatter::new(clients, interval, target, now);
        self.chatter = interval.map(of);
    }

    /// How long the answers to [`ask`](Self::ask) took that came since this was last called.
    pub(crate) fn take_round_trips(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.round_trips)
    }
}

/// Who asks next, and when.
#[derive(Debug)]
pub(super) struct Chatter {
    clients: usize,
    step: Duration,
    target: Ipv4Addr,
    next: usize,
    due: Duration,
}

impl Chatter {
    /// So many clients that ask for `target` once in `interval`, from `now` on.
    pub(super) fn new(clients: usize, interval: Duration, target: Ipv4Addr, now: Duration) -> Self {
        let step = interval / clients.max(1) as u32;
        Self { clients, step, target, next: 0, due: now + step }
    }

    /// When the next one asks.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Who asks now, and for what.
    pub(super) fn next(&mut self, now: Duration) -> Option<(usize, Ipv4Addr)> {
        if self.due > now || self.clients == 0 {
            return None;
        }
        let number = self.next;
        self.next = (number + 1) % self.clients;
        self.due += self.step;
        Some((number, self.target))
    }
}
