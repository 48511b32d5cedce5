//! The server's part in a test of isolation: whom to ask, what to order, and what came of it.
//!
//! One phase after the other, each of which every client that takes part has to finish or fail: all are
//! asked; all hear a frame from the server; all send what is for nobody in particular, then what is for
//! others; all hear another frame from the server, and tell what they heard.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::Owner;
use acton_proto::server::SessionId;
use acton_proto::wire::{
    IsolationAnswer, IsolationOrder, IsolationRefusal, IsolationReply, IsolationStep, TestFrames,
    TestToken,
};
use pnet_base::MacAddr;

use crate::isolation::fates::{Fate, Fates};
use crate::isolation::frame;
use crate::isolation::kind::{COMMON, TO_PEER, TestKind};
use crate::isolation::plan::{MAX_CLIENTS, peers};
use crate::isolation::report::{IsolationPart, IsolationReport};
use crate::sessions::port::LeafId;

mod summary;

/// How long an answer is waited for, and how often the order is given.
const RETRY: Duration = Duration::from_millis(400);
const TRIES: u32 = 12;
/// How long after the last frame one may still come.
const SETTLE: Duration = Duration::from_secs(1);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Clients that send at a time.
const ACTIVE: usize = 16;
/// Numbers of an order: one for each kind that there may be.
const NUMBERS: u16 = 32;
/// What the server sends to a client, before and after the others: to its MAC, and to all.
const CONTROLS: [u16; 2] = [30, 31];
/// MACs behind a client, beside its TAP's, that others send to.
const MAX_HOSTS: usize = 1;

/// Who has which MAC.
pub(crate) trait Macs {
    /// Who has it on a VLAN.
    fn owner(&self, vlan: u16, mac: MacAddr) -> Option<Owner<LeafId>>;
    /// All behind clients, each with its VLAN at the root.
    fn behind_clients(&self) -> Vec<(LeafId, u16, MacAddr)>;
}

/// Somebody to ask.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: SessionId,
    pub(crate) port: LeafId,
    pub(crate) name: Arc<str>,
    /// Whether its version knows such tests.
    pub(crate) knows: bool,
    /// Where its frames without a tag are at the root: the outer and the inner VLAN, 0 for none; `None`
    /// if it may send none.
    pub(crate) place: Option<(u16, u16)>,
}

/// What the control thread is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Give a client an order.
    Order(SessionId, IsolationOrder),
    /// Send a client a frame.
    Frame(SessionId, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    /// The control of this number.
    Hearing(usize),
    /// What is for no client in particular, then what is for others.
    Sending {
        common: bool,
    },
    Settling {
        until: Duration,
    },
    Over,
}

#[derive(Debug)]
struct Member {
    id: SessionId,
    port: LeafId,
    name: Arc<str>,
    place: Option<(u16, u16)>,
    /// `None` until it has said so.
    part: Option<IsolationPart>,
    mac: Option<MacAddr>,
    ipv4: Ipv4Addr,
    ipv6: Ipv6Addr,
    /// The numbers that it heard, in its order.
    heard: Vec<u16>,
    /// Whether it is done with this phase; else how often it was asked and when it is again.
    is_ready: bool,
    tries: u32,
    next: Duration,
    /// The order that it is at.
    at: usize,
    /// VLANs of the test on which its TAP's MAC was known before.
    known_on: Vec<u16>,
}

/// Frames that one client is to send.
#[derive(Debug)]
struct Planned {
    from: usize,
    /// The client that they are for; `None` for those for nobody in particular.
    to: Option<usize>,
    frames: TestFrames,
    /// Kinds that were sent by the client's word.
    sent: u32,
    /// Whether that word has come.
    is_answered: bool,
}

/// A test that is on.
#[derive(Debug)]
pub(crate) struct Trial {
    token: TestToken,
    root: MacAddr,
    willing_only: bool,
    left_out: usize,
    members: Vec<Member>,
    orders: Vec<Planned>,
    fates: Arc<Fates>,
    phase: Phase,
    actions: VecDeque<Action>,
    until: Duration,
    doubts: Vec<String>,
}

