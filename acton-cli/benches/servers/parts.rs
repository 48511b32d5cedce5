//! What happens to the servers, and what comes of it for each client.

use std::thread;
use std::time::Duration;

use crate::clients::Clients;
use crate::clock::Clock;
use crate::support::ask::told;
use crate::support::{Acton, counter, counters};
use crate::table::Table;
use crate::traffic::{Log, Packet, Records, Traffic};
use crate::usage::Machine;
use crate::watch::{self, Arrivals, first};
use crate::world::World;

/// A client is at another server so soon after its own was killed or cut off; and the LAN knows, then.
const BACK: Duration = Duration::from_secs(3);
const KNOWN: Duration = Duration::from_secs(1);
/// How long everything is watched after the last client went.
const AFTER: Duration = Duration::from_secs(6);
/// How long the answer to a ping may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How long is waited for clients that are to go, and for those that are to come back: of a server that
/// was lost twice they do so after four minutes.
const PATIENCE: Duration = Duration::from_secs(90);
const LONG_PATIENCE: Duration = Duration::from_secs(400);

/// Everything, in the course of which the clients are now at one server, now at the other.
pub(crate) struct Trial {
    pub(crate) clock: Clock,
    pub(crate) world: World,
    pub(crate) servers: [Option<Acton>; 2],
    pub(crate) clients: Clients,
    pub(crate) traffic: Traffic,
    pub(crate) sessions: Arrivals,
    pub(crate) macs: Arrivals,
    pub(crate) table: Table,
    /// Over how many seconds a server drains; as `acton drain` likes without it.
    pub(crate) over: Option<u64>,
}

/// What programs took at one time.
struct Usage {
    at: Duration,
    servers: [Duration; 2],
    clients: Duration,
    own: Duration,
    machine: Machine,
}

/// A part of the run that begins.
struct Part {
    name: &'static str,
    /// Where clients are to go.
    to: usize,
    begun: Usage,
}

impl Trial {
    fn usage(&self) -> Usage {
        let time =
            |server: &Option<Acton>| server.as_ref().map_or(Duration::ZERO, Acton::processor_time);
        let own = testbed::proc::group_and_time("/proc/self/stat".as_ref()).unwrap().1;
        let [a, b] = &self.servers;
        let servers = [time(a), time(b)];
        let (clients, machine) = (self.clients.processor_time(), Machine::now());
        Usage { at: self.clock.now(), servers, clients, own, machine }
    }

    fn begin(&self, name: &'static str, to: usize) -> Part {
        Part { name, to, begun: self.usage() }
    }

    fn count(&self) -> usize {
        self.world.clients.len()
    }

    /// Waits until the LAN knows all clients at the server where they are to go, and a while longer.
    fn wait(&self, part: &Part) {
        let is_there = |part: &Part| {
            let there = first(&self.macs, self.count(), part.to, part.begun.at);
            there.iter().all(Option::is_some)
        };
        let patience = if part.to == 0 { LONG_PATIENCE } else { PATIENCE };
        while !is_there(part) && self.clock.now() - part.begun.at < patience {
            thread::sleep(Duration::from_millis(200));
        }
        thread::sleep(AFTER);
    }

    /// `acton drain` of server A.
    pub(crate) fn drain(&mut self) {
        let part = self.begin("drain", 1);
        let server = self.servers[0].as_ref().expect("server A runs");
        let over = self.over.map(|over| over.to_string());
        let over = over.iter().flat_map(|over| ["--over", over]);
        let arguments: Vec<_> = ["drain"].into_iter().chain(over).collect();
        let said = told(server, &arguments);
        self.wait(&part);
        self.table.say(part.name, "server A says", said.trim());
        self.gone(&part);
        self.unbroken(&part);
        self.cost(&part);
        told(self.servers[0].as_ref().expect("server A runs"), &["drain", "--stop"]);
    }

    /// `kill -9` of server A, which is started again at the end.
    pub(crate) fn kill(&mut self) {
        let server = self.servers[0].take().expect("server A runs");
        let part = self.begin("kill", 1);
        server.kill();
        self.wait(&part);
        self.back(&part);
        self.cost(&part);
        let server = self.world.serve(0);
        watch::sessions(self.clock, 0, &server, &self.sessions);
        self.servers[0] = Some(server);
    }

