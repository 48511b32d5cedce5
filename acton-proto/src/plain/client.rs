use std::collections::VecDeque;
use std::time::Duration;

use super::codec::{Control, Datagram};
use super::jitter::Jitter;

/// A network error hurries at most one datagram in this time: a flood of forged ICMP errors must
/// not become a flood of HELLO. The same bound as acton/1 has.
const HURRY_INTERVAL: Duration = Duration::from_secs(5);

/// Shorter intervals are raised to this, so that no configuration can make a client spin.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Events that wait for a caller who does not poll; more push the oldest out.
const MAX_QUEUED_EVENTS: usize = 16;

/// How a [`Client`] times what it says. Intervals under 10 ms count as 10 ms.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientConfig {
    /// The wait after the first HELLO without an answer; after the nth it is n times as long.
    /// Default 1 s, spread by +-10 %.
    pub retry_step: Duration,
    /// The longest wait between two HELLO. Default 10 s, spread by +-10 %.
    pub retry_max: Duration,
    /// Time between two KEEPALIVE. Default 10 s, or up to 10 % less.
    ///
    /// They are sent beside frames too: a 0.1.1 server does not count a frame as a sign of life,
    /// and forgets a client that says no KEEPALIVE for 30 s.
    pub keepalive: Duration,
    /// Silence from the server after which it counts as lost. Default 30 s; longer than
    /// `keepalive`, or a connection without traffic cannot last.
    pub dead_after: Duration,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            retry_step: Duration::from_secs(1),
            retry_max: Duration::from_secs(10),
            keepalive: Duration::from_secs(10),
            dead_after: Duration::from_secs(30),
        }
    }
}

/// What a client's owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// A HELLO is about to be sent, the `attempt`th since the start or since the last
    /// [`Lost`](Self::Lost): the moment to look the server's name up again.
    Connecting {
        /// Counts from 1.
        attempt: u32,
    },
    /// The server answered; frames may flow.
    Connected {
        /// Time from HELLO to its answer; `None` if several were sent, as nobody knows which one
        /// was answered.
        rtt: Option<Duration>,
    },
    /// The server has been silent too long; the client says HELLO again by itself.
    Lost {
        /// Time since the last sign of life.
        silent_for: Duration,
    },
    /// [`Client::close`] was called; nothing follows.
    Closed,
}

impl ClientConfig {
    /// Intervals that are too short to be meant are made longer.
    fn bounded(self) -> Self {
        Self {
            retry_step: self.retry_step.max(MIN_INTERVAL),
            retry_max: self.retry_max.max(MIN_INTERVAL),
            keepalive: self.keepalive.max(MIN_INTERVAL),
            dead_after: self.dead_after.max(MIN_INTERVAL),
        }
    }
}

#[derive(Debug, Clone)]
enum State {
    Connecting { attempt: u32, next_hello: Duration },
    Connected { last_seen: Duration, next_keepalive: Duration },
    Closed,
}

/// The client's half of a session. It never gives up by itself.
///
/// It says HELLO when made, then after 1 s, 2 s, 3 s and so on up to every 10 s, each +-10 %,
/// for ever. While connected it says KEEPALIVE every 10 s, which also makes the session anew at a
/// server that restarted. After 30 s without a frame or an answer it says HELLO again.
///
/// Frames are sent, and received ones delivered, only while [`is_connected`](Self::is_connected).
#[derive(Debug, Clone)]
pub struct Client {
    config: ClientConfig,
    jitter: Jitter,
    state: State,
    /// When the newest HELLO or KEEPALIVE was sent.
    last_sent: Duration,
    /// How many of them, of the kind the state asks for, are unanswered.
    unanswered: u32,
    /// When a network error last moved a datagram forward, and to what time.
    hurried_to: Option<Duration>,
    rtt: Option<Duration>,
    transmit: Option<Control>,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// Starts a client at the time `now`; the first HELLO is ready for
    /// [`poll_transmit`](Self::poll_transmit). `seed` spreads its timers and should differ from
    /// client to client.
    #[must_use]
    pub fn new(config: ClientConfig, seed: u64, now: Duration) -> Self {
        let mut client = Self {
            config: config.bounded(),
            jitter: Jitter::new(seed),
            state: State::Closed,
            last_sent: now,
            unanswered: 0,
            hurried_to: None,
            rtt: None,
            transmit: None,
            events: VecDeque::new(),
        };
        client.connect(now);
        client
    }

    /// Keeps the session by other settings from now on.
    pub fn set_config(&mut self, config: ClientConfig) {
        self.config = config.bounded();
    }

