//! What server and client tell one another in a test of isolation (docs/PROTOCOL.md, section 21), in the
//! bodies of ISOLATION_ORDER and ISOLATION_ANSWER.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ParseError;
use super::field::{Reader, Writer};

/// Size of an order's body in bytes, whatever its step, so that no answer is larger than what it answers.
const ORDER_LEN: usize = 84;
/// Numbers in one ISOLATION_ANSWER that says what was heard.
pub const MAX_HEARD: usize = 32;

/// A MAC address as its six bytes.
pub type MacBytes = [u8; 6];

/// What marks the frames of one test: random, from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TestToken(pub [u8; 16]);

/// From a server: what its client is to do in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IsolationOrder {
    /// Which test.
    pub token: TestToken,
    /// What to do.
    pub step: IsolationStep,
}

/// A step of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsolationStep {
    /// Say whether to take part, and listen.
    Begin,
    /// Send one frame of each of these kinds, and say so.
    Send(TestFrames),
    /// Say which numbers were heard, from that place in the order of their arrival on.
    Report {
        /// Numbers that were told before.
        from: u16,
    },
    /// It is over.
    End,
}

/// Frames to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TestFrames {
    /// The number of a frame of kind 0; that of another kind is as much larger as its kind.
    pub number: u16,
    /// The kinds, one bit each: kind n is bit n.
    pub kinds: u32,
    /// The MAC of the server's TAP.
    pub root: MacBytes,
    /// A MAC behind another client.
    pub peer: MacBytes,
    /// That client's IPv4 address; unspecified where it has none.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address; unspecified where it has none.
    pub ipv6: Ipv6Addr,
}

/// From a client: what came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IsolationAnswer {
    /// Which test.
    pub token: TestToken,
    /// What came of it.
    pub reply: IsolationReply,
}

/// What came of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IsolationReply {
    /// The client takes part, and listens.
    Agreed {
        /// The MAC of its TAP.
        mac: MacBytes,
        /// Its IPv4 address there; unspecified where it has none.
        ipv4: Ipv4Addr,
        /// Its IPv6 address there; unspecified where it has none.
        ipv6: Ipv6Addr,
    },
    /// It does not.
    Refused(IsolationRefusal),
    /// These kinds were sent, of the frames that begin with that number.
    Sent {
        /// [`TestFrames::number`].
        number: u16,
        /// Those of [`TestFrames::kinds`] that were sent.
        kinds: u32,
    },
    /// These numbers were heard.
    Heard {
        /// The place of the first of them.
        from: u16,
        /// How many were heard in all.
        total: u16,
        /// Those from `from` on; 0 behind the last.
        numbers: [u16; MAX_HEARD],
    },
}

/// Why a client takes no part in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsolationRefusal {
    /// Its owner does not allow it.
    NotAllowed,
    /// The last test was too short a time ago.
    TooSoon,
    /// It does not know its own TAP's address.
    NoTap,
    /// A reason from a later version.
    Other(u16),
}

impl IsolationRefusal {
    const fn code(self) -> u16 {
        match self {
            Self::NotAllowed => 1,
            Self::TooSoon => 2,
            Self::NoTap => 3,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::NotAllowed,
            2 => Self::TooSoon,
            3 => Self::NoTap,
            other => Self::Other(other),
        }
    }
}

impl IsolationOrder {
    pub(super) const fn arg(&self) -> u16 {
        match self.step {
            IsolationStep::Begin => 1,
            IsolationStep::Send(_) => 2,
            IsolationStep::Report { .. } => 3,
            IsolationStep::End => 4,
        }
    }

    /// Writes the body.
    ///
    /// ```text
    /// 0 token 16 | 16 number 2 | 18 zero 2 | 20 kinds 4 | 24 root 6 | 30 peer 6 | 36 ipv4 4 | 40 ipv6 16
    /// | 56 zero 28
    /// ```
    pub(super) fn encode(&self) -> [u8; ORDER_LEN] {
        let mut frames = TestFrames {
            number: 0,
            kinds: 0,
            root: [0; 6],
            peer: [0; 6],
            ipv4: Ipv4Addr::UNSPECIFIED,
            ipv6: Ipv6Addr::UNSPECIFIED,
        };
        match self.step {
            IsolationStep::Send(these) => frames = these,
            IsolationStep::Report { from } => frames.number = from,
            IsolationStep::Begin | IsolationStep::End => {}
        }
        Writer::new()
            .put(&self.token.0)
            .put(&frames.number.to_be_bytes())
            .skip(2)
            .put(&frames.kinds.to_be_bytes())
            .put(&frames.root)
            .put(&frames.peer)
            .put(&frames.ipv4.octets())
            .put(&frames.ipv6.octets())
            .skip(28)
            .finish()
    }

