//! What the kernel counts: datagrams that it lost, and time that its processors were busy.

use std::fs;
use std::ops::Sub;
use std::thread;
use std::time::Duration;

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

/// Share of all processors' time that anything takes in `window`, 0 to 1.
pub(crate) fn busy(window: Duration) -> Result<f64> {
    let (idle_before, before) = idle_and_all()?;
    thread::sleep(window);
    let (idle_after, after) = idle_and_all()?;
    Ok(1.0 - (idle_after - idle_before) as f64 / (after - before).max(1) as f64)
}

/// Ticks so far that all processors were idle, and all their ticks (proc_stat(5)).
fn idle_and_all() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user too.
    let ticks = line.split_whitespace().skip(1).take(8).map(str::parse);
    let ticks: Vec<u64> = ticks.collect::<std::result::Result<_, _>>()?;
    let idle = ticks.get(3..5).ok_or("/proc/stat: unexpected content")?.iter().sum();
    Ok((idle, ticks.iter().sum()))
}
