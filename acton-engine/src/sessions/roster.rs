//! What the control threads of both servers do alike: open sessions, close them, and have the bridge
//! and everybody who asks follow.

mod leases;
mod loops;
mod news;
mod report;

use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{Bridge, CompiledPolicy, Leases, Owner, TagPair, Vlans};
use acton_udp::Destination;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

use crate::Error;
use crate::floods::gate::FloodGate;
use crate::floods::server_watch::ServerWatch;
use crate::floods::shared::Floods;
use crate::observe::counters::Counters;
use crate::observe::event::{Beginning, EndReason, EventKind, Place};
use crate::observe::event_log::EventLog;
use crate::observe::tally::{Tallies, Traffic};
use crate::root::{Named, RootWatch};
use crate::sessions::admission::ClientPolicy;
use crate::sessions::directory::Directory;
use crate::sessions::housekeeping::Housekeeping;
use crate::sessions::names::SessionNames;
use crate::sessions::past::{EndedSession, PastSessions};
use crate::sessions::policing::Policing;
use crate::sessions::port::{LeafId, Ports, slot};
use crate::sessions::session::{Session, SessionMode};
use crate::settings::ServerSettings;

/// Clients that are asked at a turn which groups they want.
const GROUP_ASKS_A_TURN: usize = 64;

/// The sessions of a server, as its control thread has them.
pub(crate) struct Roster<K, M: SessionMode> {
    directory: Arc<Directory<K, Session<M>>>,
    bridge: Arc<Bridge<LeafId>>,
    floods: Arc<Floods>,
    /// `None` where nobody looks for loops.
    watch: Option<ServerWatch>,
    events: Arc<EventLog>,
    housekeeping: Housekeeping,
    ports: Ports,
    past: PastSessions<M::Client>,
    /// What clients that have gone were given: they come back with it.
    kept_leases: HashMap<M::Client, Arc<Leases>, RandomState>,
    /// What went through sessions that are over.
    past_traffic: Traffic,
    /// Threads that count: this one and the workers.
    threads: usize,
    /// For as long as there are sessions.
    root: RootWatch,
}

/// A session that begins.
pub(crate) struct Opening<M> {
    /// The number that the protocol gives it.
    pub(crate) slot: usize,
    /// What operators call the client.
    pub(crate) name: Arc<str>,
    pub(crate) address: SocketAddr,
    /// Where datagrams go; the tag is set by the roster.
    pub(crate) to: Destination,
    pub(crate) by: Beginning,
    /// What frames it may send and get.
    pub(crate) policy: Arc<CompiledPolicy>,
    pub(crate) mode: M,
}

