//! The reference of docs/reference, made from what the program itself goes by: the definition of its
//! options, and the lists of reasons, counters and events.

mod options;
mod tables;

use clap::Command;

use crate::cli::command;
use crate::config::Role;

/// A page of Markdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The name of its file.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// All pages.
#[must_use]
pub fn pages() -> Vec<Page> {
    let mut root = command().disable_help_subcommand(true);
    root.build();
    let end = |role: Role| {
        let of = |end: &&Command| end.get_name() == role.name();
        root.get_subcommands().find(of).map(options::of_end).unwrap_or_default()
    };
    let about = "What acton has of each, as the program itself goes by it.";
    let index = "
- [server.md](server.md), [client.md](client.md): options, keys of files of settings, variables, defaults
- [commands.md](commands.md): all other commands
- [events.md](events.md): what is told when it happens
- [counters.md](counters.md): what is counted
- [drops.md](drops.md): why frames and datagrams are dropped
";
    vec![
        Page { name: "README.md", text: begin("Reference", about) + index },
        Page { name: "server.md", text: end(Role::Server) },
        Page { name: "client.md", text: end(Role::Client) },
        Page { name: "commands.md", text: options::of_commands(&root) },
        Page { name: "events.md", text: tables::events() },
        Page { name: "counters.md", text: tables::counters() },
        Page { name: "drops.md", text: tables::drops() },
    ]
}

/// The beginning of a page.
fn begin(title: &str, about: &str) -> String {
    format!(
        "<!-- Written by `acton generate reference docs/reference`: change the code, and run that. -->\n\n\
         # {title}\n\n{about}\n"
    )
}

/// A table of these columns, Markdown in its cells but for the bars, which are escaped.
fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let head = line(columns.iter().map(|&column| column.to_owned()).collect());
    let rule = format!("|{}\n", "---|".repeat(columns.len()));
    rows.into_iter().map(line).fold(format!("\n{head}{rule}"), |table, row| table + &row)
}

/// Text that Markdown is to take as it is, for its words between angle brackets or stars.
fn escaped(text: &str) -> String {
    text.replace('<', "&lt;").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_pages_of_the_documentation_are_these() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let mut names: Vec<_> = pages().iter().map(|page| page.name.to_owned()).collect();
        for page in pages() {
            let kept = fs::read_to_string(directory.join(page.name)).unwrap_or_default();
            assert!(
                kept == page.text,
                "docs/reference/{} is not what this acton is; renew it: cargo run -p acton-cli -- \
                 generate reference docs/reference",
                page.name
            );
        }
        let kept = fs::read_dir(directory).unwrap();
        let mut kept: Vec<_> =
            kept.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        kept.sort_unstable();
        assert_eq!(kept, names);
    }

    #[test]
    fn a_bar_in_a_cell_begins_no_other() {
        let table = table(&["A", "B"], [vec!["a|b".to_owned(), "<c>".to_owned()]]);
        assert_eq!(table, "\n| A | B |\n|---|---|\n| a\\|b | <c> |\n");
    }
}
