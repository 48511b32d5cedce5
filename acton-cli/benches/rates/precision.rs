//! How close to its rate a client comes, and what a ping sees beside that.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;

use crate::flow::{DATAGRAM, Flow, Speech, UDP_HEADERS};
use crate::support::ask::sessions;
use crate::support::{
    Acton, Mode, PROXY_V4, ROOT_V4, SERVER_V4, World, leaf, list_clients, ping, ping_until_answered,
};
use crate::{Arguments, delay};

/// Datagrams are sent so many times as fast as the rate.
const UDP_EXCESS: f64 = 1.5;
/// Between two pings, and how long an answer is waited for.
const PING_PAUSE: Duration = Duration::from_millis(20);
const PING_WAIT: Duration = Duration::from_secs(1);

/// Measures all rates with each delay.
pub(crate) fn measure(arguments: &Arguments) {
    println!(
        "\n{:>6} {:>6} {:<3} {:<6} {:>8} {:>7} {:>9} {:>9} {:>6}",
        "RATE", "DELAY", "WAY", "WHAT", "OF RATE", "DROPPED", "PING P50", "PING P99", "LOST"
    );
    for &delay in &arguments.delays {
        with_delay(arguments, Duration::from_millis(delay));
    }
}

/// One client for each rate and speech, all in one network.
fn with_delay(arguments: &Arguments, delay: Duration) {
    let mut speeches: Vec<_> = arguments.controls.iter().cloned().map(Speech::Tcp).collect();
    speeches.push(Speech::Udp(0.0));
    let each = speeches.len();
    let policies: Vec<_> = arguments
        .rates
        .iter()
        .flat_map(|rate| vec![policy(*rate, &arguments.policy); each])
        .collect();
    let policies: Vec<_> = policies.iter().map(String::as_str).collect();
    let world = World::new(policies.len() as u8).speaking(Mode::Secure);
    let _ = world.keys.server();
    let host = if delay.is_zero() { SERVER_V4 } else { PROXY_V4 };
    if !delay.is_zero() {
        delay::start(&world.proxy, delay / 2);
    }
    let invites = list_clients(&world, "server", &host.to_string(), "", &policies);
    let server = world.serve(&["--no-loop-guard"]);
    let clients: Vec<_> = (0..policies.len() as u8)
        .map(|i| {
            let state = world.keys.client_state(i);
            let arguments = ["client", &invites[usize::from(i)], "--state", &state];
            let client = world.run_client(i, &arguments);
            client.wait_for("connected to");
            client
        })
        .collect();
    for client in &world.clients {
        ping_until_answered(client, ROOT_V4);
    }
    for (index, &rate) in arguments.rates.iter().enumerate() {
        for is_out in [true, false] {
            let first = index * each;
            let trial = Trial { world: &world, server: &server, window: arguments.window() };
            let lines = thread::scope(|scope| {
                let runs: Vec<_> = speeches
                    .iter()
                    .enumerate()
                    .map(|(number, speech)| {
                        let trial = &trial;
                        scope.spawn(move || trial.run(first + number, rate, speech, is_out))
                    })
                    .collect();
                runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
            });
            for (speech, seen) in speeches.iter().zip(lines) {
                let what = match speech {
                    Speech::Tcp(control) => control,
                    Speech::Udp(_) => "udp",
                };
                let way = if is_out { "out" } else { "in" };
                println!(
                    "{rate:>5}M {:>4}ms {way:<3} {what:<6} {:>7.1}% {:>6.2}% {:>7.1}ms {:>7.1}ms {:>5.1}%",
                    delay.as_millis(),
                    seen.of_rate * 100.0,
                    seen.dropped * 100.0,
                    seen.median.as_secs_f64() * 1e3,
                    seen.p99.as_secs_f64() * 1e3,
                    seen.lost * 100.0,
                );
            }
        }
    }
    drop((clients, server));
}

pub(crate) fn policy(megabits: u32, more: &str) -> String {
    format!("rate-in = \"{megabits}M\"\nrate-out = \"{megabits}M\"\n{more}")
}

struct Trial<'a> {
    world: &'a World,
    server: &'a Acton,
    window: Duration,
}

struct Seen {
    /// The share of the rate that came through: for TCP its data, for UDP its frames.
    of_rate: f64,
    /// The share of frames that the rate dropped.
    dropped: f64,
    median: Duration,
    p99: Duration,
    lost: f64,
}

impl Trial<'_> {
    /// Runs one transfer of one client, in one direction.
    fn run(&self, client: usize, rate: u32, speech: &Speech, is_out: bool) -> Seen {
        let rate = f64::from(rate) * 1e6;
        let (near, [at_client, _]) = (&self.world.clients[client], leaf(client as u8));
        let speech = match speech {
            Speech::Udp(_) => Speech::Udp(rate * UDP_EXCESS),
            tcp @ Speech::Tcp(_) => tcp.clone(),
        };
        let flow = match is_out {
            true => Flow::start(&self.world.server, near, at_client, &speech),
            false => Flow::start(near, &self.world.server, ROOT_V4, &speech),
        };
        thread::sleep(self.window / 3);
        let (start, before, fates) = (Instant::now(), flow.received(), self.fates(client, is_out));
        let pings = pings(near, ROOT_V4, self.window);
        let bytes = flow.received() - before;
        let time = start.elapsed().as_secs_f64();
        let after = self.fates(client, is_out);
        let (passed, dropped) = (after.0 - fates.0, after.1 - fates.1);
        let frames = match speech {
            Speech::Tcp(_) => bytes as f64,
            Speech::Udp(_) => bytes as f64 / DATAGRAM as f64 * (DATAGRAM + UDP_HEADERS) as f64,
        };
        let (answered, lost) = pings;
        let at = |share: f64| answered.get((answered.len() as f64 * share) as usize).copied();
        Seen {
            of_rate: frames * 8.0 / time / rate,
            dropped: dropped as f64 / ((passed + dropped).max(1)) as f64,
            median: at(0.5).unwrap_or_default(),
            p99: at(0.99).unwrap_or_default(),
            lost: lost as f64 / ((answered.len() + lost).max(1)) as f64,
        }
    }

    /// Frames of a client that passed so far, and those that its rate dropped.
    fn fates(&self, client: usize, is_out: bool) -> (u64, u64) {
        let name = format!("site-{client}");
        let all = sessions(self.server);
        let session = all.iter().find(|it| it.name == name).unwrap();
        let traffic = &session.traffic;
        let dropped = |name: &str| traffic.drops.get(name).copied().unwrap_or_default();
        match is_out {
            true => (traffic.frames_out, dropped("rate_out")),
            false => (traffic.frames_in, dropped("rate_in")),
        }
    }
}

/// Pings for so long: the times of those that were answered, sorted, and how many were not.
fn pings(from: &Namespace, to: IpAddr, window: Duration) -> (Vec<Duration>, usize) {
    let (start, mut times, mut lost) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < window {
        match ping(from, to, 56, PING_WAIT) {
            Ok(time) => times.push(time),
            Err(_) => lost += 1,
        }
        thread::sleep(PING_PAUSE);
    }
    times.sort_unstable();
    (times, lost)
}
