//! The head of a request, read within bounds.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Error as ParseError, Status};

use super::response::Refused;

/// Bytes of a head at most: what browsers send has some 1,000.
const MAX_HEAD: usize = 16 << 10;
/// Headers at most; browsers send some 20.
const MAX_HEADERS: usize = 64;
/// How long a head may take to come, however it comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// HEAD: without the body.
    pub(super) is_head: bool,
    /// HTTP/1.1, which knows bodies in chunks.
    pub(super) is_1_1: bool,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) host: Option<String>,
    pub(super) authorization: Option<Vec<u8>>,
    /// Who asks prefers OpenMetrics.
    pub(super) accepts_open_metrics: bool,
    pub(super) last_event_id: Option<u64>,
    /// A browser says that a page of another site has it ask.
    pub(super) is_cross_site: bool,
}

impl Request {
    /// The value of a parameter; one that is empty is none.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// What came in place of a request.
#[derive(Debug)]
pub(super) enum Unread {
    /// Something that is answered.
    Refused(Refused),
    /// Nothing, or nothing more.
    Gone,
    /// Too little in too long a time.
    Slow,
}

/// Reads one.
pub(super) fn read(stream: &TcpStream) -> Result<Request, Unread> {
    let (until, mut head) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unread::Slow);
        }
        let mut piece = [0; 4_096];
        let read = stream.set_read_timeout(Some(left)).and_then(|()| (&*stream).read(&mut piece));
        match read {
            Ok(0) => return Err(Unread::Gone),
            Ok(more) => head.extend_from_slice(&piece[..more]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_timeout(&error) => return Err(Unread::Slow),
            Err(_) => return Err(Unread::Gone),
        }
        if let Some(request) = parse(&head).map_err(Unread::Refused)? {
            return Ok(request);
        }
        if head.len() > MAX_HEAD {
            let message = format!("a head of a request has {MAX_HEAD} bytes at most");
            return Err(Unread::Refused(Refused::new(431, "bad_request", message)));
        }
    }
}

pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// `None` where there is more to come.
fn parse(bytes: &[u8]) -> Result<Option<Request>, Refused> {
    let bad = |message: &str| Refused::new(400, "bad_request", message);
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Ok(None),
        Err(ParseError::TooManyHeaders) => {
            let message = format!("a request has {MAX_HEADERS} headers at most");
            return Err(Refused::new(431, "bad_request", message));
        }
        Err(error) => return Err(bad(&format!("no request of HTTP/1.1: {error}"))),
    }
    let is_head = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refused::new(405, "method", "only GET and HEAD: nothing is changed here")),
    };
    let mut request = Request { is_head, is_1_1: head.version == Some(1), ..Request::default() };
    let (path, query) = split(head.path.unwrap_or_default());
    request.path = path.to_owned();
    request.query = parameters(query).ok_or_else(|| bad("a query that cannot be read"))?;
    for header in &*head.headers {
        let text = || str::from_utf8(header.value).map_err(|_| bad("a header that is no text"));
        match header.name {
            name if name.eq_ignore_ascii_case("host") && request.host.is_some() => {
                return Err(bad("two hosts"));
            }
            name if name.eq_ignore_ascii_case("host") => request.host = Some(text()?.to_owned()),
            name if name.eq_ignore_ascii_case("authorization") => {
                request.authorization = Some(header.value.to_vec());
            }
            name if name.eq_ignore_ascii_case("accept") => {
                request.accepts_open_metrics |= text()?.contains("application/openmetrics-text");
            }
            name if name.eq_ignore_ascii_case("last-event-id") => {
                let number =
                    text()?.parse().map_err(|_| bad("Last-Event-ID: a number of an event"))?;
                request.last_event_id = Some(number);
            }
            name if name.eq_ignore_ascii_case("sec-fetch-site") => {
                request.is_cross_site = !matches!(text()?, "same-origin" | "none");
            }
            name if name.eq_ignore_ascii_case("transfer-encoding") => {
                return Err(bad("a request here has no body"));
            }
            name if name.eq_ignore_ascii_case("content-length") && header.value != b"0" => {
                return Err(bad("a request here has no body"));
            }
            _ => {}
        }
    }
    if request.host.is_none() && request.is_1_1 {
        return Err(bad("no Host"));
    }
    Ok(Some(request))
}

fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// The parameters of a query; `None` where one is no text.
fn parameters(query: &str) -> Option<Vec<(String, String)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Without percent signs and plus signs.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut decoded) = (text.bytes(), Vec::with_capacity(text.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        parse(head.as_bytes()).unwrap_err().status
    }

    #[test]
    fn a_request_is_read() {
        let head = "GET /trace?from=b%C3%A4r+1&frame=00ff&x HTTP/1.1\r\nhOST: localhost\r\n\
                    Last-Event-ID: 7\r\nAuthorization: Bearer x\r\n\
                    Accept: application/openmetrics-text;version=1.0.0,text/plain\r\n\
                    Sec-Fetch-Site: same-origin\r\n\r\n";
        for end in 0..head.len() {
            assert!(parse(&head.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
        let request = parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!((&*request.path, request.host.as_deref()), ("/trace", Some("localhost")));
        assert_eq!(request.parameter("from"), Some("bär 1"));
        assert_eq!(request.parameter("frame"), Some("00ff"));
        assert_eq!((request.parameter("x"), request.parameter("y")), (None, None));
        assert_eq!((request.last_event_id, request.is_cross_site), (Some(7), false));
        assert!(request.accepts_open_metrics && request.is_1_1 && !request.is_head);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(status("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
        assert_eq!(status("GET /?%ff HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET /?%0 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nLast-Event-ID: x\r\n\r\n"), 400);
        assert_eq!(status("\u{0}"), 400);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(status(&many), 431);
    }
}
