//! What IGMP and MLD are listened to for: where frames for groups go.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use acton_frame::Headers;
use parking_lot::Mutex;

use super::group::Group;
use super::index::{Asking, Index, Receivers};
use super::message::GroupMessage;
use super::querier::{KnownQuerier, QuerierNews};
use super::query::GroupAsk;
use super::state::{GroupEntry, State};
use crate::port::{Owner, Port};

/// What ends while frames wait for a lock, at most.
const SWEPT_AT_ONCE: usize = 1_024;

/// Who asked for which multicast group, by IGMP and MLD (RFC 4541). Shared by threads: what is asked for
/// each frame takes no lock, and messages of IGMP and MLD take a short one.
///
/// A group goes to the leaves alone that asked for it while a querier is heard from the root, for its
/// version of IP and on its VLAN, and once hosts have had the time to answer it; else to everybody, for
/// then nobody says again what he wants. So that nobody misses anything, all groups go to a leaf that has
/// [just come](Self::leaf_up), to one with a multicast router behind it, and to one that asks for more
/// groups than are kept. Which sources a host wants of a group is not kept.
///
/// Time is what the caller gives, and nothing ends but by [`sweep`](Self::sweep): to be called once a
/// second.
pub struct Multicast<P> {
    index: Index,
    state: Mutex<State>,
    leaf: PhantomData<P>,
}

/// Where a frame from the root goes that is for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupRoute {
    /// To everybody.
    Everybody,
    /// To those who [asked](Multicast::receivers) for it.
    Group(Group),
    /// To multicast [routers](Multicast::routers): it is a report, and a host that heard it would not send
    /// its own (RFC 4541, section 2.1.1, rule 1).
    Routers,
}

/// How much is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupsSummary {
    /// Who asks at the root, by VLAN, IGMP first.
    pub queriers: Vec<KnownQuerier>,
    /// Groups that some leaf asked for, on each VLAN by itself.
    pub groups: usize,
    /// How many leaves asked for each, added up.
    pub memberships: usize,
    /// Leaves that get all groups.
    pub gets_all: usize,
}

impl<P: Port> Default for Multicast<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> fmt::Debug for Multicast<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Multicast").finish_non_exhaustive()
    }
}

impl<P: Port> Multicast<P> {
    /// Nobody has asked for anything.
    #[must_use]
    pub fn new() -> Self {
        let (index, state) = (Index::new(), Mutex::default());
        Self { index, state, leaf: PhantomData }
    }

    /// Hears what a frame says that came from `side`, and passed; how many groups it asked for that found
    /// no room. From the root, queries alone count.
    pub fn hear(
        &self,
        side: Owner<P>,
        headers: &Headers,
        message: GroupMessage<'_>,
        now: Duration,
    ) -> u32 {
        let Some(vlan) = headers.ethernet().map(acton_frame::Ethernet::vlan) else { return 0 };
        let index = &self.index;
        match (side, message) {
            (Owner::Root, GroupMessage::Query(query)) if query.is_of_querier() => {
                self.state.lock().hear_querier(index, vlan, &query, now);
            }
            (Owner::Root, _) => {}
            (Owner::Leaf(leaf), GroupMessage::Query(query)) => {
                self.state.lock().hear_router(index, leaf.to_bits(), Some(&query), now);
            }
            (Owner::Leaf(leaf), GroupMessage::RouterHello) => {
                self.state.lock().hear_router(index, leaf.to_bits(), None, now);
            }
            (Owner::Leaf(leaf), GroupMessage::Reports(reports)) => {
                let mut state = self.state.lock();
                return state.hear_reports(index, leaf.to_bits(), vlan, reports, now);
            }
        }
        0
    }

    /// Where a frame from the root goes, whose destination is a group.
    #[must_use]
    pub fn route(&self, headers: &Headers, frame: &[u8], now: Duration) -> GroupRoute {
        let Some(ethernet) = headers.ethernet() else { return GroupRoute::Everybody };
        if GroupMessage::may_be(headers, frame) {
            let Some(GroupMessage::Reports(_)) = GroupMessage::read(headers, frame) else {
                return GroupRoute::Everybody;
            };
            let family = headers.ip().map(|ip| ip.version.into());
            let asking = family.map(|family| self.index.asking(ethernet.vlan(), family, now));
            return match asking {
                None | Some(Asking::No) => GroupRoute::Everybody,
                Some(Asking::Since | Asking::Settled) => GroupRoute::Routers,
            };
        }
        let Some(group) = Group::of(headers, frame) else { return GroupRoute::Everybody };
        match self.index.asking(group.vlan, group.family(), now) {
            Asking::Settled => GroupRoute::Group(group),
            Asking::No | Asking::Since => GroupRoute::Everybody,
        }
    }

    /// Who gets a group.
    #[must_use]
    pub fn receivers(&self, group: &Group) -> Receivers<P> {
        self.index.receivers(group)
    }

    /// The leaves with a multicast router behind them.
    #[must_use]
    pub fn routers(&self) -> Receivers<P> {
        self.index.routers()
    }

    /// A leaf has come: it gets all groups until its hosts had time to ask for theirs, and they are
    /// [asked](Self::take_asks) which they want.
    pub fn leaf_up(&self, leaf: P, now: Duration) {
        self.state.lock().leaf_up(&self.index, leaf.to_bits(), now);
    }

    /// Forgets a leaf.
    pub fn purge(&self, leaf: P) {
        self.state.lock().purge(&self.index, leaf.to_bits());
    }

    /// Forgets all that is known.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        *state = State::default();
        self.index.clear();
    }

    /// Ends what is over; what is new of queriers since the last time.
    pub fn sweep(&self, now: Duration) -> Vec<QuerierNews> {
        while self.state.lock().sweep(&self.index, now, SWEPT_AT_ONCE) {}
        self.state.lock().take_news(&self.index, now)
    }

    /// When [`take_asks`](Self::take_asks) has something.
    #[must_use]
    pub fn ask_due(&self) -> Option<Duration> {
        self.state.lock().ask_due()
    }

    /// Whom to ask now for groups, by [`group_query`](crate::group_query): some `most`, where more may be
    /// left for the next time. On a VLAN that `is_in` says a leaf is not in it is not asked.
    #[must_use]
    pub fn take_asks(
        &self,
        now: Duration,
        most: usize,
        is_in: impl Fn(P, u16) -> bool,
    ) -> Vec<GroupAsk<P>> {
        self.state.lock().take_asks(now, most, is_in)
    }

    /// How much is known.
    #[must_use]
    pub fn summary(&self, now: Duration) -> GroupsSummary {
        let state = self.state.lock();
        GroupsSummary {
            queriers: state.queriers(now),
            groups: self.index.groups(),
            memberships: state.memberships(),
            gets_all: self.index.gets_all(),
        }
    }

    /// What each leaf gets, leaf after leaf. No frame waits for more than one of them.
    #[must_use]
    pub fn entries(&self, now: Duration) -> Vec<GroupEntry<P>> {
        let leaves = self.state.lock().known_leaves();
        leaves.into_iter().flat_map(|leaf| self.state.lock().list(leaf, now)).collect()
    }
}
