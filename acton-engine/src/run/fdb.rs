//! The table of MACs for operators: who has which, and what they say of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use acton_bridge::{Bridge, Neighbour, Owner, StaticError};
use acton_proto::wire::server_tag;
use pnet_base::MacAddr;

use crate::floods::shared::Floods;
use crate::isolation::report::{IsolationOptions, IsolationReport};
use crate::observe::event::Place;
#[cfg(feature = "serde")]
use crate::observe::serialise::optional_seconds;
use crate::run::clock;
use crate::run::control::{DrainOrder, Order, Steer};
use crate::run::handle::Handle;
use crate::sessions::port::{LeafId, slot};
use crate::{Error, ServerName};

/// A MAC that a server's bridge knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct FdbEntry {
    /// The address.
    pub mac: MacAddr,
    /// Its VLAN, 0 for untagged. The root has an address on every VLAN.
    pub vlan: u16,
    /// Where it lives.
    pub at: Place,
    /// Time since its last frame; absent where it does not age: somebody said where it lives.
    #[cfg_attr(feature = "serde", serde(rename = "age_seconds", with = "optional_seconds"))]
    pub age: Option<Duration>,
    /// How much longer no other client can take it because its owner was heard of.
    #[cfg_attr(feature = "serde", serde(rename = "held_seconds", with = "optional_seconds"))]
    pub held_for: Option<Duration>,
    /// How much longer no client can take it because it moved too often.
    #[cfg_attr(feature = "serde", serde(rename = "frozen_seconds", with = "optional_seconds"))]
    pub frozen_for: Option<Duration>,
    /// The IP addresses that it told of by ARP and neighbour discovery, in order; those that another
    /// owner told of first are not among them.
    #[cfg_attr(feature = "serde", serde(default))]
    pub addresses: Vec<IpAddr>,
}

/// The IP addresses behind each MAC of one owner.
struct Told {
    owner: Owner<LeafId>,
    addresses: HashMap<(u16, MacAddr), Vec<IpAddr>>,
}

impl Told {
    fn by(owner: Owner<LeafId>, floods: &Floods) -> Self {
        let mut addresses: HashMap<_, Vec<_>> = HashMap::new();
        for Neighbour { vlan, mac, address, .. } in floods.neighbours.known_of(owner) {
            addresses.entry((Self::vlan(owner, vlan), mac)).or_default().push(address);
        }
        addresses.values_mut().for_each(|addresses| addresses.sort_unstable());
        Self { owner, addresses }
    }

    /// The root has a MAC on every VLAN.
    fn vlan(owner: Owner<LeafId>, vlan: u16) -> u16 {
        if owner == Owner::Root { 0 } else { vlan }
    }

    fn take(&mut self, vlan: u16, mac: MacAddr) -> Vec<IpAddr> {
        self.addresses.remove(&(Self::vlan(self.owner, vlan), mac)).unwrap_or_default()
    }
}

impl Handle {
    /// At a server, all MACs that its bridge knows: the root's, then session after session, and
    /// those of one owner by VLAN and address.
    ///
    /// # Errors
    /// [`Error::NotServer`].
    pub fn fdb(&self) -> Result<Vec<FdbEntry>, Error> {
        let (bridge, floods) = (self.fdb_bridge()?, self.floods().ok_or(Error::NotServer)?);
        let mut told = Told::by(Owner::Root, floods);
        let entries = bridge.entries_by_owner(clock::now()).into_iter();
        Ok(entries
            .map(|entry| {
                if entry.owner != told.owner {
                    told = Told::by(entry.owner, floods);
                }
                FdbEntry {
                    mac: entry.mac,
                    vlan: entry.vlan,
                    at: self.place(entry.owner),
                    age: entry.age,
                    held_for: entry.held_for,
                    frozen_for: entry.frozen_for,
                    addresses: told.take(entry.vlan, entry.mac),
                }
            })
            .collect())
    }

    /// Says where a MAC lives, heard of or not: at the root on every VLAN, until it is
    /// [forgotten](Self::forget_mac), or behind a client on one VLAN (0 for untagged), for as long as
    /// its session lasts.
    ///
    /// # Errors
    /// Where this is a client, there is no such session, or a rule of the bridge forbids it.
    pub fn add_mac(&self, mac: MacAddr, vlan: u16, session: Option<&str>) -> Result<(), Error> {
        let bridge = self.fdb_bridge()?;
        match session {
            Some(session) => self.steer(Steer::AddMac { mac, vlan, session: session.to_owned() }),
            None if mac.is_multicast() || mac.is_zero() => Err(StaticError::NotUnicast(mac).into()),
            None if bridge.pin(mac) => Ok(()),
            None => Err(Error::NoRoom(mac)),
        }
    }

