//! Who gets in changes while a server runs, by rules that take their time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use acton_engine::{
    Admission, Admit, Client, ClientKeys, ClientPolicy, EndReason, EventKind, Events, Running,
    Server, ServerKeys, TapSettings,
};
use acton_netns::{Namespace, Veth, veth};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::wire::Key;
use pnet_base::MacAddr;

/// How long a wait may take before the test is called hung. No measure of anything.
const HANG: Duration = Duration::from_secs(180);
/// MACs of a long list: more than a control thread keeps at one turn, and than this server has room
/// for.
const MACS: u32 = 10_000;
/// MACs that it has room for.
const FEW: u32 = 400;

/// Rules that name clients.
#[derive(Debug, Clone)]
struct Named(Vec<(Key, Arc<ClientPolicy>)>);

impl Named {
    fn new(key: Key, macs: impl IntoIterator<Item = MacAddr>) -> Self {
        let mut policy = ClientPolicy::default();
        policy.macs.extend(macs);
        Self(vec![(key, Arc::new(policy))])
    }
}

impl Admit for Named {
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>> {
        self.0.iter().find(|(key, _)| key == client).map(|(_, policy)| Arc::clone(policy))
    }

    fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
        self.0.clone()
    }

    fn clients(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// Rules that come when the test says so, and not before.
#[derive(Debug)]
struct Slow {
    now: Named,
    looking: Sender<()>,
    next: Receiver<Result<Named, String>>,
}

impl Admission for Slow {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(self.now.clone())
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        self.looking.send(()).ok()?;
        Some(self.next.recv().ok()?.map(|rules| Arc::new(rules) as Arc<dyn Admit>))
    }
}

/// A server whose rules the test has in its hand, and a client that they admit.
struct World {
    server: Running,
    _client: Running,
    key: Key,
    looking: Receiver<()>,
    next: Sender<Result<Named, String>>,
    events: Events,
}

impl World {
    fn new() -> Self {
        let (here, there) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        veth(&here, "cable", &there, "cable", &Veth::new()).unwrap();
        for (host, last) in [(&here, 1), (&there, 2)] {
            host.add_address("cable", Ipv4Addr::new(192, 0, 2, last).into(), 24).unwrap();
        }
        let [server_key, client_key] = [(); 2].map(|()| Secret::generate(&mut SystemRandom));
        let key = public_key(&client_key);
        let (told, looking) = mpsc::channel();
        let (next, rules) = mpsc::channel();
        let admission = Slow { now: Named::new(key, []), looking: told, next: rules };
        let name = SocketAddr::new(IpAddr::from([192, 0, 2, 1]), 8080).into();
        let keys = ClientKeys {
            private_key: client_key,
            server_key: public_key(&server_key),
            network_key: None,
            psk: None,
        };
        let keys_of_server = ServerKeys { private_key: server_key, network_key: None };
        let server = Server::secure(keys_of_server).admission(admission);
        let server = here.run(|| server.tap(TapSettings::new("lan")).start().unwrap());
        let client = Client::secure(name, keys).tap(TapSettings::new("lan"));
        let client = there.run(|| client.start().unwrap());
        let events = server.events(0);
        let mut world = Self { server, _client: client, key, looking, next, events };
        world.next(|kind| matches!(kind, EventKind::SessionUp { .. }));
        world
    }

    /// The next event that is one of those wanted.
    #[track_caller]
    fn next(&mut self, wanted: impl Fn(&EventKind) -> bool) {
        let since = Instant::now();
        while let Some(event) = self.events.next_within(HANG) {
            if wanted(&event.kind) {
                return;
            }
            assert!(since.elapsed() < HANG, "last seen: {event:?}");
        }
        panic!("no such event came");
    }
}

fn the_control_thread_answers_while_a_list_is_read() {
    let mut world = World::new();
    world.looking.recv_timeout(HANG).unwrap();
    // The look does not end before the test says so.
    assert_eq!(world.server.status().sessions.len(), 1);
    world.server.handle().reload();
    assert_eq!(world.server.status().sessions.len(), 1);
    world.next.send(Err("half of a list".to_owned())).unwrap();
    world.next(|kind| matches!(kind, EventKind::ListFailed { error, no_list: false } if error == "half of a list"));
    let list_error = |world: &World| world.server.status().bridge.and_then(|it| it.list_error);
    assert_eq!(list_error(&world).as_deref(), Some("half of a list"));
    world.looking.recv_timeout(HANG).unwrap();
    world.next.send(Ok(Named(Vec::new()))).unwrap();
    world.next(|kind| matches!(kind, EventKind::ListRead { clients: 0 }));
    assert_eq!(list_error(&world), None);
    world.next(|kind| matches!(kind, EventKind::SessionDown { reason: EndReason::Removed, .. }));
}

fn every_mac_of_a_long_list_is_followed() {
    let mut world = World::new();
    let key = world.key;
    let mac = |number: u32| {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr(2, 1, a, b, c, d)
    };
    let client_macs = |world: &World| {
        let sessions = world.server.status().sessions;
        let macs = sessions.iter().flat_map(|session| &session.macs);
        // Beside that of the client's own TAP.
        macs.filter(|report| (report.mac.0, report.mac.1) == (2, 1)).count() as u32
    };
    let mut follow = |macs: std::ops::Range<u32>, kept: Option<u32>| {
        world.next.send(Ok(Named::new(key, macs.map(mac)))).unwrap();
        world.next(|kind| matches!(kind, EventKind::ListRead { clients: 1 }));
        let since = Instant::now();
        while kept.is_some_and(|kept| client_macs(&world) != kept) {
            assert!(since.elapsed() < HANG, "{} of {kept:?} are kept", client_macs(&world));
        }
    };
    follow(0..FEW, Some(FEW));
    follow(FEW / 2..FEW, Some(FEW / 2));
    // For so many this server has no room; then come others, while those are still being followed.
    follow(0..MACS, None);
    follow(MACS..MACS + FEW, Some(FEW));
    follow(0..0, Some(0));
    let mut events = world.server.events(0);
    while !matches!(events.try_next().unwrap().kind, EventKind::MacNotKept { .. }) {}
}

testbed::main! {
    the_control_thread_answers_while_a_list_is_read,
    every_mac_of_a_long_list_is_followed,
}
