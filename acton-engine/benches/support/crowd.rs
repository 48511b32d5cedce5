//! The clients: state machines on one thread, each with a socket of its own.

mod asking;
mod heard;
mod question;
mod socket;
mod speaker;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::Result;
use super::server::Mode;
use asking::Chatter;
pub(crate) use heard::{Heard, Tag};
pub(crate) use question::{answers, mac, who_has};
pub(crate) use socket::{Socket, wall_clock};
use speaker::Happening;
pub(crate) use speaker::{Speaker, private_key};

/// Datagrams taken before the timers are looked at again.
const EVENTS: usize = 64;
/// Buffer for a datagram in bytes: more than a probe of the path has.
const DATAGRAM: usize = 2_048;
/// Least time between two looks whether something is done.
const LOOK: Duration = Duration::from_millis(2);
/// Least time between two calls for one client's timers.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Member {
    socket: Socket,
    client: Option<Speaker>,
    /// When the server first answered it since [`Crowd::forget_answers`].
    answered: Option<Duration>,
    /// When its timers are due.
    due: Option<Duration>,
    /// When it first asked for the address of the server's TAP without an answer so far, by the wall
    /// clock.
    asked: Option<Duration>,
}

/// The clients, by number.
#[derive(Debug)]
pub(crate) struct Crowd {
    members: Vec<Member>,
    mode: Mode,
    server: SocketAddr,
    epoll: Epoll,
    timers: BTreeSet<(Duration, usize)>,
    start: Instant,
    rekeys: usize,
    losses: usize,
    heard: Heard,
    chatter: Option<Chatter>,
    /// How long the answers took that came to [`ask`](Self::ask).
    round_trips: Vec<Duration>,
}

/// Where clients are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Addresses {
    /// All at one address, as behind one NAT
    One,
    /// Each at its own
    Many,
}

impl Addresses {
    /// The loopback address of client `number`.
    pub(crate) fn of(self, number: usize) -> Ipv4Addr {
        let [_, _, high, low] = (number as u32).to_be_bytes();
        // The server has 127.0.0.1.
        match self {
            Self::One => Ipv4Addr::new(127, 2, 0, 1),
            Self::Many => Ipv4Addr::new(127, 1, high, low),
        }
    }
}

