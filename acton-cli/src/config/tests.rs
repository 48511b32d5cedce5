use std::collections::BTreeMap;
use std::ffi::OsString;

use acton_engine::{
    ClientMode, ClientSettings, SecureSettings, ServerMode, ServerName, ServerSettings, Settings,
};
use clap::{ArgAction, Command};
use proptest::prelude::*;

use super::key::{Key, Shape, without_environment};
use super::{Invocation, Reading, Role, check, example, json, toml};
use crate::cli::{command, other_keys, role_command, to_settings};

/// Options that say what to print, or which file to read.
const NO_KEYS: [&str; 3] = ["help", "version", "config"];

fn invocation(role: Role, options: &[&str]) -> Invocation {
    let root = Role::ALL
        .into_iter()
        .fold(command(), |root, role| root.mut_subcommand(role.name(), without_environment));
    let arguments = ["acton", role.name()].into_iter().chain(options.iter().copied());
    Invocation::new(root, arguments.map(OsString::from).collect()).unwrap()
}

fn read(invocation: &Invocation) -> Reading {
    invocation.read().unwrap()
}

/// A value that an option takes.
fn value_of(command: &Command, key: Key<'_>) -> String {
    let tries = [
        "1",
        "1400",
        "info",
        "auto",
        "10.0.0.1/24",
        "192.0.2.1:9",
        "192.0.2.1",
        "02:00:00:00:00:01",
        "arp=500/1000",
    ];
    let fits = |value: &&str| {
        let mut tokens = vec![OsString::from(command.get_name())];
        tokens.extend(key.tokens(&[value.into()]));
        let Err(error) = command.clone().try_get_matches_from(tokens) else { return true };
        error.kind() == clap::error::ErrorKind::MissingRequiredArgument
    };
    let default = key.arg().get_default_values().first().and_then(|value| value.to_str());
    let value = default.into_iter().chain(tries).find(fits);
    value.unwrap_or_else(|| panic!("add a value that {} takes", key.name())).to_owned()
}

