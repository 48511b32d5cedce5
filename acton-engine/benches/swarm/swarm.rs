//! A server, its clients, and whoever speaks to all of them. What they go through is a file each:
//! [`joining`](crate::joining), [`telling`](crate::telling), [`moving`](crate::moving),
//! [`returning`](crate::returning).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::time::Duration;

use acton_proto::wire::OVERHEAD;

use crate::bare::Bare;
use crate::contender::{Contender, PORT, TAP};
use crate::pings::Pings;
use crate::quantiles::Quantiles;
use crate::support::crowd::{Addresses, Crowd, wall_clock};
use crate::support::process::ServerProcess;
use crate::support::server::Mode;
use crate::support::{Result, enter_network};

pub(crate) const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT);

/// Clients that come and go beside those that stay.
pub(crate) const GUESTS: usize = 100;
/// How long all are waited for to join.
const JOIN: Duration = Duration::from_secs(60);
/// Time between two questions to the server.
const LOOK: Duration = Duration::from_millis(20);
/// After joins: probes of the path's MTU, and their answers.
const SETTLE: Duration = Duration::from_secs(2);

/// A server and its clients.
pub(crate) struct Swarm {
    pub(crate) contender: Contender,
    /// Clients that stay; behind them in the crowd are the guests.
    pub(crate) clients: usize,
    workers: Option<usize>,
    pub(crate) server: ServerProcess,
    /// Resident memory of the server before anybody came, in bytes.
    empty: u64,
    pub(crate) pings: Pings,
    pub(crate) crowd: Crowd,
    /// On the server's LAN.
    pub(crate) root: UdpSocket,
    pub(crate) bare: Bare,
    /// The number of the last thing that was sent to all.
    pub(crate) told: u64,
}

impl Swarm {
    /// A server in a network of its own, and so many clients that have not joined yet.
    pub(crate) fn new(
        contender: &Contender,
        clients: usize,
        addresses: Addresses,
        workers: Option<usize>,
    ) -> Result<Self> {
        enter_network()?;
        let server = contender.start(Ipv4Addr::LOCALHOST, sessions(clients), workers)?;
        let empty = server.resident()?;
        let (mode, all) = (contender.mode(), clients + GUESTS);
        let pings = Pings::start(mode, all, addresses.of(all), ADDRESS, TAP.addr())?;
        let crowd = Crowd::new(mode, all, ADDRESS, addresses)?;
        let root = UdpSocket::bind((TAP.addr(), 0))?;
        root.set_broadcast(true)?;
        let sealing = match mode {
            Mode::Secure => OVERHEAD,
            Mode::Plain => 0,
        };
        let bare = Bare::new(&crowd.addresses(0..clients)?, sealing)?;
        let contender = contender.clone();
        Ok(Self { contender, clients, workers, server, empty, pings, crowd, root, bare, told: 0 })
    }

    /// Says on standard error what happens now.
    pub(crate) fn say(&self, what: &str) {
        let (name, id) = (self.contender.name(), self.server.id());
        eprintln!("{name}, {} clients, server {id}: {what}", self.clients);
    }

    /// Runs until these have heard of the server since answers were forgotten at `start`; the seconds
    /// that it took each, in order.
    pub(crate) fn all_answered(
        &mut self,
        numbers: Range<usize>,
        start: Duration,
    ) -> Result<Vec<f64>> {
        let waiting = |crowd: &Crowd| crowd.wait_for_answers(numbers.clone());
        if !self.crowd.run_while(JOIN, |crowd| waiting(crowd) == 0)? {
            let missing = waiting(&self.crowd);
            return Err(format!("{missing} of {} clients are not in", numbers.len()).into());
        }
        let times = self.crowd.answered(numbers);
        let mut times: Vec<_> = times.iter().map(|&at| (at - start).as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Waits until the server has so many sessions, where it can be asked: it has one once it heard
    /// of the client's keys.
    pub(crate) fn expect_sessions(&mut self, clients: usize) -> Result<()> {
        let deadline = self.crowd.now() + JOIN;
        // The pings are one more.
        while self.server.can_be_asked() && self.server.sessions()? <= clients {
            if self.crowd.now() > deadline {
                return Err(format!("the server does not have {clients} sessions").into());
            }
            self.crowd.run(LOOK)?;
        }
        Ok(())
    }

    /// Lets what follows joins come to its end.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.crowd.run(SETTLE)
    }

    /// Resident memory of the server a session, in bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        Ok((self.server.resident()? as f64 - self.empty as f64) / self.clients as f64)
    }

    /// Seconds that pings take while the clients are idle for so long.
    pub(crate) fn idle_pings(&mut self, time: Duration) -> Result<Quantiles> {
        let start = wall_clock();
        self.crowd.run(time)?;
        Ok(Quantiles::of(self.pings.between(start, wall_clock())))
    }

    /// Ends the server as a crash would, and starts another; answers from before are forgotten.
    pub(crate) fn crash(&mut self) -> Result<()> {
        self.server.kill()?;
        self.crowd.forget_answers();
        self.server =
            self.contender.start(Ipv4Addr::LOCALHOST, sessions(self.clients), self.workers)?;
        Ok(())
    }
}

/// Sessions that the server may have: the clients, the guests and the pings.
fn sessions(clients: usize) -> usize {
    clients + GUESTS + 1
}
