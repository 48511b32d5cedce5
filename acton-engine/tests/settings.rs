//! Settings and rules of tunnels that run: how they go in, change and come out again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{
    Admission, Admit, Client, ClientPolicy, EndReason, EventKind, Handle, IpNet, IsolationOptions,
    IsolationPart, IsolationVerdict, Key, MacAddr, Server, ServerMode, SessionStatus, Settings,
    State, TraceVerdict,
};
use support::{HANG, World, next, until};

/// Rules under which everybody gets in, by the names that the test gives from time to time.
#[derive(Debug, Clone, Default)]
struct Named(Arc<Mutex<VecDeque<&'static str>>>);

#[derive(Debug)]
struct EverybodyIs(&'static str);

impl Admit for EverybodyIs {
    fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
        let mut policy = ClientPolicy::default();
        policy.name = Some(self.0.to_owned());
        Some(Arc::new(policy))
    }
}

impl Admission for Named {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(EverybodyIs("nobody yet"))
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        let name = self.0.lock().unwrap().pop_front()?;
        Some(Ok(Arc::new(EverybodyIs(name))))
    }
}

/// Rules that ask the tunnel about itself, which cannot answer while it asks them, and then stop it;
/// where they look for others they have time to wait.
#[derive(Debug, Clone, Default)]
struct Curious(Arc<OnceLock<Handle>>);

impl Admit for Curious {
    fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
        let handle = self.0.get()?;
        assert!(handle.apply(handle.settings()).is_err_and(|error| !error.is_setting()));
        assert!(handle.status().sessions.is_empty());
        handle.reload();
        handle.stop();
        None
    }
}

