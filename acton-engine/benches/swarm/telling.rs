//! Frames for everybody, one by one and at a rate, beside a bare loop and pings.

use std::thread;
use std::time::Duration;

use crate::contender::TAP;
use crate::kernel::Losses;
use crate::quantiles::{Quantiles, median};
use crate::support::Result;
use crate::support::crowd::{Crowd, Tag, wall_clock};
use crate::swarm::Swarm;
use crate::table::{Bar, Column};

const AFTER_STORM: usize = 5;
const ROUNDS: usize = 10;
/// How long is waited for what was sent to all: in the clients' sockets it stays.
const HEAR: Duration = Duration::from_secs(1);
/// Time between two frames for everybody, for the other programs of this machine.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may still read what came in numbers.
const READ: Duration = Duration::from_secs(30);

/// What the last of all may take, in times of the bare loop's.
const MAX_LAST: f64 = 1.5;
/// What a ping may take meanwhile, in times of an idle one.
const MAX_PING: f64 = 2.0;
/// Clients who hear all of what comes at a rate.
const RATE_CLIENTS: usize = 1_000;

/// How something that was sent to all was heard.
struct Round {
    /// By the wall clock.
    start: Duration,
    /// Seconds until the first and the last had it.
    first: f64,
    last: f64,
    /// Share of the clients that did not have it.
    lost: f64,
    /// Processor time of the sender in seconds.
    spent: f64,
}

impl Round {
    /// When the last had it, by the wall clock.
    fn end(&self) -> Duration {
        self.start + Duration::try_from_secs_f64(self.last).unwrap_or_default()
    }
}

impl Swarm {
    fn tag(&mut self) -> Tag {
        self.told += 1;
        Tag(self.told)
    }

    /// A frame for everybody: a UDP packet to all of the TAP's subnet.
    fn broadcast(&mut self, tag: Tag) -> Result<f64> {
        self.root.send_to(&tag.bytes(), (TAP.broadcast(), 9))?;
        Ok(0.0)
    }

