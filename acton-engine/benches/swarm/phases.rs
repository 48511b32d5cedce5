//! What is measured with one number of clients, in this order:
//!
//! 1. All join at once.
//! 2. As soon as they are in, [`AFTER_STORM`] frames for everybody, one after the other.
//! 3. Nothing, but pings.
//! 4. [`ROUNDS`] times a frame for everybody, and a datagram to everybody by a bare loop.
//! 5. Frames for everybody at a rate.
//! 6. The server is killed and started again; nobody but the pings sends a frame.
//!
//! When something came is what the kernel says, however late it is read: clients and server share
//! the processors.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::Arguments;
use crate::bare::Bare;
use crate::kernel::Losses;
use crate::pings::Pings;
use crate::support::Result;
use crate::support::crowd::{Crowd, Tag, wall_clock};
use crate::support::process::ServerProcess;
use crate::support::server::Serve;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The server's TAP.
const TAP: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 9, 0, 1), 16);

const AFTER_STORM: usize = 5;
const ROUNDS: usize = 10;
/// How long all are waited for to join.
const JOIN: Duration = Duration::from_secs(180);
/// Time between two questions to the server.
const LOOK: Duration = Duration::from_millis(20);
/// How long is waited for what was sent to all: in the clients' sockets it stays.
const HEAR: Duration = Duration::from_secs(1);
/// Time between two frames for everybody, for the other programs of this machine.
const PAUSE: Duration = Duration::from_millis(100);
/// After joins: probes of the path's MTU, and their answers.
const SETTLE: Duration = Duration::from_secs(2);
/// How long pings are measured while nothing happens.
const IDLE: Duration = Duration::from_secs(2);
/// How long a client may still read what came in numbers.
const READ: Duration = Duration::from_secs(30);

/// What one number of clients showed. Times in seconds; shares from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) clients: usize,
    pub(crate) all_in: f64,
    pub(crate) hellos: f64,
    pub(crate) storm_lost: f64,
    pub(crate) storm_backlog: f64,
    /// Resident bytes a session.
    pub(crate) memory: f64,
    pub(crate) idle_ping: Quantiles,
    /// When the first and the last had it; the medians of all rounds.
    pub(crate) tunnel: (f64, f64),
    pub(crate) bare: (f64, f64),
    /// Processor time of the sender; the medians of all rounds.
    pub(crate) spent: f64,
    pub(crate) bare_spent: f64,
    pub(crate) lost: f64,
    pub(crate) bare_lost: f64,
    pub(crate) flood_ping: Quantiles,
    pub(crate) rate: Rate,
    /// When half and 99 in 100 of the clients had keys again, and the last.
    pub(crate) back: Option<(Quantiles, f64)>,
}

/// Frames for everybody at a rate: shares of what all clients together should hear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) heard: f64,
    /// Given up by the server, and counted.
    pub(crate) given_up: f64,
    /// Dropped by the kernel.
    pub(crate) kernel: f64,
    /// When the last client had a frame, of half and 99 in 100 of the frames.
    pub(crate) last: Quantiles,
    pub(crate) ping: Quantiles,
    /// Share of one processor.
    pub(crate) processor: f64,
}

/// The median, and what 99 in 100 do not exceed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quantiles {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len() as f64 * share) as usize;
            values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), p99: at(0.99) }
    }
}

