//! Counters: one named one for each kind of traffic and for each reason a frame is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io};

use acton_bridge::{DropReason, FloodClass};

use acton_udp::{SendCounts, is_full};

use crate::capture::drop_ring::DropRing;
use crate::capture::packet::Cause;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident => $text:literal,)*) => {
        /// What a worker or the control thread counts besides the bridge's drops.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Counter { $($(#[doc = $doc])* $name,)* }

        impl Counter {
            const NAMES: &[&str] = &[$($text),*];
            /// What each means, in a sentence for people.
            const MEANINGS: &[&str] = &[$(concat!($($doc),*).trim_ascii_start()),*];

            /// The name of a reason to drop, without what all of them begin with.
            pub(crate) fn drop_name(self) -> &'static str {
                let name = Self::NAMES[self as usize];
                name.strip_prefix("drop.").unwrap_or(name)
            }
        }
    };
}

counters! {
    /// Frames and super-frames read from the TAP.
    TapReads => "tap.reads",
    /// Their bytes.
    TapReadBytes => "tap.read.bytes",
    /// Writes to the TAP, each of a frame or a super-frame.
    TapWrites => "tap.writes",
    /// Frames in these, each of a super-frame counted.
    TapWritten => "tap.written.frames",
    /// Bytes written to the TAP.
    TapWrittenBytes => "tap.written.bytes",
    /// Datagrams that the kernel took, of frames and of control alike.
    UdpSent => "udp.sent.datagrams",
    /// Their bytes, of UDP payload.
    UdpSentBytes => "udp.sent.bytes",
    /// Datagrams that came, of frames, of control and bad ones alike.
    UdpReceived => "udp.received.datagrams",
    /// Their bytes, of UDP payload.
    UdpReceivedBytes => "udp.received.bytes",
    /// Super-frames that the kernel refused; their frames were written one by one.
    SuperFrameRefused => "tap.super_frame_refused",
    /// Datagrams that came with several frames in them.
    Bundles => "session.bundles",
    /// The frames in these.
    BundledFrames => "session.bundled_frames",
    /// Pieces of frames that waited for the rest.
    Pieces => "session.pieces",
    /// Times that a session was not looked for at another address, since it changes too often.
    MovesLimited => "session.moves_limited",
    /// At a client: the round trip as it is now, smoothed; 0 where it is not known.
    RttMicroseconds => "session.rtt_microseconds",
    /// At a client: HELLO sent.
    HellosSent => "handshake.hellos",
    /// At a server: HELLO answered with keys.
    Welcomed => "handshake.welcomed",
    /// At a server: HELLO that came again and got the same answer.
    WelcomedAgain => "handshake.repeated",
    /// At a server: HELLO answered with a refusal.
    HellosRefused => "handshake.refused",
    /// At a server: HELLO answered with a cookie.
    Retries => "handshake.retries",
    /// At a server: RESET sent.
    Resets => "handshake.resets",
    /// At a server: questions about clients to who decides on them (`--authorize`).
    AuthorizeAsked => "authorize.asked",
    /// At a server: such answers that allow a client a session.
    AuthorizeAllowed => "authorize.allowed",
    /// At a server: such answers that deny it.
    AuthorizeDenied => "authorize.denied",
    /// At a server: such questions that were not answered in time.
    AuthorizeUnanswered => "authorize.unanswered",
    /// At a server: HELLO of clients that were not asked about, for too much was asked of late.
    AuthorizeLimited => "authorize.limited",
    /// At a server: times that a client was denied, since another has the pair of VLAN tags that was decided
    /// for it.
    AuthorizePairTaken => "authorize.pair_taken",
    /// At a server: accounts that who decides on clients was not told, since it did not read.
    AccountingLost => "authorize.accounting_lost",
    /// At a client: times that a server was asked how it is.
    QueriesSent => "query.sent",
    /// At a server: times that it said how it is.
    QueriesAnswered => "query.answered",
    /// At a server: alarms that two machines use one client's key.
    Duplicates => "handshake.duplicates",
    /// Frames that went to every client, each counted once.
    Flooded => "bridge.flooded",
    /// MACs that moved to where they were seen last.
    Moved => "bridge.moved",
    /// Probes for loops that this end sent.
    ProbesSent => "loop.probes",
    /// Probes of this end's that came back.
    ProbesBack => "loop.probes_back",
    /// Frames of clients that were given the name of their circuit.
    CircuitsNamed => "circuit.named",
    /// Answers to clients from which that name was taken out.
    CircuitsRemoved => "circuit.removed",
    /// Frames of tests of isolation that this client sent.
    IsolationSent => "isolation.sent",
    /// Frames of tests of isolation that came through the tunnel to this client, those of the server that show
    /// that it hears among them.
    IsolationHeard => "isolation.heard",
    /// Frames of tests of isolation that clients sent and that went to this server's TAP.
    IsolationPassed => "isolation.passed",
    /// Frames of tests of isolation that clients sent and that went nowhere, as they should; no reason to drop
    /// counts them.
    IsolationDropped => "isolation.dropped",
    /// At a server: frames from the TAP for a multicast group that went to those clients alone that asked
    /// for it.
    GroupFrames => "multicast.grouped",
    /// The same, of groups that no client asked for: they went to none.
    GroupUnwanted => "multicast.unwanted",
    /// At a server: times that a client was asked by IGMP or MLD which groups it wants.
    GroupsAsked => "multicast.asked",
    /// At a server: reports by IGMP or MLD of more groups than are kept; such a client gets all groups.
    GroupsNoRoom => "multicast.no_room",
    /// Packets that were given the mark of congestion that their datagram met.
    EcnMarked => "ecn.marked",
    /// Sends whose segmentation the kernel refused; their datagrams went one by one.
    SegmentationRefused => "udp.segmentation_refused",
    /// A frame from an address that has no session, or a sealed datagram of keys that are not known.
    NoSession => "drop.no_session",
    /// In plain mode, a datagram too short for a frame that is no control word.
    UnknownControl => "drop.unknown_control",
    /// A datagram that is none of the protocol's: of a type or a size that there is not, or with a
    /// reserved bit set.
    Malformed => "drop.malformed",
    /// A request for a session in the other mode.
    OtherMode => "drop.other_mode",
    /// A datagram of a type that only the other end sends.
    WrongEnd => "drop.wrong_end",
    /// A HELLO or a QUERY for another server, or from somebody without the network key.
    HelloWrongKey => "drop.hello_wrong_key",
    /// A HELLO that does not open, or holds what cannot be.
    HelloUnreadable => "drop.hello_unreadable",
    /// A HELLO of a client that asks too often, or one that others took the time of.
    HelloLimited => "drop.hello_limited",
    /// At a server: a question how it is, past what it answers in all.
    QueryLimited => "drop.query_limited",
    /// At a client: a frame for a group from the server that it has just left; the other one sends it too.
    Beside => "drop.beside",
    /// At a client: an answer to nothing that it sent, late or forged.
    StaleAnswer => "drop.stale_answer",
    /// At a client: a WELCOME that does not open.
    WelcomeUnreadable => "drop.welcome_unreadable",
    /// A control word while the control thread was busy.
    ControlBusy => "drop.control_busy",
    /// An authentic control message past what one session may have the server look at.
    ControlLimited => "drop.control_limited",
    /// A control word from an address that `--allow` leaves out.
    NotAllowed => "drop.not_allowed",
    /// A HELLO while the table of sessions was full.
    SessionsFull => "drop.sessions_full",
    /// A HELLO while its address had as many sessions as it may.
    SourceFull => "drop.source_full",
    /// A frame from the TAP while no session was up.
    NotConnected => "drop.not_connected",
    /// A frame for every client while there was none.
    NoClient => "drop.no_client",
    /// At a server: a frame of the LAN's for every client, from a MAC that the list gives to one that is
    /// here: it is about to be at another server, and clients do not reach one another.
    ClientElsewhere => "drop.client_elsewhere",
    /// A frame for every client that could not go out in time, once for each client that missed it.
    FloodLate => "drop.flood_late",
    /// Datagrams: the send buffer stayed full.
    UdpFull => "drop.udp_full",
    /// Datagrams larger than the path or UDP carries.
    UdpTooLarge => "drop.udp_too_large",
    /// Datagrams without a route, or refused by a local rule.
    UdpUnreachable => "drop.udp_unreachable",
    /// A sealed datagram that was changed, or never sealed by the peer.
    Forged => "drop.forged",
    /// A sealed datagram that came before, or is older than the replay window.
    Replayed => "drop.replayed",
    /// A frame or a datagram for keys that are used up.
    KeysExpired => "drop.keys_expired",
    /// An authentic frame that the peer should not have sent: too short, too long, or by a
    /// capability that was not agreed on; or a bundle of frames that do not fill it.
    BadFrame => "drop.bad_frame",
    /// An authentic control message that is none, is not for this end, or was not agreed on.
    BadControl => "drop.bad_control",
    /// An authentic piece of a frame that does not fit the others, which are dropped with it.
    BadPiece => "drop.bad_piece",
    /// Frames of which some pieces came and the others did not in time.
    IncompleteFrame => "drop.incomplete_frame",
    /// A frame longer than the peer takes.
    FrameTooLong => "drop.frame_too_long",
    /// A packet that knows no ECN in a datagram that met congestion (RFC 6040).
    EcnUnmarkable => "drop.ecn_unmarkable",
    /// A frame of a transfer that fills the queue before a worker, and knows no ECN: so TCP sends slower.
    StandingQueue => "drop.standing_queue",
    /// A super-frame from the TAP that cannot be cut.
    BadSuperFrame => "drop.bad_super_frame",
    /// A frame said to have a partial checksum that has none.
    NoChecksum => "drop.no_checksum",
    /// A frame for a TAP whose link was down.
    TapDown => "drop.tap_down",
    /// A frame that the kernel refused at the TAP.
    TapRefused => "drop.tap_refused",
    /// A flooded frame of a client, or for one, through which there is a loop.
    LoopBlocked => "drop.loop_blocked",
    /// A probe that imitates this end's, or a server's word that no server of this end's said.
    ProbeForged => "drop.probe_forged",
    /// A broadcast over the budget for these, of its client or of the server.
    OverBroadcast => "drop.budget_broadcast",
    /// ARP over its budget.
    OverArp => "drop.budget_arp",
    /// Neighbour discovery over its budget.
    OverNd => "drop.budget_nd",
    /// DHCP over its budget.
    OverDhcp => "drop.budget_dhcp",
    /// A frame to another group over the budget for these.
    OverMulticast => "drop.budget_multicast",
    /// A frame to an unknown address over the budget for these.
    OverUnknown => "drop.budget_unknown",
    /// ARP or neighbour discovery for an IP address that nobody is known to have, over the budget for
    /// these.
    OverUnresolved => "drop.budget_unresolved",
    /// What only a DHCP server says, from a client that is not trusted to be one.
    GuardDhcp => "drop.guard_dhcp",
    /// A router advertisement of a client that is not trusted to be a router.
    GuardRa => "drop.guard_ra",
    /// A redirect (ICMP, ICMPv6) of a client that is not trusted to be a router.
    GuardRedirect => "drop.guard_redirect",
    /// A frame of such a client that could be one of these and hides what it carries (RFC 7113): in a
    /// fragment, behind too many headers or tags, or in a frame of 802.2.
    GuardHidden => "drop.guard_hidden",
    /// A query by IGMP or MLD of such a client, where that is listened to (`multicast-snooping`).
    GuardQuery => "drop.guard_query",
    /// What switches say among themselves (Cisco's groups, MVRP and the like), from a client that is not
    /// trusted. Spanning tree's own and others of 01-80-C2-00-00-00 to -0F pass for nobody: `reserved`.
    GuardControl => "drop.guard_control",
    /// A frame that claims an IP address of the server's own, of its gateway's or one that is protected, from
    /// a client that is not trusted.
    GuardGateway => "drop.guard_gateway",
    /// A frame of a kind that the client's policy does not allow.
    EtherType => "drop.ethertype",
    /// A frame that claims an IP address which the client's policy does not give it.
    SourceIp => "drop.source_ip",
    /// A frame from or for a client that is of none of its VLANs, has a tag where the client's frames have
    /// none, or has the pair of tags of another.
    Vlan => "drop.vlan",
    /// A frame of a client's for a DHCP or PPPoE server that cannot be given the name of its circuit: it names
    /// one itself, cannot be read, or would be too long.
    Circuit => "drop.circuit",
    /// A frame from a client that sends more than its policy lets pass.
    OverRateIn => "drop.rate_in",
    /// A frame for a client that gets more than its policy lets pass.
    OverRateOut => "drop.rate_out",
}