    /// Takes what the server sent. A BYE, which no server says, and an answer that comes late or
    /// twice do no harm.
    pub fn handle_input(&mut self, now: Duration, datagram: &Datagram<'_>) {
        match (&self.state, datagram) {
            (State::Connecting { .. }, Datagram::Control(Control::Hello)) => {
                self.take_answer(now);
                let next_keepalive = self.after_keepalive(now);
                self.state = State::Connected { last_seen: now, next_keepalive };
                self.push(ClientEvent::Connected { rtt: self.rtt });
            }
            (State::Connected { .. }, Datagram::Control(Control::Keepalive)) => {
                self.take_answer(now);
                self.touch(now);
            }
            (_, Datagram::Control(Control::Hello) | Datagram::Frame(_)) => self.touch(now),
            (_, Datagram::Control(_)) => {}
        }
    }

    /// Tells that a frame came from the server at the time `seen`, which may lie somewhat back:
    /// for workers that report rarely. Ignored unless connected.
    pub fn touch(&mut self, seen: Duration) {
        if let State::Connected { last_seen, .. } = &mut self.state {
            *last_seen = seen.max(*last_seen);
        }
    }

    /// Does what is due at `now`; earlier than [`poll_timeout`](Self::poll_timeout) that is
    /// nothing.
    pub fn handle_timeout(&mut self, now: Duration) {
        match self.state {
            State::Connecting { attempt, next_hello } if now >= next_hello => {
                self.say_hello(now, attempt.saturating_add(1));
            }
            State::Connected { last_seen, .. }
                if now >= last_seen.saturating_add(self.config.dead_after) =>
            {
                self.push(ClientEvent::Lost { silent_for: now.saturating_sub(last_seen) });
                self.connect(now);
            }
            State::Connected { last_seen, next_keepalive } if now >= next_keepalive => {
                self.send(now, Control::Keepalive);
                let next_keepalive = self.after_keepalive(now);
                self.state = State::Connected { last_seen, next_keepalive };
            }
            _ => {}
        }
    }

    /// Takes the news that the network refused a datagram (ECONNREFUSED, ENETUNREACH and the
    /// like). As anyone can forge an ICMP error it only brings the next HELLO or KEEPALIVE
    /// forward, to a second or more after the last one and at most once in 5 s: so a client finds
    /// a restarted server soon.
    pub fn handle_network_error(&mut self, now: Duration) {
        let next = match &mut self.state {
            State::Connecting { next_hello, .. } => next_hello,
            State::Connected { next_keepalive, .. } => next_keepalive,
            State::Closed => return,
        };
        let rested = self.last_sent.saturating_add(self.config.retry_step);
        let allowed = self.hurried_to.map_or(now, |last| last.saturating_add(HURRY_INTERVAL));
        let hurried = now.max(rested).max(allowed);
        if hurried < *next {
            *next = hurried;
            self.hurried_to = Some(hurried);
        }
    }

