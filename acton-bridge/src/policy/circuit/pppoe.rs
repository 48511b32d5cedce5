//! The tag of PPPoE's discovery (RFC 2516) that names a circuit (TR-101, section 3.9.2 and appendix A).

use std::ops::Range;

use acton_frame::Headers;

use super::datagram::word;
use super::{
    BROADBAND_FORUM, CircuitFacts, CircuitMark, CircuitProtocol, CircuitRefusal, Inserted,
    MAX_PACKET, Names,
};

/// Its EtherType.
pub(super) const DISCOVERY: u16 = 0x8863;
/// Version and type, code, session and length.
const HEADER_LEN: usize = 6;
const VERSION_AND_TYPE: u8 = 0x11;
const LENGTH: Range<usize> = 4..6;
/// Codes: those of a host, to be marked, and those of an access concentrator. A PADT of either ends a
/// session that is known, and stays as it is.
const PADI: u8 = 0x09;
const PADR: u8 = 0x19;
const PADO: u8 = 0x07;
const PADS: u8 = 0x65;
/// Types of tags.
const END_OF_LIST: u16 = 0;
const VENDOR_SPECIFIC: u16 = 0x0105;
/// What the header and all tags may be long, so that the whole fits the PPPoE session's frames on each
/// network on the way (TR-101).
const MAX_PAYLOAD: usize = 1_484;

/// A packet of discovery, in bytes of the frame.
struct Packet {
    code: u8,
    /// Where the tags end, before the one that says so.
    tags_end: usize,
    end: usize,
    /// The tag of the Broadband Forum, with its type and length.
    tag: Option<Range<usize>>,
    /// How many of these there are.
    count: usize,
}

impl Packet {
    fn read(headers: &Headers, frame: &[u8]) -> Option<Self> {
        let start = headers.network()?;
        let header = frame.get(start..)?.get(..HEADER_LEN)?;
        if header[0] != VERSION_AND_TYPE {
            return None;
        }
        let mut at = start + HEADER_LEN;
        let end = at + usize::from(word(header, LENGTH.start)?);
        let tags = frame.get(..end)?;
        let mut packet = Self { code: header[1], tags_end: end, end, tag: None, count: 0 };
        while at < end {
            let (kind, len) = (word(tags, at)?, word(tags, at + 2)?);
            if kind == END_OF_LIST {
                packet.tags_end = at;
                break;
            }
            let next = at + 4 + usize::from(len);
            let value = tags.get(at + 4..next)?;
            if kind == VENDOR_SPECIFIC && value.starts_with(&BROADBAND_FORUM.to_be_bytes()) {
                packet.tag = Some(at..next);
                packet.count += 1;
            }
            at = next;
        }
        Some(packet)
    }
}

/// What is to be put into a packet of a host's.
pub(super) fn mark(
    facts: &CircuitFacts<'_>,
    headers: &Headers,
    frame: &[u8],
    names: impl FnOnce() -> Option<Names>,
) -> Result<Option<CircuitMark>, CircuitRefusal> {
    let code = headers.network().and_then(|start| frame.get(start + 1));
    if !matches!(code, Some(&(PADI | PADR))) {
        return Ok(None);
    }
    let packet = Packet::read(headers, frame).ok_or(CircuitRefusal::Unreadable)?;
    if packet.count > 0 {
        return if facts.is_trusted { Ok(None) } else { Err(CircuitRefusal::Named) };
    }
    let sub_options = names().ok_or(CircuitRefusal::TooLong)?.sub_options();
    let ([a, b], [c, d]) =
        (VENDOR_SPECIFIC.to_be_bytes(), (sub_options.len as u16 + 4).to_be_bytes());
    let bytes =
        Inserted::of(&[&[a, b, c, d], &BROADBAND_FORUM.to_be_bytes(), sub_options.as_bytes()]);
    let start = headers.network().unwrap_or_default();
    if packet.end - start - HEADER_LEN + bytes.len > MAX_PAYLOAD {
        return Err(CircuitRefusal::TooLong);
    }
    const { assert!(MAX_PAYLOAD + HEADER_LEN <= MAX_PACKET) };
    let (at, end) = (packet.tags_end, packet.end);
    Ok(Some(CircuitMark { protocol: CircuitProtocol::Pppoe, at, end, bytes }))
}

/// Where the tag is in an access concentrator's answer, its sub-options, and where the packet ends.
pub(super) fn echo(headers: &Headers, frame: &[u8]) -> Option<(Range<usize>, Range<usize>, usize)> {
    let packet = Packet::read(headers, frame)?;
    let tag = packet.tag.filter(|_| packet.count == 1 && matches!(packet.code, PADO | PADS))?;
    let sub_options = tag.start + 8..tag.end;
    Some((tag, sub_options, packet.end))
}

/// Writes the length of what is a frame without padding.
pub(super) fn set_length(headers: &Headers, frame: &mut [u8]) {
    let Some(start) = headers.network() else { return };
    let len = frame.len().saturating_sub(start + HEADER_LEN) as u16;
    frame[start..][LENGTH].copy_from_slice(&len.to_be_bytes());
}
