//! What became of the frames of a test of isolation at the server, as its workers tell it.

use std::collections::HashMap;

use acton_frame::Headers;
use acton_proto::wire::TestToken;
use parking_lot::Mutex;

use crate::isolation::frame;
use crate::sessions::port::LeafId;

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It went to the root.
    Root,
    /// Nowhere, for the reason of this name.
    Dropped(&'static str),
}

/// The reason for which frames are dropped that come too fast.
pub(crate) const OVER_RATE: &str = "rate_in";

impl Fate {
    /// Whether the frame came too fast, and may pass later.
    pub(crate) fn is_of_rate(self) -> bool {
        self == Self::Dropped(OVER_RATE)
    }
}

/// Frames of one client that count as a test's: whoever takes part knows the token, and could send others by
/// it past budgets and counters. A client that keeps its word sends half as many, each of which is looked at
/// twice at most.
const ALLOWANCE: u32 = 256;

/// The frames of one test.
#[derive(Debug)]
pub(crate) struct Fates {
    token: TestToken,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By number, with the client that it came from.
    fates: HashMap<u16, (LeafId, Fate)>,
    /// How many frames of a client were looked at.
    looked: HashMap<LeafId, u32>,
}

impl Fates {
    pub(crate) fn new(token: TestToken) -> Self {
        Self { token, known: Mutex::default() }
    }

    /// The number of a client's frame of this test; `None` for any other frame, and for more than a client
    /// has to send.
    pub(crate) fn number(&self, from: LeafId, headers: &Headers, frame: &[u8]) -> Option<u16> {
        let number = frame::number(self.token, headers, frame)?;
        let mut known = self.known.lock();
        let looked = known.looked.entry(from).or_default();
        *looked = looked.saturating_add(1);
        (*looked <= ALLOWANCE).then_some(number)
    }

    /// Notes what became of a frame. Of one that came more than once counts that it passed.
    pub(crate) fn note(&self, number: u16, from: LeafId, fate: Fate) {
        let mut known = self.known.lock();
        let entry = known.fates.entry(number).or_insert((from, fate));
        if fate == Fate::Root || entry.1.is_of_rate() {
            *entry = (from, fate);
        }
    }

    /// Which client the frame of this number came from.
    pub(crate) fn came_from(&self, number: u16) -> Option<LeafId> {
        self.known.lock().fates.get(&number).map(|(port, _)| *port)
    }

    /// What became of the frame of this number, from this client.
    pub(crate) fn of(&self, number: u16, from: LeafId) -> Option<Fate> {
        let fate = self.known.lock().fates.get(&number).copied();
        fate.filter(|(port, _)| *port == from).map(|(_, fate)| fate)
    }
}

#[cfg(test)]
mod tests {
    use pnet_base::MacAddr;

    use super::*;
    use crate::capture::packet::Cause;
    use crate::observe::counters::Counter;

    #[test]
    fn a_rate_is_known_by_its_name() {
        assert_eq!(Cause::from(Counter::OverRateIn).name(), Some(OVER_RATE));
        assert!(Fate::Dropped(OVER_RATE).is_of_rate() && !Fate::Root.is_of_rate());
    }

    #[test]
    fn no_client_sends_more_by_the_token_than_a_test_takes() {
        let token = TestToken([5; 16]);
        let fates = Fates::new(token);
        let frame = frame::control_frame(token, 7, MacAddr(2, 0, 0, 0, 0, 1), None);
        let headers = Headers::parse(&frame);
        let counts = (0..1_000).filter(|_| fates.number(3, &headers, &frame).is_some()).count();
        assert_eq!(counts, ALLOWANCE as usize);
        assert_eq!(fates.number(4, &headers, &frame), Some(7), "others are not the poorer for it");
    }

    #[test]
    fn what_passed_once_passed_and_a_client_speaks_for_itself() {
        let fates = Fates::new(TestToken([5; 16]));
        for fate in [Fate::Dropped("arp"), Fate::Root, Fate::Dropped("arp")] {
            fates.note(7, 3, fate);
        }
        assert_eq!(
            (fates.of(7, 3), fates.of(7, 4), fates.of(8, 3)),
            (Some(Fate::Root), None, None)
        );
    }
}
