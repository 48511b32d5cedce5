use super::OpenError;

/// Counters of what an end dropped of sealed datagrams (DATA, BUNDLE and CONTROL), and of the pieces
/// that wait. Whoever shows them shows them all, so they can be taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SealedStats {
    /// Of an id that names no keys, or the keys of a session that is over.
    pub unknown: u64,
    /// Changed on their way, or never sealed by the peer.
    pub forged: u64,
    /// Came before, or older than the replay window.
    pub replayed: u64,
    /// Under keys that are past their age.
    pub expired: u64,
    /// Authentic, with frames that the peer should not have sent.
    pub bad_frames: u64,
    /// Authentic, with a control message that is none, is not for this end or was not agreed on.
    pub bad_control: u64,
    /// Pieces that wait for others of their frame.
    pub pieces: u64,
    /// Authentic pieces that do not fit the others of their frame.
    pub bad_pieces: u64,
    /// Frames of which some pieces came and the others did not in time.
    pub incomplete: u64,
}

impl SealedStats {
    pub(crate) const fn note_unopened(&mut self, error: OpenError) {
        match error {
            OpenError::Forged => self.forged += 1,
            OpenError::Replayed => self.replayed += 1,
            OpenError::Expired => self.expired += 1,
        }
    }
}
