//! What the list of clients says of circuits.

use acton_bridge::{Circuit, CircuitTemplate};
use toml::de::DeValue;

use super::values::{Value, Wrong, one_or_more, string, wrong};
use crate::sessions::circuits::host_name;

/// Bytes of a name, at most (TR-101, section 3.9.3).
const MAX_NAME: usize = 63;
const RIGHT: &str = "no circuit; write \"{server} {client}\", or { id = \"{server} {client}\", remote = \
                     \"{client}\", protocols = [\"dhcp\", \"dhcp6\", \"pppoe\"] }, or \"none\"";

/// `"none"`, the template of a name, or a table.
pub(super) fn read(value: Value<'_, '_>) -> Result<Option<Circuit>, Wrong> {
    if string(value) == Some("none") {
        return Ok(None);
    }
    let DeValue::Table(table) = value.get_ref() else {
        return Ok(Some(Circuit::new(template(value)?, None)));
    };
    let (mut id, mut remote, mut protocols) = (None, None, None);
    for (name, value) in table {
        match &**name.get_ref() {
            "id" => id = Some(template(value)?),
            "remote" => remote = Some(template(value)?),
            "protocols" => protocols = Some(one_or_more(value)),
            _ => return Err(wrong(&name.span(), RIGHT)),
        }
    }
    let mut circuit = Circuit::new(id.ok_or_else(|| wrong(&value.span(), RIGHT))?, remote);
    if let Some(protocols) = protocols {
        (circuit.dhcp, circuit.dhcp6, circuit.pppoe) = (false, false, false);
        for value in protocols {
            match string(value) {
                Some("dhcp") => circuit.dhcp = true,
                Some("dhcp6") => circuit.dhcp6 = true,
                Some("pppoe") => circuit.pppoe = true,
                _ => {
                    let problem =
                        "no protocol of circuits; there are \"dhcp\", \"dhcp6\" and \"pppoe\"";
                    return Err(wrong(&value.span(), problem));
                }
            }
        }
    }
    Ok(Some(circuit))
}

fn template(value: Value<'_, '_>) -> Result<CircuitTemplate, Wrong> {
    let text = string(value).ok_or_else(|| wrong(&value.span(), RIGHT))?;
    text.parse().map_err(|error| wrong(&value.span(), format!("no name of a circuit: {error}")))
}

/// What is wrong where a client's names would be longer than may be.
pub(super) fn too_long(circuit: &Circuit, client: &str) -> Option<String> {
    [Some(&circuit.id), circuit.remote.as_ref()].into_iter().flatten().find_map(|template| {
        let len = template.longest(client, host_name());
        (len > MAX_NAME).then(|| {
            format!(
                "the client's circuit or remote {template:?} is up to {len} bytes long, and \
                 {MAX_NAME} are allowed: make the template shorter, or write another for this client",
                template = template.to_string(),
            )
        })
    })
}

/// As [`read`] takes it.
pub(super) fn written(circuit: &Circuit) -> String {
    let quoted = |text: String| toml::Value::from(text).to_string();
    let Circuit { id, remote, dhcp, dhcp6, pppoe } = circuit;
    let remote = remote.as_ref().map(|remote| format!("remote = {}, ", quoted(remote.to_string())));
    let told = [(dhcp, "\"dhcp\""), (dhcp6, "\"dhcp6\""), (pppoe, "\"pppoe\"")];
    let told: Vec<_> = told.into_iter().filter(|(is_told, _)| **is_told).map(|it| it.1).collect();
    let (id, remote) = (quoted(id.to_string()), remote.unwrap_or_default());
    format!("{{ id = {id}, {remote}protocols = [{}] }}", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const KEY: &str = "key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"";

    fn circuit(text: &str) -> Option<Circuit> {
        let list = parse(&format!("[client.berlin]\n{KEY}\ncircuit = {text}\n")).unwrap();
        list.find("berlin").unwrap().frames.policy().circuit.clone()
    }

    fn problem(text: &str) -> (usize, usize, String) {
        let error = parse(text).unwrap_err();
        (error.line, error.column, error.problem)
    }

    #[test]
    fn a_name_alone_is_told_everywhere_and_a_table_says_where() {
        let all = circuit("\"olt {client}\"").unwrap();
        assert_eq!(all, Circuit::new("olt {client}".parse().unwrap(), None));
        let text = "{ id = \"{client}\", remote = \"{mac}\", protocols = [\"dhcp\", \"pppoe\"] }";
        let some = circuit(text).unwrap();
        assert_eq!((some.dhcp, some.dhcp6, some.pppoe), (true, false, true));
        assert_eq!(some.remote.as_ref().unwrap().to_string(), "{mac}");
        assert_eq!(circuit("\"none\""), None);
        for circuit_before in [all, some] {
            assert_eq!(circuit(&written(&circuit_before)), Some(circuit_before));
        }
        let quotes = Circuit::new("a\"b\\c".parse().unwrap(), None);
        assert_eq!(circuit(&written(&quotes)), Some(quotes));
    }

    #[test]
    fn a_default_holds_for_clients_that_say_nothing_else() {
        let text = format!(
            "[default]\ncircuit = \"{{client}}\"\n[client.a]\n{KEY}\n\
             [client.b]\n{}\ncircuit = \"none\"\n",
            KEY.replace("AAAA=", "BAAA=")
        );
        let list = parse(&text).unwrap();
        let of = |name| list.find(name).unwrap().frames.policy().circuit.clone();
        assert!(of("a").is_some() && of("b").is_none());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let (line, column, text) = problem("[default]\ncircuit = \"{port}\"\n");
        assert_eq!((line, column), (2, 11));
        assert!(text.contains("{port} is no field; there are {client}"), "{text}");
        let (line, column, text) = problem("[default]\ncircuit = { remote = \"x\" }\n");
        assert_eq!((line, column, &*text), (2, 11, RIGHT));
        let bad = "[default]\ncircuit = { id = \"x\", protocols = [\"dhcp\", \"ipx\"] }\n";
        let (line, column, text) = problem(bad);
        assert_eq!((line, column), (2, 44));
        assert!(text.contains("\"dhcp6\" and \"pppoe\""), "{text}");
        let long = "x".repeat(58);
        let text = format!("[default]\ncircuit = \"{long}{{client}}\"\n[client.berlin]\n{KEY}\n");
        let (line, column, text) = problem(&text);
        assert_eq!((line, column), (3, 9));
        assert!(text.contains("up to 64 bytes") && text.contains("63 are allowed"), "{text}");
    }
}
