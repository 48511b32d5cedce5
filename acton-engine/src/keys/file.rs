//! Files that only their owner reads, written whole or not at all.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use acton_proto::handshake::{Random, SystemRandom};
use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::KeyError;

/// Permission bits of a file with secrets.
const PRIVATE_MODE: u32 = 0o600;
/// Permission bits of a directory with such files.
const PRIVATE_DIRECTORY_MODE: u32 = 0o700;
/// Permission bits of the directories above.
const OPEN_DIRECTORY_MODE: u32 = 0o755;
/// All permission bits of group and others.
pub(super) const ANY_ACCESS: u32 = 0o077;
/// The write bits of group and others.
pub(super) const WRITE_ACCESS: u32 = 0o022;
/// The most bytes of a file that holds one key or one invite.
pub(super) const SMALL: u64 = 4_096;

/// A file as it was read.
pub(super) struct Contents {
    pub(super) text: Zeroizing<String>,
    /// From before the reading, so that a later change shows.
    pub(super) metadata: Metadata,
}

/// Reads a text file of at most `limit` bytes that gives others none of the permission bits
/// `forbidden`. `None` if there is no file.
pub(super) fn read(path: &Path, limit: u64, forbidden: u32) -> Result<Option<Contents>, KeyError> {
    // A FIFO in the file's place must not block.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::io("read", path)(error)),
    };
    let metadata = file.metadata().map_err(KeyError::io("read", path))?;
    if !metadata.is_file() || metadata.len() > limit {
        return Err(KeyError::NotAFile { path: path.to_owned(), limit });
    }
    check(path, &metadata, forbidden)?;
    // Room for all of it at once: a vector that grows leaves copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(limit).read_to_end(&mut bytes).map_err(KeyError::io("read", path))?;
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        KeyError::NotText { path: path.to_owned() }
    })?;
    Ok(Some(Contents { text: Zeroizing::new(text), metadata }))
}

/// Refuses what others may use in ways that `forbidden` names, or may change because it is theirs.
pub(super) fn check(path: &Path, metadata: &Metadata, forbidden: u32) -> Result<(), KeyError> {
    let (mode, uid, user) = (metadata.mode() & 0o777, metadata.uid(), geteuid().as_raw());
    if mode & forbidden != 0 {
        let fix = if forbidden == WRITE_ACCESS { "go-w" } else { "go-rwx" };
        return Err(KeyError::Open { path: path.to_owned(), mode, fix });
    }
    if uid != 0 && uid != user {
        return Err(KeyError::Owner { path: path.to_owned(), uid, user });
    }
    Ok(())
}

/// Refuses a directory in which others could put files; one that is not there is fine.
pub(super) fn check_directory(path: &Path) -> Result<(), KeyError> {
    match fs::metadata(path) {
        Ok(metadata) => check(path, &metadata, WRITE_ACCESS),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KeyError::io("read", path)(error)),
    }
}

/// Makes a directory for its owner alone, if it is not there. Those that lead to it are open to all, as it
/// may become another's.
pub(super) fn create_directory(path: &Path) -> Result<(), KeyError> {
    let make = |mode, path: &Path| DirBuilder::new().recursive(true).mode(mode).create(path);
    let above = path.parent().map_or(Ok(()), |above| make(OPEN_DIRECTORY_MODE, above));
    above
        .and_then(|()| make(PRIVATE_DIRECTORY_MODE, path))
        .map_err(KeyError::io("make the directory", path))
}

/// Makes a file that was not there, and says whether it did: of several processes one does.
pub(super) fn create(path: &Path, text: &str) -> Result<bool, KeyError> {
    let temporary = Temporary::write(path, text, None)?;
    match fs::hard_link(&temporary.path, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(KeyError::io("make", path)(error)),
    }
    sync_directory_of(path)?;
    Ok(true)
}

/// Writes a file in place of what is there: who reads it sees the one or the other. It keeps the
/// owner and, but for `forbidden` bits, the mode of a file that was there.
pub(super) fn replace(
    path: &Path,
    text: &str,
    former: Option<(&Metadata, u32)>,
) -> Result<(), KeyError> {
    let temporary = Temporary::write(path, text, former)?;
    fs::rename(&temporary.path, path).map_err(KeyError::io("replace", path))?;
    sync_directory_of(path)
}

/// The directory that a file is in.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_directory_of(path: &Path) -> Result<(), KeyError> {
    let directory = directory_of(path);
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(KeyError::io("write out the directory", directory))
}

/// Keeps other processes that edit files next to `path` out until the lock is dropped.
pub(super) fn lock_beside(path: &Path) -> Result<File, KeyError> {
    let directory = directory_of(path);
    let locked = File::open(directory).and_then(|file| file.lock().map(|()| file));
    locked.map_err(KeyError::io("lock the directory", directory))
}

