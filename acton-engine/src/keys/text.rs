//! Keys as text: 44 characters of base64 (RFC 4648, section 4), as WireGuard's users know them.

use acton_proto::handshake::Secret;
use acton_proto::wire::Key;
use data_encoding::{BASE64, BASE64_NOPAD};
use zeroize::{Zeroize, Zeroizing};

/// Characters of a key with its padding.
const PADDED_LEN: usize = 44;
/// What the decoder may need: 44 characters of base64 are 33 bytes before the padding is known.
const DECODED_LEN: usize = 33;

/// The text is no key. What it is stays unsaid: it may be half of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 44 characters of base64, as `acton keygen` and `acton pubkey` print it")]
pub struct KeyTextError;

/// A public key as text.
#[must_use]
pub fn encode_key(key: &Key) -> String {
    BASE64.encode(key)
}

/// A secret as text, wiped when dropped.
#[must_use]
pub fn encode_secret(secret: &Secret) -> Zeroizing<String> {
    // Room for an end of line too: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(PADDED_LEN + 1));
    BASE64.encode_append(secret.bytes(), &mut text);
    text
}

/// Reads a public key, with or without its padding.
///
/// # Errors
/// Where `text` is anything else than base64 of 32 bytes.
pub fn parse_key(text: &str) -> Result<Key, KeyTextError> {
    // Padding stands at the end alone: within, it would give one key several texts.
    let padded = text.strip_suffix('=').filter(|_| text.len() == PADDED_LEN);
    let (text, encoding) = (padded.unwrap_or(text), BASE64_NOPAD);
    let mut decoded = [0; DECODED_LEN];
    let needed = encoding.decode_len(text.len()).map_err(|_| KeyTextError)?;
    let room = decoded.get_mut(..needed).ok_or(KeyTextError)?;
    let written = encoding.decode_mut(text.as_bytes(), room).map_err(|_| KeyTextError);
    let key = written.and_then(|length| decoded[..length].try_into().map_err(|_| KeyTextError));
    decoded.zeroize();
    key
}

/// Reads a private or pre-shared key, with or without its padding.
///
/// # Errors
/// As [`parse_key`].
pub fn parse_secret(text: &str) -> Result<Secret, KeyTextError> {
    let mut bytes = parse_key(text)?;
    let secret = Secret::new(bytes);
    bytes.zeroize();
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_known_key() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let key: Key = std::array::from_fn(|i| i as u8);
        assert_eq!(encode_key(&key), text);
        assert_eq!(parse_key(text), Ok(key));
        assert_eq!(parse_key(&text[..43]), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        for wrong in [
            "",
            "=",
            &text[..42],
            &text[..40],
            &format!("{text}="),
            &format!(" {text}"),
            &format!("{}9=", &text[..42]), // bits after the last byte
            &text.replace('A', "-"),
            &"A".repeat(44),
            &"A".repeat(4_000),
        ] {
            assert_eq!(parse_key(wrong), Err(KeyTextError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn keys_come_back(key: Key) {
            let text = encode_key(&key);
            prop_assert_eq!(parse_key(&text), Ok(key));
            prop_assert_eq!(parse_key(text.trim_end_matches('=')), Ok(key));
            let secret = Secret::new(key);
            prop_assert_eq!(parse_secret(&encode_secret(&secret)), Ok(secret));
        }

        #[test]
        fn any_text_is_a_key_or_an_error(text in "\\PC{0,60}|[A-Za-z0-9+/=]{40,46}") {
            if let Ok(key) = parse_key(&text) {
                let known = encode_key(&key);
                prop_assert_eq!(text.trim_end_matches('='), known.trim_end_matches('='));
            }
        }
    }
}
