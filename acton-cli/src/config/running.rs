//! The settings of a running end, and whether its file says the same.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use acton_engine::Handle;

use super::reload::{ReloadError, Reloader};
use super::report::{ConfigReport, KeyReport, Outcome, RefusedReload};

/// A file that was written so recently may be written again without a sign of it: file systems keep
/// times to some milliseconds.
const UNSETTLED: Duration = Duration::from_secs(1);
/// The key that names the directory of an end's keys.
const STATE: &str = "state";

/// The settings of a running end.
#[derive(Debug)]
pub(crate) struct RunningConfig {
    reloader: Reloader,
    generation: u64,
    read_at: Instant,
    looked: Option<Look>,
    refused: Option<Refused>,
}

/// A reload of which the system refused something.
#[derive(Debug)]
struct Refused {
    at: Instant,
    why: String,
    /// Of the file that was read.
    stamp: Option<Stamp>,
}

/// What the file came to when somebody looked last.
#[derive(Debug)]
struct Look {
    stamp: Option<Stamp>,
    differs: Result<Vec<String>, String>,
}

/// What is another where a file is: device, node, length, and the times of content and node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(u64, u64, u64, (i64, i64), (i64, i64));

impl RunningConfig {
    /// Of an end that starts now.
    pub(crate) fn new(reloader: Reloader) -> Self {
        let (generation, read_at) = (1, Instant::now());
        Self { reloader, generation, read_at, looked: None, refused: None }
    }

    /// Reads all again and puts in force what can be, whole or, where there is an error, not at all. A
    /// `dry_run` says what would become of it. Gives all keys.
    ///
    /// # Errors
    /// What is wrong with it, or what the system refuses.
    pub(crate) fn reload(
        &mut self,
        handle: &Handle,
        dry_run: bool,
    ) -> Result<Vec<KeyReport>, ReloadError> {
        let stamp = self.stamp();
        let plan = self.reloader.plan(handle).inspect_err(|error| {
            self.looked = Some(Look { stamp, differs: Err(error.told()) });
        })?;
        let keys = plan.keys();
        if dry_run {
            return Ok(keys);
        }
        if let Err(error) = self.reloader.carry_out(plan, handle) {
            let (at, why) = (Instant::now(), error.told());
            self.refused = Some(Refused { at, why, stamp });
            return Err(error);
        }
        self.generation += 1;
        self.read_at = Instant::now();
        (self.looked, self.refused) = (None, None);
        Ok(keys)
    }

    /// Where the settings come from, and whether the file has changed since. It is read where it is
    /// not as it was when somebody looked last.
    pub(crate) fn report(&mut self, handle: &Handle) -> ConfigReport {
        let stamp = self.stamp();
        let known = self.looked.take_if(|look| look.stamp == stamp);
        let is_known = known.is_some();
        let look = known.unwrap_or_else(|| {
            let plan = self.reloader.plan(handle).map_err(|error| error.told());
            Look { stamp, differs: plan.map(|plan| differing(&plan.keys())) }
        });
        let (differs, error) = match look.differs.clone() {
            Ok(differs) => (Some(differs), None),
            Err(error) => (None, Some(error)),
        };
        let keep = is_known || !stamp.is_some_and(Stamp::is_unsettled);
        self.looked = Some(look).filter(|_| keep);
        // Another file may be taken.
        self.refused.take_if(|refused| refused.stamp != stamp);
        let refused = self.refused.as_ref().map(|refused| RefusedReload {
            ago_seconds: refused.at.elapsed().as_secs_f64(),
            error: refused.why.clone(),
        });
        ConfigReport {
            file: self.reloader.file().map(Path::to_owned),
            state: self.reloader.running(STATE).and_then(|path| fs::canonicalize(path).ok()),
            generation: self.generation,
            read_seconds: self.read_at.elapsed().as_secs_f64(),
            differs,
            error,
            refused,
        }
    }

    /// The reader itself.
    pub(crate) fn reloader(&self) -> &Reloader {
        &self.reloader
    }

    /// Of the file that a reload would read; `None` where it is not there.
    fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(self.reloader.place()?).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Some(Stamp(metadata.dev(), metadata.ino(), metadata.size(), modified, changed))
    }
}

impl Stamp {
    fn is_unsettled(self) -> bool {
        let Self(.., (changed, _)) = self;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.as_secs().saturating_sub(changed.max(0) as u64) <= UNSETTLED.as_secs()
    }
}

/// The keys that run with another value than what was read.
fn differing(keys: &[KeyReport]) -> Vec<String> {
    let differs =
        |key: &&KeyReport| matches!(key.outcome, Outcome::Applied | Outcome::NeedsRestart);
    keys.iter().filter(differs).map(|key| key.key.clone()).collect()
}
