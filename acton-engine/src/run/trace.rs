//! Where a frame would go and why, step by step: the bridge's own account, and what stands before
//! and behind it.

mod circuit;
mod floods;
mod policies;

use std::borrow::Cow;
use std::fmt;

use acton_bridge::{Asked, DropReason, FloodClass, FromLeaf, FromRoot, Owner, Verdict};
use acton_frame::{Headers, Protocol, Tag};
use acton_proto::wire::OVERHEAD;

use crate::Error;
use crate::capture::packet::Direction;
use crate::frames::tags::tagged;
use crate::observe::counters::Counter;
use crate::observe::status::{Role, SessionStatus, State, TapReport};
use crate::run::capture::CapturedPacket;
use crate::run::clock;
use crate::run::handle::Handle;
use crate::run::tap::max_frame;
use crate::sessions::elsewhere::is_from_client;
use crate::sessions::port::{LeafId, slot};

/// Where a frame would go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Trace {
    /// What was looked at, in order; the last one decided.
    pub steps: Vec<TraceStep>,
    /// Where the frame would go.
    pub verdict: TraceVerdict,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TraceStep {
    /// By whom: `session`, the policy's `vlan`, `guard`, `ethertype`, `address`, `circuit` and `rate`,
    /// `neighbour`, `loop`, `budget`, `multicast`, `path`, `tap`, and the bridge's `header`, `source`, `room`,
    /// `destination`, `learned` and
    /// `bridge`.
    pub stage: Cow<'static, str>,
    /// What was found, for people.
    pub text: String,
}

/// Where a frame would go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum TraceVerdict {
    /// To this end's TAP.
    Tap,
    /// To one session: at a server a client's, at a client the server's.
    Session(String),
    /// To each of so many sessions.
    Sessions(usize),
    /// To each of so many sessions, whose clients want the multicast group.
    Group(usize),
    /// Nowhere, for the reason of that name.
    Drop(Cow<'static, str>),
}

impl fmt::Display for TraceVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap => f.write_str("forward to the TAP"),
            Self::Session(name) => write!(f, "forward to {name}"),
            Self::Sessions(1) => f.write_str("forward to the one session there is"),
            Self::Sessions(count) => write!(f, "forward to all {count} sessions"),
            Self::Group(0) => f.write_str("forward to no session: no client wants the group"),
            Self::Group(1) => f.write_str("forward to the one session that wants the group"),
            Self::Group(count) => write!(f, "forward to the {count} sessions that want the group"),
            Self::Drop(reason) => write!(f, "drop ({reason})"),
        }
    }
}

impl Handle {
    /// Where a frame would go now and why. It comes from this end's TAP, or from the other end of a
    /// session: a client's by name, UDP address or number, or at a client its server's. Nothing is
    /// learned, sent or counted.
    ///
    /// # Errors
    /// Where there is no such session.
    pub fn trace(&self, from: Option<&str>, frame: &[u8]) -> Result<Trace, Error> {
        let longest = frame.len();
        let (steps, frame) = (Vec::new(), frame.into());
        Tracing { handle: self, steps, frame, longest, fate: None }.run(from)
    }

    /// Where a frame that was [captured](Self::capture) would go now and why; of a super-frame, those
    /// that it is cut into. `None` of a datagram, and where nobody knows any more whence it came.
    pub fn trace_packet(&self, packet: &CapturedPacket) -> Option<Trace> {
        let from = match packet.direction {
            _ if packet.datagram.is_some() => return None,
            Direction::In => Some(packet.session.as_deref()?),
            Direction::Out => None,
        };
        let mut frame = packet.bytes.clone();
        // Of one that was dropped there is the beginning, which has what decides.
        frame.resize(packet.len, 0);
        let longest = match packet.direction {
            Direction::In => packet.len,
            // What is longer than the TAP's frames is a super-frame.
            Direction::Out => {
                let most = self.tap().mtu.map_or(usize::MAX, |mtu| max_frame(mtu).into());
                packet.longest.map_or(packet.len.min(most), usize::from)
            }
        };
        let (steps, frame, fate) = (Vec::new(), frame.into(), packet.verdict.clone());
        Tracing { handle: self, steps, frame, longest, fate }.run(from).ok()
    }
}

/// Clients or groups that a step names at most.
const MAX_NAMED: usize = 8;

