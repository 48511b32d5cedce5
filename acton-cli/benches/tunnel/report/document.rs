//! The figures within a document whose text is written by hand.

use std::path::Path;
use std::{fs, io};

use crate::{Failure, Result};

/// What a run puts into the document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Figures,
    Instructions,
}

impl Part {
    /// What stands before and after it, so that the next run finds it.
    fn marks(self) -> [&'static str; 2] {
        match self {
            Self::Figures => {
                ["<!-- figures of the last run: do not edit -->\n", "<!-- end of the figures -->\n"]
            }
            Self::Instructions => [
                "<!-- instructions of the last run: do not edit -->\n",
                "<!-- end of the instructions -->\n",
            ],
        }
    }
}

/// Writes this run's `text` in place of that between the marks in a folder's `BENCHMARKS.md`.
pub(super) fn replace(folder: &Path, part: Part, text: &str) -> Result<()> {
    let path = folder.join("BENCHMARKS.md");
    let failed = |error: io::Error| Failure::from(format!("{}: {error}", path.display()));
    let document = fs::read_to_string(&path).map_err(failed)?;
    let [begin, end] = part.marks();
    let parts = document.split_once(begin);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = parts.ok_or_else(|| {
        format!("{} has no place between {:?} and {:?}", path.display(), begin.trim(), end.trim())
    })?;
    fs::write(&path, format!("{before}{begin}\n{text}\n{end}{after}")).map_err(failed)
}
