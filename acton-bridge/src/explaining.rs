//! Going through the rules without following them.

use crate::claim::Claim;
use crate::entry::Entry;
use crate::explain::{Explanation, Step, Verdict};
use crate::fdb::Fdb;
use crate::header::Header;
use crate::key;
use crate::port::{Owner, Port};
use crate::purpose::{Fact, Purpose};
use crate::table::Found;
use crate::verdict::{DropReason, Learned};
use crate::writer::Rehearsal;

/// A frame that is explained: the facts are noted, and the table stays as it is.
pub(crate) struct Explaining<'a, P> {
    fdb: &'a Fdb,
    now: u64,
    steps: Vec<Step<P>>,
    /// What the table would say of some keys once the source is learned.
    changes: Vec<(u64, Option<Found>)>,
}

impl<'a, P: Port> Explaining<'a, P> {
    pub(crate) fn new(fdb: &'a Fdb, now: u64) -> Self {
        Self { fdb, now, steps: Vec::new(), changes: Vec::new() }
    }

    pub(crate) fn header(&mut self, header: &Header) {
        self.steps.push(Step::Header {
            vlan: header.vlan,
            source: header.source.mac(),
            destination: header.destination.mac(),
        });
    }

    pub(crate) fn end(self, verdict: Verdict<P>, learned: Learned<P>) -> Explanation<P> {
        Explanation { steps: self.steps, learned, verdict }
    }

    fn entry(&self, live: Option<(u64, Found)>) -> Option<Entry<P>> {
        live.map(|(key, found)| Entry::new(self.fdb, key, &found, self.now))
    }

    /// Has a writer say what it would do with the address of a key.
    fn rehearse<T>(&mut self, claim: impl FnOnce(&mut Rehearsal<'_>) -> T) -> T {
        let mut rehearsal = Rehearsal::new(self.fdb.write());
        let result = claim(&mut rehearsal);
        let outcome = rehearsal.outcome();
        self.steps.extend(outcome.rooms.into_iter().map(|room| Step::Room(room.map(P::from_bits))));
        self.changes = outcome.changes;
        result
    }
}

impl<P: Port> Purpose for Explaining<'_, P> {
    fn note(&mut self, fact: Fact) {
        let owner = |only: Option<Owner<u32>>| only.map(|only| only.map(P::from_bits));
        self.steps.push(match fact {
            Fact::Source(live) => Step::Source(self.entry(live)),
            Fact::SourceProtection(only) => Step::SourceProtection(owner(only)),
            Fact::Strict(leaf) => Step::Strict(P::from_bits(leaf)),
            Fact::Shares(leaf) => Step::Shares(P::from_bits(leaf)),
            Fact::Full(share) => Step::Room(self.fdb.write().room(share).map(P::from_bits)),
            Fact::Group(kind) => Step::Group(kind),
        });
    }

    fn root_source(&mut self, fdb: &Fdb, key: u64, now: u64) -> Learned<u32> {
        fdb.root_source(key, now, self)
    }

    fn leaf_source(
        &mut self,
        fdb: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        fdb.leaf_source(key, leaf, now, self)
    }

    fn refresh(&mut self, _: &Fdb, _: &Found, _: u64) {}

    fn claim_for_root(&mut self, _: &Fdb, key: u64, now: u64) -> Learned<u32> {
        self.rehearse(|rehearsal| rehearsal.claim_for_root(key, now))
    }

    fn claim_for_leaf(
        &mut self,
        _: &Fdb,
        key: u64,
        leaf: u32,
        now: u64,
    ) -> Result<Learned<u32>, DropReason> {
        self.rehearse(|rehearsal| rehearsal.claim_for_leaf(key, leaf, now))
    }

    fn destination(&mut self, fdb: &Fdb, keys: [u64; 2], now: u64) -> Option<Owner<u32>> {
        let live = keys.into_iter().find_map(|key| {
            // A frame to its own source meets what it taught.
            let changed = self.changes.iter().find(|(changed, _)| *changed == key);
            let found = match changed {
                Some(&(_, entry)) => entry.filter(|entry| fdb.is_live(entry, now)),
                None => fdb.find_live(key, now),
            };
            found.map(|found| (key, found))
        });
        self.steps.push(Step::Destination(self.entry(live)));
        live.map(|(_, found)| key::owner(found.owner))
    }
}
