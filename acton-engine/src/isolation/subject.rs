//! A client's part in a test of isolation: whether to take part, and how much at most.

use std::sync::Arc;
use std::time::Duration;

use acton_proto::wire::{
    IsolationAnswer, IsolationOrder, IsolationRefusal, IsolationReply, IsolationStep, TestFrames,
    TestToken,
};

use crate::isolation::frame::{self, Home};
use crate::isolation::kind::TestKind;
use crate::isolation::listener::Listener;
use crate::throttle::Bucket;

/// Least time between two tests of which something was sent, each from its first frame on.
const PAUSE: Duration = Duration::from_secs(10);
/// Tests that may begin at once, and the time after which one more may: each has the kernel asked for
/// addresses, also one that is called off before anybody sends something.
const BEGINS: (Duration, u32) = (Duration::from_secs(3), 3);
/// Frames that a test has this client send at most, those that got lost and are sent again among them.
const MAX_FRAMES: usize = 128;
/// A test is over when no order came for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What there is to do.
#[derive(Debug, Default)]
pub(crate) struct Doing {
    /// To send into the tunnel, before the answer.
    pub(crate) frames: Vec<Vec<u8>>,
    /// To send out of the TAP.
    pub(crate) beside: Vec<Vec<u8>>,
    /// To tell the server.
    pub(crate) answer: Option<IsolationAnswer>,
    /// These are the first of the test.
    pub(crate) begins_to_send: bool,
    /// Another test is listened to than before, or none.
    pub(crate) listens_otherwise: bool,
}

/// A client in tests of isolation.
#[derive(Debug)]
pub(crate) struct Subject {
    test: Option<Test>,
    /// When the next test may begin, after one of which something was sent.
    next: Duration,
    begins: Bucket,
}

impl Default for Subject {
    fn default() -> Self {
        let begins = Bucket::new(BEGINS.0, BEGINS.1);
        Self { test: None, next: Duration::ZERO, begins }
    }
}

#[derive(Debug)]
struct Test {
    token: TestToken,
    listener: Arc<Listener>,
    home: Home,
    left: usize,
    until: Duration,
}

impl Subject {
    /// What hears the frames of the test that is on.
    pub(crate) fn listener(&self) -> Option<Arc<Listener>> {
        self.test.as_ref().map(|test| Arc::clone(&test.listener))
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.test.as_ref().map(|test| test.until)
    }

    /// Ends a test that its server has left; whether there was one.
    pub(crate) fn expire(&mut self, now: Duration) -> bool {
        self.test.take_if(|test| now >= test.until).is_some()
    }

    /// Ends the test that is on, if there is one.
    pub(crate) fn stop(&mut self) -> bool {
        self.test.take().is_some()
    }

    /// Does what the server wants. `home` says where this client's TAP lives.
    pub(crate) fn obey(
        &mut self,
        now: Duration,
        order: IsolationOrder,
        is_allowed: bool,
        home: impl FnOnce() -> Option<Home>,
    ) -> Doing {
        let IsolationOrder { token, step } = order;
        let mut doing = Doing::default();
        let reply = match step {
            IsolationStep::Begin => {
                let begun = self.begin(now, token, is_allowed, home);
                doing.listens_otherwise = begun == Ok(true);
                Some(begun.map_or_else(IsolationReply::Refused, |_| self.agreed()))
            }
            IsolationStep::Send(frames) => self.test_of(now, token).map(|test| {
                let has_sent = test.has_sent();
                let kinds = test.send(&frames, &mut doing.frames, &mut doing.beside);
                doing.begins_to_send = !has_sent && test.has_sent();
                IsolationReply::Sent { number: frames.number, kinds }
            }),
            IsolationStep::Report { from } => {
                self.test_of(now, token).map(|test| test.listener.heard_from(from))
            }
            IsolationStep::End => {
                doing.listens_otherwise = self.test.take_if(|test| test.token == token).is_some();
                None
            }
        };
        if doing.begins_to_send {
            self.next = now + PAUSE;
        }
        doing.answer = reply.map(|reply| IsolationAnswer { token, reply });
        doing
    }

