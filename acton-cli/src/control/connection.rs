//! One connection: a line is read, answered, and the next one read.

use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::guests::Idle;

use super::answer;
use super::look::Sink as _;
use super::peer::Right;
use super::server::Shared;
use super::source::Counts;
use super::wire::{Answer, Refusal, RefusalCode, RequestError, RequestLine};
use super::writer::AnswerWriter;

/// Bytes of a request at most: a trace of a frame of 9,000 bytes in hexadecimal is the longest.
const MAX_REQUEST: usize = 32 << 10;
/// How long a connection may have nothing to ask, or take to say what.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers until the other end goes or gives a reason to have it go.
pub(super) fn serve(shared: &Shared, stream: UnixStream, right: Right, idle: &Idle) {
    let Ok(handed) = stream.try_clone() else { return };
    let (mut reader, mut writer) = (LineReader::new(stream), AnswerWriter::new(handed));
    let served = loop {
        let request = match reader.next() {
            Ok(Some(line)) => RequestLine::parse(line),
            Ok(None) => break Ok(()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Counts::add(&shared.counts().bad_requests);
                let message = format!("a request is a line of {MAX_REQUEST} bytes at most");
                let refusal = Refusal { code: RefusalCode::BadRequest, message };
                break writer.add(&Answer::Error(refusal)).and_then(|()| writer.flush());
            }
            Err(error) => break Err(error),
        };
        idle.end();
        let is_there = || !shared.closing.load(Ordering::Relaxed) && reader.is_open();
        let answered = answer_line(shared, request, right, &mut writer, is_there);
        if answered.is_err() {
            break answered;
        }
        idle.begin();
    };
    let slow =
        |error: &io::Error| matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock);
    if served.is_err_and(|error| slow(&error)) {
        Counts::add(&shared.counts().too_slow);
    }
    // The door has the socket too, until it looks again.
    let _ = reader.stream.shutdown(Shutdown::Both);
}

fn answer_line(
    shared: &Shared,
    request: Result<RequestLine, RequestError>,
    right: Right,
    writer: &mut AnswerWriter,
    is_there: impl Fn() -> bool,
) -> io::Result<()> {
    let last = match request {
        Ok(RequestLine { request, .. }) if request.is_privileged() && right < Right::Change => {
            let message = "to change something, and to see frames, is for root and the members of --control-group";
            let refusal = Refusal { code: RefusalCode::Forbidden, message: message.to_owned() };
            Answer::Error(refusal)
        }
        Ok(RequestLine { request, .. }) => answer::answer(shared, request, writer, is_there)?,
        Err(error) => {
            Counts::add(&shared.counts().bad_requests);
            let code = match error {
                RequestError::Schema { .. } => RefusalCode::Schema,
                RequestError::Malformed(_) => RefusalCode::BadRequest,
            };
            Answer::Error(Refusal { code, message: error.to_string() })
        }
    };
    writer.add(&last)?;
    writer.flush()
}

/// Reads lines of a bounded length.
struct LineReader {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Bytes of the line before.
    done: usize,
}

impl LineReader {
    fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new(), done: 0 }
    }

    /// The next line without its end, `None` after the last one. A line has [`PATIENCE`] to come.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] where it is too long.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let until = Instant::now() + PATIENCE;
        self.buffer.drain(..self.done);
        self.done = 0;
        let mut looked = 0;
        loop {
            if let Some(end) = self.buffer[looked..].iter().position(|&byte| byte == b'\n') {
                let end = looked + end;
                self.done = end + 1;
                return Ok(Some(&self.buffer[..end]));
            }
            looked = self.buffer.len();
            if looked > MAX_REQUEST {
                return Err(ErrorKind::InvalidData.into());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut piece = [0; 4_096];
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(more) => self.buffer.extend_from_slice(&piece[..more]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the other end is still there and may say something, also where it has said more than was
    /// read.
    fn is_open(&self) -> bool {
        let shut_down = PollFlags::from_bits_retain(libc::POLLRDHUP);
        let mut fds = [PollFd::new(self.stream.as_fd(), shut_down)];
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use super::*;

    #[test]
    fn lines_are_whole_whatever_comes_together() {
        let (mut there, here) = UnixStream::pair().unwrap();
        let mut reader = LineReader::new(here);
        there.write_all(b"one\ntwo\n\nthr").unwrap();
        assert_eq!(reader.next().unwrap(), Some(&b"one"[..]));
        assert_eq!(reader.next().unwrap(), Some(&b"two"[..]));
        assert_eq!(reader.next().unwrap(), Some(&b""[..]));
        there.write_all(b"ee\nhalf").unwrap();
        assert_eq!(reader.next().unwrap(), Some(&b"three"[..]));
        assert!(reader.is_open());
        there.write_all(b"and more").unwrap();
        drop(there);
        assert!(!reader.is_open(), "though there are bytes to read");
        assert_eq!(reader.next().unwrap(), None);
        assert!(!reader.is_open());
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let (mut there, here) = UnixStream::pair().unwrap();
        let mut reader = LineReader::new(here);
        let writer = thread::spawn(move || while there.write_all(&[b'a'; 1_000]).is_ok() {});
        assert_eq!(reader.next().unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(reader.buffer.len() <= MAX_REQUEST + 4_096);
        drop(reader);
        writer.join().unwrap();
    }
}