impl Counter {
    /// Frames of a class that were dropped for being over its budget.
    pub(crate) const fn over_budget(class: FloodClass) -> Self {
        match class {
            FloodClass::Broadcast => Self::OverBroadcast,
            FloodClass::Arp => Self::OverArp,
            FloodClass::Nd => Self::OverNd,
            FloodClass::Dhcp => Self::OverDhcp,
            FloodClass::Multicast => Self::OverMulticast,
            FloodClass::Unknown => Self::OverUnknown,
            FloodClass::Unresolved => Self::OverUnresolved,
        }
    }
}

impl From<Counter> for Cause {
    fn from(counter: Counter) -> Self {
        Self(counter as u16)
    }
}

impl From<DropReason> for Cause {
    fn from(reason: DropReason) -> Self {
        Self((Counter::NAMES.len() + reason.index()) as u16)
    }
}

impl Cause {
    /// The reason's name, as [`drop_reasons`] has it.
    pub(crate) fn name(self) -> Option<&'static str> {
        let index = usize::from(self.0);
        match index.checked_sub(Counter::NAMES.len()) {
            None => Counter::NAMES[index].strip_prefix("drop."),
            Some(index) => DropReason::ALL.get(index).map(|reason| reason.as_str()),
        }
    }
}

/// Every counter: its name as in [`Totals`], and what it counts, in a sentence.
pub fn counters() -> impl Iterator<Item = (String, &'static str)> {
    let own = Counter::NAMES.iter().zip(Counter::MEANINGS);
    let own = own.map(|(&name, &meaning)| (name.to_owned(), meaning));
    let drops = DropReason::ALL.iter();
    own.chain(drops.map(|reason| (format!("drop.{}", reason.as_str()), reason.meaning())))
}

