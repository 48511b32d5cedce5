//! Handshakes when more are asked for than can be done: a server that takes its time for each, on a
//! clock of its own, clients that join, and somebody who holds the network key and floods.

mod secure_rig;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use acton_proto::client::Client;
use acton_proto::handshake::{CookieKey, Initiator, MacKey, Secret, public_key};
use acton_proto::server::{
    Admission, AnyClient, Clients, RESET_LIMIT, RefusedReason, Server, ServerConfig, ServerEvent,
};
use acton_proto::wire::{
    Caps, Datagram, HELLO_LEN, Hello, HelloPayload, Key, Refusal, Suites, VERSION,
};
use secure_rig::{NETWORK, SERVER_SECRET, Seeded, WALL, client_config, secret, server_config};

const START: Duration = Duration::from_secs(1_000);
const SECOND: Duration = Duration::from_secs(1);
/// What the server's thread needs for a handshake, and for any other datagram. A slow one is flooded, so
/// that the test has fewer to do.
const HANDSHAKE: Duration = Duration::from_micros(150);
const SLOW_HANDSHAKE: Duration = Duration::from_millis(1);
const OTHER: Duration = Duration::from_micros(2);
/// Datagrams that wait for it before it looks at them; more are lost.
const INBOX: usize = 2_048;
/// Handshakes at a turn, before it looks at what came meanwhile.
const TURN: usize = 2;
/// Half a round trip.
const LATENCY: Duration = Duration::from_micros(500);

/// Where somebody is.
fn at(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
}

/// What happens at a time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    ToServer(SocketAddr, Vec<u8>),
    ToClient(SocketAddr, Vec<u8>),
    Wake(SocketAddr),
    Attack,
}

struct Joining {
    client: Client,
    began: Duration,
    joined: Option<Duration>,
}

/// The attacker: HELLO of as many clients, from where it says, ready to be sent over and over.
struct Flood {
    interval: Duration,
    /// Each with the cookie that its place was given, if it receives there.
    hellos: Vec<(SocketAddr, [u8; HELLO_LEN])>,
    receives: bool,
    next: usize,
}

struct Crowd {
    now: Duration,
    server: Server,
    handshake: Duration,
    /// Until when the server's thread is busy.
    busy: Duration,
    lost: u64,
    steps: BinaryHeap<Reverse<(Duration, u64, Step)>>,
    count: u64,
    clients: HashMap<SocketAddr, Joining>,
    flood: Option<Flood>,
    cookies: CookieKey,
    events: Vec<ServerEvent>,
    keys: u8,
    seed: u64,
    most_backlog: usize,
}

impl Crowd {
    fn new(config: ServerConfig, clients: Box<dyn Clients>, handshake: Duration) -> Self {
        let server = public_key(&secret(SERVER_SECRET));
        Self {
            now: START,
            server: Server::new(config, clients, Box::new(Seeded(7)), START),
            handshake,
            busy: START,
            lost: 0,
            steps: BinaryHeap::new(),
            count: 0,
            clients: HashMap::new(),
            flood: None,
            cookies: CookieKey::new(&server, Some(&secret(NETWORK))),
            events: Vec::new(),
            keys: 0,
            seed: 1_000,
            most_backlog: 0,
        }
    }

    fn at(&mut self, time: Duration, step: Step) {
        self.count += 1;
        self.steps.push(Reverse((time, self.count, step)));
    }

    /// A client begins to join.
    fn join(&mut self, from: SocketAddr) {
        self.seed += 1;
        self.keys = self.keys.wrapping_add(1);
        let mut config = client_config(1);
        config.private_key = Secret::generate(&mut Seeded(self.seed << 20));
        let client = Client::new(config, Box::new(Seeded(self.seed << 32)), self.now);
        self.clients.insert(from, Joining { client, began: self.now, joined: None });
        self.at(self.now, Step::Wake(from));
    }

    /// The server is killed, and another one is in its place.
    fn restart(&mut self) {
        self.server =
            Server::new(server_config(), Box::new(AnyClient), Box::new(Seeded(8)), self.now);
        self.busy = self.now;
        for joining in self.clients.values_mut() {
            (joining.began, joining.joined) = (self.now, None);
        }
    }

