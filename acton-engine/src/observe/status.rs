//! How a tunnel is at one moment, as plain data. What is not known is absent, never zero.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use acton_bridge::{EtherType, LearntFrom, Rate, Sources, Vlans};
use pnet_base::MacAddr;

use crate::observe::counters::Totals;
use crate::observe::event::{EndReason, Place, RefusalReason};
#[cfg(feature = "serde")]
use crate::observe::serialise::{as_seconds, optional_seconds};
use crate::observe::tally::{Tallies, Traffic};

/// The number of the schema below: it grows where a field goes or changes its meaning. Fields that
/// come do not change it; they need a default, for those who read what an older tunnel says.
pub const SCHEMA: u32 = 2;

/// A tunnel at one moment.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of acton that runs.
    pub version: Cow<'static, str>,
    /// When this was, by this host's wall clock.
    #[cfg_attr(feature = "serde", serde(with = "super::serialise::unix_seconds"))]
    pub time: SystemTime,
    /// For how long the tunnel has run, or ran where it has ended.
    #[cfg_attr(feature = "serde", serde(rename = "running_seconds", with = "as_seconds"))]
    pub running_for: Duration,
    /// Which end of the tunnel this is.
    pub role: Role,
    /// What it speaks.
    pub protocol: Protocol,
    /// The TAP.
    pub tap: TapReport,
    /// The UDP sockets, one for each worker; a client's workers share one.
    pub sockets: Vec<SocketReport>,
    /// The bridge, at a server.
    pub bridge: Option<BridgeReport>,
    /// A server's sessions, by number; then those that are being agreed on; then the last ones of
    /// clients that have gone, of the latest 1,024. A client's one, in whatever state it is, and behind
    /// it its other servers.
    pub sessions: Vec<SessionStatus>,
    /// What went through all sessions since the tunnel started.
    pub traffic: Traffic,
    /// What all threads have counted.
    pub totals: Totals,
    /// The number of the newest event when this was taken: to go on from with
    /// [`Handle::events`](crate::Handle::events).
    pub last_event: u64,
    /// The tunnel has ended: this is how it was then, and all that it will ever be.
    pub ended: bool,
}

/// An end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Role {
    /// The root.
    Server,
    /// A leaf.
    Client,
}

/// What a tunnel speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Protocol {
    /// Plain mode, the wire of acton 0.1.1.
    #[cfg_attr(feature = "serde", serde(rename = "plain"))]
    Plain,
    /// acton/1.
    #[cfg_attr(feature = "serde", serde(rename = "acton/1"))]
    Acton1,
}

/// The TAP.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TapReport {
    /// The interface's name.
    pub name: String,
    /// Its MAC; absent, as all that the kernel says, once the tunnel has ended or the TAP is gone.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether it is up and has a carrier.
    pub running: Option<bool>,
    /// The Linux bridge that it is a port of.
    pub bridge: Option<String>,
    /// The one that the settings name, where it is no port of that, since somebody took it out.
    #[cfg_attr(feature = "serde", serde(default))]
    pub lost_bridge: Option<String>,
    /// Whether it exchanges nothing with other isolated ports of that; absent where it is in none.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub isolated: Option<bool>,
    /// Its queues, one for each worker.
    pub queues: usize,
}

/// What the kernel knows of a UDP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SocketReport {
    /// The address that it is bound to.
    pub local: SocketAddr,
    /// Datagrams that the kernel dropped for want of room in the receive buffer; past
    /// 2^32 it begins again at 0.
    pub kernel_drops: Option<u32>,
    /// The receive buffer's size in bytes, as the kernel accounts for them.
    pub receive_buffer: Option<u32>,
    /// How many of these are taken.
    pub receive_queued: Option<u32>,
    /// The send buffer's size in bytes, as the kernel accounts for them.
    pub send_buffer: Option<u32>,
    /// How many of these are taken.
    pub send_queued: Option<u32>,
}

/// Which list of clients is in force at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Listing {
    /// There is none, and none need be.
    #[default]
    None,
    /// One with so many clients.
    Clients(usize),
    /// There should be one, and none could be read so far: it lets nobody in.
    Unreadable,
}

