//! Which files a tunnel may use (landlock(7)).

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// What is known of landlock here: kernels that have less do less.
const KNOWN: ABI = ABI::V6;
/// What looking up a name reads: the resolver's files, which are replaced whole so that their
/// directories are named, and the libraries of name services. Also what processors this process may use.
const READ: [&str; 11] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/nscd",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/sys/fs/cgroup",
    "/proc/self/cgroup",
];
/// The resolver's files, which may be links to elsewhere.
const RESOLVER: [&str; 5] =
    ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"];
/// Directories that hold too much to be opened for one file in them.
const SHARED: [&str; 3] = ["/", "/run", "/tmp"];
/// What every program may use, and what TAPs are made by.
const DEVICES: [&str; 4] = ["/dev/net/tun", "/dev/null", "/dev/urandom", "/dev/random"];
/// The port of name servers, which answer by TCP where UDP has no room.
const DNS: u16 = 53;

/// The files that this instance alone uses.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Directories in which it reads.
    pub(crate) read: Vec<PathBuf>,
    /// Directories in which it also makes and removes files.
    pub(crate) write: Vec<PathBuf>,
    /// The directory in which it makes its control socket and removes one: it may be everybody's.
    pub(crate) sockets: Option<PathBuf>,
}

impl Paths {
    /// Names the directory that this file is in as one to read in, and where it is a link, that of what it
    /// leads to.
    pub(crate) fn read_beside(&mut self, file: &Path) {
        self.read.extend(directory_of(file));
        self.read.extend(target_of(file));
    }

    /// Has this thread, and all that it makes from now on, use these files and no others. `false` where
    /// the kernel cannot.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub(super) fn enforce(&self) -> Result<bool, RulesetError> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::RemoveFile
            | AccessFs::MakeReg;
        let sockets = AccessFs::ReadDir | AccessFs::RemoveFile | AccessFs::MakeSock;
        let device: BitFlags<AccessFs> =
            AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?
            .scope(Scope::from_all(KNOWN))?
            .create()?
            .add_rules(path_beneath_rules(READ, read))?
            .add_rules(path_beneath_rules(RESOLVER.iter().filter_map(target_of), read))?
            .add_rules(path_beneath_rules(&self.read, read))?
            .add_rules(path_beneath_rules(&self.write, write))?
            .add_rules(path_beneath_rules(&self.sockets, sockets))?
            .add_rules(path_beneath_rules(DEVICES, device))?
            .add_rule(NetPort::new(DNS, AccessNet::ConnectTcp))?
            .restrict_self()?;
        Ok(status.ruleset != RulesetStatus::NotEnforced)
    }
}

/// The directory that a file is in.
pub(crate) fn directory_of(file: &Path) -> Option<PathBuf> {
    let directory = file.parent()?;
    Some(if directory.as_os_str().is_empty() { Path::new(".") } else { directory }.to_owned())
}

/// The directory of what a file is in the end, where links lead elsewhere; the file alone where that
/// directory is everybody's. `None` where it is not there.
fn target_of(file: impl AsRef<Path>) -> Option<PathBuf> {
    let file = fs::canonicalize(file).ok()?;
    let directory = directory_of(&file)?;
    let is_shared = SHARED.iter().any(|shared| directory == Path::new(shared));
    Some(if is_shared { file } else { directory })
}
