//! The payloads inside the handshake's sealed messages.

use super::field::{Reader, Writer};
use super::{ParseError, VERSION};

/// Size of either payload in bytes.
pub const PAYLOAD_LEN: usize = 32;

/// Cipher suites, one bit each (suite n is bit n - 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suites(pub u16);

impl Suites {
    /// Suite 1, ChaCha20-Poly1305. Everybody has it.
    pub const CHACHA20_POLY1305: Self = Self(1);
    /// Suite 2, AES-256-GCM.
    pub const AES_256_GCM: Self = Self(2);

    /// What this machine runs at full speed: AES-256-GCM only where the processor has instructions
    /// for AES.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let aes = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let aes = false;
        if aes {
            Self(Self::CHACHA20_POLY1305.0 | Self::AES_256_GCM.0)
        } else {
            Self::CHACHA20_POLY1305
        }
    }

    /// What both name.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What an end is able to do beyond the base protocol. A side uses only what both named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps(pub u32);

impl Caps {
    /// Takes frames in fragments.
    pub const FRAG: Self = Self(1);
    /// Takes frames whose inner checksum is partial.
    pub const CSUM: Self = Self(2);
    /// Takes several frames in one datagram.
    pub const BUNDLE: Self = Self(1 << 2);
    /// Bears the ECN field of the packet inside on its datagrams, and passes on a mark that they get
    /// (RFC 6040). It is for the owner of the sockets to do so.
    pub const ECN: Self = Self(1 << 4);
    /// Says REPORT in the place of KEEPALIVE and ECHO, and takes it.
    pub const REPORT: Self = Self(1 << 5);
    /// A client takes the network key that its server tells it.
    pub const NETWORK_KEY: Self = Self(1 << 6);
    /// A client has other servers to go to, and goes where its server asks it to. It is for the owner of
    /// several clients to do so.
    pub const MOVE: Self = Self(1 << 7);
    /// Takes part in tests of isolation, or says that it does not. It is for the owner to send and hear the
    /// frames.
    pub const ISOLATION: Self = Self(1 << 8);
    /// What this crate implements.
    pub const ALL: Self =
        Self(Self::FRAG.0 | Self::CSUM.0 | Self::BUNDLE.0 | Self::REPORT.0 | Self::NETWORK_KEY.0);

