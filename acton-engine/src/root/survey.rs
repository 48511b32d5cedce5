//! What rtnetlink says of the TAP's surroundings.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use acton_bridge::{Bridge, RootAddress, RootAddresses};
use acton_netlink::{FdbEntry, Link, Socket};
use pnet_base::MacAddr;

use super::addresses::Interfaces;
use super::fdb::KernelFdb;
use super::gateways::{Gateways, Refusal};
use super::named::Named;
use crate::run::clock;
use crate::sessions::port::LeafId;

/// The entries of the Linux bridge called `name`, none where they cannot be had: whoever joins it
/// says why.
pub(crate) fn entries_of(name: &str) -> usize {
    let entries = || -> io::Result<usize> {
        let mut netlink = Socket::open()?;
        let bridge = netlink.link(name)?.index;
        Ok(netlink.fdb(bridge)?.len())
    };
    entries().unwrap_or(0)
}

/// What is known of the TAP's surroundings, and the bridge of the tunnel that follows it.
pub(super) struct Survey {
    netlink: Socket,
    bridge: Arc<Bridge<LeafId>>,
    /// The index of the TAP.
    tap: u32,
    /// What the settings name.
    pub(super) named: Named,
    /// The index of the Linux bridge that the TAP is a port of.
    pub(super) master: Option<u32>,
    pub(super) fdb: KernelFdb,
    pub(super) gateways: Gateways,
    /// What is the root's alone by now.
    macs: BTreeSet<MacAddr>,
    addresses: Arc<RootAddresses>,
    /// The tunnel's bridge had room for all of them.
    had_room: bool,
}

/// What a look around found changed.
pub(super) struct Changes {
    /// What is the root's alone, if that is other than before.
    pub(super) macs: Option<Vec<MacAddr>>,
    /// Which IP addresses are, if these are others than before.
    pub(super) addresses: Option<Vec<RootAddress>>,
    /// How many MACs there is no room for, if that is worth telling.
    pub(super) without_room: Option<usize>,
    /// What there was no room for among the gateways.
    pub(super) refusals: Vec<Refusal>,
}

impl Survey {
    pub(super) fn new(
        bridge: Arc<Bridge<LeafId>>,
        addresses: Arc<RootAddresses>,
        tap: u32,
        named: Named,
    ) -> io::Result<Self> {
        Ok(Self {
            netlink: Socket::open()?,
            fdb: KernelFdb::new(Arc::clone(&bridge), tap),
            bridge,
            tap,
            named,
            master: None,
            gateways: Gateways::default(),
            macs: BTreeSet::new(),
            addresses,
            had_room: true,
        })
    }

    /// Looks at links, routes and neighbours, and at the table of the Linux bridge if the TAP has
    /// become a port of another one or `again` says so. Has the tunnel's bridge follow.
    pub(super) fn look(&mut self, again: bool) -> io::Result<Changes> {
        let tap = self.netlink.link_by_index(self.tap)?;
        if self.master != tap.master || again {
            let entries = match tap.master {
                // One that is no bridge has no table.
                Some(master) => self.netlink.fdb(master)?,
                None => Vec::new(),
            };
            self.fdb.replace(&entries);
            // Only now: a table that could not be had is asked for again.
            self.master = tap.master;
        }
        let mut macs: BTreeSet<_> = self.named.macs.iter().copied().chain(tap.mac).collect();
        if let Some(master) = self.master {
            macs.extend(self.netlink.link_by_index(master)?.mac);
            self.look_for_gateways(master)?;
            macs.extend(self.gateways.macs(|mac| self.fdb.knows(mac)));
        } else {
            // Whoever is a gateway by the TAP itself is behind a client.
            self.gateways.follow(&[], clock::now());
        }
        let addresses = self.look_for_addresses(&tap)?;
        Ok(self.follow(macs, addresses))
    }

    /// The IP addresses that no client may use.
    fn look_for_addresses(&mut self, tap: &Link) -> io::Result<Vec<RootAddress>> {
        let interfaces = Interfaces::find(&mut self.netlink, tap)?;
        let mut addresses = interfaces.own(&mut self.netlink)?;
        let named = self.named.addresses.iter();
        addresses.extend(named.map(|&address| RootAddress { address, vlan: None }));
        // Whoever is a gateway by the TAP itself is behind a client.
        if tap.master.is_some() {
            let gateways = self.gateways.addresses();
            addresses.extend(gateways.flat_map(|(index, ip)| interfaces.place(index, ip)));
        }
        Ok(addresses)
    }

    /// Gateways on the Linux bridge or on a VLAN of it.
    fn look_for_gateways(&mut self, master: u32) -> io::Result<()> {
        let mut routes: Vec<(u32, IpAddr)> = Vec::new();
        for route in self.netlink.default_routes()? {
            let Some(gateway) = route.gateway else { continue };
            let link = self.netlink.link_by_index(route.interface);
            // One that has gone meanwhile is told of.
            let is_on_it = link.is_ok_and(|link| link.lower == Some(master));
            if route.interface == master || is_on_it {
                routes.push((route.interface, gateway));
            }
        }
        self.gateways.follow(&routes, clock::now());
        for interface in self.gateways.interfaces() {
            for neighbour in self.netlink.neighbours(interface)? {
                self.gateways.hear(&neighbour);
            }
        }
        Ok(())
    }

    fn follow(&mut self, macs: BTreeSet<MacAddr>, addresses: Vec<RootAddress>) -> Changes {
        let mut without_room = self.fdb.take_without_room();
        let refusals = self.gateways.take_refusals();
        let is_other = self.macs != macs;
        if is_other || !self.had_room {
            // What the operator named comes last: of that there may be any number.
            let (named, found): (Vec<MacAddr>, Vec<_>) =
                macs.iter().partition(|mac| self.named.macs.contains(mac));
            let has_room = self.bridge.set_root_macs(found.into_iter().chain(named)).is_ok();
            if mem::replace(&mut self.had_room, has_room) && !has_room {
                without_room = Some(without_room.unwrap_or(0) + 1);
            }
            self.macs = macs;
        }
        let macs = is_other.then(|| self.macs.iter().copied().collect());
        let before = self.addresses.list();
        self.addresses.set(addresses);
        let after = self.addresses.list();
        let addresses = (before != after).then_some(after);
        Changes { macs, addresses, without_room, refusals }
    }

    /// An entry of a Linux bridge, this one or another; `true` where a gateway may have become
    /// certain by it.
    pub(super) fn add(&mut self, entry: &FdbEntry) -> bool {
        if Some(entry.bridge) != self.master {
            return false;
        }
        self.fdb.add(entry);
        self.gateways.asks_about(entry.mac)
    }

    /// An entry of a Linux bridge that is no more.
    pub(super) fn remove(&mut self, entry: &FdbEntry) {
        if Some(entry.bridge) == self.master {
            self.fdb.remove(entry);
        }
    }
}
