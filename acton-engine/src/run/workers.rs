//! The worker threads of one tunnel.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;

use acton_tap::Stop;

use crate::Error;
use crate::run::control::Message;
use crate::run::scheduling::pin_to_processor;
use crate::run::side::Side;
use crate::run::threads::{self, ThreadKind};
use crate::run::worker::Worker;

/// Threads that end with this.
pub(crate) struct Workers {
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn new(stop: Stop) -> Self {
        Self { stop, threads: Vec::new() }
    }

    /// Starts a worker; should it fail, the control thread hears of it.
    pub(crate) fn spawn<S: Side + Send + 'static, N: Send + 'static>(
        &mut self,
        worker: Worker<S>,
        control: SyncSender<Message<N>>,
    ) -> Result<(), Error> {
        let number = self.threads.len();
        let name = format!("acton-worker-{number}");
        let run = move || {
            if worker.scheduling.pin
                && let Err(error) = pin_to_processor(number)
            {
                log::warn!("worker {number} is not pinned to a processor: {error}");
            }
            // A tunnel that goes on without one of its workers would be a lie.
            let ended = panic::catch_unwind(AssertUnwindSafe(|| worker.run()));
            if let Err(error) = ended.unwrap_or(Err(Error::WorkerPanicked)) {
                // A control thread that is gone needs no news.
                let _ = control.send(Message::Failed(error));
            }
        };
        let thread = threads::spawn(&name, ThreadKind::Worker, run)
            .map_err(Error::system("start a worker thread"))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.stop();
        for thread in self.threads.drain(..) {
            // What it failed with, it has told.
            let _ = thread.join();
        }
    }
}
