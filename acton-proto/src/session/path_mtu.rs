//! Path-MTU discovery by probes (the idea of RFC 8899), one direction at a time.

use std::time::Duration;

/// The datagram size that every path is taken to carry, in bytes of UDP payload: 1,280, the least
/// MTU of IPv6, less 48 of headers, rounded down as QUIC does (RFC 9000, section 14.1).
pub const BASE_PMTU: u16 = 1200;

/// How long an answer to a search probe is waited for.
const PROBE_TIME: Duration = Duration::from_secs(2);
/// Probes of one size before it counts as too large.
const PROBES: u8 = 3;
/// After how long a finished search begins anew, to find a path that got better.
const RAISE_AFTER: Duration = Duration::from_secs(600);
/// How often the size in use is confirmed while datagrams of that size are sent.
const CONFIRM_EVERY: Duration = Duration::from_secs(5);
/// How long an answer to a confirming probe is waited for.
const CONFIRM_TIME: Duration = Duration::from_secs(1);
/// Confirming probes without an answer before the path counts as a black hole. One more than of a
/// search, for a false alarm costs throughput: 7 % at 30 % loss each way, 2 in a million at 2 %.
const CONFIRMS: u8 = 4;
/// Small probes that ask, where nothing at all was heard since a size was first tried in vain, whether it is
/// the size that does not get through: while nothing does, that is not known, and is asked again later.
const DOUBTS: u8 = 2;
/// How often an unproven message may lower the size for as long as it takes to prove it wrong.
const HINT_EVERY: Duration = Duration::from_secs(5);
/// The search ends when it is this close, in bytes.
const CLOSE_ENOUGH: u16 = 16;

/// A KEEPALIVE to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) token: u64,
    pub(crate) size: u16,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is under way.
    Idle,
    /// The search takes its next step at once.
    Step,
    /// A size above the one in use is tried.
    Search(Trial),
    /// The size in use is tried.
    Confirm(Trial),
    /// A size was tried in vain, and nothing else was heard since: does anything get through?
    Doubt { trial: Trial, asked: u8, until: Duration },
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    probe: Probe,
    /// When it was first sent, and how often it was.
    since: Duration,
    sent: u8,
    /// Until when the last waits for its answer.
    until: Duration,
}

impl Trial {
    /// One that begins.
    fn new(now: Duration, probe: Probe, patience: Duration) -> Self {
        Self { probe, since: now, sent: 1, until: now + patience }
    }

    /// The probe once more.
    fn again(&mut self, now: Duration, patience: Duration) -> Probe {
        (self.sent, self.until) = (self.sent + 1, now + patience);
        self.probe
    }
}

/// Finds the largest datagram that gets through.
#[derive(Debug)]
pub(crate) struct PathMtu {
    /// The size in use.
    current: u16,
    /// No larger than either end's link.
    max: u16,
    /// The smallest size known not to get through; `max + 1` if none.
    too_large: u16,
    state: State,
    raise_at: Duration,
    /// Datagrams of the size in use go out: it is to be confirmed.
    in_use: bool,
    /// Not before this.
    confirm_at: Duration,
    /// No hint is taken before this.
    hint_at: Duration,
}

impl PathMtu {
    pub(crate) fn new(now: Duration, max: u16) -> Self {
        // The peer says how much its link carries: less than any path does would cut frames into
        // crumbs, or not carry them. What fits a datagram leaves room for one more in a u16.
        let max = max.clamp(BASE_PMTU, crate::wire::MAX_DATAGRAM as u16);
        Self {
            current: BASE_PMTU,
            max,
            too_large: max + 1,
            state: State::Step,
            raise_at: now + RAISE_AFTER,
            in_use: false,
            confirm_at: now + CONFIRM_EVERY,
            hint_at: now,
        }
    }

    /// A datagram above [`BASE_PMTU`] was sent.
    pub(crate) const fn note_large(&mut self) {
        self.in_use = true;
    }

