//! Processor time of programs.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use testbed::proc;

use crate::Result;

/// User and system time so far of the processes of these groups, all their threads, in steps of a
/// clock tick (10 ms as a rule).
pub(super) fn spent(groups: &[u32]) -> Result<Duration> {
    if groups.is_empty() {
        return Ok(Duration::ZERO);
    }
    let (mut spent, mut seen) = (Duration::ZERO, Vec::new());
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let path = format!("/proc/{id}/stat");
        let (group, took) = match proc::group_and_time(Path::new(&path)) {
            Ok(found) => found,
            // A process may end between a look at the list and one at itself.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH)) => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{path}: {error}").into()),
        };
        if groups.contains(&group) {
            seen.push(group);
            spent += took;
        }
    }
    if let Some(group) = groups.iter().find(|group| !seen.contains(group)) {
        return Err(format!("a program of the tunnel is gone, process {group}").into());
    }
    Ok(spent)
}
