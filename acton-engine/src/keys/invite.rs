//! The invite: all that a client needs to join, as one URL.
//!
//! ```text
//! acton://HOST:PORT/#BASE64URL        IPv6 addresses in brackets
//!
//! BASE64URL, without padding:
//!   0  version 1
//!   1  flags: bit 0 a client's private key follows, bit 1 a PSK, bit 2 a network key
//!   2  server's public key 32 | [network key 32] | [client's private key 32] | [PSK 32]
//!   .. the first 4 bytes of BLAKE2s-256 over all before
//! ```
//!
//! An invite to several servers is of version 2:
//!
//! ```text
//!   0  version 2
//!   1  flags: bit 0 a client's private key follows
//!   2  [client's private key 32], then two to 16 servers, the best first:
//!      0  priority | 1 weight
//!      2  flags: bit 0 same keys as the server before, bit 1 a PSK, bit 2 a network key
//!      3  length of the address n | 4 address n; none for the first, which is in the URL
//!      .. unless the same: server's public key 32 | [network key 32] | [PSK 32]
//!   .. the first 4 bytes of BLAKE2s-256 over all before
//! ```
//! The checksum tells at once that a copy was cut short. It leaves out the address, which its
//! holder may change: whoever answers there must have the server's private key.

use std::str::FromStr;

use acton_proto::handshake::Secret;
use acton_proto::wire::Key;
use blake2::{Blake2s256, Digest};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::{Rank, ServerName};

const SCHEME: &str = "acton://";
const VERSION: u8 = 1;
/// Of an invite to several servers.
const VERSION_SEVERAL: u8 = 2;
const HAS_CLIENT_KEY: u8 = 1 << 0;
/// Of a server: its keys are those of the one before.
const SAME_KEYS: u8 = 1 << 0;
const HAS_PSK: u8 = 1 << 1;
const HAS_NETWORK_KEY: u8 = 1 << 2;
const KEY_LEN: usize = 32;
const CHECKSUM_LEN: usize = 4;
/// Servers that an invite names at most.
pub(super) const MAX_SERVERS: usize = 16;
/// What one of several servers takes at most, in bytes.
const MAX_SERVER_LEN: usize = 4 + u8::MAX as usize + 3 * KEY_LEN;
/// An invite with all that it may hold, in bytes.
const MAX_LEN: usize = 2 + KEY_LEN + MAX_SERVERS * MAX_SERVER_LEN + CHECKSUM_LEN;
/// The port of an invite that somebody shortened by hand: the one of `acton server`.
const DEFAULT_PORT: u16 = 8080;

/// All that a client needs to join a network. [`Invite::url`] is its text; there is no `Display`,
/// for it holds secrets and must never get into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invite {
    /// Where the server is.
    pub server: ServerName,
    /// The server's public key.
    pub server_key: Key,
    /// The network key, if the network has one.
    pub network_key: Option<Secret>,
    /// The private key of the client that this invite is for. Without one the client uses a key
    /// of its own.
    pub client_key: Option<Secret>,
    /// That client's own pre-shared key, if it has one.
    pub psk: Option<Secret>,
    /// How much a client likes the server, where there are others.
    pub rank: Rank,
    /// Other servers, where the client goes when it loses this one.
    pub others: Vec<InvitedServer>,
}

/// One of the other servers of an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvitedServer {
    /// Where it is.
    pub server: ServerName,
    /// Its public key.
    pub server_key: Key,
    /// The network key there, if it has one.
    pub network_key: Option<Secret>,
    /// The client's pre-shared key there, if it has one.
    pub psk: Option<Secret>,
    /// How much a client likes it.
    pub rank: Rank,
}

impl InvitedServer {
    fn has_keys_of(&self, other: &Self) -> bool {
        self.server_key == other.server_key
            && self.network_key == other.network_key
            && self.psk == other.psk
    }
}

