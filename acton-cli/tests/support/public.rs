use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

/// A copy of the program where every user may run it, removed when dropped.
pub(crate) struct PublicProgram(PathBuf);

impl PublicProgram {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("acton-public-{}-{number}", std::process::id());
        let program = Self(env::temp_dir().join(name));
        // Not by fs::copy: a child that another thread forks meanwhile has the file open for
        // writing until it execs, and what is open for writing does not run (ETXTBSY).
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_acton")).arg(program.path());
        assert!(copy.status().unwrap().success(), "{copy:?}");
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PublicProgram {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
