//! How the sessions are, for who asks.

use std::hash::Hash;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::HeldNet;
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::Roster;
use crate::observe::status::{LeaseReport, LoopReport, PolicyReport, Report, SessionStatus};
use crate::sessions::circuits::circuit_report;
use crate::sessions::port::slot;
use crate::sessions::session::{Session, SessionMode};

impl<K, M> Roster<K, M>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    /// How the sessions in these slots are, as far as both modes know; the mode adds what it knows,
    /// also clients with whom one is being agreed on. These come with the last slots, as do sessions
    /// that are over. What went through those that are open is to be [added up](Report::add_up).
    pub(crate) fn report(
        &self,
        now: Duration,
        slots: &Range<usize>,
        mut add: impl FnMut(&Session<M>, &mut SessionStatus),
        handshakes: impl Iterator<Item = (M::Client, SessionStatus)>,
    ) -> Report {
        let budgets_acting = self.floods.root_gate.acting(now);
        let mut report = Report { budgets_acting, ..Report::default() };
        let most = self.directory.len().min(slots.len());
        report.sessions.reserve(most);
        report.tallies.reserve(most);
        self.directory.for_each_in(slots.clone(), |session| {
            let mut status = SessionStatus::new(session.name.to_string());
            M::identify(&session.mode.client(), &mut status);
            status.address = Some(session.mode.address());
            status.number = Some(slot(session.port));
            status.port = Some(session.port);
            status.budgets_acting = session.gate.acting(now);
            status.policy = Some(self.policy_report(session, now));
            let held = self.watch.as_ref().and_then(|watch| watch.held(now, session.port));
            status.loop_found = held.map(|held| LoopReport {
                with: Some(self.joined_with(held.with)),
                found_ago: held.since,
                opens_in: Some(held.opens_in),
            });
            status.session_for = Some(now.saturating_sub(session.since));
            add(session, &mut status);
            report.sessions.push(status);
            report.tallies.push(Arc::clone(&session.tallies));
            ControlFlow::Continue(())
        });
        report.more = self.directory.may_go_on(slots.end);
        if report.more {
            return report;
        }
        report.traffic.add(&self.past_traffic);
        let mut joining = HashSet::<_, RandomState>::default();
        for (client, mut status) in handshakes {
            M::identify(&client, &mut status);
            joining.insert(client);
            report.sessions.push(status);
        }
        for past in self.past.iter().filter(|past| !joining.contains(&past.client)) {
            let mut status = past.status(now);
            M::identify(&past.client, &mut status);
            report.sessions.push(status);
        }
        report
    }

    fn policy_report(&self, session: &Session<M>, now: Duration) -> PolicyReport {
        let policy = session.policy.policy();
        // Those that its policy does not go by are kept for one that does.
        let leases = session.policy.learns().then(|| session.policing.leases.list(now));
        PolicyReport {
            guarded: self.floods.are_guarding(&session.policy),
            ethertypes: policy.ethertypes.clone(),
            sources: policy.sources.clone(),
            leases: leases
                .into_iter()
                .flatten()
                .map(|HeldNet { vlan, net, from, left }| {
                    let is_prefix = net.prefix_len() < net.max_prefix_len();
                    let prefix_len = is_prefix.then_some(net.prefix_len());
                    LeaseReport { vlan, address: net.addr(), prefix_len, from, left }
                })
                .collect(),
            vlans: policy.vlans.clone(),
            rate_in: policy.rate_in,
            rate_out: policy.rate_out,
            circuit: policy.circuit.as_ref().map(|circuit| circuit_report(circuit, &session.name)),
            // Whose MACs are whose is not the roster's to know.
            own_macs: Vec::new(),
            shared_macs: Vec::new(),
            strict: false,
            acting: session.policing.acting(now),
            acted: session.policing.acted(now),
        }
    }
}