/// The bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BridgeReport {
    /// Addresses that are known to live at the root.
    pub root_macs: usize,
    /// Addresses that are known to live behind clients.
    pub client_macs: usize,
    /// Budgets that had to drop frames from the TAP in the last 10 s.
    pub budgets_acting: Vec<Cow<'static, str>>,
    /// Clients are asked to go to other servers of theirs.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub draining: bool,
    /// That is for an operator wants it, whatever the tracked links do.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub drain_ordered: bool,
    /// Tracked links that carry nothing: clients are asked to go for that, too.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub uplinks_down: Vec<String>,
    /// Those of them that there are no links of.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub uplinks_missing: Vec<String>,
    /// How many clients are on the list in force, where there is one.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub listed: Option<usize>,
    /// Why the list of clients, as it is now, is not in force, and the one before is.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub list_error: Option<String>,
    /// There is none before it: it lets nobody in until it can be read.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "std::ops::Not::not"))]
    pub no_list: bool,
    /// All tracked links carry something again. For how much longer they have to until clients are asked to
    /// go for that no more.
    #[cfg_attr(
        feature = "serde",
        serde(
            rename = "uplinks_settled_in_seconds",
            default,
            skip_serializing_if = "Option::is_none",
            with = "optional_seconds"
        )
    )]
    pub uplinks_settled_in: Option<Duration>,
    /// What is known of multicast groups, where IGMP and MLD are listened to.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub multicast: Option<MulticastReport>,
}

/// What a server knows that listens to IGMP and MLD.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MulticastReport {
    /// Who asks for groups at the root; while nobody does on a VLAN, its groups go to all clients.
    pub queriers: Vec<QuerierReport>,
    /// Groups that some client wants, on each VLAN by itself.
    pub groups: usize,
    /// How many clients want each of them, added up.
    pub memberships: usize,
    /// Clients that get all groups.
    pub get_all: usize,
}

/// Who asks for multicast groups.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct QuerierReport {
    /// The VLAN, 0 for untagged.
    pub vlan: u16,
    /// Its address: one of IPv4 asks by IGMP, one of IPv6 by MLD.
    pub address: IpAddr,
    /// Time since it asked last.
    #[cfg_attr(feature = "serde", serde(rename = "heard_seconds", with = "as_seconds"))]
    pub heard_ago: Duration,
    /// How long it counts as there, if it does not ask again.
    #[cfg_attr(feature = "serde", serde(rename = "left_seconds", with = "as_seconds"))]
    pub left: Duration,
    /// Whether hosts had time to answer: until then groups go to all clients.
    pub settled: bool,
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum State {
    /// Keys are being agreed on.
    Handshaking,
    /// Frames pass, and the other end was heard when it should have been.
    Up,
    /// Frames pass, but a sign of life is overdue.
    Quiet,
    /// There was a session, and the other end is not heard any more.
    Lost,
    /// There is no session: one of the ends ended it, or the server gives none. The client comes
    /// back, or tries again, for as long as its tunnel runs.
    Closed,
    /// At a client of several servers: another one than that in use, which says that it is there.
    Standby,
    /// The same, and it does not answer.
    Unreachable,
}

impl State {
    /// That of a session after its end.
    pub(crate) const fn after(reason: EndReason) -> Self {
        match reason {
            EndReason::Silent | EndReason::KeysExpired => Self::Lost,
            _ => Self::Closed,
        }
    }
}

/// A round trip, as far as it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RttReport {
    /// The smallest.
    #[cfg_attr(feature = "serde", serde(rename = "min_seconds", with = "optional_seconds"))]
    pub min: Option<Duration>,
    /// Smoothed as TCP does it (RFC 6298).
    #[cfg_attr(feature = "serde", serde(rename = "smoothed_seconds", with = "as_seconds"))]
    pub smoothed: Duration,
    /// How much it varies, smoothed alike.
    #[cfg_attr(feature = "serde", serde(rename = "jitter_seconds", with = "optional_seconds"))]
    pub jitter: Option<Duration>,
}

/// Datagrams of one direction since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LossReport {
    /// Datagrams that were sent, as far as the receiver can tell from their numbers.
    pub sent: u64,
    /// Those of them that were received.
    pub received: u64,
}

/// How a client's session before the present one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PastSession {
    /// Why.
    pub reason: EndReason,
    /// How long ago.
    #[cfg_attr(feature = "serde", serde(rename = "ago_seconds", with = "as_seconds"))]
    pub ago: Duration,
}