impl Trial {
    /// A test of these clients, whose server's TAP has the MAC `root`.
    pub(crate) fn new(
        now: Duration,
        token: TestToken,
        root: MacAddr,
        mut candidates: Vec<Candidate>,
        willing_only: bool,
    ) -> Self {
        let left_out = candidates.len().saturating_sub(MAX_CLIENTS);
        candidates.truncate(MAX_CLIENTS);
        let member = |candidate: Candidate| Member {
            id: candidate.id,
            port: candidate.port,
            name: candidate.name,
            place: candidate.place,
            part: (!candidate.knows).then_some(IsolationPart::Unknown),
            mac: None,
            ipv4: Ipv4Addr::UNSPECIFIED,
            ipv6: Ipv6Addr::UNSPECIFIED,
            heard: Vec::new(),
            is_ready: !candidate.knows,
            tries: 0,
            next: now,
            at: 0,
            known_on: Vec::new(),
        };
        Self {
            token,
            root,
            willing_only,
            left_out,
            members: candidates.into_iter().map(member).collect(),
            orders: Vec::new(),
            fates: Arc::new(Fates::new(token)),
            phase: Phase::Asking,
            actions: VecDeque::new(),
            until: now + PATIENCE,
            doubts: Vec::new(),
        }
    }

    /// Where workers tell what becomes of the frames.
    pub(crate) fn fates(&self) -> &Arc<Fates> {
        &self.fates
    }

    /// When [`poll`](Self::poll) has something.
    pub(crate) fn due(&self) -> Duration {
        if !self.actions.is_empty() || self.phase == Phase::Over {
            return Duration::ZERO;
        }
        let waiting = self.members.iter().filter(|member| !member.is_ready);
        let next = match self.phase {
            Phase::Settling { until } => until,
            _ => waiting.take(self.at_a_time()).map(|it| it.next).min().unwrap_or_default(),
        };
        next.min(self.until)
    }

    /// What is to be done now, action by action.
    pub(crate) fn poll(&mut self, now: Duration, macs: &dyn Macs) -> Option<Action> {
        // A phase may have nothing to do.
        while self.actions.is_empty() && self.phase != Phase::Over && now >= self.due() {
            self.step(now, macs);
        }
        self.actions.pop_front()
    }

    /// Takes what a client says.
    pub(crate) fn hear(&mut self, now: Duration, id: SessionId, answer: &IsolationAnswer) {
        let at = self.members.iter().position(|member| member.id == id);
        let Some(at) = at.filter(|_| answer.token == self.token) else { return };
        match answer.reply {
            // Who is out stays out.
            _ if self.phase == Phase::Asking && self.members[at].part.is_some() => {}
            IsolationReply::Agreed { mac, ipv4, ipv6 } if self.phase == Phase::Asking => {
                let member = &mut self.members[at];
                member.mac = Some(mac.into()).filter(|mac: &MacAddr| !mac.is_multicast());
                (member.ipv4, member.ipv6) = (ipv4, ipv6);
                let takes_part = member.mac.is_some();
                member.set_part(if takes_part {
                    IsolationPart::Agreed
                } else {
                    IsolationPart::NoTap
                });
            }
            IsolationReply::Refused(reason) if self.phase == Phase::Asking => {
                self.members[at].set_part(refused(reason));
            }
            IsolationReply::Sent { number, kinds } => {
                let order = self.orders.iter_mut().find(|order| order.frames.number == number);
                if let Some(order) = order.filter(|order| order.from == at) {
                    order.sent |= kinds & order.frames.kinds;
                    order.is_answered = true;
                    self.go_on(now, at);
                }
            }
            IsolationReply::Heard { from, total, .. } => {
                let Phase::Hearing(control) = self.phase else { return };
                let wanted = self.control(at, control);
                let member = &mut self.members[at];
                if usize::from(from) != member.heard.len() || member.is_ready {
                    return;
                }
                member.heard.extend(answer.reply.heard());
                if member.heard.len() < total.into() {
                    // There is more: asked for at once, which is no repetition.
                    self.ask_what_was_heard(at);
                } else {
                    member.is_ready = member.heard.contains(&wanted);
                }
            }
            _ => {}
        }
    }

