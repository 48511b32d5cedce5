//! What the lab found, as text.

use std::fmt::Write;
use std::process;

use super::{ClientReport, Isolation, Lab, Node};

pub(super) fn describe(lab: &Lab, reports: &[ClientReport], isolation: &Isolation) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = rows(&mut text, reports);
    let _ = verdict(&mut text, isolation);
    let _ = commands(&mut text, lab);
    text
}

fn rows(text: &mut String, reports: &[ClientReport]) -> std::fmt::Result {
    writeln!(
        text,
        "{:>6}  {:<21}  {:<17}  {:<12}  {:>9}  {:>5}",
        "client", "session", "MAC", "address", "RTT", "loss"
    )?;
    for report in reports {
        let session = report.session.map_or("-".to_owned(), |address| address.to_string());
        let rtt = report.ping.rtt.map_or("-".to_owned(), |rtt| format!("{} us", rtt.as_micros()));
        let lost = report.ping.sent - report.ping.answered;
        writeln!(
            text,
            "{:>6}  {session:<21}  {:<17}  {:<12}  {rtt:>9}  {:>4}%",
            report.number,
            report.mac.to_string(),
            report.address.to_string(),
            u32::from(lost) * 100 / u32::from(report.ping.sent.max(1)),
        )?;
    }
    Ok(())
}

fn verdict(text: &mut String, isolation: &Isolation) -> std::fmt::Result {
    let Isolation { floods, at_server, direct, at_clients, direct_at_server } = isolation;
    let word = match (isolation.holds(), isolation.is_proven()) {
        (false, _) => "NOT ISOLATED",
        (true, false) => "isolated as far as seen (frames to the server were lost)",
        (true, true) => "isolated",
    };
    writeln!(
        text,
        "\nClients are {word}: of {floods} frames that clients sent to all or to nobody known, \
         the server saw {at_server};\nof these and of {direct} sent to another client's MAC, \
         other clients saw {at_clients} (and the server {direct_at_server} of the latter)."
    )
}

fn commands(text: &mut String, lab: &Lab) -> std::fmt::Result {
    let client = lab.clients.first();
    writeln!(text, "\nTry by hand, from another terminal:")?;
    if let Some(client) = client {
        enter(text, &lab.server, &format!("ping {}", client.address), "the server pings client 1")?;
        enter(text, client, &format!("ping {}", lab.server.address), "client 1 pings the server")?;
        enter(text, client, "ip -s addr show acton", "client 1's TAP")?;
    }
    if let Some(second) = lab.clients.get(1) {
        let ping = format!("ping {}", second.address);
        enter(text, &lab.clients[0], &ping, "client 1 does not reach client 2")?;
    }
    Ok(())
}

fn enter(text: &mut String, node: &Node, command: &str, what: &str) -> std::fmt::Result {
    // Where the lab runs in a user namespace of its own, that one is to be entered first.
    let user = match nix::unistd::geteuid().is_root() && !in_user_namespace() {
        true => String::new(),
        false => format!(" --user=/proc/{}/ns/user --preserve-credentials", process::id()),
    };
    let path = node.namespace.path();
    writeln!(text, "  nsenter{user} --net={} {command}   # {what}", path.display())
}

/// Whether this process is in another user namespace than the system's first: there, user 0 is
/// mapped to itself over the whole range, user_namespaces(7).
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}
