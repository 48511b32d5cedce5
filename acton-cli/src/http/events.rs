//! Events as a browser's EventSource reads them (WHATWG HTML, section 9.2).

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::control::{Answer, EventRecord, SCHEMA, Sink};

use super::response::{Body, Response};

/// How long nothing may be said: what is between here and the reader may forget the connection then.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// What a command's `--json` prints too.
#[derive(Serialize)]
struct Record<'a> {
    schema: u32,
    #[serde(flatten)]
    event: &'a EventRecord,
}

/// A stream of events.
#[derive(Debug)]
pub(super) struct EventStream<'a> {
    body: Body<'a>,
    said: Instant,
}

impl<'a> EventStream<'a> {
    pub(super) fn new(response: Response<'a>) -> Self {
        let body = response.begin("text/event-stream", true);
        Self { body, said: Instant::now() }
    }

    /// # Errors
    /// Where the reader has gone or does not read.
    pub(super) fn end(self) -> io::Result<()> {
        self.body.end()
    }
}

impl Sink for EventStream<'_> {
    fn add(&mut self, answer: &Answer) -> io::Result<()> {
        let Answer::Event(event) = answer else { return Ok(()) };
        self.body.add(format!("id: {}\ndata: ", event.number).as_bytes())?;
        self.body.add_json(&Record { schema: SCHEMA, event })?;
        self.body.add(b"\n\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.body.is_flushed() {
            if now.duration_since(self.said) < SIGN_OF_LIFE {
                return Ok(());
            }
            self.body.add(b":\n\n")?;
        }
        self.said = now;
        self.body.flush()
    }
}
