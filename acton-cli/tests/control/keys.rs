//! The commands about keys, beside a server that runs with these keys.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use acton_cli::control::Request;
use acton_engine::{EndReason, State};
use data_encoding::BASE64;
use serde_json::Value;

use super::ask::{Said, answers, connect, json, said_by, sessions, told, until};
use super::support::{Acton, Mode, World, control, said, wait_until};

fn world() -> World {
    World::new(1).speaking(Mode::Secure)
}

/// What such a command says beside that server.
fn beside(server: &Acton, world: &World, arguments: &[&str]) -> Said {
    let state = world.keys.server_state();
    let said = said_by(control(server), &[arguments, &["--state", &state]].concat());
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    said
}

fn events(server: &Acton, kind: &str) -> Vec<Value> {
    let lines = told(server, &["events", "--json"]);
    let all = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["event"] == kind).collect()
}

pub(super) fn an_invite_is_for_the_port_where_the_server_listens() {
    let world = world();
    let server = world.serve(&["--port", "9321"]);
    let invite = |more: &[&str]| beside(&server, &world, &[&["invite"], more].concat()).out;
    let at = |port: u16| format!("acton://192.0.2.1:{port}/#");
    let host = ["--host", "192.0.2.1"];
    assert!(invite(&host).starts_with(&at(9_321)));
    assert!(invite(&[&host[..], &["--port", "9322"]].concat()).starts_with(&at(9_322)));
    assert!(invite(&["--host", "192.0.2.1:9323"]).starts_with(&at(9_323)));

    // Once it has ended, its settings say so.
    let socket = control(&server).to_owned();
    drop(server);
    let settings = world.keys.path("office.toml");
    fs::write(&settings, "listen = \"192.0.2.9\"\nport = 9324\n").unwrap();
    let (state, settings) = (world.keys.server_state(), settings.to_str().unwrap().to_owned());
    let invite = |more: &[&str]| {
        let said = said_by(&socket, &[&["invite", "--state", &state], more].concat());
        assert_eq!(said.code, 0, "{said:?}");
        said.out
    };
    assert!(invite(&["--config", &settings]).starts_with("acton://192.0.2.9:9324/#"));
    assert!(invite(&[&host[..], &["--config", &settings]].concat()).starts_with(&at(9_324)));
    assert!(invite(&host).starts_with(&at(8_080)));
    fs::write(&settings, "port = 70000\n").unwrap();
    let wrong = ["invite", "--state", &state, "--host", "192.0.2.1", "--config", &settings];
    let said = said_by(&socket, &wrong);
    assert!(said.code == 2 && said.err.contains("office.toml:1:8: port"), "{said:?}");
}

pub(super) fn a_client_has_its_name_from_the_first_frame_to_its_revocation() {
    let world = world();
    // It has no list yet.
    let server = world.serve(&["--keepalive", "1"]);
    let named = ["invite", "--host", "192.0.2.1", "--name", "berlin"];
    let invite = beside(&server, &world, &named).out.trim_end().to_owned();
    let state = world.keys.client_state(0);
    let start = || world.run_client(0, &["client", &invite, "--state", &state]);
    let client = start();
    client.wait_for(said::CONNECTED);
    until(&server, "it is up", |session| session.state == State::Up);
    let up = events(&server, "session_up");
    assert_eq!((up.len(), &up[0]["client"]), (1, &Value::from("berlin")));

    beside(&server, &world, &["revoke", "berlin"]);
    let ended = until(&server, "it is out", |session| session.state == State::Closed);
    assert_eq!((&*ended.name, ended.reason), ("berlin", Some(EndReason::Removed)));
    // It tries again, and still the server knows who that was.
    drop(client);
    let _client = start();
    wait_until("it is refused", || {
        events(&server, "session_refused").iter().any(|event| event["reason"] == "not_listed")
    });
    let all = sessions(&server);
    let berlin: Vec<_> = all.iter().map(|session| (&*session.name, session.reason)).collect();
    assert_eq!(berlin, [("berlin", Some(EndReason::Removed))]);
    assert!(told(&server, &["status", "berlin"]).contains("berlin: closed"));
    let refused = events(&server, "session_refused");
    assert!(refused.iter().all(|event| event["client"] == "berlin"), "{refused:#?}");
}

