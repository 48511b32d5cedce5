//! A client keeps the network key that its server told, for its next start.

use std::time::Duration;

use acton_proto::handshake::Secret;

use crate::client::KeyKeeper;

/// Time until one that could not be kept is tried again; twice as long each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// And at most: within the shortest grace that anybody gives a key before.
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);

/// Has a network key kept, and tries again where that fails: a disk may be full for a while.
#[derive(Debug)]
pub(super) struct KeyKeeping {
    /// `None` where nothing can keep it.
    keeper: Option<KeyKeeper>,
    /// Keys that are still to be kept, one a network.
    unkept: Vec<Unkept>,
    due: Duration,
    wait: Duration,
}

/// A key that is still to be kept, and the one that it takes the place of.
#[derive(Debug)]
struct Unkept {
    before: Option<Secret>,
    key: Secret,
}

impl KeyKeeping {
    pub(super) const fn new(keeper: Option<KeyKeeper>) -> Self {
        Self { keeper, unkept: Vec::new(), due: Duration::ZERO, wait: FIRST_WAIT }
    }

    /// Keeps a key that was told, in place of the one before.
    ///
    /// # Errors
    /// Why it cannot now; it is tried again.
    pub(super) fn keep(
        &mut self,
        now: Duration,
        before: Option<Secret>,
        key: Secret,
    ) -> Result<(), String> {
        let Some(KeyKeeper(keep)) = &self.keeper else { return Err("nothing keeps it".to_owned()) };
        // Where the one before is not kept yet, what is kept is the one before that.
        let waiting = self.unkept.extract_if(.., |it| Some(&it.key) == before.as_ref()).next();
        let before = waiting.map_or(before, |waiting| waiting.before);
        let kept = keep(before.as_ref(), &key);
        if kept.is_err() {
            self.unkept.push(Unkept { before, key });
            (self.due, self.wait) = (now + FIRST_WAIT, FIRST_WAIT);
        }
        kept
    }

    /// When [`retry`](Self::retry) has something to do.
    pub(super) fn due(&self) -> Option<Duration> {
        (!self.unkept.is_empty()).then_some(self.due)
    }

    /// Tries again if it is time to; whether the key is kept now.
    pub(super) fn retry(&mut self, now: Duration) -> bool {
        self.due().is_some_and(|due| now >= due) && self.retry_now(now)
    }

    /// Tries again, time or not; whether all is kept now, and was not before.
    pub(super) fn retry_now(&mut self, now: Duration) -> bool {
        let Some(KeyKeeper(keep)) = self.keeper.as_ref().filter(|_| !self.unkept.is_empty()) else {
            return false;
        };
        self.unkept.retain(|Unkept { before, key }| {
            let kept = keep(before.as_ref(), key);
            kept.inspect_err(|error| log::debug!("a network key is still not kept: {error}"))
                .is_err()
        });
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.due = now + self.wait;
        self.unkept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// What keeps keys while there is room.
    #[derive(Default)]
    struct Disk {
        full: bool,
        tries: usize,
        kept: Option<Secret>,
        before: Option<Secret>,
    }

    fn keeping() -> (KeyKeeping, Arc<Mutex<Disk>>) {
        let disk = Arc::new(Mutex::new(Disk::default()));
        let keep = {
            let disk = Arc::clone(&disk);
            move |before: Option<&Secret>, key: &Secret| {
                let mut disk = disk.lock();
                disk.tries += 1;
                if disk.full {
                    return Err("no space left".to_owned());
                }
                (disk.kept, disk.before) = (Some(key.clone()), before.cloned());
                Ok(())
            }
        };
        (KeyKeeping::new(Some(KeyKeeper(Arc::new(keep)))), disk)
    }

    /// Lets time pass until `until`; when the key was kept, if it was.
    fn pass(keeping: &mut KeyKeeping, until: Duration) -> Option<Duration> {
        while let Some(due) = keeping.due().filter(|&due| due <= until) {
            assert!(!keeping.retry(due - Duration::from_nanos(1)), "not before it is time");
            if keeping.retry(due) {
                return Some(due);
            }
        }
        None
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_is_kept_at_once_is_not_tried_again() {
        let (mut keeping, disk) = keeping();
        keeping.keep(HOUR, None, Secret::new([1; 32])).unwrap();
        assert_eq!((keeping.due(), disk.lock().tries), (None, 1));
        assert!(!keeping.retry_now(HOUR));
        assert_eq!(disk.lock().kept, Some(Secret::new([1; 32])));
    }

    #[test]
    fn a_disk_that_was_full_gets_the_key_once_there_is_room() {
        let (mut keeping, disk) = keeping();
        disk.lock().full = true;
        assert_eq!(keeping.keep(HOUR, None, Secret::new([1; 32])), Err("no space left".to_owned()));
        assert_eq!(pass(&mut keeping, HOUR * 25), None);
        let tries = disk.lock().tries;
        assert!((280..=310).contains(&tries), "seldom, and for as long as it takes: {tries}");
        disk.lock().full = false;
        let kept = pass(&mut keeping, HOUR * 26).unwrap();
        assert!(kept <= HOUR * 25 + LONGEST_WAIT);
        assert_eq!(disk.lock().kept, Some(Secret::new([1; 32])));
        assert_eq!(keeping.due(), None);
    }

    #[test]
    fn only_the_newest_key_of_a_network_is_kept() {
        let (mut keeping, disk) = keeping();
        disk.lock().full = true;
        let key = |number| Secret::new([number; 32]);
        for number in 1..=3 {
            assert!(keeping.keep(HOUR, Some(key(number - 1)), key(number)).is_err());
        }
        // Another network's.
        assert!(keeping.keep(HOUR, Some(key(8)), key(9)).is_err());
        let tries = std::mem::take(&mut disk.lock().tries);
        assert_eq!(tries, 4);
        disk.lock().full = false;
        assert!(keeping.retry_now(HOUR));
        let Disk { tries, kept, before, .. } = std::mem::take(&mut *disk.lock());
        assert_eq!((tries, before, kept), (2, Some(key(8)), Some(key(9))));
        assert!(!keeping.retry_now(HOUR));
    }

    #[test]
    fn without_a_keeper_nothing_is_tried() {
        let mut keeping = KeyKeeping::new(None);
        assert!(keeping.keep(HOUR, None, Secret::new([1; 32])).is_err());
        assert_eq!(keeping.due(), None);
    }
}
