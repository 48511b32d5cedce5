//! Whether the threads of a tunnel move.

/// At what the workers were when the control thread was asked: that it answered shows that it moves.
///
/// Two of these, some time apart, show which worker does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    beats: Vec<u64>,
}

impl Pulse {
    pub(crate) fn new(beats: Vec<u64>) -> Self {
        Self { beats }
    }

    /// The numbers, from 0, of workers that have been at one and the same piece of work since
    /// `earlier`. One that waits for something to do is not among them, however long it waits.
    pub fn stuck_since(&self, earlier: &Self) -> impl Iterator<Item = usize> {
        let both = self.beats.iter().zip(&earlier.beats).enumerate();
        both.filter(|(_, (now, then))| now == then && !is_waiting(**now)).map(|(worker, _)| worker)
    }
}

/// Whether a worker with this many beats waits: each wait begins with one and ends with one.
const fn is_waiting(beats: u64) -> bool {
    beats % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_neither_waits_nor_moves_is_stuck() {
        let stuck = |then: &[u64], now: &[u64]| {
            let (then, now) = (Pulse::new(then.to_vec()), Pulse::new(now.to_vec()));
            now.stuck_since(&then).collect::<Vec<_>>()
        };
        assert_eq!(stuck(&[3, 5], &[3, 5]), [0; 0], "both wait");
        assert_eq!(stuck(&[2, 4], &[4, 6]), [0; 0], "both work");
        assert_eq!(stuck(&[0, 4, 7], &[0, 5, 7]), [0]);
        assert_eq!(stuck(&[1, 8], &[8, 8]), [1]);
    }
}