pub(super) fn a_list_is_looked_at_before_it_is_read() {
    let world = world();
    let list = world.keys.path("list.toml");
    fs::write(&list, "[default]\nmax-macs = 1\n").unwrap();
    let server = world.serve(&["--clients", list.to_str().unwrap()]);
    let dry = || said_by(control(&server), &["reload", "--dry-run"]);
    assert!(dry().code == 0 && dry().out.contains("would be read: 0 clients"), "{:?}", dry());
    fs::write(&list, "[default]\nmax_macs = 1\n").unwrap();
    let said = dry();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("would stay as it was") && said.err.contains(":2:1"), "{said:?}");
}

pub(super) fn a_first_list_that_is_wrong_lets_nobody_in_and_all_say_so() {
    let world = world();
    let list = world.keys.path("server/clients");
    let server = world.serve(&["--keepalive", "1"]);
    let invite = beside(&server, &world, &["invite", "--host", "192.0.2.1"]).out;
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", invite.trim_end(), "--state", &state]);
    client.wait_for(said::CONNECTED);
    let finding = || {
        let said = said_by(control(&server), &["doctor", "--json"]);
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let all = report["findings"].as_array().unwrap().clone();
        all.into_iter().find(|finding| finding["code"] == "clients").unwrap()
    };
    assert_eq!(finding()["verdict"], "skipped");
    let health = || {
        let status = json(&server, &["status"]);
        let all = status["health"].as_array().unwrap().clone();
        all.into_iter().find(|health| health["code"] == "clients")
    };
    assert_eq!(health(), None);
    let dry = || said_by(control(&server), &["reload", "--dry-run"]);

    // Written elsewhere first, for the server does not wait for whoever asks.
    let draft = world.keys.path("draft");
    fs::write(&draft, "nonsense\n").unwrap();
    fs::rename(&draft, &list).unwrap();
    let said = dry();
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cannot be read, and would let nobody in until it can"), "{said:?}");
    assert!(said.err.contains("line 1"), "{said:?}");
    let said = said_by(control(&server), &["reload"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cannot be read, and lets nobody in until it can"), "{said:?}");
    assert!(said.err.contains("line 1"), "{said:?}");
    client.wait_for("this client was removed");
    let health = health().unwrap();
    let text = health["text"].as_str().unwrap();
    assert!(text.contains("cannot be read, and lets nobody in until it can"), "{text}");
    let finding = finding();
    assert_eq!(finding["verdict"], "failed");
    assert!(finding["wanted"].as_str().unwrap().contains("it lets nobody in"), "{finding}");
    assert_eq!(json(&server, &["status"])["bridge"]["no_list"], true);
    let failed = events(&server, "list_failed");
    assert!(!failed.is_empty(), "it is told");
    assert!(failed.iter().all(|event| event["no_list"] == true), "{failed:?}");
    assert!(events(&server, "list_read").is_empty());

    // Once there was one, it stays.
    fs::write(&list, "[default]\nmax-macs = 1\n").unwrap();
    assert_eq!(said_by(control(&server), &["reload"]).code, 0);
    let status = json(&server, &["status"]);
    assert_eq!(
        (&status["bridge"]["listed"], &status["bridge"]["no_list"]),
        (&0.into(), &Value::Null)
    );
    fs::write(&list, "nonsense\n").unwrap();
    for arguments in [&["reload", "--dry-run"][..], &["reload"]] {
        let said = said_by(control(&server), arguments);
        assert!(said.code == 1 && said.err.contains("as it was"), "{said:?}");
    }
}

/// Whoever may ask for a status may ask what a reload would come to.
pub(super) fn a_long_list_that_is_looked_at_keeps_no_other_question_waiting() {
    let world = world();
    let server = world.serve(&[]);
    let key = |number: u32| BASE64.encode(&[&number.to_be_bytes()[..], &[7; 28]].concat());
    let line = |number| format!("{} client-{number}\n", key(number));
    fs::write(world.keys.path("server/clients"), (0..60_000).map(line).collect::<String>())
        .unwrap();
    wait_until("it is read", || !events(&server, "list_read").is_empty());
    let mut longest = Duration::ZERO;
    let looked = thread::scope(|scope| {
        let dry = scope.spawn(|| {
            let begun = Instant::now();
            let said = told(&server, &["reload", "--dry-run"]);
            assert!(said.contains("would be read: 60000 clients"), "{said}");
            begun.elapsed()
        });
        let mut connection = connect(&server);
        while !dry.is_finished() {
            let begun = Instant::now();
            let status = Request::Status { session: None, states: Vec::new() };
            answers(&mut connection, status);
            longest = longest.max(begun.elapsed());
        }
        dry.join().unwrap()
    });
    println!("looked for {looked:?}, the longest status took {longest:?}");
    assert!(longest < looked / 2, "{longest:?} of {looked:?}");
}
