//! The server is killed and started again.

use std::time::Duration;

use crate::contender::TAP;
use crate::quantiles::Quantiles;
use crate::support::Result;
use crate::swarm::Swarm;
use crate::table::{Bar, Column};

/// Seconds after which 99 in 100 of the clients are to be back.
const IDLE_BACK: f64 = 20.0;
const BUSY_BACK: f64 = 3.0;
/// For so many clients at most.
const BAR_CLIENTS: usize = 10_000;
/// Time between two frames of a client that has something to say.
const CHATTER: Duration = Duration::from_secs(1);
/// Before the crash, so that all have said something.
const CHAT: Duration = Duration::from_secs(2);

impl Swarm {
    /// While the clients have nothing to say but keepalives.
    pub(crate) fn crash_idle(&mut self, column: &mut Column) -> Result<()> {
        self.say("killed, all idle");
        let (times, last) = self.back()?;
        column.put("killed, all idle: half are back, s", times.median);
        column.hold("- 99 % are back, s", times.p99, self.bar(IDLE_BACK));
        column.put("- all are back, s", last);
        self.settle()
    }

    /// While each client asks for the address of the server's TAP once a second.
    pub(crate) fn crash_busy(&mut self, column: &mut Column) -> Result<()> {
        self.say("killed, with a frame a second of each");
        self.crowd.chat(Some((CHATTER, TAP.addr())));
        self.crowd.run(CHAT)?;
        let back = self.back();
        self.crowd.chat(None);
        let (times, last) = back?;
        column.put("killed, with traffic: half are back, s", times.median);
        column.hold("- 99 % are back, with traffic, s", times.p99, self.bar(BUSY_BACK));
        column.put("- all are back, with traffic, s", last);
        Ok(())
    }

    fn bar(&self, seconds: f64) -> Option<Bar> {
        (self.clients <= BAR_CLIENTS).then_some(Bar::AtMost(seconds))
    }

    /// How long the clients take to be back, from the kill on, and the last of them.
    fn back(&mut self) -> Result<(Quantiles, f64)> {
        let start = self.crowd.now();
        self.crash()?;
        let times = self.all_answered(0..self.clients, start)?;
        let last = times.last().copied().unwrap_or_default();
        Ok((Quantiles::of(times), last))
    }
}
