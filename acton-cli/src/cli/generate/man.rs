//! Man pages: one of `acton`, one of each command and each command's command.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The name of the manual, in each page's title.
const MANUAL: &str = "Ethernet over UDP";

/// What `acton` uses on a host.
const FILES: [(&str, &str); 4] = [
    ("/etc/acton/server.toml, /etc/acton/client.toml", "settings, where --config names no other"),
    ("/etc/acton/NAME.toml", "settings of the units acton-server@NAME and acton-client@NAME"),
    (
        "/var/lib/acton/NAME",
        "keys, invite and list of clients of these units; elsewhere --state says where",
    ),
    ("/run/acton/NAME.sock", "where acton status and the like ask a tunnel that runs"),
];
/// Which exit codes there are.
const EXIT_CODES: [(&str, &str); 3] = [
    ("0", "It did what it was asked for."),
    ("1", "This machine, or the tunnel that was asked, does not allow that or failed."),
    ("2", "The command line or the file of settings asks for what cannot be."),
];

/// Writes the page of `root` and those of all of its commands.
pub(super) fn write(root: Command, directory: &Path) -> io::Result<()> {
    let mut root = root.disable_help_subcommand(true);
    root.build();
    let mut more = Roff::new();
    section(&mut more, "FILES", &FILES);
    section(&mut more, "EXIT STATUS", &EXIT_CODES);
    write_page(&root, &more, directory)?;
    let mut more = Roff::new();
    more.control("SH", ["SEE ALSO"]);
    more.text([bold(root.get_name()), roman("(1)")]);
    write_commands(&root, &more, directory)
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(*meaning)]);
    }
}

/// Writes the pages of what is below `command`, each with `more` at its end.
fn write_commands(command: &Command, more: &Roff, directory: &Path) -> io::Result<()> {
    let shown = |command: &&Command| !command.is_hide_set();
    command.get_subcommands().filter(shown).try_for_each(|command| {
        write_page(command, more, directory)?;
        write_commands(command, more, directory)
    })
}

fn write_page(command: &Command, more: &Roff, directory: &Path) -> io::Result<()> {
    let source = concat!("acton ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual(MANUAL);
    let mut page = Vec::new();
    man.render(&mut page)?;
    more.to_writer(&mut page)?;
    fs::write(directory.join(man.get_filename()), page)
}
