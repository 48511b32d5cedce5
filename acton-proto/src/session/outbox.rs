//! Datagrams that wait to be sent.

use std::collections::VecDeque;

/// A queue of datagrams, each to a destination.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    queue: VecDeque<(T, Vec<u8>)>,
}

impl<T: PartialEq> Outbox<T> {
    pub(crate) const fn new() -> Self {
        Self { queue: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, to: T, datagram: Vec<u8>) {
        self.queue.push_back((to, datagram));
    }

    /// Appends to `out` the datagrams that one send with segmentation takes: to one destination, of
    /// one size, the last maybe shorter. Returns the destination and that size.
    pub(crate) fn pop(&mut self, max_datagrams: usize, out: &mut Vec<u8>) -> Option<(T, usize)> {
        let (to, first) = self.queue.pop_front()?;
        let segment = first.len();
        out.extend_from_slice(&first);
        for _ in 1..max_datagrams {
            let fits = |(other, next): &(T, Vec<u8>)| *other == to && next.len() <= segment;
            let Some((_, next)) = self.queue.pop_front_if(|front| fits(front)) else { break };
            out.extend_from_slice(&next);
            if next.len() < segment {
                break;
            }
        }
        Some((to, segment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_one_size_but_the_last() {
        let mut outbox = Outbox::new();
        for (to, len) in [(1, 4), (1, 4), (1, 2), (1, 4), (2, 4), (2, 5), (2, 5), (2, 5)] {
            outbox.push(to, vec![0; len]);
        }
        let mut pop = |max| {
            let mut out = Vec::new();
            outbox.pop(max, &mut out).map(|(to, segment)| (to, segment, out.len()))
        };
        assert_eq!(pop(64), Some((1, 4, 10)));
        assert_eq!(pop(64), Some((1, 4, 4)));
        assert_eq!(pop(64), Some((2, 4, 4)));
        assert_eq!(pop(2), Some((2, 5, 10)));
        assert_eq!(pop(1), Some((2, 5, 5)));
        assert_eq!(pop(1), None);
    }
}
