//! What to send with a report of a fault: a tar of texts, without keys.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::facts::{Facts, Tunnel};
use super::finding::Finding;
use super::gather::printed;
use super::report::{json, text};

/// What is printed by programs of the system, and the name of the file that it goes to.
const PROGRAMS: [(&str, &str, &[&str]); 8] = [
    ("uname.txt", "uname", &["-a"]),
    ("ip-link.txt", "ip", &["-d", "-s", "link"]),
    ("ip-address.txt", "ip", &["address"]),
    ("ip-route.txt", "ip", &["route", "show", "table", "all"]),
    ("ip-neighbour.txt", "ip", &["neighbour"]),
    ("bridge-link.txt", "bridge", &["-d", "link"]),
    ("bridge-fdb.txt", "bridge", &["fdb"]),
    ("sockets.txt", "ss", &["-uanem"]),
];

/// Writes the tar, which only its owner can read: it has addresses of people in it.
///
/// # Errors
/// Where the file cannot be written.
pub(crate) fn write(
    path: &Path,
    facts: &Facts,
    findings: &[Finding],
    settings: Option<&str>,
) -> io::Result<()> {
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut tar = tar::Builder::new(file);
    let mut add = |name: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(now.as_secs());
        tar.append_data(&mut header, format!("acton-doctor/{name}"), content.as_bytes())
    };
    add("doctor.txt", &text(findings))?;
    add("doctor.json", &json(findings)?)?;
    add("version.txt", concat!("acton ", env!("CARGO_PKG_VERSION"), "\n"))?;
    if let Some(settings) = settings {
        add("settings.toml", settings)?;
    }
    match &facts.tunnel {
        Tunnel::Running(running) => {
            add("status.json", &serde_json::to_string_pretty(&running.instance)?)?;
            add("sessions.json", &lines(&running.sessions)?)?;
            add("events.json", &lines(&running.events)?)?;
            add("drops.json", &lines(&running.drops)?)?;
        }
        Tunnel::None => add("status.txt", "no tunnel runs here\n")?,
        Tunnel::Silent(why) | Tunnel::Unknown(why) => add("status.txt", why)?,
    }
    for (name, program, arguments) in PROGRAMS {
        add(name, &printed(program, arguments).unwrap_or_else(|why| format!("{why}\n")))?;
    }
    tar.into_inner()?.sync_all()
}

/// An object a line.
fn lines(of: &[impl Serialize]) -> io::Result<String> {
    let mut text = String::new();
    for item in of {
        text.push_str(&serde_json::to_string(item)?);
        text.push('\n');
    }
    Ok(text)
}
