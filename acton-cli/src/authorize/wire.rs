//! What is said on the socket, a line each: docs/AUTHORIZE.md is the reference.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use acton_engine::keys::{encode_key, parse_key};
use acton_engine::{ClientPolicy, Decision, EventKind, Key, MAX_VALID_FOR, Question, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of all lines to the program. It grows where a field goes or changes its meaning.
const SCHEMA: u32 = 1;
/// How deep a policy may be nested.
const MAX_DEPTH: usize = 4;

/// A line to the program.
#[derive(Debug, Serialize)]
struct Said<'a> {
    schema: u32,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum What<'a> {
    Question(Asked<'a>),
    Accounting(Account<'a>),
}

#[derive(Debug, Serialize)]
struct Asked<'a> {
    id: u64,
    key: String,
    name: Option<&'a str>,
    address: IpAddr,
    port: u16,
    local: Option<IpAddr>,
    session: bool,
    server: &'a str,
    time: f64,
}

#[derive(Debug, Serialize)]
struct Account<'a> {
    #[serde(flatten)]
    event: &'a EventKind,
    server: &'a str,
    time: f64,
}

/// The line of a question that the server of this name asks, with its end.
pub(super) fn question(question: &Question, server: &str, time: f64) -> String {
    line(What::Question(Asked {
        id: question.number,
        key: encode_key(&question.client),
        name: question.name.as_deref(),
        address: question.address.ip().to_canonical(),
        port: question.address.port(),
        local: question.local,
        session: question.has_session,
        server,
        time,
    }))
}

/// The line of an account.
pub(super) fn account(event: &EventKind, server: &str, time: f64) -> String {
    line(What::Accounting(Account { event, server, time }))
}

fn line(what: What<'_>) -> String {
    // Plain data with names for keys: it can be written.
    let mut line = serde_json::to_string(&Said { schema: SCHEMA, what }).unwrap_or_default();
    line.push('\n');
    line
}

