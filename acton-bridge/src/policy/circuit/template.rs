//! What a circuit is called: text with fields for who it is.

use std::fmt;
use std::str::FromStr;

use pnet_base::MacAddr;
use thiserror::Error;

/// Bytes of a circuit's or remote's name, at most (TR-101, section 3.9.3).
pub(super) const MAX_NAME: usize = 63;
/// Bytes of a MAC address in a name: `02:00:00:00:00:09`.
const MAC_LEN: usize = 17;
/// Digits of a VLAN id, at most.
const VLAN_LEN: usize = 4;

/// Text with `{client}`, `{server}`, `{mac}` and `{vlan}` in it.
///
/// ```
/// use acton_bridge::CircuitTemplate;
///
/// let template: CircuitTemplate = "{server} eth 0/{client}:{vlan}".parse().unwrap();
/// assert_eq!(template.longest("berlin", "olt-7"), 23);
/// assert_eq!(template.shown("berlin", "olt-7"), "olt-7 eth 0/berlin:{vlan}");
/// assert!("{clien}".parse::<CircuitTemplate>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct CircuitTemplate {
    text: String,
    parts: Vec<Part>,
}

/// Why a text is no [`CircuitTemplate`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CircuitTemplateError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A brace stands for nothing.
    #[error("{{{0}}} is no field; there are {{client}}, {{server}}, {{mac}} and {{vlan}}")]
    Field(String),
    /// A brace is not closed, or closed without being open.
    #[error("a brace has no counterpart")]
    Brace,
    /// Something else than printable ASCII is in it.
    #[error("it is to be printable ASCII")]
    NotAscii,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Client,
    Server,
    Mac,
    Vlan,
}

/// A name, made of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    bytes: [u8; MAX_NAME],
    len: usize,
}

impl Name {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// `None` where there is no room.
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).ok_or(fmt::Error)
    }
}

impl CircuitTemplate {
    /// Bytes of the longest name that it makes for a client of a server: 63 are allowed.
    #[must_use]
    pub fn longest(&self, client: &str, server: &str) -> usize {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.len(),
            Part::Client => client.len(),
            Part::Server => server.len(),
            Part::Mac => MAC_LEN,
            Part::Vlan => VLAN_LEN,
        });
        parts.sum()
    }

    /// The name for a client of a server; `{mac}` and `{vlan}`, which are of each frame, stay.
    #[must_use]
    pub fn shown(&self, client: &str, server: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Client => client,
            Part::Server => server,
            Part::Mac => "{mac}",
            Part::Vlan => "{vlan}",
        });
        parts.collect()
    }

    /// The name for a frame; `None` where it would be empty or longer than 63 bytes.
    pub(super) fn name(&self, client: &str, server: &str, mac: MacAddr, vlan: u16) -> Option<Name> {
        use fmt::Write;
        let mut name = Name { bytes: [0; MAX_NAME], len: 0 };
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push(text.as_bytes())?,
                Part::Client => name.push(client.as_bytes())?,
                Part::Server => name.push(server.as_bytes())?,
                Part::Mac => write!(name, "{mac}").ok()?,
                Part::Vlan => write!(name, "{vlan}").ok()?,
            }
        }
        (name.len > 0).then_some(name)
    }

    /// Whether it makes this name for a client, of any MAC and VLAN.
    pub(super) fn makes(&self, name: &[u8], client: &str, server: &str) -> bool {
        name.len() <= MAX_NAME && makes(&self.parts, name, client.as_bytes(), server.as_bytes())
    }
}

fn makes(parts: &[Part], name: &[u8], client: &[u8], server: &[u8]) -> bool {
    let Some((part, parts)) = parts.split_first() else { return name.is_empty() };
    let rest = match part {
        Part::Text(text) => name.strip_prefix(text.as_bytes()),
        Part::Client => name.strip_prefix(client),
        Part::Server => name.strip_prefix(server),
        Part::Mac => name
            .split_at_checked(MAC_LEN)
            .filter(|(mac, _)| mac.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b':'))
            .map(|(_, rest)| rest),
        // What follows may begin with a digit too.
        Part::Vlan => {
            let digits = name.iter().take(VLAN_LEN).take_while(|byte| byte.is_ascii_digit());
            return (1..=digits.count()).any(|len| makes(parts, &name[len..], client, server));
        }
    };
    rest.is_some_and(|rest| makes(parts, rest, client, server))
}

