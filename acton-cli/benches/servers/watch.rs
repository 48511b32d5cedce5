//! Where each client is: what the servers say of sessions, and where the LAN's switch has their MACs.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use acton_cli::control::{Answer, Connection, Place, Request};
use acton_netlink::{Group, News, Socket, Subscription};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::clock::Clock;
use crate::support::{Acton, control};
use crate::world::{SWITCH, World, client_of};

/// Something that came to be for a client, at a time: at server 0 or 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) at: Duration,
}

/// Arrivals in the order in which they were heard of.
pub(crate) type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// For each client when it first arrived at `server` after `since`.
pub(crate) fn first(
    arrivals: &Arrivals,
    clients: usize,
    server: usize,
    since: Duration,
) -> Vec<Option<Duration>> {
    let mut found = vec![None; clients];
    for it in arrivals.lock().unwrap().iter() {
        if it.server == server && it.at >= since && it.client < clients {
            found[it.client].get_or_insert(it.at);
        }
    }
    found
}

/// Notes the sessions that begin at a server, until that ends.
pub(crate) fn sessions(clock: Clock, server: usize, end: &Acton, arrivals: &Arrivals) {
    let (path, arrivals) = (control(end).to_owned(), Arc::clone(arrivals));
    let mut connection = Connection::open(&Place::Path(path)).unwrap();
    thread::spawn(move || {
        let request = Request::Events { after: 0, follow: true };
        let mut answers = connection.ask(request).unwrap();
        while let Ok(answer) = answers.read() {
            let Answer::Event(event) = answer else { continue };
            let name = event.fields.get("client").and_then(Value::as_str);
            let number = name.and_then(|name| name.strip_prefix("client-")?.parse().ok());
            if let Some(client) = number
                && event.event == "session_up"
            {
                let at = clock.at(event.time);
                arrivals.lock().unwrap().push(Arrival { client, server, at });
            }
        }
    });
}

/// Notes at which port the LAN's switch has clients' MACs, for as long as this process runs.
pub(crate) fn macs(clock: Clock, world: &World, arrivals: &Arrivals) {
    let (subscription, bridge, ports) = world.lan.run(|| {
        let mut netlink = Socket::open().unwrap();
        let ports = ["port-a", "port-b"].map(|port| netlink.link(port).unwrap().index);
        let bridge = netlink.link(SWITCH).unwrap().index;
        let subscription = Subscription::new(&[Group::Neighbour]).unwrap();
        subscription.set_room(16 << 20).unwrap();
        (subscription, bridge, ports)
    });
    let arrivals = Arc::clone(arrivals);
    thread::spawn(move || {
        loop {
            let mut fds = [PollFd::new(subscription.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
            let at = clock.now();
            let whole = subscription.read(|news| {
                if let News::FdbAdded(entry) = news
                    && entry.bridge == bridge
                    && let Some(client) = client_of(entry.mac)
                    && let Some(server) = ports.iter().position(|&port| port == entry.port)
                {
                    arrivals.lock().unwrap().push(Arrival { client, server, at });
                }
            });
            assert!(whole.unwrap(), "news of the switch's table were lost");
        }
    });
}

/// The load average of the last minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string(Path::new("/proc/loadavg")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
