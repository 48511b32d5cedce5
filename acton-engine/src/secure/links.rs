//! What a server's own links carry.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::SyncSender;

use acton_netlink::Socket;
use acton_proto::wire::OVERHEAD;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use super::server_worker::News;
use crate::reach::network::NetworkWatch;
use crate::run::control::Message;

/// Bytes of an IP header without options and a UDP header.
const HEADERS_V4: u32 = 20 + 8;
const HEADERS_V6: u32 = 40 + 8;
/// UDP payload that the links are taken to carry where they cannot be seen, in bytes: 9,000 less the
/// headers of IPv4 and UDP. What is in between is searched for by probes.
const UNKNOWN: u16 = 8_972;

/// The links by which a server is reached.
#[derive(Debug)]
pub(super) struct Links {
    listen: IpAddr,
    /// What the largest frame needs, in bytes of UDP payload.
    most: Arc<AtomicU16>,
    _watch: Option<NetworkWatch>,
}

impl Links {
    /// Watches those of a server at `listen`, and has the control thread hear what the largest of them
    /// carries where they change.
    pub(super) fn watch(listen: IpAddr, most: u16, control: SyncSender<Message<News>>) -> Self {
        let most = Arc::new(AtomicU16::new(most));
        let shared = Arc::clone(&most);
        let tell = move || {
            let pmtu = pmtu(listen, shared.load(Ordering::Relaxed));
            control.try_send(Message::News(News::LinkPmtu(pmtu))).is_ok()
        };
        let watch = NetworkWatch::start(tell).inspect_err(|error| {
            log::warn!(
                "cannot watch this host's network ({error}): a link that carries more from now on is \
                 used only after a restart"
            );
        });
        Self { listen, most, _watch: watch.ok() }
    }

    /// The largest datagram that one of them carries now, no more than `most` from now on.
    pub(super) fn pmtu(&self, most: u16) -> u16 {
        self.most.store(most, Ordering::Relaxed);
        pmtu(self.listen, most)
    }
}

/// The largest datagram that carries such a frame, in bytes of UDP payload.
pub(super) fn needed(max_frame: u16) -> u16 {
    max_frame.saturating_add(OVERHEAD as u16)
}

/// The largest datagram that one of these links carries now, in bytes of UDP payload, and no more than
/// `most`.
pub(super) fn pmtu(listen: IpAddr, most: u16) -> u16 {
    let pmtu = largest(listen)
        .inspect_err(|error| log::debug!("cannot look at this host's links: {error}"));
    pmtu.ok().flatten().unwrap_or(UNKNOWN).min(most)
}

/// The largest UDP payload that a link carries by which a server at `listen` is reached; the unspecified
/// address stands for all but this host itself and its TAPs. `None` where there is no such link.
fn largest(listen: IpAddr) -> io::Result<Option<u16>> {
    let any = listen.is_unspecified();
    let headers = if any || listen.to_canonical().is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    let mut names = BTreeSet::new();
    for interface in getifaddrs()? {
        let Some(ip) = interface.address.as_ref().and_then(ip_of) else { continue };
        if if any { !ip.is_loopback() } else { ip == listen.to_canonical() } {
            names.insert(interface.interface_name);
        }
    }
    let mut netlink = Socket::open()?;
    let links = names.iter().filter_map(|name| netlink.link(name).ok());
    let mtu =
        links.filter(|link| link.up && !(any && link.tap.is_some())).map(|link| link.mtu).max();
    Ok(mtu.map(|mtu| u16::try_from(mtu.saturating_sub(headers)).unwrap_or(u16::MAX)))
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| Some(IpAddr::from(address.as_sockaddr_in6()?.ip()).to_canonical()))
}
