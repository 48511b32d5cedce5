//! What holds, and where each value comes from.

use acton_engine::keys::Invite;
use serde_json::{Value as Json, json};

use super::invocation::{Invocation, Reading, Source, Value};
use super::key::{Key, Shape};

/// The number of the JSON form's schema; it becomes another where a field goes or changes.
const SCHEMA: u32 = 1;
/// Where comments begin, in characters.
const COMMENT_AT: usize = 40;

/// All keys as a file that sets them so, with where each value comes from as a comment, and defaults
/// as comments too.
pub(crate) fn toml(invocation: &Invocation, reading: &Reading) -> String {
    let mut text = String::new();
    for (key, value) in shown(invocation, reading) {
        let line = match value.source {
            Source::Unset => format!("# {} is not set", key.name()),
            _ => {
                // What is set may contradict another option, a default never does.
                let mark = if value.source == Source::Default { "#" } else { "" };
                let set = format!("{mark}{} = {}", key.name(), written(key, value));
                format!("{set:COMMENT_AT$} # {}", origin(key, value, reading))
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The same as JSON: `schema`, `role`, `file`, and for each key its `value`, its `source` and what
/// belongs to that.
pub(crate) fn json(invocation: &Invocation, reading: &Reading) -> Json {
    let keys: Vec<Json> = shown(invocation, reading)
        .map(|(key, value)| {
            let source = match value.source {
                Source::Flag => "flag",
                Source::Environment => "environment",
                Source::File(_) => "file",
                Source::Default => "default",
                Source::Unset => "unset",
            };
            let line = if let Source::File(line) = value.source { Some(line) } else { None };
            json!({
                "key": key.name(), "value": json_value(key, value), "source": source,
                "variable": variable(key).filter(|_| value.source == Source::Environment),
                "line": line,
            })
        })
        .collect();
    let file = reading.file.as_ref().map(|file| file.path.display().to_string());
    json!({ "schema": SCHEMA, "role": invocation.role.name(), "file": file, "keys": keys })
}

/// The keys in the order of the options.
fn shown<'a>(
    invocation: &'a Invocation,
    reading: &'a Reading,
) -> impl Iterator<Item = (Key<'a>, &'a Value)> {
    Key::all(invocation.command())
        .filter_map(|key| Some((key, reading.values.get(key.name())?)))
        .filter(|(key, value)| is_shown(*key, value))
}

/// Whether a key is told of: those for tests only where they are set.
pub(super) fn is_shown(key: Key<'_>, value: &Value) -> bool {
    !key.arg().is_hide_set() || !matches!(value.source, Source::Default | Source::Unset)
}

fn written(key: Key<'_>, value: &Value) -> String {
    let values: Vec<_> = texts(value).map(|text| key.toml(&text)).collect();
    if key.is_list() { format!("[{}]", values.join(", ")) } else { values.join("") }
}

fn origin(key: Key<'_>, value: &Value, reading: &Reading) -> String {
    match (value.source, &reading.file) {
        (Source::Flag, _) => "flag".to_owned(),
        (Source::Environment, _) => format!("environment, {}", variable(key).unwrap_or_default()),
        (Source::File(line), Some(file)) => format!("{}:{line}", file.path.display()),
        _ => "default".to_owned(),
    }
}

fn variable(key: Key<'_>) -> Option<String> {
    key.arg().get_env().map(|name| name.to_string_lossy().into_owned())
}

/// A value as JSON, null where there is none.
pub(super) fn json_value(key: Key<'_>, value: &Value) -> Json {
    let one = |text: String| match key.shape() {
        Shape::Text => Json::String(text),
        // A number that JSON does not know is told as text.
        Shape::Flag | Shape::Number => serde_json::from_str(&text).unwrap_or(Json::String(text)),
    };
    let mut values = texts(value).map(one);
    if key.is_list() { values.collect() } else { values.next().unwrap_or(Json::Null) }
}

/// The values as text, without what is a secret.
fn texts(value: &Value) -> impl Iterator<Item = String> {
    value.values.iter().map(|value| {
        let text = value.to_string_lossy().into_owned();
        if Invite::is_meant(&text) { "an invite".to_owned() } else { text }
    })
}
