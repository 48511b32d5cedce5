//! A file of settings: TOML to the values of options.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice;

use acton_engine::keys::Invite;
use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Problem;
use super::key::{Key, Shape, without_environment};

/// The largest file, in bytes: one with 10,000 addresses is smaller.
const MAX_FILE: u64 = 1 << 20;
/// How much alike two names are, from 0 to 1, where one is suggested for the other; clap's own.
const ALIKE: f64 = 0.7;

/// What a file says of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where it stands in the text, in bytes.
    pub(crate) span: Range<usize>,
    pub(crate) values: Vec<OsString>,
}

/// A file of settings whose values are right, each for itself.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    text: String,
    /// By the name of the key.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Why a file of settings is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}", lines(path, problems))]
    Wrong { path: PathBuf, problems: Vec<Problem> },
}

fn lines(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|problem| format!("{}:{problem}", path.display())).collect();
    lines.join("\n")
}

/// Checks what a file of settings for the options of `command` says, each key for itself.
///
/// # Errors
/// All that is wrong, in the order of the text.
pub fn check(command: &Command, text: &str) -> Result<(), Vec<Problem>> {
    parse(text, command).map(drop)
}

impl ConfigFile {
    /// Reads the file that `path` names, for `command`.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<Self, FileError> {
        let text = read(path)?;
        match parse(&text, command) {
            Ok(entries) => Ok(Self { path: path.to_owned(), text, entries }),
            Err(problems) => Err(FileError::Wrong { path: path.to_owned(), problems }),
        }
    }

    /// What is right in a file of which something may be wrong.
    pub(crate) fn right_in(path: &Path, command: &Command) -> BTreeMap<String, Entry> {
        read(path).map(|text| look(&text, command).0).unwrap_or_default()
    }

    /// That `what` is wrong with a key.
    pub(crate) fn wrong(&self, key: &str, what: &str) -> FileError {
        let start = 0..0;
        let span = self.entries.get(key).map_or(&start, |entry| &entry.span);
        let problem = Problem::new(&self.text, span, format!("{key}: {what}"));
        FileError::Wrong { path: self.path.clone(), problems: vec![problem] }
    }

    /// The line of a key, from 1.
    pub(crate) fn line(&self, entry: &Entry) -> usize {
        Problem::new(&self.text, &entry.span, "").line
    }
}

