//! On which circuit a subscriber is, told to the servers behind the root as an access node does (TR-101,
//! section 3.9): in DHCP by option 82 (RFC 3046), in DHCPv6 as a lightweight relay agent (RFC 6221), in
//! PPPoE's discovery by a tag of the Broadband Forum.
//!
//! Nothing is remembered: what a server echoes is known again by the name in it. A leaf that is not
//! trusted cannot speak to these servers without its name, or by another one: what cannot be given the name
//! is refused.

mod datagram;
mod dhcp;
mod dhcp6;
mod echo;
mod pppoe;
mod template;
#[cfg(test)]
mod tests;

use std::fmt;

use acton_frame::field::udp;
use acton_frame::{Headers, IpVersion};

pub use echo::CircuitEcho;
pub use template::{CircuitTemplate, CircuitTemplateError};

use super::guard::{Carried, DHCP_SERVER, DHCP6_SERVER, carried, is_disguised, ports};
use datagram::Datagram;
use template::Name;

/// Bytes behind the Ethernet header and its tags, at most: Ethernet's (IEEE 802.3, clause 3.2.7). What
/// would be longer is refused, not fragmented.
const MAX_PACKET: usize = 1_500;
/// The Broadband Forum's number among enterprises (IANA).
const BROADBAND_FORUM: u32 = 3_561;
/// Sub-options of option 82 (RFC 3046, section 2.0) and of the PPPoE tag (TR-101, appendix A).
const CIRCUIT_ID: u8 = 1;
const REMOTE_ID: u8 = 2;

/// How a leaf is named to servers behind the root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Circuit {
    /// What its circuit is called.
    pub id: CircuitTemplate,
    /// What is called the remote end of it, where that is told too.
    pub remote: Option<CircuitTemplate>,
    /// Whether it is told in DHCP over IPv4.
    pub dhcp: bool,
    /// Whether it is told in DHCPv6.
    pub dhcp6: bool,
    /// Whether it is told in PPPoE's discovery.
    pub pppoe: bool,
}

/// What is known of a leaf beside its [`Circuit`].
#[derive(Debug, Clone, Copy)]
pub struct CircuitFacts<'a> {
    /// `{client}`.
    pub client: &'a str,
    /// `{server}`.
    pub server: &'a str,
    /// Whether what it says of circuits itself is believed.
    pub is_trusted: bool,
}

/// A protocol in which a circuit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitProtocol {
    /// DHCP over IPv4.
    Dhcp,
    /// DHCPv6.
    Dhcp6,
    /// The discovery of PPP over Ethernet.
    Pppoe,
}

/// Why a frame of a leaf that has a circuit is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CircuitRefusal {
    /// It names a circuit itself, or a relay before this one.
    Named,
    /// It is a server's.
    Server,
    /// It cannot be read, or hides what it is, so that no name can be put into it.
    Unreadable,
    /// It would be longer than 1,500 bytes.
    TooLong,
    /// More than 8 relays have had it (RFC 8415, section 7.6).
    Hops,
}

/// What is to be put into a frame.
#[derive(Debug, Clone, Copy)]
pub struct CircuitMark {
    protocol: CircuitProtocol,
    /// Where in the frame.
    at: usize,
    /// Where what is kept of the frame ends: padding is left out.
    end: usize,
    bytes: Inserted,
}

/// Room for the longest that is put into a frame: a Relay-Forward's header and options around two names
/// take 178 bytes.
const ROOM: usize = 192;

/// Bytes to be put into a frame.
#[derive(Debug, Clone, Copy)]
struct Inserted {
    bytes: [u8; ROOM],
    len: usize,
}

