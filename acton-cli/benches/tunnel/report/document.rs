//! The figures within a document whose text is written by hand.

use super::{Report, table};
use crate::Result;

/// What stands before and after the figures, so that the next run finds them.
const BEGIN: &str = "<!-- figures of the last run: do not edit -->\n";
const END: &str = "<!-- end of the figures -->\n";

/// The document with this run's figures in place of those between the marks.
pub(super) fn replace_figures(document: &str, report: &Report) -> Result<String> {
    let parts = document.split_once(BEGIN);
    let parts = parts.and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| {
        format!("the document has no place for figures: {:?} and {:?}", BEGIN.trim(), END.trim())
    })?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", table::render(report)))
}
