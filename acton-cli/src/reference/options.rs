//! The pages of commands and their options.

use clap::{Arg, ArgAction, Command};

use super::{begin, escaped, table};
use crate::config::Key;

/// The page of `acton server` or `acton client`: each option with its key and its variable.
pub(super) fn of_end(end: &Command) -> String {
    let name = end.get_name();
    let about = format!(
        "{}\n\nEach option is also a key of the [file of settings](../book/service.md#settings), `/etc/acton/{name}.toml` \
         unless `--config` names another, and some are a variable of the environment. An option beats the \
         environment, and this the file.",
        described(end)
    );
    let rows = end.get_arguments().filter(|option| is_shown(option)).map(|option| {
        let key = Key::of(option).map(|key| code(&key.sample())).unwrap_or_default();
        vec![written(option), key, variable(option), default(option), meaning(option)]
    });
    let columns = ["Option", "Key", "Variable", "Default", "Meaning"];
    begin(&format!("`acton {name}`"), &about) + &usage(end) + &table(&columns, rows)
}

/// The page of all other commands.
pub(super) fn of_commands(root: &Command) -> String {
    let about = "`acton server` and `acton client` have pages of their own: \
                 [server.md](server.md), [client.md](client.md).";
    let mut page = begin("Commands", about);
    page.push_str(&options(root));
    let others = root.get_subcommands().filter(|command| {
        !command.is_hide_set() && !["server", "client"].contains(&command.get_name())
    });
    others.for_each(|command| add_command(&mut page, command));
    page
}

fn add_command(page: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    page.push_str(&format!("\n## `{name}`\n\n{}\n{}", described(command), usage(command)));
    page.push_str(&options(command));
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.for_each(|command| add_command(page, command));
}

/// The table of a command's options, empty where it has none.
fn options(command: &Command) -> String {
    let rows: Vec<_> = command
        .get_arguments()
        .filter(|option| is_shown(option))
        .map(|option| vec![written(option), variable(option), default(option), meaning(option)])
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(&["Option", "Variable", "Default", "Meaning"], rows)
}

fn is_shown(option: &Arg) -> bool {
    !option.is_hide_set() && !matches!(option.get_action(), ArgAction::Help)
}

/// What a command does.
fn described(command: &Command) -> String {
    let about = command.get_long_about().or_else(|| command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let sentences =
        about.split("\n\n").map(|paragraph| escaped(paragraph.trim_end_matches('.')) + ".");
    sentences.collect::<Vec<_>>().join("\n\n")
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage:").unwrap_or(&usage);
    let lines: Vec<_> = usage.lines().map(str::trim).collect();
    format!("\n```text\n{}\n```\n", lines.join("\n"))
}

/// An option as it is written, in all its forms.
fn written(option: &Arg) -> String {
    let names = option.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    let value = match option.get_action() {
        ArgAction::Set | ArgAction::Append => names.join(" "),
        _ => String::new(),
    };
    let short = option.get_short().map(|short| code(&format!("-{short}")));
    let is_optional = option.is_require_equals_set();
    let long = option.get_long().map(|long| match is_optional {
        true => code(&format!("--{long}[={value}]")),
        false => code(format!("--{long} {value}").trim_end()),
    });
    let forms: Vec<_> = short.into_iter().chain(long).collect();
    if forms.is_empty() { code(&value) } else { forms.join(", ") }
}

fn variable(option: &Arg) -> String {
    option.get_env().map(|name| code(&name.to_string_lossy())).unwrap_or_default()
}

fn default(option: &Arg) -> String {
    if !matches!(option.get_action(), ArgAction::Set | ArgAction::Append) {
        return String::new();
    }
    let values = option.get_default_values().iter();
    values.map(|value| code(&value.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// What an option means, and which values it takes where these are few.
fn meaning(option: &Arg) -> String {
    let help = option.get_long_help().or_else(|| option.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let words: Vec<_> = help.split_whitespace().collect();
    let mut text = escaped(&words.join(" "));
    let takes_value = matches!(option.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<_> = option
        .get_possible_values()
        .iter()
        .filter(|value| takes_value && !value.is_hide_set())
        .map(|value| match value.get_help() {
            Some(help) => format!("{}: {}", code(value.get_name()), escaped(&help.to_string())),
            None => code(value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        text.push_str(&format!(". One of {}", values.join("; ")));
    }
    text
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