/// Measures a server of so many clients.
pub(crate) fn measure(clients: usize, arguments: &Arguments) -> Result<Figures> {
    let serve = Serve {
        serve: Some(ADDRESS),
        max_sessions: clients + 1,
        tap_address: Some(IpNet::V4(TAP)),
        workers: arguments.server.workers,
    };
    let mut server = ServerProcess::start(&serve)?;
    let empty = server.resident()?;
    let from = arguments.addresses.of(clients);
    let pings = Pings::start(clients, from, ADDRESS, TAP.addr())?;
    let crowd = Crowd::new(clients, ADDRESS, arguments.addresses)?;
    let root = UdpSocket::bind((TAP.addr(), 0))?;
    root.set_broadcast(true)?;
    let bare = Bare::new(&crowd.addresses()?)?;
    let mut swarm = Swarm { crowd, root, bare, clients, next: 0 };
    let id = server.id();
    let say = |what: &str| eprintln!("{clients} clients, server {id}: {what}");

    say("all join");
    let start = swarm.crowd.now();
    swarm.crowd.each(0..clients, f64::INFINITY, Crowd::join)?;
    let all_in = swarm.all_keyed(start)?;
    let all_in = all_in.last().copied().unwrap_or_default();
    swarm.all_there(&mut server)?;
    let hellos = swarm.crowd.hellos() as f64 / clients as f64;
    let before = Losses::so_far()?;
    let mut storm_lost = Vec::new();
    for _ in 0..AFTER_STORM {
        storm_lost.push(swarm.tell_all(Swarm::broadcast)?.lost);
    }
    let storm_backlog = (Losses::so_far()? - before).backlog as f64;
    swarm.crowd.run(SETTLE)?;
    let memory = (server.resident()? as f64 - empty as f64) / clients as f64;

    say("pings alone");
    let start = wall_clock();
    swarm.crowd.run(IDLE)?;
    let idle_ping = Quantiles::of(pings.between(start, wall_clock()));

    say("frames for everybody");
    let (mut tunnel, mut bare, mut flood_pings) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let spent = server.processor()?.workers;
        let mut round = swarm.tell_all(Swarm::broadcast)?;
        round.spent = server.processor()?.workers - spent;
        swarm.crowd.run(PAUSE)?;
        flood_pings.extend(pings.between(round.start, round.start + seconds(round.last)));
        tunnel.push(round);
        bare.push(swarm.tell_all(Swarm::send_bare)?);
        swarm.crowd.run(PAUSE)?;
    }
    let median = |rounds: &[Round], of: fn(&Round) -> f64| {
        Quantiles::of(rounds.iter().map(of).collect()).median
    };
    let mean_lost =
        |rounds: &[Round]| rounds.iter().map(|round| round.lost).sum::<f64>() / ROUNDS as f64;

    say("frames for everybody at a rate");
    let rate = swarm.at_rate(arguments, &mut server, &pings)?;

    let back = if arguments.quick {
        None
    } else {
        say("killed");
        server.kill()?;
        let start = swarm.crowd.now();
        server = ServerProcess::start(&serve)?;
        let times = swarm.all_keyed(start)?;
        let last = times.last().copied().unwrap_or_default();
        Some((Quantiles::of(times), last))
    };
    drop(pings);
    drop(server);
    Ok(Figures {
        clients,
        all_in,
        hellos,
        storm_lost: storm_lost.iter().sum::<f64>() / AFTER_STORM as f64,
        storm_backlog,
        memory,
        idle_ping,
        tunnel: (median(&tunnel, |round| round.first), median(&tunnel, |round| round.last)),
        bare: (median(&bare, |round| round.first), median(&bare, |round| round.last)),
        spent: median(&tunnel, |round| round.spent),
        bare_spent: median(&bare, |round| round.spent),
        lost: mean_lost(&tunnel),
        bare_lost: mean_lost(&bare),
        flood_ping: Quantiles::of(flood_pings),
        rate,
        back,
    })
}

/// How something that was sent to all was heard.
struct Round {
    /// By the wall clock.
    start: Duration,
    /// Seconds until the first and the last had it.
    first: f64,
    last: f64,
    lost: f64,
    /// Processor time of the sender in seconds.
    spent: f64,
}

/// The clients, and whoever speaks to all of them.
struct Swarm {
    crowd: Crowd,
    /// On the server's LAN.
    root: UdpSocket,
    bare: Bare,
    clients: usize,
    next: u64,
}

impl Swarm {
    fn tag(&mut self) -> Tag {
        self.next += 1;
        Tag(self.next)
    }