    /// What both name.
    #[must_use]
    pub const fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either names.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in `self`.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a client says in HELLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HelloPayload {
    /// Lowest version the client speaks.
    pub version_min: u8,
    /// Highest version the client speaks.
    pub version_max: u8,
    /// The suites the client is willing to use.
    pub suites: Suites,
    /// What the client is able to do.
    pub caps: Caps,
    /// A random number drawn when the client process began.
    pub instance: u64,
    /// The client's wall clock, nanoseconds since 1970.
    pub timestamp: u64,
    /// Largest Ethernet frame the client takes, bytes without FCS.
    pub max_frame: u16,
    /// Largest acton datagram (UDP payload) the client's link carries, bytes.
    pub pmtu: u16,
    /// After how many seconds without sending the client wants to send KEEPALIVE.
    pub keepalive: u16,
}

impl HelloPayload {
    /// Writes the payload.
    ///
    /// ```text
    /// 0 ver_min | 1 ver_max | 2 suites | 4 caps | 8 instance | 16 timestamp | 24 max_frame | 26 pmtu | 28 keepalive | 30 zero 2
    /// ```
    #[must_use]
    pub fn encode(&self) -> [u8; PAYLOAD_LEN] {
        Writer::new()
            .put(&[self.version_min, self.version_max])
            .put(&self.suites.0.to_be_bytes())
            .put(&self.caps.0.to_be_bytes())
            .put(&self.instance.to_be_bytes())
            .put(&self.timestamp.to_be_bytes())
            .put(&self.max_frame.to_be_bytes())
            .put(&self.pmtu.to_be_bytes())
            .put(&self.keepalive.to_be_bytes())
            .skip(2)
            .finish()
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`ParseError::Value`] if the range of versions is empty, [`ParseError::Reserved`] if the
    /// last two bytes are not zero.
    pub fn parse(bytes: &[u8; PAYLOAD_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        let payload = Self {
            version_min: r.u8()?,
            version_max: r.u8()?,
            suites: Suites(r.u16()?),
            caps: Caps(r.u32()?),
            instance: r.u64()?,
            timestamp: r.u64()?,
            max_frame: r.u16()?,
            pmtu: r.u16()?,
            keepalive: r.u16()?,
        };
        r.zero::<2>()?;
        if payload.version_min == 0 || payload.version_min > payload.version_max {
            return Err(ParseError::Value);
        }
        Ok(payload)
    }
}

/// Why a server gives a client that proved its key no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The server does not know the client's key, or knows it no longer.
    NotAuthorised,
    /// The server has all the sessions it takes.
    Full,
    /// No version in common.
    Version,
    /// No cipher suite in common.
    Suite,
    /// A code from a later version.
    Other(u8),
}

impl Refusal {
    const fn code(self) -> u8 {
        match self {
            Self::NotAuthorised => 1,
            Self::Full => 2,
            Self::Version => 3,
            Self::Suite => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => None,
            1 => Some(Self::NotAuthorised),
            2 => Some(Self::Full),
            3 => Some(Self::Version),
            4 => Some(Self::Suite),
            other => Some(Self::Other(other)),
        }
    }
}

/// What a server says in WELCOME.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WelcomePayload {
    /// The version of the session.
    pub version: u8,
    /// The suite of the session (1 or 2), 0 in a refusal.
    pub suite: u8,
    /// Set if there is no session after all: the low byte of the flags.
    pub refusal: Option<Refusal>,
    /// What the server is able to do.
    pub caps: Caps,
    /// Largest Ethernet frame the server takes, bytes without FCS.
    pub max_frame: u16,
    /// Largest acton datagram (UDP payload) the server's link carries, bytes.
    pub pmtu: u16,
    /// After how many seconds without sending the client sends KEEPALIVE.
    pub keepalive: u16,
    /// After how many silent seconds the server forgets the client.
    pub dead_after: u16,
    /// A random number drawn when the server process began.
    pub instance: u64,
    /// The server's wall clock, nanoseconds since 1970.
    pub time: u64,
}

impl WelcomePayload {
    /// Writes the payload.
    ///
    /// ```text
    /// 0 ver | 1 suite | 2 zero | 3 refusal | 4 caps | 8 max_frame | 10 pmtu | 12 keepalive | 14 dead_after | 16 instance | 24 time
    /// ```
    #[must_use]
    pub fn encode(&self) -> [u8; PAYLOAD_LEN] {
        Writer::new()
            .put(&[self.version, self.suite, 0, self.refusal.map_or(0, Refusal::code)])
            .put(&self.caps.0.to_be_bytes())
            .put(&self.max_frame.to_be_bytes())
            .put(&self.pmtu.to_be_bytes())
            .put(&self.keepalive.to_be_bytes())
            .put(&self.dead_after.to_be_bytes())
            .put(&self.instance.to_be_bytes())
            .put(&self.time.to_be_bytes())
            .finish()
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// [`ParseError::Reserved`] if an unused flag is set, [`ParseError::Value`] for a session of
    /// version 0 or suite 0.
    pub fn parse(bytes: &[u8; PAYLOAD_LEN]) -> Result<Self, ParseError> {
        let mut r = Reader::new(bytes);
        let (version, suite) = (r.u8()?, r.u8()?);
        r.zero::<1>()?;
        let refusal = Refusal::from_code(r.u8()?);
        if refusal.is_none() && (version < VERSION || suite == 0) {
            return Err(ParseError::Value);
        }
        Ok(Self {
            version,
            suite,
            refusal,
            caps: Caps(r.u32()?),
            max_frame: r.u16()?,
            pmtu: r.u16()?,
            keepalive: r.u16()?,
            dead_after: r.u16()?,
            instance: r.u64()?,
            time: r.u64()?,
        })
    }
}
