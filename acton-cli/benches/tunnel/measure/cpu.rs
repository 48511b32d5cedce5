//! Processor time of programs.

use std::fs;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::Result;

/// User and system time so far of the processes of these groups, all their threads, in steps of a
/// clock tick (10 ms as a rule).
pub(super) fn spent(groups: &[u32]) -> Result<Duration> {
    if groups.is_empty() {
        return Ok(Duration::ZERO);
    }
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    let (mut ticks, mut seen) = (0, Vec::new());
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let path = format!("/proc/{id}/stat");
        let stat = match fs::read_to_string(&path) {
            Ok(stat) => stat,
            // A process may end between a look at the list and one at itself.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH)) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{path}: {error}").into()),
        };
        let (group, used) = used(&stat).ok_or_else(|| format!("{path}: unexpected content"))?;
        if groups.contains(&group) {
            seen.push(group);
            ticks += used;
        }
    }
    if let Some(group) = groups.iter().find(|group| !seen.contains(group)) {
        return Err(format!("a program of the tunnel is gone, process {group}").into());
    }
    Ok(Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64))
}

/// Share of all processors' time that anything took in `window`, 0 to 1.
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

/// The process group, and utime and stime added up: fields 5, 14 and 15 of proc_pid_stat(5). The
/// second field is the program's name in parentheses, which may hold anything.
fn used(stat: &str) -> Option<(u32, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let group = fields.nth(5 - 3)?.parse().ok()?;
    let user: u64 = fields.nth(14 - 6)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((group, user + system))
}
