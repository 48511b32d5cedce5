//! What is noted of a packet beside its bytes, in a fixed number of bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Bytes of a note.
pub(crate) const NOTE_LEN: usize = 96;
/// Bytes of it that say whose packet it is: a client's name has 63 at most, and a length.
const WHO_LEN: usize = 64;
/// Those before: a time of 8, four numbers of 4, a reason of 2, three kinds of 1, and a length of 2.
const HEAD_LEN: usize = 32;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Direction {
    /// It came by UDP, from the other end of a session.
    In,
    /// It comes from this end's TAP, or leaves by UDP.
    Out,
}

/// Whose a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who<'a> {
    /// No one session's.
    Tap,
    /// At a server: this client's.
    Client(&'a str),
    /// At a client: its server's.
    Server,
    /// A datagram of whoever is there; what is not known, the socket is connected to.
    Address { remote: Option<SocketAddr>, local: Option<IpAddr> },
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    ToTap,
    ToSession,
    /// To each of so many sessions.
    ToAll(u32),
    /// To each of so many sessions, whose clients want the multicast group.
    ToGroup(u32),
    Dropped(Cause),
    /// A datagram that was sent, or came and was not looked at yet.
    Passing,
}

/// A reason to drop, by its number among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) u16);

/// The frames of the wire that a packet stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireFrames {
    /// Several for a super-frame.
    pub(crate) count: u32,
    /// Bytes of the longest of a super-frame's; 0 of what is none, or not known to be one.
    pub(crate) longest: u16,
}

impl WireFrames {
    /// The packet itself.
    pub(crate) const ONE: Self = Self { count: 1, longest: 0 };
}

/// What is noted of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note<'a> {
    /// On the engine's clock: that of the batch it was in.
    pub(crate) time: Duration,
    pub(crate) direction: Direction,
    pub(crate) who: Who<'a>,
    pub(crate) outcome: Outcome,
    pub(crate) frames: WireFrames,
    /// Its bytes, and how many of the first are kept.
    pub(crate) len: u32,
    pub(crate) kept: u32,
}

const TAP: u8 = 0;
const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const ADDRESS: u8 = 3;

const TO_TAP: u8 = 0;
const TO_SESSION: u8 = 1;
const TO_ALL: u8 = 2;
const DROPPED: u8 = 3;
const PASSING: u8 = 4;
const TO_GROUP: u8 = 5;

impl<'a> Note<'a> {
    pub(crate) fn encode(&self) -> [u8; NOTE_LEN] {
        let mut note = [0; NOTE_LEN];
        let (who_kind, outcome, number, cause);
        (outcome, number, cause) = match self.outcome {
            Outcome::ToTap => (TO_TAP, 0, 0),
            Outcome::ToSession => (TO_SESSION, 0, 0),
            Outcome::ToAll(sessions) => (TO_ALL, sessions, 0),
            Outcome::ToGroup(sessions) => (TO_GROUP, sessions, 0),
            Outcome::Dropped(Cause(cause)) => (DROPPED, 0, cause),
            Outcome::Passing => (PASSING, 0, 0),
        };
        let who = &mut note[HEAD_LEN..];
        who_kind = match self.who {
            Who::Tap => TAP,
            Who::Server => SERVER,
            Who::Client(name) => {
                let len = name.len().min(WHO_LEN - 1);
                who[0] = len as u8;
                who[1..=len].copy_from_slice(&name.as_bytes()[..len]);
                CLIENT
            }
            Who::Address { remote, local } => {
                let scope = match remote {
                    Some(SocketAddr::V6(remote)) => remote.scope_id(),
                    _ => 0,
                };
                put_ip(&mut who[..17], remote.map(|remote| remote.ip()));
                put_ip(&mut who[17..34], local);
                let port = remote.map_or(0, |remote| remote.port());
                who[34..36].copy_from_slice(&port.to_le_bytes());
                who[36..40].copy_from_slice(&scope.to_le_bytes());
                ADDRESS
            }
        };
        note[..8].copy_from_slice(&(self.time.as_nanos() as u64).to_le_bytes());
        note[8..12].copy_from_slice(&self.len.to_le_bytes());
        note[12..16].copy_from_slice(&self.kept.to_le_bytes());
        note[16..20].copy_from_slice(&self.frames.count.to_le_bytes());
        note[20..24].copy_from_slice(&number.to_le_bytes());
        note[24..26].copy_from_slice(&cause.to_le_bytes());
        note[26..29].copy_from_slice(&[who_kind, outcome, self.direction as u8]);
        note[29..31].copy_from_slice(&self.frames.longest.to_le_bytes());
        note
    }