    /// As large as the datagram of such a frame, by a bare loop on a thread of its own, as the server
    /// has one.
    fn send_bare(&mut self, tag: Tag) -> Result<f64> {
        let Self { crowd, bare, .. } = self;
        thread::scope(|scope| {
            let sender = scope.spawn(|| bare.send(&tag.bytes()));
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

    /// Frames for everybody as soon as all are in.
    pub(crate) fn after_storm(&mut self, column: &mut Column) -> Result<()> {
        self.say("frames for everybody at once");
        let before = Losses::so_far()?;
        let mut lost = 0.0;
        for _ in 0..AFTER_STORM {
            lost += self.tell_all(Self::broadcast)?.lost;
        }
        column.hold("right after it: lost, %", percent(lost, AFTER_STORM), Bar::AtMost(0.0));
        let backlog = (Losses::so_far()? - before).backlog as f64;
        column.put("- by the kernel's backlog, frames", backlog);
        Ok(())
    }

    /// A frame for everybody, and a datagram to everybody by a bare loop, some times in turn.
    pub(crate) fn tell(&mut self, idle: Quantiles, column: &mut Column) -> Result<()> {
        self.say("frames for everybody");
        let (mut tunnel, mut bare) = (Vec::new(), Vec::new());
        let (mut pings, mut bare_pings) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let spent = self.server.processor()?.workers;
            let mut round = self.tell_all(Self::broadcast)?;
            round.spent = self.server.processor()?.workers - spent;
            self.crowd.run(PAUSE)?;
            pings.extend(self.pings.between(round.start, round.end()));
            tunnel.push(round);
            let round = self.tell_all(Self::send_bare)?;
            self.crowd.run(PAUSE)?;
            bare_pings.extend(self.pings.between(round.start, round.end()));
            bare.push(round);
        }
        let of = |rounds: &[Round], of: fn(&Round) -> f64| median(rounds.iter().map(of));
        let lost = |rounds: &[Round]| percent(rounds.iter().map(|round| round.lost).sum(), ROUNDS);
        let ratio = |of: fn(&[Round]) -> f64| of(&tunnel) / of(&bare);
        let (pings, bare_pings) = (Quantiles::of(pings), Quantiles::of(bare_pings));

        column.put("a frame for all: first, ms", of(&tunnel, |round| round.first) * 1e3);
        column.put("- last, ms", of(&tunnel, |round| round.last) * 1e3);
        column.hold("- lost, %", lost(&tunnel), Bar::AtMost(0.0));
        column.put("- processor time, ms", of(&tunnel, |round| round.spent) * 1e3);
        column.put("a bare loop: first, ms", of(&bare, |round| round.first) * 1e3);
        column.put("- last, of the bare loop, ms", of(&bare, |round| round.last) * 1e3);
        column.put("- lost, of the bare loop, %", lost(&bare));
        column.put("- processor time, of the bare loop, ms", of(&bare, |round| round.spent) * 1e3);
        let last = ratio(|rounds| median(rounds.iter().map(|round| round.last)));
        column.hold("last : last of the bare loop", last, Bar::AtMost(MAX_LAST));
        let rate = 1.0 / of(&bare, |round| round.last);
        column.put("- the bare loop's most, frames for all a second", rate);
        let spent = ratio(|rounds| median(rounds.iter().map(|round| round.spent)));
        column.put("processor time : the bare loop's", spent);
        column.put("ping meanwhile, ms", pings.median * 1e3);
        column.put("- 99 %, meanwhile, ms", pings.p99 * 1e3);
        column.hold("- : idle", pings.median / idle.median, Bar::AtMost(MAX_PING));
        column.put("ping beside the bare loop, ms", bare_pings.median * 1e3);
        column.put("- 99 %, beside the bare loop, ms", bare_pings.p99 * 1e3);
        Ok(())
    }

    /// Frames for everybody, so many a second for so long.
    pub(crate) fn tell_at_rate(
        &mut self,
        (rate, seconds): (u32, u32),
        idle: Quantiles,
        column: &mut Column,
    ) -> Result<()> {
        self.say("frames for everybody at a rate");
        let frames = (rate * seconds) as usize;
        let expected = frames * self.clients;
        let late = self.given_up()?;
        let kernel = Losses::so_far()?;
        let (start, spent) = (wall_clock(), self.server.processor()?.total());
        let tags: Vec<_> = (0..frames).map(|_| self.tag()).collect();
        let mut sent = Vec::with_capacity(frames);
        let Self { crowd, root, .. } = self;
        crowd.each(0..frames, f64::from(rate), |_, number| {
            sent.push(wall_clock());
            root.send_to(&tags[number].bytes(), (TAP.broadcast(), 9))?;
            Ok(())
        })?;
        let end = wall_clock();
        let processor = (self.server.processor()?.total() - spent) / since(start, end);
        // What came waits in the clients' sockets.
        let mut before = usize::MAX;
        let total =
            |crowd: &mut Crowd| tags.iter().map(|&tag| crowd.heard().count(tag)).sum::<usize>();
        let mut reads = READ.as_millis() / HEAR.as_millis();
        while total(&mut self.crowd) != before && before != expected && reads > 0 {
            before = total(&mut self.crowd);
            reads -= 1;
            self.crowd.run(HEAR)?;
        }
        let kernel = Losses::so_far()? - kernel;
        let lasts = tags
            .iter()
            .zip(&sent)
            .filter_map(|(&tag, &sent)| Some(since(sent, self.crowd.heard().get(tag)?.last)));
        let lasts = Quantiles::of(lasts.collect::<Vec<_>>());
        let heard = total(&mut self.crowd);
        let kernel = kernel.backlog + kernel.buffers;
        let pings = Quantiles::of(self.pings.between(start, end));

        let of_all = |count: f64| percent(count, expected);
        let all = (self.clients <= RATE_CLIENTS).then_some(Bar::AtLeast(100.0));
        column.hold("at a rate: heard, %", of_all(heard as f64), all);
        if let Some(late) = late {
            let given_up = self.given_up()?.unwrap_or_default() - late;
            let told = heard as u64 + given_up + kernel;
            column.put("- given up and counted, %", of_all(given_up as f64));
            let rest = (expected as u64).saturating_sub(told);
            column.hold("- lost without a count, %", of_all(rest as f64), Bar::AtMost(0.0));
        }
        column.put("- lost by the kernel, %", of_all(kernel as f64));
        column.put("- last, at a rate, ms", lasts.median * 1e3);
        column.put("- last, at a rate, 99 %, ms", lasts.p99 * 1e3);
        column.put("- ping, at a rate, ms", pings.median * 1e3);
        column.put("- ping, at a rate, 99 %, ms", pings.p99 * 1e3);
        column.put("- ping, at a rate : idle", pings.median / idle.median);
        column.put("- % of a core", processor * 100.0);
        Ok(())
    }

    /// Frames that the server gave up so far, once for each client, where it can be asked.
    fn given_up(&mut self) -> Result<Option<u64>> {
        let asked = self.server.can_be_asked();
        asked.then(|| self.server.counter("drop.flood_late")).transpose()
    }
}

fn percent(some: f64, all: usize) -> f64 {
    some * 100.0 / all as f64
}

fn since(start: Duration, then: Duration) -> f64 {
    then.saturating_sub(start).as_secs_f64()
}
