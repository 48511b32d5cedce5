//! What the kernels on the way think of what they were given.

use std::collections::BTreeMap;
use std::fs;

use acton_netns::Namespace;

/// Counters of frames that a kernel found broken, by the names that nstat(8) gives them.
const BROKEN: [&str; 11] = [
    "IpInHdrErrors",
    "IpExtInTruncatedPkts",
    "IpExtInCsumErrors",
    "IcmpInCsumErrors",
    "TcpInErrs",
    "TcpInCsumErrors",
    "UdpInCsumErrors",
    "Ip6InHdrErrors",
    "Ip6InTruncatedPkts",
    "Icmp6InCsumErrors",
    "Udp6InCsumErrors",
];

/// Each counter of a broken frame that is not zero, as `name=value`.
pub(crate) fn broken(namespace: &Namespace) -> Vec<String> {
    let counters = counters(namespace);
    let found = BROKEN.iter().filter_map(|&name| match counters.get(name) {
        None => Some(format!("{name} is not counted here")),
        Some(0) => None,
        Some(value) => Some(format!("{name}={value}")),
    });
    found.collect()
}

/// The counters of a namespace (`/proc/net/snmp`, `netstat` and `snmp6`, proc_net(5)).
fn counters(namespace: &Namespace) -> BTreeMap<String, u64> {
    let read = |name: &str| {
        let file = format!("/proc/thread-self/net/{name}");
        namespace.run(|| fs::read_to_string(&file)).unwrap_or_default()
    };
    let mut counters = BTreeMap::new();
    for table in [read("snmp"), read("netstat")] {
        let lines: Vec<_> = table.lines().collect();
        for pair in lines.chunks_exact(2) {
            let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let [names, values] = [pair[0], pair[1]].map(words);
            let prefix = names[0].trim_end_matches(':');
            for (name, value) in names[1..].iter().zip(&values[1..]) {
                counters.insert(format!("{prefix}{name}"), value.parse().unwrap_or(0));
            }
        }
    }
    for line in read("snmp6").lines() {
        if let Some((name, value)) = line.split_once(char::is_whitespace) {
            counters.insert(name.to_owned(), value.trim().parse().unwrap_or(0));
        }
    }
    counters
}