/// The text of a file of settings.
fn read(path: &Path) -> Result<String, FileError> {
    let unreadable = |why: String| FileError::Unreadable { path: path.to_owned(), why };
    let mut text = String::new();
    // To read something else, such as a FIFO, could take for ever.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(unreadable("it is no regular file".to_owned()));
    }
    let length = File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if length as u64 > MAX_FILE {
        return Err(unreadable(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// The keys of a text, or all that is wrong with it.
fn parse(text: &str, command: &Command) -> Result<BTreeMap<String, Entry>, Vec<Problem>> {
    match look(text, command) {
        (entries, problems) if problems.is_empty() => Ok(entries),
        (_, problems) => Err(problems),
    }
}

/// The keys of a text that are right, and all that is wrong with it.
fn look(text: &str, command: &Command) -> (BTreeMap<String, Entry>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: &toml::de::Error| {
            let span = error.span().unwrap_or(0..0);
            Problem::new(text, &span, error.message().replace('\n', " "))
        };
        return (BTreeMap::new(), errors.iter().map(problem).collect());
    }
    let command = without_environment(command.clone());
    let (mut entries, mut problems) = (BTreeMap::new(), Vec::new());
    let mut items: Vec<_> = table.get_ref().iter().collect();
    items.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in items {
        match entry(&command, name.get_ref(), value) {
            Ok(values) => {
                let entry = Entry { span: name.span(), values };
                entries.insert(name.get_ref().to_string(), entry);
            }
            Err(Wrong { span, what }) => {
                let span = span.unwrap_or_else(|| name.span());
                problems.push(Problem::new(text, &span, what));
            }
        }
    }
    (entries, problems)
}

/// What is wrong with a key: with its value at `span`, or with its name.
struct Wrong {
    span: Option<Range<usize>>,
    what: String,
}

/// The values of one key.
fn entry(
    command: &Command,
    name: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<OsString>, Wrong> {
    let Some(key) = Key::find(command, name) else {
        if let DeValue::Table(_) = value.get_ref() {
            let what = format!("there are no sections, as '{name}': all keys stand at the top");
            return Err(Wrong { span: None, what });
        }
        return Err(Wrong { span: None, what: unknown(command, name) });
    };
    let wrong = |value: &Spanned<DeValue<'_>>, what| Wrong { span: Some(value.span()), what };
    let values = match (value.get_ref(), key.is_list()) {
        (DeValue::Array(array), true) => array.iter().collect(),
        (_, false) => vec![value],
        // As it was written when there could be one.
        (DeValue::String(_), true) if key.is_positional() => vec![value],
        _ => return Err(wrong(value, format!("{name}: {}", key.right()))),
    };
    let mut texts = Vec::new();
    for value in &values {
        let text = text_of(key, value.get_ref()).ok_or_else(|| key.right()).and_then(no_invite);
        texts.push(text.map_err(|what| wrong(value, format!("{name}: {what}")))?.into());
    }
    // One by one only to say which of them it is: they may be very many.
    if check_values(command, key, &texts).is_err() {
        for (value, text) in values.iter().zip(&texts) {
            check_values(command, key, slice::from_ref(text))
                .map_err(|what| wrong(value, format!("{name}: {what}")))?;
        }
    }
    Ok(texts)
}

/// A value as the command line has it, where it is written as the key's values are.
fn text_of(key: Key<'_>, value: &DeValue<'_>) -> Option<String> {
    match (key.shape(), value) {
        (Shape::Flag, DeValue::Boolean(set)) => Some(set.to_string()),
        (Shape::Number, DeValue::Integer(number)) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(value.to_string())
        }
        (Shape::Number, DeValue::Float(number)) => {
            let value: f64 = number.as_str().parse().ok()?;
            Some(value.to_string())
        }
        (Shape::Text, DeValue::String(text)) => Some(text.to_string()),
        _ => None,
    }
}

fn no_invite(text: String) -> Result<String, String> {
    if Invite::is_meant(&text) {
        let what = "an invite is a secret, which does not belong here: store it with `acton join`, \
                    or name a file that holds it with invite-file";
        return Err(what.to_owned());
    }
    Ok(text)
}

/// Has the option's own parser look at values.
fn check_values(command: &Command, key: Key<'_>, values: &[OsString]) -> Result<(), String> {
    let mut tokens = vec![OsString::from(command.get_name())];
    tokens.extend(key.tokens(values));
    let Err(error) = command.clone().try_get_matches_from(tokens) else { return Ok(()) };
    // What it needs beside it may come from elsewhere.
    if matches!(error.kind(), ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument) {
        return Ok(());
    }
    let texts: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    Err(value_error(&error, &texts.join(", ")))
}

/// What is wrong with a value, in the words of the option's parser.
fn value_error(error: &clap::Error, text: &str) -> String {
    if let Some(why) = error.source() {
        return format!("'{text}': {why}");
    }
    let valid = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) if !values.is_empty() => {
            format!("; one of {}", values.join(", "))
        }
        _ => String::new(),
    };
    format!("'{text}' is not one of its values{valid}")
}

/// That a key is unknown, and which one is most like it.
fn unknown(command: &Command, name: &str) -> String {
    let usual = name.to_lowercase().replace('_', "-");
    let shown = |key: &Key<'_>| !key.arg().is_hide_set();
    let near = Key::all(command)
        .filter(shown)
        .map(|key| (strsim::jaro_winkler(&usual, key.name()), key.name()))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(alike, _)| *alike > ALIKE);
    match near {
        Some((_, near)) => format!("there is no key '{name}'; did you mean '{near}'?"),
        None => format!(
            "there is no key '{name}'; `acton config example {}` lists those that are",
            command.get_name()
        ),
    }
}
