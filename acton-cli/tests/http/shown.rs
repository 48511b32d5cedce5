//! What is shown, and that it is what the tunnel says elsewhere too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;

use acton_engine::drop_reasons;
use serde_json::Value;

use super::browser::{HTTP, connect, get, get_with};
use super::support::ask::json;
use super::support::{
    CLIENT_MAC, Mode, ROOT_V4, SERVER_MAC, TEST_ETHERTYPE, World, frame, ping_until_answered, said,
    shell, tcp_transfer, wait_until,
};

/// Series and their values.
fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let all: Vec<_> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        })
        .collect();
    let count = all.len();
    let series: BTreeMap<_, _> = all.into_iter().collect();
    assert_eq!(series.len(), count, "a series comes twice");
    series
}

/// The series of a reason to drop.
fn dropped(reason: &str) -> String {
    format!("acton_dropped_total{{reason=\"{reason}\"}}")
}

pub(super) fn metrics_show_all_that_is_counted() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--http", HTTP, "--metrics-per-session", "--no-loop-guard"]);
    let before = series(&get(&world.server, "/metrics").body);
    for (reason, _) in drop_reasons() {
        assert!(before.contains_key(&dropped(reason)), "{reason}");
    }
    assert_eq!(before["acton_sessions{state=\"up\"}"], 0.0);
    let _client = world.join(0, &["--no-loop-guard"]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 4_000_000);

    let answer = get(&world.server, "/metrics");
    assert!(answer.head.contains("text/plain; version=0.0.4"), "{}", answer.head);
    let metrics = series(&answer.body);
    assert_eq!(metrics["acton_sessions{state=\"up\"}"], 1.0);
    assert_eq!(metrics["acton_tap_up"], 1.0);
    assert_eq!(metrics["acton_handshakes_total{result=\"welcomed\"}"], 1.0);
    assert!(metrics["acton_tap_written_bytes_total"] > 4e6);
    assert_eq!(metrics["acton_fdb_entries{owner=\"clients\"}"], 1.0);
    assert_eq!(metrics["acton_health_problems{code=\"tap_down\"}"], 0.0);
    let totals = json(&server, &["status"])["totals"].clone();
    let later = series(&get(&world.server, "/metrics").body);
    for (reason, _) in drop_reasons() {
        let total = totals[format!("drop.{reason}")].as_f64().unwrap();
        assert!((metrics[&dropped(reason)]..=later[&dropped(reason)]).contains(&total), "{reason}");
    }

    // No label has an address, and who is on no list has no series.
    for series in metrics.keys() {
        for value in series.split('"').skip(1).step_by(2) {
            assert!(value.parse::<IpAddr>().is_err() && !value.contains("192.0.2."), "{series}");
        }
    }
    assert!(!answer.body.contains("session=\""), "{}", answer.body);

    let open = get_with(
        &world.server,
        "/metrics",
        "Accept: application/openmetrics-text; version=1.0.0\r\n",
    );
    assert!(open.head.contains("application/openmetrics-text"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"));
}

pub(super) fn a_named_client_has_series_of_its_own() {
    let world = World::new(2).speaking(Mode::Secure);
    world.keys.server();
    let invites = ["berlin", "oslo"].map(|name| world.keys.named_invite(name, &[]));
    let server = world.serve(&["--http", HTTP, "--metrics-per-session"]);
    let clients: Vec<_> = invites
        .iter()
        .zip(0..)
        .map(|(invite, i)| {
            let state = world.keys.client_state(i);
            let client = world.run_client(i, &["client", invite, "--state", &state]);
            client.wait_for(said::CONNECTED);
            client
        })
        .collect();
    tcp_transfer(&world.clients[0], &world.server, ROOT_V4, 4_000_000);
    ping_until_answered(&world.clients[1], ROOT_V4);
    let body = get(&world.server, "/metrics").body;
    let metrics = series(&body);
    let of = |family: &str, name: &str| metrics[&format!("{family}{{session=\"{name}\"}}")];
    for name in ["berlin", "oslo"] {
        assert_eq!(of("acton_session_up", name), 1.0, "{body}");
        assert!(of("acton_session_transmitted_bytes_total", name) > 0.0, "{body}");
    }
    let received = |name| of("acton_session_received_bytes_total", name);
    assert!(received("berlin") > 4e6 && received("oslo") < 1e6, "{body}");
    // By the name that is configured, and by nothing that tells who or where it is.
    for series in metrics.keys().filter(|series| series.contains("session=\"")) {
        let is_named =
            ["berlin", "oslo"].iter().any(|name| series.contains(&format!("session=\"{name}\"")));
        assert!(is_named && !series.contains("192.0.2."), "{series}");
    }
    // Who only looks at the whole has no such series.
    drop(clients);
    server.stop();
    let server = world.serve(&["--http", HTTP]);
    assert!(!get(&world.server, "/metrics").body.contains("session=\""));
    drop(server);
}

/// The names of an object's fields.
fn fields(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}

pub(super) fn what_is_shown_is_what_the_commands_say() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--http", HTTP]);
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);

    let status = get(&world.server, "/status.json").json();
    let told = json(&server, &["status"]);
    assert_eq!(fields(&status), fields(&told));
    assert_eq!(fields(&status["sessions"][0]), fields(&told["sessions"][0]));
    assert_eq!(fields(&status["totals"]), fields(&told["totals"]));
    let name = status["sessions"][0]["name"].as_str().unwrap();
    let one =
        get(&world.server, &format!("/status.json?session={}", name.replace('+', "%2B"))).json();
    assert_eq!(one["sessions"].as_array().unwrap().len(), 1);
    let none = get(&world.server, "/status.json?state=lost,closed").json();
    assert_eq!(none["sessions"], Value::Array(Vec::new()));
    assert_eq!(none["schema"], status["schema"]);
    let unknown = get(&world.server, "/status.json?session=nobody");
    assert_eq!((unknown.status, &*unknown.code()), (404, "no_session"));
    for path in [
        "/status.json?sesion=a",
        "/status.json?state=gone",
        "/trace.json?frame=xy",
        "/events?after=x",
    ] {
        let bad = get(&world.server, path);
        assert_eq!((bad.status, &*bad.code()), (400, "bad_request"), "{path}");
    }

    let (shown, told) = (get(&world.server, "/fdb.json").json(), json(&server, &["fdb"]));
    assert_eq!(fields(&shown), fields(&told));
    assert_eq!(fields(&shown["macs"][0]), fields(&told["macs"][0]));
    let drops = get(&world.server, "/drops.json").json();
    assert_eq!(drops["drops"].as_array().unwrap().len(), drop_reasons().count());
    let frame = frame(CLIENT_MAC, SERVER_MAC, TEST_ETHERTYPE, b"to a client");
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let trace = get(&world.server, &format!("/trace.json?frame={hex}")).json();
    assert_eq!(trace["verdict"]["session"], name, "{trace}");
    let history = get(&world.server, "/history.json").json();
    assert!(history["samples"].is_array());

    let healthy = get(&world.server, "/health");
    assert_eq!((healthy.status, &healthy.json()["ready"]), (200, &true.into()), "{healthy:?}");
    shell(&world.server, "ip link set server down");
    wait_until("it is not healthy", || get(&world.server, "/health").status == 503);
    let reason = get(&world.server, "/health").json();
    assert!(reason["reason"].as_str().unwrap().contains("ip link set server up"), "{reason}");
    assert_eq!(reason["health"][0]["code"], "tap_down");

    let page = get(&world.server, "/");
    assert!(
        page.head.contains("text/html") && page.head.contains("script-src 'sha256-"),
        "{}",
        page.head
    );
    let head = super::browser::send(
        &world.server,
        format!("HEAD / HTTP/1.1\r\nHost: {HTTP}\r\n\r\n").as_bytes(),
    );
    assert_eq!((head.status, &*head.body), (200, ""));
    // As the simplest of monitors ask.
    let old = super::browser::send(&world.server, b"GET /status.json HTTP/1.0\r\n\r\n");
    assert_eq!(old.json()["sessions"].as_array().unwrap().len(), 1);
}

