//! What budgets let pass, and what they tell.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Budget, EventKind, FloodBudgets, Place, Running, Settings};
use acton_netns::Namespace;
use support::{HANG, World, next};

/// Sends broadcasts from a host on the LAN, so many at once and then as many again, so often.
fn broadcast(from: &Namespace, at_once: usize, times: usize, every: Duration) {
    let socket = from.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    socket.set_broadcast(true).unwrap();
    let start = Instant::now();
    for time in 0..times {
        thread::sleep((every * time as u32).saturating_sub(start.elapsed()));
        for _ in 0..at_once {
            socket.send_to(&[0; 100], "10.9.0.255:5001").unwrap();
        }
    }
}

/// How many broadcasts a server dropped for their budget.
fn dropped(server: &Running) -> u64 {
    server.totals().get("drop.budget_broadcast").unwrap()
}

/// Waits until the server dropped so many.
#[track_caller]
fn until_dropped(server: &Running, frames: u64) {
    let since = Instant::now();
    while dropped(server) < frames {
        assert!(since.elapsed() < HANG, "{} of {frames}", dropped(server));
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a budget for broadcasts begins to act.
#[track_caller]
fn acts(server: &Running, after: u64) -> Place {
    let acts = |kind: &EventKind| matches!(kind, EventKind::BudgetActs { class: "broadcast", .. });
    let event = next(&mut server.events(after), acts);
    let EventKind::BudgetActs { at, .. } = &event.kind else { unreachable!() };
    at.clone()
}

fn what_a_client_floods_has_a_budget() {
    let world = World::new();
    let mut budgets = FloodBudgets::default();
    budgets.client.broadcast = Some(Budget::new(1, 50));
    let (server, client) = world.connected_with(|server| server.budgets(budgets));
    broadcast(&world.client, 500, 1, Duration::ZERO);
    until_dropped(&server, 440);
    assert!(matches!(acts(&server, 0), Place::Session { session: 0, client: Some(_) }));
    let status = server.status();
    let session = &status.sessions[0];
    assert_eq!(session.budgets_acting, ["broadcast"]);
    assert!(session.traffic.drops["budget_broadcast"] >= 440, "{session:#?}");
    assert!(status.bridge.unwrap().budgets_acting.is_empty());
    // It is told once, and what else the client sends arrives.
    let mut events = server.events(0);
    let told = std::iter::from_fn(|| events.try_next());
    let told = told.filter(|event| matches!(event.kind, EventKind::BudgetActs { .. })).count();
    assert_eq!(told, 1);
    world.send(100, 1_000);
    // Another budget holds at once.
    let Settings::Server(mut settings) = server.settings() else { panic!("a server's") };
    settings.budgets.client.broadcast = None;
    let applied = server.apply(Settings::Server(settings)).unwrap();
    assert_eq!((applied.taken, applied.needs_restart.len()), (vec!["budgets"], 0));
    let before = dropped(&server);
    broadcast(&world.client, 500, 1, Duration::ZERO);
    world.send(1, 100);
    assert_eq!(dropped(&server), before);
    drop(client);
}

fn what_the_root_floods_has_a_budget() {
    let world = World::new();
    let mut budgets = FloodBudgets::default();
    budgets.root.broadcast = Some(Budget::new(1, 50));
    let (server, client) = world.connected_with(|server| server.budgets(budgets));
    broadcast(&world.server, 500, 1, Duration::ZERO);
    until_dropped(&server, 440);
    assert_eq!(acts(&server, 0), Place::Root);
    let status = server.status();
    assert_eq!(status.bridge.unwrap().budgets_acting, ["broadcast"]);
    assert!(status.sessions[0].budgets_acting.is_empty());
    world.send(100, 1_000);
    drop(client);
}

fn an_honest_thousand_a_second_meets_no_budget() {
    let world = World::new();
    let (server, client) = world.connected();
    for from in [&world.client, &world.server] {
        broadcast(from, 10, 300, Duration::from_millis(10));
    }
    world.send(1, 100);
    let (since, flooded) = (Instant::now(), || server.totals().get("bridge.flooded").unwrap());
    while flooded() < 3_000 {
        assert!(since.elapsed() < HANG, "{} were flooded", flooded());
        thread::sleep(Duration::from_millis(5));
    }
    let totals = server.totals();
    let over: Vec<_> = totals.iter().filter(|(name, _)| name.contains("budget")).collect();
    assert!(over.len() == 7 && over.iter().all(|&(_, frames)| frames == 0), "{over:?}");
    drop(client);
}

testbed::main! {
    what_a_client_floods_has_a_budget,
    what_the_root_floods_has_a_budget,
    an_honest_thousand_a_second_meets_no_budget,
}
