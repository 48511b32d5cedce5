//! What the kernel says of processes and processors (proc(5)).

use std::path::Path;
use std::time::Duration;
use std::{fs, io, thread};

use nix::unistd::{SysconfVar, sysconf};

/// Share of all processors' time that anything takes in `window`, 0 to 1.
///
/// # Errors
/// As of reading `/proc/stat`.
pub fn busy(window: Duration) -> io::Result<f64> {
    let (idle_before, before) = idle_and_all()?;
    thread::sleep(window);
    let (idle_after, after) = idle_and_all()?;
    Ok(1.0 - (idle_after - idle_before) as f64 / (after - before).max(1) as f64)
}

/// Ticks so far that all processors were idle, and all their ticks (proc_stat(5)).
fn idle_and_all() -> io::Result<(u64, u64)> {
    let path = Path::new("/proc/stat");
    let stat = fs::read_to_string(path)?;
    let line = stat.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted in user too.
    let ticks = line.split_whitespace().skip(1).take(8).map(|tick| tick.parse().ok());
    let ticks: Vec<u64> = ticks.collect::<Option<_>>().ok_or_else(|| unexpected(path))?;
    let idle = ticks.get(3..5).ok_or_else(|| unexpected(path))?.iter().sum();
    Ok((idle, ticks.iter().sum()))
}

/// A number in the status of a process, such as `VmRSS` in KiB (proc_pid_status(5)).
///
/// # Errors
/// Where there is no such process, or no such number.
pub fn status(id: u32, name: &str) -> io::Result<u64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path)?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.ok_or_else(|| unexpected(Path::new(&path)))
}

/// The group of a process, and the user and system time that it took so far, in steps of a clock tick
/// (10 ms as a rule): of `/proc/PID/stat`, or of a thread's.
///
/// # Errors
/// Where there is no such process.
pub fn group_and_time(stat: &Path) -> io::Result<(u32, Duration)> {
    let text = fs::read_to_string(stat)?;
    let (group, ticks) = group_and_ticks(&text).ok_or_else(|| unexpected(stat))?;
    let ticks_a_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok((group, Duration::from_secs_f64(ticks as f64 / ticks_a_second as f64)))
}

/// Fields 5, and 14 and 15 added up, of proc_pid_stat(5). The second field is the program's name in
/// parentheses, which may hold anything.
fn group_and_ticks(stat: &str) -> Option<(u32, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let group = fields.nth(5 - 3)?.parse().ok()?;
    let user: u64 = fields.nth(14 - 6)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((group, user + system))
}

fn unexpected(path: &Path) -> io::Error {
    io::Error::other(format!("{}: unexpected content", path.display()))
}
