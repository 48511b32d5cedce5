//! Whether a command showed what the page shows.
//!
//! A line of `...` stands for any number of lines, and `...` within a line for anything. Words that
//! measure something (a number with a fraction or a unit, as `0.34` or `2h13m`) match any others that
//! do; all other words are the same, white space aside.

/// Whether the lines `shown` describe `output`.
pub(crate) fn matches(shown: &[&str], output: &[&str]) -> bool {
    match (shown.split_first(), output.split_first()) {
        (None, None) => true,
        (Some((&"...", shown)), _) => {
            (0..=output.len()).any(|skipped| matches(shown, &output[skipped..]))
        }
        (Some((line, shown)), Some((said, output))) => {
            line_matches(line, said) && matches(shown, output)
        }
        _ => false,
    }
}

/// Whether the lines `shown` are among those of `output`, in this order.
pub(crate) fn has_said(shown: &[&str], output: &[&str]) -> bool {
    let mut said = output.iter();
    shown
        .iter()
        .filter(|line| **line != "...")
        .all(|line| said.any(|said| line_matches(line, said)))
}

fn line_matches(line: &str, said: &str) -> bool {
    let (line, said) = (normal(line), normal(said));
    let mut parts = line.split("...");
    // The first part begins the line; the last one, if it is another, ends it.
    let Some(mut rest) = parts.next().and_then(|first| said.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A line with single spaces, and `~` for each word that measures something.
fn normal(line: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(['<', '(', ')', ',', ';']);
        if measures(bare) { word.replace(bare, "~") } else { word.to_owned() }
    };
    let words = line.split_whitespace();
    let words = words.map(|one| one.split('=').map(word).collect::<Vec<_>>().join("="));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a word is a number with a fraction or a unit of time or of rate.
fn measures(word: &str) -> bool {
    if word.contains("...") {
        return false;
    }
    let of_a_measure = |byte: u8| byte.is_ascii_digit() || b"./dhmsukMG".contains(&byte);
    word.starts_with(|first: char| first.is_ascii_digit())
        && !word.bytes().all(|byte| byte.is_ascii_digit())
        && word.bytes().all(of_a_measure)
        && word.bytes().filter(|&byte| byte == b'.').count() != 3 // an address
}

pub(crate) fn differences_are_seen() {
    let same = |shown: &str, said: &str| {
        matches(&shown.lines().collect::<Vec<_>>(), &said.lines().collect::<Vec<_>>())
    };
    assert!(same("a 1 b", "a  1 b"));
    assert!(same("up 3d4h", "up 20s"));
    assert!(same("...said time=0.3 ms", "one that said time=1.25 ms"));
    assert!(same("for ..., least", "for 12ms, least"));
    assert!(same("...\nlast", "one\ntwo\nlast"));
    assert!(same("MAC 02:ac:...", "MAC 02:ac:70:01"));
    assert!(!same("up 3d4h", "up ago"));
    assert!(!same("1 received", "0 received"));
    assert!(!same("0% loss", "100% loss"));
    assert!(!same("10.0.0.1", "10.0.0.2"));
    assert!(!same("...two", "one two three"));
    assert!(!same("one", "one\ntwo"));
    assert!(!same("one\n...\nlast", "one\ntwo"));
    assert!(has_said(&["two"], &["one", "two", "three"]));
    assert!(!has_said(&["two", "one"], &["one", "two"]));
}