/// A line of the program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Heard {
    Answer(Answer),
    Revoke(String),
    Recheck(String),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Answer {
    id: u64,
    allow: bool,
    reason: Option<String>,
    name: Option<String>,
    #[serde(default)]
    policy: Map<String, Value>,
    valid_for: Option<f64>,
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(line: &str) -> Result<Decision, String> {
    match serde_json::from_str(line).map_err(|error| error.to_string())? {
        Heard::Answer(answer) => {
            let number = answer.id;
            let verdict = verdict(answer).map_err(|error| format!("answer {number}: {error}"))?;
            Ok(Decision::Answer { number, verdict })
        }
        Heard::Revoke(client) => key(&client).map(Decision::Revoke),
        Heard::Recheck(client) => key(&client).map(Decision::Recheck),
    }
}

fn key(text: &str) -> Result<Key, String> {
    parse_key(text).map_err(|error| error.to_string())
}

fn verdict(answer: Answer) -> Result<Verdict, String> {
    let Answer { allow, reason, name, policy, valid_for, .. } = answer;
    let most = MAX_VALID_FOR.as_secs_f64();
    let in_range = |seconds: &f64| (1.0..=most).contains(seconds);
    let valid_for = match valid_for {
        Some(seconds) if in_range(&seconds) => Some(Duration::from_secs_f64(seconds)),
        Some(_) => return Err(format!("\"valid-for\": not within 1 to {most} seconds")),
        None => None,
    };
    if !allow {
        return Ok(Verdict::deny(reason.map(printable), valid_for));
    }
    let mut keys = Vec::with_capacity(policy.len());
    for (key, value) in &policy {
        let mut text = String::new();
        write_toml(value, 0, &mut text).map_err(|error| format!("{key:?}: {error}"))?;
        keys.push((key.as_str(), text));
    }
    Ok(Verdict::allow(ClientPolicy::from_keys(name.as_deref(), keys)?, valid_for))
}

/// What the program said as it may stand in a log.
pub(super) fn printable(mut reason: String) -> String {
    const MOST: usize = 200;
    reason.retain(|letter| !letter.is_control());
    match reason.char_indices().nth(MOST) {
        Some((end, _)) => reason[..end].to_owned(),
        None => reason,
    }
}

/// Writes a value in one line as TOML has it, so that a policy is read as one in a list is.
fn write_toml(value: &Value, depth: usize, to: &mut String) -> Result<(), &'static str> {
    if depth > MAX_DEPTH {
        return Err("nested too deep");
    }
    match value {
        Value::Null => return Err("null is no value; leave the key out"),
        Value::Bool(_) | Value::Number(_) => to.push_str(&value.to_string()),
        Value::String(text) => write_text(text, to),
        Value::Array(values) => {
            to.push('[');
            for value in values {
                write_toml(value, depth + 1, to)?;
                to.push(',');
            }
            to.push(']');
        }
        Value::Object(values) => {
            to.push('{');
            for (at, (key, value)) in values.iter().enumerate() {
                to.push_str(if at == 0 { "" } else { "," });
                write_text(key, to);
                to.push('=');
                write_toml(value, depth + 1, to)?;
            }
            to.push('}');
        }
    }
    Ok(())
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => to.extend(['\\', letter]),
            // A String takes all that is written to it.
            letter if letter.is_control() => {
                let _ = write!(to, "\\u{:04x}", u32::from(letter));
            }
            letter => to.push(letter),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    #[test]
    fn an_answer_is_read_with_its_policy() {
        let line = r#"{"answer":{"id":7,"allow":true,"name":"berlin","valid-for":90,"policy":
            {"ips":["10.0.0.5","learn"],"max-macs":4,"trusted":false,
             "rate-in":{"bits":"20M","frames":5000},"mac":"02:00:00:00:00:01"}}}"#;
        let Decision::Answer { number: 7, verdict } = read(line).unwrap() else { panic!() };
        assert_eq!(verdict.valid_for, Some(Duration::from_secs(90)));
        let terms = verdict.terms.unwrap();
        assert_eq!((terms.name.as_deref(), terms.max_macs), (Some("berlin"), Some(4)));
        assert_eq!((terms.macs.len(), terms.frames.learns()), (1, true));
        assert!(terms.frames.policy().rate_in.is_some());
        let line = r#"{"answer":{"id":8,"allow":false,"reason":"no\nmoney"}}"#;
        let Decision::Answer { verdict, .. } = read(line).unwrap() else { panic!() };
        assert_eq!((verdict.terms, verdict.valid_for), (Err(Some("nomoney".to_owned())), None));
        assert_eq!(read(&format!("{{\"revoke\":\"{KEY}\"}}")), Ok(Decision::Revoke([1; 32])));
        assert_eq!(read(&format!("{{\"recheck\":\"{KEY}\"}}")), Ok(Decision::Recheck([1; 32])));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        for (line, told) in [
            ("", "EOF"),
            ("[1]", "expected"),
            (r#"{"answer":{"id":7}}"#, "allow"),
            (r#"{"answer":{"id":7,"allow":true,"policies":{}}}"#, "policies"),
            (
                r#"{"answer":{"id":7,"allow":true,"valid-for":0}}"#,
                "answer 7: \"valid-for\": not within 1",
            ),
            (r#"{"answer":{"id":7,"allow":true,"name":"a b"}}"#, "1 to 63"),
            (
                r#"{"answer":{"id":7,"allow":true,"policy":{"ips":["10.0.0.256"]}}}"#,
                "\"ips\": no IP",
            ),
            (r#"{"answer":{"id":7,"allow":true,"policy":{"ips":null}}}"#, "leave the key out"),
            (r#"{"answer":{"id":7,"allow":true,"policy":{"psk":"x"}}}"#, "no such key"),
            (r#"{"answer":{"id":7,"allow":true,"policy":{"ips":[[[[[[1]]]]]]}}}"#, "nested"),
            (r#"{"revoke":"x"}"#, "44 characters"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn an_account_is_a_line() {
        let event = EventKind::AccountingStart {
            session: 3,
            id: "1-3".to_owned(),
            client: "berlin".to_owned(),
            key: KEY.to_owned(),
            address: "192.0.2.1:9".parse().unwrap(),
        };
        let line = account(&event, "lan0", 1.5);
        assert_eq!(
            line,
            format!(
                "{{\"schema\":1,\"accounting\":{{\"event\":\"accounting_start\",\"session\":3,\"id\":\"1-3\",\
                 \"client\":\"berlin\",\"key\":\"{KEY}\",\"address\":\"192.0.2.1:9\",\"server\":\"lan0\",\
                 \"time\":1.5}}}}\n"
            )
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\\u{1}\u{7f}é]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        /// A value is the same as TOML, and is one line: nothing in it can be read as something else.
        #[test]
        fn json_is_the_same_as_toml(value in json()) {
            let mut text = String::new();
            write_toml(&value, 0, &mut text).unwrap();
            prop_assert!(!text.contains(['\n', '\r']));
            let table: toml::Table = format!("a = {text}").parse().unwrap();
            prop_assert_eq!(table.len(), 1);
            prop_assert_eq!(serde_json::to_value(&table["a"]).unwrap(), value);
        }

        #[test]
        fn any_line_is_a_decision_or_an_error(line in ".{0,200}", value in json()) {
            let _ = read(&line);
            let _ = read(&serde_json::json!({"answer": value}).to_string());
            let policy = serde_json::json!({"ips": value, "allow": value, "rate-in": value});
            let answer = serde_json::json!({"answer": {"id": 1, "allow": true, "policy": policy}});
            let _ = read(&answer.to_string());
        }
    }
}
