//! The list of clients as TOML: a table a client, with what it may send and get.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use acton_bridge::{
    Circuit, CompiledPolicy, EtherType, OuterTag, Policy, Rate, Sources, TagPair, Vlans,
};
use acton_proto::handshake::Secret;
use acton_proto::wire::Key;
use ipnet::IpNet;
use pnet_base::MacAddr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::circuit;
use super::clients::{Collected, ListedClient};
use super::line::{LineError, is_name, is_unicast};
use super::table_vlans::{Pairs, check_keys, outer_tag, vlan, vlan_lines, vlans};
use super::{ClientList, encode_key, encode_secret, parse_key, parse_secret};

/// What the name of a file of this kind ends in.
const EXTENSION: &str = "toml";
/// The table that says what holds for all clients, and the one that has a table for each.
const DEFAULT: &str = "default";
const CLIENT: &str = "client";
/// What a list that acton makes begins with.
const HEADER: &str =
    "# Clients that may join, a table each: [client.NAME]. What [default] says holds for all.\n";

/// What a text says wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableError {
    /// From 1, as `column`, in characters.
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) problem: String,
}

/// Something wrong, at these bytes of the text.
pub(super) struct Wrong {
    span: Range<usize>,
    problem: Cow<'static, str>,
}

pub(super) type Value<'t, 'i> = &'t Spanned<DeValue<'i>>;

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

/// What holds for a client, or by default.
#[derive(Debug, Clone, Default, PartialEq)]
struct Terms {
    max_macs: Option<usize>,
    strict: bool,
    trusted: Option<bool>,
    ethertypes: Option<Vec<EtherType>>,
    sources: Option<Sources>,
    rate_in: Option<Rate>,
    rate_out: Option<Rate>,
    vlans: Option<Vlans>,
    outer_tag: OuterTag,
    circuit: Option<Circuit>,
}

impl Terms {
    const KEYS: &str =
        "max-macs, strict, trusted, allow, ips, rate-in, rate-out, vlan, vlans, tpid and circuit";