    /// Forgets where a MAC lives, learned or [said](Self::add_mac), on one VLAN; true if it was
    /// known. What the list of clients and the settings say of it stays.
    ///
    /// # Errors
    /// [`Error::NotServer`].
    pub fn forget_mac(&self, mac: MacAddr, vlan: u16) -> Result<bool, Error> {
        let bridge = self.fdb_bridge()?;
        let known = bridge.entry(vlan, mac, clock::now());
        let Some(entry) = known else { return Ok(false) };
        Ok(match entry.owner {
            Owner::Root if entry.age.is_none() => {
                bridge.unpin(mac);
                bridge.entry(vlan, mac, clock::now()).is_none()
            }
            _ => bridge.forget(vlan, mac) || bridge.remove_static(vlan, mac),
        })
    }

    /// Forgets all MACs that were learned, or those behind one client; gives their number. What
    /// somebody said of a MAC stays.
    ///
    /// # Errors
    /// Where this is a client, or there is no such session.
    pub fn flush_macs(&self, session: Option<&str>) -> Result<usize, Error> {
        let bridge = self.fdb_bridge()?;
        let find = |wanted: &str| {
            let port = self.names().and_then(|names| names.find(wanted));
            port.ok_or_else(|| Error::NoSession(wanted.to_owned()))
        };
        let only = session.map(find).transpose()?.map(Owner::Leaf);
        let entries = bridge.entries(clock::now());
        let learned = entries
            .filter(|entry| entry.age.is_some() && only.is_none_or(|only| only == entry.owner));
        Ok(learned.filter(|entry| bridge.forget(entry.vlan, entry.mac)).count())
    }

    /// Ends a session by the client's name, its UDP address or the session's number; the client may
    /// come back at once or, with `bar`, after that time.
    ///
    /// # Errors
    /// Where this is a client, there is no such session, or the tunnel has ended.
    pub fn kick(&self, session: &str, bar: Option<Duration>) -> Result<(), Error> {
        self.steer(Steer::Kick { session: session.to_owned(), bar })
    }

    /// Has a server ask its clients to go to other servers of theirs, over so much time, and again for
    /// as long as they are there: to the server that they know as `to`, `HOST:PORT`, or to whichever
    /// they like. Who has no other stays, unless `everyone` is to go: then the rest is sent away once
    /// all were asked, and nobody let in.
    ///
    /// # Errors
    /// Where this is a client, a server in plain mode, or the tunnel has ended.
    pub fn drain(
        &self,
        to: Option<&ServerName>,
        over: Duration,
        everyone: bool,
    ) -> Result<(), Error> {
        let to = to.map_or(0, |to| server_tag(&to.to_string()));
        self.steer(Steer::Drain(Some(DrainOrder { to, over, everyone })))
    }

    /// Has a server ask its clients no more to go, and let them in again.
    ///
    /// # Errors
    /// As those of [`drain`](Self::drain).
    pub fn stop_draining(&self) -> Result<(), Error> {
        self.steer(Steer::Drain(None))
    }

    /// Has clients that agree send frames of every kind to one another and to all, and says where they
    /// arrived: a server's clients are isolated where none came to another one. Each of them also shows
    /// that it hears. It takes some seconds, two minutes at most; where one that is asked does not take
    /// part, nobody sends anything unless the options say otherwise.
    ///
    /// # Errors
    /// Where this is a client, a server in plain mode, a session is not there, another test is on, or the
    /// tunnel has ended.
    pub fn verify_isolation(&self, options: &IsolationOptions) -> Result<IsolationReport, Error> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.steer(Steer::VerifyIsolation(options.clone(), answer))?;
        answered.recv().unwrap_or(Err(Error::Ended))
    }

    fn steer(&self, steer: Steer) -> Result<(), Error> {
        if self.is_control_thread() {
            return Err(Error::ControlThread);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.give(Order::Steer(steer, answer));
        answered.recv().unwrap_or(Err(Error::Ended))
    }

    fn fdb_bridge(&self) -> Result<&Bridge<LeafId>, Error> {
        self.bridge().ok_or(Error::NotServer)
    }

    /// Where an owner is, as operators know it.
    pub(crate) fn place(&self, owner: Owner<LeafId>) -> Place {
        match owner {
            Owner::Root => Place::Root,
            Owner::Leaf(port) => {
                let name = self.names().and_then(|names| names.name(port));
                Place::Session { session: slot(port), client: name.map(|name| name.to_string()) }
            }
        }
    }
}
