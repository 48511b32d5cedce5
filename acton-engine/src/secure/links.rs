//! What a server's own links carry.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use acton_netlink::Socket;
use acton_proto::wire::OVERHEAD;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use parking_lot::Mutex;

use super::server_worker::News;
use super::uplinks::Down;
use crate::reach::network::NetworkWatch;
use crate::run::control::Message;

/// Bytes of an IP header without options and a UDP header.
const HEADERS_V4: u32 = 20 + 8;
const HEADERS_V6: u32 = 40 + 8;
/// UDP payload that the links are taken to carry where they cannot be seen, in bytes: 9,000 less the
/// headers of IPv4 and UDP. What is in between is searched for by probes.
const UNKNOWN: u16 = 8_972;

/// The links of a server's host: those by which it is reached, and those without which it is of no use.
#[derive(Debug)]
pub(super) struct Links {
    watched: Arc<Watched>,
    _watch: Option<NetworkWatch>,
}

/// What is looked at.
#[derive(Debug)]
struct Watched {
    listen: IpAddr,
    wanted: Mutex<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    /// What the largest frame needs, in bytes of UDP payload.
    most: u16,
    /// The names of links without which the server is of no use.
    tracked: Vec<String>,
}

impl Links {
    /// Watches those of a server at `listen`, and has the control thread hear what the largest of them
    /// carries, and which of the tracked ones carry nothing, where anything changes.
    pub(super) fn watch(
        listen: IpAddr,
        most: u16,
        tracked: Vec<String>,
        control: SyncSender<Message<News>>,
    ) -> Self {
        let wanted = Mutex::new(Wanted { most, tracked });
        let watched = Arc::new(Watched { listen, wanted });
        let shared = Arc::clone(&watched);
        let tell = move || {
            let news = News::Links { pmtu: shared.pmtu(), down: shared.down() };
            control.try_send(Message::News(news)).is_ok()
        };
        let watch = NetworkWatch::start(tell).inspect_err(|error| {
            log::warn!(
                "cannot watch this host's network ({error}): a link that carries more from now on is \
                 used only after a restart, and tracked links are not followed"
            );
        });
        Self { watched, _watch: watch.ok() }
    }

    /// The largest datagram that one of them carries now, no more than `most` from now on.
    pub(super) fn pmtu(&self, most: u16) -> u16 {
        self.watched.wanted.lock().most = most;
        self.watched.pmtu()
    }

    /// Those of these links that carry nothing now; they are tracked from now on.
    pub(super) fn track(&self, links: &[String]) -> Vec<Down> {
        self.watched.wanted.lock().tracked = links.to_owned();
        self.watched.down()
    }
}

impl Watched {
    fn pmtu(&self) -> u16 {
        let most = self.wanted.lock().most;
        pmtu(self.listen, most)
    }

    /// The tracked links that carry nothing, or are not there.
    fn down(&self) -> Vec<Down> {
        let tracked = self.wanted.lock().tracked.clone();
        if tracked.is_empty() {
            return Vec::new();
        }
        let Ok(mut netlink) = Socket::open() else { return Vec::new() };
        let down = |name: String| {
            let is_missing = match netlink.link(&name) {
                Ok(link) if link.up && link.carrier => return None,
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => true,
                // What cannot be asked for is no reason to send everybody away.
                Err(_) => return None,
            };
            Some(Down { link: name, is_missing })
        };
        tracked.into_iter().filter_map(down).collect()
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
