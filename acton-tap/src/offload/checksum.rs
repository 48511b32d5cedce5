//! The Internet checksum (RFC 1071).

/// A sum of 16-bit words in ones' complement arithmetic, in the memory's byte order, so that it
/// goes back to the wire without a swap (RFC 1071, section 2(B)).
///
/// ```
/// use acton_tap::offload::Sum;
///
/// let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]; // the RFC's example
/// assert_eq!(Sum::of(&words).folded(), [0xdd, 0xf2]);
/// assert_eq!(Sum::of(&words).checksum(), [0x22, 0x0d]);
/// assert!(Sum::of(&words).plus(&[0x22, 0x0d]).is_valid());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

/// Bytes summed at a time: the compiler makes vector instructions of the lanes.
const BLOCK: usize = 64;

impl Sum {
    /// The sum of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().plus(bytes)
    }

    /// Adds `bytes`, as if a zero byte followed an odd number of them: only what is added last may
    /// be odd.
    #[must_use]
    pub fn plus(self, bytes: &[u8]) -> Self {
        let blocks = bytes.chunks_exact(BLOCK);
        let mut rest = blocks.remainder();
        // What is carried out of 32 bits stays in the lane's upper half, which a frame cannot fill.
        let mut lanes = [0_u64; BLOCK / 4];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(4)) {
                *lane += u64::from(u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut sum: u64 = lanes.iter().sum();
        while let Some((word, behind)) = rest.split_first_chunk() {
            sum += u64::from(u32::from_ne_bytes(*word));
            rest = behind;
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(reduce(self.0 + sum + u64::from(u32::from_ne_bytes(last))))
    }

    /// Adds `value` as two words, the upper first; the complement of a value subtracts it.
    #[must_use]
    pub fn plus_u32(self, value: u32) -> Self {
        self.plus(&value.to_be_bytes())
    }

    /// The sum of the pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1) of `length`
    /// bytes of `protocol`; `addresses` are the source's and the destination's, as in the IP header.
    pub fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> Self {
        Self::of(addresses).plus_u32(length as u32).plus_u32(protocol.into())
    }

    /// A checksum field after one of the words that it covers changed (RFC 1624, equation 3).
    ///
    /// ```
    /// use acton_tap::offload::Sum;
    ///
    /// let checksum = Sum::of(&[0x45, 0x02, 0x00, 0x1c]).checksum();
    /// let marked = Sum::of(&[0x45, 0x03, 0x00, 0x1c]).checksum();
    /// assert_eq!(Sum::updated(checksum, [0x45, 0x02], [0x45, 0x03]), marked);
    /// ```
    pub fn updated(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
        let [a, b, c, d] = [checksum[0], checksum[1], old[0], old[1]].map(|byte| !byte);
        Self::of(&[a, b, c, d, new[0], new[1]]).checksum()
    }

    /// The sum as it stands in the checksum field of a frame with a partial checksum.
    pub fn folded(self) -> [u8; 2] {
        self.fold().to_ne_bytes()
    }

    /// The checksum field: the complement of the sum of all the rest.
    pub fn checksum(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether what was summed, its checksum field too, is intact.
    pub fn is_valid(self) -> bool {
        self.fold() == u16::MAX
    }

    fn fold(self) -> u16 {
        let sum = (self.0 >> 16) + (self.0 & 0xffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        ((sum >> 16) + (sum & 0xffff)) as u16
    }
}

/// At most 33 bits that are the same sum.
fn reduce(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// The complement of zero that stands for it where zero means no checksum (RFC 768).
pub(super) fn not_zero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word for word.
    fn slow(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum >> 16) + (sum & 0xffff);
        }
        (sum as u16).to_be_bytes()
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_the_definition(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            at in 0..2000_usize,
        ) {
            prop_assert_eq!(Sum::of(&bytes).folded(), slow(&bytes));
            let at = at.min(bytes.len()) & !1;
            prop_assert_eq!(Sum::of(&bytes[..at]).plus(&bytes[at..]).folded(), slow(&bytes));
        }

        #[test]
        fn a_complement_subtracts(bytes in any::<[u8; 6]>(), value in any::<u32>()) {
            let sum = Sum::of(&bytes);
            let back = sum.plus_u32(value).plus_u32(!value);
            // Zero has two representations.
            prop_assert_eq!(not_zero(back.folded()), not_zero(sum.folded()));
        }
    }

    #[test]
    fn carries_are_not_lost() {
        for length in [2, 64, 130, 1 << 17] {
            assert_eq!(Sum::of(&vec![0xff; length]).folded(), [0xff, 0xff], "{length} bytes");
        }
        assert_eq!(Sum::of(&[]).folded(), [0, 0]);
        assert_eq!(Sum::of(&[0x12]).folded(), [0x12, 0]);
    }
}