impl<K, M> Roster<K, M>
where
    K: Copy + Eq + Hash + Send + Sync,
    M: SessionMode + Send + Sync,
{
    pub(crate) fn new(
        directory: Arc<Directory<K, Session<M>>>,
        bridge: Arc<Bridge<LeafId>>,
        floods: Arc<Floods>,
        events: Arc<EventLog>,
        workers: Vec<Arc<Counters>>,
        root: RootWatch,
        now: Duration,
    ) -> Self {
        let threads = 1 + workers.len();
        let housekeeping = Housekeeping::new(
            Arc::clone(&bridge),
            Arc::clone(&floods),
            Arc::clone(&events),
            workers,
            now,
        );
        Self {
            directory,
            bridge,
            floods,
            watch: None,
            events,
            housekeeping,
            ports: Ports::default(),
            past: PastSessions::new(),
            kept_leases: HashMap::default(),
            past_traffic: Traffic::default(),
            threads,
            root,
        }
    }

    /// The same, that looks for loops where there is a watch.
    pub(crate) fn with_watch(mut self, watch: Option<ServerWatch>) -> Self {
        self.watch = watch;
        self
    }

    pub(crate) fn directory(&self) -> &Directory<K, Session<M>> {
        &self.directory
    }

    /// The port of the session that took `slot` last.
    pub(crate) fn port(&self, slot: usize) -> LeafId {
        self.ports.current(slot)
    }

    /// The session in `slot`.
    pub(crate) fn session(&self, slot: usize) -> Option<Arc<Session<M>>> {
        self.directory.get(self.port(slot))
    }

    /// Tells an event.
    pub(crate) fn tell(&self, now: Duration, event: EventKind) {
        self.events.tell(now, event);
    }

    /// Notes that events of a kind were left out.
    pub(crate) fn add_suppressed(&self, kind: &'static str, events: u64) {
        self.events.add_suppressed(kind, events);
    }

    /// Opens a session and gives its port. Workers find it by that; the keys that lead to it are
    /// the mode's to bind.
    pub(crate) fn open(&mut self, now: Duration, opening: Opening<M>) -> LeafId {
        let Opening { slot, name, address, to, by, policy, mode } = opening;
        self.past.forget(&mode.client());
        let leases = self.kept_leases.remove(&mode.client()).unwrap_or_default();
        self.hold_leases(now, &policy, &leases);
        let port = self.ports.open(slot);
        let session = Session {
            port,
            name: Arc::clone(&name),
            to: Arc::new(to.tagged(port)),
            since: now,
            tallies: Arc::new(Tallies::new(self.threads)),
            gate: Arc::new(FloodGate::new()),
            policy: self.noted(policy),
            policing: Arc::new(Policing::new(leases)),
            mode,
        };
        self.begin_groups(now, port);
        let session = Arc::new(session);
        self.directory.put(Arc::clone(&session));
        self.begin_vlans(&session.policy, port);
        let (client, open) = (name.to_string(), self.directory.len());
        self.tell(now, EventKind::SessionUp { session: slot, client, address, by, open });
        if let Some(watch) = &mut self.watch {
            watch.client_up(now, port);
        }
        port
    }

    /// A policy that is in force from now on.
    pub(crate) fn noted(&self, policy: Arc<CompiledPolicy>) -> Arc<CompiledPolicy> {
        if policy.learns() {
            self.floods.set_learning();
        }
        if policy.vlans().is_some() {
            self.floods.set_by_vlan();
        }
        if policy.policy().circuit.is_some() {
            self.floods.set_naming_circuits();
        }
        policy
    }

    /// Puts a session into the place of the one with its port, and has the bridge forget what it knows of
    /// the client, rules and all, where its VLANs are others; whether they are.
    pub(crate) fn change(&mut self, now: Duration, session: Session<M>) -> bool {
        let port = session.port;
        let before = self.directory.read(port, |before| Arc::clone(&before.policy));
        let after = Arc::clone(&session.policy);
        let Some(before) = before.filter(|before| before.vlans() != after.vlans()) else {
            self.directory.put(Arc::new(session));
            return false;
        };
        self.end_vlans(&before, port);
        self.hold_leases(now, &after, &session.policing.leases);
        self.directory.put(Arc::new(session));
        self.begin_vlans(&after, port);
        self.housekeeping.forget(port, &self.root.port);
        self.begin_groups(now, port);
        true
    }

    /// A client whose hosts have not said here yet which multicast groups they want gets all until they
    /// were asked.
    fn begin_groups(&self, now: Duration, port: LeafId) {
        if self.floods.snooper.is_on() {
            self.floods.snooper.table.leaf_up(port, now);
        }
    }

    /// Has workers know that a client is in the VLANs of a policy.
    fn begin_vlans(&self, policy: &CompiledPolicy, port: LeafId) {
        self.floods.vlan_members.add(policy.vlans(), port);
        if let Some(pair) = policy.vlans().and_then(Vlans::pair) {
            self.floods.pairs.give(pair, port);
        }
    }

    /// Keeps these pairs of tags for the clients that the list gives them to, while these are away.
    pub(crate) fn keep_pairs(&self, pairs: impl IntoIterator<Item = TagPair>) {
        let pairs: Vec<_> = pairs.into_iter().collect();
        if !pairs.is_empty() {
            self.floods.set_by_vlan();
        }
        self.floods.pairs.keep(pairs);
    }

    /// Undoes [`begin_vlans`](Self::begin_vlans).
    fn end_vlans(&self, policy: &CompiledPolicy, port: LeafId) {
        self.floods.vlan_members.remove(policy.vlans(), port);
        if let Some(pair) = policy.vlans().and_then(Vlans::pair) {
            self.floods.pairs.take(pair, port);
        }
    }

    /// Closes the session in `slot`, whose keys the mode has unbound.
    pub(crate) fn close(&mut self, now: Duration, slot: usize, reason: EndReason) {
        let Some(policy) = self.directory.read(self.port(slot), |it| Arc::clone(&it.policy)) else {
            return;
        };
        self.end_vlans(&policy, self.port(slot));
        let Some(session) = self.directory.take(self.port(slot)) else { return };
        if let Some(watch) = &mut self.watch {
            watch.client_down(now, session.port);
            self.floods.set_blocked(watch.held_count());
        }
        self.keep_leases(now, session.mode.client(), &session.policing.leases);
        // Only now, when no worker learns from it any more.
        let macs = self.housekeeping.purge(session.port, &self.root.port);
        let traffic = session.tallies.sum();
        self.past_traffic.add(&traffic);
        let (client, address) = (session.mode.client(), session.mode.address());
        let name = Arc::clone(&session.name);
        self.past.add(EndedSession { client, name, address, traffic, at: now, reason });
        let (client, open) = (session.name.to_string(), self.directory.len());
        self.tell(now, EventKind::SessionDown { session: slot, client, reason, macs, open });
    }

    /// What operators called a client that has gone.
    pub(crate) fn past_name(&self, client: &M::Client) -> Option<&str> {
        Some(&*self.past.get(client)?.name)
    }

    /// When [`keep_house`](Self::keep_house) or [`next_probe`](Self::next_probe) has something to do.
    pub(crate) fn due(&self) -> Duration {
        let probes = self.watch.as_ref().map_or(Duration::MAX, ServerWatch::due);
        let asks = Some(&self.floods.snooper).filter(|snooper| snooper.is_on());
        let asks = asks.and_then(|snooper| snooper.table.ask_due()).unwrap_or(Duration::MAX);
        self.housekeeping.due().min(probes).min(asks)
    }

    /// Clients that are to be asked now which multicast groups they want, each with the frame that asks,
    /// from the MAC that `mac` gives. Some at a turn, so that the control thread hears others between.
    pub(crate) fn take_group_queries(
        &self,
        now: Duration,
        mac: impl FnOnce() -> Option<MacAddr>,
    ) -> Vec<(LeafId, Vec<u8>)> {
        let snooper = &self.floods.snooper;
        if !snooper.is_on() {
            return Vec::new();
        }
        let policy_of = |port| self.directory.read(port, |session| Arc::clone(&session.policy));
        snooper.take_queries(now, GROUP_ASKS_A_TURN, policy_of, mac)
    }

    /// Does what is due once a second.
    pub(crate) fn keep_house(&mut self, now: Duration) {
        self.housekeeping.run(now, &self.root.port);
    }

    fn place(&self, owner: Owner<LeafId>) -> Place {
        match owner {
            Owner::Root => Place::Root,
            Owner::Leaf(port) => Place::Session {
                session: slot(port),
                client: self.directory.read(port, |session| session.name.to_string()),
            },
        }
    }

    /// Has the bridge and the budgets follow new settings.
    pub(crate) fn follow(&self, settings: &ServerSettings) {
        self.floods.set_budgets(&settings.budgets);
        self.floods.set_guards(settings.guards);
        self.floods.snooper.set_on(settings.multicast_snooping);
        self.bridge.set_ageing(settings.mac_ageing);
        self.bridge.set_max_macs_per_leaf(settings.macs_per_client);
        self.bridge.set_move_hold(settings.mac_hold.unwrap_or(Duration::MAX));
        self.bridge.set_shared(settings.shared_macs.clone());
        self.root.set_named(Named::of(settings));
    }

    /// The port of a session by what operators may call it.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn find(&self, wanted: &str) -> Result<LeafId, Error> {
        SessionNames::find(&*self.directory, wanted)
            .ok_or_else(|| Error::NoSession(wanted.to_owned()))
    }

    /// Says that a MAC lives behind a client for as long as its session lasts.
    ///
    /// # Errors
    /// Where there is no such session, or a rule of the bridge forbids it.
    pub(crate) fn add_mac(&self, mac: MacAddr, vlan: u16, session: &str) -> Result<(), Error> {
        self.bridge.add_static(vlan, mac, self.find(session)?)?;
        Ok(())
    }

    /// Has the Linux bridge of the TAP know that a MAC is behind a client, heard of or not: in the VLAN
    /// that the client's frames without a tag are in, if it has such frames.
    pub(crate) fn announce(&self, mac: MacAddr, port: LeafId) {
        let vlan = |session: &Session<M>| match session.policy.vlans() {
            None => Some(0),
            Some(vlans) => vlans.place_of_untagged().map(|(outer, _)| outer),
        };
        if let Some(vlan) = self.directory.read(port, vlan).flatten() {
            self.root.port.note_here(mac, vlan);
        }
    }

    /// Has the bridge follow a client's policy on MACs behind it: how many there may be, which it takes
    /// from others, and whether it has others than those that are named.
    pub(crate) fn set_mac_rules(&self, port: LeafId, policy: &ClientPolicy) {
        self.bridge.set_leaf_limit(port, policy.max_macs);
        self.bridge.set_leaf_shared(port, &policy.shared_macs);
        self.bridge.set_leaf_strict(port, policy.strict);
    }
}
