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
    unkept: Option<Unkept>,
}

/// A key that is still to be kept.
#[derive(Debug)]
struct Unkept {
    key: Secret,
    due: Duration,
    wait: Duration,
}

impl KeyKeeping {
    pub(super) const fn new(keeper: Option<KeyKeeper>) -> Self {
        Self { keeper, unkept: None }
    }

    /// Keeps a key that was told, in place of any other.
    ///
    /// # Errors
    /// Why it cannot now; it is tried again.
    pub(super) fn keep(&mut self, now: Duration, key: Secret) -> Result<(), String> {
        self.unkept = None;
        let Some(KeyKeeper(keep)) = &self.keeper else { return Err("nothing keeps it".to_owned()) };
        let kept = keep(&key);
        if kept.is_err() {
            self.unkept = Some(Unkept { key, due: now + FIRST_WAIT, wait: FIRST_WAIT });
        }
        kept
    }

    /// When [`retry`](Self::retry) has something to do.
    pub(super) fn due(&self) -> Option<Duration> {
        self.unkept.as_ref().map(|unkept| unkept.due)
    }

    /// Tries again if it is time to; whether the key is kept now.
    pub(super) fn retry(&mut self, now: Duration) -> bool {
        self.due().is_some_and(|due| now >= due) && self.retry_now(now)
    }

    /// Tries again, time or not; whether the key is kept now, and was not before.
    pub(super) fn retry_now(&mut self, now: Duration) -> bool {
        let (Some(unkept), Some(KeyKeeper(keep))) = (&mut self.unkept, &self.keeper) else {
            return false;
        };
        if let Err(error) = keep(&unkept.key) {
            log::debug!("the network key is still not kept: {error}");
            unkept.wait = (unkept.wait * 2).min(LONGEST_WAIT);
            unkept.due = now + unkept.wait;
            return false;
        }
        self.unkept = None;
        true
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
    }

    fn keeping() -> (KeyKeeping, Arc<Mutex<Disk>>) {
        let disk = Arc::new(Mutex::new(Disk::default()));
        let keep = {
            let disk = Arc::clone(&disk);
            move |key: &Secret| {
                let mut disk = disk.lock();
                disk.tries += 1;
                if disk.full {
                    return Err("no space left".to_owned());
                }
                disk.kept = Some(key.clone());
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
        keeping.keep(HOUR, Secret::new([1; 32])).unwrap();
        assert_eq!((keeping.due(), disk.lock().tries), (None, 1));
        assert!(!keeping.retry_now(HOUR));
        assert_eq!(disk.lock().kept, Some(Secret::new([1; 32])));
    }

    #[test]
    fn a_disk_that_was_full_gets_the_key_once_there_is_room() {
        let (mut keeping, disk) = keeping();
        disk.lock().full = true;
        assert_eq!(keeping.keep(HOUR, Secret::new([1; 32])), Err("no space left".to_owned()));
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
    fn only_the_newest_key_is_kept() {
        let (mut keeping, disk) = keeping();
        disk.lock().full = true;
        for number in 1..=3 {
            assert!(keeping.keep(HOUR, Secret::new([number; 32])).is_err());
        }
        disk.lock().full = false;
        assert!(keeping.retry_now(HOUR));
        assert_eq!(disk.lock().kept, Some(Secret::new([3; 32])));
        assert!(!keeping.retry_now(HOUR));
    }

    #[test]
    fn without_a_keeper_nothing_is_tried() {
        let mut keeping = KeyKeeping::new(None);
        assert!(keeping.keep(HOUR, Secret::new([1; 32])).is_err());
        assert_eq!(keeping.due(), None);
    }
}
