//! What DHCP messages over IPv4 say.

use std::net::Ipv4Addr;
use std::time::Duration;

use acton_frame::field::udp;
use acton_frame::{Fragment, Headers, IpVersion};
use pnet_base::MacAddr;

use super::guard::{Carried, DHCP_CLIENT, DHCP_SERVER, carried, ports};

/// Where what is read here lies in a message (RFC 2131, section 2), whose first byte is the operation.
const TRANSACTION: usize = 4;
const CLIENT: usize = 12;
const GIVEN: usize = 16;
const HARDWARE: usize = 28;
pub(super) const COOKIE: usize = 236;
pub(super) const COOKIE_BYTES: [u8; 4] = [99, 130, 83, 99];
/// The operation of a server's messages.
pub(super) const BOOT_REPLY: u8 = 2;
/// Options (RFC 2132): those without a length, and those that are read.
pub(super) const PAD: u8 = 0;
pub(super) const END: u8 = 255;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
pub(super) const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
/// Types of messages.
pub(super) const DECLINE: u8 = 4;
pub(super) const ACK: u8 = 5;
pub(super) const RELEASE: u8 = 7;

/// A DHCP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DhcpMessage {
    pub(super) operation: u8,
    pub(super) transaction: u32,
    /// The address that the client says it has.
    pub(super) client: Ipv4Addr,
    /// The one that it is given.
    pub(super) given: Ipv4Addr,
    /// The one that it names in an option.
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) hardware: MacAddr,
    /// `None` in BOOTP, and where more than one is said.
    pub(super) kind: Option<u8>,
    /// For how long the address is given.
    pub(super) time: Option<Duration>,
    /// Whether there may be options where these are not looked for, or twice the same.
    pub(super) is_obscure: bool,
}

impl DhcpMessage {
    /// Reads what UDP carries; `None` where it is no DHCP message.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        if message.get(COOKIE..COOKIE + 4)? != COOKIE_BYTES {
            return None;
        }
        let address = |at: usize| Some(Ipv4Addr::from(*message.get(at..)?.first_chunk()?));
        let [a, b, c, d, e, f] = *message.get(HARDWARE..)?.first_chunk()?;
        let mut read = Self {
            operation: message[0],
            transaction: u32::from_be_bytes(*message.get(TRANSACTION..)?.first_chunk()?),
            client: address(CLIENT)?,
            given: address(GIVEN)?,
            requested: None,
            hardware: MacAddr(a, b, c, d, e, f),
            kind: None,
            time: None,
            is_obscure: false,
        };
        let mut seen = 0_u8;
        let mut options = &message[COOKIE + 4..];
        loop {
            match *options {
                [PAD, ref rest @ ..] => options = rest,
                [END, ..] | [] | [_] => break,
                [code, len, ref rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(len.into())?;
                    let number = || value.as_array().copied().map(u32::from_be_bytes);
                    match code {
                        MESSAGE_TYPE => read.kind = value.first().copied(),
                        LEASE_TIME => {
                            read.time = number().map(|seconds| Duration::from_secs(seconds.into()));
                        }
                        REQUESTED => read.requested = number().map(Ipv4Addr::from_bits),
                        OVERLOAD => read.is_obscure = true,
                        _ => {}
                    }
                    if (REQUESTED..=MESSAGE_TYPE).contains(&code) {
                        let bit = 1 << (code - REQUESTED);
                        read.is_obscure |= seen & bit != 0;
                        seen |= bit;
                    }
                    options = rest;
                }
            }
        }
        Some(read)
    }

    /// The address that a client gives back, or will not take, so that the server may give it another.
    pub(super) fn gives_back(&self) -> Option<Ipv4Addr> {
        match self.kind? {
            RELEASE => Some(self.client),
            DECLINE => Some(self.requested.unwrap_or(self.client)),
            _ => None,
        }
    }
}

/// What a frame says to DHCP servers, from whatever port: they look at its destination alone. `None` where
/// it is no message of DHCP.
pub(super) fn to_server(headers: &Headers, frame: &[u8]) -> Option<DhcpMessage> {
    DhcpMessage::read(payload(headers, frame, |[_, to]| to == DHCP_SERVER)?)
}

/// Whether a frame is a fragment that begins a datagram to a DHCP server: what that gives back is not all
/// in it.
pub(super) fn is_cut_to_server(headers: &Headers, frame: &[u8]) -> bool {
    let first = headers.ip().filter(|ip| ip.fragment == Fragment::First);
    first.is_some_and(|ip| match carried(&ip, frame) {
        Carried::Found { protocol: udp::NUMBER, bytes } => {
            ports(bytes).is_some_and(|[_, to]| to == DHCP_SERVER)
        }
        _ => false,
    })
}

/// What a frame carries from DHCP's client port to the server's, without UDP's header.
pub(super) fn from_client<'f>(headers: &Headers, frame: &'f [u8]) -> Option<&'f [u8]> {
    payload(headers, frame, |ports| ports == [DHCP_CLIENT, DHCP_SERVER])
}

/// What a frame carries from DHCP's server port to the client's, without UDP's header.
pub(super) fn from_server<'f>(headers: &Headers, frame: &'f [u8]) -> Option<&'f [u8]> {
    payload(headers, frame, |ports| ports == [DHCP_SERVER, DHCP_CLIENT])
}

/// What UDP over IPv4 carries between such ports, the source first; it may be cut short.
fn payload<'f>(
    headers: &Headers,
    frame: &'f [u8],
    is_meant: impl Fn([u16; 2]) -> bool,
) -> Option<&'f [u8]> {
    let ip = headers.ip().filter(|ip| ip.version == IpVersion::V4)?;
    if ip.fragment != Fragment::Whole {
        return None;
    }
    let Carried::Found { protocol: udp::NUMBER, bytes } = carried(&ip, frame) else { return None };
    is_meant(ports(bytes)?).then(|| bytes.get(udp::LEN..).unwrap_or_default())
}
