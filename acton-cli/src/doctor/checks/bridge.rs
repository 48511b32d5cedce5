//! The TAP's queue and the Linux bridge that it is in.

use crate::doctor::code::Code;
use crate::doctor::facts::{BridgeFacts, Facts, TapFacts};
use crate::doctor::finding::Finding;

/// Frames that the TAP's queue holds at least: a TCP window of a fast path, and the kernel's default.
const QUEUE_LEN: u32 = 500;
/// The kernel's default (`TUN_READQ_SIZE` of linux/if_tun.h is less; `ether_setup` gives this).
const USUAL_QUEUE_LEN: u32 = 1_000;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let all = [Code::TapQueue, Code::BridgeFilter, Code::BridgeStp, Code::BridgeSnooping];
    let tap = match &facts.tap {
        None => return all.map(|code| Finding::skipped(code, "there is no TAP")).to_vec(),
        Some(Err(why)) => return all.map(|code| Finding::unknown(code, why.clone())).to_vec(),
        Some(Ok(tap)) => tap,
    };
    let mut findings = vec![queue(tap)];
    match &tap.bridge {
        None => {
            let skipped = |code| Finding::skipped(code, "the TAP is in no Linux bridge");
            findings.extend(all[1..].iter().copied().map(skipped));
        }
        Some(bridge) => findings.extend([
            filter(bridge, &facts.host.bridge_filters),
            stp(bridge, &tap.name),
            snooping(bridge),
        ]),
    }
    findings
}

fn queue(tap: &TapFacts) -> Finding {
    const CODE: Code = Code::TapQueue;
    let TapFacts { name, queue_len, dropped, .. } = tap;
    let dropped = match dropped {
        0 => String::new(),
        dropped => format!(", {dropped} were dropped there so far"),
    };
    let measured = format!("{queue_len} frames{dropped}");
    if *queue_len >= QUEUE_LEN {
        return Finding::ok(CODE, measured).about(&**name);
    }
    Finding::warning(CODE, measured)
        .about(&**name)
        .wanted(format!("{USUAL_QUEUE_LEN}, for bursts from the LAN"))
        .fix(format!("ip link set {name} txqueuelen {USUAL_QUEUE_LEN}"))
}

fn filter(bridge: &BridgeFacts, filters: &[&str]) -> Finding {
    const CODE: Code = Code::BridgeFilter;
    if filters.is_empty() {
        return Finding::ok(CODE, "frames pass no rules of iptables").about(&*bridge.name);
    }
    let off: Vec<_> = filters.iter().map(|name| format!("net.bridge.{name}=0")).collect();
    Finding::warning(CODE, format!("on: {}", filters.join(", ")))
        .about(&*bridge.name)
        .wanted("off, unless these rules are meant for bridged frames")
        .fix(format!("sysctl -w {}", off.join(" ")))
}

fn stp(bridge: &BridgeFacts, tap: &str) -> Finding {
    const CODE: Code = Code::BridgeStp;
    let BridgeFacts { name, stp, forwards, .. } = bridge;
    let finding = match (stp, forwards) {
        (true, Some(false)) => Finding::failed(
            CODE,
            format!("STP does not let {tap} forward (yet)"),
        )
        .wanted("it forwards; STP sees no loop through the tunnel, acton looks for those itself")
        .fix(format!(
            "ip link set {name} type bridge stp_state 0 && bridge link set dev {tap} state 3"
        )),
        (false, Some(false)) => Finding::failed(CODE, format!("the port {tap} does not forward"))
            .wanted("it forwards")
            .fix(format!("bridge link set dev {tap} state 3")),
        (_, None) => Finding::unknown(CODE, "the kernel does not say how the port is"),
        (true, _) => Finding::ok(CODE, "STP is on, the TAP's port forwards"),
        (false, _) => Finding::ok(CODE, "STP is off, the TAP's port forwards"),
    };
    finding.about(&**name)
}

fn snooping(bridge: &BridgeFacts) -> Finding {
    const CODE: Code = Code::BridgeSnooping;
    let BridgeFacts { name, snooping, querier, .. } = bridge;
    let finding = match (snooping, querier) {
        (false, _) => Finding::ok(CODE, "off: multicast goes to all ports"),
        (true, true) => Finding::ok(CODE, "on, and somebody asks for members"),
        (true, false) => Finding::warning(CODE, "on, and nobody who asks for members was heard")
            .wanted("a querier, else groups run out; or no snooping")
            .fix(format!("ip link set {name} type bridge mcast_querier 1")),
    };
    finding.about(&**name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn each_setting_of_a_bridge_is_judged_by_itself() {
        let mut bridge = BridgeFacts {
            name: "br0".into(),
            stp: true,
            forwards: Some(true),
            snooping: true,
            querier: false,
        };
        assert_eq!(stp(&bridge, "t").verdict, Verdict::Ok);
        assert_eq!(snooping(&bridge).verdict, Verdict::Warning);
        (bridge.forwards, bridge.querier) = (Some(false), true);
        let fix = "ip link set br0 type bridge stp_state 0 && bridge link set dev t state 3";
        assert_eq!(stp(&bridge, "t").fix.as_deref(), Some(fix));
        assert_eq!(snooping(&bridge).verdict, Verdict::Ok);
        assert_eq!(filter(&bridge, &[]).verdict, Verdict::Ok);
        let on = filter(&bridge, &["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"]);
        let fix = "sysctl -w net.bridge.bridge-nf-call-iptables=0 \
                   net.bridge.bridge-nf-call-ip6tables=0";
        assert_eq!(on.fix.as_deref(), Some(fix));
    }
}
