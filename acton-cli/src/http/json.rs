//! Answers as one object of JSON, as the commands' `--json` has it.

use std::io;

use serde::Serialize;

use crate::control::{Answer, Refusal, SCHEMA, Sink};

use super::response::{Body, JSON, Refused, Response};

/// What of an answer goes into a list, and what stands for itself.
#[derive(Debug)]
pub(super) struct JsonObject<'a> {
    body: Body<'a>,
    /// The name of the list.
    list: &'static str,
    items: usize,
    has_begun: bool,
}

impl<'a> JsonObject<'a> {
    pub(super) fn new(response: Response<'a>, list: &'static str) -> Self {
        let body = response.begin(JSON, false);
        Self { body, list, items: 0, has_begun: false }
    }

    /// `schema`, the fields of `head`, and the beginning of the list.
    fn begin(&mut self, head: &str) -> io::Result<()> {
        self.has_begun = true;
        self.body.add(format!("{{\"schema\":{SCHEMA}").as_bytes())?;
        self.fields(head)?;
        self.body.add(format!(",\"{}\":[", self.list).as_bytes())
    }

    /// The fields of an object, after others.
    fn fields(&mut self, object: &str) -> io::Result<()> {
        let fields = object.strip_prefix('{').and_then(|fields| fields.strip_suffix('}'));
        match fields {
            None | Some("") => Ok(()),
            Some(fields) => {
                self.body.add(b",")?;
                self.body.add(fields.as_bytes())
            }
        }
    }

    fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        if !self.has_begun {
            self.begin("{}")?;
        }
        if self.items > 0 {
            self.body.add(b",")?;
        }
        self.items += 1;
        self.body.add_json(item)
    }

    /// Takes the last part of an answer.
    ///
    /// # Errors
    /// Where the reader has gone or does not read.
    pub(super) fn end(mut self, last: Answer) -> io::Result<()> {
        match last {
            Answer::Error(refusal) => self.refuse(refusal),
            Answer::End(end) => {
                if !self.has_begun {
                    self.begin("{}")?;
                }
                self.body.add(b"]")?;
                let end = serde_json::to_string(&end)?;
                self.fields(&end)?;
                self.body.add(b"}\n")?;
                self.body.end()
            }
            _ => Ok(()),
        }
    }

    fn refuse(self, refusal: Refusal) -> io::Result<()> {
        self.body.refuse(&Refused::from(refusal))
    }
}

impl Sink for JsonObject<'_> {
    fn add(&mut self, answer: &Answer) -> io::Result<()> {
        match answer {
            Answer::Instance(instance) => self.begin(&serde_json::to_string(instance)?),
            Answer::Session(session) => self.item(session),
            Answer::Mac(mac) => self.item(mac),
            Answer::Drop(drop) => self.item(drop),
            Answer::Trace(trace) => self.item(trace),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.body.flush()
    }
}
