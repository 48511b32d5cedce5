//! Keepalive and loss detection.

use std::time::Duration;

use crate::jitter::spread;
use crate::session::{Keys, Link, overdue_after};
use crate::wire::Rtt;

/// When a server that does not answer is given up: after a silence it is asked for a sign of life, and
/// asked again, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// The silence after something was sent before the server is asked.
    pub silence: Duration,
    /// How long after a question it is asked again; after the last one the answer is waited for as long,
    /// and no less than two round trips and what they vary.
    pub answer: Duration,
    /// How often the server is asked.
    pub asks: u32,
    /// After how many KEEPALIVE in a row without an ECHO it is given up though frames come: the way to it
    /// may be cut, and the way back not. They are four times `answer` apart. `None` for never.
    pub unanswered: Option<u32>,
    /// Whether it is asked without waiting for a silence once the system says that something did not
    /// reach it. Anybody can have the system say so, and no more than the question comes of it. Then
    /// a KEEPALIVE of any reason counts as asking, too, once it is asked.
    pub heeds_errors: bool,
}

impl Patience {
    /// Thirteen seconds: of a client that has nowhere else to go.
    pub const LONG: Self = Self {
        silence: Duration::from_secs(10),
        answer: Duration::from_secs(1),
        asks: 3,
        unanswered: None,
        heeds_errors: false,
    };
    /// Less than two seconds: of one that has.
    pub const SHORT: Self = Self {
        silence: Duration::from_millis(700),
        answer: Duration::from_millis(250),
        asks: 4,
        unanswered: Some(8),
        heeds_errors: true,
    };
}

/// The longest round trip of a host that did not sleep meanwhile.
const AWAKE: Duration = Duration::from_secs(13);
/// How often new keys are confirmed until the server answers under them.
const CONFIRM_TIME: Duration = Duration::from_millis(500);
/// Confirmations without an answer before a new handshake is made. Together they take less than
/// the 5 s for which the server keeps unconfirmed keys.
const CONFIRMS: u32 = 8;

/// What the client knows of the server's being alive, beyond the link's times.
#[derive(Debug)]
pub(super) struct Liveness {
    patience: Patience,
    keepalive: Duration,
    /// The interval with this time's jitter.
    interval: Duration,
    /// After how long a silence of the client its server forgets it.
    dead_after: Duration,
    /// Whether KEEPALIVE are REPORT, which are due beside frames too.
    reports: bool,
    /// The last KEEPALIVE without an ECHO.
    asked: Option<(u64, Duration)>,
    /// KEEPALIVE said since the last ECHO, and when the last was that counts: of those that follow sooner
    /// than their answers could, one does.
    unanswered: u32,
    counted_at: Duration,
    /// When the last KEEPALIVE was said.
    said_at: Duration,
    rtt: Option<Rtt>,
    /// The wait that the probes below belong to, by its beginning; how many were sent, and when the
    /// last was.
    waiting_since: Option<Duration>,
    probes: u32,
    probed_at: Duration,
    /// The wait, by its beginning, in which the system said that something did not reach the server.
    doubted: Option<Duration>,
    /// KEEPALIVE sent under keys not yet confirmed.
    confirms: u32,
    confirm_at: Duration,
}

impl Liveness {
    pub(super) fn new(seconds: u16, patience: Patience) -> Self {
        let keepalive = Duration::from_secs(u64::from(seconds.max(1)));
        Self {
            patience,
            keepalive,
            interval: keepalive,
            dead_after: keepalive * 3,
            reports: false,
            asked: None,
            unanswered: 0,
            counted_at: Duration::ZERO,
            said_at: Duration::ZERO,
            rtt: None,
            waiting_since: None,
            probes: 0,
            probed_at: Duration::ZERO,
            doubted: None,
            confirms: 0,
            confirm_at: Duration::ZERO,
        }
    }

    pub(super) const fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// The silence after something was sent before the server is asked.
    pub(super) const fn silence(&self) -> Duration {
        self.patience.silence
    }

