//! One line of the list of clients.

use std::fmt::Write;
use std::sync::Arc;

use acton_bridge::Policy;
use pnet_base::MacAddr;
use zeroize::Zeroizing;

use super::clients::ListedClient;
use super::{encode_key, encode_secret, parse_key, parse_secret};

/// The longest name of a client, in characters.
const MAX_NAME_LEN: usize = 63;

/// What is wrong with a line of the list of clients. It repeats nothing of the line that could be
/// a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The first word is no public key.
    #[error(
        "it begins with no public key; write: KEY NAME [psk=KEY] [mac=02:00:00:00:00:01]... \
         [shared-mac=00:00:5e:00:01:00/40]... [max-macs=N] [strict] [trusted], with the KEY that \
         `acton pubkey` prints"
    )]
    Key,
    /// There is no name after the key, or it has characters that a name cannot have.
    #[error(
        "no name follows the key; write: KEY NAME, with a name of 1 to {MAX_NAME_LEN} ASCII \
         letters, digits and any of - _ . @"
    )]
    Name,
    /// A word after the name is none of the known ones.
    #[error(
        "after the name it has something else than psk=KEY, mac=MAC, shared-mac=MAC[/BITS], \
         max-macs=N, strict or trusted"
    )]
    Word,
    /// The value of `psk=` is no key.
    #[error("its psk= is no key; write what `acton keygen` prints")]
    Psk,
    /// The value of `mac=` is no address that one host can have.
    #[error("its mac= is no unicast MAC address; write it as mac=02:00:00:00:00:01")]
    Mac,
    /// The value of `shared-mac=` is no range of addresses.
    #[error(
        "its shared-mac= is no range of MAC addresses; write it as shared-mac=00:00:5e:00:01:00/40, \
         with 1 to 48 bits"
    )]
    SharedMac,
    /// The value of `max-macs=` is no number.
    #[error("its max-macs= is no number; write how many MACs may be behind the client")]
    MaxMacs,
    /// `psk=`, `max-macs=`, `strict` or `trusted` is there twice.
    #[error("it has {0} twice; leave one")]
    Twice(&'static str),
    /// `strict` is there without a MAC that it would leave to the client.
    #[error(
        "it is strict and has no mac= or shared-mac=, so that nothing that the client sends would \
         pass; write which MACs it may use"
    )]
    StrictWithoutMac,
    /// Another line has the same key.
    #[error("its key is in line {0} already; give each client a key of its own")]
    KeyAgain(usize),
    /// Another line has the same name.
    #[error("its name is in line {0} already; give each client a name of its own")]
    NameAgain(usize),
    /// The same MAC address is there before.
    #[error("its MAC {0} is in line {1} already; a MAC belongs to one client")]
    MacAgain(MacAddr, usize),
}

/// Whether a client may be called so.
pub(super) fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&text.len()) && text.bytes().all(fits)
}

/// Reads a line; `None` if it is blank or only a comment.
pub(super) fn parse(line: &str) -> Result<Option<ListedClient>, LineError> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(key) = words.next() else { return Ok(None) };
    let key = parse_key(key).map_err(|_| LineError::Key)?;
    let name = words.next().filter(|name| is_name(name)).ok_or(LineError::Name)?;
    let mut client = ListedClient::new(key, name);
    for word in words {
        if word == "trusted" {
            if client.frames.policy().trusted.is_some() {
                return Err(LineError::Twice("trusted"));
            }
            let mut policy = Policy::default();
            policy.trusted = Some(true);
            client.frames = Arc::new(policy.into());
            continue;
        }
        if word == "strict" {
            if std::mem::replace(&mut client.strict, true) {
                return Err(LineError::Twice("strict"));
            }
            continue;
        }
        match word.split_once('=') {
            Some(("psk", value)) => {
                let psk = parse_secret(value).map_err(|_| LineError::Psk)?;
                set(&mut client.psk, psk, "psk=")?;
            }
            Some(("mac", value)) => {
                let mac = value.parse().ok().filter(is_unicast).ok_or(LineError::Mac)?;
                client.macs.push(mac);
            }
            Some(("shared-mac", value)) => {
                client.shared_macs.push(value.parse().map_err(|_| LineError::SharedMac)?);
            }
            Some(("max-macs", value)) => {
                let number = value.parse().map_err(|_| LineError::MaxMacs)?;
                set(&mut client.max_macs, number, "max-macs=")?;
            }
            _ => return Err(LineError::Word),
        }
    }
    if client.strict && client.macs.is_empty() && client.shared_macs.is_empty() {
        return Err(LineError::StrictWithoutMac);
    }
    Ok(Some(client))
}

fn set<T>(slot: &mut Option<T>, value: T, what: &'static str) -> Result<(), LineError> {
    if slot.replace(value).is_some() { Err(LineError::Twice(what)) } else { Ok(()) }
}

pub(super) fn is_unicast(mac: &MacAddr) -> bool {
    !mac.is_multicast() && !mac.is_zero()
}