    fn flood(&mut self, rate: u32, receives: bool, places: impl Iterator<Item = SocketAddr>) {
        let mut rng = Seeded(99);
        let hello = |(number, place)| (place, hello(number as u32 + 1, &mut rng));
        let hellos = places.enumerate().map(hello).collect();
        self.flood = Some(Flood { interval: SECOND / rate, hellos, receives, next: 0 });
        self.at(self.now, Step::Attack);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = self.steps.peek().map_or(Duration::MAX, |Reverse((at, ..))| *at);
            // The server's thread works on while it has something to do.
            let works = self.server.backlog() > 0 && self.busy <= due.min(end);
            if works {
                self.now = self.now.max(self.busy);
                self.serve();
                continue;
            }
            if due > end {
                self.now = end;
                return;
            }
            let Some(Reverse((at, _, step))) = self.steps.pop() else { continue };
            self.now = self.now.max(at);
            self.step(step);
        }
    }

    fn step(&mut self, step: Step) {
        let wall = WALL + self.now.as_nanos() as u64;
        match step {
            Step::Wake(of) => {
                if let Some(joining) = self.clients.get_mut(&of) {
                    joining.client.handle_timeout(self.now, wall);
                    self.hear(of);
                }
            }
            Step::ToClient(to, bytes) => {
                if let Some(joining) = self.clients.get_mut(&to) {
                    joining.client.handle_input(self.now, &mut bytes.clone()).for_each(drop);
                    let keys = joining.client.keys();
                    let keyed = keys.is_some_and(|keys| keys.setup().born >= joining.began);
                    if keyed && joining.joined.is_none() {
                        joining.joined = Some(self.now);
                    }
                    self.hear(to);
                } else if let Some(flood) = self.flood.as_mut().filter(|flood| flood.receives)
                    && let Ok(Datagram::Retry(retry)) = Datagram::parse(&bytes)
                    && let Some((_, hello)) = flood.hellos.get_mut(retry.receiver_id as usize - 1)
                {
                    let mac1 = *hello[136..].first_chunk().expect("mac1");
                    if let Some(cookie) = self.cookies.open(&retry, &mac1) {
                        cookie.sign_hello(hello);
                    }
                }
            }
            Step::ToServer(from, mut bytes) => {
                // What the thread cannot look at soon is lost before it.
                let behind = self.busy.saturating_sub(self.now);
                if behind > OTHER * INBOX as u32 {
                    self.lost += 1;
                    return;
                }
                self.busy = self.busy.max(self.now) + OTHER;
                match Datagram::parse(&bytes) {
                    Ok(Datagram::Hello(hello)) => {
                        self.server.handle_hello(self.now, from.into(), &hello);
                    }
                    _ => {
                        self.server.handle_input(self.now, wall, from.into(), &mut bytes);
                    }
                }
                self.most_backlog = self.most_backlog.max(self.server.backlog());
                self.speak(self.busy);
            }
            Step::Attack => {
                let Some(flood) = &mut self.flood else { return };
                let (from, hello) = flood.hellos[flood.next % flood.hellos.len()];
                flood.next += 1;
                let next = self.now + flood.interval;
                self.at(self.now + LATENCY, Step::ToServer(from, hello.to_vec()));
                self.at(next, Step::Attack);
            }
        }
    }

    /// One turn of handshakes.
    fn serve(&mut self) {
        let wall = WALL + self.now.as_nanos() as u64;
        self.server.handle_timeout(self.now);
        for _ in 0..TURN {
            let before = self.server.stats();
            let more = self.server.serve(self.now, wall);
            let stats = self.server.stats();
            let cheap = stats.retries + stats.repeated - before.retries - before.repeated;
            let did = stats.welcomed + stats.refused + stats.failed + stats.limited
                > before.welcomed + before.refused + before.failed + before.limited;
            self.busy = self.busy.max(self.now) + OTHER * cheap as u32;
            self.busy += if did { self.handshake } else { OTHER };
            if !more {
                break;
            }
        }
        self.speak(self.busy);
    }

    /// What the server says is on its way.
    fn speak(&mut self, time: Duration) {
        self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
        let mut out = Vec::new();
        while let Some(transmit) = self.server.poll_transmit(1, &mut out) {
            let step = Step::ToClient(transmit.path.remote, std::mem::take(&mut out));
            self.at(time + LATENCY, step);
        }
    }

    /// What a client says is on its way.
    fn hear(&mut self, of: SocketAddr) {
        let Some(joining) = self.clients.get_mut(&of) else { return };
        while joining.client.poll_event().is_some() {}
        let (mut said, mut out) = (Vec::new(), Vec::new());
        while joining.client.poll_transmit(1, &mut out).is_some() {
            said.push(std::mem::take(&mut out));
        }
        let due = joining.client.poll_timeout();
        for bytes in said {
            self.at(self.now + LATENCY, Step::ToServer(of, bytes));
        }
        if let Some(due) = due {
            self.at(due.max(self.now + Duration::from_micros(100)), Step::Wake(of));
        }
    }

    /// How long joining took, shortest first; of who is not in, for ever.
    fn joined(&self, who: impl Fn(&SocketAddr) -> bool) -> Vec<Duration> {
        let of = self.clients.iter().filter(|(at, _)| who(at)).map(|(_, joining)| joining);
        let took = |it: &Joining| it.joined.map_or(Duration::MAX, |joined| joined - it.began);
        let mut all: Vec<_> = of.map(took).collect();
        all.sort();
        all
    }

    fn hellos(&self) -> u64 {
        self.clients.values().map(|joining| joining.client.stats().hellos).sum()
    }
}

