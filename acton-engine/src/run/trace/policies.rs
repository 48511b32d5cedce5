//! What a client's policy has against a frame.

use acton_bridge::{Finding, LeafFacts, Objection, Policer, Rate};
use acton_frame::Headers;

use super::{TraceStep, TraceVerdict, Tracing, counted};
use crate::observe::counters::Counter;
use crate::run::clock;
use crate::sessions::policing::PolicyReason;
use crate::sessions::port::LeafId;
use crate::sessions::router::is_from_root;

impl Tracing<'_> {
    /// Whether a client's policy has anything against the frame.
    pub(super) fn policy(&mut self, port: LeafId) -> Option<TraceVerdict> {
        let (policy, policing) = self.handle.names()?.policing(port)?;
        let floods = self.handle.floods()?;
        let (headers, now) = (Headers::parse(&self.frame), clock::now());
        let bridge = self.handle.bridge()?;
        let own = (port, &policing.leases);
        let is_elsewhere = |vlan, address| floods.is_others(bridge, own, (vlan, address), now);
        let leaf = LeafFacts {
            is_guarded: floods.are_guarding(&policy),
            leases: &policing.leases,
            advertised: &floods.advertised,
            is_elsewhere: &is_elsewhere,
            root_addresses: &floods.root_addresses,
        };
        let (findings, objection) = policy.explain(&leaf, &headers, &self.frame, now);
        for finding in findings {
            self.note_finding(&finding);
        }
        let Some(objection) = objection else {
            let is_tagged = policy.vlans().is_some_and(|vlans| !vlans.is_untagged());
            if is_tagged && floods.pairs.find(&headers, &self.frame).is_some() {
                self.note("vlan", "the two tags are another client's alone");
                return Some(counted(Counter::Vlan));
            }
            return self.circuit(port, &policy, &headers);
        };
        let prober = floods.prober.as_ref();
        if objection == Objection::EtherType
            && prober.is_some_and(|prober| prober.may_pass(&headers, &self.frame))
        {
            self.note("loop", "a probe for loops passes");
            return None;
        }
        if objection == Objection::Gateway && is_from_root(bridge, &headers, now) {
            self.note(
                "loop",
                "its MAC is the root's, so that it may have come back: the bridge decides",
            );
            return None;
        }
        Some(counted(PolicyReason::Objection(objection).counter()))
    }

    fn note_finding(&mut self, finding: &Finding) {
        let text = finding.to_string();
        let (stage, text) = text.split_once(": ").unwrap_or(("policy", &text));
        self.steps.push(TraceStep { stage: stage.to_owned().into(), text: text.to_owned() });
    }

    /// Whether the frame, which is sent to a client, is in none of its VLANs.
    pub(super) fn is_elsewhere(&mut self, port: LeafId) -> bool {
        let policing = self.handle.names().and_then(|names| names.policing(port));
        let Some((policy, _)) = policing else { return false };
        let Some(vlans) = policy.vlans() else { return false };
        let for_leaf = vlans.for_leaf(&Headers::parse(&self.frame), &self.frame);
        self.note_finding(&Finding::ForLeaf(for_leaf));
        for_leaf.is_none()
    }

    /// Whether a client sends more than its policy lets pass.
    pub(super) fn rate_in(&mut self, port: LeafId) -> Option<TraceVerdict> {
        let (policy, policing) = self.handle.names()?.policing(port)?;
        let rate = policy.policy().rate_in?;
        self.rate(&rate, &policing.inbound).then(|| counted(Counter::OverRateIn))
    }

    /// Whether a client gets more than its policy lets pass.
    pub(super) fn rate_out(&mut self, port: LeafId) -> Option<TraceVerdict> {
        let (policy, policing) = self.handle.names()?.policing(port)?;
        let rate = policy.policy().rate_out?;
        self.rate(&rate, &policing.outbound).then(|| counted(Counter::OverRateOut))
    }

    /// Whether nothing is left of a rate for the frame.
    fn rate(&mut self, rate: &Rate, policer: &Policer) -> bool {
        let now = clock::now();
        let (bytes, frames) = policer.left(rate, now);
        if let Some(left) = bytes {
            let burst = rate.burst_bytes;
            self.note("rate", format!("{left} of {burst} bytes left, {rate}"));
        }
        if let Some(left) = frames {
            let burst = rate.burst_frames;
            self.note("rate", format!("{left} of {burst} frames left, {rate}"));
        }
        let admits = policer.would_admit(rate, 1, self.frame.len(), now);
        if admits && bytes == Some(0) {
            self.note("rate", "a small frame, for which there is a part of the rate");
        }
        !admits
    }
}
