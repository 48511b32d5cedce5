//! The tables within a document whose text is written by hand.

use std::fs;
use std::io;
use std::path::Path;

use crate::support::Result;

/// What stands before and after the tables.
const MARKS: [&str; 2] =
    ["<!-- swarm of the last run: do not edit -->\n", "<!-- end of the swarm -->\n"];

/// Writes `text` in place of that between the marks in a folder's `BENCHMARKS.md`.
pub(crate) fn replace(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join("BENCHMARKS.md");
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let document = fs::read_to_string(&path).map_err(failed)?;
    let [begin, end] = MARKS;
    let parts = document.split_once(begin);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or_else(|| {
        format!("{} has no place between {:?} and {:?}", path.display(), begin.trim(), end.trim())
    })?;
    fs::write(&path, format!("{before}{begin}\n{text}\n{end}{after}")).map_err(failed)?;
    Ok(())
}