/// A trace in the making.
struct Tracing<'t> {
    handle: &'t Handle,
    steps: Vec<TraceStep>,
    /// As whoever looks at it next sees it.
    frame: Cow<'t, [u8]>,
    /// Bytes of the longest frame that it is cut into.
    longest: usize,
    /// Where it went, if it did: it has the name of a circuit in it where that was put in, and none where
    /// that was taken out.
    fate: Option<TraceVerdict>,
}

/// A leaf of the bridge, shown by its client's name.
struct LeafName(String);

impl fmt::Debug for LeafName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Tracing<'_> {
    fn run(mut self, from: Option<&str>) -> Result<Trace, Error> {
        let verdict = match self.handle.role() {
            Role::Server => self.at_server(from)?,
            Role::Client => self.at_client(from)?,
        };
        Ok(Trace { steps: self.steps, verdict })
    }

    fn note(&mut self, stage: &'static str, text: impl Into<String>) {
        self.steps.push(TraceStep { stage: stage.into(), text: text.into() });
    }

    fn at_server(&mut self, from: Option<&str>) -> Result<TraceVerdict, Error> {
        let side = match from {
            None => {
                self.note("tap", format!("read from TAP {}", self.handle.tap_name()));
                Owner::Root
            }
            Some(wanted) => {
                let found = self.handle.names().and_then(|names| names.find(wanted));
                let port = found.ok_or_else(|| Error::NoSession(wanted.to_owned()))?;
                if let Some(session) = self.session_at(port) {
                    self.note("session", format!("from {}", describe(&session)));
                }
                Owner::Leaf(port)
            }
        };
        if let Owner::Leaf(port) = side
            && let Some(over) = self.policy(port)
        {
            return Ok(over);
        }
        let answered = if side == Owner::Root { self.answered() } else { None };
        let bridge = self.handle.bridge().ok_or(Error::NotServer)?;
        let explanation = match side {
            Owner::Leaf(port) if self.see_at_root(port) => {
                bridge.explain_unlearned(port, &self.frame, clock::now())
            }
            _ => bridge.explain(side, &self.frame, clock::now()),
        };
        let verdict = explanation.verdict;
        let named = explanation.map(|port| LeafName(self.name(port)));
        for line in named.to_string().lines() {
            let (stage, text) = line.split_once(": ").unwrap_or(("bridge", line));
            let stage = if stage == "verdict" { "bridge" } else { stage };
            let mut text = text.to_owned();
            if stage == "header"
                && let Some((outer, inner)) = self.two_tags()
                && text.ends_with(&format!("VLAN {outer}"))
            {
                // The bridge knows nothing of tags behind the first.
                text.push_str(&format!(".{inner}"));
            }
            self.steps.push(TraceStep { stage: stage.to_owned().into(), text });
        }
        if let Owner::Root = side
            && let Some(over) = self.by_pair(verdict)
        {
            return Ok(over);
        }
        if let Verdict::FromRoot(FromRoot::Leaf(_) | FromRoot::Flood(_)) = verdict
            && let Some(session) = answered.and_then(|port| self.session_at(port))
        {
            return Ok(self.reach_session(&session));
        }
        let forwarded = match verdict {
            Verdict::FromRoot(FromRoot::Drop(reason))
            | Verdict::FromLeaf(FromLeaf::Drop(reason)) => dropped(reason),
            Verdict::FromRoot(FromRoot::Leaf(port)) => match self.session_at(port) {
                Some(session) => self.reach_session(&session),
                // No budget holds back what was for one.
                None => self.reach_all(&[]),
            },
            Verdict::FromRoot(FromRoot::Flood(kind)) => {
                let Some(floods) = self.handle.floods() else { return Err(Error::NotServer) };
                if is_from_client(bridge, Headers::parse(&self.frame).ethernet(), clock::now()) {
                    let text = "its source is a client's, which is about to be at another server";
                    self.note("bridge", text);
                    return Ok(counted(Counter::ClientElsewhere));
                }
                let class = self.class(kind);
                let asked = self.asked(class, floods);
                if let Asked::Owner(Owner::Leaf(port)) = asked
                    && let Some(session) = self.session_at(port)
                    && session.loop_found.is_none()
                {
                    if let Some(over) = self.root_budget(class, floods, true) {
                        return Ok(over);
                    }
                    self.note("neighbour", format!("{} has the address", session.name));
                    return Ok(self.reach_session(&session));
                }
                let classes = [FloodClass::Unresolved, class];
                let classes = &classes[usize::from(asked != Asked::Everybody)..];
                self.budgets(class, asked, |tracing, class| {
                    tracing.root_budget(class, floods, false)
                })
                .or_else(|| self.reach_group(kind, classes, floods))
                .unwrap_or_else(|| self.reach_all(classes))
            }
            Verdict::FromLeaf(FromLeaf::Root { bum: Some(kind) }) => {
                let gate = match side {
                    Owner::Leaf(port) => self.handle.names().and_then(|names| names.gate(port)),
                    Owner::Root => None,
                };
                let held_back = gate.zip(self.handle.floods()).and_then(|(gate, floods)| {
                    if gate.is_blocked() {
                        self.note("loop", "what it floods is held back: acton status says why");
                        return Some(counted(Counter::LoopBlocked));
                    }
                    let class = self.class(kind);
                    let asked = self.asked(class, floods);
                    let over = self.budgets(class, asked, |tracing, class| {
                        tracing.budget(&gate, class, floods.client.of(class))
                    });
                    over.or_else(|| self.hear_groups(kind, side, floods))
                });
                held_back.unwrap_or_else(|| self.reach_tap())
            }
            Verdict::FromLeaf(FromLeaf::Root { bum: None }) => self.reach_tap(),
        };
        let rated = match (&forwarded, side) {
            (TraceVerdict::Tap, Owner::Leaf(port)) => self.rate_in(port),
            _ => None,
        };
        Ok(rated.unwrap_or(forwarded))
    }

    /// Has the frame of a client's be as it is at the root; whether it has a pair of tags there, by which
    /// the client is found, and not by what the frame teaches.
    fn see_at_root(&mut self, port: LeafId) -> bool {
        let policing = self.handle.names().and_then(|names| names.policing(port));
        let Some((policy, _)) = policing else { return false };
        let Some(vlans) = policy.vlans() else { return false };
        let headers = Headers::parse(&self.frame);
        if let Some(at_root) = vlans.at_root(&headers, &self.frame)
            && !at_root.tags.is_empty()
        {
            self.frame = tagged(&self.frame, &headers, at_root.tags).into();
        }
        if let Some(pair) = vlans.pair() {
            self.note("vlan", format!("{pair} is the client's alone: its MACs are not learnt"));
        }
        vlans.pair().is_some()
    }

    /// The VLANs of the frame's first two tags, if it has so many.
    fn two_tags(&self) -> Option<(u16, u16)> {
        let headers = Headers::parse(&self.frame);
        let vlan = |at| Tag::of(&headers, &self.frame, at).map(Tag::vlan);
        vlan(0).zip(vlan(1))
    }

    /// Where a frame from the root goes that has a client's pair of tags.
    fn by_pair(&mut self, verdict: Verdict<LeafId>) -> Option<TraceVerdict> {
        let floods = self.handle.floods()?;
        let holder = floods.pairs.find(&Headers::parse(&self.frame), &self.frame)?;
        if let Verdict::FromRoot(FromRoot::Drop(reason)) = verdict
            && reason != DropReason::Local
        {
            return None;
        }
        let Some(session) = holder.port().and_then(|port| self.session_at(port)) else {
            self.note("vlan", "the two tags are a client's that is away");
            return Some(counted(Counter::Vlan));
        };
        let is_to_group = self.frame.first().is_some_and(|first| first & 1 == 1);
        self.note("vlan", format!("the two tags are {}'s, whatever its MAC", session.name));
        if is_to_group && session.loop_found.is_some() {
            self.note("loop", "what is flooded to it is held back: acton status says why");
            return Some(counted(Counter::LoopBlocked));
        }
        Some(self.reach_session(&session))
    }

    fn at_client(&mut self, from: Option<&str>) -> Result<TraceVerdict, Error> {
        // Other servers, which stand by, come behind that in use.
        let Some(session) = self.handle.status().sessions.into_iter().next() else {
            return Ok(counted(Counter::NotConnected));
        };
        let Some(wanted) = from else {
            self.note("tap", format!("read from TAP {}", self.handle.tap_name()));
            self.note("session", format!("to {}", describe(&session)));
            if self.is_held_back(&session) {
                return Ok(counted(Counter::LoopBlocked));
            }
            return Ok(match session.state {
                State::Up | State::Quiet => self.over_the_path(&session),
                _ => counted(Counter::NotConnected),
            });
        };
        let address = session.address.map(|address| address.to_string());
        if wanted != session.name && Some(wanted) != address.as_deref() {
            return Err(Error::NoSession(wanted.to_owned()));
        }
        self.note("session", format!("from {}", describe(&session)));
        if self.is_held_back(&session) {
            return Ok(counted(Counter::LoopBlocked));
        }
        Ok(match session.state {
            State::Up | State::Quiet => self.reach_tap(),
            _ => counted(Counter::NoSession),
        })
    }

    /// Whether a client holds the frame back, which is for a group, for there is a loop.
    fn is_held_back(&mut self, session: &SessionStatus) -> bool {
        let is_held = session.loop_found.as_ref().is_some_and(|found| found.opens_in.is_some());
        let is_to_group = self.frame.first().is_some_and(|first| first & 1 == 1);
        if is_held && is_to_group {
            self.note("loop", "what is for groups is held back: acton status says why");
        }
        is_held && is_to_group
    }

    /// The session with that port as it is now.
    fn session_at(&self, port: LeafId) -> Option<SessionStatus> {
        let mut sessions = self.handle.status_of(&slot(port).to_string()).flatten();
        sessions.find(|session| session.port == Some(port))
    }

    fn name(&self, port: LeafId) -> String {
        let name = self.handle.names().and_then(|names| names.name(port));
        name.map_or_else(|| "that has gone".to_owned(), |name| name.to_string())
    }

    fn reach_session(&mut self, session: &SessionStatus) -> TraceVerdict {
        self.note("session", format!("to {}", describe(session)));
        if session.port.is_some_and(|port| self.is_elsewhere(port)) {
            return counted(Counter::Vlan);
        }
        let rated = session.port.and_then(|port| self.rate_out(port));
        rated.unwrap_or_else(|| self.over_the_path(session))
    }

    /// Whether the frame fits the other end and the path to it.
    fn over_the_path(&mut self, session: &SessionStatus) -> TraceVerdict {
        let path_mtu = session.path_mtu_out.map(usize::from);
        let room = path_mtu.map(|path_mtu| path_mtu.saturating_sub(OVERHEAD));
        let mut len = self.longest;
        if len < self.frame.len() {
            let transport = Headers::parse(&self.frame).transport();
            // TCP is cut to fit, whatever its sender thought.
            if transport.is_some_and(|transport| transport.protocol == Protocol::Tcp) {
                len = len.min(room.unwrap_or(len));
            }
            let whole = self.frame.len();
            self.note("path", format!("a super-frame of {whole} bytes, which is cut"));
        }
        if let Some(mtu) = session.peer_mtu
            && len > usize::from(max_frame(mtu))
        {
            let text = format!("{len} bytes, longer than the other end takes: its MTU is {mtu}");
            self.note("path", text);
            return counted(Counter::FrameTooLong);
        }
        match room {
            None => self.note("path", format!("{len} bytes in one datagram")),
            Some(room) if len <= room => {
                self.note(
                    "path",
                    format!("{len} bytes in one datagram, which has room for {room}"),
                );
            }
            Some(room) => {
                self.note("path", format!("{len} bytes in pieces: a datagram has room for {room}"));
            }
        }
        TraceVerdict::Session(session.name.clone())
    }

    fn reach_tap(&mut self) -> TraceVerdict {
        let TapReport { name, mtu, running, .. } = self.handle.tap();
        if running == Some(false) {
            self.note("tap", format!("{name} is down or has no carrier"));
            return counted(Counter::TapDown);
        }
        let mtu = mtu.map(|mtu| format!(", MTU {mtu}")).unwrap_or_default();
        self.note("tap", format!("{name} is up{mtu}"));
        TraceVerdict::Tap
    }
}

fn describe(session: &SessionStatus) -> String {
    let state = match session.state {
        State::Handshaking => "is being agreed on",
        State::Up => "is up",
        State::Quiet => "is up but overdue",
        State::Lost => "is lost",
        State::Standby => "stands by",
        State::Unreachable => "does not answer",
        State::Closed => "has no session",
    };
    let heard = session.heard_ago.map(|ago| format!(", heard {ago:.1?} ago")).unwrap_or_default();
    format!("{}, which {state}{heard}", session.name)
}

fn dropped(reason: DropReason) -> TraceVerdict {
    TraceVerdict::Drop(reason.as_str().into())
}

fn counted(reason: Counter) -> TraceVerdict {
    TraceVerdict::Drop(reason.drop_name().into())
}
