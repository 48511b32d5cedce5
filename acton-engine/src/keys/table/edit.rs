//! Clients put into a list as TOML and taken out of it, and the rest left as it is.

use acton_bridge::{Policy, Rate, Sources};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::values::array;
use super::vlans::vlan_lines;
use super::{CLIENT, circuit, defaults_of, parse};
use crate::keys::clients::ListedClient;
use crate::keys::{encode_key, encode_secret};

/// What a list that acton makes begins with.
const HEADER: &str =
    "# Clients that may join, a table each: [client.NAME]. What [default] says holds for all.\n";

/// The text with a client more, at its end. What the client says nothing of it has from what holds for all.
pub(in crate::keys) fn with(text: Option<&str>, client: &ListedClient) -> Zeroizing<String> {
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
pub(super) fn terms_of(client: &ListedClient) -> String {
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

/// The text without a client's table; `None` where that is written in a way that only its author can
/// undo.
pub(in crate::keys) fn without(text: &str, name: &str) -> Option<Zeroizing<String>> {
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
    use std::fs;
    use std::num::NonZeroU64;
    use std::sync::Arc;

    use acton_bridge::EtherType;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::file::tests::Directory;
    use crate::keys::line::tests::{KEY, any_client};
    use crate::keys::{ClientList, KeyError};

    const OTHER: &str = "//////////////////////////////////////////8=";

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
    }
}
