//! Becomes the user that a tunnel runs as.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use caps::errors::CapsError;
use nix::sys::prctl::set_keepcaps;
use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, setgroups, setresgid, setresuid};

use super::rights;

/// The user where none is named and this one is there.
const DEFAULT_USER: &str = "acton";
/// A directory for its owner alone, as keys are kept in, and one that all may look into.
const PRIVATE_MODE: u32 = 0o700;
const OPEN_MODE: u32 = 0o755;

/// Why this process cannot become another user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("--user {0}: no such user")]
    Unknown(String),
    #[error("--user {0}: only root can become another user")]
    NotRoot(String),
    #[error(
        "--user {user}: {} is not that user's; if acton may keep its keys there, run: chown -R {user}: \
         {}", .path.display(), .path.display()
    )]
    NotOwned { user: String, path: PathBuf },
    #[error("--user {user}: cannot {step}")]
    System { user: String, step: &'static str, source: io::Error },
    #[error("--user: {0}")]
    Rights(#[from] CapsError),
}

/// The directories that the user needs.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    /// Of keys.
    pub(crate) state: &'a Path,
    /// Of the control socket, where that is at its usual place.
    pub(crate) control: Option<&'a Path>,
    /// A group that is to have the control socket.
    pub(crate) group: Option<u32>,
    /// Files that are read again while the tunnel runs.
    pub(crate) read: Vec<&'a Path>,
}

/// Becomes `named`, or the default user where there is one and the state is that user's. Without a name
/// it stays as it is otherwise; an ordinary user stays who it is anyway.
///
/// It keeps the right to program interfaces and to bind any port; what keeps files of others, it gives
/// up: from here on, this process is as one that the user started with these rights.
///
/// # Errors
/// Where there is no such user, the state is not that user's, or the system refuses a step.
pub(crate) fn become_user(named: Option<&str>, places: &Places<'_>) -> Result<(), UserError> {
    let name = named.unwrap_or(DEFAULT_USER);
    let Ok(Some(user)) = User::from_name(name) else {
        return named.map_or(Ok(()), |name| Err(UserError::Unknown(name.to_owned())));
    };
    if user.uid == geteuid() {
        return Ok(());
    }
    if !geteuid().is_root() {
        return named.map_or(Ok(()), |name| Err(UserError::NotRoot(name.to_owned())));
    }
    let system = |step| {
        let user = name.to_owned();
        move |source| UserError::System { user, step, source }
    };
    let owner = match fs::metadata(places.state) {
        Ok(state) => Some(Uid::from_raw(state.uid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(system("look at the state directory")(error)),
    };
    match owner {
        Some(owner) if owner == user.uid => {}
        None if named.is_some() => make_directory(places.state, PRIVATE_MODE, &user)
            .map_err(system("make the state directory"))?,
        _ if named.is_some() => {
            return Err(UserError::NotOwned { user: user.name, path: places.state.to_owned() });
        }
        _ => {
            let state = places.state.display();
            match owner {
                Some(_) => log::info!(
                    "running as root, for {state} is not the user {name}'s; to run as that user: chown \
                     -R {name}: {state}"
                ),
                None => log::info!(
                    "running as root, for there is no {state} yet; to run as the user {name}: --user \
                     {name}, which makes it"
                ),
            }
            return Ok(());
        }
    }
    if let Some(control) = places.control {
        // Root's own, as nobody else can have put anything there.
        let made = make_directory(control, OPEN_MODE, &user);
        made.map_err(system("give it the directory of control sockets"))?;
    }
    let step = |step, done: nix::Result<()>| done.map_err(io::Error::from).map_err(system(step));
    let account =
        CString::new(user.name.as_str()).map_err(|_| UserError::Unknown(name.to_owned()))?;
    let mut groups = getgrouplist(&account, user.gid)
        .map_err(io::Error::from)
        .map_err(system("find its groups"))?;
    groups.extend(places.group.map(Gid::from_raw));
    step("keep the right to program interfaces", set_keepcaps(true))?;
    step("take its groups", setgroups(&groups))?;
    step("take its group", setresgid(user.gid, user.gid, user.gid))?;
    step("become it", setresuid(user.uid, user.uid, user.uid))?;
    rights::keep_for_later()?;
    step("end that", set_keepcaps(false))?;
    log::info!("running as the user {name}");
    for file in &places.read {
        if let Err(error) = File::open(file)
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            log::warn!(
                "{}: the user {name} may not read it, as a reload does; run: {}",
                file.display(),
                cure(file, &user)
            );
        }
    }
    Ok(())
}

/// Becomes the user whose this directory is, where root would work in another's: what root makes there,
/// that user could not read.
///
/// # Errors
/// Where the system refuses it.
pub(crate) fn become_owner(directory: &Path) -> io::Result<()> {
    let Some(owner) = fs::metadata(directory).ok().filter(|owner| owner.uid() != 0) else {
        return Ok(());
    };
    if !geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    setgroups(&[gid])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}

/// What lets a user read a file that it may not: the file or one of the directories that lead to it is
/// closed to it.
fn cure(file: &Path, user: &User) -> String {
    let group = user.gid;
    let closed = file.ancestors().skip(1).filter(|directory| {
        fs::metadata(directory).is_ok_and(|directory| {
            let is_its = directory.uid() == user.uid.as_raw();
            let passes = if is_its { 0o100 } else { 0o001 };
            directory.mode() & passes == 0 && directory.gid() != group.as_raw()
        })
    });
    // The outermost one: of what is in it, nothing is known.
    match closed.last() {
        Some(directory) => {
            let directory = directory.display();
            format!("chgrp {group} {directory} && chmod g+x {directory}")
        }
        None => format!("chgrp {group} {0} && chmod g+r {0}", file.display()),
    }
}

/// Makes a directory of this user's, or gives it one that is root's; no other, to which a link leads.
fn make_directory(path: &Path, mode: u32, user: &User) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let directory = File::options().read(true).custom_flags(flags).open(path)?;
    if directory.metadata()?.uid() == 0 {
        fchown(&directory, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_directory_is_given_away_to_which_a_link_leads() {
        let directory = std::env::temp_dir().join(format!("acton-user-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let link = directory.join("link");
        symlink("/", &link).unwrap();
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        assert!(make_directory(&link, OPEN_MODE, &root).is_err());
        make_directory(&directory.join("made"), OPEN_MODE, &root).unwrap();
        fs::remove_dir_all(&directory).unwrap();
    }
}
