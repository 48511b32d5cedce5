//! What each command says, held against what it said when somebody last looked at it.
//!
//! `SNAPSHOTS=write` writes the files anew.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

use acton_engine::State;
use serde_json::Value;

use super::ask::{Said, json, said_by, told, until};
use super::support::{
    Acton, CLIENT_MAC, Mode, ROOT_V4, SERVER_MAC, World, control, leaf, ping_until_answered, said,
    shell,
};

/// A transcript of commands.
struct Transcript<'a> {
    end: &'a Acton,
    text: String,
    /// A path that is another each time.
    path: String,
}

impl<'a> Transcript<'a> {
    fn new(end: &'a Acton) -> Self {
        Self { end, text: String::new(), path: control(end).display().to_string() }
    }

    /// The same of an instance with this file of settings.
    fn with_settings(end: &'a Acton, path: &Path) -> Self {
        Self { path: path.display().to_string(), ..Self::new(end) }
    }

    /// Notes what somebody does between the commands.
    fn note(&mut self, text: &str) -> &mut Self {
        writeln!(self.text, "# {text}\n").unwrap();
        self
    }

    /// Runs a command and notes what it says, volatile figures masked.
    fn run(&mut self, arguments: &[&str]) -> &mut Self {
        let Said { code, out, err } = said_by(control(self.end), arguments);
        let line = format!("$ acton {}\n", arguments.join(" "));
        self.text.push_str(&line);
        if arguments.contains(&"--json") && code != 1 {
            for line in out.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                assert!(line.starts_with("{\"schema\":"), "{line}");
                let masked = serde_json::to_string_pretty(&masked_value(value)).unwrap();
                writeln!(self.text, "{masked}").unwrap();
            }
        } else {
            // It fits a terminal of 80 columns.
            let short = out.replace(&self.path, "PATH");
            assert!(short.lines().all(|line| line.chars().count() <= 80), "{out}");
            for line in (short + &err.replace(&self.path, "PATH")).lines() {
                writeln!(self.text, "{}", masked(line)).unwrap();
            }
        }
        if code != 0 {
            writeln!(self.text, "[exit code {code}]").unwrap();
        }
        self.text.push('\n');
        self
    }

    /// Runs a command that prints JSON and notes what `keep` leaves of it: of what there may be more or less
    /// each time, as much as shows its fields.
    fn run_json(&mut self, arguments: &[&str], keep: impl FnOnce(Vec<Value>) -> Vec<Value>) {
        let Said { code, out, err } = said_by(control(self.end), arguments);
        let line = format!("$ acton {}\n", arguments.join(" ")).replace(&self.path, "PATH");
        self.text.push_str(&line);
        let objects = out.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
        });
        for object in keep(objects.collect()) {
            assert!(object["schema"].is_number(), "{object}");
            let shown = serde_json::to_string_pretty(&masked_value(object)).unwrap();
            writeln!(self.text, "{}", shown.replace(&masked(&self.path), "PATH")).unwrap();
        }
        if code != 0 {
            writeln!(self.text, "[exit code {code}]").unwrap();
        }
        self.text.push('\n');
    }

    /// Holds it against the file of that name.
    #[track_caller]
    fn is(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control").join(name);
        if env::var_os("SNAPSHOTS").is_some_and(|what| what == "write") {
            fs::write(&path, &self.text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let differs = expected.lines().zip(self.text.lines()).find(|(old, new)| old != new);
        assert!(expected == self.text, "{name}: {differs:?} in\n{}", self.text);
    }
}

/// Figures, with the units that go with them, keys and ports are others each time.
fn masked(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let figures = rest.find(|c: char| !c.is_ascii_digit() && !".,".contains(c));
        let figures = figures.unwrap_or(rest.len());
        if first.is_ascii_digit() {
            let (number, after) = rest.split_at(figures);
            text.push('#');
            // A comma or stop that ends it is none of the number's.
            text.push_str(&number[number.trim_end_matches(['.', ',']).len()..]);
            let units = ["ms", "µs", "ns", "s", "%", "k", "M"];
            let unit = units.iter().find_map(|unit| after.strip_prefix(unit));
            rest = unit.filter(|after| !after.starts_with(char::is_alphabetic)).unwrap_or(after);
            for unit in [" kB", " MB", " kbit/s", " Mbit/s"] {
                if let Some(after) = rest.strip_prefix(unit) {
                    text.push_str(&unit.replace(['k', 'M'], ""));
                    rest = after;
                }
            }
        } else {
            let end = if first == '<' { 0 } else { first.len_utf8() };
            text.push_str(&rest[..end]);
            rest = &rest[first.len_utf8()..];
        }
    }
    let words = text.split(' ').map(|word| {
        let is_key = word.len() > 30 && word.ends_with('=');
        if is_key { "KEY" } else { word }
    });
    // Columns are as wide as what is in them.
    let words: Vec<_> = words.collect();
    let mut line = words.join(" ");
    while line.contains("   ") {
        line = line.replace("   ", "  ");
    }
    line
}

