//! The links that the tunnel's datagrams leave by.

use crate::doctor::code::Code;
use crate::doctor::facts::{Facts, OutgoingLink};
use crate::doctor::finding::Finding;

/// The least UDP payload that acton needs, in bytes (docs/PROTOCOL.md, section 11).
const LEAST_PAYLOAD: u32 = 1_200;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    if facts.links.is_empty() {
        let skipped = |code| Finding::skipped(code, "no route to look at");
        return [Code::NicOffload, Code::LinkMtu].map(skipped).to_vec();
    }
    facts.links.iter().flat_map(|link| [offload(link), mtu(link)]).collect()
}

/// Bytes of the headers of IP and UDP.
pub(super) const fn headers(is_ipv6: bool) -> u32 {
    if is_ipv6 { 48 } else { 28 }
}

fn offload(link: &OutgoingLink) -> Finding {
    const CODE: Code = Code::NicOffload;
    let finding = match &link.offloads_off {
        Err(why) => Finding::unknown(CODE, why.clone()),
        Ok(off) if off.is_empty() => Finding::ok(CODE, "GRO and segmentation are on"),
        Ok(off) => {
            let on: Vec<_> = off.iter().map(|name| format!("{name} on")).collect();
            Finding::warning(CODE, format!("off: {}", off.join(", ")))
                .wanted("on: packets of a flow go through the kernel together")
                .fix(format!("ethtool -K {} {}", link.name, on.join(" ")))
        }
    };
    finding.about(&*link.name)
}

fn mtu(link: &OutgoingLink) -> Finding {
    const CODE: Code = Code::LinkMtu;
    let least = LEAST_PAYLOAD + headers(link.is_ipv6);
    let measured = format!("MTU {}", link.mtu);
    let finding = if link.mtu >= least {
        Finding::ok(CODE, measured)
    } else {
        Finding::failed(CODE, measured)
            .wanted(format!("{least} or more"))
            .fix(format!("ip link set {} mtu 1500", link.name))
    };
    finding.about(&*link.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn offloads_are_switched_on_by_one_command_and_mtus_have_a_least() {
        let mut link = OutgoingLink {
            name: "eth0".into(),
            mtu: 1_248,
            is_ipv6: true,
            offloads_off: Ok(vec!["gro".into(), "tso".into()]),
        };
        assert_eq!(offload(&link).fix.as_deref(), Some("ethtool -K eth0 gro on tso on"));
        assert_eq!(mtu(&link).verdict, Verdict::Ok);
        link.mtu = 1_247;
        assert_eq!(mtu(&link).verdict, Verdict::Failed);
        link.offloads_off = Ok(Vec::new());
        assert_eq!(offload(&link).verdict, Verdict::Ok);
    }
}
