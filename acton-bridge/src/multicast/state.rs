//! Who asked for which group and until when: what all changes of the index come of.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::group::{Group, IpFamily};
use super::index::Index;
use super::message::{GroupQuery, Reports, Wish};
use super::querier::{KnownQuerier, Querier, QuerierNews};
use super::query::GroupAsk;
use crate::port::Port;

/// Groups that are kept of one leaf; one that asks for more gets all, as if nobody had asked.
pub const MAX_GROUPS_PER_LEAF: usize = 256;
/// Those of all leaves together, some 40 MB of them.
const MAX_MEMBERSHIPS: usize = 262_144;
/// For so long a leaf that has just come gets all groups: its hosts are asked twice meanwhile, but a
/// port of a bridge behind it may pass nothing for 15 s (IEEE 802.1D, the forward delay).
const GRACE: Duration = Duration::from_secs(20);
/// How long who left a group still gets it, so that others behind the same leaf can say that they want
/// it: they are asked within 1 s, again 1 s later, and take 1 s to answer.
const LEAVING: Duration = Duration::from_secs(4);
/// Times at which a leaf is asked, from the moment at which it has to be.
const ASK_AFTER: [Duration; 2] = [Duration::ZERO, Duration::from_secs(1)];
/// For so long a leaf that says PIM is a multicast router's (RFC 7761, section 4.11: hellos every 30 s
/// hold for 105 s).
const ROUTER: Duration = Duration::from_secs(105);
/// VLANs on which a leaf that comes is asked at most.
const MAX_ASKED_VLANS: usize = 16;

/// Why a leaf gets all groups. The later ones say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum AllReason {
    /// It has just come, and its hosts may not have answered yet.
    New,
    /// It asked for more groups than are kept of one.
    TooMany,
    /// A multicast router is behind it.
    Router,
}

/// A group that a leaf gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupEntry<P> {
    /// The leaf.
    pub leaf: P,
    /// The group; where it gets all groups, why.
    pub what: Result<Group, AllReason>,
    /// Time since it was asked for last.
    pub heard_ago: Duration,
    /// How long yet, if it is not asked for again.
    pub left: Duration,
    /// Whether a host has left it, and others behind the leaf are asked.
    pub is_leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct Membership {
    heard: Duration,
    until: Duration,
    leaving: bool,
}

#[derive(Debug, Clone, Copy)]
struct All {
    why: AllReason,
    heard: Duration,
    until: Duration,
}

#[derive(Debug, Default)]
struct Leaf {
    groups: HashMap<Group, Membership, RandomState>,
    all: Option<All>,
}

/// What ends at a time: a leaf's membership, or with `None` that it gets all groups.
type Deadline = (Duration, u32, Option<Group>);

#[derive(Debug, Default)]
pub(super) struct State {
    leaves: HashMap<u32, Leaf, RandomState>,
    /// Memberships of all leaves.
    memberships: usize,
    /// One for each membership and each leaf that gets all groups.
    deadlines: BTreeSet<Deadline>,
    /// When to ask a leaf for a group, or with `None` for all. Times are whole seconds, so that a leaf that
    /// leaves and joins at any rate has few.
    asks: BTreeSet<Deadline>,
    queriers: BTreeMap<(u16, IpFamily), Querier>,
    news: Vec<QuerierNews>,
}

impl State {
    pub(super) fn memberships(&self) -> usize {
        self.memberships
    }

    pub(super) fn queriers(&self, now: Duration) -> Vec<KnownQuerier> {
        let known = self.queriers.iter().filter(|(_, querier)| now < querier.until);
        known
            .map(|(&(vlan, _), querier)| KnownQuerier {
                vlan,
                address: querier.address,
                heard_ago: now.saturating_sub(querier.heard),
                left: querier.until - now,
                is_settled: now >= querier.settled,
            })
            .collect()
    }

    /// A querier at the root asks.
    pub(super) fn hear_querier(
        &mut self,
        index: &Index,
        vlan: u16,
        query: &GroupQuery,
        now: Duration,
    ) {
        let key = (vlan, IpFamily::of(query.source));
        let before = self.queriers.get(&key);
        let querier = Querier::heard(query, before, now);
        if before.is_none() {
            self.news.push(QuerierNews::Heard { vlan, address: query.source });
        }
        index.set_querier(vlan, key.1, Some(&querier));
        self.queriers.insert(key, querier);
    }

