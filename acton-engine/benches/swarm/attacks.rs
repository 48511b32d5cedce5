//! What it costs a client's transfer that others attack the server, or only come and go.
//!
//! The attackers take the same processors as the server and the client. What that alone costs shows
//! the same flood past the server, to a socket that nobody reads.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::flood::{Aim, Flood};
use crate::host::Host;
use crate::insider::{Frames, Insider};
use crate::joining::GUESTS_A_SECOND;
use crate::outsider::{self, Knowledge, Outsider};
use crate::quantiles::median;
use crate::support::crowd::{Addresses, Crowd};
use crate::support::process::ServerProcess;
use crate::support::server::Mode;
use crate::support::{Result, enter_network};
use crate::swarm::{ADDRESS, GUESTS};
use crate::table::{Bar, Column};
use crate::transfer::{Direction, HostPings, Pace, Transfer, Way};

/// How often is looked at each pace of the transfer, and how long: in all a flood sends a million.
pub(crate) const LOOKS: (usize, Duration) = (3, Duration::from_millis(1_800));
/// Before a look, for the queues to become what they will be.
const RAMP: Duration = Duration::from_millis(200);

/// What is to be left of the throughput.
const MIN_THROUGHPUT: f64 = 0.9;
/// What a ping may take, in times of what it takes else.
const MAX_PING: f64 = 2.0;
/// MiB by which the server may grow from the end of the first look at an attack, when tables of a
/// bounded size are full, to the end of the last.
const MAX_GROWTH: f64 = 1.0;

/// What goes on beside the transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Hellos(Knowledge),
    Insider(Frames),
    /// No attack: clients that join and leave.
    Guests,
}

impl Attack {
    /// Those that a server of this mode can meet.
    fn all(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Secure => &[
                Self::Hellos(Knowledge::Nothing),
                Self::Hellos(Knowledge::NetworkKey),
                Self::Insider(Frames::Broadcasts),
                Self::Insider(Frames::RandomMacs),
                Self::Guests,
            ],
            // HELLO last: each address gets a session.
            Mode::Plain => &[
                Self::Insider(Frames::Broadcasts),
                Self::Insider(Frames::RandomMacs),
                Self::Guests,
                Self::Hellos(Knowledge::Plain),
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hellos(Knowledge::Nothing) => "HELLO",
            Self::Hellos(Knowledge::NetworkKey) => "signed HELLO",
            Self::Hellos(Knowledge::Plain) => "HELLO",
            Self::Insider(Frames::Broadcasts) => "broadcasts",
            Self::Insider(Frames::RandomMacs) => "random MACs",
            Self::Guests => "joins and leaves",
        }
    }

    fn flood(self, mode: Mode) -> Result<Option<Flood>> {
        let flood = match self {
            Self::Hellos(knowledge) => Flood::start(Box::new(Outsider::new(knowledge)?), ADDRESS)?,
            Self::Insider(frames) => {
                let from = Addresses::One.of(0);
                let number = GUESTS + frames as usize;
                let insider = Insider::join(mode, number, from, ADDRESS, frames)?;
                Flood::start(Box::new(insider), ADDRESS)?
            }
            Self::Guests => return Ok(None),
        };
        Ok(Some(flood))
    }
}

