//! Clients go on from another address.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::contender::TAP;
use crate::quantiles::Quantiles;
use crate::support::Result;
use crate::swarm::Swarm;
use crate::table::{Bar, Column};

/// Clients that move, at most, and how many do in a second.
const MOVERS: usize = 100;
const MOVES_A_SECOND: f64 = 100.0;
/// How often one asks from its new address, each time that the next one moves, until it is answered:
/// the server says what it has to say to the old one until the new one is proven.
const QUESTIONS: usize = 100;

impl Swarm {
    /// Some of the clients move and ask from their new address; how long the answers take, and
    /// whether all have one.
    pub(crate) fn roam(&mut self, column: &mut Column) -> Result<()> {
        self.say("clients roam");
        let movers = self.clients.min(MOVERS);
        let mover = |turn: usize| turn * self.clients / movers;
        self.crowd.take_round_trips();
        self.crowd.each(0..movers + QUESTIONS, MOVES_A_SECOND, |crowd, turn| {
            if turn < movers {
                let [_, _, high, low] = (mover(turn) as u32).to_be_bytes();
                crowd.roam(mover(turn), Ipv4Addr::new(127, 3, high, low))?;
                crowd.ask(mover(turn), TAP.addr())?;
            }
            let askers = turn.saturating_sub(QUESTIONS)..turn.min(movers);
            crowd.ask_again(askers.map(mover), TAP.addr())
        })?;
        let answers = self.crowd.take_round_trips();
        let times = Quantiles::of(answers.iter().map(Duration::as_secs_f64));
        let answered = answers.len() as f64 * 100.0 / movers as f64;
        column.hold("roaming: answered at the new address, %", answered, Bar::AtLeast(100.0));
        column.put("- after, ms", times.median * 1e3);
        column.put("- after, 99 %, ms", times.p99 * 1e3);
        Ok(())
    }
}
