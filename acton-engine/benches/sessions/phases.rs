//! What is measured with one number of clients, in this order:
//!
//! 1. All join.
//! 2. Beside them [`GUESTS`] come and go, in rounds: what a join and a leave cost at this size.
//! 3. Nothing happens but keepalives and timers: no keys carried a frame, and they are younger than ten
//!    minutes.
//! 4. Some make new keys at once, and the old ones are dropped: what a rekey costs.
//!
//! From the processor time of each is subtracted what 3 shows for as long, and what the rekeys cost
//! that came meanwhile.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Add, Range};
use std::time::{Duration, Instant};

use acton_proto::session::REKEY_AFTER;

use crate::support::Result;
use crate::support::crowd::{Addresses, Crowd};
use crate::support::process::{Processor, ServerProcess};
use crate::support::server::{Mode, Serve};

/// Clients that come and go beside those that stay.
pub(crate) const GUESTS: usize = 300;

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Clients that come and go before anything is measured: the first make the server touch its
/// buffers.
const FIRST_GUESTS: usize = 2;
/// Rounds of guests: with more, the first clients would make new keys meanwhile.
const ROUNDS: usize = 3;
/// After joins and leaves: probes of the path's MTU, and their answers.
const SETTLE: Duration = Duration::from_millis(500);
/// As long as a client's time between two keepalives, so that each says one.
const CALM: Duration = Duration::from_secs(15);
/// After a rekey: the server drops the old keys 10 s after it looked at the session, which it does
/// each 10 s.
const REKEYED: Duration = Duration::from_secs(21);
/// Clients that make new keys in one go at most, and how many shall in all.
const MAX_BURST: usize = 1_000;
const MIN_REKEYS: usize = 300;
/// How long is waited for the server to have the sessions that clients have.
const HANG: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// What one number of clients showed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) clients: usize,
    /// Seconds a join, at this size.
    pub(crate) join: Processor,
    /// Seconds a join, the mean of the first of all to the last.
    pub(crate) join_mean: Processor,
    pub(crate) rekey: Processor,
    pub(crate) leave: Processor,
    /// Share of a processor, 0 to 1, without and with rekeys.
    pub(crate) calm: Processor,
    pub(crate) idle: Processor,
    /// Resident bytes a session, when all had joined.
    pub(crate) memory: f64,
    /// The same at the end, for as many as there were with the guests: memory that these left
    /// behind is still there.
    pub(crate) memory_at_end: f64,
}

/// Time between two rekeys of a client that sends no frame: 798 s (docs/PROTOCOL.md, section 9).
fn rekey_interval() -> Duration {
    (REKEY_AFTER - REKEY_AFTER / 20) * 7
}

/// Measures a server of so many clients that do what they do `pace` times a second.
pub(crate) fn measure(
    clients: usize,
    pace: f64,
    quick: bool,
    workers: Option<usize>,
) -> Result<Figures> {
    let all = clients + GUESTS;
    let serve = Serve { serve: Some(ADDRESS), max_sessions: all, workers, ..Serve::default() };
    let server = ServerProcess::start(&serve)?;
    let crowd = Crowd::new(Mode::Secure, all, ADDRESS, Addresses::Many)?;
    let mut bench = Bench { server, crowd, pace };
    let id = bench.server.id();
    let say = |what: &str| eprintln!("{clients} clients, server {id}: {what}");

    let first = clients..clients + FIRST_GUESTS;
    say("joining");
    bench.join(first.clone(), FIRST_GUESTS)?;
    bench.leave(first, 0)?;
    let empty = bench.server.resident()?;
    // Few take their time too, or their keepalives would all come at once.
    bench.pace = pace.min(clients as f64 / CALM.as_secs_f64());
    let joins = bench.window(|bench| bench.join(0..clients, clients))?;
    bench.pace = pace;
    let full = bench.server.resident()?;

    say("guests come and go");
    let (mut guest_joins, mut guest_leaves) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        guest_joins.push(bench.window(|bench| bench.join(clients..all, all))?);
        guest_leaves.push(bench.window(|bench| bench.leave(clients..all, clients))?);
    }

    say("idle");
    let calm = if quick { CALM * 4 } else { CALM * 8 };
    let calm = bench.window(|bench| bench.crowd.run(calm))?;

    say("making new keys");
    let burst = clients.min(MAX_BURST);
    let mut rekeys = Window::default();
    for _ in 0..MIN_REKEYS.div_ceil(burst) {
        rekeys = rekeys + bench.window(|bench| bench.rekey(burst, clients))?;
    }
    let end = bench.server.resident()?;
    bench.expect(clients)?;

    let cost = Cost::of(&calm, &rekeys);
    let each = |windows: &[Window]| {
        let mut costs: Vec<_> =
            windows.iter().map(|window| cost.beside(window, 1.0) * (1.0 / GUESTS as f64)).collect();
        costs.sort_by(|a, b| a.total().total_cmp(&b.total()));
        costs[costs.len() / 2]
    };
    let rekeys_a_second = clients as f64 / rekey_interval().as_secs_f64();
    let memory = |resident: u64, most: usize| (resident as f64 - empty as f64) / most as f64;
    Ok(Figures {
        clients,
        join: each(&guest_joins),
        // On the average half of the clients were there.
        join_mean: cost.beside(&joins, 0.5) * (1.0 / clients as f64),
        rekey: cost.rekey,
        leave: each(&guest_leaves),
        calm: cost.second,
        idle: cost.second + cost.rekey * rekeys_a_second,
        memory: memory(full, clients),
        memory_at_end: memory(end, all),
    })
}

