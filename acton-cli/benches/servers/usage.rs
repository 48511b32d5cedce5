//! What the machine does.

use std::fs;

/// Ticks of all processors so far, as /proc/stat has them (proc_stat(5)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    all: u64,
    idle: u64,
    /// In programs of a positive nice value: somebody builds something beside this.
    nice: u64,
}

impl Machine {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let line = stat.lines().next().unwrap();
        // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user too.
        let ticks = line.split_whitespace().skip(1).take(8).map(|tick| tick.parse().unwrap());
        let ticks: Vec<u64> = ticks.collect();
        Self { all: ticks.iter().sum(), idle: ticks[3] + ticks[4], nice: ticks[1] }
    }

    /// Shares of the time since then.
    pub(crate) fn since(&self, before: &Self) -> String {
        let all = (self.all - before.all).max(1) as f64;
        let busy = 1.0 - (self.idle - before.idle) as f64 / all;
        let nice = (self.nice - before.nice) as f64 / all;
        format!("{:.0} %, {:.0} %", busy * 100.0, nice * 100.0)
    }
}