/// A HELLO of a client of its own.
fn hello(id: u32, rng: &mut Seeded) -> [u8; HELLO_LEN] {
    let payload = HelloPayload {
        version_min: VERSION,
        version_max: VERSION,
        suites: Suites(3),
        caps: Caps::FRAG,
        instance: 1,
        timestamp: 1,
        max_frame: 1_514,
        pmtu: 1_472,
        keepalive: 15,
    };
    let (server, psk) = (public_key(&secret(SERVER_SECRET)), secret(NETWORK));
    let client = Secret::generate(rng);
    let (_, noise) = Initiator::new(&client, &server, &psk, &payload.encode(), rng).expect("keys");
    let mut hello = Hello { sender_id: id, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    MacKey::new(&server, Some(&psk)).sign_hello(&mut hello);
    hello
}

#[test]
fn a_crowd_is_in_as_fast_as_its_handshakes_can_be_done() {
    let mut crowd = Crowd::new(server_config(), Box::new(AnyClient), HANDSHAKE);
    for n in 0..1_000 {
        crowd.join(at([203, 0, 113, 1], 10_000 + n));
    }
    crowd.run(SECOND);
    let took = crowd.joined(|_| true);
    println!("the last after {:?}, {} HELLO", took[999], crowd.hellos());
    assert!(took[999] < SECOND / 4, "{:?}", took[999]);
    assert_eq!((crowd.hellos(), crowd.server.session_count()), (1_000, 1_000));
    // Three thousand from as many addresses, in a tenth of a second.
    let mut crowd = Crowd::new(server_config(), Box::new(AnyClient), SLOW_HANDSHAKE);
    for n in 0..3_000_u16 {
        let [high, low] = n.to_be_bytes();
        crowd.join(at([203, 0, high, low], 10_000));
        crowd.run(SECOND / 30_000);
    }
    crowd.run(SECOND * 4);
    let took = crowd.joined(|_| true);
    println!(
        "3,000: the last after {:?}, {} HELLO, {} lost",
        took[2_999],
        crowd.hellos(),
        crowd.lost
    );
    // What the handshakes take, and each waiting client says HELLO once a second.
    assert!(took[2_999] < SLOW_HANDSHAKE * 3_100, "{:?}", took[2_999]);
    assert_eq!(crowd.server.stats().welcomed, 3_000, "one handshake for each");
}

#[test]
fn idle_clients_are_back_after_a_restart_as_soon_as_each_says_something() {
    // As many KEEPALIVE a second as 10,000 clients have at 15 s, from fewer that say them more often.
    const CLIENTS: u16 = 3_300;
    const KEEPALIVE: Duration = Duration::from_secs(5);
    let mut config = server_config();
    config.keepalive = KEEPALIVE.as_secs() as u16;
    let mut crowd = Crowd::new(config, Box::new(AnyClient), SLOW_HANDSHAKE);
    for n in 0..CLIENTS {
        let [high, low] = n.to_be_bytes();
        crowd.join(at([203, 0, high, low], 10_000));
        crowd.run(KEEPALIVE / u32::from(CLIENTS));
    }
    crowd.run(KEEPALIVE * 2);
    assert_eq!(crowd.server.session_count(), usize::from(CLIENTS));
    let hellos = crowd.hellos();
    crowd.restart();
    crowd.run(KEEPALIVE * 2);
    let (back, resets) = (crowd.joined(|_| true), crowd.server.stats().resets);
    let (median, last) = (back[back.len() / 2], back[back.len() - 1]);
    println!("back after {median:?}, the last after {last:?}, told by {resets} RESET");
    // Their intervals vary by a tenth; who is not told goes on waiting for 10 s.
    assert!(last < KEEPALIVE * 11 / 10 + SECOND / 4, "{last:?}");
    assert!(crowd.hellos() - hellos < u64::from(CLIENTS) * 11 / 10, "{}", crowd.hellos() - hellos);
}

#[test]
fn who_could_not_be_let_in_soon_gets_no_reset() {
    let mut config = server_config();
    config.cookie_backlog = 8;
    let mut server = Server::new(config, Box::new(AnyClient), Box::new(Seeded(7)), START);
    let mut rng = Seeded(5);
    // Of an id that nobody has.
    let mut stray = [0x15, 0, 0, 0, 0, 0, 0, 1].to_vec();
    stray.resize(36, 9);
    let told = |server: &mut Server| {
        let before = server.stats().resets;
        server.handle_input(START, WALL, at([192, 0, 2, 1], 1).into(), &mut stray.clone());
        server.stats().resets > before
    };
    for n in 0..5 {
        assert!(told(&mut server), "{n} HELLO wait");
        let bytes = hello(n + 1, &mut rng);
        let Ok(Datagram::Hello(hello)) = Datagram::parse(&bytes) else { panic!("{bytes:?}") };
        server.handle_hello(START, at([203, 0, 113, n as u8], 1).into(), &hello);
    }
    assert!(!told(&mut server), "{} HELLO wait", server.backlog());
    server.serve(START, WALL);
    assert!(told(&mut server), "{} HELLO wait", server.backlog());
    // And no more than so many, whoever asks.
    let many = (0..10_000).filter(|_| told(&mut server)).count();
    assert_eq!(many + 6, RESET_LIMIT.1 as usize);
}

/// Clients that join one after the other while somebody floods, some from addresses of their own,
/// some behind the attacker's, where others have sessions that need new keys.
fn flooded(rate: u32, receives: bool, places: Vec<SocketAddr>) -> Crowd {
    let mut crowd = Crowd::new(server_config(), Box::new(AnyClient), SLOW_HANDSHAKE);
    let behind = |n: u16| at([198, 18, 0, 0], 50_000 + n);
    for n in 0..7 {
        crowd.join(behind(n));
    }
    crowd.run(SECOND);
    assert_eq!(crowd.server.session_count(), 7);
    crowd.flood(rate, receives, places.into_iter());
    // Who comes as it begins may wait until it is known who floods.
    crowd.run(SECOND / 2);
    for n in 0..20 {
        crowd.run(SECOND / 20);
        crowd.join(at([192, 0, 2, n], 10_000));
        if n % 3 == 0 {
            // New keys for one behind the attacker's address.
            let at = behind(u16::from(n) / 3);
            let joining = crowd.clients.get_mut(&at).expect("it joined");
            let now = crowd.now;
            joining.client.handle_network_error(now);
            crowd.at(now, Step::Wake(at));
        }
    }
    crowd.run(SECOND / 2);
    let stats = crowd.server.stats();
    let took = crowd.joined(|at| at.ip().to_string().starts_with("192.0.2."));
    let rekeyed = crowd.clients.iter().filter(|(at, joining)| {
        at.port() >= 50_000
            && joining.client.keys().is_some_and(|keys| keys.setup().born > START + SECOND)
    });
    println!(
        "{rate}/s: joined in {:?}, at most {:?}; {} of 7 have new keys; {} handshakes, {} cookies, \
         {} dropped, backlog {}, {} lost",
        took[10],
        took[19],
        rekeyed.clone().count(),
        stats.welcomed,
        stats.retries,
        stats.limited,
        crowd.most_backlog,
        crowd.lost
    );
    assert_eq!(rekeyed.count(), 7);
    // Twice as long as if nobody else asked, and what is begun when it comes.
    let quiet = 2 * LATENCY + SLOW_HANDSHAKE;
    assert!(took[19] <= 2 * quiet + 2 * SLOW_HANDSHAKE * TURN as u32, "{:?}", took[19]);
    assert!(crowd.most_backlog <= 16_384 && crowd.server.pending_count() <= 1_024);
    crowd
}

#[test]
fn a_flood_from_one_address_leaves_the_others_their_handshakes() {
    // It shows cookies, from ports by the thousand.
    let places = (0..4_000).map(|n| at([198, 18, 0, 0], 10_000 + n)).collect();
    let crowd = flooded(90_000, true, places);
    assert!(crowd.server.stats().welcomed > 1_000, "what time is left over is used");
}

#[test]
fn a_flood_from_256_networks_leaves_the_others_their_handshakes() {
    let place = |n: u16| {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 0, n % 256, 0, 0, 0, n);
        SocketAddr::new(ip.into(), 10_000 + n)
    };
    flooded(90_000, true, (0..4_000).map(place).collect());
}

