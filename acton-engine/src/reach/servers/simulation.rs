//! Clients of several servers on virtual time.

use proptest::prelude::*;

use super::*;

/// One way to a server takes so long.
const HALF_TRIP: Duration = Duration::from_millis(20);
/// A client notices that its server is gone.
const NOTICED: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3_600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// How a server is at a time.
type Script = Box<dyn Fn(Duration) -> How>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Up,
    Down,
    Draining,
    /// It answers questions, and gives no session.
    Mute,
}

/// A client and its servers.
struct World {
    servers: Servers,
    scripts: Vec<Script>,
    now: Duration,
    /// The server of the session, and that of the handshake under way or of the second session.
    session: Option<usize>,
    trying: Option<(usize, Duration)>,
    joining: Option<(usize, Duration)>,
    silent_since: Option<Duration>,
    answers: Vec<(Duration, usize, ServerState)>,
    asks: u64,
    /// Each session: when it began, and at which server.
    sessions: Vec<(Duration, usize)>,
    /// Time without a session, or with a server that was gone.
    without: Duration,
}

impl World {
    fn new(ranks: &[Rank], seed: u64, scripts: Vec<Script>) -> Self {
        let now = seconds(1_000);
        Self {
            servers: Servers::new(now, ranks, seed),
            scripts,
            now,
            session: None,
            trying: None,
            joining: None,
            silent_since: None,
            answers: Vec::new(),
            asks: 0,
            sessions: Vec::new(),
            without: Duration::ZERO,
        }
    }

    fn how(&self, server: usize) -> How {
        (self.scripts[server])(self.now - seconds(1_000))
    }

    fn takes(&self, server: usize) -> bool {
        matches!(self.how(server), How::Up | How::Draining)
    }

    fn begin(&mut self, server: usize) {
        self.session = Some(server);
        self.sessions.push((self.now, server));
    }

    fn step(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.answers.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, server, state) in due {
            self.servers.answered(now, server, state);
        }
        match self.session {
            Some(server) if self.how(server) == How::Down => {
                let since = *self.silent_since.get_or_insert(now);
                if now >= since + NOTICED {
                    self.session = None;
                    self.servers.down(now, Duration::ZERO);
                }
            }
            Some(server) if self.how(server) == How::Draining => self.servers.leave(now, None),
            _ => self.silent_since = None,
        }
        while let Some(step) = self.servers.poll(now) {
            match step {
                Step::Ask(server) => {
                    assert_ne!(Some(server), self.session, "it is known");
                    self.asks += 1;
                    let draining = self.how(server) == How::Draining;
                    let state = ServerState { draining, load: 0, instance: 1 };
                    if self.how(server) != How::Down {
                        self.answers.push((now + 2 * HALF_TRIP, server, state));
                    }
                }
                Step::Connect(server) => {
                    assert_eq!(self.session, None, "there is a session");
                    self.joining = None;
                    self.trying = Some((server, now + 2 * HALF_TRIP));
                }
                Step::Join(server) => {
                    assert!(self.session.is_some_and(|current| current != server));
                    self.joining = Some((server, now + 2 * HALF_TRIP));
                }
                Step::Abandon => self.joining = None,
            }
        }
        if let Some((server, at)) = self.trying
            && now >= at
            && self.session.is_none()
            && self.takes(server)
        {
            assert_eq!(self.servers.current(), server);
            self.trying = None;
            self.servers.up(now);
            self.begin(server);
        }
        if let Some((server, at)) = self.joining
            && now >= at
            && self.session.is_some()
            && self.takes(server)
        {
            self.joining = None;
            self.servers.joined(now);
            assert_eq!(self.servers.current(), server);
            self.begin(server);
        }
        if self.session.is_none_or(|server| self.how(server) == How::Down) {
            self.without += STEP;
        }
        self.now += STEP;
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }
}

fn always(how: How) -> Script {
    Box::new(move |_| how)
}

fn down_between(from: u64, to: u64) -> Script {
    Box::new(
        move |now| if (seconds(from)..seconds(to)).contains(&now) { How::Down } else { How::Up },
    )
}

fn ranks(priorities: &[u8]) -> Vec<Rank> {
    priorities.iter().map(|&priority| Rank::new(priority, 1)).collect()
}

#[test]
fn the_best_is_taken_and_the_next_when_it_is_gone_and_the_best_again_once_it_has_settled() {
    let scripts = vec![down_between(100, 400), always(How::Up), always(How::Up)];
    let mut world = World::new(&ranks(&[0, 1, 2]), 1, scripts);
    world.run(seconds(600));
    let at: Vec<_> =
        world.sessions.iter().map(|&(at, server)| (at - seconds(1_000), server)).collect();
    let [(first, 0), (second, 1), (third, 0)] = at[..] else { panic!("{at:?}") };
    assert!(first < seconds(1), "{at:?}");
    assert!(second < seconds(100) + NOTICED + Duration::from_millis(100), "{at:?}");
    // Lost once: twice the time.
    assert!((seconds(400 + 120)..seconds(400 + 160)).contains(&third), "{at:?}");
    assert!(world.without < seconds(3), "{:?}", world.without);
}

