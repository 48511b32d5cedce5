//! A client's ear in a test of isolation, as its worker has it.

use acton_frame::Headers;
use acton_proto::wire::{IsolationReply, MAX_HEARD, TestToken};
use parking_lot::Mutex;

use crate::isolation::frame;

/// Different numbers that are kept: more than an honest test has where nothing leaks, and enough to show
/// where something does.
const MAX_KEPT: usize = 4_096;

/// Hears frames of one test.
#[derive(Debug)]
pub(crate) struct Listener {
    token: TestToken,
    /// In the order of their arrival.
    numbers: Mutex<Vec<u16>>,
}

impl Listener {
    pub(crate) const fn new(token: TestToken) -> Self {
        Self { token, numbers: Mutex::new(Vec::new()) }
    }

    /// Takes a frame that came through the tunnel, if it is one of the test's: it goes no further.
    #[cold]
    pub(crate) fn takes(&self, headers: &Headers, frame: &[u8]) -> bool {
        let Some(number) = frame::number(self.token, headers, frame) else { return false };
        let mut numbers = self.numbers.lock();
        if numbers.len() < MAX_KEPT && !numbers.contains(&number) {
            numbers.push(number);
        }
        true
    }

    /// What was heard, from that place on.
    pub(crate) fn heard_from(&self, from: u16) -> IsolationReply {
        let kept = self.numbers.lock();
        let mut numbers = [0; MAX_HEARD];
        let rest = kept.get(from.into()..).unwrap_or_default();
        for (number, kept) in numbers.iter_mut().zip(rest) {
            *number = *kept;
        }
        IsolationReply::Heard { from, total: kept.len() as u16, numbers }
    }
}

#[cfg(test)]
mod tests {
    use pnet_base::MacAddr;

    use super::*;

    #[test]
    fn each_number_is_kept_once_and_told_piece_by_piece() {
        let token = TestToken([3; 16]);
        let listener = Listener::new(token);
        let hear = |number| {
            let frame = frame::control_frame(token, number, MacAddr(2, 0, 0, 0, 0, 1), None);
            assert!(listener.takes(&Headers::parse(&frame), &frame));
        };
        (0..40).chain(0..40).for_each(hear);
        let other = frame::control_frame(TestToken([4; 16]), 1, MacAddr(2, 0, 0, 0, 0, 1), None);
        assert!(!listener.takes(&Headers::parse(&other), &other));
        assert_eq!(listener.heard_from(0).heard(), (0..32).collect::<Vec<_>>());
        assert_eq!(listener.heard_from(32).heard(), (32..40).collect::<Vec<_>>());
        assert!(listener.heard_from(40).heard().is_empty());
        assert!(listener.heard_from(u16::MAX).heard().is_empty());
        (0..u16::MAX).for_each(hear);
        assert_eq!(listener.numbers.lock().len(), MAX_KEPT);
    }
}
