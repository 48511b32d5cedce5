//! What this host allows.

use std::fs::{self, OpenOptions};
use std::io;
use std::thread;

use acton_tap::{Offloads, Tap};
use acton_udp::UdpSocket;
use caps::{CapSet, Capability};
use nix::sched::{CloneFlags, unshare};

use super::printed;
use crate::doctor::facts::{Conntrack, HostFacts, Known, TunRefusal};

/// Those of br_netfilter.
const BRIDGE_FILTERS: [&str; 3] =
    ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"];

pub(super) fn look() -> HostFacts {
    let net_admin = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN);
    let net_admin = net_admin.unwrap_or(false);
    HostFacts {
        tun: tun(),
        net_admin,
        program: std::env::current_exe().ok(),
        user_namespaces: user_namespaces(),
        offloads: if net_admin { offloads() } else { Err("needs CAP_NET_ADMIN: try sudo".into()) },
        receive_buffer: receive_buffer(),
        conntrack: conntrack(),
        ruleset: match net_admin {
            true => printed("nft", &["-j", "list", "ruleset"]),
            false => Err("who may not change the rules may not see them: try sudo".into()),
        },
        bridge_filters: bridge_filters(),
    }
}

/// Names below net.bridge of the settings that are on and have a firewall see bridged frames.
pub(crate) fn bridge_filters() -> Vec<&'static str> {
    let is_on =
        |name: &&str| number(&format!("/proc/sys/net/bridge/{name}")).is_ok_and(|on| on != 0);
    BRIDGE_FILTERS.into_iter().filter(is_on).collect()
}

fn tun() -> Result<(), TunRefusal> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let Err(error) = opened else { return Ok(()) };
    Err(match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) => TunRefusal::Missing,
        (_, Some(libc::ENODEV | libc::ENXIO)) => TunRefusal::NoDriver,
        _ => TunRefusal::Forbidden,
    })
}

fn user_namespaces() -> Known<(u64, Option<&'static str>)> {
    let count = number("/proc/sys/user/max_user_namespaces")?;
    // Of Debian and of Ubuntu; elsewhere they are not there.
    let forbids = |path: &str, value| number(path) == Ok(value);
    let switch = if forbids("/proc/sys/kernel/unprivileged_userns_clone", 0) {
        Some("kernel.unprivileged_userns_clone")
    } else if forbids("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 1) {
        Some("kernel.apparmor_restrict_unprivileged_userns")
    } else {
        None
    };
    Ok((count, switch))
}

/// Tries it with a TAP in a network namespace of its own, where nobody is disturbed by it.
fn offloads() -> Known<Vec<String>> {
    let tried = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|error| format!("no network namespace: {error}"))?;
        let all = Offloads::all();
        let tap = Tap::builder().vnet_header(true).offloads(all).build();
        let tap = tap.map_err(|error| error.to_string())?;
        let missing = all - tap.offloads();
        let names = missing.to_string();
        let names = names.split('+').map(str::to_owned);
        Ok(if missing.is_empty() { Vec::new() } else { names.collect() })
    });
    tried.join().unwrap_or_else(|_| Err("the thread that tries it has ended".to_owned()))
}

fn receive_buffer() -> Known<u32> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let socket = UdpSocket::bind(any).map_err(|error| error.to_string())?;
    let statistics = socket.kernel_statistics().map_err(|error| error.to_string())?;
    Ok(statistics.receive_buffer)
}

fn conntrack() -> Option<Conntrack> {
    let of = |name: &str| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok();
    Some(Conntrack {
        entries: of("count")?,
        limit: of("max")?,
        udp_stream: of("udp_timeout_stream")?,
    })
}

/// A number in a file of /proc.
fn number(path: &str) -> Known<u64> {
    let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    text.trim().parse().map_err(|_| format!("{path} holds no number"))
}
