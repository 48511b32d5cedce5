//! The keys of a file of settings, as clap's definition of a command has them.

use std::any::TypeId;
use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `true` or `false`.
    Flag,
    /// A number, without quotes.
    Number,
    /// Text, in quotes.
    Text,
}

/// An option, as a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    arg: &'a Arg,
}

impl<'a> Key<'a> {
    /// The keys of a command: all of its options but those that say which file to read, and those
    /// that print something and end.
    pub(crate) fn all(command: &'a Command) -> impl Iterator<Item = Self> {
        command.get_arguments().filter_map(Self::of)
    }

    /// The key of this name.
    pub(crate) fn find(command: &'a Command, name: &str) -> Option<Self> {
        Self::all(command).find(|key| key.name() == name)
    }

    pub(crate) fn of(arg: &'a Arg) -> Option<Self> {
        let takes_value =
            matches!(arg.get_action(), ArgAction::Set | ArgAction::Append | ArgAction::SetTrue);
        (takes_value && arg.get_id() != super::CONFIG_OPTION).then_some(Self { arg })
    }

    /// The option's long name; the name of its place on the command line where it has none.
    pub(crate) fn name(&self) -> &'a str {
        self.arg.get_long().unwrap_or(self.arg.get_id().as_str())
    }

    pub(crate) fn arg(&self) -> &'a Arg {
        self.arg
    }

    pub(crate) fn shape(&self) -> Shape {
        if matches!(self.arg.get_action(), ArgAction::SetTrue) {
            return Shape::Flag;
        }
        let value = self.arg.get_value_parser().type_id();
        let numbers = [
            TypeId::of::<u8>(),
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
            TypeId::of::<f64>(),
            // In seconds.
            TypeId::of::<Duration>(),
        ];
        if numbers.iter().any(|number| value == *number) { Shape::Number } else { Shape::Text }
    }

    /// Whether the option may be given more than once.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.arg.get_action(), ArgAction::Append)
    }

    /// Whether it is an argument without a name on the command line.
    pub(crate) fn is_positional(&self) -> bool {
        self.arg.is_positional()
    }

    /// What stands for these values on the command line.
    pub(crate) fn tokens(&self, values: &[OsString]) -> Vec<OsString> {
        let Some(long) = self.arg.get_long() else { return values.to_vec() };
        if self.shape() == Shape::Flag {
            let set = values.iter().any(|value| value == "true");
            return if set { vec![format!("--{long}").into()] } else { Vec::new() };
        }
        let token = |value: &OsString| {
            let mut token = OsString::from(format!("--{long}="));
            token.push(value);
            token
        };
        values.iter().map(token).collect()
    }

    /// A value as a file has it.
    pub(crate) fn toml(&self, value: &str) -> String {
        match self.shape() {
            Shape::Flag | Shape::Number => value.to_owned(),
            Shape::Text => toml::Value::String(value.to_owned()).to_string(),
        }
    }

    /// What would be right for this key.
    pub(crate) fn right(&self) -> String {
        match self.shape() {
            Shape::Flag => format!("write {} = true or false", self.name()),
            _ if self.is_list() => format!("write a list, {}", self.sample()),
            _ => format!("write {}", self.sample()),
        }
    }

    /// The key as a file sets it, with a word for its value.
    pub(crate) fn sample(&self) -> String {
        let value = match self.shape() {
            Shape::Flag => "true".to_owned(),
            Shape::Number => "NUMBER".to_owned(),
            Shape::Text => {
                let name = self.arg.get_value_names().and_then(|names| names.first());
                self.toml(name.map_or("VALUE", |name| name.as_str()))
            }
        };
        if self.is_list() {
            format!("{} = [{value}]", self.name())
        } else {
            format!("{} = {value}", self.name())
        }
    }
}

/// A command without what the environment says.
pub(crate) fn without_environment(command: Command) -> Command {
    command.mut_args(|arg| arg.env(None::<&str>))
}
