//! What the kernel counts: datagrams that it lost.

use std::fs;
use std::ops::Sub;

use crate::support::Result;

/// Datagrams that the kernel dropped so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Losses {
    /// In front of IP, where the queue of a processor was full: of all programs on this machine.
    pub(crate) backlog: u64,
    /// In front of a socket whose buffer was full: in this namespace.
    pub(crate) buffers: u64,
}

impl Losses {
    pub(crate) fn so_far() -> Result<Self> {
        // A line a processor; its second number is what was dropped (net/core/net-procfs.c).
        let backlog = fs::read_to_string("/proc/net/softnet_stat")?
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split(' ').nth(1)?, 16).ok())
            .sum();
        // A line of names and one of values.
        let snmp = fs::read_to_string("/proc/self/net/snmp")?;
        let mut udp = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (udp.next().unwrap_or_default(), udp.next().unwrap_or_default());
        let mut pairs = names.split(' ').zip(values.split(' '));
        let buffers = pairs.find(|&(name, _)| name == "RcvbufErrors");
        Ok(Self { backlog, buffers: buffers.map_or(Ok(0), |(_, value)| value.parse())? })
    }
}

impl Sub for Losses {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { backlog: self.backlog - other.backlog, buffers: self.buffers - other.buffers }
    }
}
