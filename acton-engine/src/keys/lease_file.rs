//! The file that keeps which IP addresses clients were given, from one start of a server to the next.

use std::error::Error;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use acton_bridge::LearntFrom;
use ipnet::IpNet;

use super::file::{self, WRITE_ACCESS};
use super::state::State;
use super::{KeyError, encode_key, parse_key};
use crate::sessions::lease_store::{KeptLease, LeaseStore, MAX_LEASES};

const NAME: &str = "leases";
/// The first line, with a number that another layout would have another of.
const HEADER: &str = "acton leases 1";
/// What stands last in the line of an address that a client made itself.
const MADE: &str = "slaac";
/// Bytes of one line at most: a key, a VLAN, an IPv6 prefix, its end, how long that is and that word.
const LONGEST_LINE: usize = 44 + 1 + 4 + 1 + 45 + 4 + 1 + 20 + 1 + 20 + 1 + MADE.len() + 1;
const MAX_LEN: u64 = (64 + MAX_LEASES * LONGEST_LINE) as u64;

/// A file of leases in a state directory; see [`State::lease_file`].
#[derive(Debug, Clone)]
pub struct LeaseFile {
    path: PathBuf,
}

impl State {
    /// The file in which a server keeps what addresses its clients were given. Nothing is read or made
    /// before the server starts, and nothing before a client was given one.
    #[must_use]
    pub fn lease_file(&self) -> LeaseFile {
        LeaseFile { path: self.directory().join(NAME) }
    }
}

impl LeaseFile {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl LeaseStore for LeaseFile {
    fn read(&self) -> Result<Vec<KeptLease>, Box<dyn Error + Send + Sync>> {
        let Some(contents) = file::read(&self.path, MAX_LEN, WRITE_ACCESS)? else {
            return Ok(Vec::new());
        };
        let bad = || KeyError::BadLeases { path: self.path.clone() };
        Ok(parse(&contents.text).ok_or_else(bad)?)
    }

    /// Whoever reads the file sees what was kept before or after.
    fn write(&self, leases: &[KeptLease]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(file::replace(&self.path, &print(leases), None)?)
    }
}

fn print(leases: &[KeptLease]) -> String {
    let mut text = format!("{HEADER}\n");
    for KeptLease { client, vlan, net, from, until, left } in leases {
        let client = encode_key(client);
        let is_address = net.prefix_len() == net.max_prefix_len();
        let net = if is_address { net.addr().to_string() } else { net.to_string() };
        let (space, made) = if *from == LearntFrom::Slaac { (" ", MADE) } else { ("", "") };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{client} {vlan} {net} {until} {left}{space}{made}");
    }
    text
}

/// `None` where the text is not as it was written.
fn parse(text: &str) -> Option<Vec<KeptLease>> {
    let lines = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
    if !lines.is_empty() && !lines.ends_with('\n') {
        return None;
    }
    let lease = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let lease = KeptLease {
            client: parse_key(word()?).ok()?,
            vlan: word()?.parse().ok().filter(|vlan| *vlan < 4_096)?,
            net: net(word()?)?,
            until: word()?.parse().ok()?,
            left: word()?.parse().ok()?,
            from: match word() {
                None => LearntFrom::Dhcp,
                Some(MADE) => LearntFrom::Slaac,
                Some(_) => return None,
            },
        };
        words.next().is_none().then_some(lease)
    };
    lines.lines().map(lease).collect()
}

/// An address, or a prefix.
fn net(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use acton_proto::wire::Key;
    use proptest::prelude::*;

    use super::*;
    use crate::keys::file::tests::Directory;

    fn any_lease() -> impl Strategy<Value = KeptLease> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(IpAddr::from),
            any::<[u8; 16]>().prop_map(IpAddr::from)
        ];
        let prefix = (any::<[u8; 16]>(), 1..=128_u8)
            .prop_map(|(bits, len)| IpNet::new(bits.into(), len).unwrap());
        let net = prop_oneof![address.prop_map(IpNet::from), prefix];
        let from = prop_oneof![Just(LearntFrom::Dhcp), Just(LearntFrom::Slaac)];
        let lease = |(client, vlan, net, from, until, left)| KeptLease {
            client,
            vlan,
            net,
            from,
            until,
            left,
        };
        (any::<Key>(), 0..4_096_u16, net, from, any::<u64>(), any::<u64>()).prop_map(lease)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_what_is_cut_is_not(
            leases in prop::collection::vec(any_lease(), 1..9),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = print(&leases);
            prop_assert_eq!(parse(&text), Some(leases.clone()));
            let cut = parse(&text[..cut.index(text.len())]);
            prop_assert!(cut.is_none_or(|kept| kept[..] == leases[..kept.len()]));
        }

        #[test]
        fn any_text_is_a_list_or_none(text in "(acton leases 1\n)?[A-Za-z0-9/+=:. \n-]{0,80}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn the_largest_there_can_be_is_read_again() {
        let directory = Directory::new();
        let file = State::new(directory.path()).lease_file();
        assert_eq!(file.read().unwrap(), []);
        let (client, vlan, until, left) = ([0xff; 32], 4_095, u64::MAX, u64::MAX);
        let net = IpNet::new(IpAddr::from([0xff; 16]), 127).unwrap();
        let lease = KeptLease { client, vlan, net, from: LearntFrom::Slaac, until, left };
        let all = vec![lease; MAX_LEASES];
        file.write(&all).unwrap();
        assert_eq!(file.read().unwrap().len(), MAX_LEASES);
        fs::write(file.path(), "acton leases 2\n").unwrap();
        let error = file.read().unwrap_err();
        assert!(error.to_string().contains("leases"), "{error}");
    }
}
