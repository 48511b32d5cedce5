//! Clients of several servers on virtual time.

use proptest::prelude::*;

use super::*;

/// The way to a server and back takes so long where nothing else is said.
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// A draining server asks again after so long.
const ASKED_AGAIN: Duration = Duration::from_secs(5);
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
    /// It gives sessions, and answers no questions, as before acton 0.2.
    Old,
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
    /// How long a REPLY takes, and how many times as long a handshake.
    round_trip: Duration,
    round_trips: u32,
    /// When a draining server says MOVE next.
    move_at: Duration,
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
            round_trip: ROUND_TRIP,
            round_trips: 1,
            move_at: now,
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
        matches!(self.how(server), How::Up | How::Draining | How::Old)
    }

    fn handshake(&self) -> Duration {
        self.round_trip * self.round_trips
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
            Some(server) if self.how(server) == How::Draining && now >= self.move_at => {
                self.move_at = now + ASKED_AGAIN;
                self.servers.leave(now, None);
            }
            _ => self.silent_since = None,
        }
        while let Some(step) = self.servers.poll(now) {
            match step {
                Step::Ask(server) => {
                    let is_known = Some(server) == self.session && !self.servers.is_leaving();
                    assert!(!is_known, "it is known");
                    self.asks += 1;
                    let draining = self.how(server) == How::Draining;
                    let state = ServerState { draining, load: 0, instance: 1 };
                    if !matches!(self.how(server), How::Down | How::Old) {
                        self.answers.push((now + self.round_trip, server, state));
                    }
                }
                Step::Connect(server) => {
                    assert_eq!(self.session, None, "there is a session");
                    self.joining = None;
                    self.trying = Some((server, now + self.handshake()));
                }
                Step::Join(server) => {
                    assert!(self.session.is_some_and(|current| current != server));
                    self.joining = Some((server, now + self.handshake()));
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
    // Lost once: twice the time, and up to half of that.
    assert!((seconds(400 + 120)..seconds(400 + 220)).contains(&third), "{at:?}");
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
fn so_are_several() {
    let mute = || always(How::Mute);
    let mut world = World::new(&ranks(&[0, 1, 2]), 1, vec![mute(), mute(), always(How::Up)]);
    world.run(seconds(20));
    assert_eq!(world.session, Some(2));
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
fn clients_do_not_come_back_all_at_once() {
    let mut came = [0; 120];
    for seed in 0..100 {
        let scripts = vec![down_between(100, 110), always(How::Up)];
        let mut world = World::new(&ranks(&[0, 1]), seed, scripts);
        world.run(seconds(340));
        let [_, (_, 1), (at, 0)] = world.sessions[..] else { panic!("{:?}", world.sessions) };
        came[(at - seconds(1_220)).as_secs() as usize] += 1;
    }
    assert!(came.iter().all(|&clients| clients <= 8), "in each second: {came:?}");
}

#[test]
fn a_request_to_move_that_is_taken_back_is_over() {
    let drains: Script =
        Box::new(
            |now| {
                if (seconds(100)..seconds(110)).contains(&now) { How::Draining } else { How::Up }
            },
        );
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![drains, down_between(0, 7_000)]);
    world.run(seconds(90));
    let asks = world.asks;
    world.run(seconds(3_000));
    assert!(!world.servers.is_leaving());
    assert!(world.asks - asks < 3 * 120, "{} questions", world.asks - asks);
    world.run(seconds(5_000));
    assert_eq!(world.sessions.len(), 1, "{:?}", world.sessions);
}

#[test]
fn slow_servers_are_not_given_up_in_turn_for_ever() {
    for (milliseconds, round_trips) in [(40, 40), (400, 2), (900, 2), (1_500, 3), (40, 140)] {
        let mut world = World::new(
            &ranks(&[0, 0, 1]),
            1,
            vec![always(How::Up), always(How::Up), always(How::Up)],
        );
        world.round_trip = Duration::from_millis(milliseconds);
        world.round_trips = round_trips;
        world.run(seconds(60));
        assert_eq!(world.sessions.len(), 1, "{milliseconds} ms, {round_trips} of them");
    }
}

#[test]
fn an_outage_of_the_clients_own_is_no_servers_fault() {
    for length in [30, 1_000] {
        let scripts = (0..3).map(|_| down_between(100, 100 + length)).collect();
        let mut world = World::new(&ranks(&[0, 1, 1]), 1, scripts);
        world.run(seconds(100 + length + 20));
        let at: Vec<_> = world.sessions.iter().map(|&(_, server)| server).collect();
        assert_eq!(at, [0, 0], "{length} s");
        assert_eq!(world.servers.list[0].settle, SETTLED.0);
    }
}

#[test]
fn a_server_that_never_answers_questions_is_tried_none_the_less() {
    let gone: Script = Box::new(|now| if now < seconds(100) { How::Up } else { How::Down });
    let mut world = World::new(&ranks(&[0, 1]), 1, vec![gone, always(How::Old)]);
    world.run(seconds(110));
    assert_eq!(world.session, Some(1), "{:?}", world.sessions);
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
        periods in proptest::collection::vec((1..200_u64, 3..200_u64, 0..4_u8), 5),
        good in any::<proptest::sample::Index>(),
        (round_trip, round_trips) in (1..800_u64, 1..3_u32),
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
        world.round_trip = Duration::from_millis(round_trip);
        world.round_trips = round_trips;
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
