//! A simulated network on a virtual clock: nodes with addresses, joined by links that lose,
//! duplicate, delay and reorder datagrams. The same seed makes the same run.
//!
//! A node is a sans-IO state machine behind [`Node`]. [`Simulation::run_until`] hands it datagrams
//! and time-outs in the order of their times; a time-out comes before a datagram of that time.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A state machine under test, with what the test measures about it.
pub(crate) trait Node {
    /// A datagram came from `from`.
    fn handle_input(&mut self, now: Duration, from: SocketAddr, payload: &[u8]);
    /// The time that `poll_timeout` named has come.
    fn handle_timeout(&mut self, now: Duration);
    /// The next time to be called.
    fn poll_timeout(&self) -> Option<Duration>;
    /// The next datagram to send, and to where. Called until it gives none, after each input.
    fn poll_transmit(&mut self, now: Duration) -> Option<(SocketAddr, Vec<u8>)>;
    /// Nobody listens where this node sent a datagram (ICMP port unreachable).
    fn handle_refusal(&mut self, _now: Duration) {}
}

/// What one direction between two nodes does to a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Chance that it is lost, 0 to 1.
    pub(crate) loss: f64,
    /// Chance that it arrives twice, 0 to 1.
    pub(crate) duplicate: f64,
    /// Chance that it is held back, by up to `hold`, while others overtake it, 0 to 1.
    pub(crate) reorder: f64,
    /// See `reorder`.
    pub(crate) hold: Duration,
    /// The time of flight.
    pub(crate) delay: Duration,
    /// Up to so much more, without overtaking.
    pub(crate) jitter: Duration,
    /// Bytes of payload that fit; longer ones vanish.
    pub(crate) mtu: usize,
}

impl Link {
    /// Loses nothing and keeps the order; 10 ms each way.
    pub(crate) const CLEAN: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        hold: Duration::ZERO,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
        mtu: usize::MAX,
    };

    /// Loses everything.
    pub(crate) const CUT: Self = Self { loss: 1.0, ..Self::CLEAN };
}

/// SplitMix64: what a test draws from its seed.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// Milliseconds from a range.
    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}

/// Runs `body` once for each of `count` seeds, and tells which seed failed.
///
/// `SIM_SEED=n` runs that one alone, `SIM_SEEDS=n` as many as that.
pub(crate) fn for_seeds(count: u64, body: impl Fn(u64)) {
    struct Failing(u64);
    impl Drop for Failing {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("failing seed: run this test again with SIM_SEED={}", self.0);
            }
        }
    }
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match variable("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("SIM_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let _failing = Failing(seed);
        body(seed);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Cargo {
    Datagram(Vec<u8>),
    /// ICMP port unreachable.
    Refusal,
}

/// Ordered by time, then by the order of sending.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Duration,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    cargo: Cargo,
}

#[derive(Debug)]
struct Place<N> {
    node: N,
    addr: SocketAddr,
    listening: bool,
}

/// Nodes, links, what is in flight, and the clock.
#[derive(Debug)]
pub(crate) struct Simulation<N> {
    now: Duration,
    rng: Rng,
    places: Vec<Place<N>>,
    links: HashMap<(usize, usize), Link>,
    default_link: Link,
    /// When the newest datagram in order arrives, for each pair of addresses.
    newest: HashMap<(SocketAddr, SocketAddr), Duration>,
    in_flight: BinaryHeap<Reverse<Flight>>,
    sent: u64,
}

