//! Metrics for Prometheus, from the same status as all else. Written here rather than by a client
//! library, which keeps registries of values of its own: these are a snapshot, in either of two formats.

mod collector;
mod counters;
mod families;
mod format;

pub(super) use collector::Collector;
pub(super) use format::Format;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;

    use acton_engine::{counters, drop_reasons};

    use super::counters::SHOWN;
    use super::families;
    use super::format::{Family, Kind};

    /// Set to 1, the reference is written anew.
    const WRITE: &str = "ACTON_WRITE_METRICS";

    fn all() -> Vec<Family> {
        let mut all: Vec<_> = families::ALL.to_vec();
        all.extend(SHOWN.iter().map(|shown| shown.family));
        all.dedup_by_key(|family| family.name);
        all
    }

    #[test]
    fn names_are_as_they_should_be() {
        let mut names: Vec<_> = all().iter().map(|family| family.name).collect();
        for family in all() {
            let Family { name, kind, help, .. } = family;
            assert!(name.starts_with("acton_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains(['"', '\\', '\n']), "{name}: {help}");
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn every_counter_is_shown() {
        let is_shown = |name: &str| SHOWN.iter().any(|shown| shown.counter == name);
        let names = counters().map(|(name, _)| name);
        let missing: Vec<_> =
            names.filter(|name| !name.starts_with("drop.") && !is_shown(name)).collect();
        assert_eq!(missing, ["session.rtt_microseconds"]);
    }

    /// The tables of docs/METRICS.md.
    fn reference() -> String {
        let mut text = String::new();
        let mut table = |title: &str, is_in: &dyn Fn(&Family) -> bool| {
            let _ = writeln!(text, "## {title}\n\n| Metric | Type | Labels | |\n|---|---|---|---|");
            for family in all().iter().filter(|family| is_in(family)) {
                let kind = match family.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Spread => "histogram",
                };
                let labels: Vec<_> =
                    family.labels.iter().map(|label| format!("`{label}`")).collect();
                let (name, labels, help) = (family.name, labels.join(", "), family.help);
                let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
            }
            text.push('\n');
        };
        let is_of_session = |family: &Family| family.labels.contains(&"session");
        table("Of the tunnel", &|family| !is_of_session(family));
        table("Of each session", &is_of_session);
        text.push_str("## Reasons to drop\n\n| `reason` | |\n|---|---|\n");
        for (reason, meaning) in drop_reasons() {
            let _ = writeln!(text, "| `{reason}` | {meaning} |");
        }
        text
    }

    #[test]
    fn the_reference_has_all_of_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, tables) = page.split_once("## Of the tunnel").unwrap();
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(path, before.to_owned() + &reference()).unwrap();
        } else {
            let written = format!("## Of the tunnel{tables}");
            assert!(
                written == reference(),
                "{WRITE}=1 cargo test -p acton-cli --lib writes docs/METRICS.md anew"
            );
        }
    }
}