/// One session.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its number at the server, absent while it is being agreed on; a client's has none.
    pub number: Option<usize>,
    /// What operators call the other end.
    pub name: String,
    /// The other end's public key, in base64; absent in plain mode.
    pub key: Option<String>,
    /// How it is.
    pub state: State,
    /// For how long it has been so.
    #[cfg_attr(feature = "serde", serde(rename = "state_seconds", with = "optional_seconds"))]
    pub in_state_for: Option<Duration>,
    /// Why it ended, where it has.
    pub reason: Option<EndReason>,
    /// Why the server gives no session, at a client that was told.
    pub refusal: Option<RefusalReason>,
    /// For how long there has been a session without a break.
    #[cfg_attr(feature = "serde", serde(rename = "session_seconds", with = "optional_seconds"))]
    pub session_for: Option<Duration>,
    /// The UDP address of the other end.
    pub address: Option<SocketAddr>,
    /// How often that changed in this session.
    pub roams: Option<u64>,
    /// How often new keys took the place of others in this session.
    pub rekeys: Option<u64>,
    /// The cipher suite: `aes-256-gcm` or `chacha20-poly1305`.
    pub suite: Option<Cow<'static, str>>,
    /// The version of the other end's software, where it says so.
    pub peer_version: Option<String>,
    /// The MTU of the other end's TAP, as its word on the longest frame that it takes has it; absent
    /// in plain mode.
    pub peer_mtu: Option<u32>,
    /// At a client in secure mode, how often the server was another process than before.
    pub server_restarts: Option<u64>,
    /// How long ago the other end was last heard: by an authentic datagram in secure mode.
    #[cfg_attr(feature = "serde", serde(rename = "heard_seconds", with = "optional_seconds"))]
    pub heard_ago: Option<Duration>,
    /// The round trip.
    pub rtt: Option<RttReport>,
    /// What came of what the other end sent.
    pub loss_in: Option<LossReport>,
    /// What came of what was sent to the other end, as that says.
    pub loss_out: Option<LossReport>,
    /// The largest datagram to the other end, in bytes of UDP payload.
    pub path_mtu_out: Option<u16>,
    /// The largest datagram from the other end, in bytes of UDP payload, as that says.
    pub path_mtu_in: Option<u16>,
    /// What went through this session; where it has ended, until then.
    pub traffic: Traffic,
    /// At a server, the MACs behind the client: each with its VLAN, 0 for untagged.
    pub macs: Vec<MacReport>,
    /// At a server, how many MACs may be behind the client; absent for any number.
    pub mac_limit: Option<usize>,
    /// At a server, budgets that had to drop frames of the client in the last 10 s.
    pub budgets_acting: Vec<Cow<'static, str>>,
    /// The loop through the client, where there is one: what is flooded is held back.
    #[cfg_attr(feature = "serde", serde(rename = "loop"))]
    pub loop_found: Option<LoopReport>,
    /// At a server, what frames of the client pass.
    #[cfg_attr(feature = "serde", serde(default))]
    pub policy: Option<PolicyReport>,
    /// How the session before this one ended.
    pub before: Option<PastSession>,
    /// At a server in secure mode, whether the client says that it has other servers to go to.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub can_move: Option<bool>,
    /// At a client of several servers, what is known of this one.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub server: Option<ServerReport>,
    /// The port on the bridge, to find the MACs by.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) port: Option<u32>,
}

/// What frames of a client pass.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PolicyReport {
    /// Whether it is kept from being the LAN's DHCP server or router.
    pub guarded: bool,
    /// The kinds of frames that pass; absent for all.
    pub ethertypes: Option<Vec<EtherType>>,
    /// The IP addresses that it may use; absent for any.
    pub sources: Option<Sources>,
    /// Those that it was seen to be given.
    pub leases: Vec<LeaseReport>,
    /// The VLANs that it is in; absent for all.
    #[cfg_attr(feature = "serde", serde(default))]
    pub vlans: Option<Vlans>,
    /// How much may come from it; absent for any number.
    pub rate_in: Option<Rate>,
    /// How much may go to it; absent for any number.
    pub rate_out: Option<Rate>,
    /// How it is named to servers behind the root; absent where it is not.
    #[cfg_attr(feature = "serde", serde(default))]
    pub circuit: Option<CircuitReport>,
    /// MACs that are kept for the client, and no other's.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub own_macs: Vec<MacAddr>,
    /// MACs that it takes from another client with its first frame, as `00:00:5e:00:01:00/40`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub shared_macs: Vec<String>,
    /// Whether it may use those alone.
    #[cfg_attr(feature = "serde", serde(default))]
    pub strict: bool,
    /// Why frames were dropped in the last 10 s, as counters have it.
    pub acting: Vec<Cow<'static, str>>,
    /// Why frames were dropped at all, and how long ago the last one was.
    #[cfg_attr(feature = "serde", serde(default))]
    pub acted: Vec<ActedReport>,
}

/// When frames were last dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ActedReport {
    /// The reason, as counters have it.
    pub reason: Cow<'static, str>,
    /// How long ago.
    #[cfg_attr(feature = "serde", serde(rename = "ago_seconds", with = "as_seconds"))]
    pub ago: Duration,
}

/// How a client is named to servers behind the root.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct CircuitReport {
    /// Its circuit; `{mac}` and `{vlan}` are of each frame.
    pub id: String,
    /// The remote end of it, where that is told too.
    pub remote: Option<String>,
    /// In which protocols: `dhcp`, `dhcp6`, `pppoe`.
    pub protocols: Vec<Cow<'static, str>>,
}

