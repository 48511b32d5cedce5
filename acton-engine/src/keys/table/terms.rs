//! What a list as TOML says that a client may do: in its own table, or for all in `[default]`.

use std::num::NonZeroU64;

use acton_bridge::{Circuit, EtherType, OuterTag, Policy, Rate, Sources, TagPair, Vlans};
use ipnet::IpNet;
use toml::de::DeValue;

use super::circuit;
use super::values::{Value, Wrong, boolean, integer, one_or_more, parsed, string, wrong};
use super::vlans::{outer_tag, vlan, vlans};

/// What holds for a client, or by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Terms {
    pub(super) max_macs: Option<usize>,
    pub(super) strict: bool,
    trusted: Option<bool>,
    ethertypes: Option<Vec<EtherType>>,
    sources: Option<Sources>,
    rate_in: Option<Rate>,
    rate_out: Option<Rate>,
    pub(super) vlans: Option<Vlans>,
    outer_tag: OuterTag,
    pub(super) circuit: Option<Circuit>,
}

impl Terms {
    pub(super) const KEYS: &str =
        "max-macs, strict, trusted, allow, ips, rate-in, rate-out, vlan, vlans, tpid and circuit";

    /// Takes what a key says; whether there is such a key.
    pub(super) fn set(&mut self, key: &str, value: Value<'_, '_>) -> Result<bool, Wrong> {
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

    pub(super) fn policy(&self) -> Policy {
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
