//! What happens in a tunnel, as plain data.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use pnet_base::MacAddr;

use super::event_kinds::{Description, described};
#[cfg(feature = "serde")]
use crate::observe::serialise::{as_seconds, optional_seconds};
use crate::observe::status::Protocol;

pub use super::event_values::{
    Beginning, EndReason, Limit, LoopWitness, NotKept, Place, RefusalReason,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Event {
    /// Its number: one more than that of the event before, from 1.
    pub number: u64,
    /// When it happened, by this host's wall clock.
    #[cfg_attr(feature = "serde", serde(with = "super::serialise::unix_seconds"))]
    pub time: SystemTime,
    /// What happened.
    #[cfg_attr(feature = "serde", serde(flatten))]
    pub kind: EventKind,
}

described! {
/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(tag = "event", rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum EventKind {
    /// At a server: a session began.
    SessionUp {
        /// Its number.
        session: usize,
        /// What operators call the client.
        client: String,
        /// Where the client is.
        address: SocketAddr,
        /// How it came to be.
        by: Beginning,
        /// Sessions that are open now.
        open: usize,
    },
    /// At a server: a session ended.
    SessionDown {
        /// Its number.
        session: usize,
        /// What operators call the client.
        client: String,
        /// Why.
        reason: EndReason,
        /// MACs that were forgotten with it.
        macs: usize,
        /// Sessions that are open now.
        open: usize,
    },
    /// At a server: a client proved that it is at another address.
    SessionMoved {
        /// The session's number.
        session: usize,
        /// What operators call the client.
        client: String,
        /// Where it is now.
        address: SocketAddr,
    },
    /// A session has new keys.
    Rekeyed {
        /// The session's number; 0 at a client.
        session: usize,
    },
    /// At a server: another instance of the client, that is another process, goes on with a session.
    Replaced {
        /// The session's number.
        session: usize,
        /// What operators call the client.
        client: String,
    },
    /// At a server: two machines fight for one client's key.
    Duplicate {
        /// The session's number.
        session: usize,
        /// What operators call the client.
        client: String,
    },
    /// At a server: a client got no session.
    SessionRefused {
        /// Where it asked from, which anybody can forge.
        address: SocketAddr,
        /// What operators call it, where it proved its key.
        client: Option<String>,
        /// Why.
        reason: RefusalReason,
    },
    /// The wall clocks of the two ends are far apart.
    ClockApart {
        /// At a server, what operators call the client.
        client: Option<String>,
        /// The other end.
        address: Option<SocketAddr>,
        /// How far this host's clock is ahead, in seconds; negative where it is behind.
        ahead_seconds: f64,
    },
    /// At a server: an address was not known and is now.
    MacLearnt {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        vlan: u16,
        /// Where it lives.
        at: Place,
    },
    /// At a server: an address lives elsewhere now.
    MacMoved {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        vlan: u16,
        /// Where it lived.
        from: Place,
        /// Where it lives now.
        to: Place,
    },
    /// At a server: a client sent from an address whose owner was heard too recently, or that is not
    /// its to use. The frame was dropped.
    MacHeld {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        vlan: u16,
        /// Who sent from it.
        by: Place,
        /// Whose it is, where it is somebody's now.
        held_by: Option<Place>,
        /// The bridge's name of the rule: `source_held`, `source_protected` and the like.
        reason: &'static str,
    },
    /// At a server: an address moved too often; no client can take it for a while.
    MacFrozen {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        vlan: u16,
        /// Where it stays.
        at: Place,
    },
    /// At a server: a client sent from one MAC more than may be behind it. The frame was dropped.
    MacNoRoom {
        /// The address.
        mac: MacAddr,
        /// Its VLAN, 0 for untagged.
        vlan: u16,
        /// The client that sent from it.
        by: Place,
        /// How many may be behind the client.
        limit: Option<usize>,
    },
    /// At a server: these MACs no client may use, on any VLAN: the TAP's, its Linux bridge's, those
    /// of the gateways on that bridge, and those that the settings name.
    RootMacs {
        /// All of them.
        macs: Vec<MacAddr>,
    },
    /// At a server: these IP addresses no client may use whom the guards look at: the server's own on the
    /// LAN behind its TAP, those of the gateways on its Linux bridge, and those that the settings name.
    RootAddresses {
        /// All of them.
        addresses: Vec<IpAddr>,
    },
    /// At a server: what lives at the root is not known in full, so that a client may use a MAC of a
    /// silent host there.
    RootUnknown {
        /// Why, and what helps.
        error: String,
    },
    /// At a server: frames were dropped since a limit of the bridge was reached.
    LimitReached {
        /// Which one.
        limit: Limit,
        /// Frames dropped since this was last told.
        frames: u64,
    },
    /// Two LANs that the tunnel joins are joined by another way too. What is flooded to a client and by
    /// it is held back; frames to known addresses pass.
    LoopFound {
        /// Whose flooding is held back.
        at: Place,
        /// With what its LAN is joined. Absent at a client that has it from the server: it may be the
        /// server's LAN or another client's.
        with: Option<Place>,
        /// Who found it.
        by: LoopWitness,
        /// Flooding is held back until no probe has come back for so long; absent where it is the
        /// server alone that holds it back.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "super::serialise::optional_seconds::serialize")
        )]
        hold: Option<Duration>,
    },
    /// A client's LAN, or a host in it, sends back what came out of the tunnel. Nothing is held back for
    /// that; told once in a session.
    LanReflects {
        /// Whose LAN.
        at: Place,
    },
    /// A loop is gone: flooding goes on.
    LoopOver {
        /// Whose flooding was held back.
        at: Place,
        /// For how long.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "super::serialise::as_seconds::serialize")
        )]
        after: Duration,
    },
    /// At a server: more was flooded than a budget lets pass, which begins to act. It is told again
    /// where it had not to act for 10 s.
    BudgetActs {
        /// Where the frames come from.
        at: Place,
        /// The budget: `broadcast`, `arp`, `nd`, `dhcp`, `multicast`, `unknown` or `unresolved`.
        class: &'static str,
    },
    /// At a server: a client's policy begins to drop frames. It is told again where it had not to for
    /// 10 s.
    PolicyActs {
        /// Which client.
        at: Place,
        /// Why they are dropped, as counters have it: `guard_dhcp`, `guard_ra`, `guard_redirect`,
        /// `guard_hidden`, `guard_query`, `guard_control`, `guard_gateway`, `ethertype`, `source_ip`, `vlan`,
        /// `circuit`, `rate_in` or `rate_out`.
        reason: &'static str,
    },
    /// At a server that listens to IGMP and MLD: the LAN asks for multicast groups, so they go to those
    /// clients alone that answer, once these had time to.
    QuerierHeard {
        /// On which VLAN, 0 for untagged.
        vlan: u16,
        /// Who asks, by IGMP from an IPv4 address and by MLD from an IPv6 address.
        address: IpAddr,
    },
    /// At a server that listens to IGMP and MLD: nobody asks for multicast groups any more, so they go to
    /// all clients.
    QuerierLost {
        /// On which VLAN, 0 for untagged.
        vlan: u16,
        /// Who asked.
        address: IpAddr,
    },
    /// At a server: all sessions are taken.
    SessionsFull {
        /// Who was refused last.
        address: SocketAddr,
        /// How many sessions there are.
        open: usize,
        /// Refusals so far.
        total: u64,
    },
    /// At a server: somebody asks for a session in the other mode, and gets no answer.
    OtherMode {
        /// Where that came from, which anybody can forge.
        address: SocketAddr,
        /// What is spoken there.
        speaks: Protocol,
    },
    /// At a server in plain mode: an address has as many sessions as it may.
    SourceFull {
        /// Who was refused last.
        address: SocketAddr,
        /// Sessions that one address may have.
        sessions: usize,
        /// Such refusals so far.
        total: u64,
    },
    /// At a server: the list of clients was read again.
    ListRead {
        /// Clients on it.
        clients: usize,
    },
    /// At a server: the list of clients could not be read and stays as it was.
    ListFailed {
        /// What is wrong with it.
        error: String,
        /// Whether there is none that was read before, so that it lets nobody in until it can be.
        no_list: bool,
    },
    /// At a server: the network key is another, or the one before it does no more.
    NetworkKeyRead {
        /// Whether the one before still does. If so, clients that use it are told the new one.
        before: bool,
    },
    /// At a server: the network key could not be read and stays as it was.
    NetworkKeyFailed {
        /// What is wrong with it.
        error: String,
    },
    /// At a server: a MAC of the list cannot be kept for its client.
    MacNotKept {
        /// The address.
        mac: MacAddr,
        /// What operators call the client.
        client: String,
        /// Why.
        reason: NotKept,
    },
    /// At a server: it was decided on a client that no list names (`--authorize`).
    ClientDecided {
        /// What operators call the client.
        client: String,
        /// Its public key.
        key: String,
        /// Whether it may have a session.
        allow: bool,
        /// Why not, where that was said.
        reason: Option<String>,
        /// For how long that holds.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "super::serialise::as_seconds::serialize")
        )]
        valid_for: Duration,
    },
    /// At a server: who decides on clients does not answer. Told once until it does again.
    AuthorizeLost {
        /// Why.
        error: String,
    },
    /// At a server: who decides on clients answers again.
    AuthorizeBack {
    },
    /// At a server that accounts for sessions (`--authorize`, `--accounting-interval`): it begins, and has
    /// none. Those of before are over, also where their ends were never told, as of a server that was killed. Not
    /// told where the interval comes by a reload, and there is no `--authorize`.
    AccountingOn {
        /// Its name among all runs of this server.
        id: String,
    },
    /// At such a server: it ends in good order. All its sessions are over, and were told to be.
    AccountingOff {
        /// The run's name.
        id: String,
    },
    /// At a server that accounts for sessions (`--authorize`, `--accounting-interval`): one began.
    AccountingStart {
        /// Its number.
        session: usize,
        /// Its name among all sessions of this server, also of earlier runs.
        id: String,
        /// What operators call the client.
        client: String,
        /// The client's public key.
        key: String,
        /// Where the client is.
        address: SocketAddr,
    },
    /// At such a server: one goes on. What it moved counts since it began.
    AccountingInterim {
        /// Its number.
        session: usize,
        /// Its name among all sessions of this server.
        id: String,
        /// What operators call the client.
        client: String,
        /// The client's public key.
        key: String,
        /// Where the client is.
        address: SocketAddr,
        /// For how long it has lasted.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "super::serialise::as_seconds::serialize")
        )]
        duration: Duration,
        /// Frames that came from the client and went on.
        frames_in: u64,
        /// Their bytes.
        bytes_in: u64,
        /// Frames that went to the client.
        frames_out: u64,
        /// Their bytes.
        bytes_out: u64,
    },
    /// At such a server: one ended.
    AccountingStop {
        /// Its number.
        session: usize,
        /// Its name among all sessions of this server.
        id: String,
        /// What operators call the client.
        client: String,
        /// The client's public key.
        key: String,
        /// Where the client was.
        address: SocketAddr,
        /// Why it ended.
        reason: EndReason,
        /// For how long it lasted.
        #[cfg_attr(
            feature = "serde",
            serde(serialize_with = "super::serialise::as_seconds::serialize")
        )]
        duration: Duration,
        /// Frames that came from the client and went on.
        frames_in: u64,
        /// Their bytes.
        bytes_in: u64,
        /// Frames that went to the client.
        frames_out: u64,
        /// Their bytes.
        bytes_out: u64,
    },
    /// At a client: it looks for its server.
    Connecting {
        /// The server, as its user names it, and its address where that is known.
        server: String,
        /// Which attempt this is, from 1.
        attempt: u32,
        /// Why its address is not known or the last datagram to it was not sent, where that is so.
        error: Option<String>,
    },
    /// At a client: it has a session.
    Connected {
        /// The server.
        server: String,
        /// The round trip of the handshake, where it was measured.
        #[cfg_attr(feature = "serde", serde(with = "optional_seconds"))]
        rtt: Option<Duration>,
    },
    /// At a client: its session is over, and it goes on trying.
    Disconnected {
        /// The server.
        server: String,
        /// Why.
        reason: EndReason,
        /// How long the server had been silent, where that is the reason and is known.
        #[cfg_attr(feature = "serde", serde(with = "optional_seconds"))]
        silent: Option<Duration>,
        /// When it tries again.
        #[cfg_attr(feature = "serde", serde(with = "as_seconds"))]
        retry_in: Duration,
    },
    /// At a client: the server gives it no session, and it goes on trying.
    Refused {
        /// The server.
        server: String,
        /// Why.
        reason: RefusalReason,
    },
    /// At a client: the server told it another network key, which it uses from now on. Comes again
    /// where one that could not be kept is kept at last.
    NetworkKeyTold {
        /// The server.
        server: String,
        /// Why it would not know that key at its next start, where it would not. It is tried again.
        unkept: Option<String>,
    },
    /// At a client: the server's answer does not open; most likely the pre-shared keys differ.
    Unreadable {
        /// The server.
        server: String,
    },
    /// At a client: the server's name could not be looked up, or its address not be used.
    Unreachable {
        /// The server.
        server: String,
        /// What the system said.
        error: String,
    },
    /// At a client: the network says that no program listens at the server's address and port, which
    /// anybody can forge; the client goes on trying.
    NothingListens {
        /// The server.
        server: String,
    },
    /// At a client of several servers: the server asks it to go to another one.
    AskedToMove {
        /// The server.
        server: String,
    },
    /// At a client of several servers: it is at another one now, and was not without a session.
    MovedToServer {
        /// The server that it is at.
        server: String,
        /// The one that it was at.
        from: String,
    },
    /// At a server: it asks its clients to go to other servers of theirs, or does so no more.
    Draining {
        /// Whether it does.
        on: bool,
    },
    /// At a server: a link without which it is of no use to clients carries nothing, or does so again.
    Uplink {
        /// The link's name.
        link: String,
        /// Whether it carries something.
        up: bool,
        /// Whether there is no link of that name.
        missing: bool,
    },
    /// At a client: this host's way to the server is another now.
    WayChanged {
        /// The server.
        server: String,
    },
    /// At a server in secure mode: the links here carry another size of datagram now, which each client
    /// hears with its next handshake, at most two minutes later.
    LinksChanged {
        /// The largest datagram that one of them carries and that is of use, in bytes of UDP payload.
        pmtu: u16,
    },
    /// At a client: the server is another process than the one before and did not say so: it crashed
    /// or was killed.
    ServerRestarted {
        /// The server.
        server: String,
    },
    /// The TAPs of the two ends have MTUs that do not fit: frames that one takes are too long for the
    /// other and get lost.
    MtuUnfit {
        /// At a server, what operators call the client.
        client: Option<String>,
        /// The other end.
        address: Option<SocketAddr>,
        /// The MTU of this end's TAP, in bytes.
        mtu: u32,
        /// The MTU of the other end's, in bytes.
        peer_mtu: u32,
    },
    /// The tunnel was given new settings.
    SettingsApplied {
        /// The names of those that hold now, as [`Applied`](crate::Applied) has them.
        taken: Vec<&'static str>,
        /// The names of those that hold after a restart only.
        needs_restart: Vec<&'static str>,
    },
    /// Somebody captures frames or datagrams from now on, or looks at what was dropped.
    CaptureBegan {
        /// Only those of this session.
        session: Option<String>,
        /// Only what is dropped.
        drops: bool,
    },
    /// A capture has ended.
    CaptureEnded {
        /// Packets that were shown.
        packets: u64,
        /// Packets that whoever captured was too slow for.
        lost: u64,
    },
    /// The TAP's carrier changed.
    Carrier {
        /// Whether it has one.
        up: bool,
    },
    /// The tunnel could not go on.
    Failed {
        /// Why.
        error: String,
    },
    /// Events of one kind came so fast that some were left out.
    Suppressed {
        /// The kind's name.
        kind: &'static str,
        /// How many.
        events: u64,
    },
}
}
