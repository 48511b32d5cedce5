//! Where the sockets of this host's instances are.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::listener::wait_until_made;

/// The directory of sockets, unless a path is given.
const DIRECTORY: &str = "/run/acton";
/// What a socket's name ends in.
const SUFFIX: &str = "sock";

/// The directory of sockets, unless a path is given.
#[must_use]
pub fn usual_directory() -> &'static Path {
    Path::new(DIRECTORY)
}

/// Where an instance's socket is by its name.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{name}.{SUFFIX}"))
}

/// Where to look for an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At this socket.
    Path(PathBuf),
    /// By this name.
    Name(String),
    /// Wherever the only one is that runs.
    Only,
}

/// Why no instance was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// None runs, as far as can be seen.
    #[error(
        "no acton runs here that could be asked: there is no socket in {DIRECTORY} that answers; \
         --control names another one"
    )]
    Nobody,
    /// There are several.
    #[error("several run here; choose one with --name: {}", .0.join(", "))]
    Several(Vec<String>),
    /// One that was named does not answer.
    #[error("{path}: {}", advice(.error))]
    Silent {
        /// Its socket.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket; no acton runs by that name".to_owned(),
        io::ErrorKind::ConnectionRefused => "the acton that made it has ended".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: for root and the socket's group; try sudo".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Connects to an instance.
///
/// # Errors
/// [`FindError`].
pub fn find(place: &Place) -> Result<(PathBuf, UnixStream), FindError> {
    match place {
        Place::Path(path) => connect(path.clone()),
        Place::Name(name) => connect(path_of(name)),
        Place::Only => find_only(Path::new(DIRECTORY)),
    }
}

fn connect(path: PathBuf) -> Result<(PathBuf, UnixStream), FindError> {
    let connected = UnixStream::connect(&path).or_else(|error| match error.kind() {
        // Of a process that has ended, or of one that is just making it.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::PermissionDenied => {
            wait_until_made(&path);
            UnixStream::connect(&path)
        }
        _ => Err(error),
    });
    match connected {
        Ok(stream) => Ok((path, stream)),
        Err(error) => Err(FindError::Silent { path: path.display().to_string(), error }),
    }
}

/// What the name of a socket begins with that is a program's which decides on clients (`--authorize`), and
/// no instance's.
const PROGRAM: &str = "authorize";

/// The sockets in a directory, of instances that run or that have ended.
#[must_use]
pub fn sockets_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX))
        .filter(|path| !is_programs(path))
        .collect();
    paths.sort_unstable();
    paths
}

/// Whether a socket is called `authorize` or `authorize-...`.
fn is_programs(path: &Path) -> bool {
    let name = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.strip_prefix(PROGRAM));
    name.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn find_only(directory: &Path) -> Result<(PathBuf, UnixStream), FindError> {
    let (mut found, mut failed) = (Vec::new(), None);
    for path in sockets_in(directory) {
        match connect(path) {
            Ok(one) => found.push(one),
            // One that has ended is none.
            Err(FindError::Silent { error, .. })
                if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => failed = Some(error),
        }
    }
    if found.len() > 1 {
        let names = found.iter().filter_map(|(path, _)| path.file_stem());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        return Err(FindError::Several(names.collect()));
    }
    found.pop().ok_or_else(|| failed.unwrap_or(FindError::Nobody))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use nix::fcntl::{Flock, FlockArg};
    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    #[test]
    fn the_only_one_that_runs_needs_no_name() {
        let directory =
            std::env::temp_dir().join(format!("acton-control-place-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        assert!(matches!(find_only(&directory), Err(FindError::Nobody)));
        let listen = |name| UnixListener::bind(directory.join(name)).unwrap();
        drop(listen("dead.sock"));
        let _other = listen("lan0.lock");
        assert!(matches!(find_only(&directory), Err(FindError::Nobody)));
        let _first = listen("lan0.sock");
        let _programs = ["authorize.sock", "authorize-lan0.sock"].map(listen);
        assert_eq!(find_only(&directory).unwrap().0, directory.join("lan0.sock"));
        let _second = listen("lan1.sock");
        let Err(FindError::Several(names)) = find_only(&directory) else { panic!("found one") };
        assert_eq!(names, ["lan0", "lan1"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_socket_that_is_just_made_is_not_taken_for_one_of_the_dead() {
        let directory =
            std::env::temp_dir().join(format!("acton-control-made-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let place = Place::Path(directory.join("lan0.sock"));
        let Place::Path(path) = &place else { unreachable!() };
        let lock = || {
            let directory = File::open(&directory).unwrap();
            Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno).unwrap()
        };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        let making = lock();
        socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
        let (told, found) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| told.send(find(&place).map(drop)));
            // It waits: there is no answer that would be right.
            let early = found.recv_timeout(Duration::from_millis(50));
            assert!(early.is_err(), "{early:?}");
            socket.listen(1).unwrap();
            drop(making);
            found.recv().unwrap().unwrap();
        });
        drop(socket);
        let Err(FindError::Silent { error, .. }) = find(&place) else { panic!("it has ended") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        fs::remove_dir_all(&directory).unwrap();
    }
}
