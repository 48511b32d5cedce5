//! The file of the network key, and what it says of those who hold that key.

use acton_proto::handshake::Secret;
use zeroize::Zeroizing;

use super::{KeyTextError, encode_secret, parse_secret};

/// The word of a network that only listed clients join.
const LISTED: &str = "listed";
/// What an operator who opens the file reads beside it.
const LISTED_NOTE: &str = "# only clients on a list get in, nobody without that list; without this \
                           line whoever has the key above does";

/// The network key and what the server remembers beside it. It is one file, so that whoever copies
/// or restores the key has the rest too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NetworkKey {
    pub(super) key: Secret,
    /// Whether the network had a list of clients: then its key alone lets nobody in.
    pub(super) listed: bool,
}

impl NetworkKey {
    pub(super) fn new(key: Secret) -> Self {
        Self { key, listed: false }
    }

    /// Reads a file: the key, then a word a line; comments after `#`.
    pub(super) fn parse(text: &str) -> Result<Self, KeyTextError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let mut lines = lines.filter(|line| !line.is_empty());
        let mut read = Self::new(parse_secret(lines.next().unwrap_or_default())?);
        for line in lines {
            match line {
                LISTED => read.listed = true,
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
        fn files_come_back(key: [u8; 32], listed: bool) {
            let written = NetworkKey { key: Secret::new(key), listed };
            prop_assert_eq!(NetworkKey::parse(&written.render()), Ok(written));
        }
    }
}
