//! The filters of system calls of processors of which seccompiler knows no calls: there are none.

use seccompiler::BpfProgram;

/// The filters of a tunnel's threads.
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) process: BpfProgram,
    pub(super) worker: BpfProgram,
}

impl Filters {
    /// # Errors
    /// Always: it says why there are none.
    pub(super) fn new() -> Result<Self, &'static str> {
        Err("the calls of this processor are not known")
    }
}
