//! Fields of fixed length.

/// The `N` bytes of `bytes` from `at` on, where there are so many.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
