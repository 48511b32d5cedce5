//! Mixed traffic between two hosts, checked by whoever receives it.

mod datagrams;
mod pattern;
mod streams;

use std::net::IpAddr;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use acton_netns::Namespace;

use datagrams::datagrams;
use pattern::Pattern;
use streams::stream;

/// What has been moved, or what was wrong with it.
pub(crate) type Outcome = Result<Tally, String>;

/// What came, all of it intact.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Payload of TCP and UDP that came.
    pub(crate) bytes: u64,
    /// Datagrams.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Datagrams that came behind a later one.
    pub(crate) late: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.sent += other.sent;
        self.received += other.received;
        self.late += other.late;
    }
}

/// A host and its addresses, of IPv4 and IPv6.
#[derive(Clone, Copy)]
pub(crate) struct Host<'n>(pub(crate) &'n Namespace, pub(crate) [IpAddr; 2]);

/// Moves about `bytes` by TCP, both ways over IPv4 and IPv6 at once, with UDP beside it.
///
/// # Errors
/// Each that a receiver or a sender found.
pub(crate) fn mixed(a: Host<'_>, b: Host<'_>, bytes: u64, seed: u64) -> Result<Tally, Vec<String>> {
    let ways: Vec<_> = [(a, b), (b, a)]
        .into_iter()
        .flat_map(|(from, to)| to.1.map(|address| (from.0, to.0, address)))
        .collect();
    // An odd length ends in half a word, and in a segment of its own.
    let length = (bytes / ways.len() as u64) | 1;
    // Bytes that came by TCP: UDP goes along with them, and ends with them.
    let moved = AtomicU64::new(0);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let moved = &moved;
        let start = |number: usize| Pattern(seed.rotate_left(8 * number as u32 + 7));
        let udp: Vec<_> = (ways.iter().enumerate())
            .map(|(i, &way)| (way, start(i + 4)))
            .map(|(way, pattern)| scope.spawn(move || datagrams(way, pattern, moved)))
            .collect();
        let tcp: Vec<_> = (ways.iter().enumerate())
            .map(|(i, &way)| (way, start(i)))
            .map(|(way, pattern)| scope.spawn(move || stream(way, length, pattern, moved)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Outcome>| {
            thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))
        };
        let mut outcomes: Vec<_> = tcp.into_iter().map(join).collect();
        moved.store(u64::MAX, Ordering::Release);
        outcomes.extend(udp.into_iter().map(join));
        outcomes
    });
    let mut total = Tally::default();
    let mut errors = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(tally) if tally.sent > 0 && tally.received == 0 => {
                errors.push(format!("none of {} datagrams came", tally.sent));
            }
            Ok(tally) => total += tally,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(total) } else { Err(errors) }
}
