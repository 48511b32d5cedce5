//! Answers on their way out: whole lines, gathered, and no waiting for those who do not read.

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use acton_engine::SessionStatus;
use serde::Serialize;
use socket2::SockRef;

use super::look::Sink;
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

    fn add_line(&mut self, answer: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, &AnswerLine { schema: SCHEMA, answer })?;
        self.buffer.push(b'\n');
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }
}

impl Sink for AnswerWriter {
    /// Adds a line, and writes if there are enough.
    fn add(&mut self, answer: &Answer) -> io::Result<()> {
        self.add_line(answer)
    }

    /// A session is written where it lies.
    fn add_session(&mut self, session: SessionStatus) -> io::Result<()> {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Line<'s> {
            Session(&'s SessionStatus),
        }
        self.add_line(&Line::Session(&session))
    }

    /// Writes what has gathered.
    fn flush(&mut self) -> io::Result<()> {
        write_within(&self.stream, &self.buffer, self.patience)?;
        self.buffer.clear();
        // A line may have been far longer than the others.
        self.buffer.shrink_to(2 * BUFFER);
        Ok(())
    }
}

/// Writes all of it to a reader that has so much time for it.
///
/// # Errors
/// Where the reader has gone or does not read: [`ErrorKind::TimedOut`].
pub(crate) fn write_within<S: AsFd>(stream: &S, bytes: &[u8], patience: Duration) -> io::Result<()>
where
    for<'a> &'a S: Write,
{
    let (until, mut stream, mut rest) = (Instant::now() + patience, stream, bytes);
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        SockRef::from(stream).set_write_timeout(Some(left))?;
        match stream.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(more) => rest = &rest[more..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
