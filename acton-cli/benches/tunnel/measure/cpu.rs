//! Processor time of programs.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::Result;

/// User and system time of all threads of the processes so far, in steps of a clock tick (10 ms
/// as a rule).
pub(super) fn spent(processes: &[u32]) -> Result<Duration> {
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    let mut ticks = 0;
    for id in processes {
        let path = format!("/proc/{id}/stat");
        let stat = fs::read_to_string(&path)
            .map_err(|error| format!("a program of the tunnel is gone: {path}: {error}"))?;
        ticks += used(&stat).ok_or_else(|| format!("{path}: unexpected content"))?;
    }
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64))
}

/// utime and stime, fields 14 and 15 of proc_pid_stat(5). The second field is the program's name
/// in parentheses, which may hold anything.
fn used(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
