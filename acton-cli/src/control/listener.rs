//! The socket: made where nobody living has it, removed when it is over.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};

/// The directory: anybody may see who runs, root alone may add.
const DIRECTORY_MODE: u32 = 0o755;
/// The socket: for its owner and its group.
const SOCKET_MODE: u32 = 0o660;
/// The socket before that is set: for its owner.
const OWNER_MODE: u32 = 0o600;
/// Connections that wait to be let in, as many as there are at one time.
const BACKLOG: i32 = 32;
/// How long to wait for who else makes a socket, which takes a moment, and how often to look.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another process listens there.
    #[error("control socket {}: another acton that runs has it; --name or --control gives this one another", .0.display())]
    Taken(PathBuf),
    /// Something else is there.
    #[error("control socket {}: there is something that is no socket; remove it, or choose another path with --control", .0.display())]
    NoSocket(PathBuf),
    /// The system does not allow it.
    #[error("control socket {}: cannot {step}: {error}; --control PATH puts it elsewhere, --control none does without", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What acton was about to do.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// A socket that is listened on; its file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    path: PathBuf,
    /// Device and number of the file, so that no other's is removed.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`, in place of a process that has ended; for the members of `group` too.
    pub(super) fn bind(path: &Path, group: Option<u32>) -> Result<Self, ListenError> {
        let failed = |step| {
            let path = path.to_owned();
            move |error| ListenError::System { path, step, error }
        };
        let directory = directory_of(path);
        DirBuilder::new()
            .recursive(true)
            .mode(DIRECTORY_MODE)
            .create(directory)
            .map_err(failed("make its directory"))?;
        // Two that start at once must not take each other's socket for one that is left over, nor must who
        // asks take one that is not listened on yet for that.
        let _lock = lock(directory).map_err(failed("lock its directory"))?;
        match UnixStream::connect(path) {
            Ok(_) => return Err(ListenError::Taken(path.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                let is_socket =
                    fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
                if !is_socket {
                    return Err(ListenError::NoSocket(path.to_owned()));
                }
                fs::remove_file(path).map_err(failed("remove the one that is left over"))?;
            }
            Err(error) => return Err(failed("see whether it is free")(error)),
        }
        let socket = bind(path).map_err(failed("make it"))?;
        // The directory may be another's, who may have put a link or a file in its place: what is
        // changed is what is looked at.
        let made = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
            .open(path)
            .map_err(failed("look at it"))?;
        let file = made.metadata().map_err(failed("look at it"))?;
        if !file.file_type().is_socket() {
            return Err(ListenError::NoSocket(path.to_owned()));
        }
        // Dropped where the rest fails, so that it goes.
        let listener = Self { socket, path: path.to_owned(), file: (file.dev(), file.ino()) };
        let made = format!("/proc/self/fd/{}", made.as_raw_fd());
        if group.is_some() {
            chown(&made, None, group).map_err(failed("give it to its group"))?;
        }
        fs::set_permissions(&made, Permissions::from_mode(SOCKET_MODE))
            .map_err(failed("set its mode"))?;
        listener.socket.set_nonblocking(true).map_err(failed("set it non-blocking"))?;
        Ok(listener)
    }

    /// The group of the socket as it is now: its members may look.
    pub(super) fn group(&self) -> Option<u32> {
        Some(fs::symlink_metadata(&self.path).ok()?.gid())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _lock = lock(directory_of(&self.path));
        let file = fs::symlink_metadata(&self.path).map(|file| (file.dev(), file.ino()));
        if file.is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket at a path where nothing is, for its owner alone as yet.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The file has the socket's mode (unix(7)), without a moment in which it has another.
    fchmod(&socket, Mode::from_bits_truncate(OWNER_MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(UnixListener::from(OwnedFd::from(socket)))
}

/// Waits for who makes a socket at `path` just now: until it is listened on, and open to whom it is for.
pub(super) fn wait_until_made(path: &Path) {
    // Where the directory cannot be looked into, or somebody keeps it locked, it is as it is.
    let _ = lock_as(directory_of(path), FlockArg::LockSharedNonblock);
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Locks a directory. Anybody who may look into it can do so, for ever: `None` where somebody does.
fn lock(directory: &Path) -> io::Result<Option<Flock<File>>> {
    let lock = lock_as(directory, FlockArg::LockExclusiveNonblock)?;
    if lock.is_none() {
        log::warn!(
            "somebody keeps {} locked (lslocks says who): going on without the lock",
            directory.display()
        );
    }
    Ok(lock)
}

/// Tries until it can, for as long as making a socket may take.
fn lock_as(directory: &Path, how: FlockArg) -> io::Result<Option<Flock<File>>> {
    let mut file = File::open(directory)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, how) {
            Ok(lock) => return Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) if Instant::now() >= until => return Ok(None),
            Err((again, Errno::EWOULDBLOCK)) => file = again,
            Err((_, errno)) => return Err(errno.into()),
        }
        thread::sleep(LOCK_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("acton-listener-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_is_made_with_its_directory_and_goes_with_its_owner() {
        let directory = Directory::new("made");
        let path = directory.0.join("lan0.sock");
        let listener = Listener::bind(&path, None).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&directory.0)), (0o660, 0o755));
        assert_eq!(listener.group(), Some(fs::metadata(&path).unwrap().gid()));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_lock_that_somebody_keeps_delays_nothing_for_ever() {
        let directory = Directory::new("locked");
        fs::create_dir(&directory.0).unwrap();
        let held = lock(&directory.0).unwrap().unwrap();
        assert!(lock(&directory.0).unwrap().is_none());
        let path = directory.0.join("lan0.sock");
        let _listener = Listener::bind(&path, None).unwrap();
        drop(held);
        assert!(lock(&directory.0).unwrap().is_some());
    }

    #[test]
    fn the_socket_of_one_that_runs_stays_and_that_of_a_dead_one_is_replaced() {
        let directory = Directory::new("stale");
        let path = directory.0.join("lan0.sock");
        let _living = Listener::bind(&path, None).unwrap();
        assert!(matches!(Listener::bind(&path, None), Err(ListenError::Taken(_))));
        assert!(UnixStream::connect(&path).is_ok());
        // As one that was killed leaves it.
        let stale = directory.0.join("lan1.sock");
        drop(UnixListener::bind(&stale).unwrap());
        let heir = Listener::bind(&stale, None).unwrap();
        assert!(UnixStream::connect(&stale).is_ok());
        // Somebody has put another there meanwhile: it is not ours to remove.
        fs::remove_file(&stale).unwrap();
        fs::write(&stale, "").unwrap();
        assert!(matches!(Listener::bind(&stale, None), Err(ListenError::NoSocket(_))));
        drop(heir);
        assert!(stale.exists());
    }
}
