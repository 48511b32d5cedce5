//! What the server logs, in a file whose name both processes know.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use crate::support::Result;

fn path(parent: u32) -> PathBuf {
    std::env::temp_dir().join(format!("acton-attacks-{parent}.log"))
}

/// Has the server's process write its log there, as `acton server` does to standard error.
pub(crate) fn write_in_server() -> Result<()> {
    static LOG: OnceLock<LogFile> = OnceLock::new();
    let file = File::create(path(std::os::unix::process::parent_id()))?;
    log::set_logger(LOG.get_or_init(|| LogFile(Mutex::new(file))))
        .map_err(|error| error.to_string())?;
    log::set_max_level(log::LevelFilter::Info);
    Ok(())
}

#[derive(Debug)]
struct LogFile(Mutex<File>);

impl log::Log for LogFile {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // A line that cannot be written is missed by nobody but this benchmark.
        if let Ok(mut file) = self.0.lock() {
            let _ =
                writeln!(file, "[2020-01-01T00:00:00Z {:<5}] {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

/// The server's log, as the process that started it reads it.
#[derive(Debug)]
pub(crate) struct ServerLog(PathBuf);

impl ServerLog {
    pub(crate) fn of_child() -> Self {
        Self(path(std::process::id()))
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> Result<u64> {
        Ok(fs::metadata(&self.0)?.len())
    }
}

impl Drop for ServerLog {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