impl<N: Node> Simulation<N> {
    /// An empty network at the time `now`, whose links are all like `link` until set.
    pub(crate) fn new(seed: u64, now: Duration, link: Link) -> Self {
        Self {
            now,
            rng: Rng::new(seed),
            places: Vec::new(),
            links: HashMap::new(),
            default_link: link,
            newest: HashMap::new(),
            in_flight: BinaryHeap::new(),
            sent: 0,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Adds a node and gives its number, counted from 0.
    pub(crate) fn add(&mut self, addr: SocketAddr, node: N) -> usize {
        self.places.push(Place { node, addr, listening: true });
        self.places.len() - 1
    }

    pub(crate) fn node(&self, index: usize) -> &N {
        &self.places[index].node
    }

    /// What the node then has to send goes out with the next [`run_until`](Self::run_until).
    pub(crate) fn node_mut(&mut self, index: usize) -> &mut N {
        &mut self.places[index].node
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &N> {
        self.places.iter().map(|place| &place.node)
    }

    pub(crate) fn addr(&self, index: usize) -> SocketAddr {
        self.places[index].addr
    }

    /// Moves a node to another address, as a NAT does.
    pub(crate) fn rebind(&mut self, index: usize, addr: SocketAddr) {
        self.places[index].addr = addr;
    }

    /// Opens or closes a node's port: a closed one gets nothing, sends nothing, has no time-outs,
    /// and who sends to it is refused.
    pub(crate) fn set_listening(&mut self, index: usize, listening: bool) {
        self.places[index].listening = listening;
    }

    /// Sets both directions between two nodes.
    pub(crate) fn set_link(&mut self, a: usize, b: usize, link: Link) {
        self.links.insert((a, b), link);
        self.links.insert((b, a), link);
    }

    /// Sets all links.
    pub(crate) fn set_all_links(&mut self, link: Link) {
        self.links.clear();
        self.default_link = link;
    }

    /// Sends a datagram with a source address of one's choice.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, payload: Vec<u8>) {
        let link = self.link(from, to);
        if payload.len() > link.mtu || self.rng.chance(link.loss) {
            return;
        }
        if self.rng.chance(link.duplicate) {
            self.fly(link, from, to, Cargo::Datagram(payload.clone()));
        }
        self.fly(link, from, to, Cargo::Datagram(payload));
    }

    /// Runs until the time `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        self.run_until_or(end, |_| false);
    }

    /// Runs until the time `end` or until `stop` holds, and tells whether it does.
    pub(crate) fn run_until_or(&mut self, end: Duration, stop: impl Fn(&Self) -> bool) -> bool {
        for index in 0..self.places.len() {
            self.send_all(index);
        }
        let mut steps_at_once = 0;
        loop {
            if stop(self) {
                return true;
            }
            let timeout = self.next_timeout();
            let arrival = self.in_flight.peek().map(|Reverse(flight)| flight.at);
            let next = timeout.map(|(at, _)| at).into_iter().chain(arrival).min();
            let Some(next) = next.filter(|&at| at <= end) else { break };
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            assert!(steps_at_once < 10_000, "no end of things to do at {next:?}");
            self.now = next.max(self.now);
            match timeout {
                Some((at, index)) if at <= next => {
                    self.places[index].node.handle_timeout(self.now);
                    self.send_all(index);
                }
                _ => self.arrive(),
            }
        }
        self.now = end.max(self.now);
        false
    }

    fn next_timeout(&self) -> Option<(Duration, usize)> {
        let listening = self.places.iter().enumerate().filter(|(_, place)| place.listening);
        listening.filter_map(|(index, place)| Some((place.node.poll_timeout()?, index))).min()
    }

    fn arrive(&mut self) {
        let Some(Reverse(Flight { from, to, cargo, .. })) = self.in_flight.pop() else { return };
        let now = self.now;
        match (self.at(to).filter(|&index| self.places[index].listening), cargo) {
            (Some(index), cargo) => {
                let node = &mut self.places[index].node;
                match cargo {
                    Cargo::Datagram(payload) => node.handle_input(now, from, &payload),
                    Cargo::Refusal => node.handle_refusal(now),
                }
                self.send_all(index);
            }
            (None, Cargo::Datagram(_)) => {
                let link = self.link(to, from);
                if !self.rng.chance(link.loss) {
                    self.fly(link, to, from, Cargo::Refusal);
                }
            }
            (None, Cargo::Refusal) => {}
        }
    }

    fn send_all(&mut self, index: usize) {
        while let Some((to, payload)) = self.places[index].node.poll_transmit(self.now) {
            if self.places[index].listening {
                self.inject(self.places[index].addr, to, payload);
            }
        }
    }

    fn fly(&mut self, link: Link, from: SocketAddr, to: SocketAddr, cargo: Cargo) {
        let jitter = link.jitter.mul_f64(self.rng.fraction());
        let newest = self.newest.entry((from, to)).or_default();
        let in_order = (self.now + link.delay + jitter).max(*newest);
        let at = if self.rng.chance(link.reorder) {
            in_order + link.hold.mul_f64(self.rng.fraction())
        } else {
            *newest = in_order;
            in_order
        };
        self.sent += 1;
        self.in_flight.push(Reverse(Flight { at, number: self.sent, from, to, cargo }));
    }

    fn at(&self, addr: SocketAddr) -> Option<usize> {
        self.places.iter().position(|place| place.addr == addr)
    }

    fn link(&self, from: SocketAddr, to: SocketAddr) -> Link {
        let ends = self.at(from).zip(self.at(to));
        ends.and_then(|ends| self.links.get(&ends)).copied().unwrap_or(self.default_link)
    }
}