impl FromStr for CircuitTemplate {
    type Err = CircuitTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(CircuitTemplateError::Empty);
        }
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(CircuitTemplateError::NotAscii);
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            let field = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let (field, behind) = field.ok_or(CircuitTemplateError::Brace)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match field {
                "client" => Part::Client,
                "server" => Part::Server,
                "mac" => Part::Mac,
                "vlan" => Part::Vlan,
                _ => return Err(CircuitTemplateError::Field(field.to_owned())),
            });
            // Each would be tried with each length of the others.
            if parts.iter().filter(|part| **part == Part::Vlan).count() > 1 {
                return Err(CircuitTemplateError::Field("vlan".to_owned()));
            }
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl TryFrom<String> for CircuitTemplate {
    type Error = CircuitTemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CircuitTemplate> for String {
    fn from(template: CircuitTemplate) -> Self {
        template.text
    }
}

impl fmt::Display for CircuitTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

    fn template(text: &str) -> CircuitTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn fields_are_filled_in() {
        let name = template("{server} {client}/{mac}:{vlan}").name("berlin", "olt", MAC, 7);
        assert_eq!(name.unwrap().as_bytes(), b"olt berlin/02:00:00:00:00:09:7");
        assert_eq!(template("x").longest("a", "b"), 1);
    }

    #[test]
    fn what_is_no_template_says_why() {
        let problem = |text: &str| text.parse::<CircuitTemplate>().unwrap_err();
        assert_eq!(problem(""), CircuitTemplateError::Empty);
        assert_eq!(problem("{client"), CircuitTemplateError::Brace);
        assert_eq!(problem("client}"), CircuitTemplateError::Brace);
        assert_eq!(problem("{port}"), CircuitTemplateError::Field("port".to_owned()));
        assert_eq!(problem("a\nb"), CircuitTemplateError::NotAscii);
        assert!(problem("{port}").to_string().starts_with("{port} is no field"));
    }

    #[test]
    fn no_name_is_longer_than_allowed() {
        let client = "c".repeat(MAX_NAME);
        assert!(template("{client}").name(&client, "", MAC, 0).is_some());
        assert!(template("{client}-").name(&client, "", MAC, 0).is_none());
        assert!(template("{mac}{mac}{mac}{mac}").name("", "", MAC, 0).is_none());
        assert!(template("{server}").name("", "", MAC, 0).is_none(), "it would be empty");
        assert!(!template("{client}-").makes(&[b'c'; 300], &client, ""));
    }

    #[test]
    fn a_name_is_of_one_client() {
        let template = template("{server} {client}");
        assert!(template.makes(b"olt berlin", "berlin", "olt"));
        for other in ["berlin2", "erlin", "olt", ""] {
            assert!(!template.makes(b"olt berlin", other, "olt"), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_known_again(
            fields in prop::collection::vec(
                prop::sample::select(vec!["{client}", "{server}", "{mac}", "-", "7", "x y"]), 1..4),
            at in 0..4_usize,
            client in "[a-z0-9.@_-]{1,12}",
            server in "[a-z0-9.-]{1,9}",
            vlan in 0..4_095_u16,
        ) {
            let mut fields = fields;
            fields.insert(at.min(fields.len()), "{vlan}");
            let template = template(&fields.concat());
            if let Some(name) = template.name(&client, &server, MAC, vlan) {
                prop_assert!(template.makes(name.as_bytes(), &client, &server));
                prop_assert!(name.as_bytes().len() <= template.longest(&client, &server));
            }
        }

        #[test]
        fn any_text_and_any_name_are_taken(text in ".{0,80}", name in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(template) = text.parse::<CircuitTemplate>() {
                template.makes(&name, "berlin", "olt");
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }
}
