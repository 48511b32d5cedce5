//! A probe: a frame that its sender knows again, and nobody else can make (docs/PROTOCOL.md, section
//! 19).

use std::time::Duration;

use acton_frame::Headers;
use acton_frame::field::ethernet;
use acton_proto::handshake::{Random, SystemRandom};
use acton_proto::wire::{PROBE_ETHERTYPE, PROBE_GROUP, PROBE_LEN, PROBE_MAGIC};
use blake2::Blake2sMac;
use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use pnet_base::MacAddr;

use crate::sessions::port::LeafId;

/// Bytes of a probe; above Ethernet's least of 60.
pub(crate) const LEN: usize = PROBE_LEN;
/// Bytes of a probe's payload.
const PAYLOAD_LEN: usize = LEN - ethernet::LEN;
/// Bytes of the payload that the proof is over.
const PROVEN_LEN: usize = PAYLOAD_LEN - 16;

/// Where a probe is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into the sender's own TAP.
    Tap,
    /// Through the tunnel to a client, with what the server makes of its flooding.
    Client { port: LeafId, blocked: bool },
}

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) way: Way,
    /// When it was sent, by its sender's clock; whole milliseconds.
    pub(crate) sent: Duration,
}

/// The number of a process among those that send probes, random.
pub(crate) type ProberId = u128;

/// What a probe is to one who receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The receiver sent it.
    Own(Probe),
    /// It has the receiver's number, but the receiver did not send it.
    Forged,
    /// Another process sent it, or says so.
    Foreign { from: ProberId, way: Way },
}

/// What makes a process's probes its own.
pub(crate) struct Prober {
    id: ProberId,
    key: [u8; 32],
}

impl Prober {
    pub(crate) fn new() -> Self {
        let (mut id, mut key) = ([0; 16], [0; 32]);
        SystemRandom.fill(&mut id);
        SystemRandom.fill(&mut key);
        Self { id: u128::from_be_bytes(id), key }
    }

    /// Spreads the probes of many processes.
    pub(crate) fn seed(&self) -> u64 {
        self.id as u64
    }

    /// The frame of a probe, from the TAP's address.
    pub(crate) fn frame(&self, source: MacAddr, probe: Probe) -> [u8; LEN] {
        let mut frame = [0; LEN];
        frame[..6].copy_from_slice(&PROBE_GROUP);
        frame[6..12].copy_from_slice(&source.octets());
        frame[12..14].copy_from_slice(&PROBE_ETHERTYPE.to_be_bytes());
        let payload = &mut frame[ethernet::LEN..];
        payload[..6].copy_from_slice(&PROBE_MAGIC);
        (payload[6], payload[7]) = match probe.way {
            Way::Tap => (0, 0),
            Way::Client { blocked, .. } => (1, blocked.into()),
        };
        payload[8..24].copy_from_slice(&self.id.to_be_bytes());
        if let Way::Client { port, .. } = probe.way {
            payload[24..28].copy_from_slice(&port.to_be_bytes());
        }
        payload[28..36].copy_from_slice(&(probe.sent.as_millis() as u64).to_be_bytes());
        let proof = self.proof(&payload[..PROVEN_LEN]);
        payload[PROVEN_LEN..].copy_from_slice(&proof);
        frame
    }