    /// A multicast router is behind a leaf: one that asks, or says PIM.
    pub(super) fn hear_router(
        &mut self,
        index: &Index,
        leaf: u32,
        query: Option<&GroupQuery>,
        now: Duration,
    ) {
        let time = match query {
            Some(query) => Querier::heard(query, None, now).pace.presence(),
            None => ROUTER,
        };
        self.give_all(index, leaf, AllReason::Router, now, time);
    }

    /// A leaf tells of groups; how many of them found no room.
    pub(super) fn hear_reports(
        &mut self,
        index: &Index,
        leaf: u32,
        vlan: u16,
        reports: Reports<'_>,
        now: Duration,
    ) -> u32 {
        let mut no_room = 0;
        for (address, wish) in reports {
            let Some(group) = Group::new(vlan, address) else { continue };
            match wish {
                Wish::Join => no_room += u32::from(!self.join(index, leaf, group, now)),
                Wish::Leave => self.leave(leaf, group, now),
            }
        }
        no_room
    }

    /// A leaf wants a group; whether there is room to note it.
    fn join(&mut self, index: &Index, leaf: u32, group: Group, now: Duration) -> bool {
        let querier = self.queriers.get(&(group.vlan, group.family()));
        let time = querier.map(|querier| querier.pace).unwrap_or_default().membership();
        let until = now + time;
        let of = self.leaves.entry(leaf).or_default();
        let membership = Membership { heard: now, until, leaving: false };
        if let Some(known) = of.groups.get_mut(&group) {
            self.deadlines.remove(&(known.until, leaf, Some(group)));
            *known = membership;
        } else if of.groups.len() < MAX_GROUPS_PER_LEAF && self.memberships < MAX_MEMBERSHIPS {
            of.groups.insert(group, membership);
            self.memberships += 1;
            index.add(group, leaf);
        } else {
            self.give_all(index, leaf, AllReason::TooMany, now, time);
            return false;
        }
        self.deadlines.insert((until, leaf, Some(group)));
        true
    }

    fn leave(&mut self, leaf: u32, group: Group, now: Duration) {
        let Some(of) = self.leaves.get_mut(&leaf) else { return };
        let Some(known) = of.groups.get_mut(&group).filter(|known| !known.leaving) else { return };
        let until = known.until.min(now + LEAVING);
        self.deadlines.remove(&(known.until, leaf, Some(group)));
        self.deadlines.insert((until, leaf, Some(group)));
        (known.until, known.leaving) = (until, true);
        self.ask(leaf, Some(group), now);
    }

    /// A leaf has come.
    pub(super) fn leaf_up(&mut self, index: &Index, leaf: u32, now: Duration) {
        self.give_all(index, leaf, AllReason::New, now, GRACE);
        self.ask(leaf, None, now);
    }

    fn ask(&mut self, leaf: u32, what: Option<Group>, now: Duration) {
        for after in ASK_AFTER {
            self.asks.insert((Duration::from_secs((now + after).as_secs()), leaf, what));
        }
    }

    fn give_all(
        &mut self,
        index: &Index,
        leaf: u32,
        why: AllReason,
        now: Duration,
        time: Duration,
    ) {
        let of = self.leaves.entry(leaf).or_default();
        let mut all = All { why, heard: now, until: now + time };
        if let Some(before) = of.all {
            self.deadlines.remove(&(before.until, leaf, None));
            all.why = all.why.max(before.why);
            all.until = all.until.max(before.until);
        }
        of.all = Some(all);
        self.deadlines.insert((all.until, leaf, None));
        index.set_all(leaf, true, all.why == AllReason::Router);
    }

    /// Forgets a leaf. Its time does not grow with the number of others, but for the lists that it is in.
    pub(super) fn purge(&mut self, index: &Index, leaf: u32) {
        let Some(of) = self.leaves.remove(&leaf) else { return };
        if let Some(all) = of.all {
            self.deadlines.remove(&(all.until, leaf, None));
            index.set_all(leaf, false, false);
        }
        self.memberships -= of.groups.len();
        for (group, membership) in of.groups {
            self.deadlines.remove(&(membership.until, leaf, Some(group)));
            index.remove(&group, leaf);
        }
    }

