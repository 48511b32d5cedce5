//! The list of clients as TOML: a table a client, with what it may send and get.

mod circuit;
mod edit;
mod terms;
mod values;
mod vlans;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use acton_bridge::{CompiledPolicy, Vlans};
use acton_proto::handshake::Secret;
use acton_proto::wire::Key;
use pnet_base::MacAddr;
use toml::de::DeTable;

use super::clients::{Collected, ListedClient};
use super::line::{LineError, is_name, is_unicast};
use super::{ClientList, parse_key, parse_secret};
use terms::Terms;
use values::{Value, Wrong, one_or_more, parsed, string, table_of, wrong};
use vlans::{Pairs, check_keys};

pub(super) use edit::{with, without};

/// What the name of a file of this kind ends in.
const EXTENSION: &str = "toml";
/// The table that says what holds for all clients, and the one that has a table for each.
const DEFAULT: &str = "default";
const CLIENT: &str = "client";

/// What a text says wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableError {
    /// From 1, as `column`, in characters.
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) problem: String,
}

/// Whether a list is TOML: by the name of its file, or by its first line that is neither blank nor a
/// comment, which begins with a bracket.
pub(super) fn is_table(path: &Path, text: &str) -> bool {
    let lines = text.lines().map(str::trim);
    let first = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#'));
    path.extension().is_some_and(|extension| extension == EXTENSION)
        || first.is_some_and(|line| line.starts_with('['))
}

/// Reads a list.
pub(super) fn parse(text: &str) -> Result<ClientList, TableError> {
    read(text).map_err(|Wrong { span, problem }| {
        let (line, column) = place(text, span.start);
        TableError { line, column, problem: problem.into_owned() }
    })
}

/// The line and the column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Where lines begin, so that many places are found at once.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect(),
        )
    }

    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|&end| end < at) + 1
    }
}

fn read(text: &str) -> Result<ClientList, Wrong> {
    let table = DeTable::parse(text).map_err(|error| Wrong {
        span: error.span().unwrap_or(0..0),
        // What stands there could be a secret.
        problem: error.message().replace('\n', " ").into(),
    })?;
    let (mut defaults, mut clients) = (Terms::default(), None);
    for (name, value) in table.get_ref() {
        match &**name.get_ref() {
            DEFAULT => defaults = default_terms(value)?,
            CLIENT => clients = Some(table_of(value)?),
            _ => {
                let problem = format!("no such table; write [{DEFAULT}] and [{CLIENT}.NAME]");
                return Err(wrong(&name.span(), problem));
            }
        }
    }
    let shared = Arc::new(CompiledPolicy::new(defaults.policy()));
    let (lines, mut collected) = (Lines::of(text), Collected::default());
    let mut pairs = Pairs::default();
    for (name, value) in clients.into_iter().flatten() {
        let at = name.span();
        if !is_name(name.get_ref()) {
            let problem = "no client can be called so; take 1 to 63 ASCII letters, digits and any of \
                           - _ . @, and put a name with . or @ into quotes";
            return Err(wrong(&at, problem));
        }
        let client = client(name.get_ref(), &at, value, &defaults, &shared)?;
        let line = lines.number(at.start);
        pairs.add(&client, table_of(value)?, &at)?;
        collected.add(client, line).map_err(|error| wrong(&at, error.to_string()))?;
    }
    Ok(collected.list())
}

/// What holds for all, by the value of `[default]`.
fn default_terms(value: Value<'_, '_>) -> Result<Terms, Wrong> {
    let mut terms = Terms::default();
    check_keys(table_of(value)?)?;
    for (key, value) in table_of(value)? {
        if !terms.set(key.get_ref(), value)? {
            let problem = no_such_key(&format!("[{DEFAULT}]"), key.get_ref(), Terms::KEYS);
            return Err(wrong(&key.span(), problem));
        }
        if matches!(terms.vlans, Some(Vlans::Pair(_))) {
            let problem = "two tags are one client's alone; write them in its table";
            return Err(wrong(&value.span(), problem));
        }
    }
    Ok(terms)
}

