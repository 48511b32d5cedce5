//! What IGMP and MLD say, of any version, and that somebody is a multicast router.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use acton_frame::field::{icmpv6, ipv4, ipv6};
use acton_frame::{Fragment, Headers, Ip, IpVersion};

use super::checksum::{checksum, checksum_v6};
use super::group::IpFamily;

/// The protocol numbers of IGMP and PIM.
const IGMP: u8 = 2;
const PIM: u8 = 103;
/// A hello, by the first byte of PIM (RFC 7761, section 4.9): version 2, type 0.
const PIM_HELLO: u8 = 0x20;
/// Types of IGMP (RFC 3376, section 4; RFC 2236; RFC 1112).
const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;
/// Types of MLD (RFC 2710, section 3; RFC 3810, section 5).
const MLD_QUERY: u8 = 130;
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const MLD_REPORT_V2: u8 = 143;
/// The IPv6 option "router alert" (RFC 2711), and one of a single byte without a length.
const ROUTER_ALERT: u8 = 5;
const PAD1: u8 = 0;
/// How long hosts may take to answer a query that does not say it (IGMPv1).
const RESPONSE_V1: Duration = Duration::from_secs(10);

/// What a frame says of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupMessage<'f> {
    /// A router asks which groups there is somebody for.
    Query(GroupQuery),
    /// A host tells which groups it wants, or does not want any more.
    Reports(Reports<'f>),
    /// A multicast router says that it is there (PIM).
    RouterHello,
}

/// A question for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupQuery {
    /// Who asks; 0.0.0.0 is a switch that asks in a querier's place.
    pub source: IpAddr,
    /// The group that is asked for; `None` for all.
    pub group: Option<IpAddr>,
    /// How long hosts may take to answer.
    pub response: Duration,
    /// How many queries may get lost, where the version says it.
    pub robustness: Option<u32>,
    /// The time between general queries, where the version says it.
    pub interval: Option<Duration>,
}

impl GroupQuery {
    /// Whether it makes its sender a querier: it asks for all groups, from an address that an election
    /// goes by.
    #[must_use]
    pub fn is_of_querier(&self) -> bool {
        self.group.is_none() && !self.source.is_unspecified()
    }
}

/// What a host wants of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To get it, from some sources or all.
    Join,
    /// Not to get it any more, from some source or all.
    Leave,
}

/// The groups in a report, each with what the host wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reports<'f>(Records<'f>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Records<'f> {
    One(Option<(IpAddr, Wish)>),
    /// Group records of IGMPv3 and MLDv2, which differ in the length of addresses.
    Many {
        family: IpFamily,
        left: u16,
        bytes: &'f [u8],
    },
}

impl Iterator for Reports<'_> {
    type Item = (IpAddr, Wish);

    fn next(&mut self) -> Option<Self::Item> {
        let (family, left, bytes) = match &mut self.0 {
            Records::One(one) => return one.take(),
            Records::Many { family, left, bytes } => (*family, left, bytes),
        };
        while *left > 0 {
            *left -= 1;
            let (record, behind) = Record::split(family, bytes)?;
            *bytes = behind;
            if let Some(wish) = record.wish() {
                return Some((record.group, wish));
            }
        }
        None
    }
}

/// A group record (RFC 3376, section 4.2; RFC 3810, section 5.2).
struct Record {
    kind: u8,
    group: IpAddr,
    sources: u16,
}

impl Record {
    /// The first record, and what is behind it.
    fn split(family: IpFamily, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (&[kind, auxiliary, a, b], rest) = bytes.split_first_chunk()?;
        let sources = u16::from_be_bytes([a, b]);
        let (group, rest, len) = match family {
            IpFamily::V4 => {
                let (group, rest) = rest.split_first_chunk::<4>()?;
                (Ipv4Addr::from(*group).into(), rest, group.len())
            }
            IpFamily::V6 => {
                let (group, rest) = rest.split_first_chunk::<16>()?;
                (Ipv6Addr::from(*group).into(), rest, group.len())
            }
        };
        let behind = rest.get(usize::from(sources) * len + usize::from(auxiliary) * 4..)?;
        Some((Self { kind, group, sources }, behind))
    }

