//! A server over a long time, while a client comes and goes.

use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use crate::phases::Speech;
use crate::support::{
    Acton, ROOT_V4, World, counters, leaf, ping, ping_until_answered, said, tcp_transfer,
};

/// How long the client that comes and goes stays each time.
const STAYS: Duration = Duration::from_secs(3);
/// Time between two looks at memory and two pings.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of TCP that go each way at each coming.
const BYTES: usize = 1_000_000;
/// The slope of memory that a server may have, in KB an hour.
const BAR: f64 = 1_000.0;
/// The least time over which a slope says something: a page more or less is nothing then.
const TELLING: Duration = Duration::from_secs(1_200);

/// What came of it.
#[derive(Debug)]
pub(crate) struct Summary {
    took: Duration,
    comings: u32,
    /// Slope of the server's resident memory, and of that of the client that stays, in KB an hour.
    slopes: [f64; 2],
    /// KiB of the server at the end.
    resident: u64,
    pings: [u32; 2],
    lost: usize,
    drops: BTreeMap<String, u64>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { took, comings, slopes: [server, client], pings: [sent, answered], .. } = self;
        writeln!(f, "churn: {:.0} s, a client came {comings} times", took.as_secs_f64())?;
        writeln!(
            f,
            "  memory: server {server:+.0} KB an hour ({} KiB), client that stays {client:+.0} KB an \
             hour, over the second half",
            self.resident
        )?;
        writeln!(f, "  sessions lost by the client that stays: {}", self.lost)?;
        writeln!(f, "  its pings: {answered} of {sent} answered")?;
        write!(f, "  drops:")?;
        match self.drops.is_empty() {
            true => write!(f, " none"),
            false => self.drops.iter().try_for_each(|(name, count)| write!(f, " {name}={count}")),
        }
    }
}

impl Summary {
    /// What is wrong.
    pub(crate) fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        if self.lost > 0 {
            errors.push(format!("the client that stays lost {} sessions", self.lost));
        }
        if self.took >= TELLING && self.slopes[0] > BAR {
            errors.push(format!("memory grows by {:.0} KB an hour", self.slopes[0]));
        }
        errors
    }
}

/// Client 0 stays and pings. Client 1 comes, moves something each way, and goes: in turn with a BYE
/// and without a word.
pub(crate) fn run(speech: Speech, time: Duration) -> Summary {
    let (mode, suite) = speech.options();
    let world = World::new(2).speaking(mode);
    let options = [suite, &["--keepalive", "1"]].concat();
    let server = world.serve(&options);
    let stays = world.join(0, &options);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let start = Instant::now();
    let (samples, pings, comings) = thread::scope(|scope| {
        let guest = scope.spawn(|| {
            let mut comings = 0;
            while start.elapsed() < time {
                let guest = world.join(1, &options);
                ping_until_answered(&world.clients[1], ROOT_V4);
                tcp_transfer(&world.clients[1], &world.server, ROOT_V4, BYTES);
                tcp_transfer(&world.server, &world.clients[1], leaf(1)[0], BYTES);
                thread::sleep(STAYS);
                comings += 1;
                if comings % 2 == 0 { guest.kill() } else { drop(guest.stop()) }
            }
            comings
        });
        let (mut samples, mut pings) = (Vec::new(), [0, 0]);
        while !guest.is_finished() {
            let memory = [&server, &stays].map(|end| end.proc_status("VmRSS") as f64 * 1.024);
            samples.push((start.elapsed().as_secs_f64() / 3_600.0, memory));
            let answered = ping(&world.clients[0], ROOT_V4, 56, Duration::from_secs(1)).is_ok();
            pings = [pings[0] + 1, pings[1] + u32::from(answered)];
            thread::sleep(LOOK);
        }
        (samples, pings, guest.join().expect("the client comes and goes"))
    });
    // What the server takes as it begins is no slope.
    let second_half = &samples[samples.len() / 2..];
    let slopes = [0, 1].map(|end| slope(second_half.iter().map(|(at, memory)| (*at, memory[end]))));
    let mut drops = BTreeMap::new();
    for end in [&server, &stays] {
        add_drops(&mut drops, end);
    }
    Summary {
        took: start.elapsed(),
        comings,
        slopes,
        resident: server.proc_status("VmRSS"),
        pings,
        lost: stays.log().matches(said::LOST).count(),
        drops,
    }
}

/// The slope of a line through points, by least squares.
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let count = points.clone().count() as f64;
    let (sum_x, sum_y) = points.clone().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (above, below) = points.fold((0.0, 0.0), |(above, below), (x, y)| {
        (above + (x - mean_x) * (y - mean_y), below + (x - mean_x) * (x - mean_x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

fn add_drops(drops: &mut BTreeMap<String, u64>, end: &Acton) {
    let log = counters(end);
    let line = log.lines().rev().find(|line| line.contains("counters: ")).unwrap_or_default();
    let words = line.split_whitespace().filter_map(|word| word.split_once('='));
    for (name, count) in words.filter(|(name, _)| name.starts_with("drop.")) {
        *drops.entry(name.to_owned()).or_default() += count.parse::<u64>().unwrap_or_default();
    }
}