fn masked_value(value: Value) -> Value {
    match value {
        Value::Number(_) => Value::from(0),
        Value::String(text) if text.starts_with('/') => Value::from("PATH"),
        Value::String(text) => Value::String(masked(&text)),
        Value::Array(items) => items.into_iter().map(masked_value).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| match &*name {
                // Who adds a counter has other tests.
                "totals" => (name, Value::from("all counters")),
                _ => (name, masked_value(value)),
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        other => other,
    }
}

pub(super) fn what_every_command_says_of_a_live_tunnel() {
    let world = World::new(1).speaking(Mode::Secure);
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let server = world.serve(&["--workers", "1", "--keepalive", "1"]);
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &invite, "--state", &state, "--keepalive", "1"]);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    ping_until_answered(&world.server, leaf(0)[0]);
    for end in [&server, &client] {
        until(end, "all is known of the session", |session| {
            let [loss_in, loss_out] = [session.loss_in, session.loss_out];
            let all = loss_in.is_some() && loss_out.is_some() && session.rtt.is_some();
            all && session.path_mtu_in.is_some() && session.heard_ago.is_some()
        });
    }
    // Something to be dropped: the server's own MAC, used by the client.
    let wire = world.client_wire(0);
    let forged = super::support::frame(SERVER_MAC, SERVER_MAC, 0x88b5, &[0; 46]);
    wire.send(&forged);
    super::support::wait_until("it is dropped", || {
        json(&server, &["drops", "berlin"])["drops"] != Value::Array(Vec::new())
    });
    // What is counted at once is told a moment later.
    server.wait_for("it is of the server's side and no client may use it");
    let (here, there) = (SERVER_MAC.to_string(), CLIENT_MAC.to_string());
    let broadcast = "ff:ff:ff:ff:ff:ff";
    let printer = "02:00:00:00:00:99";
    Transcript::new(&server)
        .run(&["status"])
        .run(&["status", "--state", "lost,closed"])
        .run(&["status", "berlin"])
        .run(&["status", "rome"])
        .run(&["status", "--check", "up"])
        .run(&["status", "--check", "lost"])
        .run(&["drops", "berlin"])
        .run(&["drops", "rome"])
        .run(&["trace", &here, &there])
        .run(&["trace", &there, &here, "--from", "berlin", "--length", "1514"])
        .run(&["trace", &here, broadcast, "--from", "berlin", "--vlan", "7", "--dhcp"])
        .run(&["trace", &here, printer, "--arp", "--json"])
        .run(&["log", "warn"])
        .run(&["log", "warn", "--json"])
        .run(&["log", "loud"])
        .run(&["fdb", "add", printer, "berlin", "--vlan", "7"])
        .run(&["fdb", "add", &here, "berlin"])
        .run(&["fdb", "del", printer, "--vlan", "7"])
        .run(&["fdb", "del", printer, "--vlan", "7", "--json"])
        .run(&["kick", "rome"])
        .run(&["trace", &here])
        .run(&["reload"])
        .is("server.txt");
    Transcript::new(&client)
        .run(&["status"])
        .run(&["trace", &there, &here])
        .run(&["fdb"])
        .run(&["kick", "0"])
        .is("client.txt");
    Transcript::new(&server)
        .run(&["status", "--json"])
        .run(&["status", "berlin", "--json"])
        .run(&["drops", "berlin", "--json"])
        .is("server_json.txt");
    // The rest is of MACs and events, of which there may be more or fewer.
    let macs = json(&server, &["fdb"]);
    let listed = macs["macs"].as_array().unwrap();
    let entry = listed.iter().find(|entry| entry["mac"] == there).unwrap();
    assert_eq!((&entry["vlan"], &entry["at"]["session"]["client"]), (&0.into(), &"berlin".into()));
    assert!(entry["age_seconds"].is_number() && entry["held_seconds"].is_number(), "{entry}");
    let address = leaf(0)[0].to_string();
    assert!(entry["addresses"].as_array().unwrap().contains(&address.clone().into()), "{entry}");
    let text = told(&server, &["fdb"]);
    let line = text.lines().find(|line| line.contains(&address)).unwrap();
    assert!(line.starts_with(&format!("{there}     -  berlin")), "{text}");
    assert!(told(&server, &["fdb", "flush", "berlin"]).ends_with("forgotten\n"));
    let kicked = told(&server, &["kick", "berlin"]);
    assert_eq!(kicked, "berlin is kicked\n");
    until(&server, "it is back", |session| session.name == "berlin");
    let events: Vec<Value> = told(&server, &["events", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let count = |kind| kinds.iter().filter(|&&it| it == kind).count();
    assert_eq!((count("session_up"), count("session_down")), (2, 1), "{kinds:?}");
    let down = events.iter().find(|event| event["event"] == "session_down").unwrap();
    assert_eq!((&down["client"], &down["reason"]), (&"berlin".into(), &"kicked".into()));
    assert!(told(&server, &["events"]).contains("down: berlin was kicked"));
    let number = events.last().unwrap()["number"].to_string();
    assert_eq!(told(&server, &["events", "--since", &number]), "");
}

/// Leaves of the list in the field `list` of the only object those that `keep` wants.
fn only(list: &str, keep: impl Fn(&Value) -> bool) -> impl FnOnce(Vec<Value>) -> Vec<Value> {
    move |mut objects| {
        assert_eq!(objects.len(), 1);
        objects[0][list].as_array_mut().unwrap().retain(|item| keep(item));
        objects
    }
}

/// The other commands that print JSON, each once.
pub(super) fn what_other_commands_say_as_json() {
    let world = World::new(1).speaking(Mode::Secure);
    world.keys.server();
    let invite = world.keys.named_invite("berlin", &[]);
    let path = world.keys.path("server.toml");
    fs::write(&path, "mac-ageing = 60\n").unwrap();
    let config = path.to_str().unwrap();
    let server = world.serve(&["--workers", "1", "--keepalive", "1", "--config", config]);
    let state = world.keys.client_state(0);
    let client = world.run_client(0, &["client", &invite, "--state", &state, "--keepalive", "1"]);
    client.wait_for(said::CONNECTED);
    ping_until_answered(&world.clients[0], ROOT_V4);
    until(&server, "all is known of the session", |session| session.loss_in.is_some());
    let (here, there) = (SERVER_MAC.to_string(), CLIENT_MAC.to_string());
    let mut transcript = Transcript::with_settings(&server, &path);
    let its = only("macs", |it| it["mac"] == there);
    transcript.run_json(&["fdb", "--json"], |objects| {
        let mut objects = its(objects);
        // Those of IPv6 come sooner or later.
        objects[0]["macs"][0]["addresses"].as_array_mut().unwrap().truncate(1);
        objects
    });
    transcript.run(&["fdb", "add", "02:00:00:00:00:99", "root", "--json"]);
    transcript.run(&["trace", &there, &here, "--from", "berlin", "--json"]);
    transcript.run(&["trace", &here, &here, "--from", "berlin", "--json"]);
    // A frame that passes meanwhile, again and again.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = testbed::Ending(&done);
        scope.spawn(|| {
            let wire = world.client_wire(0);
            let passes = super::support::frame(SERVER_MAC, CLIENT_MAC, 0x88b5, &[0; 46]);
            while !done.load(Ordering::Relaxed) {
                wire.send(&passes);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let live = ["trace", "--live", "1", "--json", "ether", "proto", "0x88b5"];
        transcript.run_json(&live, |objects| objects);
    });
    fs::write(&path, "mac-ageing = 70\nport = 8081\n").unwrap();
    let differs = |key: &Value| key["outcome"] != "unchanged";
    transcript.run_json(&["reload", "--dry-run", "--json"], only("keys", differs));
    transcript.run_json(&["reload", "--json"], only("keys", differs));
    let show = ["config", "show", "server", "--json", "--config", config];
    transcript.run_json(&show, only("keys", |it| it["key"] == "mac-ageing" || it["key"] == "mtu"));
    transcript.run(&["kick", "berlin", "--json"]);
    until(&server, "it is back", |session| session.state == State::Up);
    transcript.run(&["fdb", "flush", "berlin", "--json"]);
    transcript.run_json(&["events", "--json"], |events| {
        let first = |kind: &str| events.iter().find(|event| event["event"] == kind).cloned();
        ["session_up", "session_down", "mac_learnt"].iter().filter_map(|kind| first(kind)).collect()
    });
    // What it says of the host is another on each.
    let of_the_tunnel =
        |finding: &Value| finding["code"] == "tap_down" || finding["code"] == "hook";
    transcript.run_json(&["doctor", "--json"], only("findings", of_the_tunnel));
    transcript.is("others_json.txt");
}

pub(super) fn a_reload_says_what_becomes_of_each_key() {
    let world = World::new(1);
    let path = world.keys.path("server.toml");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write("mac-ageing = 60\n");
    let config = path.to_str().unwrap();
    let server = world.serve(&["--workers", "1", "--config", config, "--macs-per-client", "5"]);
    let mut transcript = Transcript::with_settings(&server, &path);
    transcript.run(&["reload"]);
    let changed = "mtu = 1400\nmacs-per-client = 6\nport = 8081\nkeepalive = 7\n\
                   allow = [\"10.0.0.0/8\", \"192.0.2.0/24\"]\n";
    write(changed);
    transcript.note("the file is another").run(&["status"]).run(&["reload", "--dry-run"]);
    transcript.run(&["reload"]).run(&["reload"]);
    write("mtu = 1300\nmax-session = 9\n");
    transcript.note("the file is wrong").run(&["reload"]);
    let health = json(&server, &["status"])["health"][0].clone();
    assert_eq!(health["code"], "config", "{health}");
    assert!(health["text"].as_str().unwrap().contains("server.toml:2:1: there is no key"));
    fs::remove_file(&path).unwrap();
    transcript.note("the file is gone").run(&["reload", "--dry-run"]);
    write("mtu = 1300\nbridge = \"no-such\"\nport = 8081\n");
    transcript.note("the system refuses it").run(&["reload"]).run(&["status"]);
    transcript.is("reload.txt");
    // Once the bridge is there, nothing differs from what would be taken but that it was refused.
    shell(&world.server, "ip link add no-such type bridge");
    let health = || json(&server, &["status"])["health"].clone();
    assert_eq!((&health()[0]["code"], &health()[1]), (&"reload".into(), &Value::Null));
    said_by(control(&server), &["reload"]);
    assert_eq!(health(), serde_json::json!([]));
    // As JSON all keys are listed, with what ran and what was read.
    write(&changed.replace("1400", "1350"));
    let Said { code, out, .. } = said_by(control(&server), &["reload", "--json"]);
    let reload: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &reload["dry_run"]), (3, &false.into()), "{out}");
    let config = &reload["config"];
    assert_eq!((&config["generation"], &config["error"]), (&6.into(), &Value::Null), "{config}");
    assert_eq!(config["differs"], serde_json::json!(["port"]));
    let keys = reload["keys"].as_array().unwrap();
    let key = |name: &str| keys.iter().find(|key| key["key"] == name).unwrap();
    let mtu = r#"{"key":"mtu","now":1350,"outcome":"applied","was":1300}"#;
    assert_eq!(key("mtu").to_string(), mtu);
    assert_eq!(key("port")["outcome"], "needs_restart");
    assert_eq!(key("macs-per-client")["outcome"], "beaten");
    assert_eq!(key("workers")["outcome"], "unchanged");
    assert_eq!(json(&server, &["status"])["config"]["generation"], 6);
}