/// Why a text is no invite. It never holds the text, which may be half of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// It does not begin as one.
    #[error("an invite begins with {SCHEME}, as `acton invite` prints it")]
    Scheme,
    /// There is nothing after the address.
    #[error("the keys after '#' are missing; copy the invite whole, in quotes")]
    NoKeys,
    /// The address cannot be read.
    #[error("the address: {0}")]
    Address(String),
    /// The keys are cut short or changed.
    #[error("it was cut short or changed on the way; copy it whole, or ask for a new one")]
    Damaged,
    /// It names more servers than one may.
    #[error("it names more than {MAX_SERVERS} servers")]
    TooMany,
    /// It names a server twice.
    #[error("it names {0} twice")]
    Twice(String),
    /// Two invites are not of one client.
    #[error(
        "the other invite has a client's key of its own, and a client has one key: make both with \
         `acton invite --name NAME --key KEY`, where KEY is the public one of the client (`acton keygen`, `acton pubkey`)"
    )]
    OtherClient,
    /// A newer acton made it.
    #[error("it is of a kind that this acton does not know; update acton, or ask for a new one")]
    Unknown,
}

impl Invite {
    /// Whether a text is meant as an invite, rather than as the name of a server: then it is a secret,
    /// whether it is one that can be read or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        strip_scheme(text.trim_start()).is_some()
    }

    /// Reads the server's address for an invite, as [`ServerName::parse`] does, but without the
    /// characters that a URL or a quoted argument cannot have there.
    ///
    /// # Errors
    /// [`InviteError::Address`].
    pub fn parse_address(text: &str, default_port: u16) -> Result<ServerName, InviteError> {
        if text.contains(['/', '#', '?', '@', '\\', '\'', '"']) || text.contains(char::is_control) {
            return Err(InviteError::Address("no HOST:PORT".to_owned()));
        }
        ServerName::parse(text, default_port).map_err(InviteError::Address)
    }

    /// The invite's text: `acton://HOST:PORT/#...`, wiped when dropped. A secret.
    #[must_use]
    pub fn url(&self) -> Zeroizing<String> {
        if !self.others.is_empty() {
            return self.url_of_several();
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        let parts = [
            (HAS_NETWORK_KEY, &self.network_key),
            (HAS_CLIENT_KEY, &self.client_key),
            (HAS_PSK, &self.psk),
        ];
        let present = parts.iter().filter_map(|(flag, key)| Some((flag, key.as_ref()?)));
        let flags = present.clone().fold(0, |flags, (flag, _)| flags | flag);
        bytes.extend_from_slice(&[VERSION, flags]);
        bytes.extend_from_slice(&self.server_key);
        for (_, key) in present {
            bytes.extend_from_slice(key.bytes());
        }
        self.sum_up(bytes)
    }

    /// All servers, this one first.
    #[must_use]
    pub fn servers(&self) -> Vec<InvitedServer> {
        let first = InvitedServer {
            server: self.server.clone(),
            server_key: self.server_key,
            network_key: self.network_key.clone(),
            psk: self.psk.clone(),
            rank: self.rank,
        };
        [first].into_iter().chain(self.others.iter().cloned()).collect()
    }

    /// The same invite with one more server, of the keys of the first one.
    ///
    /// # Errors
    /// [`InviteError::TooMany`], [`InviteError::Twice`].
    pub fn or(mut self, server: ServerName, rank: Rank) -> Result<Self, InviteError> {
        let other = InvitedServer {
            server,
            server_key: self.server_key,
            network_key: self.network_key.clone(),
            psk: self.psk.clone(),
            rank,
        };
        self.add(other)?;
        Ok(self)
    }

    /// The same invite with the servers of another one behind its own. The client is that of this one.
    ///
    /// # Errors
    /// [`InviteError::OtherClient`], [`InviteError::TooMany`], [`InviteError::Twice`].
    pub fn and(mut self, other: &Self) -> Result<Self, InviteError> {
        if other.client_key.is_some() && other.client_key != self.client_key {
            return Err(InviteError::OtherClient);
        }
        let last = self.servers().iter().map(|server| server.rank.priority).max().unwrap_or(0);
        for mut server in other.servers() {
            server.rank.priority = server.rank.priority.saturating_add(last).saturating_add(1);
            self.add(server)?;
        }
        Ok(self)
    }

    fn add(&mut self, server: InvitedServer) -> Result<(), InviteError> {
        if self.others.len() + 1 >= MAX_SERVERS {
            return Err(InviteError::TooMany);
        }
        let is_same = |known: &InvitedServer| {
            known.server == server.server && known.server_key == server.server_key
        };
        if self.servers().iter().any(is_same) {
            return Err(InviteError::Twice(server.server.to_string()));
        }
        self.others.push(server);
        Ok(())
    }

    fn url_of_several(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        let flags = if self.client_key.is_some() { HAS_CLIENT_KEY } else { 0 };
        bytes.extend_from_slice(&[VERSION_SEVERAL, flags]);
        if let Some(key) = &self.client_key {
            bytes.extend_from_slice(key.bytes());
        }
        let mut before: Option<InvitedServer> = None;
        for server in self.servers() {
            // The first is in the URL.
            let address = before.as_ref().map(|_| server.server.to_string()).unwrap_or_default();
            let is_same = before.as_ref().is_some_and(|before| server.has_keys_of(before));
            let parts = [(HAS_NETWORK_KEY, &server.network_key), (HAS_PSK, &server.psk)];
            let present = parts.iter().filter_map(|(flag, key)| Some((flag, key.as_ref()?)));
            let flags = if is_same {
                SAME_KEYS
            } else {
                present.clone().fold(0, |flags, (flag, _)| flags | flag)
            };
            let Rank { priority, weight, .. } = server.rank;
            // Names are no longer than 253 bytes, and a port has six.
            let length = address.len().min(usize::from(u8::MAX));
            bytes.extend_from_slice(&[priority, weight, flags, length as u8]);
            bytes.extend_from_slice(&address.as_bytes()[..length]);
            if !is_same {
                bytes.extend_from_slice(&server.server_key);
                for (_, key) in present {
                    bytes.extend_from_slice(key.bytes());
                }
            }
            before = Some(server);
        }
        self.sum_up(bytes)
    }

    fn sum_up(&self, mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<String> {
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        let keys = Zeroizing::new(BASE64URL_NOPAD.encode(&bytes));
        Zeroizing::new(format!("{SCHEME}{}/#{}", self.server, *keys))
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let rest = strip_scheme(text.trim()).ok_or(InviteError::Scheme)?;
        let (address, keys) = rest.split_once('#').ok_or(InviteError::NoKeys)?;
        let server =
            Self::parse_address(address.strip_suffix('/').unwrap_or(address), DEFAULT_PORT)?;
        // A mailer may have broken the line.
        let mut keys: Zeroizing<Vec<u8>> =
            Zeroizing::new(keys.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        if keys.is_empty() {
            return Err(InviteError::NoKeys);
        }
        while keys.last() == Some(&b'=') {
            keys.pop();
        }
        let bytes = BASE64URL_NOPAD.decode(&keys).map_err(|_| InviteError::Damaged)?;
        Self::from_parts(server, &Zeroizing::new(bytes))
    }
}

impl Invite {
    fn from_parts(server: ServerName, bytes: &[u8]) -> Result<Self, InviteError> {
        if bytes.first().is_some_and(|version| ![VERSION, VERSION_SEVERAL].contains(version)) {
            return Err(InviteError::Unknown);
        }
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(InviteError::Damaged)?;
        if checksum(body) != *sum {
            return Err(InviteError::Damaged);
        }
        let Some((&[version, flags], mut rest)) = body.split_first_chunk::<2>() else {
            return Err(InviteError::Damaged);
        };
        if version == VERSION_SEVERAL {
            return Self::of_several(server, flags, rest);
        }
        if flags & !(HAS_CLIENT_KEY | HAS_PSK | HAS_NETWORK_KEY) != 0 {
            return Err(InviteError::Unknown);
        }
        let server_key = *take_key(&mut rest)?;
        let mut take = |flag| {
            let present = flags & flag != 0;
            present.then(|| take_key(&mut rest).map(|key| Secret::new(*key))).transpose()
        };
        let network_key = take(HAS_NETWORK_KEY)?;
        let client_key = take(HAS_CLIENT_KEY)?;
        let psk = take(HAS_PSK)?;
        if !rest.is_empty() {
            return Err(InviteError::Damaged);
        }
        let (rank, others) = (Rank::default(), Vec::new());
        Ok(Self { server, server_key, network_key, client_key, psk, rank, others })
    }

    fn of_several(first: ServerName, flags: u8, mut rest: &[u8]) -> Result<Self, InviteError> {
        if flags & !HAS_CLIENT_KEY != 0 {
            return Err(InviteError::Unknown);
        }
        let has_client_key = flags & HAS_CLIENT_KEY != 0;
        let client_key = has_client_key.then(|| take_secret(&mut rest)).transpose()?;
        let mut servers: Vec<InvitedServer> = Vec::new();
        while let Some((&[priority, weight, flags, length], after)) = rest.split_first_chunk::<4>()
        {
            if flags & !(SAME_KEYS | HAS_PSK | HAS_NETWORK_KEY) != 0 {
                return Err(InviteError::Unknown);
            }
            let (address, after) =
                after.split_at_checked(length.into()).ok_or(InviteError::Damaged)?;
            rest = after;
            let server = match (servers.is_empty(), address.is_empty()) {
                (true, true) => first.clone(),
                (false, false) => {
                    let text = std::str::from_utf8(address).map_err(|_| InviteError::Damaged)?;
                    Self::parse_address(text, DEFAULT_PORT)?
                }
                _ => return Err(InviteError::Damaged),
            };
            let rank = Rank::new(priority, weight);
            let next = if flags & SAME_KEYS != 0 {
                let before = servers.last().filter(|_| flags == SAME_KEYS);
                let before = before.ok_or(InviteError::Damaged)?;
                InvitedServer { server, rank, ..before.clone() }
            } else {
                let server_key = *take_key(&mut rest)?;
                let mut take =
                    |flag| (flags & flag != 0).then(|| take_secret(&mut rest)).transpose();
                let network_key = take(HAS_NETWORK_KEY)?;
                let psk = take(HAS_PSK)?;
                InvitedServer { server, server_key, network_key, psk, rank }
            };
            servers.push(next);
            if servers.len() > MAX_SERVERS {
                return Err(InviteError::TooMany);
            }
        }
        if !rest.is_empty() || servers.len() < 2 {
            return Err(InviteError::Damaged);
        }
        let others = servers.split_off(1);
        let Some(InvitedServer { server, server_key, network_key, psk, rank }) = servers.pop()
        else {
            return Err(InviteError::Damaged);
        };
        Ok(Self { server, server_key, network_key, client_key, psk, rank, others })
    }
}

fn take_secret(rest: &mut &[u8]) -> Result<Secret, InviteError> {
    take_key(rest).map(|key| Secret::new(*key))
}

fn take_key<'a>(rest: &mut &'a [u8]) -> Result<&'a Key, InviteError> {
    let (key, after) = rest.split_first_chunk::<KEY_LEN>().ok_or(InviteError::Damaged)?;
    *rest = after;
    Ok(key)
}

fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(rest)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let [a, b, c, d, ..]: [u8; 32] = Blake2s256::digest(bytes).into();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite() -> Invite {
        Invite {
            server: ServerName::parse("192.0.2.1", 8080).unwrap(),
            server_key: [1; 32],
            network_key: Some(Secret::new([2; 32])),
            client_key: Some(Secret::new([3; 32])),
            psk: Some(Secret::new([4; 32])),
            rank: Rank::default(),
            others: Vec::new(),
        }
    }

    fn any_invite() -> impl Strategy<Value = Invite> {
        let secret = || proptest::option::of(any::<Key>().prop_map(Secret::new));
        let host = prop_oneof![
            "[a-z][a-z0-9.-]{0,30}",
            any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
        ];
        (host, 1u16.., any::<Key>(), secret(), secret(), secret()).prop_map(
            |(host, port, server_key, network_key, client_key, psk)| Invite {
                server: ServerName::parse(&host, port).unwrap(),
                server_key,
                network_key,
                client_key,
                psk,
                rank: Rank::default(),
                others: Vec::new(),
            },
        )
    }

    /// Of several servers, some of which share keys.
    fn any_of_several() -> impl Strategy<Value = Invite> {
        let ranks = (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Rank::new(a, b));
        let others = proptest::collection::vec((any_invite(), ranks, any::<bool>()), 1..15);
        (any_invite(), others).prop_map(|(first, others)| {
            others.into_iter().fold(first, |invite, (other, rank, is_same)| {
                let other = Invite { client_key: None, ..other };
                let more = invite.clone();
                let more = if is_same { more.or(other.server, rank) } else { more.and(&other) };
                // One that is drawn twice is left out.
                more.unwrap_or(invite)
            })
        })
    }

    #[test]
    fn the_layout_stays() {
        let short = Invite { network_key: None, client_key: None, psk: None, ..invite() };
        let url = short.url();
        let keys = url.strip_prefix("acton://192.0.2.1:8080/#").unwrap();
        let bytes = BASE64URL_NOPAD.decode(keys.as_bytes()).unwrap();
        assert_eq!((&bytes[..2], &bytes[2..34], bytes.len()), (&[1, 0][..], &[1; 32][..], 38));
        let full = invite().url();
        let keys = full.strip_prefix("acton://192.0.2.1:8080/#").unwrap();
        let bytes = BASE64URL_NOPAD.decode(keys.as_bytes()).unwrap();
        assert_eq!(&bytes[..2], [1, 7]);
        for (i, key) in bytes[2..130].chunks(32).enumerate() {
            assert_eq!(key, [i as u8 + 1; 32]);
        }
        // Computed by Python's hashlib: blake2s of the bytes before, digest()[:4]
        assert_eq!(bytes[130..], [0xd1, 0xd5, 0xfa, 0x2a]);
    }

    #[test]
    fn people_handle_invites_roughly() {
        let url = invite().url();
        let (address, keys) = url.split_once("/#").unwrap();
        let (front, back) = keys.split_at(70);
        for text in [
            format!("  {}\n", *url),
            format!("{address}#{keys}"),
            format!("{address}/#{keys}=="),
            format!("{address}/#{front}\r\n{back}"),
            url.replacen("acton", "ACTON", 1),
            url.replacen(":8080", "", 1),
        ] {
            assert_eq!(text.parse(), Ok(invite()), "{text}");
        }
        let moved = url.replacen("192.0.2.1:8080", "[2001:db8::1]:9", 1).parse::<Invite>().unwrap();
        assert_eq!(moved.server, ServerName::parse("2001:db8::1", 9).unwrap());
        assert_eq!(moved.client_key, invite().client_key);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let url = invite().url();
        let (address, keys) = url.split_once("/#").unwrap();
        let fails = |text: &str| text.parse::<Invite>().unwrap_err();
        assert_eq!(fails(""), InviteError::Scheme);
        assert_eq!(fails("192.0.2.1:8080"), InviteError::Scheme);
        assert_eq!(fails(&format!("https{}", &url[5..])), InviteError::Scheme);
        assert_eq!(fails(address), InviteError::NoKeys);
        assert_eq!(fails(&format!("{address}/#")), InviteError::NoKeys);
        assert!(matches!(fails(&format!("acton:///#{keys}")), InviteError::Address(_)));
        assert!(matches!(fails(&format!("acton://a/b#{keys}")), InviteError::Address(_)));
        assert!(matches!(fails(&format!("acton://a:0/#{keys}")), InviteError::Address(_)));
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = BASE64URL_NOPAD.decode(keys.as_bytes()).unwrap();
            bytes.truncate(bytes.len() - CHECKSUM_LEN);
            change(&mut bytes);
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum);
            fails(&format!("{address}/#{}", BASE64URL_NOPAD.encode(&bytes)))
        };
        assert_eq!(with(&|bytes| bytes[0] = 3), InviteError::Unknown);
        assert_eq!(with(&|bytes| bytes[1] |= 8), InviteError::Unknown);
        assert_eq!(with(&|bytes| bytes[1] = 3), InviteError::Damaged); // a key too many
        assert_eq!(with(&|bytes| bytes.truncate(129)), InviteError::Damaged);
        assert_eq!(with(&|bytes| bytes.truncate(1)), InviteError::Damaged);
    }

    #[test]
    fn every_cut_and_every_changed_character_is_noticed() {
        let url = invite().url();
        let start = url.find('#').unwrap() + 1;
        for end in 0..url.len() {
            assert!(url[..end].parse::<Invite>().is_err(), "cut at {end}");
        }
        for at in start..url.len() {
            for by in ["A", "z", "-", "!", ""] {
                if &url[at..=at] != by {
                    let changed = format!("{}{by}{}", &url[..at], &url[at + 1..]);
                    assert!(changed.parse::<Invite>().is_err(), "{by:?} at {at}");
                }
            }
        }
    }

    #[test]
    fn debug_tells_no_secret() {
        let invite = Invite { server_key: [9; 32], ..invite() };
        let text = format!("{invite:?}");
        assert!(text.contains("192.0.2.1"), "{text}");
        for byte in ["2, 2", "3, 3", "4, 4"] {
            assert!(!text.contains(byte), "{text}");
        }
    }

    #[test]
    fn the_layout_of_several_stays() {
        let second = ServerName::parse("b:1", 8080).unwrap();
        let url = invite().or(second, Rank::new(1, 2)).unwrap().url();
        let keys = url.strip_prefix("acton://192.0.2.1:8080/#").unwrap();
        let bytes = BASE64URL_NOPAD.decode(keys.as_bytes()).unwrap();
        let expected = [
            &[2, 1][..],
            &[3; 32],
            &[0, 1, 6, 0],
            &[1; 32],
            &[2; 32],
            &[4; 32],
            &[1, 2, 1, 3],
            b"b:1",
        ]
        .concat();
        assert_eq!(bytes[..bytes.len() - CHECKSUM_LEN], expected);
    }

    #[test]
    fn so_many_servers_and_no_more() {
        let name = |port| ServerName::parse("b", port as u16).unwrap();
        let full = (1..MAX_SERVERS)
            .fold(invite(), |invite, port| invite.or(name(port), Rank::default()).unwrap());
        assert_eq!(full.servers().len(), MAX_SERVERS);
        assert_eq!(full.url().parse(), Ok(full.clone()));
        assert_eq!(full.or(name(MAX_SERVERS), Rank::default()), Err(InviteError::TooMany));
    }

    #[test]
    fn no_server_twice_and_no_client_of_two_keys() {
        let first = Invite { client_key: None, ..invite() };
        let again = first.clone().or(first.server.clone(), Rank::default());
        assert_eq!(again, Err(InviteError::Twice("192.0.2.1:8080".to_owned())));
        let elsewhere = Invite { server_key: [9; 32], ..first.clone() };
        let key = |byte| Some(Secret::new([byte; 32]));
        let of_client = |byte| Invite { client_key: key(byte), ..elsewhere.clone() };
        assert_eq!(first.clone().and(&of_client(7)), Err(InviteError::OtherClient));
        let own = Invite { client_key: key(7), ..first.clone() };
        assert_eq!(own.clone().and(&of_client(8)), Err(InviteError::OtherClient));
        assert_eq!(own.clone().and(&of_client(7)).unwrap().servers().len(), 2);
        assert_eq!(own.and(&elsewhere).unwrap().client_key, key(7));
        assert!(first.clone().and(&first).is_err());
    }

    proptest! {
        #[test]
        fn invites_of_several_servers_come_back(invite in any_of_several()) {
            prop_assert_eq!(invite.url().parse(), Ok(invite));
        }

        #[test]
        fn any_bytes_are_several_servers_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = Invite::of_several(invite().server, bytes.first().map_or(0, |b| b & 1), &bytes);
        }

        #[test]
        fn invites_come_back(invite in any_invite()) {
            let url = invite.url();
            prop_assert!(Invite::is_meant(&url));
            prop_assert_eq!(url.parse(), Ok(invite));
        }

        #[test]
        fn any_text_is_an_invite_or_an_error(
            text in ".{0,300}|acton://[a-z:\\[\\]/]{0,9}#[A-Za-z0-9_=-]{0,200}",
        ) {
            let _ = text.parse::<Invite>();
        }

        #[test]
        fn any_bytes_are_keys_or_an_error(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            flags in 0u8..8,
        ) {
            // Past the checksum and the version, where the lengths count.
            if let Some(head) = bytes.first_chunk_mut::<2>() {
                *head = [VERSION, flags];
            }
            let sum = checksum(&bytes);
            bytes.extend_from_slice(&sum);
            let parsed = Invite::from_parts(invite().server, &bytes);
            let keys = 1 + flags.count_ones() as usize;
            prop_assert_eq!(parsed.is_ok(), bytes.len() == 2 + 32 * keys + CHECKSUM_LEN);
        }
    }
}
