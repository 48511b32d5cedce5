//! Clients come and go for a long time, and some of those who stay roam: whether the server grows.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::contender::{Contender, TAP};
use crate::joining::{FIRST, GUESTS_A_SECOND};
use crate::quantiles::Quantiles;
use crate::support::Result;
use crate::support::crowd::{Addresses, wall_clock};
use crate::support::server::Mode;
use crate::swarm::{GUESTS, Swarm};
use crate::table::{Bar, Column};

/// Clients that stay.
pub(crate) const CLIENTS: usize = 1_000;
/// Of joins, how many are for one that roams.
const JOINS_A_MOVE: usize = 10;
/// Of those that roamed, how many ask until they are answered.
const QUESTIONS: usize = 10;
/// The second address of a client that roams back and forth.
const ADDRESSES: [u8; 2] = [3, 5];
/// Turns at the end without one that roams, so that the last ones have their answers.
const CALM: usize = 100;
/// The share of the time before the server has got its buffers.
const WARM_UP: f64 = 0.2;
/// MB an hour.
const MAX_SLOPE: f64 = 1.0;

/// A column of a server of this mode.
pub(crate) fn measure(mode: Mode, time: Duration, workers: Option<usize>) -> Result<Column> {
    let contender = Contender::Acton(mode);
    let mut column = Column::new(contender.name());
    let mut swarm = Swarm::new(&contender, CLIENTS, Addresses::Many, workers)?;
    swarm.burst(&FIRST, &mut Column::new(""))?;
    swarm.settle()?;
    swarm.say("guests come and go, clients roam");
    let lost = swarm.crowd.losses();
    let Swarm { crowd, server, pings, .. } = &mut swarm;
    let turns = (time.as_secs_f64() * GUESTS_A_SECOND) as usize;
    let (start, spent, began) = (crowd.now(), server.processor()?.total(), wall_clock());
    let (mut memory, mut moves) = (Vec::new(), 0);
    // In plain mode a client is its address.
    let roams = mode == Mode::Secure;
    crowd.take_round_trips();
    crowd.each(0..turns, GUESTS_A_SECOND, |crowd, turn| {
        crowd.leave(CLIENTS + (turn + GUESTS / 2) % GUESTS)?;
        crowd.join(CLIENTS + turn % GUESTS)?;
        if roams && turn % JOINS_A_MOVE == 0 && turn + CALM < turns {
            let (number, back) = (moves % CLIENTS, moves / CLIENTS % 2);
            let [_, _, high, low] = (number as u32).to_be_bytes();
            crowd.roam(number, Ipv4Addr::new(127, ADDRESSES[back], high, low))?;
            crowd.ask(number, TAP.addr())?;
            moves += 1;
        }
        // Those that have moved lately, as long as they have no answer.
        let askers = moves.saturating_sub(QUESTIONS)..moves;
        crowd.ask_again(askers.map(|turn| turn % CLIENTS), TAP.addr())?;
        if turn % GUESTS_A_SECOND as usize == 0 {
            let seconds = (crowd.now() - start).as_secs_f64();
            memory.push((seconds, server.resident()? as f64));
        }
        Ok(())
    })?;
    let seconds = (crowd.now() - start).as_secs_f64();
    let share = (server.processor()?.total() - spent) / seconds;
    let times = Quantiles::of(pings.between(began, wall_clock()));
    let warm = (memory.len() as f64 * WARM_UP) as usize;
    column.put("seconds of it", seconds);
    let slope = slope(&memory[warm..]) * 3_600.0 / 1e6;
    column.hold("memory's slope, MB an hour", slope, Bar::AtMost(MAX_SLOPE));
    let last = memory.last().map_or(f64::NAN, |&(_, bytes)| bytes);
    column.put("resident at the end, MB", last / 1e6);
    let lost = (crowd.losses() - lost) as f64;
    column.hold("sessions that were lost", lost, Bar::AtMost(0.0));
    if roams {
        let answered = crowd.take_round_trips().len() as f64 * 100.0 / moves as f64;
        column.hold("roaming: answered at the new address, %", answered, Bar::AtLeast(100.0));
    }
    column.put("ping meanwhile, ms", times.median * 1e3);
    column.put("- 99 %, ms", times.p99 * 1e3);
    column.put("% of a core", share * 100.0);
    Ok(column)
}

/// Of the line that is nearest to these points, by least squares; of one point there is none.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
    sum(&|point| (point.0 - x) * (point.1 - y)) / sum(&|point| (point.0 - x).powi(2))
}
