//! Many hosts with a TCP stream each through one server.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::Contender;
use crate::host::Host;
use crate::quantiles::{Quantiles, median};
use crate::support::process::ServerProcess;
use crate::support::server::Mode;
use crate::support::{Result, enter_network};
use crate::table::{Bar, Column};
use crate::transfer::{Direction, HostPings, Pace, Transfer, Way};

/// How often is looked at all streams together, and how long.
pub(crate) const LOOKS: (usize, Duration) = (3, Duration::from_secs(8));
/// How long at one alone, at most.
const ALONE: Duration = Duration::from_secs(2);
/// Before that: slow start (RFC 5681) is over, and so many streams have found their shares.
const RAMP: Duration = Duration::from_secs(1);

/// What all carry together, in times of what one carries alone.
const MIN_TOGETHER: f64 = 1.0;
/// What the slowest carries, in times of the fastest.
const MIN_SLOWEST: f64 = 0.5;

/// The rows of a direction.
struct Rows {
    direction: Direction,
    way: Way,
    alone: &'static str,
    together: &'static str,
    ratio: &'static str,
    /// What the server's processor takes for a gigabyte of one alone and of all, and the ratio.
    processor: Option<[&'static str; 3]>,
    fairness: &'static str,
    ping_alone: &'static str,
    ping: &'static str,
    ping_tail: &'static str,
}

const UP: Rows = Rows {
    direction: Direction::ToServer,
    way: Way::Tunnel,
    alone: "to the server: one alone, Gbit/s",
    together: "- all together, Gbit/s",
    ratio: "- all together : one alone",
    processor: Some([
        "- the server's processor time: one alone, s/GB",
        "- the server's processor time: all together, s/GB",
        "- the server's processor time: together : alone",
    ]),
    fairness: "- slowest : fastest",
    ping_alone: "- another's ping beside one, ms",
    ping: "- another's ping beside all, ms",
    ping_tail: "- another's ping beside all, 99 %, ms",
};
const DOWN: Rows = Rows {
    direction: Direction::ToClient,
    way: Way::Tunnel,
    alone: "to the clients: one alone, Gbit/s",
    together: "- all together, to the clients, Gbit/s",
    ratio: "- all together : one alone, to the clients",
    processor: Some([
        "- the server's processor time: one alone, to the clients, s/GB",
        "- the server's processor time: all together, to the clients, s/GB",
        "- the server's processor time: together : alone, to the clients",
    ]),
    fairness: "- slowest : fastest, to the clients",
    ping_alone: "- another's ping beside one, to the clients, ms",
    ping: "- another's ping beside all, to the clients, ms",
    ping_tail: "- another's ping beside all, to the clients, 99 %, ms",
};

/// The same without a tunnel: what these processors and this kernel do with so many streams.
const CABLE: Rows = Rows {
    direction: Direction::ToServer,
    way: Way::Cable,
    alone: "without a tunnel: one alone, Gbit/s",
    together: "- all together, without a tunnel, Gbit/s",
    ratio: "- all together : one alone, without a tunnel",
    processor: None,
    fairness: "- slowest : fastest, without a tunnel",
    ping_alone: "- another's ping beside one, without a tunnel, ms",
    ping: "- another's ping beside all, without a tunnel, ms",
    ping_tail: "- another's ping beside all, without a tunnel, 99 %, ms",
};

/// A column of so many hosts, and one more that pings.
pub(crate) fn measure(
    mode: Mode,
    hosts: u8,
    looks: (usize, Duration),
    workers: Option<usize>,
) -> Result<Column> {
    enter_network()?;
    let contender = Contender::Acton(mode);
    let sessions = usize::from(hosts) + 1;
    let server = contender.start(Ipv4Addr::UNSPECIFIED, sessions, workers)?;
    let say = |what: &str| {
        eprintln!("{}, {hosts} hosts, server {}: {what}", contender.name(), server.id());
    };
    say("hosts join");
    let all: Vec<_> = (1..=hosts).map(|number| Host::join(mode, number)).collect::<Result<_>>()?;
    let other = Host::join(mode, hosts + 1)?;
    let pings = HostPings::start(&other)?;
    let mut column = Column::new(contender.name());
    say("nobody sends");
    thread::sleep(RAMP);
    pings.take();
    thread::sleep(looks.1.min(ALONE));
    let idle = Quantiles::of(pings.take());
    column.put("ping, nobody sends, ms", idle.median * 1e3);
    for rows in [UP, DOWN, CABLE] {
        say("streams");
        direction(&server, &all, &pings, &rows, looks, &mut column)?;
    }
    Ok(column)
}

fn direction(
    server: &ServerProcess,
    hosts: &[Host],
    pings: &HostPings,
    rows: &Rows,
    (rounds, time): (usize, Duration),
    column: &mut Column,
) -> Result<()> {
    let (mut alone, mut together, mut carried) = (Vec::new(), Vec::new(), vec![0; hosts.len()]);
    let (mut pings_alone, mut pings_together) = (Vec::new(), Vec::new());
    let (mut spent_alone, mut spent_together) = (Vec::new(), Vec::new());
    let gigabytes = |bytes: &[u64]| bytes.iter().sum::<u64>() as f64 / 1e9;
    for round in 0..rounds {
        // Each round another one.
        let one = &hosts[round % hosts.len()];
        let Seen { bytes, seconds, spent } =
            look(server, std::slice::from_ref(one), rows, pings, time.min(ALONE))?;
        alone.push(gigabytes(&bytes) * 8.0 / seconds);
        spent_alone.push(spent / gigabytes(&bytes));
        pings_alone.extend(pings.take());
        let Seen { bytes, seconds, spent } = look(server, hosts, rows, pings, time)?;
        together.push(gigabytes(&bytes) * 8.0 / seconds);
        spent_together.push(spent / gigabytes(&bytes));
        pings_together.extend(pings.take());
        carried.iter_mut().zip(bytes).for_each(|(all, bytes)| *all += bytes);
    }
    let (alone, together) = (median(alone), median(together));
    let pings = Quantiles::of(pings_together);
    column.put(rows.alone, alone);
    column.put(rows.together, together);
    let of_tunnel = rows.way == Way::Tunnel;
    let bar = |least| of_tunnel.then_some(Bar::AtLeast(least));
    column.hold(rows.ratio, together / alone, bar(MIN_TOGETHER));
    if let Some([alone, together, ratio]) = rows.processor {
        let spent = [median(spent_alone), median(spent_together)];
        column.put(alone, spent[0]);
        column.put(together, spent[1]);
        column.put(ratio, spent[1] / spent[0]);
    }
    let [slowest, fastest] = [carried.iter().min(), carried.iter().max()];
    let fairness = slowest.map_or(0.0, |&b| b as f64) / fastest.map_or(0.0, |&b| b as f64);
    column.hold(rows.fairness, fairness, bar(MIN_SLOWEST));
    column.put(rows.ping_alone, median(pings_alone) * 1e3);
    column.put(rows.ping, pings.median * 1e3);
    column.put(rows.ping_tail, pings.p99 * 1e3);
    Ok(())
}

/// What was seen of streams.
struct Seen {
    /// Bytes that came of each.
    bytes: Vec<u64>,
    seconds: f64,
    /// The server's processor time in seconds.
    spent: f64,
}

/// Looks while all of these have a stream. What pings took meanwhile is there to be taken.
fn look(
    server: &ServerProcess,
    hosts: &[Host],
    rows: &Rows,
    pings: &HostPings,
    time: Duration,
) -> Result<Seen> {
    let start = |host: &Host| Transfer::start(host, rows.way, rows.direction);
    let transfers: Vec<_> = hosts.iter().map(start).collect::<Result<_>>()?;
    transfers.iter().for_each(|transfer| transfer.go(Pace::Unlimited));
    thread::sleep(RAMP);
    pings.take();
    let (start, before) = (Instant::now(), transfers.iter().map(Transfer::carried));
    let (before, spent) = (before.collect::<Vec<_>>(), server.processor()?.total());
    thread::sleep(time);
    let bytes = transfers.iter().zip(before).map(|(transfer, before)| transfer.carried() - before);
    let (bytes, seconds) = (bytes.collect(), start.elapsed().as_secs_f64());
    Ok(Seen { bytes, seconds, spent: server.processor()?.total() - spent })
}