impl Admission for Curious {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(self.clone())
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        let handle = self.0.get()?;
        match handle.apply(handle.settings()) {
            Ok(_) => None,
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

fn new_settings_are_taken_as_far_as_they_can_be() {
    let world = World::new();
    let builder = world.secure_server();
    let mut settings = builder.settings();
    let server = world.server.run(|| builder.start().unwrap());
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&server, |session| session.state == State::Up);
    let applied = server.apply(Settings::Server(settings.clone())).unwrap();
    assert_eq!((applied.taken.len(), applied.needs_restart.len()), (0, 0));
    settings.max_sessions = 7;
    settings.common.tap.addresses = vec!["10.9.0.99/24".parse().unwrap()];
    settings.common.tap.mac = Some("02:00:00:00:00:99".parse().unwrap());
    settings.workers = Some(9);
    let foretold = server.settings().compare(&Settings::Server(settings.clone())).unwrap();
    let applied = server.apply(Settings::Server(settings.clone())).unwrap();
    assert_eq!(applied, foretold);
    assert_eq!(applied.taken, ["common.tap.addresses", "max_sessions"]);
    assert_eq!(applied.needs_restart, ["common.tap.mac", "workers"]);
    let told = next(&mut server.events(0), |it| matches!(it, EventKind::SettingsApplied { .. }));
    let (taken, needs_restart) = (applied.taken, applied.needs_restart);
    assert_eq!(told.kind, EventKind::SettingsApplied { taken, needs_restart });
    let addresses = world.server.run(|| testbed::sh("ip -br addr show dev lan"));
    assert!(
        addresses.contains("10.9.0.99/24") && !addresses.contains("10.9.0.1/24"),
        "{addresses}"
    );
    // What was taken is in force, and said once.
    let applied = server.apply(Settings::Server(settings)).unwrap();
    assert_eq!((applied.taken.len(), applied.needs_restart.len()), (0, 2));
    for (sessions, keepalive) in [(100_000, None), (7, Some(Duration::ZERO))] {
        let mut wrong = world.secure_server().settings();
        (wrong.max_sessions, wrong.common.keepalive) = (sessions, keepalive);
        assert!(server.apply(Settings::Server(wrong)).unwrap_err().is_setting());
    }
    let of_client = Settings::Client(world.secure_client().settings());
    assert!(server.apply(of_client.clone()).is_err(), "the other end's");
    let plain = Settings::Server(Server::plain().settings());
    assert!(server.apply(plain).is_err(), "the other mode's");
    assert_eq!(client.apply(of_client).unwrap(), acton_engine::Applied::default());
    until(&server, |session| session.state == State::Up);
}

fn who_may_use_a_mac_changes_while_sessions_go_on() {
    let world = World::new();
    let (server, _client) = world.connected();
    let Settings::Server(mut settings) = server.settings() else { panic!("a server's") };
    let session = server.status().sessions[0].number.unwrap().to_string();
    let printer = MacAddr(2, 0, 0, 0, 0, 0x77);
    let frame = [&[0xff; 6][..], &printer.octets(), &[0x88, 0xb5], &[0; 46]].concat();
    let verdict = || server.trace(Some(&session), &frame).unwrap().verdict;
    assert_eq!(verdict(), TraceVerdict::Tap);
    settings.protected_macs = vec![printer];
    settings.mac_hold = Some(Duration::from_secs(5));
    settings.shared_macs = vec!["00:00:5e:00:01:00/40".parse().unwrap()];
    let applied = server.apply(Settings::Server(settings.clone())).unwrap();
    assert_eq!(applied.taken, ["protected_macs", "shared_macs", "mac_hold"]);
    assert_eq!(applied.needs_restart.len(), 0);
    // The thread that knows what lives at the root hears of it.
    let changes_to = |wanted: TraceVerdict| {
        let since = Instant::now();
        while verdict() != wanted {
            assert!(since.elapsed() < HANG, "{:?}", verdict());
            thread::sleep(Duration::from_millis(5));
        }
    };
    changes_to(TraceVerdict::Drop("source_protected".into()));
    settings.protected_macs.clear();
    server.apply(Settings::Server(settings)).unwrap();
    changes_to(TraceVerdict::Tap);
    until(&server, |session| session.state == State::Up && session.before.is_none());
}

fn what_the_system_refuses_changes_nothing() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let before = server.settings();
    let shown = || world.server.run(|| testbed::sh("ip -br addr show dev lan; ip link show lan"));
    let device = shown();
    let Settings::Server(mut settings) = before.clone() else { panic!("a server's") };
    settings.common.tap.mtu = 1_400;
    settings.common.tap.addresses = vec!["10.9.0.99/24".parse().unwrap()];
    settings.common.tap.bridge = Some("no-such".to_owned());
    settings.mac_ageing = Duration::from_secs(9);
    let error = server.apply(Settings::Server(settings.clone())).unwrap_err();
    assert!(error.to_string().contains("no-such"), "{error}");
    assert_eq!((server.settings(), shown()), (before.clone(), device));
    settings.common.tap.bridge = None;
    // An address that is refused when others are there already.
    let mut with_ipv6 = settings.clone();
    with_ipv6.common.tap.addresses.push("fd09::1/64".parse().unwrap());
    world.server.run(|| testbed::sh("sysctl -qw net.ipv6.conf.lan.disable_ipv6=1"));
    let device = shown();
    let error = server.apply(Settings::Server(with_ipv6)).unwrap_err();
    assert!(error.to_string().contains("fd09::1"), "{error}");
    assert_eq!((server.settings(), shown()), (before, device));
    let applied = server.apply(Settings::Server(settings.clone())).unwrap();
    assert_eq!(applied.taken, ["common.tap.addresses", "common.tap.mtu", "mac_ageing"]);
    assert!(shown().contains("mtu 1400"), "{}", shown());
    // The kernel takes IPv6 addresses away with an MTU below 1,280: they come back with the other.
    world.server.run(|| testbed::sh("sysctl -qw net.ipv6.conf.lan.disable_ipv6=0"));
    let mut with_ipv6 = settings.clone();
    with_ipv6.common.tap.addresses.push("fd09::1/64".parse().unwrap());
    server.apply(Settings::Server(with_ipv6.clone())).unwrap();
    assert!(shown().contains("fd09::1/64"), "{}", shown());
    (settings.common.tap.mtu, settings.common.tap.bridge) = (1_000, Some("no-such".to_owned()));
    assert!(server.apply(Settings::Server(settings)).is_err());
    assert!(shown().contains("mtu 1400") && shown().contains("fd09::1/64"), "{}", shown());
    with_ipv6.common.tap.mtu = 1_279;
    let error = server.apply(Settings::Server(with_ipv6)).unwrap_err();
    assert!(error.is_setting() && error.to_string().contains("1280"), "{error}");
}