#[test]
fn one_that_comes_and_goes_is_left_alone() {
    for (up, down) in [(70, 30), (20, 20), (100, 3), (300, 30), (5, 4)] {
        let flapping: Script =
            Box::new(move |now| if now.as_secs() % (up + down) < up { How::Up } else { How::Down });
        let mut world = World::new(&ranks(&[0, 1]), 1, vec![flapping, always(How::Up)]);
        world.run(HOUR);
        let moves = world.sessions.len() - 1;
        assert!(moves <= 9, "{up} s up, {down} s down: {:?}", world.sessions);
        assert!(world.without < 5 * (NOTICED + seconds(1)), "{:?}", world.without);
    }
}

#[test]
fn while_all_are_down_all_are_tried_and_the_first_that_is_back_is_taken() {
    for back in [[500, 900], [900, 500]] {
        let scripts = back.map(|at| down_between(0, at)).into();
        let mut world = World::new(&ranks(&[0, 1]), 1, scripts);
        world.run(seconds(499));
        assert_eq!(world.sessions, []);
        assert!(world.asks < 300, "{} questions", world.asks);
        world.run(seconds(13));
        assert_eq!(world.sessions.len(), 1, "back within some seconds");
    }
}

#[test]
fn one_that_answers_and_gives_no_session_is_passed_over() {
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![always(How::Mute), always(How::Up)]);
    world.run(seconds(10));
    assert_eq!(world.session, Some(1));
    world.run(HOUR);
    // It is tried beside the session, ever more rarely, and nobody notices.
    assert_eq!(world.sessions.len(), 1, "{:?}", world.sessions);
}

#[test]
fn a_server_that_drains_is_left_at_once_and_come_back_to_when_it_takes_clients_again() {
    let drains: Script =
        Box::new(
            |now| {
                if (seconds(100)..seconds(200)).contains(&now) { How::Draining } else { How::Up }
            },
        );
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![drains, always(How::Up)]);
    world.run(seconds(102));
    assert_eq!(world.session, Some(1));
    world.run(seconds(400));
    assert_eq!(world.session, Some(0));
    assert_eq!(world.sessions.len(), 3);
    assert!(world.without < Duration::from_millis(200), "{:?}", world.without);
}

#[test]
fn where_all_drain_the_client_stays() {
    let mut world =
        World::new(&ranks(&[0, 1]), 1, vec![always(How::Draining), always(How::Draining)]);
    world.run(HOUR);
    assert_eq!(world.sessions.len(), 1);
}

#[test]
fn a_second_session_that_does_not_come_about_disturbs_nothing() {
    let better: Script = Box::new(|now| if now < seconds(50) { How::Down } else { How::Mute });
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![better, always(How::Up)]);
    world.run(HOUR);
    assert_eq!(world.sessions.len(), 1, "{:?}", world.sessions);
}

#[test]
fn one_that_drains_is_better_than_none() {
    let gone: Script = Box::new(|now| if now < seconds(50) { How::Up } else { How::Down });
    let drains: Script = Box::new(|now| if now < seconds(20) { How::Up } else { How::Draining });
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![gone, drains]);
    world.run(seconds(60));
    assert_eq!(world.session, Some(1), "{:?}", world.sessions);
}

#[test]
fn servers_that_all_refuse_are_asked_seldom() {
    let mut servers = Servers::new(Duration::ZERO, &ranks(&[0, 1]), 1);
    let (mut connects, mut now) = (0, Duration::ZERO);
    while now < seconds(600) {
        while let Some(step) = servers.poll(now) {
            if let Step::Connect(_) = step {
                connects += 1;
                servers.refused(now);
            }
        }
        now += STEP;
    }
    assert!((10..50).contains(&connects), "{connects}");
}

#[test]
fn clients_share_servers_by_their_weights() {
    let ranks = [Rank::new(0, 3), Rank::new(0, 1), Rank::new(1, 200)];
    let mut counts = [0; 3];
    for seed in 0..4_000 {
        counts[Servers::new(Duration::ZERO, &ranks, seed).current()] += 1;
    }
    assert_eq!(counts[2], 0);
    assert!((2_850..3_150).contains(&counts[0]), "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever servers do: where one is up and stays so, the client is soon at one that is.
    #[test]
    fn a_client_finds_a_server_that_is_up(
        seed in any::<u64>(),
        priorities in proptest::collection::vec(0..3_u8, 2..5),
        periods in proptest::collection::vec((1..200_u64, 1..200_u64, 0..4_u8), 5),
        good in any::<proptest::sample::Index>(),
    ) {
        let good = good.index(priorities.len());
        let scripts = (0..priorities.len()).map(|server| -> Script {
            let (up, down, other) = periods[server];
            if server == good {
                return always(How::Up);
            }
            let other = [How::Down, How::Draining, How::Mute, How::Down][usize::from(other)];
            Box::new(move |now| if now.as_secs() % (up + down) < up { How::Up } else { other })
        });
        let mut world = World::new(&ranks(&priorities), seed, scripts.collect());
        world.run(seconds(1_200));
        // A loss takes its time to be noticed, and each server that does not answer its own.
        let each = NOTICED + seconds(4) * priorities.len() as u32;
        prop_assert!(
            world.without <= each * world.sessions.len() as u32,
            "{:?} without in {:?}", world.without, world.sessions
        );
        prop_assert!(world.sessions.len() < 60, "{:?}", world.sessions);
    }
}
