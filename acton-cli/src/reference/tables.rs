//! The pages of lists that the engine has.

use acton_engine::{counters as all_counters, drop_reasons, event_kinds};

use super::{begin, escaped, table};

/// What a meaning begins with where only one end has it, and what the table calls that end.
const ENDS: [(&str, &str); 4] = [
    ("At a server in secure mode: ", "server, secure mode"),
    ("At a server in plain mode: ", "server, plain mode"),
    ("At a server: ", "server"),
    ("At a client: ", "client"),
];

pub(super) fn events() -> String {
    let about = "What happens in a tunnel: `acton events` shows it, `acton events --json` prints it, and \
                 the [control socket](../CONTROL.md) has it, with these names and fields. Each event also \
                 has a `number` and a `time`, in seconds since 1970.";
    let rows = event_kinds().map(|kind| {
        let (end, meaning) = split_end(kind.meaning);
        let fields = kind
            .fields
            .iter()
            .map(|(name, meaning)| format!("`{name}`: {}", plain(meaning).trim_end_matches('.')));
        let fields: Vec<_> = fields.collect();
        vec![
            format!("`{}`", kind.name),
            end.to_owned(),
            capitalised(&plain(meaning)),
            fields.join("; "),
        ]
    });
    begin("Events", about) + &table(&["Event", "End", "Meaning", "Fields"], rows)
}

pub(super) fn counters() -> String {
    let about = "What a tunnel counts since it started, in `totals` of `acton status --json`. The reasons \
                 to drop, which are counters too, have [a page of their own](drops.md).";
    let rows =
        all_counters().filter(|(name, _)| !name.starts_with("drop.")).map(|(name, meaning)| {
            let (end, meaning) = split_end(meaning);
            vec![format!("`{name}`"), end.to_owned(), capitalised(&plain(meaning))]
        });
    begin("Counters", about) + &table(&["Counter", "End", "Meaning"], rows)
}

pub(super) fn drops() -> String {
    let about = "Each frame or datagram that is dropped is counted under one of these: `acton drops` has \
                 them, and in `totals` they have `drop.` before their names. A leaf is a client, the root \
                 the server's TAP.";
    let rows = drop_reasons().map(|(name, meaning)| {
        let (end, meaning) = split_end(meaning);
        vec![format!("`{name}`"), end.to_owned(), capitalised(&plain(meaning))]
    });
    begin("Reasons to drop", about) + &table(&["Reason", "End", "Meaning"], rows)
}

/// The end that a meaning names at its beginning, empty for both, and the rest.
fn split_end(meaning: &str) -> (&'static str, &str) {
    let mut ends = ENDS.iter();
    ends.find_map(|(prefix, end)| Some((*end, meaning.strip_prefix(prefix)?)))
        .unwrap_or(("", meaning))
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A docstring without its links to other items.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        plain.push_str(before);
        let (word, after) = link.split_once(']').unwrap_or((link, ""));
        plain.push('`');
        plain.push_str(word);
        rest = after.strip_prefix('(').and_then(|to| Some(to.split_once(')')?.1)).unwrap_or(after);
    }
    escaped(&(plain + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_items_become_their_names() {
        assert_eq!(
            plain("as [`Applied`](crate::Applied) has [`Them`]."),
            "as `Applied` has `Them`."
        );
        assert_eq!(plain("a [b] <c>"), "a [b] &lt;c>");
    }

    #[test]
    fn an_end_is_told_once() {
        assert_eq!(split_end("At a client: it is."), ("client", "it is."));
        assert_eq!(split_end("It is."), ("", "It is."));
        assert_eq!(capitalised("it is."), "It is.");
    }
}