    /// The size in use, bytes.
    pub(crate) const fn current(&self) -> u16 {
        self.current
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(crate) fn poll_timeout(&self) -> Duration {
        match self.state {
            State::Idle if self.in_use && self.current > BASE_PMTU => {
                self.raise_at.min(self.confirm_at)
            }
            State::Idle => self.raise_at,
            State::Step => Duration::ZERO,
            State::Search(Trial { until, .. })
            | State::Confirm(Trial { until, .. })
            | State::Doubt { until, .. } => until,
        }
    }

    /// What is due now, where the peer was last heard then; `token` draws a token.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Duration,
        heard: Duration,
        token: impl FnOnce() -> u64,
    ) -> Option<Probe> {
        if now < self.poll_timeout() {
            return None;
        }
        match &mut self.state {
            State::Search(trial) if trial.sent < PROBES => {
                return Some(trial.again(now, PROBE_TIME));
            }
            State::Confirm(trial) if trial.sent < CONFIRMS => {
                return Some(trial.again(now, CONFIRM_TIME));
            }
            State::Search(trial) | State::Confirm(trial) | State::Doubt { trial, .. }
                if heard > trial.since =>
            {
                let size = trial.probe.size;
                if size <= self.current {
                    // It may have been the path that was away: the largest is tried first, as at the start.
                    (self.current, self.too_large) = (BASE_PMTU, self.max + 1);
                } else {
                    self.refuse(size);
                }
            }
            State::Doubt { trial, asked, .. } if *asked == DOUBTS => {
                let is_in_use = trial.probe.size <= self.current;
                self.state = State::Idle;
                if is_in_use {
                    (self.in_use, self.confirm_at) = (true, now + CONFIRM_EVERY);
                } else {
                    self.raise_at = now + CONFIRM_EVERY;
                }
                return None;
            }
            State::Search(trial) | State::Confirm(trial) => {
                let (trial, until) = (*trial, now + CONFIRM_TIME);
                self.state = State::Doubt { trial, asked: 1, until };
                return Some(Probe { token: token(), size: BASE_PMTU });
            }
            State::Doubt { asked, until, .. } => {
                (*asked, *until) = (*asked + 1, now + CONFIRM_TIME);
                return Some(Probe { token: token(), size: BASE_PMTU });
            }
            State::Idle if now >= self.raise_at => self.too_large = self.max + 1,
            State::Idle => {
                self.in_use = false;
                self.confirm_at = now + CONFIRM_EVERY;
                let probe = Probe { token: token(), size: self.current };
                self.state = State::Confirm(Trial::new(now, probe, CONFIRM_TIME));
                return Some(probe);
            }
            State::Step => {}
        }
        self.step(now, token)
    }

    /// An ECHO came. True if it answers a probe of ours.
    pub(crate) fn handle_echo(&mut self, now: Duration, token: u64, size: u16) -> bool {
        let (State::Search(trial) | State::Confirm(trial) | State::Doubt { trial, .. }) =
            self.state
        else {
            return false;
        };
        let probe = trial.probe;
        if (probe.token, probe.size) != (token, size) {
            return false;
        }
        self.confirm_at = now + CONFIRM_EVERY;
        self.state = if size > self.current { State::Step } else { State::Idle };
        self.current = size;
        true
    }

    /// The system refused to send a datagram of this size (EMSGSIZE, EINVAL).
    pub(crate) fn handle_too_large(&mut self, size: u16) {
        if size <= BASE_PMTU || size >= self.too_large {
            return;
        }
        self.refuse(size);
        self.state = State::Step;
    }

    /// A router says that the path carries datagrams of `size` bytes only (ICMP), which anybody can
    /// forge: until an answer to a probe of the size in use shows that it was, which takes a round
    /// trip, `size` is used. True if it was taken; the probe is then due.
    pub(crate) fn handle_hint(
        &mut self,
        now: Duration,
        size: u16,
        token: impl FnOnce() -> u64,
    ) -> bool {
        let size = size.max(BASE_PMTU);
        if now < self.hint_at || size >= self.current {
            return false;
        }
        self.hint_at = now + HINT_EVERY;
        let probe = Probe { token: token(), size: self.current };
        self.state = State::Search(Trial { probe, since: now, sent: 0, until: now });
        self.current = size;
        true
    }