/// An IP address that the LAN's DHCP server gave a client, or that it made itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeaseReport {
    /// The VLAN that it is on, 0 for untagged.
    pub vlan: u16,
    /// The address; where it is a delegated prefix, the first of it.
    pub address: IpAddr,
    /// The bits of the prefix; absent for one address.
    #[cfg_attr(feature = "serde", serde(default))]
    pub prefix_len: Option<u8>,
    /// How the client came to it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub from: LearntFrom,
    /// For how long yet.
    #[cfg_attr(feature = "serde", serde(rename = "left_seconds", with = "as_seconds"))]
    pub left: Duration,
}

/// One of a client's servers.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ServerReport {
    /// Servers of a lower number are better.
    pub priority: u8,
    /// Its share of clients among servers of one priority.
    pub weight: u8,
    /// It asks clients to go elsewhere.
    pub draining: bool,
    /// What share of the sessions that it takes it had when it was last asked, from 0 to 1.
    pub load: Option<f64>,
}

/// A loop: two LANs that the tunnel joins are joined by another way too.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LoopReport {
    /// With what the client's LAN is joined. Absent at a client that has it from the server: it may be
    /// the server's LAN or another client's.
    pub with: Option<Place>,
    /// How long ago it was found.
    #[cfg_attr(feature = "serde", serde(rename = "found_seconds", with = "as_seconds"))]
    pub found_ago: Duration,
    /// In what time flooding goes on, unless a probe comes back before; absent at a client where it
    /// is the server alone that holds it back.
    #[cfg_attr(feature = "serde", serde(rename = "opens_in_seconds", with = "optional_seconds"))]
    pub opens_in: Option<Duration>,
}

/// A MAC behind a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MacReport {
    /// The address.
    pub mac: MacAddr,
    /// Its VLAN, 0 for untagged.
    pub vlan: u16,
    /// Time since its last frame; absent for one that is always this client's.
    #[cfg_attr(feature = "serde", serde(rename = "age_seconds", with = "optional_seconds"))]
    pub age: Option<Duration>,
    /// It moved too often and stays where it is for now.
    pub frozen: bool,
}

impl SessionStatus {
    /// A session of which nothing is known yet.
    pub(crate) fn new(name: String) -> Self {
        Self {
            number: None,
            name,
            key: None,
            state: State::Handshaking,
            in_state_for: None,
            reason: None,
            refusal: None,
            session_for: None,
            address: None,
            roams: None,
            rekeys: None,
            suite: None,
            peer_version: None,
            peer_mtu: None,
            server_restarts: None,
            heard_ago: None,
            rtt: None,
            loss_in: None,
            loss_out: None,
            path_mtu_out: None,
            path_mtu_in: None,
            traffic: Traffic::default(),
            macs: Vec::new(),
            mac_limit: None,
            budgets_acting: Vec::new(),
            loop_found: None,
            policy: None,
            before: None,
            can_move: None,
            server: None,
            port: None,
        }
    }

    /// Says that it ended, and when.
    pub(crate) fn end(&mut self, reason: EndReason, ago: Duration) {
        self.state = State::after(reason);
        self.reason = Some(reason);
        self.in_state_for = Some(ago);
    }
}

/// What a control thread knows of its sessions, but for the MACs behind them.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sessions: Vec<SessionStatus>,
    /// Of all sessions since the tunnel started.
    pub(crate) traffic: Traffic,
    /// Budgets that act on what comes from the TAP.
    pub(crate) budgets_acting: Vec<Cow<'static, str>>,
    /// Clients are asked to go elsewhere.
    pub(crate) draining: bool,
    /// An operator wants that.
    pub(crate) drain_ordered: bool,
    /// Tracked links that carry nothing.
    pub(crate) uplinks_down: Vec<String>,
    /// Those of them that there are no links of.
    pub(crate) uplinks_missing: Vec<String>,
    /// Why the list of clients that was read last is not in force.
    pub(crate) list_error: Option<String>,
    /// Which is.
    pub(crate) listing: Listing,
    /// Until when all of them have to carry something, from now on.
    pub(crate) uplinks_settled_in: Option<Duration>,
    /// Where that of the first sessions is counted, one of each, until it is [added](Self::add_up).
    pub(crate) tallies: Vec<Arc<Tallies>>,
    /// There may be others, in later slots.
    pub(crate) more: bool,
}

impl Report {
    /// Adds up what went through sessions: the most work, and so none for the control thread.
    pub(crate) fn add_up(&mut self) {
        for (session, tallies) in self.sessions.iter_mut().zip(self.tallies.drain(..)) {
            session.traffic = tallies.sum();
            self.traffic.add(&session.traffic);
        }
    }
}
