//! Clients that no list names, and a program that decides on them, between real kernels.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

#[path = "authorize/pairs.rs"]
mod pairs;
#[path = "authorize/program.rs"]
mod program;
mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use acton_engine::State;
use acton_engine::keys::encode_key;
use acton_proto::handshake::public_key;
use pairs::{
    a_pair_of_tags_is_the_client_s_that_has_a_session,
    a_pair_of_tags_that_a_list_gives_is_nobody_else_s,
};
use program::Program;
use serde_json::{Value, json};
use support::ask::{json as told_json, said_by, sessions, told, until};
use support::{
    Acton, Crowd, Member, Mode, ROOT_V4, World, control, member_socket, ping_until_answered,
    wait_until,
};

testbed::main! {
    a_client_gets_in_on_the_programs_terms_and_is_accounted_for,
    who_is_denied_is_not_asked_about_again_until_the_program_says,
    a_program_that_does_not_answer_holds_up_nobody_else,
    a_program_that_comes_late_or_again_finds_its_clients,
    a_server_that_begins_says_that_there_are_no_sessions_of_before,
    a_verdict_is_asked_for_again_and_may_be_taken_back,
    a_session_that_nobody_answers_for_is_told_as_such,
    who_is_listed_is_not_asked_about,
    a_mac_that_another_has_is_not_told_as_the_client_s_own,
    a_flood_of_keys_asks_so_much_and_no_more,
    a_thousand_clients_at_once_get_in,
    what_is_wrong_with_the_options_is_told,
    a_pair_of_tags_is_the_client_s_that_has_a_session,
    a_pair_of_tags_that_a_list_gives_is_nobody_else_s,
    what_waits_for_a_radius_server_is_said_or_told: ["python3"],
}

fn world(clients: u8) -> World {
    World::new(clients).speaking(Mode::Secure)
}

fn socket(world: &World) -> PathBuf {
    world.keys.path("authorize.sock")
}

/// The server of a world, with its program's socket and these options.
fn serve(world: &World, arguments: &[&str]) -> Acton {
    let socket = socket(world);
    world.serve(&[&["--authorize", socket.to_str().unwrap()], arguments].concat())
}

fn allow() -> Value {
    json!({ "allow": true })
}

/// The client's key as it is in a list.
fn key(world: &World, i: u8) -> String {
    encode_key(&public_key(&world.keys.client_key(i)))
}

/// A counter of an end.
fn total(end: &Acton, name: &str) -> u64 {
    told_json(end, &["status"])["totals"][name].as_u64().unwrap_or_default()
}

fn health(end: &Acton) -> Vec<String> {
    let health = told_json(end, &["status"])["health"].clone();
    health.as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect()
}

fn events(end: &Acton, kind: &str) -> Vec<Value> {
    let lines = told(end, &["events", "--json"]);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|event| event["event"] == kind).collect()
}