    /// The link of server A to the LAN goes down, so that it asks its clients to go; it is up at the end.
    pub(crate) fn fabric(&mut self) {
        let part = self.begin("fabric", 1);
        self.world.join_lan(0, false);
        self.wait(&part);
        self.back(&part);
        self.cost(&part);
        self.world.join_lan(0, true);
    }

    /// Server A is there and nobody reaches it; the cable is mended at the end.
    pub(crate) fn link(&mut self) {
        let part = self.begin("link", 1);
        self.world.plug(0, false);
        self.wait(&part);
        self.back(&part);
        self.cost(&part);
        self.world.plug(0, true);
    }

    /// Clients go back to server A by themselves.
    pub(crate) fn come_back(&mut self) {
        let part = self.begin("return", 0);
        self.wait(&part);
        self.gone(&part);
        self.unbroken(&part);
        self.cost(&part);
    }

    /// When clients had a session with the other server, since the part began, and when the LAN knew.
    fn arrivals(&self, part: &Part) -> [Vec<Option<Duration>>; 2] {
        let since = part.begun.at;
        let times = |arrivals: &Arrivals| {
            let times = first(arrivals, self.count(), part.to, since);
            times.into_iter().map(|at| Some(at?.saturating_sub(since))).collect()
        };
        [times(&self.sessions), times(&self.macs)]
    }

    /// How long clients had no server.
    fn back(&mut self, part: &Part) {
        let [sessions, macs] = self.arrivals(part);
        let after = |(session, mac): (&Option<Duration>, &Option<Duration>)| {
            Some((*mac)?.saturating_sub((*session)?))
        };
        let known: Vec<_> = sessions.iter().zip(&macs).map(after).collect();
        let since = micros(part.begun.at);
        let answered = |pings: &Vec<Packet>| {
            let after = pings.iter().filter(|ping| ping.sent >= since);
            let came = after.filter_map(|ping| ping.came).min()?;
            Some(Duration::from_micros((came - since).into()))
        };
        let answered: Vec<_> = self.records(|records| records.pings.iter().map(answered).collect());
        let (name, table) = (part.name, &mut self.table);
        table.times(name, "s until a session with the other server", &sessions, Some(BACK));
        table.times(name, "s from then until the LAN has its MAC there", &known, Some(KNOWN));
        table.times(name, "s until a ping of the root is answered", &answered, None);
        let log = counters(self.servers[part.to].as_ref().expect("the other server runs"));
        let names = ["handshake.welcomed", "handshake.repeated", "handshake.retries"];
        let dropped = ["drop.hello_limited", "drop.control_busy", "drop.query_limited"];
        let counts: Vec<_> = names.iter().chain(&dropped).map(|name| counter(&log, name)).collect();
        let what = "handshakes of server B so far: done, repeated, with a cookie";
        self.table.say(part.name, what, format!("{:?}; dropped {:?}", &counts[..3], &counts[3..]));
    }

    /// When clients went.
    fn gone(&mut self, part: &Part) {
        let [sessions, macs] = self.arrivals(part);
        let both = |(session, mac): (&Option<Duration>, &Option<Duration>)| {
            Some((*mac)?.saturating_sub((*session)?))
        };
        let known: Vec<_> = sessions.iter().zip(&macs).map(both).collect();
        let (name, table) = (part.name, &mut self.table);
        table.times(name, "s until a client is at the other server", &macs, None);
        table.times(name, "s from its session there until the LAN has its MAC", &known, None);
    }

    /// That no client noticed.
    fn unbroken(&mut self, part: &Part) {
        let (since, until) =
            (micros(part.begun.at), micros(self.clock.now().saturating_sub(ANSWER)));
        let span = |packet: &&Packet| (since..until).contains(&packet.sent);
        let (pings, streams, waits) = self.records(|records| {
            let slowest = |log: &Vec<Packet>| {
                let times = log.iter().filter(span).filter_map(|it| Some(it.came? - it.sent));
                times.max().map(|most| Duration::from_micros(most.into()))
            };
            let waits: Vec<_> = records.pings.iter().map(slowest).collect();
            (Counts::of(&records.pings, span), Counts::of(&records.streams, span), waits)
        });
        let (name, table) = (part.name, &mut self.table);
        let what = format!("pings lost, of {} that were sent", pings.sent);
        table.holds(name, &what, pings.lost, "0", pings.lost == 0);
        table.holds(name, "clients that lost any", pings.losers, "0", pings.losers == 0);
        table.times(name, "s that its slowest answer took", &waits, None);
        let what = format!("datagrams of transfers lost, of {}", streams.sent);
        table.say(name, &what, streams.lost);
        let doubled = format!("{}, {}", pings.doubled, streams.doubled);
        table.say(name, "answers and datagrams that came twice", doubled);
    }

