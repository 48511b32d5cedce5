//! Where a frame goes that is for everybody or for a group, and whether the budgets let it.

use acton_bridge::{
    Asked, Budget, BumKind, FloodClass, FrameVlan, GroupMessage, GroupRoute, Owner,
};
use acton_frame::Headers;

use super::{MAX_NAMED, TraceVerdict, Tracing, counted};
use crate::floods::gate::FloodGate;
use crate::floods::shared::{Floods, SharedBudgets};
use crate::observe::counters::Counter;
use crate::run::clock;
use crate::sessions::names::Flooded;
use crate::sessions::port::LeafId;

impl Tracing<'_> {
    /// Where a frame from the TAP for a multicast group goes, where that is not to everybody.
    pub(super) fn reach_group(&mut self, kind: BumKind, floods: &Floods) -> Option<TraceVerdict> {
        if kind != BumKind::Multicast || !floods.snooper.is_on() {
            return None;
        }
        let headers = Headers::parse(&self.frame);
        let route = floods.snooper.table.route(&headers, &self.frame, clock::now());
        let receivers = floods.snooper.receivers(route);
        match route {
            GroupRoute::Everybody => {
                let text =
                    "everybody gets it: it is of the link, of IGMP or MLD, or nobody asks there";
                self.note("multicast", text);
            }
            GroupRoute::Group(group) => {
                self.note("multicast", format!("group {}", group.address));
            }
            GroupRoute::Routers => self.note("multicast", "a report: routers alone get it"),
        }
        let receivers = receivers?;
        let names: Vec<_> = receivers.iter().take(MAX_NAMED).map(|port| self.name(port)).collect();
        if !names.is_empty() {
            let more = if receivers.count() > MAX_NAMED { " and others" } else { "" };
            self.note("session", format!("to {}{more}", names.join(", ")));
        }
        Some(TraceVerdict::Group(receivers.count()))
    }

    /// What a client's frame says of groups, and whether that keeps it from passing.
    pub(super) fn hear_groups(
        &mut self,
        kind: BumKind,
        side: Owner<LeafId>,
        floods: &Floods,
    ) -> Option<TraceVerdict> {
        let Owner::Leaf(port) = side else { return None };
        if kind != BumKind::Multicast || !floods.snooper.is_on() {
            return None;
        }
        let headers = Headers::parse(&self.frame);
        let (policy, _) = self.handle.names()?.policing(port)?;
        match GroupMessage::read(&headers, &self.frame)? {
            GroupMessage::Query(_) if floods.are_guarding(&policy) => {
                self.note("multicast", "a query, of a client that is not trusted to be a router");
                return Some(counted(Counter::GuardQuery));
            }
            GroupMessage::Query(_) => self.note("multicast", "a query: its sender gets all groups"),
            GroupMessage::Reports(reports) => {
                let groups: Vec<_> =
                    reports.take(MAX_NAMED).map(|(group, _)| group.to_string()).collect();
                self.note("multicast", format!("a report: {}", groups.join(", ")));
            }
            _ => {}
        }
        None
    }

    pub(super) fn reach_all(&mut self) -> TraceVerdict {
        let vlan = FrameVlan::of(&Headers::parse(&self.frame), &self.frame);
        let names = self.handle.names();
        let Flooded { reached: flooded, blocked, elsewhere } =
            names.map_or_else(Flooded::default, |names| names.flooded(vlan));
        if elsewhere > 0 {
            let text = match elsewhere {
                1 => "1 session is not in that".to_owned(),
                _ => format!("{elsewhere} sessions are not in that"),
            };
            self.note("vlan", text);
        }
        if blocked > 0 {
            let who = match blocked {
                1 => "1 session gets".to_owned(),
                _ => format!("{blocked} sessions get"),
            };
            let text = format!("{who} nothing that is flooded: acton status says why");
            self.note("loop", text);
        }
        match (flooded, blocked) {
            (0, 0) if elsewhere > 0 => counted(Counter::Vlan),
            (0, 0) => {
                self.note("session", "there is none");
                counted(Counter::NoClient)
            }
            (0, _) => counted(Counter::LoopBlocked),
            (count, _) => TraceVerdict::Sessions(count),
        }
    }

    /// What kind of flood the frame is.
    pub(super) fn class(&self, kind: BumKind) -> FloodClass {
        FloodClass::of(kind, &Headers::parse(&self.frame), &self.frame)
    }

    /// Who would be asked what a frame of that class asks.
    pub(super) fn asked(&self, class: FloodClass, floods: &Floods) -> Asked<LeafId> {
        if !class.may_ask() {
            return Asked::NoQuestion;
        }
        floods.neighbours.would_ask(&Headers::parse(&self.frame), &self.frame, clock::now())
    }

    /// Whether a budget holds the frame back: that of its class, or of what nobody is known to answer.
    pub(super) fn budgets(
        &mut self,
        gate: &FloodGate,
        class: FloodClass,
        asked: Asked<LeafId>,
        budgets: &SharedBudgets,
    ) -> Option<TraceVerdict> {
        let over = self.budget(gate, class, budgets.of(class));
        if over.is_some() || asked != Asked::Everybody {
            return over;
        }
        self.note("neighbour", "nobody is known to have the address, or two tell of it");
        let unresolved = FloodClass::Unresolved;
        self.budget(gate, unresolved, budgets.of(unresolved))
    }

    /// What has been flooded from the root where the frame goes: in its VLAN, if not all are in that.
    pub(super) fn root_gate<'f>(&mut self, class: FloodClass, floods: &'f Floods) -> &'f FloodGate {
        let vlan = FrameVlan::of(&Headers::parse(&self.frame), &self.frame);
        let names = self.handle.names();
        let Flooded { reached, blocked, elsewhere } =
            names.map_or_else(Flooded::default, |names| names.flooded(vlan));
        if elsewhere == 0 {
            return &floods.root_gate;
        }
        if let Some(budget) = floods.root.of(class) {
            let left = floods.root_gate.left(class, budget, clock::now());
            let (there, all) = (reached + blocked, reached + blocked + elsewhere);
            let text = format!(
                "{class} in all VLANs: {left} of {} left; one in this takes {there}/{all} of a frame",
                budget.burst
            );
            self.note("budget", text);
        }
        floods.vlan_gates.of(vlan)
    }

    /// Whether the budget of a class holds the frame back.
    pub(super) fn budget(
        &mut self,
        gate: &FloodGate,
        class: FloodClass,
        budget: Option<Budget>,
    ) -> Option<TraceVerdict> {
        let Some(budget) = budget else {
            self.note("budget", format!("{class}: any number"));
            return None;
        };
        let (left, Budget { rate, burst }) = (gate.left(class, budget, clock::now()), budget);
        self.note("budget", format!("{class}: {left} of {burst} left, {rate} more a second"));
        (left == 0).then(|| counted(Counter::over_budget(class)))
    }
}
