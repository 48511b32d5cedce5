//! The plaintext of CONTROL: `msg u8 | 0 u8 | arg u16 | body`.

use blake2::{Blake2s256, Digest};

use super::field::Reader;
use super::{IsolationAnswer, IsolationOrder, ParseError, Report};

/// Size of the shortest control message in bytes, REKEY.
pub const CONTROL_MIN_LEN: usize = 4;
/// Size of a whole ECHO datagram in bytes, and of the shortest KEEPALIVE.
pub const ECHO_LEN: usize = super::OVERHEAD + 12;

const KEEPALIVE: u8 = 1;
const ECHO: u8 = 2;
const BYE: u8 = 3;
const REKEY: u8 = 4;
const REPORT: u8 = 5;
const NETWORK_KEY: u8 = 6;
const MOVE: u8 = 7;
const ISOLATION_ORDER: u8 = 8;
const ISOLATION_ANSWER: u8 = 9;

/// Why a side leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bye {
    /// It stops for good.
    Stop,
    /// It comes back.
    Restart,
    /// Another instance with the same key took the session.
    Replaced,
    /// The client's key was taken off the list.
    Removed,
    /// A limit was reached.
    Limit,
    /// A reason from a later version.
    Other(u16),
}

impl Bye {
    const fn code(self) -> u16 {
        match self {
            Self::Stop => 1,
            Self::Restart => 2,
            Self::Replaced => 3,
            Self::Removed => 4,
            Self::Limit => 5,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Stop,
            2 => Self::Restart,
            3 => Self::Replaced,
            4 => Self::Removed,
            5 => Self::Limit,
            other => Self::Other(other),
        }
    }
}

/// A network key on its way to a client. Not printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NewNetworkKey(pub [u8; 32]);

impl std::fmt::Debug for NewNetworkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewNetworkKey(..)")
    }
}

/// A control message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Control {
    /// Asks for an ECHO: liveness, address validation, path-MTU probe.
    Keepalive {
        /// What the ECHO repeats.
        token: u64,
        /// Size of the whole datagram in bytes, which zero padding fills up; 0 without padding.
        size: u16,
    },
    /// The answer to KEEPALIVE.
    Echo {
        /// The KEEPALIVE's.
        token: u64,
        /// Size of the datagram that came, in bytes.
        size: u16,
    },
    /// The sender leaves and forgets the keys.
    Bye {
        /// Why.
        reason: Bye,
        /// When the other side may come back, in milliseconds.
        retry_ms: u32,
    },
    /// The server asks the client for a HELLO.
    Rekey,
    /// A KEEPALIVE, or the ECHO to it, with news of the sender ([`Caps::REPORT`](super::Caps::REPORT)).
    Report {
        /// From the client, which wants an answer, or the server's answer.
        role: ReportRole,
        /// What the answer repeats.
        token: u64,
        /// The news.
        report: Report,
    },
    /// The server tells the client the network key that is in force
    /// ([`Caps::NETWORK_KEY`](super::Caps::NETWORK_KEY)).
    NetworkKey(NewNetworkKey),
    /// The server asks the client to go to another server
    /// ([`Caps::MOVE`](super::Caps::MOVE)).
    Move {
        /// Which: [`server_tag`] of its name, or 0 for whichever the client likes.
        to: u64,
    },
    /// The server has the client do something in a test of isolation
    /// ([`Caps::ISOLATION`](super::Caps::ISOLATION)).
    IsolationOrder(IsolationOrder),
    /// What came of that at the client.
    IsolationAnswer(IsolationAnswer),
}

/// What stands for a server's name, `HOST:PORT` as a client has it, in a MOVE: the first 8 bytes of
/// its BLAKE2s-256.
#[must_use]
pub fn server_tag(name: &str) -> u64 {
    let [first, ..] = *Blake2s256::digest(name).as_chunks::<8>().0 else { return 0 };
    u64::from_be_bytes(first)
}

/// Which of the two REPORT a control message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReportRole {
    /// The client's, to be answered like a KEEPALIVE.
    Question,
    /// The server's, in the place of an ECHO.
    Answer,
}

