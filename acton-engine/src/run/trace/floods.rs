//! Where a frame goes that is for everybody or for a group, and whether the budgets let it.

use acton_bridge::{
    Asked, Budget, BumKind, FloodClass, FrameVlan, GroupMessage, GroupRoute, Owner,
};
use acton_frame::Headers;

use super::{MAX_NAMED, TraceVerdict, Tracing, counted};
use crate::floods::gate::FloodGate;
use crate::floods::shared::Floods;
use crate::observe::counters::Counter;
use crate::run::clock;
use crate::sessions::group_audience::GroupAudience;
use crate::sessions::names::Flooded;
use crate::sessions::port::LeafId;
use crate::sessions::vlan_members::{FEW, Reach};

impl Tracing<'_> {
    /// Where a frame of these classes from the TAP goes for a multicast group, where that is not to everybody.
    pub(super) fn reach_group(
        &mut self,
        kind: BumKind,
        classes: &[FloodClass],
        floods: &Floods,
    ) -> Option<TraceVerdict> {
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
        let members = &floods.vlan_members;
        let wide = floods.are_by_vlan().then(|| &**members.wide());
        let mut receivers = GroupAudience::new(receivers?, wide);
        let vlan = FrameVlan::of(&headers, &self.frame);
        if members.reach(vlan).wide > 0
            && receivers.has_wide()
            && let Some(class) = self.over_for_wide(classes, floods)
        {
            let few = receivers.few(members.wide());
            self.note_missed(receivers.count() - few.count());
            if few.count() == 0 {
                return Some(counted(Counter::over_budget(class)));
            }
            receivers = few;
        }
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

    /// Where a frame goes that is for everybody in its VLAN, of classes that have budgets.
    pub(super) fn reach_all(&mut self, classes: &[FloodClass]) -> TraceVerdict {
        let (_, Flooded { reached: mut flooded, wide, blocked, elsewhere }) = self.flooded();
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
        let by_vlan = self.handle.floods().filter(|floods| wide > 0 && floods.are_by_vlan());
        if let Some(class) = by_vlan.and_then(|floods| self.over_for_wide(classes, floods)) {
            self.note_missed(wide);
            flooded -= wide;
            if flooded == 0 {
                return counted(Counter::over_budget(class));
            }
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

    /// The class, if any, of which sessions in many VLANs, who else would get the frame, had what there is for
    /// them.
    fn over_for_wide(&mut self, classes: &[FloodClass], floods: &Floods) -> Option<FloodClass> {
        classes.iter().copied().find(|&class| {
            let Some(budget) = floods.root.of(class) else { return false };
            let left = floods.vlan_gates.left_of_wide(class, budget, clock::now());
            let burst = budget.burst;
            let whose = format!("sessions in more than {FEW} VLANs, or in all");
            self.note("budget", format!("{class} for {whose}: {left} of {burst} left"));
            left == 0
        })
    }

    fn note_missed(&mut self, sessions: usize) {
        let text = match sessions {
            1 => "1 session misses it".to_owned(),
            _ => format!("{sessions} sessions miss it"),
        };
        self.note("budget", text);
    }

    /// The VLAN of the frame, and who gets what is flooded there.
    fn flooded(&self) -> (FrameVlan, Flooded) {
        let vlan = FrameVlan::of(&Headers::parse(&self.frame), &self.frame);
        let names = self.handle.names();
        (vlan, names.map_or_else(Flooded::default, |names| names.flooded(vlan)))
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

    /// Whether a budget holds the frame back, as `budget` says of each: that of its class, or of what nobody is
    /// known to answer.
    pub(super) fn budgets(
        &mut self,
        class: FloodClass,
        asked: Asked<LeafId>,
        mut budget: impl FnMut(&mut Self, FloodClass) -> Option<TraceVerdict>,
    ) -> Option<TraceVerdict> {
        if asked == Asked::Everybody {
            self.note("neighbour", "nobody is known to have the address, or two tell of it");
            let over = budget(self, FloodClass::Unresolved);
            if over.is_some() {
                return over;
            }
        }
        budget(self, class)
    }

    /// Whether the root's budget of a class holds the frame back: in its VLAN, if not all are in that, or in all.
    pub(super) fn root_budget(
        &mut self,
        class: FloodClass,
        floods: &Floods,
        is_for_one: bool,
    ) -> Option<TraceVerdict> {
        let (gate, budget) = (&floods.root_gate, floods.root.of(class));
        let Some(some) = budget.filter(|_| floods.are_by_vlan()) else {
            return self.budget(gate, class, budget);
        };
        let (vlan, Flooded { reached, blocked, elsewhere, .. }) = self.flooded();
        let reach = if is_for_one { Reach::ONE } else { floods.vlan_members.reach(vlan) };
        let all = reached + blocked + elsewhere;
        let now = clock::now();
        let part @ (there, whole) = floods.vlan_gates.part((reach, all), class, 1, budget, now);
        let over = if there == whole {
            self.budget(gate, class, budget)
        } else {
            let left = gate.left(class, some, now);
            let text = format!(
                "{class} in all VLANs: {left} of {} left; one in this takes {there}/{whole} of a frame",
                some.burst
            );
            self.note("budget", text);
            (!gate.has_part(class, some, part, now)).then(|| counted(Counter::over_budget(class)))
        };
        if over.is_some() || !reach.has_budget(all) {
            return over;
        }
        self.budget(floods.vlan_gates.of(vlan), class, budget)
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
