//! The file of the network key, and what it says of those who hold that key.

use acton_proto::handshake::Secret;
use zeroize::Zeroizing;

use super::{KeyTextError, encode_secret, parse_secret};

/// The word of a network that only listed clients join.
const LISTED: &str = "listed";
/// The word of the key before, with that and the time of its end.
const BEFORE: &str = "before";
/// What an operator who opens the file reads beside that.
const BEFORE_NOTE: &str =
    "# does until then, in seconds since 1970; without this line it does no more";
/// The same beside the other.
const LISTED_NOTE: &str = "# only clients on a list get in, nobody without that list; without this \
                           line whoever has the key above does";

/// The network key and what the server remembers beside it. It is one file, so that whoever copies
/// or restores the key has the rest too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkKey {
    pub(super) key: Secret,
    /// The key before this one, while both do.
    pub(super) before: Option<Before>,
    /// Whether the network had a list of clients: then its key alone lets nobody in.
    pub(super) listed: bool,
}

/// A key that another one has come after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) key: Secret,
    /// When it comes to an end, in seconds since 1970.
    pub(super) until: u64,
}

impl NetworkKey {
    pub(super) fn new(key: Secret) -> Self {
        Self { key, before: None, listed: false }
    }

    /// Reads a file: the key, then a word a line; comments after `#`.
    pub(super) fn parse(text: &str) -> Result<Self, KeyTextError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut lines = lines.filter(|line| !line.is_empty());
        let mut read = Self::new(parse_secret(lines.next().unwrap_or_default())?);
        for line in lines {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some(LISTED), None, ..) => read.listed = true,
                (Some(BEFORE), Some(key), Some(until), None) => {
                    let until = until.parse().map_err(|_| KeyTextError)?;
                    read.before = Some(Before { key: parse_secret(key)?, until });
                }
                _ => return Err(KeyTextError),
            }
        }
        Ok(read)
    }

    /// The text that [`parse`](Self::parse) reads.
    pub(super) fn render(&self) -> Zeroizing<String> {
        // Room for the secret at once: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(512));
        text.push_str(&encode_secret(&self.key));
        text.push('\n');
        if let Some(before) = &self.before {
            text.push_str(BEFORE);
            text.push(' ');
            text.push_str(&encode_secret(&before.key));
            text.push_str(&format!(" {} {BEFORE_NOTE}\n", before.until));
        }
        if self.listed {
            text.push_str(LISTED);
            text.push(' ');
            text.push_str(LISTED_NOTE);
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_an_earlier_version_is_a_key_alone() {
        let key = Secret::new([7; 32]);
        let read = NetworkKey::parse(&format!("{}\n", *encode_secret(&key)));
        assert_eq!(read, Ok(NetworkKey::new(key)));
    }

    #[test]
    fn what_is_not_understood_is_no_network_key() {
        let key = encode_secret(&Secret::new([7; 32]));
        for text in ["", "\n", "listed", &format!("listed\n{}", *key), &format!("{}\nopen", *key)] {
            assert_eq!(NetworkKey::parse(text), Err(KeyTextError), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn files_come_back(
            key: [u8; 32],
            before in proptest::option::of(any::<([u8; 32], u64)>()),
            listed: bool,
        ) {
            let before = before.map(|(key, until)| Before { key: Secret::new(key), until });
            let written = NetworkKey { key: Secret::new(key), before, listed };
            prop_assert_eq!(NetworkKey::parse(&written.render()), Ok(written));
        }
    }
}
