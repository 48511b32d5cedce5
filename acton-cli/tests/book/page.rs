//! What stands in a page: its world and its commands.
//!
//! ```text
//! server# acton server &             in the background, until the page ends or says `kill %acton`
//! server# cat > FILE <<'EOF'         lines that begin with `> ` belong to the command
//! client# acton join 'acton://...'   the invite that was printed last
//! ```
//! The last command of a `console,fails` block ends with another exit code than 0, and one of a
//! `console,not-run` block is not run.

use std::path::Path;

/// One page of the book.
pub(crate) struct Page {
    /// The lines of its hidden `world`.
    pub(crate) world: Vec<String>,
    pub(crate) commands: Vec<Command>,
    /// Commands for a shell where no test would find them.
    pub(crate) other_shell: String,
}

/// One command of a page.
#[derive(Debug)]
pub(crate) struct Command {
    /// Page and line, for who reads that it failed.
    pub(crate) at: String,
    pub(crate) host: String,
    pub(crate) text: String,
    /// What the page shows of its output.
    pub(crate) shown: Vec<String>,
    pub(crate) ending: Ending,
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Succeeds,
    Fails,
    NotRun,
}

impl Page {
    pub(crate) fn read(path: &Path) -> Self {
        let text =
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut page = Self { world: Vec::new(), commands: Vec::new(), other_shell: String::new() };
        let mut lines = text.lines().enumerate();
        while let Some((_, line)) = lines.next() {
            if line == "<!-- world" {
                let world = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "-->");
                page.world = world.map(str::to_owned).collect();
            } else if let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) {
                let block = lines.by_ref().take_while(|(_, line)| *line != "```");
                page.block(name, kind, block);
            }
        }
        page
    }

    fn block<'a>(&mut self, name: &str, kind: &str, lines: impl Iterator<Item = (usize, &'a str)>) {
        let fails = match kind {
            "console" => Ending::Succeeds,
            "console,fails" => Ending::Fails,
            "console,not-run" => Ending::NotRun,
            "sh" | "bash" | "shell" => {
                self.other_shell = lines.map(|(_, line)| line).collect::<Vec<_>>().join("; ");
                return;
            }
            _ => return lines.for_each(drop),
        };
        let first = self.commands.len();
        for (number, line) in lines {
            let at = format!("{name}:{}", number + 1);
            if let Some((host, text)) = prompt(line) {
                let ending = if fails == Ending::NotRun { fails } else { Ending::Succeeds };
                self.commands.push(Command {
                    at,
                    host: host.to_owned(),
                    text: text.to_owned(),
                    shown: Vec::new(),
                    ending,
                });
                continue;
            }
            assert!(self.commands.len() > first, "{at}: a console block begins with a prompt");
            let command = self.commands.last_mut().unwrap();
            match line.strip_prefix("> ") {
                Some(more) if command.shown.is_empty() => {
                    command.text.push('\n');
                    command.text.push_str(more);
                }
                _ => command.shown.push(line.to_owned()),
            }
        }
        if fails == Ending::Fails {
            self.commands.last_mut().unwrap().ending = fails;
        }
    }
}

/// A host's name and the command, of a line `host# command`.
fn prompt(line: &str) -> Option<(&str, &str)> {
    let (host, text) = line.split_once("# ")?;
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some((host, text))
}