/// Every reason to drop a frame or a datagram: its name as in [`Traffic::drops`](crate::Traffic),
/// which [`Totals`] has with `drop.` before it, and what it means, in a sentence.
pub fn drop_reasons() -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = Counter::NAMES.iter().zip(Counter::MEANINGS);
    let own = own.filter_map(|(name, &meaning)| Some((name.strip_prefix("drop.")?, meaning)));
    own.chain(DropReason::ALL.iter().map(|reason| (reason.as_str(), reason.meaning())))
}

/// One thread's counters. Only that thread writes, so that an increment needs no locked
/// instruction; anybody may read.
#[derive(Debug)]
pub(crate) struct Counters {
    values: [AtomicU64; Counter::NAMES.len()],
    bridge: [AtomicU64; DropReason::ALL.len()],
    /// What the thread dropped last.
    dropped: DropRing,
    beats: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            values: [const { AtomicU64::new(0) }; _],
            bridge: [const { AtomicU64::new(0) }; _],
            dropped: DropRing::new(),
            beats: AtomicU64::new(0),
        }
    }

    /// What the thread dropped last, for it to add to and others to read.
    pub(crate) fn dropped(&self) -> &DropRing {
        &self.dropped
    }

    /// A worker begins to wait for something to do, or goes on: each is a beat.
    pub(crate) fn beat(&self) {
        bump(&self.beats, 1);
    }

    /// How often it did.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, counter: Counter, more: u64) {
        bump(&self.values[counter as usize], more);
    }

    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.values[counter as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn add_bridge_drop(&self, reason: DropReason) {
        bump(&self.bridge[reason.index()], 1);
    }

    pub(crate) fn bridge_drops(&self, reason: DropReason) -> u64 {
        self.bridge[reason.index()].load(Ordering::Relaxed)
    }

    /// Sets a counter that shows how something is now.
    pub(crate) fn set(&self, counter: Counter, value: u64) {
        self.values[counter as usize].store(value, Ordering::Relaxed);
    }

    /// What became of one datagram of the control thread's, of so many bytes. One that is too large is
    /// a probe of the path, and has its answer by that.
    pub(crate) fn add_sent_one(&self, sent: &io::Result<()>, bytes: usize) {
        match sent {
            Ok(()) => {
                self.add(Counter::UdpSent, 1);
                self.add(Counter::UdpSentBytes, bytes as u64);
            }
            Err(error) if is_full(error) => self.add(Counter::UdpFull, 1),
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
            Err(_) => self.add(Counter::UdpUnreachable, 1),
        }
    }

    pub(crate) fn add_sent(&self, counts: &SendCounts) {
        for (counter, more) in [
            (Counter::UdpSent, counts.sent),
            (Counter::UdpSentBytes, counts.bytes),
            (Counter::UdpFull, counts.full),
            (Counter::UdpTooLarge, counts.too_large),
            (Counter::UdpUnreachable, counts.unreachable),
            (Counter::SegmentationRefused, counts.cut),
        ] {
            if more > 0 {
                self.add(counter, more);
            }
        }
    }
}

