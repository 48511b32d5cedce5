//! What this host allows.

use std::time::Duration;

use crate::doctor::code::Code;
use crate::doctor::facts::{Conntrack, Facts, HostFacts, TunRefusal};
use crate::doctor::finding::Finding;

/// Bytes that acton asks for as a receive buffer, and what the kernel then counts: twice as many.
const RECEIVE_BUFFER: u32 = 4 << 20;
/// Keepalives that may get lost before a mapping is forgotten.
const KEEPALIVES: u32 = 3;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    let runs = facts.tunnel.running().is_some_and(|running| !running.instance.ended);
    vec![
        tun_device(host),
        capabilities(host, runs),
        user_namespaces(host),
        tap_offload(host),
        receive_buffer(facts),
        conntrack(host.conntrack, facts.keepalive),
    ]
}

fn tun_device(host: &HostFacts) -> Finding {
    const CODE: Code = Code::TunDevice;
    let failed = |measured: &str| Finding::failed(CODE, measured).wanted("it opens");
    match host.tun {
        Ok(()) => Finding::ok(CODE, "/dev/net/tun opens"),
        Err(TunRefusal::Missing) => failed("there is no /dev/net/tun")
            .fix("mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"),
        Err(TunRefusal::NoDriver) => {
            failed("/dev/net/tun has no driver behind it").fix("modprobe tun")
        }
        Err(TunRefusal::Forbidden) => {
            failed("this user may not open /dev/net/tun").fix("chmod 666 /dev/net/tun").advice(
                "if root may not either, a container's device policy forbids it: allow c 10:200",
            )
        }
    }
}

fn capabilities(host: &HostFacts, runs: bool) -> Finding {
    const CODE: Code = Code::Capabilities;
    if host.net_admin {
        return Finding::ok(CODE, "CAP_NET_ADMIN is there");
    }
    if runs {
        return Finding::ok(CODE, "not here, but a tunnel runs that had it");
    }
    let finding = Finding::warning(CODE, "this user has no CAP_NET_ADMIN")
        .wanted("it, to make a TAP: as root (sudo), or as a service");
    match &host.program {
        Some(program) => finding.fix(format!("setcap cap_net_admin+ep {}", program.display())),
        None => finding,
    }
}

fn user_namespaces(host: &HostFacts) -> Finding {
    const CODE: Code = Code::UserNamespaces;
    match &host.user_namespaces {
        Err(why) => Finding::unknown(CODE, why.clone()),
        Ok((0, _)) => Finding::warning(CODE, "user.max_user_namespaces is 0")
            .wanted("more, for `acton lab` of an ordinary user alone")
            .fix("sysctl -w user.max_user_namespaces=15000"),
        Ok((_, Some(switch))) => Finding::warning(CODE, format!("{switch} keeps users from them"))
            .wanted("them, for `acton lab` of an ordinary user alone")
            .advice("run the lab as root, or see what your distribution says of that sysctl"),
        Ok((count, None)) => Finding::ok(CODE, format!("up to {count}")),
    }
}

fn tap_offload(host: &HostFacts) -> Finding {
    const CODE: Code = Code::TapOffload;
    match &host.offloads {
        Err(why) => Finding::skipped(CODE, why.clone()),
        Ok(missing) if missing.is_empty() => Finding::ok(CODE, "the kernel grants all"),
        Ok(missing) => Finding::warning(CODE, format!("not granted: {}", missing.join(", ")))
            .wanted("all")
            .advice("a newer kernel: 4.20 has those of TCP, 6.2 those of UDP"),
    }
}

fn receive_buffer(facts: &Facts) -> Finding {
    const CODE: Code = Code::ReceiveBuffer;
    const FIX: &str = "sysctl -w net.core.rmem_max=4194304";
    let wanted = RECEIVE_BUFFER;
    if let Some(running) = facts.tunnel.running() {
        let sockets = &running.instance.sockets;
        let smallest = sockets.iter().filter_map(|socket| socket.receive_buffer).min();
        let drops: u64 =
            sockets.iter().map(|socket| u64::from(socket.kernel_drops.unwrap_or(0))).sum();
        let small = smallest.filter(|&size| size < 2 * wanted).map(|size| size / 2);
        return match (drops, small) {
            (0, None) => Finding::ok(CODE, "as large as wanted, and no datagram was dropped there"),
            (0, Some(size)) => Finding::warning(CODE, format!("{size} bytes for what waits"))
                .wanted(format!("{wanted} bytes; restart acton after"))
                .fix(FIX),
            (drops, small) => {
                let finding = Finding::warning(
                    CODE,
                    format!("{drops} datagrams came too fast to be read and were dropped"),
                );
                match small {
                    Some(size) => finding
                        .wanted(format!(
                            "{wanted} bytes of buffer, not {size}; restart acton after"
                        ))
                        .fix(FIX),
                    None => finding
                        .wanted("none")
                        .advice("it needs more processor time, or more processors and --workers"),
                }
            }
        };
    }
    match &facts.host.receive_buffer {
        Err(why) => Finding::unknown(CODE, why.clone()),
        Ok(granted) if *granted >= 2 * wanted => {
            Finding::ok(CODE, format!("{} bytes are granted", granted / 2))
        }
        Ok(granted) => Finding::warning(CODE, format!("{} bytes are granted", granted / 2))
            .wanted(format!("{wanted} bytes, for a burst that comes while acton waits for a core"))
            .fix(FIX),
    }
}

fn conntrack(table: Option<Conntrack>, keepalive: Duration) -> Finding {
    const CODE: Code = Code::Conntrack;
    let Some(Conntrack { entries, limit, udp_stream }) = table else {
        return Finding::skipped(CODE, "this kernel tracks no connections");
    };
    let needed = u64::from(KEEPALIVES) * keepalive.as_secs().max(1);
    let full = format!("{entries} of {limit} connections are tracked");
    if entries * 10 >= limit * 9 {
        let finding = if entries >= limit {
            Finding::failed(CODE, full)
        } else {
            Finding::warning(CODE, full)
        };
        return finding
            .wanted("less than nine tenths")
            .fix(format!("sysctl -w net.netfilter.nf_conntrack_max={}", limit * 2));
    }
    if udp_stream < needed {
        return Finding::warning(CODE, format!("UDP is forgotten after {udp_stream} s of silence"))
            .wanted(format!("{needed} s or more: {KEEPALIVES} keepalives"))
            .fix(format!(
                "sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream={}",
                needed.max(120)
            ));
    }
    Finding::ok(CODE, full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    const KEEPALIVE: Duration = Duration::from_secs(15);

    #[test]
    fn a_table_of_connections_is_not_to_be_full_nor_to_forget_soon() {
        let table = |entries, udp_stream| {
            conntrack(Some(Conntrack { entries, limit: 1_000, udp_stream }), KEEPALIVE)
        };
        assert_eq!(table(10, 120).verdict, Verdict::Ok);
        assert_eq!(table(900, 120).verdict, Verdict::Warning);
        let full = table(1_000, 120);
        assert_eq!(full.verdict, Verdict::Failed);
        assert_eq!(full.fix.as_deref(), Some("sysctl -w net.netfilter.nf_conntrack_max=2000"));
        let forgetful = table(10, 44);
        assert_eq!(forgetful.verdict, Verdict::Warning);
        assert_eq!(table(10, 45).verdict, Verdict::Ok);
        let fix = "sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=120";
        assert_eq!(forgetful.fix.as_deref(), Some(fix));
        assert_eq!(conntrack(None, KEEPALIVE).verdict, Verdict::Skipped);
    }
}
