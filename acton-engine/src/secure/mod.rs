//! acton/1, the secure mode: what a worker and the control thread do at each end.

mod admission;
mod client;
mod limits;
mod sealed;
mod server;

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_frame::Headers;
use acton_proto::handshake::Secret;
use acton_proto::session::{Frame, Frames, Keys, OpenError};
use acton_proto::wire::{Caps, HEADER_LEN, Key};
use acton_tap::offload::Trust;

pub(crate) use admission::Admitted;
pub(crate) use client::{SecureClient, start as start_client};
pub(crate) use server::{SecureServer, start as start_server};

use crate::frames::ecn::{self, Unmarkable};
use crate::observe::counters::{Counter, Counters};
use crate::run::worker::{Arrival, TapSink};

/// UDP payload that a server takes its link to carry, in bytes: 9,000 less the headers of IPv4 and
/// UDP. A client on a smaller link says so, and what is in between is searched for by probes.
const SERVER_PMTU: u16 = 8_972;

/// What this engine does with frames.
const CAPS: Caps = Caps::ALL.union(Caps::ECN);

/// A server's keys.
#[derive(Debug, Clone)]
pub struct ServerKeys {
    /// Its private key.
    pub private_key: Secret,
    /// The key shared by the network, without which no HELLO is answered.
    pub network_key: Option<Secret>,
}

/// A client's keys.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    /// Its private key.
    pub private_key: Secret,
    /// The server's public key.
    pub server_key: Key,
    /// The key shared by the network.
    pub network_key: Option<Secret>,
    /// A pre-shared key of its own.
    pub psk: Option<Secret>,
}

/// Nanoseconds since 1970, for what compares clocks of different hosts.
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_nanos() as u64
}

/// Whether a datagram claims to carry frames: workers open those themselves.
fn has_frames(datagram: &[u8]) -> bool {
    const DATA: u8 = 0x14;
    const BUNDLE: u8 = 0x16;
    datagram.len() > HEADER_LEN && matches!(datagram[0], DATA | BUNDLE)
}

/// What is known of the checksum of a frame that was sealed by the peer.
fn trust(frame: &Frame<'_>) -> Trust {
    if frame.partial_checksum { Trust::Partial } else { Trust::Verify }
}

/// Counts that frames came together.
fn count_bundle(counters: &Counters, frames: &Frames<'_>) {
    if frames.len() > 1 {
        counters.add(Counter::Bundles, 1);
        counters.add(Counter::BundledFrames, frames.len() as u64);
    }
}

/// Writes a frame that was opened, from where it lies.
fn deliver<'d>(frame: Frame<'d>, headers: &Headers, tap: &mut impl TapSink<'d>) {
    let trust = trust(&frame);
    match frame.into_bytes() {
        Cow::Borrowed(bytes) => tap.write(bytes, headers, trust),
        Cow::Owned(bytes) => tap.write_now(&bytes, headers, trust),
    }
}

/// Passes on to a frame what its datagram met on its way. False where the frame must be dropped for
/// it, which is counted.
#[inline]
fn pass_mark(
    arrival: &Arrival,
    keys: &Keys,
    frame: &mut Frame<'_>,
    headers: &Headers,
    counters: &Counters,
) -> bool {
    let is_marked = arrival.ecn == ecn::CE && keys.setup().caps.contains(Caps::ECN);
    !is_marked || mark(frame, headers, counters)
}

/// Marks a frame as its datagram was; as of [`pass_mark`].
fn mark(frame: &mut Frame<'_>, headers: &Headers, counters: &Counters) -> bool {
    let marked = ecn::mark(headers, frame.bytes_mut());
    match marked {
        Ok(true) => counters.add(Counter::EcnMarked, 1),
        Ok(false) => {}
        Err(Unmarkable) => counters.add(Counter::EcnUnmarkable, 1),
    }
    marked.is_ok()
}

/// Whether a datagram was refused for its size.
fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// A size as the protocol has it; no datagram is larger.
fn datagram_size(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

fn count_open_error(counters: &Counters, error: OpenError) {
    counters.add(
        match error {
            OpenError::Forged => Counter::Forged,
            OpenError::Replayed => Counter::Replayed,
            _ => Counter::KeysExpired,
        },
        1,
    );
}

/// The first characters of a public key, enough to tell clients apart in a log.
struct Short<'a>(&'a Key);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ten base64 characters hold 7.5 bytes; hexadecimal would need 15.
        write!(f, "{}..", &data_encoding::BASE64.encode(&self.0[..9])[..10])
    }
}

/// The unspecified address means "any": no reason to insist on it.
fn specified(ip: IpAddr) -> Option<IpAddr> {
    Some(ip).filter(|ip| !ip.is_unspecified())
}
