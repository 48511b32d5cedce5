use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::Error;

/// Moves the process into a user namespace of its own (user_namespaces(7)), where it is root and
/// holds every capability over the network namespaces made from there on.
///
/// It must have one thread only: call it first in `main`. A thread that is just ending is waited
/// for, up to a second. Files keep the permissions the caller has outside, so TAP devices also need
/// a `/dev/net/tun` that the user may open.
///
/// # Errors
/// [`Error::UserNamespace`] from a process with threads, or where the system forbids user
/// namespaces; [`Error::IdentityMap`].
pub fn enter_user_namespace() -> Result<(), Error> {
    let (uid, gid) = (geteuid(), getegid());
    unshare_user()
        .map_err(|errno| Error::UserNamespace { hint: hint(errno), source: errno.into() })?;
    // An unprivileged process may map its groups only once it has given up setgroups(2).
    write_map("/proc/self/setgroups", "deny")?;
    write_map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write_map("/proc/self/gid_map", &format!("0 {gid} 1"))
}

/// How long a process may be seen with more than one thread before that is taken for true.
const THREADS_END: Duration = Duration::from_secs(1);

/// unshare(2) with `CLONE_NEWUSER`, again while the process has threads: the kernel counts one for
/// some time after `pthread_join` returned, which waits only until its memory is free.
fn unshare_user() -> Result<(), Errno> {
    let begun = Instant::now();
    loop {
        match unshare(CloneFlags::CLONE_NEWUSER) {
            Err(Errno::EINVAL) if begun.elapsed() < THREADS_END => {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

fn write_map(file: &'static str, line: &str) -> Result<(), Error> {
    fs::write(file, line).map_err(|source| Error::IdentityMap { file, source })
}

/// What to do about an error of unshare(2) with `CLONE_NEWUSER`.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::EINVAL => "the process has more than one thread; do this before starting any",
        Errno::ENOSPC | Errno::EUSERS => "raise sysctl user.max_user_namespaces, or run as root",
        _ => {
            "allow it by sysctl kernel.unprivileged_userns_clone=1 (Debian) or \
             kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), or run as root"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    #[test]
    fn a_process_with_threads_is_told_so() {
        // The test runner itself is a second thread.
        let error = std::thread::spawn(super::enter_user_namespace).join().unwrap().unwrap_err();
        assert!(error.to_string().contains("more than one thread"), "{error}");
        assert!(error.source().is_some());
    }
}
