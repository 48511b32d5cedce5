//! All that so many clients meet at one server, in its order.

use std::time::Duration;

use crate::arguments::Arguments;
use crate::contender::Contender;
use crate::joining;
use crate::support::Result;
use crate::support::crowd::Addresses;
use crate::support::server::Mode;
use crate::swarm::Swarm;
use crate::table::Column;

/// How long pings are measured while nothing happens.
const IDLE: Duration = Duration::from_secs(2);

/// How long frames for everybody come at a rate where all shall be quick.
const QUICK_SECONDS: u32 = 1;

/// Fills a column; where something fails it has what came before.
pub(crate) fn meet(
    contender: &Contender,
    clients: usize,
    arguments: &Arguments,
    column: &mut Column,
) -> Result<()> {
    let workers = arguments.program.server.workers;
    let mut swarm = Swarm::new(contender, clients, arguments.addresses, workers)?;
    swarm.burst(&joining::FIRST, column)?;
    swarm.after_storm(column)?;
    swarm.settle()?;
    column.put("memory, KiB a session", swarm.memory()? / 1024.0);
    let idle = swarm.idle_pings(IDLE)?;
    column.put("ping, nothing else, ms", idle.median * 1e3);
    column.put("- 99 %, nothing else, ms", idle.p99 * 1e3);
    swarm.come_and_go(column)?;
    swarm.tell(idle, column)?;
    let seconds = if arguments.quick { QUICK_SECONDS } else { arguments.seconds };
    swarm.tell_at_rate((arguments.rate, seconds), idle, column)?;
    // In plain mode a client is its address.
    if contender.mode() == Mode::Secure {
        swarm.roam(column)?;
    }
    if !arguments.quick {
        swarm.crash_idle(column)?;
    }
    swarm.crash_busy(column)?;
    drop(swarm);
    if arguments.addresses == Addresses::Many {
        let mut swarm = Swarm::new(contender, clients, Addresses::One, workers)?;
        swarm.burst(&joining::ONE_ADDRESS, column)?;
    }
    Ok(())
}