    /// Begins a test, or the same again; whether it is a new one.
    fn begin(
        &mut self,
        now: Duration,
        token: TestToken,
        is_allowed: bool,
        home: impl FnOnce() -> Option<Home>,
    ) -> Result<bool, IsolationRefusal> {
        if !is_allowed {
            return Err(IsolationRefusal::NotAllowed);
        }
        if self.test_of(now, token).is_some() {
            return Ok(false);
        }
        // One that was called off before anybody sent something keeps no other waiting, but for a flood.
        if now < self.next || !self.begins.admits(now) {
            return Err(IsolationRefusal::TooSoon);
        }
        let home = home().ok_or(IsolationRefusal::NoTap)?;
        let (listener, until) = (Arc::new(Listener::new(token)), now + PATIENCE);
        self.test = Some(Test { token, listener, home, left: MAX_FRAMES, until });
        Ok(true)
    }

    fn agreed(&self) -> IsolationReply {
        let Some(Test { home, .. }) = &self.test else {
            return IsolationReply::Refused(IsolationRefusal::NotAllowed);
        };
        IsolationReply::Agreed { mac: home.mac.octets(), ipv4: home.ipv4, ipv6: home.ipv6 }
    }

    /// The test of this token, which its server has not left.
    fn test_of(&mut self, now: Duration, token: TestToken) -> Option<&mut Test> {
        let test = self.test.as_mut().filter(|test| test.token == token)?;
        test.until = now + PATIENCE;
        Some(test)
    }
}

impl Test {
    fn has_sent(&self) -> bool {
        self.left < MAX_FRAMES
    }