#[test]
fn each_option_is_a_key_and_each_key_an_option() {
    for role in Role::ALL {
        let mut command = without_environment(role_command(role));
        command.build();
        let keys: BTreeMap<&str, Key<'_>> =
            Key::all(&command).map(|key| (key.name(), key)).collect();
        for option in command.get_arguments() {
            let name = option.get_long().unwrap_or(option.get_id().as_str());
            if NO_KEYS.contains(&name) {
                assert!(!keys.contains_key(name));
                continue;
            }
            let key = keys[name];
            let flag = matches!(option.get_action(), ArgAction::SetTrue);
            let value = if flag { "true".to_owned() } else { key.toml(&value_of(&command, key)) };
            let value = if key.is_list() { format!("[{value}]") } else { value };
            assert_eq!(check(&role_command(role), &format!("{name} = {value}")), Ok(()), "{name}");
        }
        let invocation = invocation(role, &["--config", "none"]);
        let shown = json(&invocation, &read(&invocation));
        let shown =
            shown["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap());
        let visible = keys.values().filter(|key| !key.arg().is_hide_set()).map(|key| key.name());
        let (mut shown, mut visible): (Vec<_>, Vec<_>) = (shown.collect(), visible.collect());
        shown.sort_unstable();
        visible.sort_unstable();
        assert_eq!(shown, visible);
    }
}

/// What a start with these options makes, where clap takes them.
fn settings(role: Role, options: &[OsString]) -> Option<Settings> {
    let command = without_environment(role_command(role)).ignore_errors(true);
    let name = OsString::from(role.name());
    let matches = command.try_get_matches_from([&[name], options].concat()).unwrap();
    let base = match role {
        Role::Server => {
            let mode = ServerMode::Secure(SecureSettings::default());
            Settings::Server(ServerSettings::new(mode))
        }
        Role::Client => {
            let server = ServerName::parse("192.0.2.1", 8080).unwrap();
            Settings::Client(ClientSettings::new(server, ClientMode::Plain))
        }
    };
    to_settings(&matches, base).ok()
}

#[test]
fn keys_that_make_no_setting_are_named() {
    let values = [
        "2",
        "1300",
        "aes",
        "192.0.2.1",
        "10.0.0.1/24",
        "192.0.2.1:9",
        "02:00:00:00:00:01",
        "arp=5/9",
        "true",
        "x",
    ];
    for role in Role::ALL {
        let others = other_keys(role);
        for key in Key::all(&role_command(role)) {
            let makes = |mode: &[OsString]| {
                let without = settings(role, mode).unwrap();
                let with = |value: &str| {
                    settings(role, &[mode, &key.tokens(&[OsString::from(value)])].concat())
                };
                values.iter().any(|value| with(value).is_some_and(|with| with != without))
            };
            let makes_setting = makes(&[]) || makes(&["--plain".into()]);
            let is_named = [others.live, others.at_start].concat().contains(&key.name());
            assert_ne!(makes_setting, is_named, "{role:?}: {}", key.name());
        }
    }
}

#[test]
fn options_of_numbers_are_written_without_quotes() {
    let command = role_command(Role::Server);
    let shape = |name| Key::find(&command, name).unwrap().shape();
    for number in
        ["port", "keepalive", "mac-ageing", "max-sessions", "macs-per-client", "workers", "mtu"]
    {
        assert_eq!(shape(number), Shape::Number, "{number}");
    }
    assert_eq!(
        (shape("plain"), shape("listen"), shape("suite")),
        (Shape::Flag, Shape::Text, Shape::Text)
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_what_is_right() {
    for (text, at, words) in [
        ("prot = 1", (1, 1), "did you mean 'port'?"),
        ("\nmac_ageing = 1", (2, 1), "did you mean 'mac-ageing'?"),
        ("zebra = 1", (1, 1), "`acton config example server` lists"),
        ("mtu = 99999", (1, 7), "99999 is not in 68..="),
        ("  mtu = \"1400\"", (1, 9), "write mtu = NUMBER"),
        ("listen = 5", (1, 10), "write listen = \"ADDR\""),
        ("plain = 1", (1, 9), "write plain = true or false"),
        ("address = \"10.0.0.1/24\"", (1, 11), "write a list, address = [\"IP/N\"]"),
        ("address = [\n \"10.0.0.1/24\",\n \"x\",\n]", (3, 2), "'x': no IP address"),
        ("suite = \"aess\"", (1, 9), "one of auto, aes, chacha"),
        ("keepalive = inf", (1, 13), "not within 0.1 to 86400"),
        ("max-sessions = -1", (1, 16), "-1 is not in 0..=65535"),
        ("state = 1979-05-27", (1, 9), "write state = \"DIR\""),
        ("[tap]\nmtu = 1", (1, 2), "no sections"),
        ("tap.mtu = 1", (1, 1), "no sections"),
        ("log-level = \"inof\"", (1, 13), "'inof' is no level"),
        ("bridge = \"acton://192.0.2.1/#AAAA\"", (1, 10), "an invite is a secret"),
        ("bridge = \" ACTON://192.0.2.1/#AAAA\"", (1, 10), "an invite is a secret"),
        ("# Grüße\nport = 1 # ö\nport = 2", (3, 1), "duplicate key"),
        ("port = ", (1, 8), ""),
    ] {
        let problems = check(&role_command(Role::Server), text).unwrap_err();
        let first = &problems[0];
        assert_eq!((first.line, first.column), at, "{text:?}: {first}");
        assert!(first.what.contains(words), "{text:?}: {first}");
    }
    let all = check(&role_command(Role::Server), "prot = 1\nmtu = 1\nplain = false\nmtx = 3")
        .unwrap_err();
    assert_eq!(all.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 2, 4]);
}

#[test]
fn an_example_explains_each_key_and_sets_none() {
    for role in Role::ALL {
        let example = example(&role_command(role));
        assert_eq!(check(&role_command(role), &example), Ok(()));
        // With the marks of comments away from what has a default, it says what holds anyway.
        let command = role_command(role);
        let with_default = Key::all(&command)
            .filter(|key| !key.arg().get_default_values().is_empty() && !key.arg().is_hide_set());
        let mut text = String::new();
        for key in with_default {
            let line = format!("#{} = ", key.name());
            let line = example.lines().find(|found| found.starts_with(&line)).unwrap();
            text.push_str(&line[1..]);
            text.push('\n');
        }
        assert_eq!(check(&role_command(role), &text), Ok(()));
        assert!(text.contains("mtu = 1500\n"), "{text}");
    }
}

#[test]
fn flags_beat_the_file_and_the_file_beats_defaults() {
    let file = std::env::temp_dir().join(format!("acton-config-{}.toml", std::process::id()));
    std::fs::write(
        &file,
        "port = 5555\nmtu = 1_400\naddress = [\"10.0.0.1/24\", \"fd00::1/64\"]\n\
                           allow = [\"10.0.0.0/8\"]\npin = true\nmax-sessions = 0x10\n",
    )
    .unwrap();
    let path = file.display().to_string();
    let flags = ["--plain", "--config", &path, "--mtu", "1300", "-a", "10.9.0.1/16"];
    let invocation = invocation(Role::Server, &flags);
    let reading = read(&invocation);
    let shown = toml(&invocation, &reading);
    for (line, origin) in [
        ("#listen = \"0.0.0.0\"", "default".to_owned()),
        ("port = 5555", format!("{path}:1")),
        ("mtu = 1300", "flag".to_owned()),
        ("address = [\"10.9.0.1/16\"]", "flag".to_owned()),
        ("allow = [\"10.0.0.0/8\"]", format!("{path}:4")),
        ("plain = true", "flag".to_owned()),
        ("pin = true", format!("{path}:5")),
        ("max-sessions = 16", format!("{path}:6")),
    ] {
        let found = shown
            .lines()
            .find(|shown| shown.starts_with(line))
            .unwrap_or_else(|| panic!("{line}: {shown}"));
        assert_eq!(found.split_once(" # ").unwrap().1, origin, "{found}");
    }
    // What is shown is a file that says the same.
    std::fs::write(&file, &shown).unwrap();
    let again = self::invocation(Role::Server, &["--config", &path]);
    let of = |reading: &Reading| {
        let values = reading.values.clone().into_iter();
        values.map(|(key, value)| (key, value.values)).collect::<Vec<_>>()
    };
    assert_eq!(of(&read(&again)), of(&reading));
    // What options demand of one another holds, wherever they come from.
    std::fs::write(&file, "mtu = 1400\nallow = [\"10.0.0.0/8\"]\n").unwrap();
    let error = again.read().unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{path}:2:1: allow:")) && error.contains("--plain"),
        "{error}"
    );
    std::fs::remove_file(&file).unwrap();
    let error = again.read().unwrap_err().to_string();
    assert!(error.contains(&format!("cannot read {path}")), "{error}");
}

#[test]
fn flags_beat_what_contradicts_them_in_the_file() {
    let file = std::env::temp_dir().join(format!("acton-contradict-{}.toml", std::process::id()));
    let path = file.display().to_string();
    for (text, flags, line) in [
        ("invite-file = \"/none\"\n", ["192.0.2.1"].as_slice(), "server = [\"192.0.2.1\"]"),
        ("server = \"192.0.2.1\"\n", &["--invite-file", "/none"], "invite-file = \"/none\""),
    ] {
        std::fs::write(&file, text).unwrap();
        let invocation = invocation(Role::Client, &[&["--config", &path], flags].concat());
        let reading = read(&invocation);
        let shown = toml(&invocation, &reading);
        assert!(shown.contains(line), "{shown}");
        let beaten = text.split_once(' ').unwrap().0;
        assert!(shown.contains(&format!("# {beaten} is not set")), "{shown}");
    }
    // Two lines of one file that contradict one another are still refused.
    std::fs::write(&file, "server = \"192.0.2.1\"\ninvite-file = \"/none\"\n").unwrap();
    let error = invocation(Role::Client, &["--config", &path]).read().unwrap_err().to_string();
    assert!(error.starts_with(&path), "{error}");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_is_shown_has_no_invite() {
    for invite in ["acton://192.0.2.1/#AAAA", " ACTON://192.0.2.1/#AAAA"] {
        let invocation = invocation(Role::Client, &["--config", "none", invite]);
        let reading = read(&invocation);
        for shown in [toml(&invocation, &reading), json(&invocation, &reading).to_string()] {
            assert!(shown.contains("an invite") && !shown.contains("#AAAA"), "{shown}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = check(&role_command(Role::Server), &text);
    }

    #[test]
    fn nothing_like_a_file_panics(
        lines in proptest::collection::vec(
            ("(port|mtu|address|plain|suite|keepalive|x|\"\"|tap\\.mtu)", "[\\[\\]{}\"'=.,0-9a-z:/+_#-]{0,24}"),
            0..8,
        ),
    ) {
        let text: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        if let Err(problems) = check(&role_command(Role::Client), &text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.line <= lines.len() + 1));
        }
    }
}
