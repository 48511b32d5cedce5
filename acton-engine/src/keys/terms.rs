//! Terms of a client that is on no list, by the code that reads those of one that is.

use super::line::is_name;
use super::table;
use crate::sessions::admission::ClientPolicy;

/// Stands for the client in the list of one that is read.
const NAME: &str = "c";
/// The line of that list behind which the keys stand.
const HEAD: usize = 2;

impl ClientPolicy {
    /// The terms of a client by the keys of a `[client.NAME]` table (`ips`, `rate-in`, `mac`, ...), each
    /// with its value as TOML in one line, and by what operators call it. All keys but `key` and `psk`.
    ///
    /// # Errors
    /// Which key is wrong, and what would be right; or that nobody can be called so.
    pub fn from_keys<'t>(
        name: Option<&str>,
        keys: impl IntoIterator<Item = (&'t str, String)>,
    ) -> Result<Self, String> {
        if name.is_some_and(|name| !is_name(name)) {
            return Err(
                "a client's name is 1 to 63 ASCII letters, digits and any of - _ . @".to_owned()
            );
        }
        let mut text = format!("[client.{NAME}]\nkey = \"{}\"\n", super::encode_key(&[0; 32]));
        let mut names = Vec::new();
        for (key, value) in keys {
            let is_bare =
                !key.is_empty() && key.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
            if !is_bare || ["key", "psk"].contains(&key) || value.contains(['\n', '\r']) {
                return Err(format!("{key:?}: no such key"));
            }
            text.extend([key, " = ", &value, "\n"]);
            names.push(key);
        }
        let list = table::parse(&text).map_err(|error| {
            let key = error.line.checked_sub(HEAD + 1).and_then(|at| names.get(at));
            format!("{:?}: {}", key.unwrap_or(&"policy"), error.problem)
        })?;
        let client = list.find(NAME).ok_or("no terms")?;
        Ok(Self { name: name.map(str::to_owned), ..client.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(keys: &[(&'static str, &str)]) -> Result<ClientPolicy, String> {
        let keys = keys.iter().map(|&(key, value)| (key, value.to_owned()));
        ClientPolicy::from_keys(Some("berlin"), keys)
    }

    #[test]
    fn they_are_those_of_a_list() {
        let terms = terms(&[
            ("ips", "[\"10.0.0.5\", \"learn\"]"),
            ("mac", "\"02:00:00:00:00:01\""),
            ("max-macs", "4"),
            ("rate-in", "\"20M\""),
        ])
        .unwrap();
        assert_eq!(
            (terms.name.as_deref(), terms.macs.len(), terms.max_macs),
            (Some("berlin"), 1, Some(4))
        );
        assert!(terms.frames.learns() && terms.frames.policy().rate_in.is_some());
        assert_eq!(ClientPolicy::from_keys(None, []).unwrap(), ClientPolicy::default());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        for (keys, told) in [
            (&[("strict", "true"), ("ips", "\"10.0.0.256\"")][..], "\"ips\": no IP address"),
            (&[("ip", "1")], "\"ip\": a client has no such key"),
            (&[("key", "\"x\"")], "\"key\": no such key"),
            (&[("psk", "\"x\"")], "\"psk\": no such key"),
            (&[("a\"b", "1")], "no such key"),
            (&[("strict", "true\n[default]")], "\"strict\": no such key"),
            (&[("strict", "= 1")], "\"strict\""),
            (&[("strict", "true"), ("strict", "true")], "\"strict\""),
        ] {
            let error = terms(keys).unwrap_err();
            assert!(error.contains(told), "{keys:?}: {error}");
        }
        assert!(ClientPolicy::from_keys(Some("a b"), []).unwrap_err().contains("1 to 63"));
    }
}
