use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::super::status_text::Look;
use super::draw::draw;
use super::feed::{News, Snapshot};
use super::model::Top;
use crate::control::{DropCount, EventRecord};

fn session(number: usize, name: &str, state: &str, bytes: u64) -> Value {
    let is_up = state == "up" || state == "quiet";
    json!({
        "number": number, "name": name, "key": format!("key{number}"), "state": state,
        "state_seconds": 60.0 * number as f64, "reason": if is_up { Value::Null } else { "silent".into() },
        "refusal": null, "session_seconds": 7200.0, "address": format!("198.51.100.{}:51820", number % 250),
        "roams": 0, "rekeys": 3, "suite": "aes-256-gcm", "peer_version": "0.2.0", "peer_mtu": 1500,
        "server_restarts": null, "heard_seconds": 0.4,
        "rtt": { "min_seconds": 0.009, "smoothed_seconds": 0.012, "jitter_seconds": 0.001 },
        "loss_in": { "sent": 10000, "received": 9998 }, "loss_out": { "sent": 100, "received": 100 },
        "path_mtu_out": 1472, "path_mtu_in": 1472,
        "traffic": { "frames_in": bytes / 1000, "bytes_in": bytes, "frames_out": bytes / 4000,
                     "bytes_out": bytes / 4, "drops": { "source_held": 3 } },
        "macs": [{ "mac": format!("02:00:00:00:00:{:02x}", number % 256), "vlan": 0,
                   "age_seconds": 3.0, "frozen": false }],
        "mac_limit": 256, "budgets_acting": [], "loop": null, "before": null,
    })
}

/// A server with these sessions, so many seconds after its start.
fn look(sessions: Vec<Value>, at: f64) -> Look {
    let instance = json!({
        "name": "lan0", "version": "0.2.0", "time": 1_795_000_000.0 + at, "running_seconds": at,
        "role": "server", "protocol": "acton/1",
        "health": [{ "code": "receive_buffer", "text": "the kernel dropped 7 datagrams that came \
                     too fast to be read: sysctl net.core.rmem_max=4194304 and a restart give more" }],
        "config": null,
        "tap": { "name": "lan0", "mac": "02:ac:70:00:00:01", "mtu": 1500, "running": true,
                 "bridge": "br0", "queues": 2 },
        "sockets": [], "bridge": { "root_macs": 231, "client_macs": 14, "budgets_acting": [] },
        "totals": {}, "last_event": 4, "ended": false,
        "control": { "connections": 1, "refused": 0, "evicted": 0, "bad_requests": 0, "too_slow": 0 },
    });
    Look {
        instance: serde_json::from_value(instance).unwrap(),
        sessions: sessions.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect(),
    }
}

fn event(number: u64, text: &str) -> EventRecord {
    let value = json!({ "number": number, "time": 1_795_000_000.0 + number as f64,
                        "event": "session_up", "text": text, "client": "berlin" });
    serde_json::from_value(value).unwrap()
}

/// Hears of two looks a second apart.
fn heard(of: impl Fn(u64) -> Vec<Value>) -> Top {
    let mut top = Top::default();
    for second in [0, 1] {
        let drops = [("source_held", 40 + 2 * second), ("no_session", 7), ("malformed", 0)];
        let drops = drops.map(|(reason, count)| DropCount {
            reason: reason.into(),
            count,
            meaning: "What it means, in a sentence for people that is a little long.".into(),
        });
        let snapshot = Snapshot {
            look: look(of(second), 3_600.0 + second as f64),
            events: match second {
                0 => vec![event(1, "client berlin (session 1) is up: 198.51.100.1:51820")],
                _ => vec![event(2, "client oslo (session 2) is up: 198.51.100.2:51820")],
            },
            drops: drops.to_vec(),
            fdb: None,
        };
        assert!(top.hear(News::Look(Box::new(snapshot))));
    }
    top
}

fn three(second: u64) -> Vec<Value> {
    vec![
        session(1, "berlin", "up", 1_000_000 + 150_000 * second),
        session(2, "oslo", "quiet", 500_000 + 9_000 * second),
        session(3, "rome", "lost", 7_000),
    ]
}

