//! What the ends of a session tell one another of it, in the body of REPORT.

use std::time::Duration;

use super::ParseError;
use super::field::{Reader, Writer};

/// Size of a report in bytes, as it stands behind REPORT's token.
pub(super) const BODY_LEN: usize = 36;
/// Size of a whole REPORT datagram in bytes.
pub const REPORT_LEN: usize = super::OVERHEAD + 12 + BODY_LEN;

/// How many datagrams of one direction arrived, of how many: since the session began, whatever keys
/// they came under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Delivery {
    /// Datagrams that the sender numbered, as far as the receiver can know: of each key one more
    /// than the highest counter that came.
    pub expected: u64,
    /// Datagrams that came, were authentic and no replays. Never more than were expected.
    pub received: u64,
}

impl Delivery {
    /// Datagrams that were lost, or are late.
    #[must_use]
    pub const fn lost(self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// What came on top of an earlier reading of the same session. One that was late at the earlier
    /// reading and came since is among the received ones here.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            expected: self.expected.saturating_sub(earlier.expected),
            received: self.received.saturating_sub(earlier.received),
        }
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            expected: self.expected.saturating_add(other.expected),
            received: self.received.saturating_add(other.received),
        }
    }
}

/// Round-trip times as RFC 6298 sums them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rtt {
    /// The smallest.
    pub min: Duration,
    /// The moving mean (SRTT).
    pub smoothed: Duration,
    /// The moving mean of how far each is from the mean (RTTVAR).
    pub jitter: Duration,
}

/// The version of the software at one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u8,
    /// The second.
    pub minor: u8,
    /// The third.
    pub patch: u16,
}

impl Version {
    /// This crate's.
    pub const THIS: Self = Self {
        major: number(env!("CARGO_PKG_VERSION_MAJOR")) as u8,
        minor: number(env!("CARGO_PKG_VERSION_MINOR")) as u8,
        patch: number(env!("CARGO_PKG_VERSION_PATCH")),
    };
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Reads a decimal number at compile time, which stops if it does not fit.
const fn number(digits: &str) -> u16 {
    let (bytes, mut value, mut at) = (digits.as_bytes(), 0, 0);
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as u16;
        at += 1;
    }
    value
}

/// How the sender of a report fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Report {
    /// What arrived of the receiver's datagrams.
    pub delivery: Delivery,
    /// Round-trip times, if the sender measures them; microseconds on the wire.
    pub rtt: Option<Rtt>,
    /// The version of the sender's software, unless it keeps that to itself.
    pub version: Option<Version>,
    /// The largest datagram that the sender uses towards the receiver, bytes of UDP payload, if it
    /// says so.
    pub path_mtu: Option<u16>,
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Report {
    /// Writes the report.
    ///
    /// ```text
    /// 0 received 8 | 8 expected 8 | 16 rtt_min 4 | 20 rtt 4 | 24 rtt_jitter 4
    /// | 28 major | 29 minor | 30 patch 2 | 32 path_mtu 2 | 34 zero 2
    /// ```
    pub(super) fn encode(&self) -> [u8; BODY_LEN] {
        // A smoothed time of 0 says that none is known.
        let [min, smoothed, jitter] = self.rtt.map_or([0; 3], |rtt| {
            [micros(rtt.min), micros(rtt.smoothed).max(1), micros(rtt.jitter)]
        });
        let version = self.version.unwrap_or(Version { major: 0, minor: 0, patch: 0 });
        Writer::new()
            .put(&self.delivery.received.to_be_bytes())
            .put(&self.delivery.expected.to_be_bytes())
            .put(&min.to_be_bytes())
            .put(&smoothed.to_be_bytes())
            .put(&jitter.to_be_bytes())
            .put(&[version.major, version.minor])
            .put(&version.patch.to_be_bytes())
            .put(&self.path_mtu.unwrap_or(0).to_be_bytes())
            .skip(2)
            .finish()
    }

    pub(super) fn parse(r: &mut Reader<'_>) -> Result<Self, ParseError> {
        let (received, expected) = (r.u64()?, r.u64()?);
        let (min, smoothed, jitter) = (r.u32()?, r.u32()?, r.u32()?);
        let version = Version { major: r.u8()?, minor: r.u8()?, patch: r.u16()? };
        let path_mtu = r.u16()?;
        r.zero::<2>()?;
        if received > expected {
            return Err(ParseError::Value);
        }
        let us = |micros: u32| Duration::from_micros(micros.into());
        let rtt = match smoothed {
            0 if (min, jitter) != (0, 0) => return Err(ParseError::Reserved),
            0 => None,
            _ => Some(Rtt { min: us(min), smoothed: us(smoothed), jitter: us(jitter) }),
        };
        let said = (version.major, version.minor, version.patch) != (0, 0, 0);
        Ok(Self {
            delivery: Delivery { expected, received },
            rtt,
            version: said.then_some(version),
            path_mtu: (path_mtu != 0).then_some(path_mtu),
        })
    }
}
