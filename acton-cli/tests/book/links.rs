//! Whether the links of the book lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Checks all pages that docs/SUMMARY.md names, and README.md: files and headings that a link names
/// are there, and a page of the book links to pages of the book.
pub(crate) fn resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let summary = root.join("docs/SUMMARY.md");
    let pages: BTreeSet<_> = targets(&read(&summary))
        .into_iter()
        .map(|target| {
            root.join("docs")
                .join(&target)
                .canonicalize()
                .unwrap_or_else(|error| panic!("SUMMARY.md: {target}: {error}"))
        })
        .collect();
    let mut wrong = Vec::new();
    for page in pages.iter().chain([&root.join("README.md")]) {
        for target in targets(&read(page)) {
            if let Some(why) = dead(page, &target, &pages) {
                wrong.push(format!("{}: {target}: {why}", page.display()));
            }
        }
    }
    // A page that is not in the summary is in no book.
    for entry in std::fs::read_dir(root.join("docs/book")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") && !pages.contains(&path) {
            wrong.push(format!("{}: not in docs/SUMMARY.md", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Why a link leads nowhere, if it does.
fn dead(page: &Path, target: &str, pages: &BTreeSet<PathBuf>) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.parent()?.join(file) };
    let Ok(path) = path.canonicalize() else { return Some("no such file".into()) };
    let of_the_book = pages.contains(page);
    if of_the_book && path.extension().is_some_and(|it| it == "md") && !pages.contains(&path) {
        return Some("no page of the book".into());
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").canonicalize().ok()?;
    if of_the_book && !path.starts_with(&docs) {
        return Some("outside of docs, so not in the book: link to the repository".into());
    }
    let known = heading.is_empty() || headings(&read(&path)).contains(&heading.to_owned());
    (!known).then(|| "no such heading".into())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a page that are not code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    })
}

/// Where the links and pictures of a page lead.
fn targets(text: &str) -> Vec<String> {
    // A link may be broken into lines, but not its target.
    let prose = prose(text).collect::<Vec<_>>().join("\n");
    let mut targets = Vec::new();
    for (number, part) in prose.split("](").enumerate() {
        // An odd number of ticks before it: that is code.
        if let (true, Some((target, _))) = (number > 0, part.split_once(')')) {
            targets.push(target.to_owned());
        }
    }
    targets
}

/// The anchors of a page's headings, as GitHub and mdbook make them.
fn headings(text: &str) -> Vec<String> {
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .replace(' ', "-")
                .chars()
                .filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter))
                .collect()
        })
        .collect()
}