/// What a screen of that size shows, a line each.
fn screen(top: &mut Top, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(top, frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let lines = buffer.content.chunks(width.into());
    lines
        .map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
        .collect()
}

/// Holds a screen against the file of that name.
#[track_caller]
fn is(screen: &[String], name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/ask/top/screens").join(name);
    let text = screen.join("\n") + "\n";
    if std::env::var_os("SNAPSHOTS").is_some_and(|it| it == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let was = std::fs::read_to_string(&path).unwrap();
    assert!(was == text, "SNAPSHOTS=write writes {name} anew; it shows now:\n{text}");
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        assert!(top.key(KeyEvent::new(code, KeyModifiers::NONE)).is_continue(), "{key:?}");
    }
}

#[test]
fn screens_of_an_ordinary_terminal_and_a_wide_one() {
    let mut top = heard(three);
    is(&screen(&mut top, 80, 24), "80x24.txt");
    is(&screen(&mut top, 132, 30), "132x30.txt");
    press(&mut top, "x");
    is(&screen(&mut top, 80, 24), "drops.txt");
    press(&mut top, "\n");
    is(&screen(&mut top, 80, 40), "session.txt");
    press(&mut top, "\u{1b}?");
    is(&screen(&mut top, 80, 24), "help.txt");
}

#[test]
fn a_tunnel_that_is_away_is_shown_as_it_was_and_comes_back() {
    let mut top = Top::default();
    assert!(top.hear(News::Away("no such socket".to_owned())));
    assert!(!top.hear(News::Away("no such socket".to_owned())), "drawn anew for nothing");
    assert_eq!(screen(&mut top, 80, 24)[0], "waiting for a tunnel: no such socket");
    let mut top = heard(three);
    top.hear(News::Away("the answer ends early".to_owned()));
    is(&screen(&mut top, 80, 24), "away.txt");
    let snapshot = Snapshot { look: look(three(0), 1.0), events: vec![], drops: vec![], fdb: None };
    top.hear(News::Look(Box::new(snapshot)));
    let back = screen(&mut top, 80, 24).join("\n");
    assert!(!back.contains("away") && !back.contains("AWAY"), "{back}");
    assert!(top.events.is_empty() && top.drops.is_empty(), "those of the tunnel before");
}

#[test]
fn rows_are_sorted_searched_and_marked() {
    let mut top = heard(three);
    let names = |top: &mut Top| {
        let lines = screen(top, 80, 24);
        let rows = lines
            .iter()
            .filter(|line| ["berlin ", "oslo ", "rome "].iter().any(|name| line.starts_with(name)));
        rows.map(|line| line.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&mut top), ["berlin", "oslo", "rome"], "by throughput");
    assert_eq!(top.session().unwrap().name, "berlin");
    press(&mut top, "r");
    assert_eq!(names(&mut top), ["rome", "oslo", "berlin"]);
    assert_eq!(top.session().unwrap().name, "rome", "the first one");
    press(&mut top, "Gr");
    assert_eq!(top.session().unwrap().name, "berlin", "the mark stays on whom it was");
    press(&mut top, "/o\u{8}SLO");
    assert_eq!(names(&mut top), ["oslo"]);
    assert_eq!(top.session().unwrap().name, "oslo");
    press(&mut top, "\n\u{1b}");
    assert_eq!(names(&mut top).len(), 3);
    press(&mut top, "/00:03\n");
    assert_eq!(names(&mut top), ["rome"], "by its MAC");
    assert!(top.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)).is_break());
}

#[test]
fn what_is_drawn_is_drawn_on_any_screen_and_of_thousands() {
    let mut top = heard(|second| {
        (0..10_000)
            .map(|i| session(i, &format!("client-{i}"), "up", i as u64 * 1_000 * second))
            .collect()
    });
    let lines = screen(&mut top, 80, 24);
    assert!(lines.iter().any(|line| line.starts_with("client-9999")), "{lines:?}");
    press(&mut top, "G");
    assert_eq!(top.session().unwrap().name, "client-0");
    assert!(screen(&mut top, 80, 24).iter().any(|line| line.starts_with("client-0 ")));
    for (width, height) in [(1, 1), (20, 5), (80, 10), (300, 100)] {
        for keys in ["x", "f", "e", "\n", "\u{1b}", "?", "\u{1b}"] {
            screen(&mut top, width, height);
            press(&mut top, keys);
        }
    }
}
