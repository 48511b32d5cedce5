//! A thread that goes on until its owner ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use super::Result;

/// Tells a thread whether it is to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_said(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A thread that is told to stop when this value ends, and waited for.
#[derive(Debug)]
pub(crate) struct Background {
    name: &'static str,
    stop: Stop,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Background {
    /// Starts one in the calling thread's namespaces.
    pub(crate) fn start(
        name: &'static str,
        run: impl FnOnce(Stop) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let stop = Stop::default();
        let of_thread = stop.clone();
        let thread = Builder::new().name(name.to_owned()).spawn(move || run(of_thread))?;
        Ok(Self { name, stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => eprintln!("{}: {error}", self.name),
            Some(Err(_)) => eprintln!("{}: the thread panicked", self.name),
            _ => {}
        }
    }
}