pub(super) fn a_client_shows_whether_it_has_a_session() {
    let world = World::new(1).speaking(Mode::Secure);
    let client = world.start_client(0, "192.0.2.1", &["--http", HTTP]);
    let waiting = get(&world.clients[0], "/health");
    assert_eq!(waiting.status, 503);
    assert!(waiting.json()["reason"].as_str().unwrap().contains("no session with"), "{waiting:?}");
    let _server = world.serve(&[]);
    client.wait_for(said::CONNECTED);
    wait_until("it is healthy", || get(&world.clients[0], "/health").status == 200);
    let metrics = series(&get(&world.clients[0], "/metrics").body);
    assert_eq!(metrics["acton_sessions{state=\"up\"}"], 1.0);
    assert_eq!(get(&world.clients[0], "/fdb.json").code(), "not_server");
    client.stop();
}

/// The numbers of so many events, as they come.
fn numbers(world: &World, path: &str, lines: &str, count: usize) -> Vec<u64> {
    let mut stream = connect(&world.server);
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: {HTTP}\r\n{lines}\r\n").as_bytes())
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    assert!(head.contains(&"Content-Type: text/event-stream".to_owned()), "{head:?}");
    let numbers = lines.filter_map(|line| line.strip_prefix("id: ")?.parse().ok());
    numbers.take(count).collect()
}

pub(super) fn events_go_on_where_they_were_read() {
    let world = World::new(1).speaking(Mode::Secure);
    let server = world.serve(&["--http", HTTP]);
    let client = world.join(0, &[]);
    let first = numbers(&world, "/events", "", 2);
    let later = numbers(&world, "/events", &format!("Last-Event-ID: {}\r\n", first[0]), 1);
    assert_eq!(later, first[1..]);
    let after = numbers(&world, &format!("/events?after={}", first[0]), "", 1);
    assert_eq!(after, later);
    // Who comes back after a restart of acton begins anew.
    assert_eq!(numbers(&world, "/events", "Last-Event-ID: 1000000\r\n", 1), first[..1]);
    // What happens is told at once, and the end of the tunnel ends the stream.
    let newest = json(&server, &["status"])["last_event"].as_u64().unwrap();
    std::thread::scope(|scope| {
        let path = format!("/events?after={newest}");
        let world = &world;
        let reader = scope.spawn(move || numbers(world, &path, "", usize::MAX));
        client.stop();
        server.stop();
        assert!(reader.join().unwrap().iter().all(|number| *number > newest));
    });
}
