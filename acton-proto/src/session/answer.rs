//! Answers that any thread may give, so that a sign of life wakes no other.

use std::time::Duration;

use super::Keys;
use crate::wire::{Caps, Control, Report, ReportRole, Version};

impl Keys {
    /// The answer to a control message that was opened under these keys, sealed: ECHO to KEEPALIVE,
    /// REPORT to a question. `counter` and `len` are those of the datagram that it came in. `None`
    /// for what only the state machine can deal with.
    ///
    /// For the keys that a server seals with, and what came by the session's own path: others are
    /// first to prove theirs ([`Server`](crate::server::Server)).
    #[must_use]
    pub fn answer(
        &self,
        now: Duration,
        counter: u64,
        message: &[u8],
        len: usize,
        version: Option<Version>,
    ) -> Option<Vec<u8>> {
        match Control::parse(message).ok()? {
            // A datagram is at most 65,507 bytes.
            Control::Keepalive { token, .. } => {
                self.seal_control(now, Control::Echo { token, size: len as u16 }).ok()
            }
            Control::Report { role: ReportRole::Question, token, report }
                if self.setup().caps.contains(Caps::REPORT) =>
            {
                self.answer_question(now, counter, token, report, version)
            }
            _ => None,
        }
    }

    /// Takes the report of a question and gives the answer with a report of our own, sealed.
    pub(crate) fn answer_question(
        &self,
        now: Duration,
        counter: u64,
        token: u64,
        report: Report,
        version: Option<Version>,
    ) -> Option<Vec<u8>> {
        // Until it is sealed: what was counted first must not be sealed later, or the other end
        // takes it for a count that began anew.
        let mut ledger = self.link().ledger();
        ledger.hear(now, (self.setup().local_id, counter), report);
        let (delivery, path_mtu) = (ledger.delivery(), Some(self.link().path_mtu()));
        let report = Report { delivery, rtt: None, version, path_mtu };
        self.seal_control(now, Control::Report { role: ReportRole::Answer, token, report }).ok()
    }
}
