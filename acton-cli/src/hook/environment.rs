//! What a hook finds in its environment.

use std::collections::BTreeMap;

use acton_engine::{Event, Handle, Role};
use serde_json::Value;

use crate::control::EventRecord;

/// What the name of each variable begins with.
pub(super) const PREFIX: &str = "ACTON_";
/// Bytes of a value at most: a program's environment has room for no more than so much, and what is
/// longer, such as a list of all of a bridge's addresses, is on standard input.
const LONGEST: usize = 4_096;

/// Who gives hooks their events.
#[derive(Debug, Clone)]
pub(super) struct Giver {
    pub(super) name: String,
    pub(super) handle: Handle,
}

impl Giver {
    /// The variables of an event: the fields of its kind, and what is the same for all.
    pub(super) fn environment(
        &self,
        event: &Event,
        record: &EventRecord,
    ) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        let mut set = |name: &str, value: String| {
            if value.len() <= LONGEST && !value.contains('\0') {
                environment.insert(format!("{PREFIX}{}", name.to_ascii_uppercase()), value);
            }
        };
        for (name, value) in &record.fields {
            if let Some(value) = text(value) {
                set(name, value);
            }
        }
        if let Some(session) = event.kind.session() {
            set("session", session.to_string());
        }
        let role = match self.handle.role() {
            Role::Server => "server",
            Role::Client => "client",
        };
        set("event", record.event.clone());
        set("number", record.number.to_string());
        set("time", record.time.to_string());
        set("name", self.name.clone());
        set("role", role.to_owned());
        set("tap", self.handle.tap_name().to_owned());
        if let Some(text) = &record.text {
            set("text", text.clone());
        }
        environment
    }
}

/// A field as text: what has parts as JSON, and nothing of what is not known.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

/// Whether a variable may be set for a hook: any other name could have it run something else.
pub(super) fn may_be_set(name: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_fine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_can_make_a_hook_run_something_else() {
        assert!(may_be_set("ACTON_EVENT"));
        for name in ["LD_PRELOAD", "PATH", "ACTON_", "ACTON_x", "ACTON_A=B", "", "BASH_ENV"] {
            assert!(!may_be_set(name), "{name}");
        }
    }

    #[test]
    fn a_field_is_text_and_one_that_is_not_known_is_none() {
        assert_eq!(text(&Value::from("bye")).as_deref(), Some("bye"));
        assert_eq!(text(&Value::from(1.5)).as_deref(), Some("1.5"));
        assert_eq!(text(&serde_json::json!(["a", 1])).as_deref(), Some(r#"["a",1]"#));
        assert_eq!(text(&Value::Null), None);
    }
}