    /// The session of a client is over.
    pub(crate) fn gone(&mut self, id: SessionId) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id)
            && matches!(member.part, None | Some(IsolationPart::Agreed))
            && self.phase != Phase::Over
        {
            member.set_part(IsolationPart::Gone);
        }
    }

    /// What came of it, once it is over and all is told to the clients.
    pub(crate) fn report(&self) -> Option<IsolationReport> {
        let is_over = self.phase == Phase::Over && self.actions.is_empty();
        is_over.then(|| summary::report(self))
    }

    /// Where the bridge learnt MACs by the test that it did not know there before.
    pub(crate) fn taught(&self) -> impl Iterator<Item = (u16, MacAddr)> {
        let members = self.members.iter().filter(|_| !self.orders.is_empty());
        let with_mac = members.clone().filter_map(|member| Some((member, member.mac?)));
        let own = with_mac.flat_map(|(member, mac)| {
            let new = frame::VLANS.into_iter().filter(|vlan| !member.known_on.contains(vlan));
            new.map(move |vlan| (vlan, mac))
        });
        let stranger = frame::stranger(self.token);
        own.chain(members.filter_map(move |member| Some((member.place?.0, stranger))))
    }

    /// How many clients are at work at a time.
    fn at_a_time(&self) -> usize {
        if matches!(self.phase, Phase::Sending { .. }) { ACTIVE } else { usize::MAX }
    }

    fn step(&mut self, now: Duration, macs: &dyn Macs) {
        if now >= self.until {
            self.doubts.push("it took too long".to_owned());
            return self.end();
        }
        let waiting = (0..self.members.len()).filter(|&at| !self.members[at].is_ready);
        let waiting: Vec<_> = waiting.take(self.at_a_time()).collect();
        if waiting.is_empty() {
            return self.begin_next_phase(now, macs);
        }
        for at in waiting {
            if now < self.members[at].next {
                continue;
            }
            if self.members[at].tries == TRIES {
                self.give_up(now, at);
                continue;
            }
            let member = &mut self.members[at];
            (member.tries, member.next) = (member.tries + 1, now + RETRY);
            match self.phase {
                Phase::Asking => self.order(at, IsolationStep::Begin),
                Phase::Hearing(control) => {
                    let (number, to) = (self.control(at, control), self.members[at].mac);
                    let to = to.filter(|_| control == 0);
                    let frame = frame::control_frame(self.token, number, self.root, to);
                    self.actions.push_back(Action::Frame(self.members[at].id, frame));
                    self.ask_what_was_heard(at);
                }
                Phase::Sending { .. } => self.send(now, at),
                Phase::Settling { .. } | Phase::Over => {}
            }
        }
    }

    fn begin_next_phase(&mut self, now: Duration, macs: &dyn Macs) {
        self.phase = match self.phase {
            Phase::Asking => {
                if !self.may_begin() {
                    return self.end();
                }
                self.plan(macs);
                Phase::Hearing(0)
            }
            Phase::Hearing(0) => Phase::Sending { common: true },
            Phase::Sending { common: true } => {
                self.plan_peers(macs);
                Phase::Sending { common: false }
            }
            Phase::Sending { common: false } => Phase::Settling { until: now + SETTLE },
            Phase::Settling { .. } => Phase::Hearing(1),
            Phase::Hearing(_) | Phase::Over => return self.end(),
        };
        let settles = matches!(self.phase, Phase::Settling { .. });
        for member in &mut self.members {
            member.is_ready = settles || member.part != Some(IsolationPart::Agreed);
            (member.tries, member.next, member.at) = (0, now, 0);
        }
        if let Phase::Sending { .. } = self.phase {
            (0..self.members.len()).for_each(|at| self.skip_done(at));
        }
    }

    /// Whether there is something to test, now that all have been asked.
    fn may_begin(&mut self) -> bool {
        let willing = self.willing().count();
        let all_agree = willing == self.members.len();
        if !all_agree && !self.willing_only {
            return false;
        }
        if willing < 2 {
            self.doubts.push("it takes two clients or more".to_owned());
        }
        willing >= 2
    }

    fn willing(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|&at| self.members[at].part == Some(IsolationPart::Agreed))
    }

    /// Plans what is for no client in particular. Numbers begin with those of the controls.
    fn plan(&mut self, macs: &dyn Macs) {
        let kinds = if macs.owner(0, self.root) == Some(Owner::Root) {
            COMMON
        } else {
            // Nobody may be taught that it lives at a client.
            COMMON & !TestKind::FromRoot.bit()
        };
        for from in self.willing().collect::<Vec<_>>() {
            if let Some(mac) = self.members[from].mac {
                let port = Some(Owner::Leaf(self.members[from].port));
                let known = frame::VLANS.into_iter().filter(|&vlan| macs.owner(vlan, mac) == port);
                self.members[from].known_on = known.collect();
            }
            self.add_order(from, None, MacAddr::zero(), kinds);
        }
    }

    /// Plans what is for others, now that the bridge knows where all of them are.
    fn plan_peers(&mut self, macs: &dyn Macs) {
        let willing: Vec<_> = self.willing().collect();
        let behind = macs.behind_clients();
        for (place, &from) in willing.iter().enumerate() {
            for peer in peers(self.token, willing.len(), place) {
                let to = willing[peer];
                let Some(mac) = self.members[to].mac else { continue };
                let kinds = if self.may_forge(from, to, mac, macs) {
                    TO_PEER
                } else {
                    TO_PEER & !TestKind::FromPeer.bit()
                };
                self.add_order(from, Some(to), mac, kinds);
            }
            // The next one's hosts stand for all.
            let next = willing[(place + 1) % willing.len()];
            let Member { port, mac: own, place, .. } = self.members[next];
            let hosts = behind.iter().filter(|(at, vlan, mac)| {
                *at == port && Some(*vlan) == place.map(|(outer, _)| outer) && Some(*mac) != own
            });
            for (_, _, mac) in hosts.take(MAX_HOSTS) {
                self.add_order(from, Some(next), *mac, TestKind::Peer.bit());
            }
        }
    }

    /// Whether a client may send from another's MAC: where both are in one VLAN, and the bridge knows it
    /// there as that one's, so that nobody is taught that it lives elsewhere.
    fn may_forge(&self, from: usize, to: usize, mac: MacAddr, macs: &dyn Macs) -> bool {
        let Member { place, port, .. } = self.members[to];
        // What is behind two tags is one client's alone.
        let Some((vlan, 0)) = place.filter(|_| place == self.members[from].place) else {
            return false;
        };
        macs.owner(vlan, mac) == Some(Owner::Leaf(port))
    }

    fn add_order(&mut self, from: usize, to: Option<usize>, peer: MacAddr, kinds: u32) {
        let (ipv4, ipv6) = to.map_or((Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED), |to| {
            (self.members[to].ipv4, self.members[to].ipv6)
        });
        let number = self.orders.len() as u16 * NUMBERS;
        let (root, peer) = (self.root.octets(), peer.octets());
        let frames = TestFrames { number, kinds, root, peer, ipv4, ipv6 };
        self.orders.push(Planned { from, to, frames, sent: 0, is_answered: false });
    }

    /// The number of a frame that the server sends to a client: of that client's first order.
    fn control(&self, at: usize, control: usize) -> u16 {
        let first = self.orders.iter().find(|order| order.from == at);
        first.map_or(0, |order| order.frames.number) + CONTROLS[control]
    }

    /// Has a client send what it is at, as far as nothing became of it yet.
    fn send(&mut self, now: Duration, at: usize) {
        let Some(order) = self.orders.get(self.members[at].at) else {
            return self.go_on(now, at);
        };
        let kinds = self.missing(order);
        self.order(at, IsolationStep::Send(TestFrames { kinds, ..order.frames }));
    }

    /// The kinds of an order of which it is not known what became of them, or what would have if they had
    /// not come too fast.
    fn missing(&self, order: &Planned) -> u32 {
        let port = self.members[order.from].port;
        let wanted = if order.is_answered { order.sent } else { order.frames.kinds };
        let is_open = |kind: &TestKind| {
            let fate = self.fates.of(order.frames.number + *kind as u16, port);
            // What goes out of the TAP is not to come.
            let is_gone = kind.is_beside() && order.is_answered;
            !is_gone && fate.is_none_or(Fate::is_of_rate)
        };
        TestKind::of(wanted).filter(is_open).map(TestKind::bit).sum()
    }

    /// Goes on to a client's next order if it is done with the one that it is at.
    fn go_on(&mut self, now: Duration, at: usize) {
        if !matches!(self.phase, Phase::Sending { .. }) || self.members[at].is_ready {
            return;
        }
        let before = self.members[at].at;
        self.skip_done(at);
        if self.members[at].at != before {
            (self.members[at].tries, self.members[at].next) = (0, now);
        }
    }

    /// Finds the order of this phase that a client is to be at; it is ready where there is none.
    fn skip_done(&mut self, at: usize) {
        let Phase::Sending { common } = self.phase else { return };
        let start = self.members[at].at;
        let next = (start..self.orders.len()).find(|&number| {
            let order = &self.orders[number];
            let is_done = order.is_answered && self.missing(order) == 0;
            order.from == at && order.to.is_none() == common && !is_done
        });
        match next {
            Some(number) => self.members[at].at = number,
            None => self.members[at].is_ready = true,
        }
    }

    /// A client did not answer, however often it was asked.
    fn give_up(&mut self, now: Duration, at: usize) {
        match self.phase {
            Phase::Asking => self.members[at].set_part(IsolationPart::Silent),
            Phase::Hearing(_) => self.members[at].set_part(IsolationPart::Deaf),
            Phase::Sending { .. } => {
                let answered = self.orders.get(self.members[at].at).map(|order| order.is_answered);
                if answered == Some(false) {
                    return self.members[at].set_part(IsolationPart::Silent);
                }
                // Frames that are lost again and again are told in the end.
                self.members[at].at += 1;
                (self.members[at].tries, self.members[at].next) = (0, now);
                self.skip_done(at);
            }
            Phase::Settling { .. } | Phase::Over => {}
        }
    }

    fn ask_what_was_heard(&mut self, at: usize) {
        let from = self.members[at].heard.len() as u16;
        self.order(at, IsolationStep::Report { from });
    }

    fn order(&mut self, at: usize, step: IsolationStep) {
        let order = IsolationOrder { token: self.token, step };
        self.actions.push_back(Action::Order(self.members[at].id, order));
    }

    /// Has all that listen listen no more.
    fn end(&mut self) {
        self.phase = Phase::Over;
        self.actions.clear();
        let parts = self.members.iter().map(|member| member.part);
        let listening = parts.enumerate().filter(|(_, part)| {
            matches!(part, None | Some(IsolationPart::Agreed | IsolationPart::Deaf))
        });
        for at in listening.map(|(at, _)| at).collect::<Vec<_>>() {
            self.members[at].part.get_or_insert(IsolationPart::Silent);
            self.order(at, IsolationStep::End);
        }
    }
}

impl Member {
    fn set_part(&mut self, part: IsolationPart) {
        (self.part, self.is_ready) = (Some(part), true);
    }
}

fn refused(reason: IsolationRefusal) -> IsolationPart {
    match reason {
        IsolationRefusal::NotAllowed => IsolationPart::NotAllowed,
        IsolationRefusal::TooSoon => IsolationPart::TooSoon,
        IsolationRefusal::NoTap => IsolationPart::NoTap,
        _ => IsolationPart::Other,
    }
}
