//! What holds of the command line, the environment and the file, as `acton server` or `acton client`
//! is started.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::builder::PathBufValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::Role;
use super::file::{ConfigFile, FileError};
use super::key::{Key, without_environment};

/// The option that names the file.
pub(crate) const CONFIG_OPTION: &str = "config";
/// What is given to it for no file.
const NO_FILE: &str = "none";

/// The option that names the file.
pub(crate) fn config_option(role: Role) -> Arg {
    Arg::new(CONFIG_OPTION)
        .long(CONFIG_OPTION)
        .value_name("FILE")
        .env("ACTON_CONFIG")
        .value_parser(PathBufValueParser::new())
        .help(format!(
            "File of settings (TOML): each option here is a key there, of the same name; options and \
             the environment beat it; SIGHUP has it read again; `none` for no file [default: {}, where \
             it is there]",
            role.default_file().display()
        ))
}

/// Why a command line, the environment and a file do not go together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error(transparent)]
    Options(#[from] clap::Error),
    #[error(transparent)]
    File(#[from] FileError),
}

/// How an end is started.
#[derive(Debug, Clone)]
pub(crate) struct Invocation {
    pub(crate) role: Role,
    root: Command,
    /// The arguments up to the name of the end's command, and those behind it.
    head: Vec<OsString>,
    tail: Vec<OsString>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Environment,
    /// This line of the file, from 1.
    File(usize),
    Default,
    /// There is none.
    Unset,
}

/// What an option is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) values: Vec<OsString>,
    pub(crate) source: Source,
}

/// What holds.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The file that was read, or would be if it were there.
    pub(crate) place: Option<PathBuf>,
    pub(crate) file: Option<ConfigFile>,
    /// Of the whole command line.
    pub(crate) matches: ArgMatches,
    /// What each key is, by name.
    pub(crate) values: BTreeMap<String, Value>,
}

impl Invocation {
    /// How `arguments` start an end, where they do; the first one is the program's name.
    pub(crate) fn new(root: Command, arguments: Vec<OsString>) -> Option<Self> {
        let is_option = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
        let at = 1 + arguments.iter().skip(1).position(|argument| !is_option(argument))?;
        let role = Role::ALL.into_iter().find(|role| arguments[at] == role.name())?;
        let mut head = arguments;
        let tail = head.split_off(at + 1);
        Some(Self { role, root, head, tail })
    }

    /// The command of the end.
    pub(crate) fn command(&self) -> &Command {
        let command = self.root.find_subcommand(self.role.name());
        command.unwrap_or(&self.root)
    }