/// What a text says that holds for all.
fn defaults_of(text: &str) -> Option<Terms> {
    let table = DeTable::parse(text).ok()?;
    let value = table.get_ref().get(DEFAULT);
    value.map_or_else(|| Some(Terms::default()), |value| default_terms(value).ok())
}

/// What a client's table has beside [`Terms::KEYS`].
const OWN_KEYS: &str = "key, psk, mac, shared-mac";

/// Reads the table of a client.
fn client(
    name: &str,
    at: &Range<usize>,
    value: Value<'_, '_>,
    defaults: &Terms,
    shared: &Arc<CompiledPolicy>,
) -> Result<ListedClient, Wrong> {
    let (mut key, mut terms): (Option<Key>, Option<Terms>) = (None, None);
    let (mut macs, mut shared_macs, mut psk): (_, _, Option<Secret>) =
        (Vec::new(), Vec::new(), None);
    check_keys(table_of(value)?)?;
    for (name, value) in table_of(value)? {
        let problem = |error: &LineError| wrong(&value.span(), in_table(error));
        match &**name.get_ref() {
            "key" => {
                let text = string(value).and_then(|text| parse_key(text).ok());
                let problem = "no public key; write what `acton pubkey` prints, in quotes";
                key = Some(text.ok_or_else(|| wrong(&value.span(), problem))?);
            }
            "psk" => {
                let text = string(value).and_then(|text| parse_secret(text).ok());
                psk = Some(text.ok_or_else(|| problem(&LineError::Psk))?);
            }
            "mac" => {
                for value in one_or_more(value) {
                    let mac = parsed::<MacAddr>(value).filter(is_unicast);
                    macs.push(mac.ok_or_else(|| problem(&LineError::Mac))?);
                }
            }
            "shared-mac" => {
                for value in one_or_more(value) {
                    shared_macs.push(parsed(value).ok_or_else(|| problem(&LineError::SharedMac))?);
                }
            }
            other => {
                let own = terms.get_or_insert_with(|| defaults.clone());
                if !own.set(other, value)? {
                    let keys = format!("{OWN_KEYS}, {}", Terms::KEYS);
                    let problem = no_such_key("a client", other, &keys);
                    return Err(wrong(&name.span(), problem));
                }
            }
        }
    }
    let missing = "the client has no key; write: key = \"KEY\", with what `acton pubkey` prints";
    let key = key.ok_or_else(|| wrong(at, missing))?;
    let policy = terms.as_ref().map(Terms::policy);
    let terms = terms.as_ref().unwrap_or(defaults);
    if let Some(problem) = terms.circuit.as_ref().and_then(|it| circuit::too_long(it, name)) {
        return Err(wrong(at, problem));
    }
    // Those who say nothing that differs go by one policy.
    let frames = match policy.filter(|policy| policy != shared.policy()) {
        Some(policy) => Arc::new(policy.into()),
        None => Arc::clone(shared),
    };
    let (max_macs, strict) = (terms.max_macs, terms.strict);
    if strict
        && macs.is_empty()
        && shared_macs.is_empty()
        // By default it holds for clients that have no MAC yet, too, as those that were just invited.
        && let Some(own) = table_of(value)?.get("strict")
    {
        let problem = "the client has no mac or shared-mac, so that nothing that it sends would pass; write \
                       which MACs it may use";
        return Err(wrong(&own.span(), problem));
    }
    Ok(ListedClient {
        key,
        name: name.to_owned(),
        psk,
        macs,
        shared_macs,
        max_macs,
        strict,
        frames,
    })
}

