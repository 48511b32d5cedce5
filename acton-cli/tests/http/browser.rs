//! Asking by HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use acton_netns::Namespace;
use serde_json::Value;

use super::support::{HANG, wait_until};

/// Where tests have ends listen.
pub(crate) const PORT: u16 = 9273;
pub(crate) const HTTP: &str = "127.0.0.1:9273";

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// A connection, once somebody listens.
pub(crate) fn connect(host: &Namespace) -> TcpStream {
    let mut stream = None;
    wait_until("somebody listens", || {
        stream = host.run(|| TcpStream::connect(HTTP)).ok();
        stream.is_some()
    });
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}

/// Sends these bytes, and reads what comes until the other end closes.
pub(crate) fn send(host: &Namespace, request: &[u8]) -> Answer {
    let mut stream = connect(host);
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    read(&bytes)
}

/// An answer that is there whole.
fn read(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body =
        if head.contains("Transfer-Encoding: chunked") { whole(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

/// A body out of its chunks, which must end.
fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            assert_eq!(rest, "\r\n");
            return body;
        }
        body.push_str(&rest[..length]);
        chunks = rest[length..].strip_prefix("\r\n").unwrap();
    }
}

/// Asks for a path, with these lines in the head too.
pub(crate) fn get_with(host: &Namespace, path: &str, lines: &str) -> Answer {
    send(host, format!("GET {path} HTTP/1.1\r\nHost: {HTTP}\r\n{lines}\r\n").as_bytes())
}

/// Asks for a path.
pub(crate) fn get(host: &Namespace, path: &str) -> Answer {
    get_with(host, path, "")
}
