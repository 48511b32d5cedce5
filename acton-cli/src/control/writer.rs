//! Answers on their way out: whole lines, gathered, and no waiting for those who do not read.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use acton_engine::SessionStatus;
use serde::Serialize;

use super::wire::{Answer, AnswerLine, SCHEMA};

/// Bytes that are gathered before they are written: what a reader's socket takes at once.
const BUFFER: usize = 64 << 10;
/// How long a reader may take for so many bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes answers to one reader.
#[derive(Debug)]
pub(super) struct AnswerWriter {
    stream: UnixStream,
    buffer: Vec<u8>,
    patience: Duration,
}

impl AnswerWriter {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), patience: PATIENCE }
    }

    /// Gives the reader so much time from now on for what is gathered.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Gives the reader the usual time.
    pub(super) fn reset_patience(&mut self) {
        self.patience = PATIENCE;
    }

    /// Adds a line, and writes if there are enough.
    ///
    /// # Errors
    /// Where the reader has gone or does not read: [`ErrorKind::TimedOut`].
    pub(super) fn add(&mut self, answer: &Answer) -> io::Result<()> {
        self.add_line(answer)
    }

    /// The same of a session, of which there may be thousands, where it lies.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(super) fn add_session(&mut self, session: &SessionStatus) -> io::Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Line<'s> {
            Session(&'s SessionStatus),
        }
        self.add_line(&Line::Session(session))
    }

    fn add_line(&mut self, answer: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, &AnswerLine { schema: SCHEMA, answer })?;
        self.buffer.push(b'\n');
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// Writes what has gathered.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (until, mut written) = (Instant::now() + self.patience, 0);
        while written < self.buffer.len() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(&self.buffer[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        self.buffer.clear();
        // A line may have been far longer than the others.
        self.buffer.shrink_to(2 * BUFFER);
        Ok(())
    }
}