    /// `None` for what is no note.
    pub(crate) fn decode(note: &'a [u8; NOTE_LEN]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(*note.get(at..)?.first_chunk()?));
        let who = &note[HEAD_LEN..];
        let outcome = match note[27] {
            TO_TAP => Outcome::ToTap,
            TO_SESSION => Outcome::ToSession,
            TO_ALL => Outcome::ToAll(number(20)?),
            TO_GROUP => Outcome::ToGroup(number(20)?),
            DROPPED => Outcome::Dropped(Cause(u16::from_le_bytes([note[24], note[25]]))),
            PASSING => Outcome::Passing,
            _ => return None,
        };
        let who = match note[26] {
            TAP => Who::Tap,
            SERVER => Who::Server,
            CLIENT => {
                let (&len, name) = who.split_first()?;
                Who::Client(str::from_utf8(name.get(..len.into())?).ok()?)
            }
            ADDRESS => {
                let port = u16::from_le_bytes([who[34], who[35]]);
                let scope = number(HEAD_LEN + 36)?;
                let remote = ip(&who[..17]).map(|ip| match ip {
                    IpAddr::V4(ip) => SocketAddr::from((ip, port)),
                    IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
                });
                Who::Address { remote, local: ip(&who[17..34]) }
            }
            _ => return None,
        };
        Some(Self {
            time: Duration::from_nanos(u64::from_le_bytes(*note.first_chunk()?)),
            direction: if note[28] == Direction::In as u8 { Direction::In } else { Direction::Out },
            who,
            outcome,
            frames: WireFrames {
                count: number(16)?,
                longest: u16::from_le_bytes([note[29], note[30]]),
            },
            len: number(8)?,
            kept: number(12)?,
        })
    }
}

/// Writes an address: its version, then 4 or 16 bytes.
fn put_ip(to: &mut [u8], ip: Option<IpAddr>) {
    match ip {
        None => to[0] = 0,
        Some(IpAddr::V4(ip)) => {
            to[0] = 4;
            to[1..5].copy_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            to[0] = 6;
            to[1..17].copy_from_slice(&ip.octets());
        }
    }
}

fn ip(from: &[u8]) -> Option<IpAddr> {
    let (version, bytes) = from.split_first()?;
    match version {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        6 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_note(name: &str) -> impl Strategy<Value = Note<'_>> {
        let local = any::<Option<IpAddr>>();
        let remote = any::<Option<SocketAddr>>().prop_map(|remote| {
            // The flow of a socket's address is nothing that a datagram tells.
            remote.map(|remote| match remote {
                SocketAddr::V6(v6) => {
                    SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
                }
                v4 => v4,
            })
        });
        let who = prop_oneof![
            Just(Who::Tap),
            Just(Who::Server),
            Just(Who::Client(name)),
            (remote, local).prop_map(|(remote, local)| Who::Address { remote, local }),
        ];
        let outcome = prop_oneof![
            Just(Outcome::ToTap),
            Just(Outcome::ToSession),
            any::<u32>().prop_map(Outcome::ToAll),
            any::<u32>().prop_map(Outcome::ToGroup),
            any::<u16>().prop_map(|cause| Outcome::Dropped(Cause(cause))),
            Just(Outcome::Passing),
        ];
        let direction = prop_oneof![Just(Direction::In), Just(Direction::Out)];
        let numbers = any::<(u64, u32, u16, u32, u32)>();
        (numbers, direction, who, outcome).prop_map(|(numbers, direction, who, outcome)| {
            let (time, count, longest, len, kept) = numbers;
            let (time, frames) = (Duration::from_nanos(time), WireFrames { count, longest });
            Note { time, direction, who, outcome, frames, len, kept }
        })
    }

    proptest! {
        #[test]
        fn notes_say_what_they_were_told(note in any_note("berlin")) {
            let written = note.encode();
            prop_assert_eq!(Note::decode(&written), Some(note));
        }

        #[test]
        fn whatever_there_is_can_be_looked_at(note in any::<[u8; NOTE_LEN]>()) {
            if let Some(note) = Note::decode(&note) {
                let written = note.encode();
                prop_assert_eq!(Note::decode(&written), Some(note));
            }
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        let who = &"x".repeat(100);
        let note = Note {
            time: Duration::ZERO,
            direction: Direction::In,
            who: Who::Client(who),
            outcome: Outcome::ToTap,
            frames: WireFrames::ONE,
            len: 60,
            kept: 60,
        };
        let encoded = note.encode();
        assert_eq!(Note::decode(&encoded).unwrap().who, Who::Client(&who[..63]));
    }
}