    /// Who wants some sources wants the group: which ones is not kept. So `BLOCK` only says that the host
    /// may want nothing of it any more, and it is asked.
    fn wish(&self) -> Option<Wish> {
        const IS_INCLUDE: u8 = 1;
        const IS_EXCLUDE: u8 = 2;
        const TO_INCLUDE: u8 = 3;
        const TO_EXCLUDE: u8 = 4;
        const ALLOW: u8 = 5;
        const BLOCK: u8 = 6;
        match (self.kind, self.sources) {
            (TO_INCLUDE, 0) => Some(Wish::Leave),
            (BLOCK, 1..) => Some(Wish::Leave),
            (IS_EXCLUDE | TO_EXCLUDE, _) | (IS_INCLUDE | TO_INCLUDE | ALLOW, 1..) => {
                Some(Wish::Join)
            }
            _ => None,
        }
    }
}

impl<'f> GroupMessage<'f> {
    /// Whether a frame may be one, by what was found in it already; `frame` holds its bytes.
    #[inline]
    #[must_use]
    pub fn may_be(headers: &Headers, frame: &[u8]) -> bool {
        let Some(ip) = headers.ip() else { return false };
        match (ip.version, ip.protocol) {
            (IpVersion::V4, IGMP) | (_, PIM) => true,
            (IpVersion::V6, icmpv6::NUMBER) => {
                let kind = ip.payload.and_then(|start| frame.get(start));
                kind.is_some_and(|&kind| is_mld(kind))
            }
            _ => false,
        }
    }

    /// Reads a frame. `None` also where it is a fragment, where a checksum is wrong, behind two tags, and
    /// where it could come from beyond the link (RFC 3810, section 6).
    #[must_use]
    pub fn read(headers: &Headers, frame: &'f [u8]) -> Option<Self> {
        let ip = headers.ip().filter(|_| headers.tags() <= 1)?;
        if ip.fragment != Fragment::Whole {
            return None;
        }
        let message = frame.get(ip.payload?..end(&ip, frame)?)?;
        let header = frame.get(ip.start..)?;
        match (ip.version, ip.protocol) {
            (IpVersion::V4, IGMP) => read_igmp(header, message),
            (IpVersion::V4, PIM) => read_pim(message, checksum(&[message])),
            (IpVersion::V6, PIM) => {
                read_pim(message, checksum_v6(header.get(ipv6::ADDRESSES)?, PIM, message))
            }
            (IpVersion::V6, icmpv6::NUMBER) => read_mld(header, message),
            _ => None,
        }
    }
}

fn is_mld(kind: u8) -> bool {
    matches!(kind, MLD_QUERY | MLD_REPORT | MLD_DONE | MLD_REPORT_V2)
}

/// Where the IP packet in a frame ends: behind it there may be padding.
fn end(ip: &Ip, frame: &[u8]) -> Option<usize> {
    let header = frame.get(ip.start..)?;
    let word = |at: std::ops::Range<usize>| {
        let bytes: [u8; 2] = header.get(at)?.try_into().ok()?;
        Some(usize::from(u16::from_be_bytes(bytes)))
    };
    Some(match ip.version {
        IpVersion::V4 => ip.start + word(ipv4::TOTAL_LENGTH)?,
        IpVersion::V6 => ip.start + ipv6::LEN + word(ipv6::PAYLOAD_LENGTH)?,
    })
}

fn read_pim(message: &[u8], sum: u16) -> Option<GroupMessage<'_>> {
    (message.len() >= 4 && message[0] == PIM_HELLO && sum == 0).then_some(GroupMessage::RouterHello)
}

fn read_igmp<'f>(header: &[u8], message: &'f [u8]) -> Option<GroupMessage<'f>> {
    let &[kind, code, _, _, a, b, c, d] = message.first_chunk()?;
    let header_len = usize::from(header.first()? & 0xf) * 4;
    if checksum(&[message]) != 0 || checksum(&[header.get(..header_len)?]) != 0 {
        return None;
    }
    let group = Ipv4Addr::new(a, b, c, d);
    let one = |wish| Some(report(group.into(), wish));
    match kind {
        QUERY => {
            let source = Ipv4Addr::from(*header.get(ipv4::ADDRESSES)?.first_chunk()?);
            let group = Some(IpAddr::from(group)).filter(|group| !group.is_unspecified());
            let last = message.get(8..12);
            let tenths = match (last, code) {
                (None, 0) => RESPONSE_V1.as_millis() as u64 / 100,
                (None, code) => code.into(),
                (Some(_), code) => from_float(code).into(),
            };
            let response = Duration::from_millis(tenths * 100);
            Some(GroupMessage::Query(query(source.into(), group, response, last)))
        }
        REPORT_V1 | REPORT_V2 => one(Wish::Join),
        LEAVE => one(Wish::Leave),
        REPORT_V3 => Some(records(IpFamily::V4, message)),
        _ => None,
    }
}

