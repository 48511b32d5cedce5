//! `acton generate`: what packages ship, out of the one definition of the commands.

mod man;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use super::{FAILURE, Failure, command};
use crate::reference;

/// The shells whose completions are made.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Writes man pages, completions or the reference, for packages and the documentation
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Arguments {
    /// What to write
    #[arg(value_enum)]
    what: What,

    /// The directory for it, which is made if need be
    directory: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// A man page for each command
    Man,
    /// Completions for bash, zsh and fish
    Completions,
    /// The pages of docs/reference
    Reference,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let directory = &self.directory;
        let written = fs::create_dir_all(directory).and_then(|()| match self.what {
            What::Man => man::write(command(), directory),
            What::Completions => write_completions(directory),
            What::Reference => write_reference(directory),
        });
        written.map_err(|error| Failure {
            code: FAILURE,
            message: format!("cannot write to {}: {error}", directory.display()),
        })
    }
}

fn write_completions(directory: &Path) -> io::Result<()> {
    let mut shown = shown(&command());
    SHELLS.into_iter().try_for_each(|shell| {
        clap_complete::generate_to(shell, &mut shown, "acton", directory).map(drop)
    })
}

/// A command without what is hidden, which completions would offer.
fn shown(command: &clap::Command) -> clap::Command {
    let about = command.get_about().cloned().unwrap_or_default();
    clap::Command::new(command.get_name().to_owned())
        .about(about)
        .disable_version_flag(true)
        .args(command.get_arguments().filter(|option| !option.is_hide_set()))
        .subcommands(command.get_subcommands().filter(|each| !each.is_hide_set()).map(shown))
}

fn write_reference(directory: &Path) -> io::Result<()> {
    reference::pages()
        .into_iter()
        .try_for_each(|page| fs::write(directory.join(page.name), page.text))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn of(what: What) -> Self {
            let name = format!("acton-generate-{}-{what:?}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            Arguments { what, directory: directory.clone() }.run().unwrap();
            Self(directory)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn each_command_has_a_page_that_leads_to_the_first() {
        let pages = Directory::of(What::Man);
        let first = pages.read("acton.1");
        assert!(first.contains("acton\\-server(1)") && first.contains(".SH FILES"), "{first}");
        for page in ["acton-server.1", "acton-config-check.1", "acton-fdb-add.1"] {
            assert!(pages.read(page).contains(".SH \"SEE ALSO\""), "{page}");
        }
        assert!(!pages.0.join("acton-generate.1").exists());
    }

    #[test]
    fn completions_offer_what_is_for_people() {
        let completions = Directory::of(What::Completions);
        for file in ["acton.bash", "_acton", "acton.fish"] {
            let text = completions.read(file);
            assert!(text.contains("mac-ageing") && text.contains("fdb"), "{file}");
            assert!(!text.contains("rekey") && !text.contains("generate"), "{file}");
        }
        let bash = Command::new("bash").arg("-n").arg(completions.0.join("acton.bash")).status();
        assert!(bash.unwrap().success());
    }
}