    pub(super) fn parse(arg: u16, r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let token = TestToken(r.array()?);
        let number = r.u16()?;
        r.zero::<2>()?;
        let step = match arg {
            2 => IsolationStep::Send(TestFrames {
                number,
                kinds: r.u32()?,
                root: r.array()?,
                peer: r.array()?,
                ipv4: r.array::<4>()?.into(),
                ipv6: r.array::<16>()?.into(),
            }),
            1 | 3 | 4 => {
                r.zero::<36>()?;
                match (arg, number) {
                    (3, from) => IsolationStep::Report { from },
                    (1, 0) => IsolationStep::Begin,
                    (4, 0) => IsolationStep::End,
                    _ => return Err(ParseError::Reserved),
                }
            }
            _ => return Err(ParseError::Value),
        };
        r.zero::<28>()?;
        Ok(Self { token, step })
    }
}

impl IsolationAnswer {
    pub(super) const fn arg(&self) -> u16 {
        match self.reply {
            IsolationReply::Agreed { .. } => 1,
            IsolationReply::Refused(_) => 2,
            IsolationReply::Sent { .. } => 3,
            IsolationReply::Heard { .. } => 4,
        }
    }

    /// Appends the body.
    ///
    /// ```text
    /// 0 token 16, then  agreed: 16 mac 6 | 22 zero 2 | 24 ipv4 4 | 28 ipv6 16
    ///                   refused: 16 reason 2 | 18 zero 2
    ///                   sent: 16 number 2 | 18 zero 2 | 20 kinds 4
    ///                   heard: 16 from 2 | 18 total 2 | 20 numbers 64
    /// ```
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.token.0);
        match self.reply {
            IsolationReply::Agreed { mac, ipv4, ipv6 } => {
                out.extend_from_slice(&mac);
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&ipv4.octets());
                out.extend_from_slice(&ipv6.octets());
            }
            IsolationReply::Refused(reason) => {
                out.extend_from_slice(&reason.code().to_be_bytes());
                out.extend_from_slice(&[0; 2]);
            }
            IsolationReply::Sent { number, kinds } => {
                out.extend_from_slice(&number.to_be_bytes());
                out.extend_from_slice(&[0; 2]);
                out.extend_from_slice(&kinds.to_be_bytes());
            }
            IsolationReply::Heard { from, total, numbers } => {
                out.extend_from_slice(&from.to_be_bytes());
                out.extend_from_slice(&total.to_be_bytes());
                numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
            }
        }
    }

    pub(super) fn parse(arg: u16, r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let token = TestToken(r.array()?);
        let reply = match arg {
            1 => {
                let mac = r.array()?;
                r.zero::<2>()?;
                let (ipv4, ipv6) = (r.array::<4>()?.into(), r.array::<16>()?.into());
                IsolationReply::Agreed { mac, ipv4, ipv6 }
            }
            2 => {
                let reason = IsolationRefusal::from_code(r.u16()?);
                r.zero::<2>()?;
                IsolationReply::Refused(reason)
            }
            3 => {
                let number = r.u16()?;
                r.zero::<2>()?;
                IsolationReply::Sent { number, kinds: r.u32()? }
            }
            4 => {
                let (from, total) = (r.u16()?, r.u16()?);
                let mut numbers = [0; MAX_HEARD];
                for number in &mut numbers {
                    *number = r.u16()?;
                }
                let told = usize::from(total.saturating_sub(from)).min(MAX_HEARD);
                if numbers[told..].iter().any(|&number| number != 0) {
                    return Err(ParseError::Reserved);
                }
                IsolationReply::Heard { from, total, numbers }
            }
            _ => return Err(ParseError::Value),
        };
        Ok(Self { token, reply })
    }
}

impl IsolationReply {
    /// The numbers of [`Heard`](Self::Heard) that count.
    #[must_use]
    pub fn heard(&self) -> &[u16] {
        match self {
            Self::Heard { from, total, numbers } => {
                &numbers[..usize::from(total.saturating_sub(*from)).min(MAX_HEARD)]
            }
            _ => &[],
        }
    }
}