/// That there is no such key, which stays unsaid for it may be half of a secret; which of those that there
/// are is like it, and all of them.
fn no_such_key(whose: &str, key: &str, keys: &str) -> String {
    let usual = key.to_ascii_lowercase().replace('_', "-");
    let names = keys.split([',', ' ']).filter(|name| name.len() > 2 && *name != "and");
    let (far, near) =
        names.map(|name| (strsim::levenshtein(&usual, name), name)).min().unwrap_or_default();
    match far <= 2 && far + 1 < near.len() {
        true => format!("{whose} has no such key; did you mean {near}? There are {keys}"),
        false => format!("{whose} has no such key; there are {keys}"),
    }
}

/// What is wrong, in the words of this kind of list.
fn in_table(error: &LineError) -> &'static str {
    match error {
        LineError::Psk => "no key; write what `acton keygen` prints, in quotes",
        LineError::Mac => {
            "no unicast MAC address; write it as \"02:00:00:00:00:01\", several in brackets"
        }
        _ => "no range of MAC addresses; write it as \"00:00:5e:00:01:00/40\", with 1 to 48 bits",
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::keys::encode_key;
    use crate::keys::file::tests::Directory;
    use crate::keys::line::tests::KEY;

    const OTHER: &str = "//////////////////////////////////////////8=";

    #[test]
    fn a_list_in_full() {
        let text = format!(
            "# the office\n[default]\nallow = [\"ip\", \"ip6\", \"arp\", 0x8863]\nmax-macs = 4\n\
             rate-in = \"20M\"\n\n\
             [client.berlin]\nkey = \"{KEY}\"\nmac = \"02:00:00:00:00:01\"\n\
             shared-mac = [\"00:00:5e:00:01:00/40\"]\nips = [\"10.0.0.5\", \"2001:db8::1/64\", \"learn\"]\n\
             rate-out = {{ bits = \"8k\", frames = 500, burst-frames = 7 }}\ntrusted = true\n\
             rate-in = \"any\"\nstrict = true\n\n\
             [client.\"a@b.c\"]\nkey = \"{OTHER}\"\n"
        );
        let list = parse(&text).unwrap();
        let (berlin, other) = (list.find("berlin").unwrap(), list.find("a@b.c").unwrap());
        assert_eq!((berlin.macs.len(), berlin.shared_macs.len()), (1, 1));
        assert_eq!((berlin.max_macs, berlin.strict, other.strict), (Some(4), true, false));
        let (policy, default) = (berlin.frames.policy(), other.frames.policy());
        assert_eq!(policy.ethertypes.as_ref().unwrap().len(), 4);
        assert_eq!(policy.ethertypes, default.ethertypes);
        assert_eq!((policy.trusted, default.trusted), (Some(true), None));
        let sources = policy.sources.as_ref().unwrap();
        assert_eq!(sources.to_string(), "those learnt, 10.0.0.5, 2001:db8::/64");
        assert_eq!((policy.rate_in, &default.sources), (None, &None));
        assert_eq!(default.rate_in.unwrap().to_string(), "20 Mbit/s");
        let rate = policy.rate_out.unwrap();
        assert_eq!(
            (rate.to_string().as_str(), rate.burst_frames.get()),
            ("8 kbit/s, 500 frames/s", 7)
        );
    }

    #[test]
    fn those_without_a_policy_of_their_own_share_one() {
        let text = format!(
            "[default]\nips = \"learn\"\n[client.a]\nkey = \"{KEY}\"\n[client.b]\nkey = \"{OTHER}\"\n\
             ips = [\"learn\"]\n"
        );
        let list = parse(&text).unwrap();
        let [a, b] = ["a", "b"].map(|name| Arc::clone(&list.find(name).unwrap().frames));
        assert!(Arc::ptr_eq(&a, &b) && a.learns());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_would_be_right() {
        let client = format!("[client.a]\nkey = \"{KEY}\"\n");
        for (text, place, right) in [
            ("[defaults]\n", (1, 2), "[client.NAME]"),
            ("[default]\nkey = 1\n", (2, 1), "max-macs"),
            ("[client]\na = 1\n", (2, 5), "a table"),
            ("[client.a]\n", (1, 9), "acton pubkey"),
            ("[client.a]\nkey = \"x\"\n", (2, 7), "acton pubkey"),
            ("[client.\"a b\"]\n", (1, 9), "1 to 63"),
            (&format!("{client}ip = 1\n"), (3, 1), "did you mean ips? There"),
            (&format!("{client}rate_in = 1\n"), (3, 1), "did you mean rate-in? There"),
            (&format!("{client}key2 = 1\n"), (3, 1), "did you mean key? There"),
            (&format!("{client}unlike = 1\n"), (3, 1), "no such key; there are"),
            ("[default]\nmax_mac = 1\n", (2, 1), "did you mean max-macs? There"),
            (
                &format!("{client}ips = [\"10.0.0.5\",\n  \"10.0.0.256\"]\n"),
                (4, 3),
                "2001:db8::/64",
            ),
            (&format!("{client}allow = [\"ip\", 1500]\n"), (3, 16), "0x0600"),
            (&format!("{client}rate-in = \"20 M\"\n"), (3, 11), "\"20M\""),
            (&format!("{client}rate-in = {{ burst-frames = 1 }}\n"), (3, 11), "frames = 5000"),
            (&format!("{client}rate-in = \"7k\"\n"), (3, 11), "\"20M\""),
            (&format!("{client}trusted = \"yes\"\n"), (3, 11), "true or false"),
            (&format!("{client}mac = [\"01:00:5e:00:00:01\"]\n"), (3, 7), "unicast"),
            (&format!("{client}strict = true\n"), (3, 10), "shared-mac"),
            (&format!("{client}[client.b]\nkey = \"{KEY}\"\n"), (3, 9), "line 1"),
            ("[client.a\n", (1, 10), ""),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column), place, "{text}: {error:?}");
            assert!(error.problem.contains(right), "{text}: {error:?}");
        }
        let directory = Directory::new();
        let path = directory.join("clients");
        fs::write(&path, "\n[default]\nstrict = 1\n").unwrap();
        let error = ClientList::load(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}:3:10: write true or false", path.display()));
    }

    #[test]
    fn no_secret_is_told() {
        let text = format!("[client.a]\nkey = \"{KEY}\"\npsk = \"topsecret\n");
        assert!(!parse(&text).unwrap_err().problem.contains("topsecret"));
        let text = format!("[client.a]\nkey = \"{KEY}\"\npsk = \"topsecret\"\n");
        assert!(!parse(&text).unwrap_err().problem.contains("topsecret"));
    }

    #[test]
    fn what_begins_with_a_bracket_is_toml() {
        let path = Path::new("clients");
        assert!(is_table(path, "# a\n\n [default]\n"));
        assert!(!is_table(path, &format!("# [a]\n{KEY} a\n")) && !is_table(path, ""));
        assert!(is_table(Path::new("a/b.toml"), ""));
    }

    /// With what is slow in a debug build; the release build reads as many in a tenth of that.
    #[test]
    fn ten_thousand_clients_are_read() {
        let mut text = String::new();
        for number in 0..10_000_u32 {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            let [_, _, high, low] = number.to_be_bytes();
            let key = encode_key(&key);
            writeln!(
                text,
                "[client.site-{number}]\nkey = \"{key}\"\nmac = \"02:00:00:00:{high:02x}:{low:02x}\"\n\
                 ips = [\"10.0.{high}.{low}\"]\nrate-in = \"20M\"\n"
            )
            .unwrap();
        }
        let start = Instant::now();
        let list = parse(&text).unwrap();
        let took = start.elapsed();
        eprintln!("10,000 clients, {} bytes: {took:?}", text.len());
        assert_eq!(list.len(), 10_000);
        assert!(took < Duration::from_secs(60), "{took:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(
            text in "(\\[(client|default)?[.a\"\n]{0,4}\\]?\n?|(key|ips|allow|rate-in) = [\"\\[{]{0,2}[ -~]{0,8}\n){0,6}",
        ) {
            let _ = parse(&text);
            let _ = without(&text, "a");
        }
    }
}
