//! HELLO that wait for a handshake: who is next, and who gives way where there are too many.
//!
//! While there is time for all of them, this is a queue. Where there is not, sources share the time:
//! next is whoever was served least of late, so that somebody who comes once passes everybody who
//! floods. Of one source, and of those that were not served of late, the newest is next, since its
//! client still waits.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use hashbrown::HashMap;

use super::Path;
use super::limit::Source;
use super::network::Era;
use crate::wire::Hello;

/// HELLO that wait at most, each some 250 bytes: what a processor takes two seconds for.
const MOST: usize = 16_384;
/// How long a HELLO is of use: its client makes a fresh one after 4 s.
pub(super) const FRESH: Duration = Duration::from_secs(4);
/// For how long a handshake counts against its source, and all of its handshakes together. Of as many
/// sources as handshakes can be done in that time, none passes for one that comes once.
const DEBT: Duration = Duration::from_secs(1);
const MOST_DEBT: Duration = Duration::from_secs(60);

/// A HELLO that is in order.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) from: Path,
    pub(super) hello: Hello,
    /// Which network key it was made with.
    pub(super) era: Era,
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    asking: Asking,
    at: Duration,
    number: u64,
}

/// Where a HELLO came from, and its mac1: copies of one from one client agree in both.
type Copied = (SocketAddr, [u8; 16]);

impl Waiting {
    const fn copied(&self) -> Copied {
        (self.asking.from.remote, self.asking.hello.mac1)
    }
}

/// What waits of one source, oldest first.
#[derive(Debug)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Until when it is in debt for handshakes of late; zero where it was in none.
    debt: Duration,
}

impl Line {
    /// Its place among the sources: least debt first, then the newest.
    fn turn(&self, source: Source) -> (Duration, Reverse<u64>, Source) {
        (self.debt, Reverse(self.waiting.back().map_or(0, |newest| newest.number)), source)
    }

    /// Its place among those that may have to give way: the longest last, then the oldest.
    fn length(&self, source: Source) -> (usize, Reverse<u64>, Source) {
        let oldest = self.waiting.front().map_or(0, |oldest| oldest.number);
        (self.waiting.len(), Reverse(oldest), source)
    }
}

/// The HELLO that wait for a handshake.
#[derive(Debug, Default)]
pub(super) struct HelloQueue {
    lines: HashMap<Source, Line, foldhash::quality::RandomState>,
    turns: BTreeSet<(Duration, Reverse<u64>, Source)>,
    lengths: BTreeSet<(usize, Reverse<u64>, Source)>,
    /// Until when a source is in debt. No more are than handshakes can be done in [`DEBT`], and those
    /// that were forgiven since the last look.
    debts: HashMap<Source, Duration, foldhash::quality::RandomState>,
    /// The newest copy of each: a client repeats its HELLO while it waits.
    newest: HashMap<Copied, u64, foldhash::quality::RandomState>,
    look_at: usize,
    len: usize,
    next: u64,
}

impl HelloQueue {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a HELLO. False where another one gave way to it.
    pub(super) fn push(&mut self, now: Duration, source: Source, asking: Asking) -> bool {
        let fits = self.len < MOST;
        if !fits && let Some(&(.., longest)) = self.lengths.last() {
            let last = self.change(longest, |line| line.waiting.pop_front());
            if let Some(last) = last {
                self.take_newest(&last);
            }
        }
        let debt = self.debts.get(&source).copied().filter(|debt| *debt > now);
        let line = Line { waiting: VecDeque::new(), debt: debt.unwrap_or_default() };
        self.lines.entry(source).or_insert(line);
        self.next += 1;
        let waiting = Waiting { asking, at: now, number: self.next };
        self.newest.insert(waiting.copied(), waiting.number);
        self.change(source, |line| line.waiting.push_back(waiting));
        fits
    }

    /// The HELLO whose turn it is, and how many were passed over that are of no use any more.
    pub(super) fn pop(&mut self, now: Duration) -> (Option<Asking>, u64) {
        let mut stale = 0;
        while let Some(&(.., source)) = self.turns.first() {
            let Some(next) = self.change(source, |line| line.waiting.pop_back()) else { continue };
            if self.take_newest(&next) && now < next.at + FRESH {
                self.charge(now, source);
                return (Some(next.asking), stale);
            }
            stale += 1;
        }
        (None, stale)
    }

    /// Whether one that waits no more is the newest of its copies, which then are forgotten.
    fn take_newest(&mut self, waited: &Waiting) -> bool {
        let copied = waited.copied();
        let newest = self.newest.get(&copied) == Some(&waited.number);
        if newest {
            self.newest.remove(&copied);
        }
        newest
    }

