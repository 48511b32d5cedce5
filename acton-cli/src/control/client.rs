//! The end that asks.

use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::place::{FindError, Place, find};
use super::wire::{AnswerLine, Refusal, Request, RequestLine, SCHEMA};

/// How long the other end may take to say something: it answers at once, whatever it is busy with.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// There is nobody to ask.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The other end does not want to, and says why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is of another schema.
    #[error(
        "that acton speaks schema {0}, this one {SCHEMA}: start it again, or ask with its own version"
    )]
    Schema(u32),
    /// It went away in the middle of an answer.
    #[error("the answer ends early: acton has ended, or had no more patience")]
    Early,
    /// It says what cannot be read.
    #[error("an answer that cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// The socket fails.
    #[error("control socket")]
    Socket(#[from] io::Error),
}

/// A connection to an instance.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<UnixStream>,
    path: PathBuf,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`AskError::Find`].
    pub fn open(place: &Place) -> Result<Self, AskError> {
        let (path, stream) = find(place)?;
        Ok(Self { reader: BufReader::with_capacity(64 << 10, stream), path })
    }

    /// The instance's socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What can end an answer that has no end of its own.
    ///
    /// # Errors
    /// Where there is no descriptor left.
    pub fn stopper(&self) -> io::Result<Stopper> {
        Ok(Stopper(self.reader.get_ref().try_clone()?))
    }

    /// Asks; the answers are to be read to their end.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn ask(&mut self, request: Request) -> Result<Answers<'_>, AskError> {
        let waits = matches!(
            request,
            Request::Events { follow: true, .. }
                | Request::Capture { .. }
                | Request::TraceLive { .. }
                | Request::VerifyIsolation { .. }
        );
        let stream = self.reader.get_mut();
        stream.set_read_timeout((!waits).then_some(PATIENCE))?;
        let mut line = serde_json::to_vec(&RequestLine::new(request))?;
        line.push(b'\n');
        // One that refuses the connection says so and does not read.
        let _ = stream.write_all(&line);
        let session_prefix = format!("{{\"schema\":{SCHEMA},\"answer\":{{\"session\":");
        let (line, is_ahead) = (String::new(), false);
        Ok(Answers { reader: &mut self.reader, line, is_ahead, session_prefix })
    }
}

/// Says, from another thread too, that no more is wanted of an answer that has no end of its own.
#[derive(Debug)]
pub struct Stopper(UnixStream);

impl Stopper {
    /// Says so: the last line of the answer comes then, and nothing can be asked any more.
    pub fn stop(&self) {
        // Where the other end has gone, there is nothing left to be said.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

/// A line of an answer, its content as it came: for those who pass it on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "each is that of `Answer`")]
pub enum RawAnswer {
    Instance(Box<RawValue>),
    Session(Box<RawValue>),
    Event(Box<RawValue>),
    Mac(Box<RawValue>),
    Group(Box<RawValue>),
    Drop(Box<RawValue>),
    Trace(Box<RawValue>),
    Live(Box<RawValue>),
    Isolation(Box<RawValue>),
    Key(Box<RawValue>),
    Capturing(Box<RawValue>),
    Packet(Box<RawValue>),
    End(Box<RawValue>),
    Error(Refusal),
}

/// The lines of an answer.
#[derive(Debug)]
pub struct Answers<'c> {
    reader: &'c mut BufReader<UnixStream>,
    line: String,
    /// The line was looked at and is still to be read.
    is_ahead: bool,
    /// How a line of a session begins.
    session_prefix: String,
}

impl Answers<'_> {
    /// What the next line is of a session, as it came, where it is one and written as this version
    /// writes it: of thousands that are passed on, none has to be understood. `None` for another
    /// line, which [`read`](Self::read) then gives.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn session(&mut self) -> Result<Option<&str>, AskError> {
        if !self.is_ahead {
            self.fill()?;
            self.is_ahead = true;
        }
        let session = self.line.trim_end().strip_prefix(&*self.session_prefix);
        let session = session.and_then(|line| line.strip_suffix("}}"));
        if session.is_some() {
            self.is_ahead = false;
        }
        Ok(session)
    }

    /// The next line as an [`Answer`](super::Answer) or a [`RawAnswer`]. It may be the last one, and a
    /// refusal.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn read<A: DeserializeOwned>(&mut self) -> Result<A, AskError> {
        #[derive(Deserialize)]
        struct AnySchema {
            schema: u32,
        }
        if !self.is_ahead {
            self.fill()?;
        }
        self.is_ahead = false;
        let line = self.line.trim_end();
        match serde_json::from_str::<AnswerLine<A>>(line) {
            Ok(AnswerLine { schema: SCHEMA, answer }) => Ok(answer),
            Ok(AnswerLine { schema, .. }) => Err(AskError::Schema(schema)),
            Err(error) => match serde_json::from_str(line) {
                Ok(AnySchema { schema }) if schema != SCHEMA => Err(AskError::Schema(schema)),
                _ => Err(error.into()),
            },
        }
    }

    /// Whether more lines, or the beginning of one, are here already.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.is_ahead || !self.reader.buffer().is_empty()
    }

    fn fill(&mut self) -> Result<(), AskError> {
        self.line.clear();
        match self.reader.read_line(&mut self.line) {
            Ok(_) if self.line.ends_with('\n') => Ok(()),
            Ok(_) => Err(AskError::Early),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(AskError::Early),
            Err(error) => Err(error.into()),
        }
    }
}