impl Inserted {
    fn of(parts: &[&[u8]]) -> Self {
        let mut inserted = Self { bytes: [0; ROOM], len: 0 };
        for part in parts {
            inserted.bytes[inserted.len..][..part.len()].copy_from_slice(part);
            inserted.len += part.len();
        }
        inserted
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The names of one frame.
struct Names {
    id: Name,
    remote: Option<Name>,
}

impl Names {
    /// Circuit and remote as sub-options of one byte of type and one of length: at most 130 bytes.
    fn sub_options(&self) -> Inserted {
        let (id, remote) = (self.id.as_bytes(), self.remote.as_ref().map(Name::as_bytes));
        let header = |kind, name: &[u8]| [kind, name.len() as u8];
        let remote_header = remote.map(|name| header(REMOTE_ID, name));
        Inserted::of(&[
            &header(CIRCUIT_ID, id),
            id,
            remote_header.as_ref().map_or(&[], |header| header.as_slice()),
            remote.unwrap_or_default(),
        ])
    }
}

impl Circuit {
    /// One that is told in all protocols.
    #[must_use]
    pub fn new(id: CircuitTemplate, remote: Option<CircuitTemplate>) -> Self {
        Self { id, remote, dhcp: true, dhcp6: true, pppoe: true }
    }

    /// Whether it is told in a protocol.
    #[must_use]
    pub fn tells_in(&self, protocol: CircuitProtocol) -> bool {
        match protocol {
            CircuitProtocol::Dhcp => self.dhcp,
            CircuitProtocol::Dhcp6 => self.dhcp6,
            CircuitProtocol::Pppoe => self.pppoe,
        }
    }

    /// What is to be put into a frame that the leaf sends, which was parsed before; `None` where the
    /// frame passes as it is.
    ///
    /// # Errors
    /// Why the frame is not to pass.
    pub fn mark(
        &self,
        facts: &CircuitFacts<'_>,
        headers: &Headers,
        frame: &[u8],
    ) -> Result<Option<CircuitMark>, CircuitRefusal> {
        let made = match self.protocol(facts, headers, frame)? {
            None => return Ok(None),
            Some(protocol) if !self.tells_in(protocol) => return Ok(None),
            Some(CircuitProtocol::Dhcp) => {
                dhcp::mark(facts, headers, frame, || self.names(facts, headers))
            }
            Some(CircuitProtocol::Dhcp6) => {
                dhcp6::mark(facts, headers, frame, || self.names(facts, headers))
            }
            Some(CircuitProtocol::Pppoe) => {
                pppoe::mark(facts, headers, frame, || self.names(facts, headers))
            }
        };
        match made {
            // What is believed is not held up for what cannot be added to it.
            Err(CircuitRefusal::Unreadable | CircuitRefusal::TooLong) if facts.is_trusted => {
                Ok(None)
            }
            made => made,
        }
    }

    /// The protocol that a frame of the leaf's may have to be marked in.
    fn protocol(
        &self,
        facts: &CircuitFacts<'_>,
        headers: &Headers,
        frame: &[u8],
    ) -> Result<Option<CircuitProtocol>, CircuitRefusal> {
        if headers.ethertype() == Some(pppoe::DISCOVERY) {
            return Ok(Some(CircuitProtocol::Pppoe));
        }
        let may_hide = !facts.is_trusted;
        if may_hide && is_disguised(headers, frame) {
            return Err(CircuitRefusal::Unreadable);
        }
        let Some(ip) = headers.ip() else { return Ok(None) };
        let bytes = match carried(&ip, frame) {
            Carried::Found { protocol: udp::NUMBER, bytes } => bytes,
            Carried::Hidden if may_hide => return Err(CircuitRefusal::Unreadable),
            _ => return Ok(None),
        };
        // Servers look at the destination alone.
        match (ip.version, ports(bytes)) {
            (IpVersion::V4, Some([_, DHCP_SERVER])) => Ok(Some(CircuitProtocol::Dhcp)),
            (IpVersion::V6, Some([_, DHCP6_SERVER])) => Ok(Some(CircuitProtocol::Dhcp6)),
            (_, None) if may_hide => Err(CircuitRefusal::Unreadable),
            _ => Ok(None),
        }
    }

    /// The names for a frame.
    fn names(&self, facts: &CircuitFacts<'_>, headers: &Headers) -> Option<Names> {
        let ethernet = headers.ethernet()?;
        let name = |template: &CircuitTemplate| {
            template.name(facts.client, facts.server, ethernet.source(), ethernet.vlan())
        };
        let remote = match &self.remote {
            Some(template) => Some(name(template)?),
            None => None,
        };
        Some(Names { id: name(&self.id)?, remote })
    }

    /// Whether a server echoes the name of this leaf.
    #[must_use]
    pub fn is_in(&self, facts: &CircuitFacts<'_>, echo: &CircuitEcho, frame: &[u8]) -> bool {
        self.tells_in(echo.protocol())
            && self.id.makes(echo.circuit(frame), facts.client, facts.server)
    }
}

impl CircuitMark {
    /// The protocol of the frame.
    #[must_use]
    pub fn protocol(&self) -> CircuitProtocol {
        self.protocol
    }

    /// Writes the frame that it was made for, with the mark in it, in place of what is in `into`. Its
    /// checksum is whole and as right as it was; where that of the frame is partial, it is right.
    pub fn write(&self, headers: &Headers, frame: &[u8], is_partial: bool, into: &mut Vec<u8>) {
        let bytes = self.bytes.as_bytes();
        into.clear();
        into.extend_from_slice(&frame[..self.at]);
        into.extend_from_slice(bytes);
        into.extend_from_slice(&frame[self.at..self.end]);
        if self.protocol == CircuitProtocol::Pppoe {
            return pppoe::set_length(headers, into);
        }
        let Some(datagram) = Datagram::find(headers, frame) else { return };
        if self.protocol == CircuitProtocol::Dhcp6 {
            datagram.set_ports(into, [DHCP6_SERVER; 2]);
        }
        datagram.finish(into, self.end + bytes.len(), datagram.sums(frame, is_partial));
    }
}

impl CircuitProtocol {
    /// A stable name for settings and text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dhcp => "dhcp",
            Self::Dhcp6 => "dhcp6",
            Self::Pppoe => "pppoe",
        }
    }
}

impl fmt::Display for CircuitRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Named => "it names a circuit or a relay itself, and the client is not trusted",
            Self::Server => "what only a server says",
            Self::Unreadable => "no name can be put into it",
            Self::TooLong => "with the name it would be longer than 1,500 bytes",
            Self::Hops => "it has had too many relays",
        })
    }
}