    pub(super) const fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }

    /// New keys, to be confirmed from now on; the server says how often it wants KEEPALIVE, after how
    /// many seconds without any it forgets the client, and whether it wants them as REPORT.
    pub(super) fn keys_changed(
        &mut self,
        now: Duration,
        seconds: u16,
        dead_after: u16,
        reports: bool,
    ) {
        let (rtt, said_at) = (self.rtt, now);
        let new = Self::new(seconds, self.patience);
        let dead_after = new.dead_after.max(Duration::from_secs(dead_after.into()));
        *self = Self { reports, rtt, said_at, dead_after, confirm_at: now, ..new };
    }

    /// Another path has other round-trip times.
    pub(super) const fn path_changed(&mut self) {
        (self.rtt, self.asked, self.unanswered) = (None, None, 0);
        // What was asked on the old path counts no more.
        (self.waiting_since, self.probes) = (None, 0);
    }

    pub(super) fn note_keepalive(&mut self, now: Duration, link: &Link, token: u64, unit: i64) {
        self.asked = Some((token, now));
        if self.unanswered == 0 || now >= self.counted_at + self.unheard_time() {
            self.unanswered += 1;
            self.counted_at = now;
        }
        self.said_at = now;
        self.interval = spread(self.keepalive, 10, unit);
        // Some are said for other reasons, also after the last that was to confirm.
        self.confirms = CONFIRMS.min(self.confirms + 1);
        self.confirm_at = now + CONFIRM_TIME;
        if let Some(since) = link.waiting_since().filter(|since| self.is_ask(now, link, *since)) {
            self.probes = self.probes_since(since) + 1;
            (self.waiting_since, self.probed_at) = (Some(since), now);
        }
    }

    pub(super) fn handle_echo(&mut self, now: Duration, token: u64) {
        self.unanswered = 0;
        if let Some((_, sent)) = self.asked.take_if(|(asked, _)| *asked == token) {
            let sample = now.saturating_sub(sent);
            // One that waited for this host to wake up says nothing of the path.
            if sample < AWAKE {
                self.rtt = Some(Rtt::after(self.rtt, sample));
            }
        }
    }

    /// The system says that something did not reach the server: it is asked at once, where that counts.
    pub(super) fn doubt(&mut self, link: &Link) {
        if self.patience.heeds_errors {
            self.doubted = link.waiting_since();
        }
    }

    /// When the server is first asked in a wait that began then.
    fn ask_at(&self, since: Duration) -> Duration {
        if self.doubted == Some(since) { since } else { since + self.patience.silence }
    }

    /// Whether a KEEPALIVE is an ask in a wait that began then. Some are said for other reasons: where the
    /// client has nowhere else to go, those that come before the next ask is due do not use up its asks.
    fn is_ask(&self, now: Duration, link: &Link, since: Duration) -> bool {
        let is_due = || self.probe_at(link).is_some_and(|at| now >= at);
        now >= self.ask_at(since) && (self.patience.heeds_errors || is_due())
    }

    fn probes_since(&self, since: Duration) -> u32 {
        if self.waiting_since == Some(since) { self.probes } else { 0 }
    }

    /// How long an answer may take.
    fn answer_time(&self) -> Duration {
        let usual = self.rtt.map(|rtt| 2 * rtt.smoothed + 4 * rtt.jitter).unwrap_or_default();
        self.patience.answer.max(usual)
    }

    /// When the next probe of a silent server is due, after the last one when it is given up: that has
    /// its time for an answer, also if the one before was late, and the others have more.
    fn probe_at(&self, link: &Link) -> Option<Duration> {
        let since = link.waiting_since()?;
        Some(match self.probes_since(since) {
            0 => self.ask_at(since),
            probes if probes < self.patience.asks => self.probed_at + self.patience.answer,
            _ => self.probed_at + self.answer_time(),
        })
    }

    /// How long an answer may take of a server that is heard.
    fn unheard_time(&self) -> Duration {
        self.answer_time().max(4 * self.patience.answer)
    }

    /// When the server is asked again that did not answer a KEEPALIVE, whatever else comes of it; after
    /// the last one when it is given up.
    fn ask_again_at(&self) -> Option<Duration> {
        let waits = self.unanswered > 0 && self.patience.unanswered.is_some();
        waits.then(|| self.counted_at + self.unheard_time())
    }

    /// When the server is given up, once all probes are out.
    pub(super) fn dead_at(&self, link: &Link) -> Option<Duration> {
        let is_deaf = self.patience.unanswered.is_some_and(|most| self.unanswered >= most);
        let deaf = self.ask_again_at().filter(|_| is_deaf);
        let is_silent = |since: &Duration| self.probes_since(*since) >= self.patience.asks;
        let silent = link.waiting_since().filter(is_silent).and_then(|_| self.probe_at(link));
        deaf.into_iter().chain(silent).min()
    }

    pub(super) fn is_dead(&self, now: Duration, link: &Link) -> bool {
        self.dead_at(link).is_some_and(|at| now >= at)
    }

    /// Whether the server must have forgotten the client: that was suspended, or it would have asked for
    /// a sign of life and had one, or given the server up.
    pub(super) fn is_forgotten(&self, now: Duration, link: &Link) -> bool {
        now >= link.last_received() + self.dead_after
    }

    /// When a sign of life of the server is overdue: it answers each KEEPALIVE, and the first probe
    /// too.
    pub(super) fn quiet_at(&self, link: &Link) -> Duration {
        let answer = link.last_received() + overdue_after(self.keepalive);
        let probe = link.waiting_since().map(|since| self.ask_at(since) + self.answer_time());
        probe.map_or(answer, |at| at.min(answer))
    }

    /// When a KEEPALIVE is due that nothing else asks for: the server of one that is a REPORT wants
    /// it however much is sent.
    fn idle_at(&self, link: &Link) -> Duration {
        (if self.reports { self.said_at } else { link.last_sent() }) + self.interval
    }

    /// Whether a KEEPALIVE is due, for any reason.
    pub(super) fn keepalive_due(&self, now: Duration, keys: &Keys) -> bool {
        let link = keys.link();
        let asked = self.probe_at(link).into_iter().chain(self.ask_again_at()).min();
        let silent = asked.is_some_and(|at| now >= at);
        let confirm = !keys.is_confirmed() && self.confirms < CONFIRMS && now >= self.confirm_at;
        silent || confirm || now >= self.idle_at(link)
    }

    /// Whether the confirmations were all in vain: told once.
    pub(super) fn take_unconfirmed(&mut self, now: Duration, keys: &Keys) -> bool {
        let vain = self.confirms == CONFIRMS && !keys.is_confirmed() && now >= self.confirm_at;
        if vain {
            self.confirms += 1;
            // A new handshake has its time.
            self.unanswered = 0;
        }
        vain
    }

    pub(super) fn poll_timeout(&self, keys: &Keys) -> Duration {
        let link = keys.link();
        let idle = self.idle_at(link);
        let confirm =
            (!keys.is_confirmed() && self.confirms <= CONFIRMS).then_some(self.confirm_at);
        [self.probe_at(link), self.ask_again_at(), confirm]
            .into_iter()
            .flatten()
            .fold(idle, Duration::min)
    }
}
