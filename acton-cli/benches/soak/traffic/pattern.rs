//! Bytes that a receiver can make for itself: what comes is compared with what must have come.

/// A stream or a run of datagrams, by its seed; no two have the same bytes at the same place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern(pub(crate) u64);

/// Odd, so that no two words of 2^64 are alike: a piece that is lost, doubled or moved shows.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Pattern {
    /// Fills `buffer` with the stream's bytes from its word `first`, of 8 bytes, on.
    pub(crate) fn fill(self, first: u64, buffer: &mut [u8]) {
        let mut word = self.0.wrapping_add(first).wrapping_mul(STEP);
        let mut words = buffer.chunks_exact_mut(8);
        for chunk in &mut words {
            chunk.copy_from_slice(&word.to_le_bytes());
            word = word.wrapping_add(STEP);
        }
        let rest = words.into_remainder();
        let length = rest.len();
        rest.copy_from_slice(&word.to_le_bytes()[..length]);
    }

    /// The datagram numbered `number` of a run, at most `most` bytes: its number and a pattern.
    pub(crate) fn datagram(self, number: u64, most: usize, buffer: &mut Vec<u8>) {
        // Runs of one size, of which a receiver makes super-frames, and lone ones of every size.
        let size = match number / 32 % 4 {
            0 => 18 + (number / 128 % 100) as usize,
            1 => 1_400,
            2 => 8 + (number.wrapping_mul(STEP) >> 32) as usize % (most - 7),
            _ => most,
        };
        buffer.clear();
        buffer.extend(number.to_le_bytes());
        buffer.resize(size, 0);
        let start = self.0.wrapping_add(number).wrapping_mul(STEP.rotate_left(32));
        Self(start).fill(0, &mut buffer[8..]);
    }
}
