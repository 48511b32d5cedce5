//! Standard output of the commands that ask: lines, and JSON put together from what came.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use crate::cli::{FAILURE, Failure};
use crate::control::SCHEMA;

/// Standard output. Nobody to read it is no failure, and ends the command.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Self {
        Self { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()) }
    }

    /// Writes a line.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        check(writeln!(self.out, "{text}"))
    }

    /// Writes a piece of a line.
    pub(super) fn piece(&mut self, text: &str) -> Result<(), Failure> {
        check(self.out.write_all(text.as_bytes()))
    }

    /// Writes a line of JSON: an object of the schema, all fields of `objects`, and the `lists`.
    pub(super) fn object(
        &mut self,
        objects: &[&str],
        lists: &[(&str, &[Box<serde_json::value::RawValue>])],
    ) -> Result<(), Failure> {
        self.begin_object(objects)?;
        for (name, items) in lists {
            self.begin_list(name)?;
            for (index, item) in items.iter().enumerate() {
                self.item(index, item.get())?;
            }
            self.piece("]")?;
        }
        self.line("}")
    }

    /// Begins a line of JSON.
    pub(super) fn begin_object(&mut self, objects: &[&str]) -> Result<(), Failure> {
        self.piece(&format!("{{\"schema\":{SCHEMA}"))?;
        objects.iter().try_for_each(|object| self.fields(object))
    }

    /// Adds the fields of an object to the one that was begun.
    pub(super) fn fields(&mut self, object: &str) -> Result<(), Failure> {
        let fields = object.strip_prefix('{').and_then(|object| object.strip_suffix('}'));
        match fields.unwrap_or_default() {
            "" => Ok(()),
            fields => self.piece(",").and_then(|()| self.piece(fields)),
        }
    }

    /// Begins a list in it; `]` ends it.
    pub(super) fn begin_list(&mut self, name: &str) -> Result<(), Failure> {
        self.piece(&format!(",\"{name}\":["))
    }

    /// Adds an item to the list.
    pub(super) fn item(&mut self, index: usize, item: &str) -> Result<(), Failure> {
        if index > 0 {
            self.piece(",")?;
        }
        self.piece(item)
    }

    /// Shows what was written so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        check(self.out.flush())
    }

    /// Writes what is left.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        self.flush()
    }
}

fn check(written: io::Result<()>) -> Result<(), Failure> {
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure { code: 0, message: String::new() },
        _ => {
            let message = format!("cannot write to standard output: {error}");
            Failure { code: FAILURE, message }
        }
    })
}
