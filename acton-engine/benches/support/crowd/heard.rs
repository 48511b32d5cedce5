//! What clients heard of what was sent to all of them.

use std::collections::HashMap;
use std::time::Duration;

/// What what is sent to all ends with, before its number.
const MARK: [u8; 8] = *b"to  all:";

/// The number of something that is sent to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    /// What it has at its end.
    pub(crate) fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..].copy_from_slice(&self.0.to_be_bytes());
        bytes
    }

    fn of(bytes: &[u8]) -> Option<Self> {
        let (rest, number) = bytes.split_last_chunk()?;
        rest.ends_with(&MARK).then(|| Self(u64::from_be_bytes(*number)))
    }
}

/// How one was heard; times by the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hearing {
    /// By so many.
    pub(crate) count: usize,
    pub(crate) first: Duration,
    pub(crate) last: Duration,
}

/// How each was heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    of: HashMap<Tag, Hearing>,
}

impl Heard {
    /// One of the clients heard this.
    pub(crate) fn note(&mut self, bytes: &[u8], at: Duration) {
        let Some(tag) = Tag::of(bytes) else { return };
        let none = Hearing { count: 0, first: at, last: at };
        let hearing = self.of.entry(tag).or_insert(none);
        hearing.count += 1;
        hearing.first = hearing.first.min(at);
        hearing.last = hearing.last.max(at);
    }

    /// How this one was heard so far, if it was.
    pub(crate) fn get(&self, tag: Tag) -> Option<Hearing> {
        self.of.get(&tag).copied()
    }

    /// By how many this one was heard so far.
    pub(crate) fn count(&self, tag: Tag) -> usize {
        self.get(tag).map_or(0, |hearing| hearing.count)
    }
}
