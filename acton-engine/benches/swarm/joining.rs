//! Clients come, all at once or one after the other.

use std::time::Duration;

use crate::quantiles::Quantiles;
use crate::support::Result;
use crate::support::crowd::Crowd;
use crate::swarm::{GUESTS, Swarm};
use crate::table::{Bar, Column};

/// Guests that come or go in a second.
pub(crate) const GUESTS_A_SECOND: f64 = 100.0;
/// HELLO that a client may say until it is in.
const MAX_HELLOS: f64 = 1.5;

/// Seconds in which so many are to be in that come at once.
fn all_in(clients: usize) -> Option<Bar> {
    match clients {
        0..=1_000 => Some(Bar::AtMost(1.0)),
        1_001..=10_000 => Some(Bar::AtMost(8.0)),
        _ => None,
    }
}

/// The rows of a burst.
pub(crate) struct Burst {
    all_in: &'static str,
    hellos: &'static str,
}

/// Of clients where they are told to be.
pub(crate) const FIRST: Burst =
    Burst { all_in: "all in after a burst, s", hellos: "- HELLO a client" };
/// Of clients at one address.
pub(crate) const ONE_ADDRESS: Burst =
    Burst { all_in: "the same from one address, s", hellos: "- HELLO a client, from one address" };

impl Swarm {
    /// All join at once.
    pub(crate) fn burst(&mut self, rows: &Burst, column: &mut Column) -> Result<()> {
        self.say("all join at once");
        let start = self.crowd.now();
        self.crowd.each(0..self.clients, f64::INFINITY, Crowd::join)?;
        let times = self.all_answered(0..self.clients, start)?;
        let last = times.last().copied().unwrap_or_default();
        column.hold(rows.all_in, last, all_in(self.clients));
        self.expect_sessions(self.clients)?;
        let hellos = self.crowd.hellos() as f64 / self.clients as f64;
        column.hold(rows.hellos, hellos, Bar::AtMost(MAX_HELLOS));
        Ok(())
    }

    /// Guests come, one after the other, and go again.
    pub(crate) fn come_and_go(&mut self, column: &mut Column) -> Result<()> {
        self.say("guests come and go");
        let guests = self.clients..self.clients + GUESTS;
        self.crowd.forget_answers();
        let mut starts = Vec::with_capacity(GUESTS);
        self.crowd.each(guests.clone(), GUESTS_A_SECOND, |crowd, number| {
            starts.push(crowd.now());
            crowd.join(number)
        })?;
        // Each had its answer before the next: else this tells of the slowest.
        self.all_answered(guests.clone(), Duration::ZERO)?;
        let answers = self.crowd.answered(guests.clone());
        let times = answers.iter().zip(&starts).map(|(&at, &start)| (at - start).as_secs_f64());
        let times = Quantiles::of(times);
        column.put("a join, 100 a second, ms", times.median * 1e3);
        column.put("- 99 %, ms", times.p99 * 1e3);
        self.crowd.each(guests, GUESTS_A_SECOND, Crowd::leave)?;
        self.settle()
    }
}
