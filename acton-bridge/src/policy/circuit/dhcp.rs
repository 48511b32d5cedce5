//! Option 82 of DHCP, the relay agent information option (RFC 3046).

use std::ops::Range;

use acton_frame::Headers;

use super::super::dhcp::{BOOT_REPLY, COOKIE, COOKIE_BYTES, END, OVERLOAD, PAD};
use super::datagram::Datagram;
use super::{
    CircuitFacts, CircuitMark, CircuitProtocol, CircuitRefusal, Inserted, MAX_PACKET, Names,
};

/// The operation of clients' messages (RFC 2131, section 2).
const BOOT_REQUEST: u8 = 1;
/// Where a relay agent says that it had the message: zero in what comes from a client.
const GIADDR: Range<usize> = 24..28;
/// The fields that may hold options too (RFC 2132, section 9.3), with their bit in the option that says so.
const OVERLOADED: [(u8, Range<usize>); 2] = [(1, 108..236), (2, 44..108)];
const RELAY_AGENT_INFORMATION: u8 = 82;
/// Bytes of a message, at least: shorter ones some hosts do not take (RFC 1542, section 2.1).
pub(super) const MIN_MESSAGE: usize = 300;

/// What the options of a message, or of one of its other fields, hold.
struct Options {
    /// Where they end, before the option that says so.
    end: usize,
    /// Option 82, the last one: its code, its length and its value.
    information: Option<Range<usize>>,
    /// How many of these there are.
    count: usize,
    overload: u8,
}

impl Options {
    /// Reads options from `at` on; `None` where they cannot be read to the end.
    fn read(message: &[u8], at: usize) -> Option<Self> {
        let mut options = Self { end: at, information: None, count: 0, overload: 0 };
        loop {
            match *message.get(options.end..)? {
                [] | [END, ..] => return Some(options),
                [PAD, ..] => options.end += 1,
                [code, len, ref rest @ ..] => {
                    let value = rest.get(..len.into())?;
                    let next = options.end + 2 + value.len();
                    match code {
                        RELAY_AGENT_INFORMATION => {
                            options.information = Some(options.end..next);
                            options.count += 1;
                        }
                        OVERLOAD => options.overload |= value.first()?,
                        _ => {}
                    }
                    options.end = next;
                }
                [_] => return None,
            }
        }
    }
}

/// Whether options in a message's other fields name a circuit; `None` where that cannot be read.
fn names_elsewhere(message: &[u8], overload: u8) -> Option<bool> {
    let mut names = false;
    for (bit, range) in OVERLOADED {
        if overload & bit != 0 {
            names |= Options::read(message.get(range)?, 0)?.count > 0;
        }
    }
    Some(names)
}

/// What is to be put into a message to servers. Each gets it, to all and to one alike, so that a server
/// that hands out addresses by circuits sees the same of a renewal as of what came before.
///
/// It is the last option (RFC 3046, section 2.1). How large an answer may be (option 57) stays as it is:
/// what the server adds for it is taken off again.
pub(super) fn mark(
    facts: &CircuitFacts<'_>,
    headers: &Headers,
    frame: &[u8],
    names: impl FnOnce() -> Option<Names>,
) -> Result<Option<CircuitMark>, CircuitRefusal> {
    let datagram = Datagram::find(headers, frame).ok_or(CircuitRefusal::Unreadable)?;
    let message = &frame[datagram.payload()..datagram.end];
    if message.first() != Some(&BOOT_REQUEST) {
        return if facts.is_trusted { Ok(None) } else { Err(CircuitRefusal::Server) };
    }
    if message.get(COOKIE..COOKIE + 4) != Some(&COOKIE_BYTES) {
        return Err(CircuitRefusal::Unreadable);
    }
    let options = Options::read(message, COOKIE + 4).ok_or(CircuitRefusal::Unreadable)?;
    let elsewhere = names_elsewhere(message, options.overload).ok_or(CircuitRefusal::Unreadable)?;
    // Of an untrusted circuit it is dropped and not replaced (RFC 3046, section 2.1). One that says that it
    // is a relay would get the answer, and could name any circuit.
    if options.count > 0 || elsewhere || message[GIADDR] != [0; 4] {
        return if facts.is_trusted { Ok(None) } else { Err(CircuitRefusal::Named) };
    }
    let sub_options = names().ok_or(CircuitRefusal::TooLong)?.sub_options();
    let header = [RELAY_AGENT_INFORMATION, sub_options.len as u8];
    let bytes = Inserted::of(&[&header, sub_options.as_bytes()]);
    if datagram.packet_len() + bytes.len > MAX_PACKET {
        return Err(CircuitRefusal::TooLong);
    }
    let (at, end) = (datagram.payload() + options.end, datagram.end);
    Ok(Some(CircuitMark { protocol: CircuitProtocol::Dhcp, at, end, bytes }))
}

/// Where option 82 is in a server's answer, and its value; in bytes of `message`.
pub(super) fn echo(message: &[u8]) -> Option<(Range<usize>, Range<usize>)> {
    if message.first() != Some(&BOOT_REPLY)
        || message.get(COOKIE..COOKIE + 4)? != COOKIE_BYTES
        || message[GIADDR] != [0; 4]
    {
        return None;
    }
    let options = Options::read(message, COOKIE + 4)?;
    let option = options.information.filter(|_| options.count == 1)?;
    let value = option.start + 2..option.end;
    Some((option, value))
}