fn read_mld<'f>(header: &[u8], message: &'f [u8]) -> Option<GroupMessage<'f>> {
    let (&[kind, _, _, _, c0, c1, _, _], rest) = message.split_first_chunk()?;
    let addresses = header.get(ipv6::ADDRESSES)?;
    let source = Ipv6Addr::from(*addresses.first_chunk()?);
    let is_of_link = header.get(HOP_LIMIT) == Some(&1)
        && (source.is_unicast_link_local() || source.is_unspecified() && kind != MLD_QUERY)
        && has_router_alert(header);
    if !is_of_link || checksum_v6(addresses, icmpv6::NUMBER, message) != 0 {
        return None;
    }
    if kind == MLD_REPORT_V2 {
        return Some(records(IpFamily::V6, message));
    }
    let group = Ipv6Addr::from(*rest.first_chunk()?);
    match kind {
        MLD_QUERY => {
            let group = Some(IpAddr::from(group)).filter(|group| !group.is_unspecified());
            let code = u16::from_be_bytes([c0, c1]);
            let last = message.get(24..28);
            let milliseconds = match last {
                None => code.into(),
                Some(_) => from_long_float(code),
            };
            let response = Duration::from_millis(milliseconds.into());
            Some(GroupMessage::Query(query(source.into(), group, response, last)))
        }
        MLD_REPORT => Some(report(group.into(), Wish::Join)),
        MLD_DONE => Some(report(group.into(), Wish::Leave)),
        _ => None,
    }
}

/// IPv6's hop limit, in its header.
const HOP_LIMIT: usize = 7;

/// Whether an IPv6 packet begins with hop-by-hop options, and a router alert among them.
fn has_router_alert(header: &[u8]) -> bool {
    if header.get(ipv6::NEXT_HEADER) != Some(&ipv6::HOP_BY_HOP) {
        return false;
    }
    let Some(&units) = header.get(ipv6::LEN + 1) else { return false };
    let options = header.get(ipv6::LEN + 2..ipv6::LEN + (usize::from(units) + 1) * 8);
    let mut options = options.unwrap_or_default();
    while let Some((&kind, rest)) = options.split_first() {
        if kind == ROUTER_ALERT {
            return true;
        }
        let skipped = match rest.first() {
            _ if kind == PAD1 => 0,
            Some(&len) => 1 + usize::from(len),
            None => return false,
        };
        options = rest.get(skipped..).unwrap_or_default();
    }
    false
}

/// A query; `last` is what IGMPv3 and MLDv2 have behind the group: robustness and interval, and how many
/// sources.
fn query(
    source: IpAddr,
    group: Option<IpAddr>,
    response: Duration,
    last: Option<&[u8]>,
) -> GroupQuery {
    let robustness = last.map(|last| u32::from(last[0] & 7)).filter(|&said| said > 0);
    let interval = last.map(|last| from_float(last[1])).filter(|&said| said > 0);
    let interval = interval.map(|seconds| Duration::from_secs(seconds.into()));
    GroupQuery { source, group, response, robustness, interval }
}

fn report(group: IpAddr, wish: Wish) -> GroupMessage<'static> {
    GroupMessage::Reports(Reports(Records::One(Some((group, wish)))))
}

/// The records of IGMPv3 and MLDv2 stand at the same place.
fn records(family: IpFamily, message: &[u8]) -> GroupMessage<'_> {
    let left = u16::from_be_bytes([message[6], message[7]]);
    GroupMessage::Reports(Reports(Records::Many { family, left, bytes: &message[8..] }))
}

/// A number of 8 bits that is a small float from 128 on (RFC 3376, section 4.1.1).
fn from_float(code: u8) -> u32 {
    match code {
        0..128 => code.into(),
        _ => u32::from(code & 0xf | 0x10) << ((code >> 4 & 7) + 3),
    }
}

/// One of 16 bits that is so from 32,768 on (RFC 3810, section 5.1.3).
fn from_long_float(code: u16) -> u32 {
    match code {
        0..0x8000 => code.into(),
        _ => u32::from(code & 0xfff | 0x1000) << ((code >> 12 & 7) + 3),
    }
}