    fn charge(&mut self, now: Duration, source: Source) {
        if self.debts.len() > self.look_at {
            self.debts.retain(|_, debt| *debt > now);
            self.look_at = 2 * self.debts.len() + 64;
        }
        let debt = self.debts.entry(source).or_default();
        *debt = ((*debt).max(now) + DEBT).min(now + MOST_DEBT);
        let debt = *debt;
        self.change(source, |line| line.debt = debt);
    }

    /// Changes a source's line, which goes when it is empty.
    fn change<T: Default>(&mut self, source: Source, change: impl FnOnce(&mut Line) -> T) -> T {
        let Some(line) = self.lines.get_mut(&source) else { return T::default() };
        self.turns.remove(&line.turn(source));
        self.lengths.remove(&line.length(source));
        self.len -= line.waiting.len();
        let made = change(line);
        self.len += line.waiting.len();
        if line.waiting.is_empty() {
            self.lines.remove(&source);
        } else {
            self.turns.insert(line.turn(source));
            self.lengths.insert(line.length(source));
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn asking(from: Path, number: u32) -> Asking {
        let mut mac1 = [0; 16];
        mac1[..4].copy_from_slice(&number.to_be_bytes());
        let hello = Hello { sender_id: number, noise: [0; 128], mac1, mac2: [0; 16] };
        Asking { from, hello, era: Era::Now }
    }

    fn at(host: u8, port: u16) -> (Source, Path) {
        let address = SocketAddr::from(([192, 0, 2, host], port));
        (Source::of(address.ip()), address.into())
    }

    fn push(queue: &mut HelloQueue, host: u8, number: u32) -> bool {
        let (source, from) = at(host, 1);
        queue.push(START, source, asking(from, number))
    }

    fn next(queue: &mut HelloQueue, now: Duration) -> Option<u32> {
        queue.pop(now).0.map(|asking| asking.hello.sender_id)
    }

    #[test]
    fn sources_take_turns_and_the_newest_of_each_is_first() {
        let mut queue = HelloQueue::default();
        for number in 0..6 {
            push(&mut queue, if number < 4 { 1 } else { 2 }, number);
        }
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue, START)).collect();
        assert_eq!(order, [5, 3, 4, 2, 1, 0]);
        // Who was not served of late passes who was, until that is forgiven.
        push(&mut queue, 3, 10);
        push(&mut queue, 1, 11);
        assert_eq!(next(&mut queue, START), Some(10));
        assert_eq!(next(&mut queue, START), Some(11));
        let later = START + DEBT * 6;
        for (host, number) in [(4, 12), (1, 13)] {
            let (source, from) = at(host, 1);
            queue.push(later, source, asking(from, number));
        }
        assert_eq!((next(&mut queue, later), queue.len()), (Some(13), 1));
    }

    #[test]
    fn a_copy_waits_once_and_a_stale_one_not_at_all() {
        let mut queue = HelloQueue::default();
        assert!(push(&mut queue, 1, 7) && push(&mut queue, 1, 7) && push(&mut queue, 2, 7));
        assert_eq!((next(&mut queue, START), next(&mut queue, START)), (Some(7), Some(7)));
        assert_eq!((next(&mut queue, START), queue.newest.len()), (None, 0));
        push(&mut queue, 1, 8);
        assert!(matches!(queue.pop(START + FRESH), (None, 1)));
        assert_eq!((queue.len(), queue.newest.len(), queue.lines.len()), (0, 0, 0));
    }

    #[test]
    fn the_longest_line_gives_way() {
        let mut queue = HelloQueue::default();
        assert!((0..100).all(|number| push(&mut queue, 2, number)));
        let flood = (0..100_000).filter(|number| !push(&mut queue, 1, 1_000 + number));
        assert_eq!(flood.count(), 100_000 + 100 - MOST);
        assert_eq!((queue.len(), queue.newest.len()), (MOST, MOST));
        let served: Vec<_> = std::iter::from_fn(|| next(&mut queue, START)).collect();
        assert_eq!(served.len(), MOST);
        assert_eq!(served.iter().filter(|&&number| number < 100).count(), 100, "all of the few");
        assert!(queue.turns.is_empty() && queue.lengths.is_empty() && queue.debts.len() == 2);
    }

    #[test]
    fn debts_are_as_few_as_handshakes_of_late() {
        let mut queue = HelloQueue::default();
        // A thousand handshakes a second, each of another address.
        for number in 0..100_000 {
            let now = START + Duration::from_millis(number);
            let from = SocketAddr::from((std::net::Ipv4Addr::from(number as u32), 1));
            queue.push(now, Source::of(from.ip()), asking(from.into(), number as u32));
            assert!(queue.pop(now).0.is_some());
            assert!(queue.debts.len() <= 2 * 1_000 + 65);
        }
    }
}