fn bump(value: &AtomicU64, more: u64) {
    value.store(value.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

/// The counters of all threads, added up. Shown as `name=value`, zeros left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    entries: Vec<(String, u64)>,
}

impl Totals {
    pub(crate) fn of(threads: &[Arc<Counters>]) -> Self {
        let sum = |pick: &dyn Fn(&Counters) -> &AtomicU64| -> u64 {
            threads.iter().map(|counters| pick(counters).load(Ordering::Relaxed)).sum()
        };
        let own = Counter::NAMES.iter().enumerate();
        let own = own.map(|(index, &name)| (name.to_owned(), sum(&|c| &c.values[index])));
        let bridge = DropReason::ALL.iter();
        let bridge = bridge.map(|reason| {
            (format!("drop.{}", reason.as_str()), sum(&|c| &c.bridge[reason.index()]))
        });
        Self { entries: own.chain(bridge).collect() }
    }

    /// The value of the counter called `name`, e.g. `drop.no_session`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.iter().find(|&(known, _)| known == name).map(|(_, value)| value)
    }

    /// Every counter and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), *value))
    }
}

/// As a map of names to values, zeros too.
#[cfg(feature = "serde")]
impl serde::Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

#[cfg(feature = "serde")]
impl<'d> serde::Deserialize<'d> for Totals {
    fn deserialize<D: serde::Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        let entries = std::collections::BTreeMap::deserialize(from)?;
        Ok(Self { entries: entries.into_iter().collect() })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, value) in self.iter().filter(|&(_, value)| value > 0) {
            write!(f, "{separator}{name}={value}")?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("all zero") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_to_drop_has_one_name_and_one_sentence() {
        let mut reasons: Vec<_> = drop_reasons().collect();
        assert!(reasons.iter().all(|(_, meaning)| meaning.ends_with('.')), "{reasons:?}");
        let all = reasons.len();
        reasons.sort_unstable();
        reasons.dedup_by_key(|(name, _)| *name);
        assert_eq!(reasons.len(), all);
        let totals = Totals::of(&[]);
        assert!(
            totals.iter().map(|(name, _)| name.to_owned()).eq(counters().map(|(name, _)| name))
        );
        assert!(counters().all(|(_, meaning)| meaning.ends_with('.')), "each has a sentence");
        for (name, _) in &reasons {
            assert_eq!(totals.get(&format!("drop.{name}")), Some(0));
        }
        let causes = (0..u16::MAX).map(Cause);
        let mut named: Vec<_> = causes.filter_map(Cause::name).collect();
        named.sort_unstable();
        assert_eq!(named, reasons.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let name = |cause: Cause| cause.name();
        assert_eq!(name(Counter::Forged.into()), Some("forged"));
        assert_eq!(name(DropReason::SourceHeld.into()), Some("source_held"));
    }
}