    /// Adds the frames to send, as many as there may be: into the tunnel, and out of the TAP. Their kinds.
    fn send(
        &mut self,
        frames: &TestFrames,
        sent: &mut Vec<Vec<u8>>,
        beside: &mut Vec<Vec<u8>>,
    ) -> u32 {
        let mut kinds = 0;
        for kind in TestKind::of(frames.kinds) {
            if self.left == 0 {
                break;
            }
            if let Some(frame) = frame::frame(kind, self.token, frames, &self.home) {
                self.left -= 1;
                kinds |= kind.bit();
                if kind.is_beside() { &mut *beside } else { &mut *sent }.push(frame);
            }
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use pnet_base::MacAddr;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: TestToken = TestToken([1; 16]);

    fn home() -> Option<Home> {
        Some(Home {
            mac: MacAddr(2, 0, 0, 0, 0, 7),
            ipv4: Ipv4Addr::new(10, 0, 0, 7),
            ipv6: Ipv6Addr::LOCALHOST,
            max_frame: 1_514,
        })
    }

    fn frames(kinds: u32) -> TestFrames {
        let (ipv4, ipv6) = (Ipv4Addr::new(10, 0, 0, 9), Ipv6Addr::LOCALHOST);
        TestFrames { number: 32, kinds, root: [2; 6], peer: [4; 6], ipv4, ipv6 }
    }

    fn order(token: TestToken, step: IsolationStep) -> IsolationOrder {
        IsolationOrder { token, step }
    }

    fn reply(doing: &Doing) -> Option<IsolationReply> {
        doing.answer.map(|answer| answer.reply)
    }

    #[test]
    fn who_does_not_allow_it_sends_nothing_and_listens_to_nothing() {
        let mut subject = Subject::default();
        let now = Duration::from_secs(100);
        let doing = subject.obey(now, order(TOKEN, IsolationStep::Begin), false, home);
        let refused = IsolationReply::Refused(IsolationRefusal::NotAllowed);
        assert_eq!(reply(&doing), Some(refused));
        assert!(subject.listener().is_none() && !doing.listens_otherwise);
        for step in [IsolationStep::Send(frames(u32::MAX)), IsolationStep::Report { from: 0 }] {
            let doing = subject.obey(now, order(TOKEN, step), false, home);
            assert!(doing.frames.is_empty() && doing.answer.is_none());
        }
        // Without a TAP's address there is nothing to send from.
        let doing = subject.obey(now, order(TOKEN, IsolationStep::Begin), true, || None);
        let refused = IsolationReply::Refused(IsolationRefusal::NoTap);
        assert_eq!(reply(&doing), Some(refused));
    }

    #[test]
    fn one_test_in_ten_seconds_and_a_bounded_number_of_frames() {
        let mut subject = Subject::default();
        let (mut now, second) = (Duration::from_secs(100), Duration::from_secs(1));
        let begin = |token| order(token, IsolationStep::Begin);
        let doing = subject.obey(now, begin(TOKEN), true, home);
        assert!(matches!(reply(&doing), Some(IsolationReply::Agreed { .. })));
        assert!(doing.listens_otherwise && subject.listener().is_some());
        // The answer may get lost.
        let again = subject.obey(now, begin(TOKEN), true, home);
        assert_eq!(reply(&again), reply(&doing));
        assert!(!again.listens_otherwise);
        let (mut sent, send) = (0, order(TOKEN, IsolationStep::Send(frames(u32::MAX))));
        for _ in 0..20 {
            let doing = subject.obey(now, send, true, home);
            sent += doing.frames.len() + doing.beside.len();
        }
        assert_eq!(sent, MAX_FRAMES);
        let last = subject.obey(now, send, true, home);
        assert_eq!(reply(&last), Some(IsolationReply::Sent { number: 32, kinds: 0 }));
        // Another test is too soon, whoever asks, also once the first is over.
        let other = TestToken([2; 16]);
        let too_soon = Some(IsolationReply::Refused(IsolationRefusal::TooSoon));
        assert_eq!(reply(&subject.obey(now, begin(other), true, home)), too_soon);
        assert!(subject.obey(now, order(TOKEN, IsolationStep::End), true, home).listens_otherwise);
        assert!(subject.listener().is_none());
        assert_eq!(reply(&subject.obey(now + second * 9, begin(other), true, home)), too_soon);
        now += second * 10;
        assert!(subject.obey(now, begin(other), true, home).listens_otherwise);
        // One that the server has left ends by itself.
        assert!(!subject.expire(now + PATIENCE - second) && subject.expire(now + PATIENCE));
        assert!(subject.listener().is_none() && subject.due().is_none());
    }

    #[test]
    fn a_test_that_was_called_off_keeps_no_other_waiting() {
        let (mut subject, now) = (Subject::default(), Duration::from_secs(100));
        let [called_off, next] = [1, 2].map(|token| TestToken([token; 16]));
        // Somebody else did not agree.
        subject.obey(now, order(called_off, IsolationStep::Begin), true, home);
        subject.obey(now, order(called_off, IsolationStep::End), true, home);
        let doing = subject.obey(now, order(next, IsolationStep::Begin), true, home);
        assert!(matches!(reply(&doing), Some(IsolationReply::Agreed { .. })), "{doing:?}");
        let send = order(next, IsolationStep::Send(frames(u32::MAX)));
        assert!(subject.obey(now, send, true, home).begins_to_send);
        assert!(!subject.obey(now, send, true, home).begins_to_send);
    }

    #[test]
    fn a_server_that_begins_one_test_after_another_is_asked_for_patience() {
        let (mut subject, start) = (Subject::default(), Duration::from_secs(100));
        let mut number = 0;
        let mut begin = |now| {
            number += 1;
            let token = TestToken([number; 16]);
            let mut is_looked = false;
            let doing = subject.obey(now, order(token, IsolationStep::Begin), true, || {
                is_looked = true;
                home()
            });
            let has_begun = matches!(reply(&doing), Some(IsolationReply::Agreed { .. }));
            let too_soon = Some(IsolationReply::Refused(IsolationRefusal::TooSoon));
            assert!(has_begun || reply(&doing) == too_soon, "{doing:?}");
            assert_eq!([is_looked, doing.listens_otherwise], [has_begun; 2], "nothing is done");
            // Said again it is the same test.
            let again = subject.obey(now, order(token, IsolationStep::Begin), true, home);
            assert!(!has_begun || reply(&again) == reply(&doing));
            subject.obey(now, order(token, IsolationStep::End), true, home);
            has_begun
        };
        assert_eq!((0..6).filter(|_| begin(start)).count(), 3);
        let (interval, _) = BEGINS;
        assert!(!begin(start + interval - Duration::from_millis(1)));
        assert!(begin(start + interval) && !begin(start + interval));
    }

    proptest! {
        /// Whatever a server orders, and when: no more than so many frames in so much time.
        #[test]
        fn no_server_makes_a_flood(orders in prop::collection::vec(
            (0..4_u8, 0..3_u8, any::<u32>(), 0..3_000_u64), 1..200)) {
            let (mut subject, mut now) = (Subject::default(), Duration::from_secs(100));
            let (start, mut sent) = (now, 0);
            for (step, token, kinds, wait) in orders {
                now += Duration::from_millis(wait);
                let step = match step {
                    0 => IsolationStep::Begin,
                    1 => IsolationStep::Send(frames(kinds)),
                    2 => IsolationStep::Report { from: kinds as u16 },
                    _ => IsolationStep::End,
                };
                let doing = subject.obey(now, order(TestToken([token; 16]), step), true, home);
                sent += doing.frames.len() + doing.beside.len();
                subject.expire(now);
            }
            let tests = (now - start).as_secs() / PAUSE.as_secs() + 1;
            prop_assert!(sent as u64 <= tests * MAX_FRAMES as u64);
        }
    }
}