fn both_ends_of_a_session_hear_of_another_mtu() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let client = world.client.run(|| world.secure_client().start().unwrap());
    let peer_mtu = |session: &SessionStatus| session.peer_mtu;
    until(&server, |session| session.state == State::Up && peer_mtu(session) == Some(1_500));
    let Settings::Client(mut settings) = client.settings() else { panic!("a client's") };
    settings.common.tap.mtu = 1_400;
    let applied = client.apply(Settings::Client(settings)).unwrap();
    assert_eq!(applied.taken, ["common.tap.mtu"]);
    // By a rekey at once: the session goes on.
    let session = until(&server, |session| peer_mtu(session) == Some(1_400));
    assert_eq!((session.state, session.before), (State::Up, None));
    let Settings::Server(mut settings) = server.settings() else { panic!("a server's") };
    settings.common.tap.mtu = 1_400;
    assert_eq!(server.apply(Settings::Server(settings)).unwrap().taken, ["common.tap.mtu"]);
    until(&client, |session| session.state == State::Up);
}

fn a_client_takes_part_in_tests_of_isolation_while_its_owner_lets_it() {
    let world = World::new();
    let server = world.server.run(|| world.secure_server().start().unwrap());
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&server, |session| session.state == State::Up);
    let part = || {
        let report = server.verify_isolation(&IsolationOptions::default()).unwrap();
        // It takes two to reach one another.
        assert_eq!((report.verdict, report.pairs), (IsolationVerdict::Unproved, 0));
        report.clients[0].part
    };
    assert_eq!(part(), IsolationPart::NotAllowed);
    for (allowed, answer) in [(true, IsolationPart::Agreed), (false, IsolationPart::NotAllowed)] {
        let Settings::Client(mut settings) = client.settings() else { panic!("a client's") };
        settings.allow_isolation_test = allowed;
        let applied = client.apply(Settings::Client(settings)).unwrap();
        assert_eq!(applied.taken, ["allow_isolation_test"]);
        assert_eq!(part(), answer);
    }
    assert!(client.verify_isolation(&IsolationOptions::default()).is_err());
}

fn settings_go_in_whole_and_come_out_again() {
    let world = World::new();
    let mut settings = world.secure_server().settings();
    settings.common.keepalive = Some(Duration::from_secs(7));
    settings.workers = Some(1);
    let of_server = Settings::Server(settings.clone());
    let builder = world.secure_server().with_settings(settings.clone()).unwrap();
    let server = world.server.run(|| builder.start().unwrap());
    assert_eq!(server.settings(), of_server);
    assert!(Server::plain().with_settings(settings).is_err_and(|error| error.is_setting()));
    let settings = world.secure_client().settings();
    assert!(Client::plain(World::name()).with_settings(settings.clone()).is_err());
    let client = world.secure_client().with_settings(settings.clone()).unwrap();
    let client = world.client.run(|| client.start().unwrap());
    assert_eq!(client.settings(), Settings::Client(settings));
    // What needs a restart does not hold.
    let mut other = world.secure_server().settings();
    (other.workers, other.common.keepalive) = (Some(2), Some(Duration::from_secs(8)));
    server.apply(Settings::Server(other.clone())).unwrap();
    other.workers = Some(1);
    assert_eq!(server.settings(), Settings::Server(other));
}

fn a_client_that_is_called_otherwise_has_its_session_called_so() {
    let world = World::new();
    let names = Named::default();
    let server =
        world.server.run(|| world.secure_server().admission(names.clone()).start().unwrap());
    names.0.lock().unwrap().push_back("laptop");
    let client = world.client.run(|| world.secure_client().start().unwrap());
    until(&server, |session| session.state == State::Up && session.name == "laptop");
    names.0.lock().unwrap().push_back("notebook");
    let session = until(&server, |session| session.name == "notebook");
    assert_eq!((session.state, session.before), (State::Up, None));
    drop(client);
    let down = next(&mut server.events(0), |it| matches!(it, EventKind::SessionDown { .. }));
    let EventKind::SessionDown { client, .. } = &down.kind else { panic!("{down:?}") };
    assert_eq!(client, "notebook");
}

