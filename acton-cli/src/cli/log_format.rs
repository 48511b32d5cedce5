//! The forms of the log: text for people, JSON, or fields for the system's journal.

use std::io::{self, Write};

use clap::{Arg, ArgMatches, ValueEnum, value_parser};
use env_logger::fmt::Formatter;
use jiff::Timestamp;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource, VisitValue};
use serde_json::{Map, Value as Json};

/// The option that names the form.
pub(super) const LOG_FORMAT: &str = "log-format";

/// The form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines for people, on standard error
    #[default]
    Text,
    /// An object a line, on standard error
    Json,
    /// Fields for the journal of systemd
    Journald,
}

/// The option of commands that run for long.
pub(super) fn option() -> Arg {
    Arg::new(LOG_FORMAT)
        .long(LOG_FORMAT)
        .value_name("FORMAT")
        .env("ACTON_LOG_FORMAT")
        .default_value("text")
        .value_parser(value_parser!(LogFormat))
        .help("How it is logged: lines of text, an object of JSON a line, or fields for journald")
        .hide_possible_values(true)
}

/// What the option says, where the command has it.
pub(super) fn of(matches: Option<&ArgMatches>) -> LogFormat {
    let format =
        matches.and_then(|matches| matches.try_get_one::<LogFormat>(LOG_FORMAT).ok().flatten());
    format.copied().unwrap_or_default()
}

/// Writes a record as a line of JSON: `time`, `level`, `target`, `message`, and of an event `event`
/// and its fields.
pub(super) fn write_json(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &json(record, Timestamp::now()))?;
    out.write_all(b"\n")
}

fn json(record: &Record<'_>, time: Timestamp) -> Json {
    let mut fields = Fields(Map::new());
    // It fails only where the visitor does.
    let _ = record.key_values().visit(&mut fields);
    let Fields(mut line) = fields;
    line.insert("time".to_owned(), format!("{time:.3}").into());
    line.insert("level".to_owned(), record.level().as_str().to_ascii_lowercase().into());
    line.insert("target".to_owned(), record.target().into());
    line.insert("message".to_owned(), record.args().to_string().into());
    line.into()
}

/// The fields of a record.
struct Fields(Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let mut json = OneValue(Json::Null);
        value.visit(&mut json)?;
        self.0.insert(key.to_string(), json.0);
        Ok(())
    }
}

/// The value of a field.
struct OneValue(Json);

impl<'v> VisitValue<'v> for &mut OneValue {
    /// What has parts is displayed as JSON.
    fn visit_any(&mut self, value: Value<'_>) -> Result<(), Error> {
        let text = value.to_string();
        self.0 = serde_json::from_str(&text).unwrap_or(Json::String(text));
        Ok(())
    }

    fn visit_str(&mut self, value: &str) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[(&str, Value<'_>)]) -> String {
        let record = Record::builder()
            .level(log::Level::Warn)
            .target("acton_engine::run")
            .args(format_args!("a \"quoted\"\nline"))
            .key_values(&fields)
            .build();
        json(&record, Timestamp::from_millisecond(1_795_875_652_900).unwrap()).to_string()
    }

    #[test]
    fn a_record_is_a_line_of_json() {
        let fixed = r#""level":"warn","message":"a \"quoted\"\nline","#;
        let target = r#""target":"acton_engine::run","time":"2026-11-28T14:20:52.900Z""#;
        assert_eq!(line(&[]), format!("{{{fixed}{target}}}"));
        let place = serde_json::json!({ "session": { "client": "berlin" } });
        let fields = [
            ("event", Value::from("mac_held")),
            ("vlan", Value::from(7)),
            ("mac", Value::from("12")),
            ("by", Value::from_display(&place)),
        ];
        let line: Json = serde_json::from_str(&line(&fields)).unwrap();
        assert_eq!(line["event"], "mac_held");
        // Text that looks like a number stays text.
        assert_eq!((&line["vlan"], &line["mac"]), (&7.into(), &"12".into()));
        assert_eq!(line["by"], place);
    }
}