    /// Ends the session: BYE is ready for [`poll_transmit`](Self::poll_transmit), also when the
    /// server never answered, as it may hold a session all the same. Whatever comes later is
    /// ignored.
    pub fn close(&mut self) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.transmit = Some(Control::Bye);
            self.push(ClientEvent::Closed);
        }
    }

    /// The time to call [`handle_timeout`](Self::handle_timeout); `None` once closed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::Connecting { next_hello, .. } => Some(next_hello),
            State::Connected { last_seen, next_keepalive } => {
                Some(next_keepalive.min(last_seen.saturating_add(self.config.dead_after)))
            }
            State::Closed => None,
        }
    }

    /// The next message to send to the server. Only the newest waits: one that was not fetched
    /// in time is worth nothing.
    pub fn poll_transmit(&mut self) -> Option<Control> {
        self.transmit.take()
    }

    /// The next event, oldest first. At most 16 wait.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Whether the server answered and has not been silent since.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected { .. })
    }

    /// The last sign of life of the server that the client was told of; `None` without a session.
    #[must_use]
    pub const fn last_seen(&self) -> Option<Duration> {
        match self.state {
            State::Connected { last_seen, .. } => Some(last_seen),
            _ => None,
        }
    }

    /// The newest round-trip time, of a HELLO or a KEEPALIVE; `None` before the first.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn connect(&mut self, now: Duration) {
        self.unanswered = 0;
        self.rtt = None;
        self.say_hello(now, 1);
    }

    fn say_hello(&mut self, now: Duration, attempt: u32) {
        self.push(ClientEvent::Connecting { attempt });
        self.send(now, Control::Hello);
        let wait = self.config.retry_step.saturating_mul(attempt).min(self.config.retry_max);
        let next_hello = now.saturating_add(self.jitter.around(wait));
        self.state = State::Connecting { attempt, next_hello };
    }

    fn after_keepalive(&mut self, now: Duration) -> Duration {
        now.saturating_add(self.jitter.before(self.config.keepalive))
    }

    fn send(&mut self, now: Duration, control: Control) {
        self.transmit = Some(control);
        self.last_sent = now;
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Measures the round trip where one question and one answer are left (Karn's rule).
    fn take_answer(&mut self, now: Duration) {
        if self.unanswered == 1 {
            self.rtt = Some(now.saturating_sub(self.last_sent));
        }
        self.unanswered = 0;
    }

    fn push(&mut self, event: ClientEvent) {
        if self.events.len() == MAX_QUEUED_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Datagram<'_> = Datagram::Control(Control::Hello);
    const KEEPALIVE: Datagram<'_> = Datagram::Control(Control::Keepalive);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn events(client: &mut Client) -> Vec<ClientEvent> {
        std::iter::from_fn(|| client.poll_event()).collect()
    }

    /// A client that was answered after 30 ms, all its output taken.
    fn connected() -> Client {
        let mut client = Client::new(ClientConfig::default(), 3, secs(100));
        assert_eq!(client.poll_transmit(), Some(Control::Hello));
        client.handle_input(secs(100) + ms(30), &HELLO);
        assert_eq!(
            events(&mut client),
            [ClientEvent::Connecting { attempt: 1 }, ClientEvent::Connected { rtt: Some(ms(30)) }]
        );
        client
    }

    /// Runs to the next time-out and tells when that was and what was said.
    fn step(client: &mut Client) -> (Duration, Option<Control>) {
        let now = client.poll_timeout().unwrap();
        client.handle_timeout(now - Duration::from_nanos(1));
        assert_eq!(client.poll_transmit(), None, "nothing happens before its time");
        client.handle_timeout(now);
        (now, client.poll_transmit())
    }

    #[test]
    fn hello_backs_off_for_ever_and_never_beyond_eleven_seconds() {
        let mut client = Client::new(ClientConfig::default(), 1, secs(7));
        assert_eq!(client.poll_transmit(), Some(Control::Hello));
        let mut last = secs(7);
        for attempt in 1..200 {
            assert_eq!(client.poll_event(), Some(ClientEvent::Connecting { attempt }));
            assert!(!client.is_connected());
            let (now, said) = step(&mut client);
            assert_eq!(said, Some(Control::Hello));
            let wait = secs(u64::from(attempt).min(10));
            assert!(now - last >= wait * 9 / 10 && now - last <= wait * 11 / 10);
            last = now;
        }
    }

    #[test]
    fn keepalives_go_out_also_beside_frames_and_measure_the_round_trip() {
        let mut client = connected();
        let mut last = secs(100);
        for round in 1..50 {
            let (now, said) = step(&mut client);
            assert_eq!(said, Some(Control::Keepalive));
            assert!(now - last >= secs(9) && now - last <= ms(10_030));
            client.handle_input(now + ms(round), &KEEPALIVE);
            assert_eq!(client.rtt(), Some(ms(round)));
            client.handle_input(now + ms(round + 500), &KEEPALIVE);
            assert_eq!(client.rtt(), Some(ms(round)), "an answer that comes twice counts once");
            client.handle_input(now + secs(5), &Datagram::Frame(&[0; 60]));
            last = now;
        }
        assert_eq!(events(&mut client), []);
    }

    #[test]
    fn silence_is_counted_from_the_last_sign_of_life() {
        let frame = [0; 60];
        for sign in [HELLO, KEEPALIVE, Datagram::Frame(&frame)] {
            let mut client = connected();
            let seen = secs(105);
            client.handle_input(seen, &sign);
            client.touch(secs(101));
            let lost = loop {
                let (now, said) = step(&mut client);
                if said == Some(Control::Hello) {
                    break now;
                }
                assert!(client.is_connected());
            };
            assert_eq!(lost, seen + secs(30));
            assert!(!client.is_connected());
            assert_eq!(
                events(&mut client),
                [
                    ClientEvent::Lost { silent_for: secs(30) },
                    ClientEvent::Connecting { attempt: 1 }
                ]
            );
        }
    }

    #[test]
    fn a_sign_of_life_reported_by_a_worker_counts() {
        let mut client = connected();
        client.touch(secs(120));
        client.handle_timeout(secs(149));
        assert!(client.is_connected());
        client.handle_timeout(secs(150));
        assert!(!client.is_connected());
    }

    #[test]
    fn only_a_hello_connects_and_a_bye_does_nothing() {
        let mut client = Client::new(ClientConfig::default(), 1, secs(1));
        client.poll_event();
        for datagram in [KEEPALIVE, Datagram::Control(Control::Bye), Datagram::Frame(&[0; 14])] {
            client.handle_input(secs(1), &datagram);
            assert!(!client.is_connected());
        }
        client.handle_input(secs(1), &HELLO);
        let timeout = client.poll_timeout();
        client.handle_input(secs(2), &Datagram::Control(Control::Bye));
        assert!(client.is_connected());
        assert_eq!(client.poll_timeout(), timeout);
    }

    #[test]
    fn no_round_trip_is_claimed_when_several_hello_are_open() {
        let mut client = Client::new(ClientConfig::default(), 1, secs(1));
        client.poll_transmit();
        let (now, _) = step(&mut client);
        client.handle_input(now + ms(5), &HELLO);
        assert_eq!(events(&mut client).last(), Some(&ClientEvent::Connected { rtt: None }));
        assert_eq!(client.rtt(), None);
    }

    #[test]
    fn the_round_trip_is_measured_anew_after_a_loss() {
        let mut client = connected();
        let (lost, said) = std::iter::repeat_with(|| step(&mut client))
            .find(|(_, said)| *said == Some(Control::Hello))
            .unwrap();
        assert_eq!((client.rtt(), said), (None, Some(Control::Hello)));
        client.handle_input(lost + ms(9), &HELLO);
        assert_eq!(client.rtt(), Some(ms(9)));
    }

    #[test]
    fn a_refusal_hurries_one_datagram_and_tears_nothing_down() {
        let mut client = connected();
        let timeout = client.poll_timeout().unwrap();
        client.handle_network_error(secs(104));
        assert_eq!(client.poll_timeout(), Some(secs(104)));
        assert_eq!(step(&mut client), (secs(104), Some(Control::Keepalive)));
        // A flood of errors: one more in 5 s.
        for tenth in 0..100 {
            client.handle_network_error(secs(104) + ms(10 * tenth));
        }
        assert_eq!(step(&mut client), (secs(109), Some(Control::Keepalive)));
        assert!(timeout > secs(109));
        assert!(client.is_connected());
        assert_eq!(events(&mut client), []);
    }

    #[test]
    fn a_refusal_hurries_a_hello_but_never_delays_one() {
        let mut client = Client::new(ClientConfig::default(), 1, secs(0));
        client.poll_transmit();
        let timeout = client.poll_timeout();
        client.handle_network_error(ms(1));
        assert!(client.poll_timeout() <= timeout, "a second after the last, at the earliest");
        assert!(client.poll_timeout() >= Some(ms(900)));
        let mut now = secs(0);
        for _ in 0..20 {
            now = step(&mut client).0;
        }
        client.handle_network_error(now + ms(1));
        assert_eq!(client.poll_timeout(), Some(now + secs(1)));
    }

    #[test]
    fn close_says_bye_once_and_nothing_after() {
        for mut client in [connected(), Client::new(ClientConfig::default(), 1, secs(0))] {
            events(&mut client);
            client.close();
            client.close();
            assert_eq!(client.poll_transmit(), Some(Control::Bye));
            assert_eq!(events(&mut client), [ClientEvent::Closed]);
            client.handle_input(secs(200), &HELLO);
            client.handle_network_error(secs(200));
            client.handle_timeout(secs(1_000));
            assert_eq!(client.poll_timeout(), None);
            assert_eq!(client.poll_transmit(), None);
            assert_eq!(events(&mut client), []);
            assert!(!client.is_connected());
        }
    }

    #[test]
    fn no_configuration_panics_or_spins() {
        for time in [Duration::ZERO, Duration::MAX] {
            let config = ClientConfig {
                retry_step: time,
                retry_max: time,
                keepalive: time,
                dead_after: time,
            };
            let mut client = Client::new(config, 1, secs(1));
            let mut now = secs(1);
            for round in 0..1_000 {
                if round % 7 == 0 {
                    client.handle_input(now, &HELLO);
                }
                client.handle_network_error(now);
                let next = client.poll_timeout().unwrap();
                assert!(next > now || now == Duration::MAX);
                now = next;
                client.handle_timeout(now);
            }
            assert!(client.events.len() <= MAX_QUEUED_EVENTS);
        }
    }
}
