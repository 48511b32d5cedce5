//! Whether nftables lets the tunnel's datagrams through, as far as its rules can be read.

use serde_json::Value;

use crate::doctor::code::Code;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;

/// How deep chains may jump: nftables allows 16 (`NFT_JUMP_STACK_SIZE` of net/netfilter/nf_tables.h).
const DEPTH: usize = 16;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let outgoing = facts.servers.iter().filter_map(|server| server.addresses.as_ref().ok());
    let port = match (facts.listens, outgoing.flatten().next()) {
        (Some(port), _) => Some(("input", port)),
        (None, Some(server)) => Some(("output", server.port())),
        (None, None) => None,
    };
    let Some((hook, port)) = port else {
        return vec![Finding::skipped(
            Code::Firewall,
            "no port to look for: name a server or --config",
        )];
    };
    vec![match &facts.host.ruleset {
        Err(why) => Finding::unknown(Code::Firewall, why.clone()),
        Ok(ruleset) => judge(ruleset, hook, port),
    }]
}

/// What becomes of a datagram at a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    /// It goes on behind.
    GoesOn,
}

fn judge(ruleset: &str, hook: &str, port: u16) -> Finding {
    const CODE: Code = Code::Firewall;
    let objects = match serde_json::from_str::<Value>(ruleset) {
        Ok(Value::Object(mut whole)) => match whole.remove("nftables") {
            Some(Value::Array(objects)) => objects,
            _ => Vec::new(),
        },
        _ => return Finding::unknown(CODE, "nft says what cannot be read"),
    };
    let rules = Rules { objects: &objects, port };
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let chains = objects.iter().map(|object| &object["chain"]);
    for chain in chains.filter(|chain| chain["hook"] == hook && chain["type"] == "filter") {
        let (family, table, name) =
            (text(chain, "family"), text(chain, "table"), text(chain, "name"));
        if !matches!(&*family, "ip" | "ip6" | "inet") {
            continue;
        }
        let fate = rules.fate(&family, &table, &name, DEPTH);
        let by_policy = fate == Fate::GoesOn && chain["policy"] == "drop";
        if fate == Fate::Dropped || by_policy {
            let by = if by_policy { "its policy" } else { "a rule" };
            let what = format!("{by} of `{family} {table} {name}` drops UDP port {port} ({hook})");
            return Finding::failed(CODE, what)
                .wanted("it is accepted; make that stay in your firewall's own settings too")
                .fix(format!("nft insert rule {family} {table} {name} udp dport {port} accept"));
        }
    }
    Finding::ok(CODE, format!("no rule of nftables drops UDP port {port} ({hook})"))
}

struct Rules<'r> {
    objects: &'r [Value],
    port: u16,
}

impl Rules<'_> {
    /// What becomes of the first datagram of a session, of an address and an interface that no rule
    /// names: a rule that asks for more than the protocol and the port does not count.
    fn fate(&self, family: &str, table: &str, chain: &str, depth: usize) -> Fate {
        if depth == 0 {
            return Fate::GoesOn;
        }
        let is_here = |rule: &&Value| {
            rule["family"] == family && rule["table"] == table && rule["chain"] == chain
        };
        for rule in self.objects.iter().map(|object| &object["rule"]).filter(is_here) {
            let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
            for statement in statements {
                let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next())
                else {
                    break;
                };
                match &**kind {
                    "match" if self.matches(value) => {}
                    "counter" | "log" | "comment" | "meta" | "notrack" => {}
                    "accept" => return Fate::Accepted,
                    "drop" | "reject" => return Fate::Dropped,
                    "return" => return Fate::GoesOn,
                    "jump" | "goto" => {
                        let target = value["target"].as_str().unwrap_or_default();
                        match self.fate(family, table, target, depth - 1) {
                            Fate::GoesOn if kind == "goto" => return Fate::GoesOn,
                            Fate::GoesOn => {}
                            fate => return fate,
                        }
                    }
                    // A match that is not this datagram's, or something that is not known.
                    _ => break,
                }
            }
        }
        Fate::GoesOn
    }

    fn matches(&self, expression: &Value) -> bool {
        let (left, right) = (&expression["left"], &expression["right"]);
        let is = match (left["payload"]["protocol"].as_str(), left["payload"]["field"].as_str()) {
            (Some("udp" | "th"), Some("dport")) => self.has_port(right),
            (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => is_udp(right),
            _ => match left["meta"]["key"].as_str() {
                Some("l4proto") => is_udp(right),
                _ if left["ct"]["key"] == "state" => has(right, &|one| one == "new"),
                _ => return false,
            },
        };
        is != (expression["op"] == "!=")
    }

    fn has_port(&self, right: &Value) -> bool {
        let port = u64::from(self.port);
        has(right, &|one| match one["range"].as_array().map(Vec::as_slice) {
            Some([from, to]) => (from.as_u64()..=to.as_u64()).contains(&Some(port)),
            _ => one.as_u64() == Some(port),
        })
    }
}

fn is_udp(right: &Value) -> bool {
    has(right, &|one| one == "udp" || one == 17)
}

/// Whether a value, or one of a set or list of them, is so.
fn has(value: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    match value.as_array().or_else(|| value["set"].as_array()) {
        Some(values) => values.iter().any(is),
        None => is(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    fn verdict(policy: &str, rules: &str, port: u16) -> Verdict {
        let text = format!(
            r#"{{"nftables":[{{"chain":{{"family":"inet","table":"f","name":"in","type":"filter","hook":"input","policy":"{policy}"}}}}
            {rules}]}}"#
        );
        judge(&text, "input", port).verdict
    }

    fn rule(expr: &str) -> String {
        format!(r#",{{"rule":{{"family":"inet","table":"f","chain":"in","expr":[{expr}]}}}}"#)
    }

    fn dport(right: &str, op: &str) -> String {
        format!(
            r#"{{"match":{{"op":"{op}","left":{{"payload":{{"protocol":"udp","field":"dport"}}}},"right":{right}}}}}"#
        )
    }

    #[test]
    fn the_first_rule_that_is_of_the_port_counts_and_then_the_policy() {
        const ACCEPT: &str = r#"{"accept":null}"#;
        const DROP: &str = r#"{"counter":{"packets":1,"bytes":2}},{"drop":null}"#;
        let state = r#"{"match":{"op":"in","left":{"ct":{"key":"state"}},"right":["established","related"]}}"#;
        let iface = r#"{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}}"#;
        let with = |first: &str, then: &str| rule(&format!("{first},{then}"));
        for (policy, rules, expected) in [
            ("accept", String::new(), Verdict::Ok),
            ("drop", String::new(), Verdict::Failed),
            ("drop", with(&dport("8080", "=="), ACCEPT), Verdict::Ok),
            ("drop", with(&dport("53", "=="), ACCEPT), Verdict::Failed),
            ("drop", with(&dport("53", "!="), ACCEPT), Verdict::Ok),
            (
                "drop",
                with(&dport(r#"{"set":[53,{"range":[8000,9000]}]}"#, "=="), ACCEPT),
                Verdict::Ok,
            ),
            ("accept", with(&dport("8080", "=="), DROP), Verdict::Failed),
            ("drop", with(state, ACCEPT), Verdict::Failed),
            ("drop", with(iface, ACCEPT), Verdict::Failed),
            ("accept", with(iface, DROP), Verdict::Ok),
        ] {
            assert_eq!(verdict(policy, &rules, 8080), expected, "{policy} {rules}");
        }
        assert_eq!(judge("no", "input", 1).verdict, Verdict::Unknown);
    }
}