fn a_source_that_is_not_allowed_any_more_is_out() {
    let world = World::new();
    let server = world.server.run(|| {
        // Nobody is there: its session never ends.
        let server = Server::plain().tap(World::tap(1)).peers(["192.0.2.9:9".parse().unwrap()]);
        server.start().unwrap()
    });
    let client = world.client.run(|| {
        let client = Client::plain(World::name()).tap(World::tap(2));
        client.keepalive(Duration::from_secs(1)).start().unwrap()
    });
    until(&client, |session| session.state == State::Up);
    let Settings::Server(mut settings) = server.settings() else { panic!("a server's") };
    let mut allow = |net: &str| {
        let ServerMode::Plain(plain) = &mut settings.mode else { panic!("plain") };
        plain.allow = vec![net.parse::<IpNet>().unwrap()];
        let applied = server.apply(Settings::Server(settings.clone())).unwrap();
        assert_eq!(applied.taken, ["mode.plain.allow"]);
        assert_eq!(server.settings(), Settings::Server(settings.clone()));
    };
    let is_client = |session: &SessionStatus| session.address.unwrap().ip() == World::client_ip();
    allow("192.0.2.0/30");
    until(&server, |session| is_client(session) && session.state == State::Up);
    allow("198.51.100.0/24");
    let gone = until(&server, |session| is_client(session) && session.state == State::Closed);
    assert_eq!(gone.reason, Some(EndReason::Removed));
    until(&server, |session| !is_client(session) && session.state == State::Quiet);
    until(&client, |session| session.state == State::Lost);
    // It is heard again as soon as it is allowed again.
    allow("192.0.2.2/32");
    until(&client, |session| session.state == State::Up);
}

fn what_runs_on_the_control_thread_cannot_wait_for_itself() {
    let world = World::new();
    let curious = Curious::default();
    let server =
        world.server.run(|| world.secure_server().admission(curious.clone()).start().unwrap());
    curious.0.set(server.handle()).unwrap();
    let mut events = server.events(0);
    let _client = world.client.run(|| world.secure_client().start().unwrap());
    server.wait().unwrap();
    while let Some(event) = events.try_next() {
        assert!(!matches!(event.kind, EventKind::ListFailed { .. }), "{event:?}");
    }
}

fn a_tap_goes_from_one_bridge_to_another() {
    let world = World::new();
    world.server.run(|| testbed::sh("ip link add br0 type bridge; ip link add br1 type bridge"));
    let mut tap = World::tap(1);
    tap.bridge = Some("br0".to_owned());
    let builder = world.secure_server().tap(tap);
    let mut settings = builder.settings();
    let server = world.server.run(|| builder.start().unwrap());
    for bridge in [Some("br1".to_owned()), None, Some("br0".to_owned())] {
        settings.common.tap.bridge.clone_from(&bridge);
        let applied = server.apply(Settings::Server(settings.clone())).unwrap();
        assert_eq!(
            (applied.taken, server.status().tap.bridge),
            (vec!["common.tap.bridge"], bridge)
        );
    }
}

testbed::main! {
    new_settings_are_taken_as_far_as_they_can_be,
    settings_go_in_whole_and_come_out_again,
    who_may_use_a_mac_changes_while_sessions_go_on,
    what_the_system_refuses_changes_nothing,
    both_ends_of_a_session_hear_of_another_mtu,
    a_client_takes_part_in_tests_of_isolation_while_its_owner_lets_it,
    a_client_that_is_called_otherwise_has_its_session_called_so,
    a_source_that_is_not_allowed_any_more_is_out,
    what_runs_on_the_control_thread_cannot_wait_for_itself,
    a_tap_goes_from_one_bridge_to_another,
}