    /// What a frame is as a probe; `None` for one that is none.
    pub(crate) fn read(&self, headers: &Headers, frame: &[u8]) -> Option<Reading> {
        if headers.ethertype() != Some(PROBE_ETHERTYPE) {
            return None;
        }
        let start = ethernet::LEN + headers.tags() * ethernet::TAG_LEN;
        let payload: &[u8; PAYLOAD_LEN] = frame.get(start..)?.first_chunk()?;
        if payload[..6] != PROBE_MAGIC {
            return None;
        }
        let (_, rest) = payload.split_at(8);
        let (id, rest) = rest.split_first_chunk()?;
        let (port, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        let way = match payload[6] {
            0 => Way::Tap,
            1 => Way::Client { port: LeafId::from_be_bytes(*port), blocked: payload[7] == 1 },
            _ => return None,
        };
        let from = u128::from_be_bytes(*id);
        if from != self.id {
            return Some(Reading::Foreign { from, way });
        }
        // Nobody can learn the proof by trying: each try is for one millisecond.
        if self.proof(&payload[..PROVEN_LEN]) != payload[PROVEN_LEN..] {
            return Some(Reading::Forged);
        }
        let sent = Duration::from_millis(u64::from_be_bytes(*sent));
        Some(Reading::Own(Probe { way, sent }))
    }

    /// Whether a frame is a probe of anybody's in all but its contents, so that it passes whatever kinds of
    /// frames do: no longer than one, and to where they are sent.
    pub(crate) fn may_pass(&self, headers: &Headers, frame: &[u8]) -> bool {
        frame.starts_with(&PROBE_GROUP)
            && frame.len() == LEN + headers.tags() * ethernet::TAG_LEN
            && self.read(headers, frame).is_some()
    }

    fn proof(&self, bytes: &[u8]) -> [u8; 16] {
        let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&self.key)
            .expect("BLAKE2s takes keys of up to 32 bytes");
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober")
            .field("id", &format_args!("{:032x}", self.id))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAP: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);

    fn read(prober: &Prober, frame: &[u8]) -> Option<Reading> {
        prober.read(&Headers::parse(frame), frame)
    }

    #[test]
    fn its_sender_alone_knows_it_again() {
        let (one, other) = (Prober::new(), Prober::new());
        for way in [
            Way::Tap,
            Way::Client { port: 0x0001_0203, blocked: false },
            Way::Client { port: 7, blocked: true },
        ] {
            let probe = Probe { way, sent: Duration::from_millis(123_456) };
            let frame = one.frame(TAP, probe);
            assert_eq!(read(&one, &frame), Some(Reading::Own(probe)));
            assert_eq!(read(&other, &frame), Some(Reading::Foreign { from: one.id, way }));
            // On a trunk it comes back tagged; on its way it may be padded.
            let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..], &[0; 9]].concat();
            assert_eq!(read(&one, &tagged), Some(Reading::Own(probe)));
        }
    }

    #[test]
    fn what_only_begins_as_a_probe_may_not_pass_as_one() {
        let (one, other) = (Prober::new(), Prober::new());
        let frame = one.frame(TAP, Probe { way: Way::Tap, sent: Duration::ZERO });
        let tagged = [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat();
        let longer = [&frame[..], &[0; 9]].concat();
        let to_one = [&[2, 0, 0, 0, 0, 9], &frame[6..]].concat();
        for (frame, may_pass) in
            [(&frame[..], true), (&tagged, true), (&longer, false), (&to_one, false)]
        {
            assert!(read(&other, frame).is_some());
            assert_eq!(other.may_pass(&Headers::parse(frame), frame), may_pass);
        }
    }

    #[test]
    fn it_goes_where_bridges_flood() {
        let frame = Prober::new().frame(TAP, Probe { way: Way::Tap, sent: Duration::ZERO });
        let ethernet = *Headers::parse(&frame).ethernet().unwrap();
        let (group, source) = (ethernet.destination(), ethernet.source());
        assert_eq!((group.octets(), source), (PROBE_GROUP, TAP));
        assert!(group.is_multicast() && group.is_local(), "and none of 01-80-C2-00-00-0x");
        assert!(acton_proto::wire::is_probe(&frame), "so that it does not make keys older ones");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_proof(frame in prop::collection::vec(any::<u8>(), 0..100)) {
            let prober = Prober::new();
            prop_assert!(!matches!(read(&prober, &frame), Some(Reading::Own(_))));
        }

        #[test]
        fn a_probe_that_was_changed_is_no_proof(
            at in ethernet::LEN..LEN,
            bits in 1..=255_u8,
            port in any::<u32>(),
        ) {
            let prober = Prober::new();
            let way = Way::Client { port, blocked: false };
            let mut frame = prober.frame(TAP, Probe { way, sent: Duration::from_secs(9) });
            frame[at] ^= bits;
            prop_assert!(!matches!(read(&prober, &frame), Some(Reading::Own(_))));
        }
    }
}