/// What becomes of keys of which one depends on another, or that are the same in other words.
pub(super) fn a_reload_looks_at_values_and_not_at_their_text() {
    let world = World::new(1).speaking(Mode::Secure);
    world.keys.server();
    world.keys.named_invite("berlin", &[]);
    let path = world.keys.path("server.toml");
    let write = |text: &str| fs::write(&path, text).unwrap();
    let original = "mac-ageing = 60\nprotect = [\"02:00:00:00:00:aa\"]\nmtu = 1400\n\
                    address = [\"fd00:9::1/64\"]\n";
    write(original);
    let config = path.to_str().unwrap();
    let state = world.keys.server_state();
    let arguments = ["server", "--state", &state, "--config", config, "--workers", "1"];
    let server = Acton::start("server", &world.server, &arguments);
    server.wait_for(said::LISTENING);
    let outcomes = |text: &str| -> Vec<(String, String)> {
        write(text);
        let Said { out, err, .. } = said_by(control(&server), &["reload", "--json"]);
        let reload: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
        assert_eq!(reload["clients"], serde_json::json!({ "listed": 1 }));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = reload["keys"].as_array().unwrap().iter();
        let keys = keys.map(|key| (text(&key["key"]), text(&key["outcome"])));
        keys.filter(|(_, outcome)| outcome != "unchanged").collect()
    };
    let same = original.replace("= 60", "= 60.0").replace(":aa", ":AA");
    assert_eq!(outcomes(&same), []);
    assert_eq!(json(&server, &["status"])["config"]["differs"], serde_json::json!([]));
    // So small an MTU is right only without the IPv6 address, which goes too; and one that needs a
    // restart says nothing of the others.
    let pair = |key: &str, outcome: &str| (key.to_owned(), outcome.to_owned());
    let small = "mac-ageing = 60\nprotect = [\"02:00:00:00:00:aa\"]\nmtu = 1000\nbusy-poll = 5\n\
                 key-log = \"/nowhere\"\n";
    let mut expected = vec![
        pair("address", "applied"),
        pair("busy-poll", "needs_restart"),
        pair("key-log", "needs_restart"),
        pair("mtu", "applied"),
    ];
    let mut said = outcomes(small);
    said.sort();
    assert_eq!(said, expected);
    said = outcomes(original);
    said.sort();
    expected.retain(|(_, outcome)| outcome == "applied");
    assert_eq!(said, expected);
    // The list of clients that is wrong stays, and is told.
    fs::write(world.keys.path("server/clients"), "nonsense\n").unwrap();
    let Said { code, err, .. } = said_by(control(&server), &["reload"]);
    assert!(code == 1 && err.contains("the list of clients stays as it was: "), "{err}");
    assert!(err.contains("line 1"), "{err}");
}

/// Keys that the file says, and that what the command line says contradicts.
pub(super) fn what_an_option_contradicts_is_beaten() {
    let world = World::new(0);
    let path = world.keys.path("server.toml");
    fs::write(&path, "mac-hold = 60\n").unwrap();
    // `--plain` has no such thing.
    let server = world.serve(&["--config", path.to_str().unwrap(), "--workers", "1"]);
    let text = told(&server, &["reload"]);
    let line = text.lines().find(|line| line.starts_with("mac-hold ")).unwrap();
    assert!(line.contains("beaten by an option"), "{text}");
}

pub(super) fn plain_mode_says_what_it_knows() {
    let world = World::new(1);
    let server = world.serve(&["--workers", "1"]);
    let client = world.join(0, &[]);
    ping_until_answered(&world.clients[0], ROOT_V4);
    until(&server, "the session is there", |session| session.heard_ago.is_some());
    Transcript::new(&server).run(&["status"]).run(&["status", "0"]).is("plain_server.txt");
    Transcript::new(&client).run(&["status"]).is("plain_client.txt");
}
