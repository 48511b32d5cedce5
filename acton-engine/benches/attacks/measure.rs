//! One attack, and what the others have of it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::Arguments;
use crate::attack::{Attack, Step};
use crate::log_file::ServerLog;
use crate::peer::{Peer, SERVER};
use crate::support::Result;
use crate::support::process::ServerProcess;
use crate::support::server::Serve;

/// Idle clients that an attack must not harm.
const VICTIMS: usize = 8;
/// How often each asks for a sign of life.
const ASKS: Duration = Duration::from_millis(50);
/// Handshakes of others, before the attack and meanwhile.
const HANDSHAKES: usize = 30;
/// Who comes as it begins may wait until it is known who floods.
const RAMP: Duration = Duration::from_secs(2);
/// Time between two looks of a client at its socket.
const TURN: Duration = Duration::from_millis(1);
/// How long answers are waited for in the end.
const LAST: Duration = Duration::from_millis(100);
/// Sessions that the server may have.
const SESSIONS: usize = 4_096;

/// What an attack did. Times in seconds, shares from 0 to 1, memory and log in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) attack: Attack,
    /// Datagrams a second.
    pub(crate) rate: f64,
    /// Of the victims' sessions.
    pub(crate) kept: f64,
    /// Of the victims' KEEPALIVE.
    pub(crate) answered: f64,
    pub(crate) quiet: Handshakes,
    pub(crate) attacked: Handshakes,
    /// Of a processor, the control thread alone.
    pub(crate) control: f64,
    /// Resident memory of the server.
    pub(crate) memory_before: u64,
    pub(crate) memory_after: u64,
    pub(crate) log: u64,
}

/// How long handshakes took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handshakes {
    pub(crate) median: f64,
    pub(crate) longest: f64,
}

/// Attacks a server of idle clients.
pub(crate) fn measure(attack: Attack, arguments: &Arguments) -> Result<Figures> {
    let workers = arguments.program.server.workers;
    let serve = Serve { serve: Some(SERVER), max_sessions: SESSIONS, workers, ..Serve::default() };
    let server = ServerProcess::start(&serve)?;
    let log = ServerLog::of_child();
    eprintln!("{}, server {}", attack.name(), server.id());
    // First of all, for it may take longer than a session lasts.
    let step = attack.prepare()?;
    let mut victims = Vec::with_capacity(VICTIMS);
    for number in 0..VICTIMS {
        let mut victim = Peer::at(Ipv4Addr::new(127, 4, 0, 1 + number as u8))?;
        victim.join()?;
        victims.push(victim);
    }
    let mut attacker = Peer::at(Ipv4Addr::new(127, 6, 0, 1))?;
    attacker.join()?;
    let quiet = handshakes(0, &mut || {
        victims.iter_mut().for_each(Peer::turn);
        attacker.turn();
    })?;
    let (memory_before, log_before) = (server.resident()?, log.len()?);
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let rate = arguments.rate.unwrap_or(attack.rate());
    let outcome = thread::scope(|scope| {
        let _ends_in_any_case = testbed::Ending(&done);
        scope.spawn(|| send(step, &mut attacker, rate, &sent, &done));
        let idle = scope.spawn(|| idle(&mut victims, &done));
        let (start, before) = (Instant::now(), server.processor()?.control);
        thread::sleep(RAMP);
        let attacked = handshakes(1, &mut || {})?;
        thread::sleep(
            Duration::from_secs(arguments.seconds.into()).saturating_sub(start.elapsed()),
        );
        let took = start.elapsed().as_secs_f64();
        let control = (server.processor()?.control - before) / took;
        let rate = sent.load(Ordering::Relaxed) as f64 / took;
        done.store(true, Ordering::Relaxed);
        let answered = idle.join().map_err(|_| "the idle clients panicked")?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((attacked, control, rate, answered))
    });
    let (attacked, control, rate, answered) = outcome?;
    let kept = victims.iter().filter(|victim| victim.is_up() && victim.losses == 0).count();
    Ok(Figures {
        attack,
        rate,
        kept: kept as f64 / VICTIMS as f64,
        answered,
        quiet,
        attacked,
        control,
        memory_before,
        memory_after: server.resident()?,
        log: log.len()? - log_before,
    })
}

/// Attacks at a rate until it is over.
fn send(mut step: Step, attacker: &mut Peer, rate: u32, sent: &AtomicU64, done: &AtomicBool) {
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // What the machine does not give is not made up for.
        let at_once = (rate / 1_000).max(1);
        let behind = due.saturating_sub(sent.load(Ordering::Relaxed));
        for _ in 0..behind.min(at_once.into()) {
            step(attacker, sent.fetch_add(1, Ordering::Relaxed));
        }
        attacker.turn();
        if behind < u64::from(at_once) {
            thread::sleep(TURN / 2);
        }
    }
}

/// Asks for signs of life until it is over; the share that came.
fn idle(victims: &mut [Peer], done: &AtomicBool) -> f64 {
    victims.iter_mut().for_each(|victim| victim.heard = 0);
    let (mut asked, mut due) = (0, Instant::now());
    while !done.load(Ordering::Relaxed) {
        victims.iter_mut().for_each(Peer::turn);
        if due.elapsed() >= ASKS {
            due += ASKS;
            for victim in victims.iter() {
                asked += 1;
                if let Some(keepalive) = victim.keepalive() {
                    let _ = victim.socket.send(&keepalive);
                }
            }
        }
        thread::sleep(TURN);
    }
    thread::sleep(LAST);
    victims.iter_mut().for_each(Peer::turn);
    let heard: usize = victims.iter().map(|victim| victim.heard).sum();
    (heard as f64 / f64::from(asked.max(1))).min(1.0)
}

/// Handshakes of new clients, one after the other, each from another address of this network, and in
/// between what else is to be done.
fn handshakes(network: u8, between: &mut dyn FnMut()) -> Result<Handshakes> {
    let mut took = Vec::with_capacity(HANDSHAKES);
    for number in 0..HANDSHAKES {
        between();
        let mut peer = Peer::at(Ipv4Addr::new(127, 5, network, 1 + number as u8))?;
        took.push(peer.join()?.as_secs_f64());
        peer.leave();
    }
    took.sort_by(f64::total_cmp);
    Ok(Handshakes { median: took[HANDSHAKES / 2], longest: took[HANDSHAKES - 1] })
}