/// A pace of the transfer, and its rows.
struct Rows {
    pace: Pace,
    throughput: [&'static str; 3],
    throughput_ratios: [&'static str; 2],
    ping: [&'static str; 3],
    ping_ratios: [&'static str; 2],
}

/// 500 Mbit/s: there is room on the processors, also for an attacker.
const PACED: Rows = Rows {
    pace: Pace::Bytes(62_500),
    throughput: [
        "a transfer of 0.5 Gbit/s: quiet, Gbit/s",
        "- flood past the server, Gbit/s",
        "- beside it, Gbit/s",
    ],
    throughput_ratios: ["- beside it : quiet", "- beside it : flood past the server"],
    ping: ["- ping: quiet, ms", "- ping: flood past the server, ms", "- ping: beside it, ms"],
    ping_ratios: ["- ping: beside it : quiet", "- ping: beside it : flood past the server"],
};
const UNLIMITED: Rows = Rows {
    pace: Pace::Unlimited,
    throughput: [
        "a transfer without a limit: quiet, Gbit/s",
        "- flood past the server, no limit, Gbit/s",
        "- beside it, no limit, Gbit/s",
    ],
    throughput_ratios: [
        "- beside it : quiet, no limit",
        "- beside it : flood past the server, no limit",
    ],
    ping: [
        "- ping, no limit: quiet, ms",
        "- ping, no limit: flood past the server, ms",
        "- ping, no limit: beside it, ms",
    ],
    ping_ratios: [
        "- ping, no limit: beside it : quiet",
        "- ping, no limit: beside it : flood past the server",
    ],
};

/// What looks at the transfer showed while one thing went on.
#[derive(Debug, Default)]
struct Looks {
    gigabits: Vec<f64>,
    pings: Vec<f64>,
}

/// While nothing else happened, while the flood went past the server, and beside what is in question.
type AllLooks = [Looks; 3];

impl Rows {
    fn fill(&self, looks: &AllLooks, column: &mut Column) {
        let figures = |of: fn(&Looks) -> &Vec<f64>| {
            looks.each_ref().map(|looks| median(of(looks).iter().copied()))
        };
        let mut rows = |names: [&'static str; 3], ratios: [_; 2], values: [f64; 3], bar| {
            names.into_iter().zip(values).for_each(|(name, value)| column.put(name, value));
            let [quiet, past, beside] = values;
            column.hold(ratios[0], beside / quiet, bar);
            if !past.is_nan() {
                column.hold(ratios[1], beside / past, bar);
            }
        };
        let gigabits = figures(|looks| &looks.gigabits);
        rows(self.throughput, self.throughput_ratios, gigabits, Bar::AtLeast(MIN_THROUGHPUT));
        let pings = figures(|looks| &looks.pings).map(|seconds| seconds * 1e3);
        rows(self.ping, self.ping_ratios, pings, Bar::AtMost(MAX_PING));
    }
}

/// A server, a host whose transfer goes on all the time, and guests.
struct Scene {
    pings: HostPings,
    transfer: Transfer,
    _host: Host,
    guests: Crowd,
    /// The one that joins next.
    guest: usize,
    server: ServerProcess,
    rounds: usize,
    window: Duration,
}

impl Scene {
    fn look(&mut self, looks: &mut Looks, comings: bool) -> Result<()> {
        self.pass(RAMP, comings)?;
        self.pings.take();
        let (start, before) = (Instant::now(), self.transfer.carried());
        self.pass(self.window, comings)?;
        let bytes = self.transfer.carried() - before;
        looks.gigabits.push(bytes as f64 * 8e-9 / start.elapsed().as_secs_f64());
        looks.pings.extend(self.pings.take());
        Ok(())
    }

    /// Guests that join while one looks.
    fn turns(&self) -> u64 {
        ((self.window + RAMP).as_secs_f64() * GUESTS_A_SECOND) as u64
    }

    /// Lets time pass, in which guests come and go or not.
    fn pass(&mut self, time: Duration, comings: bool) -> Result<()> {
        if !comings {
            thread::sleep(time);
            return Ok(());
        }
        let turns = (time.as_secs_f64() * GUESTS_A_SECOND) as usize;
        let first = self.guest;
        self.guest = (first + turns) % GUESTS;
        self.guests.each(first..first + turns, GUESTS_A_SECOND, |guests, turn| {
            guests.leave((turn + GUESTS / 2) % GUESTS)?;
            guests.join(turn % GUESTS)
        })
    }
}

/// A column for each attack on a server of this mode.
pub(crate) fn measure(
    mode: Mode,
    (rounds, window): (usize, Duration),
    workers: Option<usize>,
) -> Result<Vec<Column>> {
    enter_network()?;
    let sessions = GUESTS + outsider::ADDRESSES + 10;
    let server = Contender::Acton(mode).start(Ipv4Addr::UNSPECIFIED, sessions, workers)?;
    let host = Host::join(mode, 1)?;
    let transfer = Transfer::start(&host, Way::Tunnel, Direction::ToServer)?;
    let pings = HostPings::start(&host)?;
    let guests = Crowd::new(mode, GUESTS, ADDRESS, Addresses::Many)?;
    let mut scene =
        Scene { pings, transfer, _host: host, guests, guest: 0, server, rounds, window };
    Attack::all(mode).iter().map(|&attack| one(&mut scene, mode, attack)).collect()
}

fn one(scene: &mut Scene, mode: Mode, attack: Attack) -> Result<Column> {
    let server = scene.server.id();
    eprintln!(
        "{}, server {server}: a transfer beside {}",
        Contender::Acton(mode).name(),
        attack.name()
    );
    let flood = attack.flood(mode)?;
    let all_rows = [PACED, UNLIMITED];
    let mut looks = <[AllLooks; 2]>::default();
    let (mut turns, mut seconds, mut first) = (0, 0.0, None);
    for _ in 0..scene.rounds {
        for (rows, [quiet, past, beside]) in all_rows.iter().zip(&mut looks) {
            scene.transfer.go(rows.pace);
            scene.look(quiet, false)?;
            if let Some(flood) = &flood {
                flood.aim(Aim::Past);
                scene.look(past, false)?;
                flood.aim(Aim::Server);
            }
            let (start, before) = (Instant::now(), flood.as_ref().map_or(0, Flood::sent));
            scene.look(beside, flood.is_none())?;
            seconds += start.elapsed().as_secs_f64();
            turns += flood.as_ref().map_or(scene.turns(), Flood::sent) - before;
            if let Some(flood) = &flood {
                flood.aim(Aim::Nowhere);
            }
        }
        first.get_or_insert(scene.server.resident()?);
    }
    let grown = scene.server.resident()? as f64 - first.unwrap_or_default() as f64;

    let mut column = Column::new(attack.name());
    column.put("of these, thousands a second", turns as f64 / seconds / 1e3);
    for (rows, looks) in all_rows.iter().zip(&looks) {
        rows.fill(looks, &mut column);
    }
    column.hold("memory's growth, MiB", grown / f64::from(1 << 20), Bar::AtMost(MAX_GROWTH));
    Ok(column)
}
