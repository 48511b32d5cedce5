//! The lightweight relay agent of DHCPv6 (RFC 6221): it wraps what clients say, without an address of its
//! own.

use std::ops::Range;

use acton_frame::Headers;

use super::datagram::{Datagram, word};
use super::template::Name;
use super::{
    BROADBAND_FORUM, CircuitFacts, CircuitMark, CircuitProtocol, CircuitRefusal, Inserted,
    MAX_PACKET, Names,
};
use crate::policy::guard::DHCP6_OF_SERVERS;

/// Types of messages (RFC 8415, section 7.3).
const RELAY_FORWARD: u8 = 12;
pub(super) const RELAY_REPLY: u8 = 13;
/// The first byte of an address of several (RFC 4291, section 2.7).
const MULTICAST: u8 = 0xff;
/// Relays that may have had a message (RFC 8415, section 7.6: HOP_COUNT_LIMIT).
const HOP_LIMIT: u8 = 8;
/// A relay's message: type, hop count, link address and peer address (RFC 8415, section 9).
const HEADER_LEN: usize = 34;
const LINK: Range<usize> = 2..18;
const PEER: Range<usize> = 18..34;
/// Options: what is relayed, the interface (RFC 8415, sections 21.10 and 21.18), and the remote end
/// (RFC 4649), which begins with the number of whose it is.
const RELAY_MESSAGE: u16 = 9;
const INTERFACE_ID: u16 = 18;
const REMOTE_ID: u16 = 37;

/// What is to be put before a message to servers. RFC 6221 wraps what is sent to all servers of the link;
/// here what a leaf that is not trusted sends to one of them is too, so that no message goes there without a
/// name.
pub(super) fn mark(
    facts: &CircuitFacts<'_>,
    headers: &Headers,
    frame: &[u8],
    names: impl FnOnce() -> Option<Names>,
) -> Result<Option<CircuitMark>, CircuitRefusal> {
    let datagram = Datagram::find(headers, frame).ok_or(CircuitRefusal::Unreadable)?;
    let message = &frame[datagram.payload()..datagram.end];
    let kind = *message.first().ok_or(CircuitRefusal::Unreadable)?;
    if DHCP6_OF_SERVERS.contains(&kind) {
        return if facts.is_trusted { Ok(None) } else { Err(CircuitRefusal::Server) };
    }
    let is_to_one = datagram.addresses(frame)[16] != MULTICAST;
    let hops = match (kind, facts.is_trusted) {
        (_, true) if is_to_one => return Ok(None),
        (RELAY_FORWARD, false) => return Err(CircuitRefusal::Named),
        (RELAY_FORWARD, true) => match message.get(1) {
            Some(&hops @ ..HOP_LIMIT) => hops + 1,
            _ => return Err(CircuitRefusal::Hops),
        },
        _ => 0,
    };
    let Names { id, remote } = names().ok_or(CircuitRefusal::TooLong)?;
    let option = |code: u16, len: usize| {
        let ([a, b], [c, d]) = (code.to_be_bytes(), (len as u16).to_be_bytes());
        [a, b, c, d]
    };
    let (id, remote) = (id.as_bytes(), remote.as_ref().map(Name::as_bytes));
    let enterprise = BROADBAND_FORUM.to_be_bytes();
    let remote_header = remote.map(|name| {
        let header = option(REMOTE_ID, enterprise.len() + name.len());
        [header, enterprise].concat()
    });
    // The link is not named: the server is on it.
    let bytes = Inserted::of(&[
        &[RELAY_FORWARD, hops],
        &[0; 16],
        &datagram.addresses(frame)[..16],
        &option(INTERFACE_ID, id.len()),
        id,
        remote_header.as_deref().unwrap_or_default(),
        remote.unwrap_or_default(),
        &option(RELAY_MESSAGE, message.len()),
    ]);
    if datagram.packet_len() + bytes.len > MAX_PACKET {
        return Err(CircuitRefusal::TooLong);
    }
    let (at, end) = (datagram.payload(), datagram.end);
    Ok(Some(CircuitMark { protocol: CircuitProtocol::Dhcp6, at, end, bytes }))
}

/// What a server's answer to a lightweight relay holds.
pub(super) struct RelayReply {
    pub(super) peer: [u8; 16],
    /// Bytes of the message that are the interface's name.
    pub(super) interface: Range<usize>,
    /// Those that are relayed.
    pub(super) relayed: Range<usize>,
}

/// Reads a server's answer; `None` where it is none, or not to a lightweight relay.
pub(super) fn reply(message: &[u8]) -> Option<RelayReply> {
    if message.first() != Some(&RELAY_REPLY) || message.get(LINK)? != [0; 16] {
        return None;
    }
    let peer = *message.get(PEER)?.as_array()?;
    let (mut interface, mut relayed, mut at) = (None, None, HEADER_LEN);
    while at < message.len() {
        let (code, len) = (word(message, at)?, word(message, at + 2)?);
        let value = at + 4..at + 4 + usize::from(len);
        message.get(value.clone())?;
        at = value.end;
        match code {
            INTERFACE_ID => interface = Some(value),
            RELAY_MESSAGE => relayed = Some(value),
            _ => {}
        }
    }
    let relayed = relayed.filter(|relayed| !relayed.is_empty())?;
    Some(RelayReply { peer, interface: interface?, relayed })
}
