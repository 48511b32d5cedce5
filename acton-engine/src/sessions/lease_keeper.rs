//! Keeps what addresses clients were given in a file, for the server that starts again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::lease_store::{KeptLease, LeaseStore};
use crate::run::threads::{self, ThreadKind};

/// Least time between two times that the file is written, and how many times as long as one took: the disk
/// of a server of many hosts has other things to do.
const REST: Duration = Duration::from_secs(1);
const REST_FACTOR: u32 = 20;

/// Writes leases where they have changed, on a thread of its own, since a disk may take long.
#[derive(Debug)]
pub(crate) struct LeaseKeeper {
    writer: SyncSender<Vec<KeptLease>>,
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    /// How many changes there had been when leases were last given to the thread.
    changes: u64,
}

/// What the thread says.
#[derive(Debug, Default)]
struct Shared {
    /// It waits for leases.
    is_idle: AtomicBool,
    /// What it was given last did not get to the disk.
    has_failed: AtomicBool,
}

impl LeaseKeeper {
    /// Keeps what changes after so many `changes`.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub(crate) fn start(store: Box<dyn LeaseStore>, changes: u64) -> io::Result<Self> {
        let (writer, leases) = sync_channel(1);
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let body = move || write_all(&*store, &leases, &of_thread);
        let thread = threads::spawn("acton-leases", ThreadKind::Other, body)?;
        Ok(Self { writer, thread, shared, changes })
    }

    /// Has leases written where there were changes, unless the thread is busy: to be called again.
    pub(crate) fn keep(&mut self, changes: u64, leases: impl FnOnce() -> Vec<KeptLease>) {
        let is_due = changes != self.changes || self.shared.has_failed.load(Ordering::Relaxed);
        if is_due && self.shared.is_idle.swap(false, Ordering::Relaxed) {
            self.changes = changes;
            // The thread waits, so there is room.
            let _ = self.writer.try_send(leases());
        }
    }

    /// Has the last changes written, and waits for that.
    pub(crate) fn finish(self, changes: u64, leases: impl FnOnce() -> Vec<KeptLease>) {
        if changes != self.changes {
            let _ = self.writer.send(leases());
        }
        drop(self.writer);
        let _ = self.thread.join();
    }
}

fn write_all(store: &dyn LeaseStore, leases: &Receiver<Vec<KeptLease>>, shared: &Shared) {
    let (mut next, mut is_told) = (None, false);
    loop {
        let all = next.take().or_else(|| {
            shared.is_idle.store(true, Ordering::Relaxed);
            leases.recv().ok()
        });
        let Some(all) = all else { return };
        let start = Instant::now();
        let written = store.write(&all);
        shared.has_failed.store(written.is_err(), Ordering::Relaxed);
        if let Err(error) = &written
            && !is_told
        {
            log::warn!(
                "what addresses clients were given is not kept: {error}; a server that starts again \
                 will not know them"
            );
        }
        is_told = written.is_err();
        // What comes meanwhile are the last ones.
        match leases.recv_timeout(REST.max(start.elapsed() * REST_FACTOR)) {
            Ok(last) => next = Some(last),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::IpAddr;
    use std::thread;

    use acton_bridge::LearntFrom;
    use parking_lot::Mutex;

    use super::*;

    /// What was written, in order. The first time it fails.
    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl LeaseStore for Written {
        fn read(&self) -> Result<Vec<KeptLease>, Box<dyn Error + Send + Sync>> {
            unreachable!("by who starts a server alone")
        }

        fn write(&self, leases: &[KeptLease]) -> Result<(), Box<dyn Error + Send + Sync>> {
            let mut written = self.0.lock();
            written.push(leases[0].client[0]);
            if written.len() == 1 { Err("the disk is full".into()) } else { Ok(()) }
        }
    }

    fn leases(number: u8) -> Vec<KeptLease> {
        let net = IpAddr::from([10, 0, 0, number]).into();
        let (client, from) = ([number; 32], LearntFrom::Dhcp);
        vec![KeptLease { client, vlan: 0, net, from, until: 7, left: 7 }]
    }

    #[test]
    fn what_failed_is_tried_again_and_what_changed_last_is_kept_in_the_end() {
        let store = Written::default();
        let mut keeper = LeaseKeeper::start(Box::new(store.clone()), 0).unwrap();
        keeper.keep(0, || panic!("nothing changed"));
        // Each time that it is asked: the thread may be busy.
        while store.0.lock().len() < 2 {
            keeper.keep(1, || leases(1));
            thread::yield_now();
        }
        keeper.finish(2, || leases(2));
        let written = store.0.lock();
        assert!(written.starts_with(&[1, 1]) && written.last() == Some(&2), "{written:?}");
    }
}