impl Crowd {
    /// So many clients that have not joined yet.
    pub(crate) fn new(
        mode: Mode,
        count: usize,
        server: SocketAddr,
        addresses: Addresses,
    ) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut members = Vec::with_capacity(count);
        for number in 0..count {
            let socket = Socket::new(addresses.of(number), server)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            members.push(Member { socket, client: None, answered: None, due: None, asked: None });
        }
        Ok(Self {
            members,
            mode,
            server,
            epoll,
            timers: BTreeSet::new(),
            start: Instant::now(),
            rekeys: 0,
            losses: 0,
            heard: Heard::default(),
            chatter: None,
            round_trips: Vec::new(),
        })
    }

    /// Where these listen.
    pub(crate) fn addresses(&self, numbers: Range<usize>) -> Result<Vec<SocketAddr>> {
        self.members[numbers].iter().map(|member| member.socket.address()).collect()
    }

    /// What they heard of what went to all.
    pub(crate) fn heard(&mut self) -> &mut Heard {
        &mut self.heard
    }

    /// How often a client lost its session, was refused, or met another server than before.
    pub(crate) fn losses(&self) -> usize {
        self.losses
    }

    /// HELLO that all have said.
    pub(crate) fn hellos(&self) -> u64 {
        self.members.iter().filter_map(|member| member.client.as_ref()).map(Speaker::hellos).sum()
    }

    /// From now on an answer is the first.
    pub(crate) fn forget_answers(&mut self) {
        self.members.iter_mut().for_each(|member| member.answered = None);
    }

    /// When the server first answered those of these clients that it has answered.
    pub(crate) fn answered(&self, numbers: Range<usize>) -> Vec<Duration> {
        self.members[numbers].iter().filter_map(|member| member.answered).collect()
    }

    /// How many of these wait for an answer.
    pub(crate) fn wait_for_answers(&self, numbers: Range<usize>) -> usize {
        self.members[numbers].iter().filter(|member| member.answered.is_none()).count()
    }

    /// How often a client got new keys for a session so far.
    pub(crate) fn rekeys(&self) -> usize {
        self.rekeys
    }

    /// Has a client without a session join.
    pub(crate) fn join(&mut self, number: usize) -> Result<()> {
        self.members[number].client = Some(Speaker::new(self.mode, number, self.now()));
        self.tick(number)
    }

    /// Has a client ask for new keys now and not at the age of two minutes.
    pub(crate) fn rekey(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            client.hurry(now);
        }
        self.tick(number)
    }

    /// Has a client say BYE and leave.
    pub(crate) fn leave(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            client.close(now);
        }
        self.settle(number)?;
        self.members[number].client = None;
        Ok(())
    }

    /// Does something with each of these clients, `pace` a second, and in between what all have to
    /// do.
    pub(crate) fn each(
        &mut self,
        numbers: impl Iterator<Item = usize>,
        pace: f64,
        mut action: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        let start = self.now();
        for (turn, number) in numbers.enumerate() {
            self.run_until(start + Duration::from_secs_f64(turn as f64 / pace))?;
            action(self, number)?;
        }
        Ok(())
    }

    /// Does what the clients have to do for so long.
    pub(crate) fn run(&mut self, time: Duration) -> Result<()> {
        self.run_until(self.now() + time)
    }

    /// The same until `done`, which is asked once in a while; whether it was.
    pub(crate) fn run_while(
        &mut self,
        most: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<bool> {
        let until = self.now() + most;
        while self.now() < until {
            if done(self) {
                return Ok(true);
            }
            self.run(LOOK)?;
        }
        Ok(done(self))
    }

    fn run_until(&mut self, until: Duration) -> Result<()> {
        let mut ready = [EpollEvent::empty(); EVENTS];
        loop {
            let now = self.now();
            // In turns: a thousand timers that are due at once keep nobody's datagrams waiting.
            for _ in 0..EVENTS {
                let Some(&(due, number)) = self.timers.first().filter(|(due, _)| *due <= now)
                else {
                    break;
                };
                self.timers.remove(&(due, number));
                // A client of its own has read what came before it finds that nothing did.
                while self.receive(number)? {}
                if self.members[number].due == Some(due) {
                    self.tick(number)?;
                }
            }
            for _ in 0..EVENTS {
                let Some((number, target)) = self.chatter.as_mut().and_then(|c| c.next(now)) else {
                    break;
                };
                self.ask(number, target)?;
            }
            let timer = self.timers.first().map_or(until, |&(due, _)| due.min(until));
            let next = self.chatter.as_ref().map_or(timer, |chatter| chatter.due().min(timer));
            let wait = next.saturating_sub(self.now());
            // Rounded up, not to look for what is not due yet.
            let wait = EpollTimeout::try_from(wait.as_micros().div_ceil(1_000) as u32)?;
            let count = self.epoll.wait(&mut ready, wait)?;
            for event in &ready[..count] {
                self.receive(event.data() as usize)?;
            }
            if self.now() >= until {
                return Ok(());
            }
        }
    }

    /// Reads a datagram, if one waits; whether one did.
    fn receive(&mut self, number: usize) -> Result<bool> {
        let mut buffer = [0; DATAGRAM];
        let now = self.now();
        let member = &mut self.members[number];
        let Some(arrived) = member.socket.receive(&mut buffer)? else { return Ok(false) };
        if !arrived.from_server {
            self.heard.note(&buffer[..arrived.length], arrived.at);
            return Ok(true);
        }
        let (mac, heard, mut answered) = (mac(number), &mut self.heard, false);
        if let Some(client) = &mut member.client {
            client.handle_input(now, &mut buffer[..arrived.length], |frame| {
                heard.note(frame, arrived.at);
                answered |= answers(frame, mac, Ipv4Addr::UNSPECIFIED);
            });
        }
        if answered && let Some(asked) = member.asked.take() {
            self.round_trips.push(arrived.at.saturating_sub(asked));
        }
        self.settle(number)?;
        Ok(true)
    }

    fn tick(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        if let Some(client) = &mut self.members[number].client {
            client.handle_timeout(now);
        }
        self.settle(number)
    }

    /// Sends what a client has to say, counts what it saw, and sets its timer.
    fn settle(&mut self, number: usize) -> Result<()> {
        let now = self.now();
        let member = &mut self.members[number];
        let Some(client) = &mut member.client else { return Ok(()) };
        let mut datagram = Vec::with_capacity(DATAGRAM);
        while client.poll_transmit(&mut datagram) {
            member.socket.send(&datagram)?;
        }
        while let Some(happening) = client.poll_happening() {
            match happening {
                Happening::Lost => {
                    self.losses += 1;
                    continue;
                }
                Happening::Rekeyed => self.rekeys += 1,
                Happening::Answered => {}
            }
            member.answered.get_or_insert(now);
        }
        let due = client.poll_timeout().map(|due| due.max(now + TICK));
        if let Some(old) = std::mem::replace(&mut member.due, due) {
            self.timers.remove(&(old, number));
        }
        self.timers.extend(due.map(|due| (due, number)));
        Ok(())
    }

    /// The time that all here goes by.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
