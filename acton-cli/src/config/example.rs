//! A file of settings to begin with: each key with what it means and its default.

use std::fmt::Write;

use clap::Command;

use super::key::{Key, Shape};

/// The width of a comment, in characters.
const WIDTH: usize = 98;

/// A file in which every key of `command` is explained and none is set.
pub(crate) fn example(command: &Command) -> String {
    let name = command.get_name();
    let mut text = comment(&format!(
        "Settings of `acton {name}`: a key for each of its options. What is not set here is as shown. \
         Options and the environment beat this file. `acton config check FILE` checks it; SIGHUP has \
         a running {name} read it again."
    ));
    for key in Key::all(command).filter(|key| !key.arg().is_hide_set()) {
        let help = key.arg().get_help().map(ToString::to_string).unwrap_or_default();
        let values: Vec<String> = key
            .arg()
            .get_possible_values()
            .iter()
            .filter(|_| key.shape() == Shape::Text)
            .map(|value| value.get_name().to_owned())
            .collect();
        let one_of = if values.is_empty() {
            String::new()
        } else {
            format!(" (one of {})", values.join(", "))
        };
        text.push('\n');
        text.push_str(&comment(&format!("{help}{one_of}")));
        let _ = writeln!(text, "#{} = {}", key.name(), usual(key));
    }
    text
}

/// The default of a key, or what a value of it looks like.
fn usual(key: Key<'_>) -> String {
    let defaults = key.arg().get_default_values();
    let value = match (defaults.first(), key.arg().get_value_names()) {
        (Some(value), _) => value.to_string_lossy().into_owned(),
        (None, _) if key.shape() == Shape::Flag => "false".to_owned(),
        (None, names) => names
            .and_then(|names| names.first())
            .map_or_else(|| "VALUE".to_owned(), |name| name.as_str().to_owned()),
    };
    let value = key.toml(&value);
    if key.is_list() { format!("[{value}]") } else { value }
}

/// A comment, in lines.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + &line + "\n"
}