impl Control {
    /// Appends the plaintext to `out`; a KEEPALIVE with a size is padded so that the sealed datagram
    /// has that size.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (msg, arg) = match *self {
            Self::Keepalive { size, .. } => (KEEPALIVE, size),
            Self::Echo { size, .. } => (ECHO, size),
            Self::Bye { reason, .. } => (BYE, reason.code()),
            Self::Rekey => (REKEY, 0),
            Self::Report { role: ReportRole::Question, .. } => (REPORT, 0),
            Self::Report { role: ReportRole::Answer, .. } => (REPORT, 1),
            Self::NetworkKey(_) => (NETWORK_KEY, 0),
            Self::Move { .. } => (MOVE, 0),
            Self::IsolationOrder(order) => (ISOLATION_ORDER, order.arg()),
            Self::IsolationAnswer(answer) => (ISOLATION_ANSWER, answer.arg()),
        };
        out.extend_from_slice(&[msg, 0]);
        out.extend_from_slice(&arg.to_be_bytes());
        match *self {
            Self::Keepalive { token, size } => {
                out.extend_from_slice(&token.to_be_bytes());
                let padded = usize::from(size).saturating_sub(super::OVERHEAD);
                out.resize((start + padded).max(out.len()), 0);
            }
            Self::Echo { token, .. } => out.extend_from_slice(&token.to_be_bytes()),
            Self::Bye { retry_ms, .. } => out.extend_from_slice(&retry_ms.to_be_bytes()),
            Self::Rekey => {}
            Self::Report { token, report, .. } => {
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(&report.encode());
            }
            Self::NetworkKey(NewNetworkKey(key)) => out.extend_from_slice(&key),
            Self::Move { to } => out.extend_from_slice(&to.to_be_bytes()),
            Self::IsolationOrder(order) => out.extend_from_slice(&order.encode()),
            Self::IsolationAnswer(answer) => answer.encode(out),
        }
    }

    /// Reads the plaintext.
    ///
    /// # Errors
    /// [`ParseError`] if it is no control message that is known, a KEEPALIVE whose padding is not
    /// zero or does not give the size it names, or a REPORT that cannot be.
    pub fn parse(plaintext: &[u8]) -> Result<Self, ParseError> {
        let mut r = Reader::new(plaintext);
        let msg = r.u8()?;
        r.zero::<1>()?;
        let arg = r.u16()?;
        let message = match msg {
            KEEPALIVE => {
                let token = r.u64()?;
                let whole = plaintext.len() + super::OVERHEAD;
                let padding = r.rest();
                if padding.iter().any(|&byte| byte != 0) {
                    return Err(ParseError::Reserved);
                }
                let right = if arg == 0 { padding.is_empty() } else { usize::from(arg) == whole };
                return if right {
                    Ok(Self::Keepalive { token, size: arg })
                } else {
                    Err(ParseError::Length)
                };
            }
            ECHO => Self::Echo { token: r.u64()?, size: arg },
            BYE => Self::Bye { reason: Bye::from_code(arg), retry_ms: r.u32()? },
            REKEY if arg == 0 => Self::Rekey,
            NETWORK_KEY if arg == 0 => Self::NetworkKey(NewNetworkKey(r.array()?)),
            MOVE if arg == 0 => Self::Move { to: r.u64()? },
            REKEY | NETWORK_KEY | MOVE => return Err(ParseError::Reserved),
            REPORT => {
                let role = match arg {
                    0 => ReportRole::Question,
                    1 => ReportRole::Answer,
                    _ => return Err(ParseError::Value),
                };
                Self::Report { role, token: r.u64()?, report: Report::parse(&mut r)? }
            }
            ISOLATION_ORDER => Self::IsolationOrder(IsolationOrder::parse(arg, &mut r)?),
            ISOLATION_ANSWER => Self::IsolationAnswer(IsolationAnswer::parse(arg, &mut r)?),
            _ => return Err(ParseError::Type),
        };
        if r.rest().is_empty() { Ok(message) } else { Err(ParseError::Length) }
    }
}
