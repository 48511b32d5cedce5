//! A status a part at a time, so that the control thread of a server with thousands of sessions is
//! never busy with one for long.

use std::collections::HashMap;
use std::ops::Range;

use acton_bridge::Owner;

use crate::observe::status::{BridgeReport, Listing, MacReport, SessionStatus, Status};
use crate::observe::tally::Traffic;
use crate::run::clock;
use crate::run::control::ALL_SLOTS;
use crate::run::handle::Handle;
use crate::sessions::port::{LeafId, slot};

/// Slots that are looked at in one go: at some microseconds a session, about a millisecond.
const PAGE: usize = 256;

/// A tunnel's status whose sessions come a page at a time: as an iterator it gives these pages. A
/// session that begins, ends or changes meanwhile shows as it was or as it is then.
#[derive(Debug)]
pub struct StatusPages {
    handle: Handle,
    head: Status,
    macs: HashMap<LeafId, Vec<MacReport>>,
    /// What is still to be looked at; `None` once all was.
    slots: Option<Range<usize>>,
    page: usize,
    traffic: Traffic,
}

impl StatusPages {
    pub(crate) fn new(handle: Handle) -> Self {
        let mut head = handle.head();
        let macs = match &mut head.bridge {
            Some(report) => macs(&handle, report),
            None => HashMap::new(),
        };
        let (slots, traffic) = (Some(ALL_SLOTS), Traffic::default());
        Self { handle, head, macs, slots, page: PAGE, traffic }
    }

    /// Those of one session, by the client's name, its UDP address or the session's number; of those
    /// that are over or about to begin, all.
    pub(crate) fn of(handle: Handle, session: &str) -> Self {
        let found = handle.names().and_then(|names| names.find(session));
        let first = found.map_or(usize::MAX, slot);
        let slots = Some(first..first.saturating_add(1));
        Self { slots, ..Self::new(handle) }
    }

    /// The tunnel, but for its sessions and what went through them.
    #[must_use]
    pub const fn head(&self) -> &Status {
        &self.head
    }

    /// What went through the sessions given so far and, once all were given, through those that are
    /// over.
    #[must_use]
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// All in one.
    pub(crate) fn whole(mut self) -> Status {
        self.page = usize::MAX;
        let sessions = self.next().unwrap_or_default();
        Status { sessions, traffic: self.traffic, ..self.head }
    }
}

impl Iterator for StatusPages {
    type Item = Vec<SessionStatus>;

    fn next(&mut self) -> Option<Vec<SessionStatus>> {
        let slots = self.slots.take()?;
        let end = slots.end.min(slots.start.saturating_add(self.page));
        let Some(mut report) = self.handle.report(slots.start..end) else {
            // It has ended, and all that is left to be known is there.
            let last = self.handle.last();
            (self.head, self.traffic) =
                (Status { sessions: Vec::new(), ..last.clone() }, last.traffic);
            return Some(last.sessions);
        };
        report.add_up();
        if let Some(bridge) = &mut self.head.bridge {
            bridge.budgets_acting = report.budgets_acting;
            bridge.draining = report.draining;
            bridge.drain_ordered = report.drain_ordered;
            bridge.uplinks_down = report.uplinks_down;
            bridge.uplinks_missing = report.uplinks_missing;
            bridge.list_error = report.list_error;
            bridge.listed = match report.listing {
                Listing::Clients(clients) => Some(clients),
                Listing::None | Listing::Unreadable => None,
            };
            bridge.no_list = report.listing == Listing::Unreadable;
            bridge.uplinks_settled_in = report.uplinks_settled_in;
        }
        if report.more && end < slots.end {
            self.slots = Some(end..slots.end);
        }
        for session in &mut report.sessions {
            let macs = session.port.and_then(|port| self.macs.remove(&port));
            session.macs = macs.unwrap_or_default();
            session.macs.sort_unstable_by_key(|report| (report.vlan, report.mac));
        }
        self.traffic.add(&report.traffic);
        Some(report.sessions)
    }
}

/// The MACs behind each client; the report gets how many there are.
pub(crate) fn macs(handle: &Handle, report: &mut BridgeReport) -> HashMap<LeafId, Vec<MacReport>> {
    let mut macs: HashMap<_, Vec<_>> = HashMap::new();
    for entry in handle.bridge().into_iter().flat_map(|bridge| bridge.entries(clock::now())) {
        let Owner::Leaf(port) = entry.owner else {
            report.root_macs += 1;
            continue;
        };
        report.client_macs += 1;
        let (mac, vlan, age) = (entry.mac, entry.vlan, entry.age);
        let frozen = entry.frozen_for.is_some();
        macs.entry(port).or_default().push(MacReport { mac, vlan, age, frozen });
    }
    macs
}
