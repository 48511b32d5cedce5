//! A client that has more MACs than there are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pnet_base::MacAddr;

use crate::checks::Checks;
use crate::crashes::{connected, lines};
use crate::support::ask::sessions;
use crate::support::{ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, frame, ping, said};

const MACS: u32 = 1_000_000;
/// KiB that so many MACs may cost: the client is allowed 256.
const MEMORY: u64 = 8 << 10;
/// Pings whose times are compared.
const PINGS: usize = 100;

/// A ping of client 1 in milliseconds, 1,000 where it is lost.
fn round(world: &World) -> f64 {
    let ping = ping(&world.clients[1], ROOT_V4, 56, Duration::from_secs(1));
    ping.map_or(1e3, |time| time.as_secs_f64() * 1e3)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

pub(crate) fn random_macs_of_one_client(checks: &Checks) {
    let (world, server, clients) = connected(2, &[]);
    let wire = world.client_wire(0);
    let idle = median((0..PINGS).map(|_| round(&world)).collect());
    let memory = server.proc_status("VmRSS");
    let (done, start) = (AtomicBool::new(false), Instant::now());
    let times = thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                times.push(round(&world));
                thread::sleep(Duration::from_millis(10));
            }
            times
        });
        let mut state = 1_u64;
        for _ in 0..MACS {
            // An LCG of full period (Knuth): its high bits repeat late.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let [a, b, c, d, e, ..] = state.to_be_bytes();
            wire.send(&frame(SERVER_MAC, MacAddr(2, a, b, c, d, e), TEST_ETHERTYPE, &[0; 46]));
        }
        done.store(true, Ordering::Relaxed);
        pinging.join().unwrap()
    });
    let rate = f64::from(MACS) / start.elapsed().as_secs_f64() / 1e3;
    checks.holds("1,000,000 frames go into the tunnel", format!("{rate:.0} thousand/s"), true);
    let lost = times.iter().filter(|&&time| time >= 1e3).count() as u64;
    checks.at_most(
        "pings in 1,000 that another client loses",
        lost * 1_000 / times.len() as u64,
        20,
    );
    let most = idle * 2.0 + 5.0;
    let seen = median(times);
    checks.holds(
        format!("their median: at most {most:.1} ms (idle {idle:.1})"),
        format!("{seen:.1} ms"),
        seen <= most,
    );
    let more = server.proc_status("VmRSS").saturating_sub(memory);
    checks.at_most("KiB more that the server has", more, MEMORY);
    let macs = sessions(&server).iter().map(|session| session.macs.len()).max().unwrap_or_default();
    checks.at_most("MACs of that client", macs as u64, 256);
    checks.at_most("lines in the server's log of it", lines(&server, "no room for"), 10);
    checks.at_least("lines in the server's log of it", lines(&server, "no room for"), 1);
    checks.equal(
        "sessions that the two lost",
        clients.iter().map(|it| lines(it, said::LOST)).sum::<u64>(),
        0,
    );
}
