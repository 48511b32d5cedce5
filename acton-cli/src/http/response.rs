//! Answers on their way out: a head, and a body whole or in chunks, without waiting for those who do
//! not read.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::control::{Refusal, RefusalCode, SCHEMA, write_within};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 64 << 10;
/// How long a reader may take for so many bytes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take for all of an answer that has an end.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) const JSON: &str = "application/json";
/// What all but the page says to browsers: nothing in it is to be run.
const NO_CONTENT: &str = "default-src 'none'; frame-ancestors 'none'";

/// Why a request gets no other answer.
#[derive(Debug)]
pub(super) struct Refused {
    /// HTTP's.
    pub(super) status: u16,
    code: Cow<'static, str>,
    message: String,
}

impl Refused {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }
}

impl From<Refusal> for Refused {
    /// What the tunnel says no to.
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::BadRequest | RefusalCode::Schema => 400,
            RefusalCode::Forbidden => 403,
            RefusalCode::NoSession | RefusalCode::NotServer => 404,
            RefusalCode::Busy => 503,
            RefusalCode::Config | RefusalCode::Failed => 500,
        };
        let code = serde_json::to_value(refusal.code).ok();
        let code = code.and_then(|code| code.as_str().map(str::to_owned)).unwrap_or_default();
        Self { status, code: code.into(), message: refusal.message }
    }
}

/// One answer.
#[derive(Debug)]
pub(super) struct Response<'a> {
    stream: &'a TcpStream,
    /// HEAD was asked for: the head alone is sent.
    is_head: bool,
    /// Who asks knows of chunks.
    is_1_1: bool,
    policy: Cow<'a, str>,
}

impl<'a> Response<'a> {
    /// To a request, or to none that could be read.
    pub(super) fn new(stream: &'a TcpStream, is_head: bool, is_1_1: bool) -> Self {
        Self { stream, is_head, is_1_1, policy: NO_CONTENT.into() }
    }

    /// With another policy of what browsers may do with it.
    pub(super) fn policy(mut self, policy: &'a str) -> Self {
        self.policy = policy.into();
        self
    }

    /// Sends all of it.
    ///
    /// # Errors
    /// Where the reader has gone or does not read: [`ErrorKind::TimedOut`].
    pub(super) fn whole(self, status: u16, kind: &str, body: &[u8]) -> io::Result<()> {
        let length = format!("Content-Length: {}\r\n", body.len());
        let mut answer = self.head(status, kind, &length);
        if !self.is_head {
            answer.extend_from_slice(body);
        }
        let until = Instant::now() + LONGEST;
        answer.chunks(BUFFER).try_for_each(|piece| write_piece(self.stream, piece, Some(until)))
    }

    /// Says why not.
    ///
    /// # Errors
    /// As [`whole`](Self::whole).
    pub(super) fn refused(self, refused: &Refused) -> io::Result<()> {
        let error = json!({ "code": refused.code, "message": refused.message });
        let body = format!("{}\n", json!({ "schema": SCHEMA, "error": error }));
        self.whole(refused.status, JSON, body.as_bytes())
    }

    /// A body that comes bit by bit; nothing is sent before there is much of it, or it is
    /// [flushed](Body::flush). One `without_end` may take any time.
    pub(super) fn begin(self, kind: &str, without_end: bool) -> Body<'a> {
        let how = if self.is_1_1 { "Transfer-Encoding: chunked\r\n" } else { "" };
        let head = Some(self.head(200, kind, how));
        let until = (!without_end).then(|| Instant::now() + LONGEST);
        Body { response: self, head, buffer: Vec::new(), until }
    }

    fn head(&self, status: u16, kind: &str, more: &str) -> Vec<u8> {
        let also = match status {
            401 => "WWW-Authenticate: Bearer\r\n",
            405 => "Allow: GET, HEAD\r\n",
            503 => "Retry-After: 5\r\n",
            _ => "",
        };
        let date = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
        let (reason, policy) = (reason(status), &self.policy);
        format!(
            "HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             {more}{also}Cache-Control: no-store\r\nContent-Security-Policy: {policy}\r\n\
             X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\nReferrer-Policy: no-referrer\r\n\r\n"
        )
        .into_bytes()
    }
}

/// The words for a status (RFC 9110, section 15).
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

/// The body of an answer on its way. One that is not [ended](Self::end) shows as cut short.
#[derive(Debug)]
pub(super) struct Body<'a> {
    response: Response<'a>,
    /// Until it is sent.
    head: Option<Vec<u8>>,
    buffer: Vec<u8>,
    until: Option<Instant>,
}

impl<'a> Body<'a> {
    /// Adds some, and writes if there is enough.
    ///
    /// # Errors
    /// As [`Response::whole`].
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }

    /// Adds a value as JSON.
    ///
    /// # Errors
    /// As [`Response::whole`].
    pub(super) fn add_json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, value)?;
        self.add(b"")
    }

    /// Whether nothing is waiting to be written.
    pub(super) fn is_flushed(&self) -> bool {
        self.head.is_none() && self.buffer.is_empty()
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// As [`Response::whole`].
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut piece = self.head.take().unwrap_or_default();
        if self.response.is_head {
            self.buffer.clear();
        } else if self.response.is_1_1 && !self.buffer.is_empty() {
            write!(piece, "{:x}\r\n", self.buffer.len())?;
            piece.append(&mut self.buffer);
            piece.extend_from_slice(b"\r\n");
        } else {
            piece.append(&mut self.buffer);
        }
        write_piece(self.response.stream, &piece, self.until)
    }

    /// Writes the rest and says that it was all.
    ///
    /// # Errors
    /// As [`Response::whole`].
    pub(super) fn end(mut self) -> io::Result<()> {
        self.flush()?;
        if self.response.is_1_1 && !self.response.is_head {
            write_piece(self.response.stream, b"0\r\n\r\n", self.until)?;
        }
        Ok(())
    }

    /// Says why not, where nothing has been sent; otherwise it is cut short.
    ///
    /// # Errors
    /// As [`Response::whole`].
    pub(super) fn refuse(self, refused: &Refused) -> io::Result<()> {
        if self.head.is_some() { self.response.refused(refused) } else { Ok(()) }
    }
}

fn write_piece(stream: &TcpStream, piece: &[u8], until: Option<Instant>) -> io::Result<()> {
    if until.is_some_and(|until| until <= Instant::now()) {
        return Err(ErrorKind::TimedOut.into());
    }
    write_within(stream, piece, PATIENCE)
}