    /// Ends up to `most` of what is over; whether more may be.
    pub(super) fn sweep(&mut self, index: &Index, now: Duration, most: usize) -> bool {
        for _ in 0..most {
            match self.deadlines.first() {
                Some(&(at, leaf, what)) if at <= now => {
                    self.deadlines.pop_first();
                    self.end(index, leaf, what);
                }
                _ => return false,
            }
        }
        true
    }

    fn end(&mut self, index: &Index, leaf: u32, what: Option<Group>) {
        let Some(of) = self.leaves.get_mut(&leaf) else { return };
        match what {
            Some(group) => {
                if of.groups.remove(&group).is_some() {
                    self.memberships -= 1;
                    index.remove(&group, leaf);
                }
            }
            None => {
                of.all = None;
                index.set_all(leaf, false, false);
            }
        }
        if of.groups.is_empty() && of.all.is_none() {
            self.leaves.remove(&leaf);
        }
    }

    /// What is to be told of queriers since the last time.
    pub(super) fn take_news(&mut self, index: &Index, now: Duration) -> Vec<QuerierNews> {
        let news = &mut self.news;
        self.queriers.retain(|&(vlan, family), querier| {
            let is_there = now < querier.until;
            if !is_there {
                news.push(QuerierNews::Lost { vlan, address: querier.address });
                index.set_querier(vlan, family, None);
            }
            is_there
        });
        mem::take(news)
    }

    /// When there is somebody to ask.
    pub(super) fn ask_due(&self) -> Option<Duration> {
        self.asks.first().map(|&(at, ..)| at)
    }

    /// Whom to ask now: a leaf's hosts for all groups where somebody else asks for them, and for one that
    /// a host has left, on VLANs that `is_in` says the leaf is in. At least one of those that are due is
    /// looked at, and up to `most`.
    pub(super) fn take_asks<P: Port>(
        &mut self,
        now: Duration,
        most: usize,
        is_in: impl Fn(P, u16) -> bool,
    ) -> Vec<GroupAsk<P>> {
        let mut asks = Vec::new();
        for _ in 0..most {
            let Some(&(at, leaf, what)) = self.asks.first() else { break };
            if at > now || asks.len() >= most {
                break;
            }
            self.asks.pop_first();
            let Some(of) = self.leaves.get(&leaf) else { continue };
            let ask = |vlan, family, group| {
                let leaf = P::from_bits(leaf);
                GroupAsk { leaf, vlan, family, group }
            };
            match what {
                None => {
                    let known = self.queriers.iter().filter(|(_, querier)| now < querier.until);
                    let its = known.filter(|&(&(vlan, _), _)| is_in(P::from_bits(leaf), vlan));
                    let known = its.take(2 * MAX_ASKED_VLANS);
                    asks.extend(known.map(|(&(vlan, family), _)| ask(vlan, family, None)));
                }
                Some(group)
                    if of.groups.get(&group).is_some_and(|known| known.leaving)
                        && is_in(P::from_bits(leaf), group.vlan) =>
                {
                    asks.push(ask(group.vlan, group.family(), Some(group.address)));
                }
                Some(_) => {}
            }
        }
        asks
    }

    /// The leaves of which something is known, in order.
    pub(super) fn known_leaves(&self) -> Vec<u32> {
        let mut leaves: Vec<_> = self.leaves.keys().copied().collect();
        leaves.sort_unstable();
        leaves
    }

    /// What a leaf gets, all groups first, then by VLAN and address.
    pub(super) fn list<P: Port>(&self, leaf: u32, now: Duration) -> Vec<GroupEntry<P>> {
        let Some(of) = self.leaves.get(&leaf) else { return Vec::new() };
        let entry = |what, heard: Duration, until: Duration, is_leaving| GroupEntry {
            leaf: P::from_bits(leaf),
            what,
            heard_ago: now.saturating_sub(heard),
            left: until.saturating_sub(now),
            is_leaving,
        };
        let mut groups: Vec<_> = of.groups.iter().collect();
        groups.sort_unstable_by_key(|&(group, _)| *group);
        let all = of.all.iter().map(|all| entry(Err(all.why), all.heard, all.until, false));
        let groups =
            groups.into_iter().map(|(&group, of)| entry(Ok(group), of.heard, of.until, of.leaving));
        all.chain(groups).collect()
    }
}