    /// Runs until all have keys since `start`; the seconds that it took each, in order.
    fn all_keyed(&mut self, start: Duration) -> Result<Vec<f64>> {
        if !self.crowd.run_while(JOIN, |crowd| crowd.wait_for_keys(start) == 0)? {
            let missing = self.crowd.wait_for_keys(start);
            return Err(format!("{missing} of {} clients are not in", self.clients).into());
        }
        let times = self.crowd.keyed_since(start);
        let mut times: Vec<_> = times.iter().map(|&at| (at - start).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Waits until the server has a session with each: it has once it heard of the client's keys.
    fn all_there(&mut self, server: &mut ServerProcess) -> Result<()> {
        // The pings are one more.
        while server.sessions()? <= self.clients {
            self.crowd.run(LOOK)?;
        }
        Ok(())
    }

    /// A frame for everybody: a UDP packet to all of the TAP's subnet.
    fn broadcast(&mut self, tag: Tag) -> Result<f64> {
        self.root.send_to(&tag.bytes(), (TAP.broadcast(), 9))?;
        Ok(0.0)
    }

    /// As large as the sealed datagram of such a frame, by a bare loop on a thread of its own, as the
    /// server has one.
    fn send_bare(&mut self, tag: Tag) -> Result<f64> {
        /// Ethernet, IPv4, UDP, and what sealing adds.
        const HEADERS: usize = 14 + 20 + 8 + acton_proto::wire::OVERHEAD;
        let datagram = [&[0; HEADERS][..], &tag.bytes()].concat();
        let Self { crowd, bare, .. } = self;
        thread::scope(|scope| {
            let sender = scope.spawn(|| bare.send(&datagram));
            crowd.run_while(HEAR, |_| sender.is_finished())?;
            sender.join().map_err(|_| "the bare loop panicked")?
        })
    }

    /// Has something sent to all and waits until all had it. `send` says what processor time it took.
    fn tell_all(&mut self, send: impl FnOnce(&mut Self, Tag) -> Result<f64>) -> Result<Round> {
        let (tag, start, clients) = (self.tag(), wall_clock(), self.clients);
        let spent = send(self, tag)?;
        self.crowd.run_while(HEAR, |crowd| crowd.heard().count(tag) >= clients)?;
        let hearing = self.crowd.heard().get(tag);
        let after = |at: Option<Duration>| at.map_or(f64::NAN, |at| since(start, at));
        Ok(Round {
            start,
            first: after(hearing.map(|hearing| hearing.first)),
            last: after(hearing.map(|hearing| hearing.last)),
            lost: 1.0 - hearing.map_or(0, |hearing| hearing.count) as f64 / clients as f64,
            spent,
        })
    }

    fn at_rate(
        &mut self,
        arguments: &Arguments,
        server: &mut ServerProcess,
        pings: &Pings,
    ) -> Result<Rate> {
        let frames = (arguments.rate * arguments.seconds) as usize;
        let expected = (frames * self.clients) as f64;
        let late = server.counter("drop.flood_late")?;
        let kernel = Losses::so_far()?;
        let (start, spent) = (wall_clock(), server.processor()?.total());
        let tags: Vec<_> = (0..frames).map(|_| self.tag()).collect();
        let mut sent = Vec::with_capacity(frames);
        let Self { crowd, root, clients, .. } = self;
        crowd.each(0..frames, f64::from(arguments.rate), |_, number| {
            sent.push(wall_clock());
            root.send_to(&tags[number].bytes(), (TAP.broadcast(), 9))?;
            Ok(())
        })?;
        let end = wall_clock();
        let processor = (server.processor()?.total() - spent) / (end - start).as_secs_f64();
        // What came waits in the clients' sockets.
        let mut before = usize::MAX;
        let total =
            |crowd: &mut Crowd| tags.iter().map(|&tag| crowd.heard().count(tag)).sum::<usize>();
        let mut reads = READ.as_millis() / HEAR.as_millis();
        while total(crowd) != before && before != frames * *clients && reads > 0 {
            before = total(crowd);
            reads -= 1;
            crowd.run(HEAR)?;
        }
        let kernel = Losses::so_far()? - kernel;
        let last = tags
            .iter()
            .zip(&sent)
            .filter_map(|(&tag, &sent)| Some(since(sent, crowd.heard().get(tag)?.last)));
        Ok(Rate {
            last: Quantiles::of(last.collect()),
            heard: total(crowd) as f64 / expected,
            given_up: (server.counter("drop.flood_late")? - late) as f64 / expected,
            kernel: (kernel.backlog + kernel.buffers) as f64 / expected,
            ping: Quantiles::of(pings.between(start, end)),
            processor,
        })
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn since(start: Duration, then: Duration) -> f64 {
    then.saturating_sub(start).as_secs_f64()
}
