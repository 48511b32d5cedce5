//! Which frames the kernel lets through: an expression, compiled to classic BPF.

mod compile;
#[cfg(test)]
mod tests;

use std::ops;

use pnet_base::MacAddr;

use crate::error::FilterError;

/// Most instructions a program may have (`BPF_MAXINSNS`, `linux/bpf_common.h`).
const MAX_INSTRUCTIONS: usize = libc::BPF_MAXINSNS as usize;

/// Which frames pass: a test of one field, or several joined by [`and`](Self::and),
/// [`or`](Self::or) and `!`.
///
/// A test is false for a frame that does not have the field or was cut before it, so its
/// opposite is true. VLAN tags, also those the kernel took out of the frame, are stepped over: a
/// tagged ARP request passes [`ethertype(0x0806)`](Self::ethertype). No frame shorter than an
/// Ethernet header passes any filter.
///
/// ```
/// use acton_raw::Filter;
///
/// let arp = Filter::ethertype(0x0806);
/// let dns = Filter::ip_protocol(17).and(Filter::port(53));
/// let filter = arp.or(dns).and(!Filter::vlan(7));
/// # drop(filter);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Expression);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Test(Test),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// A test of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    EtherType(u16),
    Source(MacAddr),
    Destination(MacAddr),
    Tagged,
    Vlan(u16),
    Protocol(u8),
    SourcePort(u16),
    DestinationPort(u16),
}

impl Filter {
    /// Frames with this EtherType, behind up to two VLAN tags in line and one taken out.
    ///
    /// To ask for a tag itself, see [`tagged`](Self::tagged).
    pub fn ethertype(ethertype: u16) -> Self {
        Self(Expression::Test(Test::EtherType(ethertype)))
    }

    /// Frames from or to this address.
    pub fn mac(address: MacAddr) -> Self {
        Self::source_mac(address).or(Self::destination_mac(address))
    }

    /// Frames from this address.
    pub fn source_mac(address: MacAddr) -> Self {
        Self(Expression::Test(Test::Source(address)))
    }

    /// Frames to this address.
    pub fn destination_mac(address: MacAddr) -> Self {
        Self(Expression::Test(Test::Destination(address)))
    }

    /// Frames with a VLAN tag, 802.1Q or 802.1ad, of any identifier.
    pub fn tagged() -> Self {
        Self(Expression::Test(Test::Tagged))
    }

    /// Frames whose outermost VLAN tag, 802.1Q or 802.1ad, has this identifier (0 to 4095).
    pub fn vlan(id: u16) -> Self {
        Self(Expression::Test(Test::Vlan(id)))
    }

    /// IPv4 and IPv6 packets of this protocol, such as 6 for TCP
    /// ([IANA's numbers](https://www.iana.org/assignments/protocol-numbers)).
    ///
    /// In IPv6 up to four hop-by-hop, routing, destination and fragment headers are stepped over.
    pub fn ip_protocol(protocol: u8) -> Self {
        Self(Expression::Test(Test::Protocol(protocol)))
    }

    /// TCP, UDP and SCTP packets, over IPv4 or IPv6, from or to this port.
    ///
    /// Of a fragmented packet only the first fragment has ports.
    pub fn port(port: u16) -> Self {
        Self::source_port(port).or(Self::destination_port(port))
    }

    /// As [`port`](Self::port), but only from it.
    pub fn source_port(port: u16) -> Self {
        Self(Expression::Test(Test::SourcePort(port)))
    }

    /// As [`port`](Self::port), but only to it.
    pub fn destination_port(port: u16) -> Self {
        Self(Expression::Test(Test::DestinationPort(port)))
    }

    /// Frames that pass both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let mut terms = match self.0 {
            Expression::All(terms) => terms,
            one => vec![one],
        };
        match other.0 {
            Expression::All(more) => terms.extend(more),
            one => terms.push(one),
        }
        Self(Expression::All(terms))
    }

    /// Frames that pass either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut terms = match self.0 {
            Expression::Any(terms) => terms,
            one => vec![one],
        };
        match other.0 {
            Expression::Any(more) => terms.extend(more),
            one => terms.push(one),
        }
        Self(Expression::Any(terms))
    }

    /// The BPF program that keeps at most `snaplen` bytes of each frame that passes.
    ///
    /// A `snaplen` of 0 counts as 1: to return 0 bytes is to drop the frame.
    ///
    /// # Errors
    /// [`FilterError::TooLong`] for an expression of some hundred tests.
    pub fn compile(&self, snaplen: u32) -> Result<Program, FilterError> {
        Program::new(compile::compile(&self.0, snaplen.max(1)))
    }
}

impl ops::Not for Filter {
    type Output = Self;

    /// Frames that do not pass `self`.
    fn not(self) -> Self {
        Self(match self.0 {
            Expression::Not(inner) => *inner,
            expression => Expression::Not(Box::new(expression)),
        })
    }
}

/// One instruction of classic BPF (`struct sock_filter`, `linux/filter.h`; its meaning is in the
/// kernel's `Documentation/networking/filter.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// The operation.
    pub code: u16,
    /// Instructions to skip when a jump's condition is true.
    pub jt: u8,
    /// Instructions to skip when it is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A classic BPF program: compiled from a [`Filter`], or raw instructions such as those that
/// `tcpdump -dd` prints.
///
/// It sees each frame from its Ethernet header on, without the VLAN tag that the kernel took out,
/// and returns the number of bytes to keep; 0 drops the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// A program of these instructions.
    ///
    /// The kernel checks them (known codes, jumps forward and within the program, a return at the
    /// end) when the program is attached.
    ///
    /// # Errors
    /// [`FilterError`] when there is none or more than 4096.
    pub fn new(instructions: Vec<Instruction>) -> Result<Self, FilterError> {
        match instructions.len() {
            0 => Err(FilterError::Empty),
            1..=MAX_INSTRUCTIONS => Ok(Self(instructions)),
            instructions => Err(FilterError::TooLong { instructions }),
        }
    }

    /// The program that keeps `snaplen` bytes of every frame; 0 drops all.
    pub(crate) fn constant(snaplen: u32) -> Self {
        Self(vec![compile::ret(snaplen)])
    }

    /// Its instructions, 1 to 4096 of them.
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}