    /// Takes what a key says; whether there is such a key.
    fn set(&mut self, key: &str, value: Value<'_, '_>) -> Result<bool, Wrong> {
        match key {
            "max-macs" => {
                let number = integer(value).and_then(|number| usize::try_from(number).ok());
                let problem = "write how many MACs may be behind a client, 0 for any number";
                self.max_macs = Some(number.ok_or_else(|| wrong(&value.span(), problem))?);
            }
            "strict" => self.strict = boolean(value)?,
            "trusted" => self.trusted = Some(boolean(value)?),
            "allow" => self.ethertypes = ethertypes(value)?,
            "ips" => self.sources = sources(value)?,
            "rate-in" => self.rate_in = rate(value)?,
            "rate-out" => self.rate_out = rate(value)?,
            "vlan" => self.vlans = Some(vlan(value)?),
            "vlans" => self.vlans = vlans(value)?,
            "tpid" => self.outer_tag = outer_tag(value)?,
            "circuit" => self.circuit = circuit::read(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn policy(&self) -> Policy {
        let mut policy = Policy::default();
        policy.trusted = self.trusted;
        policy.ethertypes.clone_from(&self.ethertypes);
        policy.sources.clone_from(&self.sources);
        (policy.rate_in, policy.rate_out) = (self.rate_in, self.rate_out);
        policy.vlans.clone_from(&self.vlans);
        if let Some(Vlans::Pair(TagPair { tpid, .. })) = &mut policy.vlans {
            *tpid = self.outer_tag;
        }
        policy.circuit.clone_from(&self.circuit);
        policy
    }
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

pub(super) fn wrong(span: &Range<usize>, problem: impl Into<Cow<'static, str>>) -> Wrong {
    Wrong { span: span.clone(), problem: problem.into() }
}

fn table_of<'t, 'i>(value: Value<'t, 'i>) -> Result<&'t DeTable<'i>, Wrong> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        _ => Err(wrong(&value.span(), "it is to be a table")),
    }
}

pub(super) fn string<'t>(value: Value<'t, '_>) -> Option<&'t str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

pub(super) fn integer(value: Value<'_, '_>) -> Option<u64> {
    match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn boolean(value: Value<'_, '_>) -> Result<bool, Wrong> {
    match value.get_ref() {
        DeValue::Boolean(yes) => Ok(*yes),
        _ => Err(wrong(&value.span(), "write true or false")),
    }
}

pub(super) fn parsed<T: FromStr>(value: Value<'_, '_>) -> Option<T> {
    string(value)?.parse().ok()
}

/// The values of an array, or the one that stands in place of an array.
pub(super) fn one_or_more<'t, 'i>(value: Value<'t, 'i>) -> Vec<Value<'t, 'i>> {
    match value.get_ref() {
        DeValue::Array(values) => values.iter().collect(),
        _ => vec![value],
    }
}

/// `"all"`, or kinds by name or number.
fn ethertypes(value: Value<'_, '_>) -> Result<Option<Vec<EtherType>>, Wrong> {
    if string(value) == Some("all") {
        return Ok(None);
    }
    let kind = |value: Value<'_, '_>| {
        let number = || {
            let number = u16::try_from(integer(value)?).ok()?;
            number.to_string().parse().ok()
        };
        let problem = "no EtherType; write \"ip\", \"ip6\", \"arp\", \"llc\" or a number from 0x0600 to \
                       0xffff, or allow = \"all\"";
        parsed(value).or_else(number).ok_or_else(|| wrong(&value.span(), problem))
    };
    one_or_more(value).into_iter().map(kind).collect::<Result<_, _>>().map(Some)
}

/// `"any"`, or addresses, networks and `"learn"`.
fn sources(value: Value<'_, '_>) -> Result<Option<Sources>, Wrong> {
    if string(value) == Some("any") {
        return Ok(None);
    }
    let mut sources = Sources::default();
    for value in one_or_more(value) {
        if string(value) == Some("learn") {
            sources.learn = true;
            continue;
        }
        let net = parsed::<IpNet>(value)
            .or_else(|| parsed::<std::net::IpAddr>(value).map(IpNet::from))
            .map(|net| net.trunc());
        let problem =
            "no IP address; write \"10.0.0.5\", \"2001:db8::/64\" or \"learn\", or ips = \"any\"";
        sources.listed.push(net.ok_or_else(|| wrong(&value.span(), problem))?);
    }
    Ok(Some(sources))
}

/// `"any"`, bits a second as `"20M"`, or a table.
fn rate(value: Value<'_, '_>) -> Result<Option<Rate>, Wrong> {
    const RIGHT: &str = "no rate; write bits a second as \"20M\" (a whole number with k, M or G, 8k at least), or \
                         { bits = \"20M\", frames = 5000, burst-bytes = 500000, burst-frames = 1000 }, or \
                         \"any\"";
    let bad = || wrong(&value.span(), RIGHT);
    if string(value) == Some("any") {
        return Ok(None);
    }
    let DeValue::Table(table) = value.get_ref() else {
        return Ok(Some(Rate::new(Some(bytes(value).ok_or_else(bad)?), None)));
    };
    let (mut bits, mut frames, mut burst_bytes, mut burst_frames) = (None, None, None, None);
    for (name, value) in table {
        let number = || integer(value).and_then(NonZeroU64::new);
        let place = match &**name.get_ref() {
            "bits" => {
                bits = Some(bytes(value).ok_or_else(|| wrong(&value.span(), RIGHT))?);
                continue;
            }
            "frames" => &mut frames,
            "burst-bytes" => &mut burst_bytes,
            "burst-frames" => &mut burst_frames,
            _ => return Err(wrong(&name.span(), RIGHT)),
        };
        *place = Some(number().ok_or_else(|| wrong(&value.span(), RIGHT))?);
    }
    if bits.is_none() && frames.is_none() {
        return Err(bad());
    }
    let mut rate = Rate::new(bits, frames);
    rate.burst_bytes = burst_bytes.unwrap_or(rate.burst_bytes);
    rate.burst_frames = burst_frames.unwrap_or(rate.burst_frames);
    Ok(Some(rate))
}

/// Bytes a second, of bits a second with k, M or G behind; at least 8 kbit/s.
fn bytes(value: Value<'_, '_>) -> Option<NonZeroU64> {
    let bits = match (string(value), integer(value)) {
        (Some(text), _) => {
            let (number, factor) = match text.as_bytes().last()? {
                b'k' => (&text[..text.len() - 1], 1_000),
                b'M' => (&text[..text.len() - 1], 1_000_000),
                b'G' => (&text[..text.len() - 1], 1_000_000_000),
                _ => (text, 1),
            };
            number.parse::<u64>().ok()?.checked_mul(factor)?
        }
        (None, number) => number?,
    };
    NonZeroU64::new(bits / 8).filter(|bytes| bytes.get() >= 1_000)
}

/// The text with a client more, at its end. What the client says nothing of it has from what holds for all.
pub(super) fn with(text: Option<&str>, client: &ListedClient) -> Zeroizing<String> {
    let old = text.unwrap_or(HEADER);
    // Room for all at once: a string that grows leaves copies of secrets behind.
    let more = terms_of(client);
    let mut new = Zeroizing::new(String::with_capacity(old.len() + 256 + more.len()));
    new.push_str(old);
    if !old.is_empty() && !old.ends_with('\n') {
        new.push('\n');
    }
    new.push_str("\n[client.");
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let quote = if client.name.bytes().all(is_bare) { "" } else { "\"" };
    for part in [quote, &client.name, quote, "]\nkey = \"", &encode_key(&client.key), "\"\n"] {
        new.push_str(part);
    }
    if let Some(psk) = &client.psk {
        for part in ["psk = \"", &encode_secret(psk), "\"\n"] {
            new.push_str(part);
        }
    }
    new.push_str(&more);
    new
}

/// The lines of a client's table but for its keys.
fn terms_of(client: &ListedClient) -> String {
    let ListedClient { macs, shared_macs, max_macs, strict, frames, .. } = client;
    let Policy { trusted, ethertypes, sources, rate_in, rate_out, circuit, .. } = frames.policy();
    let mut lines = String::new();
    let mut line = |key: &str, value: &str| lines.extend([key, " = ", value, "\n"]);
    if !macs.is_empty() {
        line("mac", &array(macs));
    }
    if !shared_macs.is_empty() {
        line("shared-mac", &array(shared_macs));
    }
    if let Some(number) = max_macs {
        line("max-macs", &number.to_string());
    }
    if *strict {
        line("strict", "true");
    }
    if let Some(trusted) = trusted {
        line("trusted", &trusted.to_string());
    }
    if let Some(kinds) = ethertypes {
        line("allow", &array(kinds));
    }
    if let Some(Sources { listed, learn }) = sources {
        let learn = learn.then(|| "learn".to_owned());
        line("ips", &array(listed.iter().map(ToString::to_string).chain(learn)));
    }
    for (key, rate) in [("rate-in", rate_in), ("rate-out", rate_out)] {
        let Some(Rate { bytes, burst_bytes, frames, burst_frames, .. }) = rate else { continue };
        let bits = bytes.map(|bytes| format!("bits = \"{}\", ", u128::from(bytes.get()) * 8));
        let frames = frames.map(|frames| format!("frames = {frames}, "));
        let (bits, frames) = (bits.unwrap_or_default(), frames.unwrap_or_default());
        let bursts = format!("burst-bytes = {burst_bytes}, burst-frames = {burst_frames}");
        line(key, &format!("{{ {bits}{frames}{bursts} }}"));
    }
    if let Some(circuit) = circuit {
        line("circuit", &circuit::written(circuit));
    }
    vlan_lines(frames.policy().vlans.as_ref(), line);
    lines
}

pub(super) fn array(values: impl IntoIterator<Item = impl ToString>) -> String {
    let values: Vec<_> =
        values.into_iter().map(|value| format!("\"{}\"", value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

/// The text without a client's table; `None` where that is written in a way that only its author can
/// undo.
pub(super) fn without(text: &str, name: &str) -> Option<Zeroizing<String>> {
    let heads = |line: &str| line.trim_start().starts_with('[');
    let is_it = |line: &str| {
        let table = DeTable::parse(line).ok();
        table.is_some_and(|table| {
            let Some(DeValue::Table(clients)) = table.get_ref().get(CLIENT).map(Spanned::get_ref)
            else {
                return false;
            };
            clients.get(name).is_some()
        })
    };
    let (mut kept, mut skips) = (Zeroizing::new(String::with_capacity(text.len())), false);
    // Comments behind the client's last line, and blank lines among them: they belong to what follows.
    let mut held = Zeroizing::new(String::new());
    for line in text.split_inclusive('\n') {
        if heads(line) {
            kept.push_str(&held);
            held.clear();
            skips = is_it(line);
        } else if skips {
            let line_text = line.trim_start();
            // Blank lines before the first comment go with the table.
            if line_text.starts_with('#') || line_text.is_empty() && !held.is_empty() {
                held.push_str(line);
            } else if !line_text.is_empty() {
                held.clear();
            }
        }
        if !skips {
            kept.push_str(line);
        }
    }
    kept.push_str(&held);
    let (before, after) = (parse(text).ok()?, parse(&kept).ok()?);
    let others = before.iter().filter(|client| client.name != name);
    let is_right = after.len() + 1 == before.len()
        && others.into_iter().all(|client| after.get(&client.key) == Some(client))
        && defaults_of(text) == defaults_of(&kept);
    is_right.then_some(kept)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;
    use crate::keys::KeyError;
    use crate::keys::file::tests::Directory;
    use crate::keys::line::tests::{KEY, any_client};

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
    fn clients_come_and_go_and_the_rest_stays() {
        let directory = Directory::new();
        let path = directory.join("clients.toml");
        let client = |number: u8| ListedClient::new([number; 32], format!("client.{number}"));
        assert!(ClientList::add(&path, &client(1)).unwrap());
        assert!(fs::read_to_string(&path).unwrap().starts_with(HEADER));
        ClientList::add(&path, &client(2)).unwrap();
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str(
            "ips = [\n  \"10.0.0.5\",\n]\n\n# What holds for all.\n[default]\nstrict = true\n",
        );
        fs::write(&path, &text).unwrap();
        ClientList::add(&path, &client(3)).unwrap();
        let list = ClientList::load(&path).unwrap();
        assert_eq!((list.len(), list.find("client.3").unwrap().strict), (3, true));
        assert!(list.find("client.2").unwrap().frames.policy().sources.is_some());
        assert_eq!(ClientList::remove(&path, "client.2").unwrap(), 2);
        let left = fs::read_to_string(&path).unwrap();
        assert!(
            left.contains("# What holds for all.\n[default]") && !left.contains("10.0.0.5"),
            "{left}"
        );
        assert_eq!(ClientList::load(&path).unwrap().len(), 2);
        fs::write(&path, format!("[client]\na = {{ key = \"{KEY}\" }}\n")).unwrap();
        assert!(matches!(ClientList::remove(&path, "a"), Err(KeyError::TableStays { .. })));
        assert_eq!(ClientList::load(&path).unwrap().len(), 1);
    }

    #[test]
    fn what_a_client_had_is_no_others_when_it_goes() {
        let client = format!("[client.a]\nkey = \"{KEY}\"\n");
        let rest = "# What holds for b.\n\n# Again.\n";
        let other = format!("[client.b]\nkey = \"{OTHER}\"\n");
        for (text, left) in [
            (
                format!("[default]\nstrict = true\n\n{client}# our router\ntrusted = true\n"),
                "[default]\nstrict = true\n\n".to_owned(),
            ),
            (format!("{client}# c\ntrusted = true\n\n{rest}{other}"), format!("{rest}{other}")),
            (
                format!("{client}ips = [\n  # the printer\n  \"10.0.0.5\",\n]\n\n{other}"),
                other.clone(),
            ),
            (format!("{client}# the end\n"), "# the end\n".to_owned()),
        ] {
            assert_eq!(without(&text, "a").as_deref(), Some(&left), "{text}");
        }
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
        fn what_is_added_is_read_again(clients in prop::collection::vec(any_client(), 1..5)) {
            let mut text = None;
            let mut listed = Vec::<ListedClient>::new();
            for mut client in clients {
                let mut policy = client.frames.policy().clone();
                policy.ethertypes = client.strict.then(|| vec!["ip".parse().unwrap(), EtherType::LLC]);
                policy.sources = client.max_macs.map(|number| Sources {
                    listed: vec!["10.0.0.5/32".parse().unwrap(), "2001:db8::/64".parse().unwrap()],
                    learn: number % 2 == 0,
                });
                policy.rate_in = NonZeroU64::new(u64::from(client.key[0]) * 1_000)
                    .map(|bytes| Rate::new(Some(bytes), NonZeroU64::new(client.key[1].into())));
                // TOML's integers have a sign.
                client.max_macs = client.max_macs.map(|number| number >> 1);
                client.frames = Arc::new(policy.into());
                client.macs.sort_unstable();
                client.macs.dedup();
                let macs = |of: &ListedClient| of.macs.iter().any(|mac| client.macs.contains(mac));
                let is_there = |of: &ListedClient| {
                    of.name == client.name || of.key == client.key || macs(of)
                };
                if listed.iter().any(is_there) {
                    continue;
                }
                text = Some(with(text.as_ref().map(|text: &Zeroizing<String>| text.as_str()), &client));
                listed.push(client);
            }
            let text = text.unwrap();
            let list = parse(&text).unwrap();
            prop_assert_eq!(list.len(), listed.len());
            for client in &listed {
                prop_assert_eq!(list.get(&client.key), Some(client));
            }
            let left = without(&text, &listed[0].name).unwrap();
            prop_assert_eq!(parse(&left).unwrap().len(), listed.len() - 1);
        }

        #[test]
        fn any_text_is_a_list_or_an_error(
            text in "(\\[(client|default)?[.a\"\n]{0,4}\\]?\n?|(key|ips|allow|rate-in) = [\"\\[{]{0,2}[ -~]{0,8}\n){0,6}",
        ) {
            let _ = parse(&text);
            let _ = without(&text, "a");
        }
    }
}