/// A file next to the one that it will become. Removed when dropped, if it is still there.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Writes it out to the disk.
    fn write(
        beside: &Path,
        text: &str,
        former: Option<(&Metadata, u32)>,
    ) -> Result<Self, KeyError> {
        let mut number = [0; 8];
        SystemRandom.fill(&mut number);
        let number = u64::from_ne_bytes(number);
        let path = directory_of(beside).join(format!(".acton-{number:016x}.tmp"));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_MODE)
            .open(&path)
            .map_err(KeyError::io("write", beside))?;
        let temporary = Self { path };
        let mut fill = || {
            if let Some((former, forbidden)) = former {
                let own = file.metadata()?;
                if (former.uid(), former.gid()) != (own.uid(), own.gid()) {
                    fchown(&file, Some(former.uid()), Some(former.gid()))?;
                }
                let mode = former.mode() & 0o777 & !forbidden;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        fill().map_err(KeyError::io("write", beside))?;
        Ok(temporary)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename it is gone, and nobody else takes a name with this number.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::symlink;
    use std::thread;

    use super::*;

    /// A directory of its own for each test, removed when dropped.
    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn new() -> Self {
            let mut number = [0; 8];
            SystemRandom.fill(&mut number);
            let name = format!("acton-keys-{:016x}", u64::from_ne_bytes(number));
            let path = std::env::temp_dir().join(name);
            create_directory(&path).unwrap();
            Self(path)
        }

        pub(crate) fn join(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(crate) fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn text(path: &Path) -> String {
        read(path, SMALL, ANY_ACCESS).unwrap().unwrap().text.to_string()
    }

    #[test]
    fn a_directory_is_private_and_those_above_it_are_as_others() {
        let directory = Directory::new();
        let (above, usual) = (directory.join("above"), directory.join("usual"));
        create_directory(&above.join("keys")).unwrap();
        fs::create_dir(&usual).unwrap();
        assert_eq!((mode(&above.join("keys")), mode(&above)), (0o700, mode(&usual) & 0o755));
    }

    #[test]
    fn only_one_of_many_creates_and_all_read_the_same() {
        let directory = Directory::new();
        let path = directory.join("key");
        let created: Vec<bool> = thread::scope(|scope| {
            let tasks = (0..16).map(|i| {
                let path = &path;
                scope.spawn(move || create(path, &i.to_string()).map(|made| (made, text(path))))
            });
            let tasks: Vec<_> = tasks.collect();
            let results = tasks.into_iter().map(|task| task.join().unwrap().unwrap());
            results
                .map(|(made, seen)| {
                    assert_eq!(seen, text(&path));
                    made
                })
                .collect()
        });
        assert_eq!(created.iter().filter(|&&made| made).count(), 1);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "temporary files are left");
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_but_for_forbidden_bits() {
        let directory = Directory::new();
        let path = directory.join("list");
        replace(&path, "one", None).unwrap();
        assert_eq!(mode(&path), 0o600);
        set_mode(&path, 0o644);
        let former = fs::metadata(&path).unwrap();
        replace(&path, "two", Some((&former, 0))).unwrap();
        assert_eq!(mode(&path), 0o644);
        replace(&path, "three", Some((&former, ANY_ACCESS))).unwrap();
        assert_eq!((mode(&path), text(&path).as_str()), (0o600, "three"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "temporary files are left");
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = Directory::new();
        let path = directory.join("taken");
        fs::create_dir(&path).unwrap();
        let error = replace(&path, "text", None).unwrap_err();
        assert!(matches!(error, KeyError::Io { action: "replace", .. }), "{error}");
        assert!(!create(&path, "text").unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "temporary files are left");
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let directory = Directory::new();
        let path = directory.join("key");
        create(&path, "secret").unwrap();
        for (bits, fine_to_show) in [(0o640, true), (0o604, true), (0o620, false), (0o602, false)] {
            set_mode(&path, bits);
            assert!(
                matches!(read(&path, SMALL, ANY_ACCESS), Err(KeyError::Open { .. })),
                "{bits:o}"
            );
            assert_eq!(read(&path, SMALL, WRITE_ACCESS).is_ok(), fine_to_show, "{bits:o}");
        }
        set_mode(&path, 0o644);
        let error = read(&path, SMALL, ANY_ACCESS).err().unwrap().to_string();
        let path = path.display();
        assert_eq!(
            error,
            format!(
                "{path} is open to others (mode 644); if nobody used that, run: chmod go-rwx {path}"
            )
        );
    }

    #[test]
    fn a_directory_that_others_write_is_refused() {
        let directory = Directory::new();
        assert!(check_directory(&directory.join("missing")).is_ok());
        set_mode(directory.path(), 0o755);
        assert!(check_directory(directory.path()).is_ok());
        for bits in [0o775, 0o1777] {
            set_mode(directory.path(), bits);
            assert!(matches!(check_directory(directory.path()), Err(KeyError::Open { .. })));
        }
    }

    #[test]
    fn odd_things_in_place_of_a_file() {
        let directory = Directory::new();
        let not_there = read(&directory.join("missing"), SMALL, ANY_ACCESS);
        assert!(matches!(not_there, Ok(None)));
        let fifo = directory.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        let large = directory.join("large");
        create(&large, &" ".repeat(SMALL as usize + 1)).unwrap();
        for path in [directory.path(), &fifo, &large] {
            assert!(matches!(read(path, SMALL, ANY_ACCESS), Err(KeyError::NotAFile { .. })));
        }
        let binary = directory.join("binary");
        create(&binary, "").unwrap();
        fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&binary, SMALL, ANY_ACCESS), Err(KeyError::NotText { .. })));
        let link = directory.join("link");
        fs::write(&binary, "text").unwrap();
        symlink(&binary, &link).unwrap();
        assert_eq!(text(&link), "text");
        let below = binary.join("file");
        let error = read(&below, SMALL, ANY_ACCESS).err().unwrap();
        assert!(error.to_string().contains("--state"), "{error}");
    }
}