    /// What it took.
    fn cost(&mut self, part: &Part) {
        let (before, after) = (&part.begun, self.usage());
        let took = (after.at - before.at).as_secs_f64();
        let share = |before: Duration, after: Duration| {
            format!("{:.0} %", after.saturating_sub(before).as_secs_f64() / took * 100.0)
        };
        let [a, b] = [0, 1].map(|it| share(before.servers[it], after.servers[it]));
        let clients = share(before.clients, after.clients);
        let own = share(before.own, after.own);
        let (name, table) = (part.name, &self.table);
        let cost = format!("{took:.0} s: {a}, {b}, {clients}, {own}");
        table.say(name, "of a processor: servers A, B, all clients, this program", cost);
        let what = "of the machine: busy, and that with programs that are nice";
        table.say(name, what, after.machine.since(&before.machine));
        let late = self.records(|records| {
            let mut late = std::mem::take(&mut records.late);
            late.sort_unstable();
            let at = |percent: usize| late.get((late.len() * percent / 100).min(late.len() - 1));
            [99, 100].map(|percent| f64::from(at(percent).copied().unwrap_or(0)) / 1e3)
        });
        let late = format!("{:.1}, {:.1}; load {:.1}", late[0], late[1], watch::load());
        self.table.say(part.name, "ms that pings were sent late: p99, most", late);
        let ended = self.clients.ended();
        if ended > 0 {
            self.table.holds(part.name, "clients that ended", ended, "0", false);
        }
    }

    /// Waits until the LAN knows all clients at server A, where they begin.
    pub(crate) fn settle(&self) {
        let all = Part { name: "", to: 0, begun: Usage { at: Duration::ZERO, ..self.usage() } };
        self.wait(&all);
    }

    /// What everything takes in so many seconds in which nothing happens.
    pub(crate) fn rest(&mut self, seconds: u64) {
        let part = self.begin("rest", 0);
        thread::sleep(Duration::from_secs(seconds));
        let failed = self.table.failed();
        self.unbroken(&part);
        if self.table.failed() > failed {
            let what = "this machine has no room for so many: what follows says nothing";
            self.table.say(part.name, what, "");
        }
        self.cost(&part);
        let memory = |server: &Option<Acton>| {
            server.as_ref().map_or(0, |server| server.proc_status("VmRSS"))
        };
        let [a, b] = [0, 1].map(|it| memory(&self.servers[it]) / 1_024);
        let (client, threads) = self.clients.memory();
        let memory = format!("{a}, {b}; {:.1} with {threads} threads", client as f64 / 1_024.0);
        self.table.say(part.name, "MiB of servers A, B; of a client", memory);
    }

    fn records<T>(&self, look: impl FnOnce(&mut Records) -> T) -> T {
        look(&mut self.traffic.records.lock().unwrap())
    }
}

/// What came of packets.
struct Counts {
    sent: usize,
    lost: usize,
    /// Clients that lost any.
    losers: usize,
    doubled: usize,
}

impl Counts {
    fn of(log: &Log, wanted: impl Fn(&&Packet) -> bool + Copy) -> Self {
        let mut counts = Self { sent: 0, lost: 0, losers: 0, doubled: 0 };
        for packets in log {
            let lost = packets.iter().filter(wanted).filter(|it| it.came.is_none()).count();
            counts.sent += packets.iter().filter(wanted).count();
            counts.lost += lost;
            counts.losers += usize::from(lost > 0);
            counts.doubled += packets.iter().filter(wanted).filter(|it| it.copies > 1).count();
        }
        counts
    }
}

fn micros(time: Duration) -> u32 {
    time.as_micros() as u32
}