fn a_client_gets_in_on_the_programs_terms_and_is_accounted_for() {
    let world = world(1);
    let program = Program::start(&socket(&world), |_| {
        Some(json!({
            "allow": true, "name": "berlin", "valid-for": 600,
            "policy": { "max-macs": 3, "rate-in": "20M", "mac": "02:00:00:00:00:99" },
        }))
    });
    let server = serve(&world, &["--accounting-interval", "1"]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    let question = &program.questions()[0];
    assert_eq!(question["key"], key(&world, 0));
    assert_eq!((&question["address"], &question["session"]), (&json!("192.0.2.10"), &json!(false)));
    assert_eq!(question["server"], "server");
    let session = until(&server, "its name", |session| session.name == "berlin");
    assert_eq!(session.mac_limit, Some(3));
    assert!(session.policy.unwrap().rate_in.is_some());
    let fdb = told(&server, &["fdb", "--json"]);
    assert!(fdb.contains("02:00:00:00:00:99"), "kept for it: {fdb}");
    let start = program.account("accounting_start", 0);
    assert_eq!((&start["client"], &start["key"]), (&json!("berlin"), &question["key"]));
    wait_until("its account goes on", || {
        let told = program.accounts("accounting_interim");
        told.last().is_some_and(|told| told["bytes_in"].as_u64().unwrap() > 0)
    });
    assert!(!events(&server, "accounting_interim").is_empty());
    let text = told(&server, &["status", "berlin"]);
    assert!(text.contains("up: berlin from") && !text.contains(" bytes in, "), "{text}");
    client.stop();
    let stop = program.account("accounting_stop", 0);
    assert_eq!((&stop["id"], &stop["reason"]), (&start["id"], &json!("bye")));
    assert!(stop["frames_out"].as_u64().unwrap() > 0 && stop["duration"].as_f64().unwrap() > 0.0);
    let fdb = told(&server, &["fdb", "--json"]);
    assert!(!fdb.contains("02:00:00:00:00:99"), "let go of: {fdb}");
    // Its verdict holds while it is away.
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert_eq!((program.questions().len(), total(&server, "authorize.allowed")), (1, 1));
    let id = program.account("accounting_start", 1)["id"].clone();
    assert_ne!(id, start["id"]);
    // What ends with the server is read, too.
    server.stop();
    wait_until("the last account", || {
        program.accounts("accounting_stop").iter().any(|stop| stop["id"] == id)
    });
}

fn who_is_denied_is_not_asked_about_again_until_the_program_says() {
    let world = world(1);
    let allowed = Arc::new(AtomicBool::new(false));
    let its = Arc::clone(&allowed);
    let program = Program::start(&socket(&world), move |_| {
        let allow = its.load(Ordering::Relaxed);
        Some(json!({ "allow": allow, "reason": "has not paid", "valid-for": 600 }))
    });
    let server = serve(&world, &[]);
    for _ in 0..2 {
        let client = world.start_client(0, "192.0.2.1", &[]);
        client.wait_for("key is not on its list");
        client.stop();
    }
    assert_eq!((program.questions().len(), total(&server, "authorize.denied")), (1, 1));
    server.wait_for("has not paid");
    assert_eq!(events(&server, "client_decided")[0]["reason"], "has not paid");
    assert!(events(&server, "session_refused").iter().all(|event| event["reason"] == "denied"));
    allowed.store(true, Ordering::Relaxed);
    program.say(&json!({ "recheck": key(&world, 0) }));
    let _client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert_eq!(program.questions().len(), 2);
}

fn a_program_that_does_not_answer_holds_up_nobody_else() {
    let world = world(2);
    let answers = Arc::new(AtomicBool::new(false));
    let its = Arc::clone(&answers);
    let program = Program::start(&socket(&world), move |question| {
        let is_first = question["address"] == "192.0.2.10";
        (!is_first || its.load(Ordering::Relaxed)).then(allow)
    });
    let server = serve(&world, &["--authorize-timeout", "0.5"]);
    let _waits = world.start_client(0, "192.0.2.1", &[]);
    wait_until("nobody answers", || total(&server, "authorize.unanswered") > 0);
    let _other = world.join(1, &[]);
    ping_until_answered(&world.clients[1], ROOT_V4);
    wait_until("it is told", || !events(&server, "authorize_lost").is_empty());
    assert!(!events(&server, "session_refused").is_empty());
    // It is asked about again and again, ever less often.
    wait_until("it is asked about again", || {
        let of_first = |question: &Value| question["address"] == "192.0.2.10";
        program.questions().iter().filter(|&question| of_first(question)).count() > 2
    });
    answers.store(true, Ordering::Relaxed);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("it is over", || health(&server).is_empty());
}

fn a_program_that_comes_late_or_again_finds_its_clients() {
    let world = world(2);
    let server = serve(&world, &[]);
    wait_until("it is missed", || health(&server) == ["authorize"]);
    let doctor = said_by(control(&server), &["doctor", "--json"]).out;
    let findings: Value = serde_json::from_str(&doctor).unwrap();
    let is_it = |it: &&Value| it["code"] == "authorize";
    let finding = findings["findings"].as_array().unwrap().iter().find(is_it).unwrap().clone();
    assert_eq!(finding["verdict"], "failed", "{finding}");
    let _first = world.start_client(0, "192.0.2.1", &[]);
    wait_until("it asks", || total(&server, "authorize.asked") > 0);
    let program = Program::start(&socket(&world), |_| Some(allow()));
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("it is not missed any more", || health(&server).is_empty());
    drop(program);
    wait_until("it is missed again", || health(&server) == ["authorize"]);
    // Who has a session keeps it, and what it moved is told to the next one.
    ping_until_answered(&world.clients[0], ROOT_V4);
    let _second = world.start_client(1, "192.0.2.1", &[]);
    wait_until("it asks", || total(&server, "authorize.asked") > 1);
    let program = Program::start(&socket(&world), |_| Some(allow()));
    ping_until_answered(&world.clients[1], ROOT_V4);
    assert!(program.accounts("accounting_on").is_empty(), "it is the same server");
    assert!(program.questions().iter().all(|question| question["address"] == "192.0.2.11"));
    let lost = events(&server, "authorize_lost").len();
    assert_eq!((lost, events(&server, "authorize_back").len()), (2, 2), "told once each");
}

fn a_server_that_begins_says_that_there_are_no_sessions_of_before() {
    let world = world(1);
    let decide = |_: &Value| Some(allow());
    let server = serve(&world, &[]);
    let program = Program::start(&socket(&world), decide);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("its account begins", || program.accounts("accounting_start").len() == 1);
    // Killed, and there again before there is a program.
    server.kill();
    drop(program);
    let server = serve(&world, &[]);
    wait_until("the program is missed", || health(&server) == ["authorize"]);
    let program = Program::start(&socket(&world), decide);
    ping_until_answered(&world.clients[0], ROOT_V4);
    wait_until("its account begins", || program.accounts("accounting_start").len() == 1);
    client.stop();
    wait_until("its account ends", || program.accounts("accounting_stop").len() == 1);
    server.stop();
    let heard = || program.all_accounts();
    wait_until("all accounts end", || heard().last().unwrap()["event"] == "accounting_off");
    let heard = heard();
    let kinds: Vec<_> = heard.iter().map(|it| it["event"].as_str().unwrap()).collect();
    let all = ["accounting_on", "accounting_start", "accounting_stop", "accounting_off"];
    assert_eq!(kinds, all);
    assert_eq!(heard[0]["id"], heard[3]["id"]);
    assert!(heard.iter().all(|it| it["server"] == "server"), "{heard:?}");
    assert!(heard[0]["time"].as_f64() < heard[1]["time"].as_f64());
}

fn a_verdict_is_asked_for_again_and_may_be_taken_back() {
    let world = world(2);
    let allowed = Arc::new(AtomicBool::new(true));
    let its = Arc::clone(&allowed);
    let program = Program::start(&socket(&world), move |question| {
        let is_first = question["address"] == "192.0.2.10";
        let (allow, valid_for) =
            (!is_first || its.load(Ordering::Relaxed), if is_first { 1 } else { 600 });
        Some(json!({ "allow": allow, "valid-for": valid_for }))
    });
    let server = serve(&world, &[]);
    let _clients = [world.join(0, &[]), world.join(1, &[])];
    world.clients.iter().for_each(|client| ping_until_answered(client, ROOT_V4));
    wait_until("it is asked for again", || {
        let again = |question: &Value| question["session"] == true;
        program.questions().iter().filter(|question| again(question)).count() > 2
    });
    assert!(events(&server, "session_down").is_empty(), "meanwhile it goes on");
    allowed.store(false, Ordering::Relaxed);
    wait_until("its session ends", || !events(&server, "session_down").is_empty());
    assert_eq!(events(&server, "session_down")[0]["reason"], "denied");
    assert_eq!(program.account("accounting_stop", 0)["reason"], "denied");
    ping_until_answered(&world.clients[1], ROOT_V4);
    program.say(&json!({ "revoke": key(&world, 1) }));
    wait_until("so does the other's", || events(&server, "session_down").len() == 2);
    // A line that says nothing is counted, and nothing else.
    program.say(&json!({ "revoke": "nobody" }));
    wait_until("it is counted", || told_json(&server, &["status"])["authorize"]["bad_lines"] == 1);
}

fn a_session_that_nobody_answers_for_is_told_as_such() {
    let world = world(1);
    let program = Program::start(&socket(&world), |question| {
        let is_first = question["session"] == false;
        is_first.then(|| json!({ "allow": true, "valid-for": 1 }))
    });
    let server = serve(&world, &["--authorize-timeout", "0.5"]);
    let _client = world.start_client(0, "192.0.2.1", &[]);
    wait_until("its session ends", || !events(&server, "session_down").is_empty());
    assert_eq!(events(&server, "session_down")[0]["reason"], "undecided");
    assert_eq!(program.account("accounting_stop", 0)["reason"], "undecided");
    server.wait_for("does not answer whether it may");
}

fn a_mac_that_another_has_is_not_told_as_the_client_s_own() {
    let world = world(2);
    let program = Program::start(&socket(&world), |question| {
        let name = if question["address"] == "192.0.2.10" { "berlin" } else { "oslo" };
        let policy = json!({ "mac": "02:00:00:00:00:99", "strict": true });
        Some(json!({ "allow": true, "name": name, "valid-for": 3600, "policy": policy }))
    });
    let server = serve(&world, &[]);
    let own = |name: &str| {
        let session = until(&server, name, |session| session.name == name);
        session.policy.unwrap().own_macs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let first = world.join(0, &[]);
    assert_eq!(own("berlin"), ["02:00:00:00:00:99"]);
    let _second = world.join(1, &[]);
    assert_eq!(own("oslo"), [""; 0]);
    assert_eq!(events(&server, "mac_not_kept")[0]["client"], "oslo");
    assert_eq!(own("berlin"), ["02:00:00:00:00:99"]);
    let text = told(&server, &["status", "oslo"]);
    assert!(text.contains("strict: it has no MAC, so nothing passes"), "{text}");
    // Once the other has gone it has it, when it is decided on again.
    first.stop();
    until(&server, "the first one's end", |it| it.name == "berlin" && it.state == State::Closed);
    program.say(&json!({ "recheck": key(&world, 1) }));
    wait_until("it has the MAC", || own("oslo") == ["02:00:00:00:00:99"]);
}

fn who_is_listed_is_not_asked_about() {
    let world = world(1);
    let program = Program::start(&socket(&world), |_| Some(json!({ "allow": false })));
    let first = {
        // It makes its key.
        let _server = world.serve(&[]);
        let client = world.join(0, &[]);
        ping_until_answered(&world.clients[0], ROOT_V4);
        client.stop();
        key(&world, 0)
    };
    let list = world.keys.path("clients.toml");
    fs::write(&list, format!("[client.berlin]\nkey = \"{first}\"\nmax-macs = 5\n")).unwrap();
    let server = serve(&world, &["--clients", list.to_str().unwrap()]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    assert_eq!(sessions(&server)[0].mac_limit, Some(5));
    assert!(program.questions().is_empty());
    // Off the list it is asked about.
    fs::write(&list, "[default]\n").unwrap();
    wait_until("it is asked about", || !program.questions().is_empty());
    client.stop();
}

fn a_flood_of_keys_asks_so_much_and_no_more() {
    const FLOOD: usize = 1_500;
    let world = world(1);
    let program = Program::start(&socket(&world), |question| {
        (question["address"] == "192.0.2.10").then(allow)
    });
    let server = serve(&world, &["--workers", "1", "--authorize-timeout", "60"]);
    let mut crowd = Crowd::new(&world, 0);
    let at = Ipv4Addr::new(198, 18, 7, 7);
    for _ in 0..FLOOD {
        crowd.members.push(Member::new(&world, member_socket(&world, at)));
    }
    wait_until("some are not asked about", || {
        crowd.turn();
        total(&server, "authorize.limited") > 0
    });
    let of_flood = |question: &Value| question["address"] == "198.18.7.7";
    let asked = program.questions().iter().filter(|question| of_flood(question)).count();
    println!("{FLOOD} keys: {asked} questions");
    let begun = Instant::now();
    let _client = world.start_client(0, "192.0.2.1", &[]);
    wait_until("another one gets in", || {
        crowd.turn();
        sessions(&server).iter().any(|session| session.state == State::Up)
    });
    println!("another client got in after {:?}", begun.elapsed());
    let most = 1_024 + 10 * (1 + begun.elapsed().as_secs() as usize + 60);
    let asked = program.questions().iter().filter(|question| of_flood(question)).count();
    assert!((1_024..most).contains(&asked), "{asked}");
    assert!(!server.stop().contains("panicked"));
}

fn a_thousand_clients_at_once_get_in() {
    const CLIENTS: u16 = 1_000;
    let world = world(1);
    let joined = |server: &Acton| {
        let mut crowd = Crowd::new(&world, CLIENTS);
        let start = Instant::now();
        crowd.run_until("all have a session", |member| member.machine.keys().is_some());
        (start.elapsed(), server.log())
    };
    let server = world.serve(&["--workers", "2"]);
    let (open, _) = joined(&server);
    server.stop();
    // The routes are there already.
    support::shell(&world.clients[0], "ip route del local 198.18.0.0/15 dev lo");
    support::shell(&world.server, "ip route del 198.18.0.0/15 via 192.0.2.10");
    let program = Program::start(&socket(&world), |_| Some(allow()));
    let server = serve(&world, &["--workers", "2"]);
    let (asked, _) = joined(&server);
    println!("{CLIENTS} clients: {open:?} without being asked about, {asked:?} with");
    wait_until("all are accounted for", || {
        program.accounts("accounting_start").len() == usize::from(CLIENTS)
    });
    assert_eq!(total(&server, "authorize.allowed"), u64::from(CLIENTS));
    assert_eq!(
        (program.questions().len(), total(&server, "authorize.limited")),
        (usize::from(CLIENTS), 0)
    );
}

fn what_is_wrong_with_the_options_is_told() {
    let world = world(0);
    for (options, told) in [
        (&["--plain", "--authorize", "/run/x"][..], "--plain"),
        (&["--plain", "--accounting-interval", "60"], "--plain"),
        (&["--authorize-timeout", "5"], "--authorize"),
        (&["--authorize", "/run/x", "--authorize-timeout", "600"], "60 seconds"),
        (&["--accounting-interval", "0.5"], "once a second"),
    ] {
        let server = world.start_server(options);
        let (_, log) = server.end();
        assert!(log.contains(told), "{options:?}: {log}");
    }
}

fn what_waits_for_a_radius_server_is_said_or_told() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/radius/loopback");
    let output = Command::new("python3").arg("-B").arg(script).output().unwrap();
    let (tried, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{tried}{errors}");
}