    /// Reads the file, if there is one, and puts the three together. A key of the file is beaten by the
    /// same one elsewhere and by one that it contradicts.
    ///
    /// # Errors
    /// Where one of them is wrong, or two contradict one another; the same as what clap prints and
    /// ends with, as for `--help`.
    pub(crate) fn read(&self) -> Result<Reading, Failed> {
        // What the file makes right is no error yet.
        let lenient = self.root.clone().ignore_errors(true);
        let first = lenient.try_get_matches_from(self.head.iter().chain(&self.tail))?;
        let first = first.subcommand_matches(self.role.name());
        let named = first.and_then(|matches| matches.get_one::<PathBuf>(CONFIG_OPTION));
        let place = match named {
            Some(path) if path == Path::new(NO_FILE) => None,
            Some(path) => Some(path.clone()),
            None => Some(self.role.default_file()),
        };
        let file = place.as_ref().filter(|path| named.is_some() || path.exists());
        let file = file.map(|path| ConfigFile::read(path, self.command())).transpose()?;
        let given = |key: &Key<'_>| {
            let source =
                first.and_then(|matches| matches.value_source(key.arg().get_id().as_str()));
            source.filter(|source| *source != ValueSource::DefaultValue)
        };
        let conflict = |one: &Key<'_>, other: &Key<'_>| {
            let conflicts = self.command().get_arg_conflicts_with(one.arg());
            conflicts.iter().any(|arg| arg.get_id() == other.arg().get_id())
        };
        let stronger: Vec<_> =
            Key::all(self.command()).filter(|key| given(key).is_some()).collect();
        let beaten: BTreeSet<&str> = Key::all(self.command())
            .filter(|key| {
                let beats = |other: &Key<'_>| conflict(key, other) || conflict(other, key);
                given(key).is_some() || stronger.iter().any(beats)
            })
            .map(|key| key.name())
            .collect();
        let matches = self.parse(file.as_ref(), &beaten)?;
        let end = matches.subcommand_matches(self.role.name()).unwrap_or(&matches);
        let values = Key::all(self.command()).map(|key| {
            let values = values_of(end, key);
            let entry = file.as_ref().and_then(|file| Some((file, file.entries.get(key.name())?)));
            let entry = entry.filter(|_| !beaten.contains(key.name()));
            let source = match (given(&key), entry) {
                (Some(ValueSource::EnvVariable), _) => Source::Environment,
                (Some(_), _) => Source::Flag,
                (None, Some((file, entry))) => Source::File(file.line(entry)),
                (None, None) if values.is_empty() => Source::Unset,
                (None, None) => Source::Default,
            };
            (key.name().to_owned(), Value { values, source })
        });
        let values = values.collect();
        Ok(Reading { place, values, matches, file })
    }

    /// What these keys are, as far as it can be told where something is wrong with others.
    pub(crate) fn told_of(&self, keys: &[&str]) -> Option<ArgMatches> {
        let named = self.given(CONFIG_OPTION, Some("ACTON_CONFIG".as_ref()));
        let file = named.map_or_else(|| self.role.default_file(), PathBuf::from);
        let right = ConfigFile::right_in(&file, self.command());
        let mut arguments = vec![OsString::from(self.role.name())];
        for key in keys.iter().filter_map(|name| Key::find(self.command(), name)) {
            let given = self.given(key.name(), key.arg().get_env()).map(|value| vec![value]);
            let values = given.or_else(|| right.get(key.name()).map(|entry| entry.values.clone()));
            arguments.extend(values.iter().flat_map(|values| key.tokens(values)));
        }
        let command = without_environment(self.command().clone()).ignore_errors(true);
        command.try_get_matches_from(arguments).ok()
    }

    /// The value of an option on the command line, else in the environment, found without clap, which
    /// stops at the first thing that is wrong.
    fn given(&self, name: &str, variable: Option<&OsStr>) -> Option<OsString> {
        let option = format!("--{name}");
        let mut values = self.tail.iter().skip_while(|argument| {
            let text = argument.as_encoded_bytes().strip_prefix(option.as_bytes());
            !text.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        });
        let Some(argument) = values.next() else { return env::var_os(variable?) };
        match argument.to_str()?.split_once('=') {
            Some((_, value)) => Some(value.into()),
            None => values.next().cloned(),
        }
    }

    /// Has clap read the arguments, behind what the file says and nothing `beaten` says otherwise.
    fn parse(
        &self,
        file: Option<&ConfigFile>,
        beaten: &BTreeSet<&str>,
    ) -> Result<ArgMatches, Failed> {
        let parse = |without: Option<&str>| {
            let mut arguments = self.head.clone();
            let entries = file.iter().flat_map(|file| &file.entries);
            let counted = entries.filter(|(name, _)| {
                !beaten.contains(name.as_str()) && without != Some(name.as_str())
            });
            for (name, entry) in counted {
                let key = Key::find(self.command(), name);
                arguments.extend(key.iter().flat_map(|key| key.tokens(&entry.values)));
            }
            arguments.extend(self.tail.iter().cloned());
            self.root.clone().try_get_matches_from(arguments)
        };
        let error = match parse(None) {
            Ok(matches) => return Ok(matches),
            Err(error) => error,
        };
        // Told where it stands, where a line of the file is to blame: without it all is well.
        let demands = matches!(
            error.kind(),
            ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument
        );
        if let Some(file) = file.filter(|_| demands) {
            let blamed = file.entries.keys().find(|name| parse(Some(name)).is_ok());
            if let Some(name) = blamed {
                return Err(file.wrong(name, &first_paragraph(&error)).into());
            }
        }
        Err(error.into())
    }

    /// What clap makes of these values alone, whatever they demand of one another.
    pub(crate) fn matches_of(
        &self,
        values: &BTreeMap<String, Value>,
    ) -> Result<ArgMatches, clap::Error> {
        let mut arguments = vec![OsString::from(self.role.name())];
        for key in Key::all(self.command()) {
            let value = values.get(key.name());
            let explicit = value.filter(|value| value.source != Source::Default);
            arguments.extend(explicit.iter().flat_map(|value| key.tokens(&value.values)));
        }
        without_environment(self.command().clone())
            .ignore_errors(true)
            .try_get_matches_from(arguments)
    }
}

impl Reading {
    /// What clap made of the end's own options.
    pub(crate) fn end(&self, role: Role) -> &ArgMatches {
        self.matches.subcommand_matches(role.name()).unwrap_or(&self.matches)
    }
}

/// The values of an option as text, none for a flag that is not set.
fn values_of(matches: &ArgMatches, key: Key<'_>) -> Vec<OsString> {
    let values = matches.get_raw(key.arg().get_id().as_str());
    values.into_iter().flatten().map(OsString::from).collect()
}

/// What clap says, without the usage of the command.
pub(crate) fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().take_while(|line| !line.is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}