/// The line of a client, as [`parse`] reads it, without an end of line.
pub(super) fn render(client: &ListedClient) -> Zeroizing<String> {
    let ListedClient { key, name, psk, macs, shared_macs, max_macs, strict, frames } = client;
    // Room for the secret at once: a string that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(160 + name.len()));
    line.push_str(&encode_key(key));
    line.push(' ');
    line.push_str(name);
    if let Some(psk) = psk {
        line.push_str(" psk=");
        line.push_str(&encode_secret(psk));
    }
    for mac in macs {
        let _ = write!(*line, " mac={mac}"); // a String takes everything
    }
    for range in shared_macs {
        let _ = write!(*line, " shared-mac={range}");
    }
    if let Some(number) = max_macs {
        let _ = write!(*line, " max-macs={number}");
    }
    if *strict {
        line.push_str(" strict");
    }
    if frames.policy().trusted == Some(true) {
        line.push_str(" trusted");
    }
    line
}

#[cfg(test)]
pub(super) mod tests {
    use acton_bridge::MacRange;
    use acton_proto::handshake::Secret;
    use acton_proto::wire::Key;
    use proptest::prelude::*;

    use super::*;

    pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_line_in_full() {
        let line = format!(
            "  {KEY}\tlaptop-7  mac=02:00:00:00:00:01 psk={} mac=02:00:00:00:00:02 max-macs=3 strict \
             shared-mac=00:00:5e:00:01:00/40 shared-mac=02:00:00:00:00:03 # x",
            &KEY[..43]
        );
        let client = parse(&line).unwrap().unwrap();
        assert_eq!(client.key, parse_key(KEY).unwrap());
        assert_eq!(client.name, "laptop-7");
        assert_eq!(client.psk, Some(Secret::new(client.key)));
        let mac = |last| MacAddr::new(2, 0, 0, 0, 0, last);
        assert_eq!((client.macs, client.max_macs), (vec![mac(1), mac(2)], Some(3)));
        assert!(client.strict);
        let ranges: Vec<_> = client.shared_macs.iter().map(ToString::to_string).collect();
        assert_eq!(ranges, ["00:00:5e:00:01:00/40", "02:00:00:00:00:03"]);
    }

    #[test]
    fn lines_without_a_client() {
        for line in ["", "   ", "# text", "  # KEY name", "\t#"] {
            assert_eq!(parse(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn wrong_lines() {
        let name = "x".repeat(64);
        for (rest, error) in [
            ("", LineError::Name),
            (" # no name", LineError::Name),
            (" a/b", LineError::Name),
            (" psk=x", LineError::Name),
            (&format!(" {name}"), LineError::Name),
            (" a b", LineError::Word),
            (" a PSK=x", LineError::Word),
            (" a psk", LineError::Word),
            (" a psk=", LineError::Psk),
            (&format!(" a psk={KEY} psk={KEY}"), LineError::Twice("psk=")),
            (" a mac=02:00:00:00:00", LineError::Mac),
            (" a mac=01:00:5e:00:00:01", LineError::Mac),
            (" a mac=00:00:00:00:00:00", LineError::Mac),
            (" a shared-mac=00:00:5e:00:01:00/49", LineError::SharedMac),
            (" a max-macs=-1", LineError::MaxMacs),
            (" a max-macs=1 max-macs=1", LineError::Twice("max-macs=")),
            (" a strict strict", LineError::Twice("strict")),
            (" a strict=1", LineError::Word),
            (" a strict max-macs=1", LineError::StrictWithoutMac),
            (" a trusted trusted", LineError::Twice("trusted")),
        ] {
            assert_eq!(parse(&format!("{KEY}{rest}")), Err(error), "{rest:?}");
        }
        assert_eq!(parse("laptop KEY"), Err(LineError::Key));
        assert_eq!(parse(&format!("laptop {KEY}")), Err(LineError::Key));
    }

    pub(crate) fn any_client() -> impl Strategy<Value = ListedClient> {
        let mac =
            any::<[u8; 6]>().prop_map(|[a, b, c, d, e, f]| MacAddr(a & 0xfe | 2, b, c, d, e, f));
        let range = (mac.clone(), 1..=48_u8)
            .prop_filter_map("a range", |(mac, bits)| MacRange::new(mac, bits));
        (
            any::<Key>(),
            "[A-Za-z0-9_.@-]{1,63}",
            proptest::option::of(any::<Key>().prop_map(Secret::new)),
            proptest::collection::vec(mac, 0..4),
            proptest::collection::vec(range, 0..3),
            any::<Option<usize>>(),
            any::<[bool; 2]>(),
        )
            .prop_map(
                |(key, name, psk, macs, shared_macs, max_macs, [strict, trusted])| {
                    let mut policy = Policy::default();
                    policy.trusted = trusted.then_some(true);
                    let frames = Arc::new(policy.into());
                    let strict = strict && !(macs.is_empty() && shared_macs.is_empty());
                    ListedClient { key, name, psk, macs, shared_macs, max_macs, strict, frames }
                },
            )
    }

    proptest! {
        #[test]
        fn lines_come_back(client in any_client()) {
            prop_assert_eq!(parse(&render(&client)), Ok(Some(client)));
        }

        #[test]
        fn any_line_is_a_client_or_an_error(
            rest in "( ?(psk=|mac=|shared-mac=|max-macs=|strict|trusted|#)?[ -~]{0,20}){0,4}|.{0,80}",
        ) {
            let _ = parse(&rest);
            let _ = parse(&format!("{KEY} {rest}"));
        }
    }
}
