use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns, unshare};

use crate::Error;

/// A network namespace, alive as long as this value or anything inside it is.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// Makes a network namespace, empty but for `lo`, which is up.
    ///
    /// # Errors
    /// [`Error::Create`] without `CAP_SYS_ADMIN`, or where the limit
    /// `user.max_net_namespaces` is reached.
    pub fn new() -> Result<Self, Error> {
        // The thread lives just long enough to name its namespace by a descriptor.
        let made = thread::Builder::new()
            .name("netns-new".to_owned())
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                File::open(OWN_NAMESPACE)
            })
            .map_err(Error::Thread)?;
        let file = joined(made).map_err(Error::Create)?;
        let namespace = Self { fd: file.into() };
        namespace.link_up("lo")?;
        Ok(namespace)
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Enter`] where `/proc` is not mounted.
    pub fn current() -> Result<Self, Error> {
        Ok(Self { fd: File::open(OWN_NAMESPACE).map_err(Error::Enter)?.into() })
    }

    /// Moves the calling thread, and whatever it creates from now on, into the namespace
    /// (setns(2)). Its other sockets, and the process's other threads, stay where they are.
    ///
    /// # Errors
    /// [`Error::Enter`] without `CAP_SYS_ADMIN` in the user namespace that owns it.
    pub fn enter(&self) -> Result<(), Error> {
        setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(|errno| Error::Enter(errno.into()))
    }

    /// Runs `body` on a thread inside the namespace, and returns what it returns.
    ///
    /// # Panics
    /// When `body` panics, or when no thread can be started or taken into the namespace; where
    /// that is to be handled, [`enter`](Self::enter) it on a thread of your own.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.try_run(body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a thread inside the namespace that outlives the call.
    ///
    /// # Errors
    /// [`Error::Thread`], [`Error::Enter`].
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, Error> {
        // A thread hands its namespace on to the threads it starts.
        self.try_run(|| thread::Builder::new().spawn(body).map_err(Error::Thread))?
    }

    /// Starts a program inside the namespace.
    ///
    /// # Errors
    /// Those of [`Command::spawn`]; [`Error`] as [`io::Error::other`] where the namespace cannot
    /// be entered.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.try_run(|| command.spawn()).map_err(io::Error::other)?
    }

    /// Runs a program inside the namespace to its end and collects its output.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn output(&self, command: &mut Command) -> io::Result<Output> {
        self.try_run(|| command.output()).map_err(io::Error::other)?
    }

    /// A path that names the namespace as long as this process lives and holds it, for
    /// `nsenter --net=PATH` from another terminal.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd()).into()
    }

    /// [`run`](Self::run), with a failure to get inside as an error.
    pub(crate) fn try_run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T, Error> {
        thread::scope(|scope| {
            let inside = thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    self.enter()?;
                    Ok(body())
                })
                .map_err(Error::Thread)?;
            inside.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The network namespace of the thread that opens it (namespaces(7)). `/proc/self` would be that
/// of the process's first thread.
const OWN_NAMESPACE: &str = "/proc/thread-self/ns/net";

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
}
