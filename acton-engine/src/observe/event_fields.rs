//! An event's name and fields, for logs that have fields.

use log::kv::{Error, Key, Source, Value, VisitSource};
use serde_json::{Map, Value as Json};

use crate::observe::event::EventKind;

/// `event`, the kind's stable name, and its fields by theirs. Text, numbers and booleans are values of
/// their own; what has parts is displayed as JSON; what is not known is left out.
#[derive(Debug)]
pub(crate) struct EventFields(Map<String, Json>);

impl EventFields {
    pub(crate) fn of(event: &EventKind) -> Self {
        match serde_json::to_value(event) {
            Ok(Json::Object(fields)) => Self(fields),
            // An event is a struct.
            _ => Self(Map::new()),
        }
    }
}

impl Source for EventFields {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), Error> {
        for (name, value) in &self.0 {
            let value = match value {
                Json::Null => continue,
                Json::Bool(value) => Value::from(*value),
                Json::String(text) => Value::from(text.as_str()),
                Json::Number(number) => match (number.as_u64(), number.as_f64()) {
                    (Some(number), _) => Value::from(number),
                    (None, Some(number)) => Value::from(number),
                    (None, None) => Value::from_display(number),
                },
                Json::Array(_) | Json::Object(_) => Value::from_display(value),
            };
            visitor.visit_pair(Key::from_str(name), value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::observe::event::{EndReason, Place};

    #[derive(Default)]
    struct Seen(BTreeMap<String, String>);

    impl<'kvs> VisitSource<'kvs> for Seen {
        fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
            self.0.insert(key.to_string(), value.to_string());
            Ok(())
        }
    }

    fn seen(event: &EventKind) -> Vec<(String, String)> {
        let mut seen = Seen::default();
        EventFields::of(event).visit(&mut seen).unwrap();
        seen.0.into_iter().collect()
    }

    #[test]
    fn fields_have_their_names_and_no_more_than_is_known() {
        let own = |fields: &[(&str, &str)]| {
            let own = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            fields.iter().map(own).collect::<Vec<_>>()
        };
        let event = EventKind::Disconnected {
            server: "a:1".to_owned(),
            reason: EndReason::Bye,
            silent: None,
            retry_in: Duration::from_millis(1_500),
        };
        let fields = [("event", "disconnected"), ("reason", "bye"), ("retry_in", "1.5")];
        assert_eq!(seen(&event), own(&[&fields[..], &[("server", "a:1")]].concat()));
        let at = Place::Session { session: 3, client: Some("berlin".to_owned()) };
        let event = EventKind::MacLearnt { mac: "02:00:00:00:00:09".parse().unwrap(), vlan: 7, at };
        let at = r#"{"session":{"client":"berlin","session":3}}"#;
        let fields = [("at", at), ("event", "mac_learnt"), ("mac", "02:00:00:00:00:09")];
        assert_eq!(seen(&event), own(&[&fields[..], &[("vlan", "7")]].concat()));
    }
}