    /// Datagrams of this size do not get through; of the size in use nobody knows what does.
    fn refuse(&mut self, size: u16) {
        if size <= self.current {
            self.current = BASE_PMTU;
        }
        self.too_large = size;
    }

    /// Tries the next size: the largest first, then halfway between what works and what does not.
    fn step(&mut self, now: Duration, token: impl FnOnce() -> u64) -> Option<Probe> {
        let untried = self.too_large > self.max;
        let size = if untried { self.max } else { self.current.midpoint(self.too_large) };
        if self.current == self.max || !untried && self.too_large - self.current <= CLOSE_ENOUGH {
            self.state = State::Idle;
            self.raise_at = now + RAISE_AFTER;
            return None;
        }
        let probe = Probe { token: token(), size };
        self.state = State::Search(Trial::new(now, probe, PROBE_TIME));
        Some(probe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs the search over a path of `mtu` bytes for `time`, on which nothing but probes is heard; probes
    /// seen.
    fn run(path: &mut PathMtu, from: Duration, time: Duration, mtu: u16, large: bool) -> usize {
        let (mut now, mut probes, mut heard) = (from, 0, from);
        loop {
            if large {
                path.note_large();
            }
            now = now.max(path.poll_timeout());
            if now > from + time {
                return probes;
            }
            if let Some(probe) = path.handle_timeout(now, heard, || probes as u64) {
                probes += 1;
                assert!(probes < 100_000, "the search does not end");
                if probe.size <= mtu {
                    // The answer comes later than what it answers was sent.
                    heard = now + Duration::from_micros(1);
                    let is_trial = !matches!(path.state, State::Doubt { .. });
                    assert_eq!(path.handle_echo(now, probe.token, probe.size), is_trial);
                }
            }
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_largest_size_is_tried_first() {
        let mut path = PathMtu::new(MINUTE, 1472);
        assert_eq!(path.current(), 1200);
        assert_eq!(run(&mut path, MINUTE, MINUTE, 1500, false), 1);
        assert_eq!(path.current(), 1472);
    }

    #[test]
    fn a_true_hint_is_followed_and_a_false_one_costs_a_round_trip() {
        let rtt = Duration::from_millis(50);
        for (mtu, kept) in [(1300, 1300), (1500, 1472)] {
            let mut path = PathMtu::new(Duration::ZERO, 1472);
            run(&mut path, Duration::ZERO, MINUTE, 1500, true);
            assert!(path.handle_hint(MINUTE, 1300, || 99));
            assert_eq!((path.current(), path.poll_timeout()), (1300, MINUTE));
            assert!(!path.handle_hint(MINUTE + rtt, 1250, || 98), "one at a time");
            let probe = path.handle_timeout(MINUTE, MINUTE, || 0).unwrap();
            assert_eq!(probe, Probe { token: 99, size: 1472 });
            if probe.size <= mtu {
                assert!(path.handle_echo(MINUTE + rtt, probe.token, probe.size));
            }
            run(&mut path, MINUTE + rtt, MINUTE, mtu, true);
            assert_eq!(path.current(), kept);
        }
        let mut path = PathMtu::new(Duration::ZERO, 1472);
        run(&mut path, Duration::ZERO, MINUTE, 1500, true);
        assert!(path.handle_hint(MINUTE, 0, || 0));
        assert_eq!(path.current(), BASE_PMTU, "nothing less is believed");
        assert!(!path.handle_hint(2 * MINUTE, 1472, || 0), "nothing larger");
    }

    #[test]
    fn a_black_hole_is_noticed_within_ten_seconds_of_use() {
        let mut path = PathMtu::new(Duration::ZERO, 1472);
        run(&mut path, Duration::ZERO, MINUTE, 1500, true);
        assert_eq!(path.current(), 1472);
        run(&mut path, MINUTE, Duration::from_secs(10), 1252, true);
        assert_eq!(path.current(), 1200);
        run(&mut path, MINUTE, MINUTE, 1252, true);
        assert!((1237..=1252).contains(&path.current()), "{}", path.current());
        // A path that gets better is found at the next search.
        run(&mut path, 2 * MINUTE, 12 * MINUTE, 1500, true);
        assert_eq!(path.current(), 1472);
    }

    #[test]
    fn a_path_that_carries_nothing_for_a_while_is_not_taken_for_a_smaller_one() {
        for away in [3, 6, 9, 10, 12, 20, 40] {
            let mut path = PathMtu::new(Duration::ZERO, 1472);
            run(&mut path, Duration::ZERO, MINUTE, 1500, true);
            let away = Duration::from_secs(away);
            let probes = run(&mut path, MINUTE, away, 0, true);
            assert!(probes <= away.as_secs() as usize, "{probes} in {away:?}");
            assert_eq!(path.current(), 1472);
            run(&mut path, MINUTE + away, MINUTE, 1500, true);
            assert_eq!(path.current(), 1472);
            // Where it is smaller once it is back, that is found out.
            let mut path = PathMtu::new(Duration::ZERO, 1472);
            run(&mut path, Duration::ZERO, MINUTE, 1500, true);
            run(&mut path, MINUTE, away, 0, true);
            run(&mut path, MINUTE + away, MINUTE, 1300, true);
            assert!((1285..=1300).contains(&path.current()), "{}", path.current());
        }
        // Nor before the first size was found.
        let mut path = PathMtu::new(Duration::ZERO, 1472);
        run(&mut path, Duration::ZERO, MINUTE, 0, true);
        run(&mut path, MINUTE, MINUTE / 4, 1500, true);
        assert_eq!(path.current(), 1472);
    }

    #[test]
    fn an_unused_path_is_left_alone() {
        let mut path = PathMtu::new(Duration::ZERO, 1472);
        run(&mut path, Duration::ZERO, MINUTE, 1500, false);
        assert_eq!(run(&mut path, MINUTE, 5 * MINUTE, 0, false), 0);
        assert_eq!(path.current(), 1472);
    }

    #[test]
    fn an_error_of_the_system_falls_back_at_once() {
        let mut path = PathMtu::new(Duration::ZERO, 1472);
        run(&mut path, Duration::ZERO, MINUTE, 1500, false);
        path.handle_too_large(1472);
        assert_eq!(path.current(), 1200);
        run(&mut path, MINUTE, MINUTE, 1400, false);
        assert!((1385..=1400).contains(&path.current()), "{}", path.current());
        // Stale news of a size not in use, or of one that always works, changes nothing.
        let before = path.current();
        path.handle_too_large(1472);
        path.handle_too_large(900);
        assert_eq!(path.current(), before);
    }

    proptest! {
        #[test]
        fn the_search_ends_near_the_path(max in 0..=u16::MAX, mtu in 1200..=u16::MAX) {
            let mut path = PathMtu::new(Duration::ZERO, max);
            run(&mut path, Duration::ZERO, 5 * MINUTE, mtu, false);
            let best = max.max(BASE_PMTU).min(mtu).min(65_507);
            prop_assert!(path.current() <= best);
            prop_assert!(best - path.current() < CLOSE_ENOUGH.max(1), "{} of {}", path.current(), best);
        }

        #[test]
        fn whatever_comes_the_size_stays_in_bounds(
            max in 0..=u16::MAX,
            steps in proptest::collection::vec((0..5_u8, any::<u16>(), 0..5_000_u64), 0..200),
        ) {
            let mut path = PathMtu::new(Duration::ZERO, max);
            let max = max.max(BASE_PMTU);
            let (mut now, mut last) = (Duration::ZERO, Probe { token: 0, size: 0 });
            for (what, size, ms) in steps {
                now += Duration::from_millis(ms);
                match what {
                    0 => path.handle_too_large(size),
                    1 => { path.handle_echo(now, last.token, last.size); }
                    2 => { path.handle_echo(now, 7, size); }
                    3 => { path.handle_hint(now, size, || 7); }
                    4 if size % 2 == 0 => path.note_large(),
                    _ => if let Some(probe) = path.handle_timeout(now, Duration::from_millis(size.into()), || 7) {
                        prop_assert!(probe.size <= max);
                        last = probe;
                    },
                }
                prop_assert!((BASE_PMTU..=max).contains(&path.current()));
            }
        }
    }
}
