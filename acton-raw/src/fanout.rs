//! Several sockets that share the frames of one interface (`PACKET_FANOUT`, `packet(7)`).

/// A group of sockets each frame goes to exactly one of.
///
/// All members are bound to the same interface, which must be up when they join, and have the
/// same mode and flags. Group numbers are one to a network namespace, so unrelated programs must
/// choose different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fanout {
    /// The group's number in this network namespace.
    pub group: u16,
    /// How a member is chosen.
    pub mode: FanoutMode,
    /// Try another member when the chosen one's queue is full.
    pub rollover: bool,
    /// Reassemble IPv4 fragments first, so that a whole flow goes to one member.
    pub defragment: bool,
}

impl Fanout {
    /// Group `group`, without roll-over and reassembly.
    pub fn new(group: u16, mode: FanoutMode) -> Self {
        Self { group, mode, rollover: false, defragment: false }
    }

    /// Sets [`rollover`](Self::rollover).
    #[must_use]
    pub fn rollover(mut self, on: bool) -> Self {
        self.rollover = on;
        self
    }

    /// Sets [`defragment`](Self::defragment).
    #[must_use]
    pub fn defragment(mut self, on: bool) -> Self {
        self.defragment = on;
        self
    }

    /// The `type_flags` of `struct fanout_args`.
    pub(crate) fn type_flags(self) -> u16 {
        let mode = match self.mode {
            FanoutMode::Hash => libc::PACKET_FANOUT_HASH,
            FanoutMode::RoundRobin => libc::PACKET_FANOUT_LB,
            FanoutMode::Cpu => libc::PACKET_FANOUT_CPU,
            FanoutMode::Rollover => libc::PACKET_FANOUT_ROLLOVER,
            FanoutMode::Random => libc::PACKET_FANOUT_RND,
            FanoutMode::Queue => libc::PACKET_FANOUT_QM,
        };
        // The kernel refuses the flag beside the mode, which does the same.
        let rollover = self.rollover && self.mode != FanoutMode::Rollover;
        let rollover = if rollover { libc::PACKET_FANOUT_FLAG_ROLLOVER } else { 0 };
        let defragment = if self.defragment { libc::PACKET_FANOUT_FLAG_DEFRAG } else { 0 };
        (mode | rollover | defragment) as u16
    }
}

/// How a fanout group chooses the member a frame goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FanoutMode {
    /// By the hash of the flow, both directions alike: a flow's order is kept.
    Hash,
    /// In turn.
    RoundRobin,
    /// By the processor the frame arrived on.
    Cpu,
    /// The first member until its queue is full, then the next.
    Rollover,
    /// At random.
    Random,
    /// By the receive queue the card chose.
    Queue,
}