/// A server and its clients.
struct Bench {
    server: ServerProcess,
    crowd: Crowd,
    /// Of whatever clients do, a second.
    pace: f64,
}

impl Bench {
    /// Has these join, so that so many are there.
    fn join(&mut self, numbers: Range<usize>, then: usize) -> Result<()> {
        self.crowd.each(numbers, self.pace, Crowd::join)?;
        self.expect(then)?;
        self.crowd.run(SETTLE)
    }

    /// Has these leave, so that so many are left.
    fn leave(&mut self, numbers: Range<usize>, then: usize) -> Result<()> {
        self.crowd.each(numbers, self.pace, Crowd::leave)?;
        self.expect(then)?;
        self.crowd.run(SETTLE)
    }

    /// Has `count` of `clients` make new keys, not neighbours, who would share cache lines.
    fn rekey(&mut self, count: usize, clients: usize) -> Result<()> {
        let before = self.crowd.rekeys();
        let numbers = (0..count).map(|turn| turn * clients / count);
        self.crowd.each(numbers, self.pace, Crowd::rekey)?;
        self.crowd.run(REKEYED)?;
        let made = self.crowd.rekeys() - before;
        if made < count { Err(format!("{made} of {count} rekeys").into()) } else { Ok(()) }
    }

    /// Waits until the server has so many sessions.
    fn expect(&mut self, sessions: usize) -> Result<()> {
        let start = Instant::now();
        loop {
            self.crowd.run(LOOK)?;
            if self.crowd.losses() > 0 {
                return Err("a client lost its session".into());
            }
            let open = self.server.sessions()?;
            if open == sessions {
                return Ok(());
            }
            if start.elapsed() > HANG {
                return Err(format!("the server has {open} sessions in place of {sessions}").into());
            }
        }
    }

    /// What the server spends while the clients do something.
    fn window(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<Window> {
        let (start, spent, rekeys) =
            (Instant::now(), self.server.processor()?, self.crowd.rekeys());
        act(self)?;
        Ok(Window {
            seconds: start.elapsed().as_secs_f64(),
            spent: self.server.processor()? - spent,
            rekeys: (self.crowd.rekeys() - rekeys) as f64,
        })
    }
}

/// What the server spent in some time.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    seconds: f64,
    spent: Processor,
    rekeys: f64,
}

impl Add for Window {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            seconds: self.seconds + other.seconds,
            spent: self.spent + other.spent,
            rekeys: self.rekeys + other.rekeys,
        }
    }
}

/// What goes on beside joins and leaves, in seconds of processor time.
struct Cost {
    /// A second with all clients there, without rekeys.
    second: Processor,
    rekey: Processor,
}

impl Cost {
    /// From two times, one of few and one of many rekeys: two equations with two unknowns.
    fn of(few: &Window, many: &Window) -> Self {
        let scale = 1.0 / (few.seconds * many.rekeys - many.seconds * few.rekeys);
        Self {
            second: (few.spent * many.rekeys - many.spent * few.rekeys) * scale,
            rekey: (many.spent * few.seconds - few.spent * many.seconds) * scale,
        }
    }

    /// What the server spent in `window` besides, where this share of all clients was there.
    fn beside(&self, window: &Window, share: f64) -> Processor {
        window.spent - self.second * (window.seconds * share) - self.rekey * window.rekeys
    }
}