#[test]
fn a_flood_from_forged_addresses_is_asked_for_cookies() {
    let place = |n: u16| at([198, 19, (n >> 8) as u8, n as u8], 10_000);
    let crowd = flooded(90_000, false, (0..3_000).map(place).collect());
    assert!(crowd.server.stats().retries > 50_000);
}

/// Clients whose keys begin with a one are listed.
struct SomeListed;

impl Clients for SomeListed {
    fn admit(&self, client: &Key) -> Option<Admission> {
        Some(Admission { psk: None, listed: client[0] < 128 })
    }
}

#[test]
fn one_holder_of_the_network_key_does_not_take_all_sessions() {
    let mut config = server_config();
    (config.max_sessions, config.max_sessions_per_source, config.max_unlisted) = (400, 50, 120);
    let mut crowd = Crowd::new(config, Box::new(SomeListed), HANDSHAKE);
    // 200 of one address, half of them listed; then 200 from as many.
    for n in 0..200 {
        crowd.join(at([203, 0, 113, 1], 10_000 + n));
    }
    crowd.run(SECOND);
    let listed =
        |crowd: &Crowd| crowd.server.sessions().filter(|session| session.client[0] < 128).count();
    let (all, known) = (crowd.server.session_count(), listed(&crowd));
    assert_eq!(all - known, 50, "of clients that are not listed");
    let waits = |crowd: &Crowd, reason| {
        let told =
            |e: &&ServerEvent| matches!(e, ServerEvent::Refused { reason: r, .. } if *r == reason);
        crowd.events.iter().any(|event| told(&event))
    };
    assert!(
        waits(&crowd, RefusedReason::SourceFull) && !waits(&crowd, RefusedReason::UnlistedFull)
    );
    for n in 0..200 {
        crowd.join(at([203, 1, n, 1], 10_000));
    }
    crowd.run(SECOND);
    let (all, known) = (crowd.server.session_count(), listed(&crowd));
    assert_eq!(all - known, 120);
    assert!(known > 160, "all that are listed: {known}");
    assert!(waits(&crowd, RefusedReason::UnlistedFull));
    assert!(!waits(&crowd, RefusedReason::Told(Refusal::Full)));
    // A list that knows them all, or none, kicks nobody out and counts anew.
    crowd.server.set_clients(crowd.now, Box::new(AnyClient));
    crowd.server.set_clients(crowd.now, Box::new(SomeListed));
    assert_eq!(crowd.server.session_count(), all);
    let first = crowd.server.sessions().find(|session| session.client[0] >= 128);
    let first = *first.expect("one of them").client;
    crowd.server.remove(crowd.now, &first);
    crowd.run(SECOND);
    assert_eq!(crowd.server.session_count() - listed(&crowd), 119);
    for n in 0..20 {
        crowd.join(at([203, 2, 1, n], 10_000));
    }
    crowd.run(SECOND);
    assert_eq!(crowd.server.session_count() - listed(&crowd), 120, "the place is free again");
}
