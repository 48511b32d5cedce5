//! What servers send back: the name that they were told is in it, and is taken out.

use std::ops::Range;

use acton_frame::field::udp;
use acton_frame::{Headers, Protocol};

use super::datagram::Datagram;
use super::dhcp6::RELAY_REPLY;
use super::{CIRCUIT_ID, CircuitProtocol, dhcp, dhcp6, pppoe};
use crate::policy::guard::{DHCP_CLIENT, DHCP_SERVER, DHCP6_CLIENT, DHCP6_SERVER, ports};

/// A frame from the root with the name of a circuit in it, in bytes of the frame.
#[derive(Debug, Clone)]
pub struct CircuitEcho {
    /// The name.
    circuit: Range<usize>,
    cut: Cut,
}

/// What is to be taken out.
#[derive(Debug, Clone)]
enum Cut {
    /// The option.
    Dhcp(Datagram, Range<usize>),
    /// All but what is relayed, for this address.
    Dhcp6(Datagram, Range<usize>, [u8; 16]),
    /// The tag, of a packet that ends there.
    Pppoe(Range<usize>, usize),
}

impl CircuitEcho {
    /// Whether a frame may be one: a look at what was parsed, and at UDP's ports.
    #[inline]
    #[must_use]
    pub fn may_be_in(headers: &Headers, frame: &[u8]) -> bool {
        match headers.transport() {
            Some(transport) => {
                transport.protocol == Protocol::Udp
                    && ports(frame.get(transport.start..).unwrap_or_default())
                        .is_some_and(|[_, to]| matches!(to, DHCP_CLIENT | DHCP6_SERVER))
            }
            None => headers.ethertype() == Some(pppoe::DISCOVERY),
        }
    }

    /// Finds the name of a circuit in a frame from the root; `None` where there is none.
    #[must_use]
    pub fn find(headers: &Headers, frame: &[u8]) -> Option<Self> {
        if headers.ethertype() == Some(pppoe::DISCOVERY) {
            let (tag, sub_options, end) = pppoe::echo(headers, frame)?;
            let circuit = sub_option(frame, sub_options)?;
            return Some(Self { circuit, cut: Cut::Pppoe(tag, end) });
        }
        let datagram = Datagram::find(headers, frame)?;
        let start = datagram.payload();
        let message = &frame[start..datagram.end];
        let in_frame = |range: Range<usize>| start + range.start..start + range.end;
        let [from, to] = ports(&frame[start - udp::LEN..])?;
        if datagram.is_v6() {
            if to != DHCP6_SERVER {
                return None;
            }
            let dhcp6::RelayReply { peer, interface, relayed } = dhcp6::reply(message)?;
            let cut = Cut::Dhcp6(datagram, in_frame(relayed), peer);
            return Some(Self { circuit: in_frame(interface), cut });
        }
        if [from, to] != [DHCP_SERVER, DHCP_CLIENT] {
            return None;
        }
        let (option, value) = dhcp::echo(message)?;
        let circuit = sub_option(frame, in_frame(value))?;
        Some(Self { circuit, cut: Cut::Dhcp(datagram, in_frame(option)) })
    }

    /// The protocol.
    #[must_use]
    pub fn protocol(&self) -> CircuitProtocol {
        match self.cut {
            Cut::Dhcp(..) => CircuitProtocol::Dhcp,
            Cut::Dhcp6(..) => CircuitProtocol::Dhcp6,
            Cut::Pppoe(..) => CircuitProtocol::Pppoe,
        }
    }

    /// The name in the frame that this was found in.
    #[must_use]
    pub fn circuit<'f>(&self, frame: &'f [u8]) -> &'f [u8] {
        frame.get(self.circuit.clone()).unwrap_or_default()
    }

    /// Takes the name out of the frame that this was found in; how long that is now: never longer. Its
    /// checksum is whole and as right as it was; where it was partial, it is right.
    pub fn remove(&self, headers: &Headers, frame: &mut [u8], is_partial: bool) -> usize {
        match &self.cut {
            Cut::Dhcp(datagram, option) => {
                let (sums, len) =
                    (datagram.sums(frame, is_partial), datagram.end - datagram.payload());
                frame.copy_within(option.end..datagram.end, option.start);
                // What is free now is padding, as far as that must be.
                let least = datagram.payload() + len.min(dhcp::MIN_MESSAGE);
                let behind = datagram.end - option.len();
                let end = behind.max(least);
                frame[behind..end].fill(0);
                datagram.finish(frame, end, sums);
                end
            }
            Cut::Dhcp6(datagram, relayed, peer) => {
                let (sums, start) = (datagram.sums(frame, is_partial), datagram.payload());
                frame.copy_within(relayed.clone(), start);
                // Another relay may be behind the client.
                let to = if frame[start] == RELAY_REPLY { DHCP6_SERVER } else { DHCP6_CLIENT };
                datagram.set_ports(frame, [DHCP6_SERVER, to]);
                datagram.set_destination(frame, *peer);
                let end = start + relayed.len();
                datagram.finish(frame, end, sums);
                end
            }
            Cut::Pppoe(tag, end) => {
                frame.copy_within(tag.end..*end, tag.start);
                let end = end - tag.len();
                pppoe::set_length(headers, &mut frame[..end]);
                end
            }
        }
    }
}

/// Where the circuit is among sub-options, which are at `range` of the frame.
fn sub_option(frame: &[u8], range: Range<usize>) -> Option<Range<usize>> {
    let mut at = range.start;
    while at < range.end {
        let &[kind, len] = frame.get(at..range.end)?.first_chunk()?;
        let value = at + 2..at + 2 + usize::from(len);
        if value.end > range.end {
            return None;
        }
        if kind == CIRCUIT_ID {
            return Some(value);
        }
        at = value.end;
    }
    None
}
