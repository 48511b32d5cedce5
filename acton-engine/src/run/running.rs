//! A tunnel that runs.

use std::ops::Deref;
use std::panic;
use std::thread::JoinHandle;

use crate::Error;
use crate::observe::counters::Totals;
use crate::run::handle::Handle;

/// A tunnel that runs. Dropping it ends the tunnel. What can be asked of it, its [`Handle`] has.
#[derive(Debug)]
pub struct Running {
    control: Option<JoinHandle<Result<(), Error>>>,
    handle: Handle,
}

impl Running {
    pub(crate) fn new(control: JoinHandle<Result<(), Error>>, handle: Handle) -> Self {
        Self { control: Some(control), handle }
    }

    /// A handle for other threads, also while [`wait`](Self::wait) waits.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the tunnel has ended, because it was told to or in error.
    ///
    /// # Errors
    /// Why it could not go on.
    pub fn wait(mut self) -> Result<Totals, Error> {
        self.join()?;
        Ok(self.totals())
    }

    fn join(&mut self) -> Result<(), Error> {
        let Some(control) = self.control.take() else { return Ok(()) };
        control.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

impl Deref for Running {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.control.is_some() {
            self.handle.stop();
            if let Err(error) = self.join() {
                log::error!("{error}");
            }
        }
    }
}
