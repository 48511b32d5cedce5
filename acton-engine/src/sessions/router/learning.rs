//! Which addresses clients are given, or make themselves.

use std::time::Duration;

use acton_bridge::{Dhcp6Reply, Lease, Owner, neighbour_advertised};
use acton_frame::Headers;

use super::Router;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::sessions::directory::Directory;
use crate::sessions::pairs::Holder;
use crate::sessions::session::Session;

/// The ports of what DHCP clients say, as they stand in a frame: 68 and 67.
const DHCP_PORTS: [u8; 4] = [0, 68, 0, 67];
/// The port of DHCPv6 servers: 547.
const DHCP6_SERVER: [u8; 2] = [2, 0x23];

impl Router {
    /// Notes which addresses a DHCP server gives a client, also one whose policy does not go by it yet, and
    /// in which prefixes routers have hosts make them. Whoever had an address before has it no more, but
    /// where the frame goes to a client by its `pair` of tags: behind another there may be the same
    /// address.
    #[inline(never)]
    pub(super) fn learn_lease<K: Copy + Eq + std::hash::Hash, M>(
        &self,
        frames: &FrameBatch,
        index: usize,
        pair: Option<Holder>,
        now: Duration,
        directory: &Directory<K, Session<M>>,
    ) {
        let (headers, frame) = (frames.headers(index), frames.get(index));
        let client = |vlan, mac| match self.bridge.lookup(vlan, mac, now) {
            _ if pair.is_some() => pair.and_then(Holder::port),
            Some(Owner::Leaf(port)) => Some(port),
            _ => None,
        };
        let holders = &self.floods.lease_holders;
        if let Some(lease) = Lease::read(headers, frame) {
            let Some(port) = client(lease.vlan, lease.mac) else { return };
            directory.read(port, |session| {
                let leases = &session.policing.leases;
                match leases.add(&lease, now) {
                    true if pair.is_none() => {
                        holders.took((lease.vlan, lease.address.into()), leases, now);
                    }
                    true => holders.note_change(),
                    false => {}
                }
            });
        } else if let Some(reply) = Dhcp6Reply::read(headers, frame) {
            let Some(port) = client(reply.vlan, reply.mac) else { return };
            directory.read(port, |session| {
                let leases = &session.policing.leases;
                let has_changed = leases.add_reply(&reply, now, |net| {
                    if pair.is_none() {
                        holders.took((reply.vlan, net), leases, now);
                    }
                });
                if has_changed {
                    holders.note_change();
                }
            });
        } else if pair.is_none() {
            self.floods.advertised.hear(headers, frame, now);
        }
    }

    /// Notes that a frame from the root tells of an address: a client that has just probed for it shall not
    /// have it.
    #[inline]
    pub(super) fn learn_neighbour(&self, headers: &Headers, frame: &[u8], now: Duration) {
        if headers.may_resolve()
            && let Some((vlan, address)) = neighbour_advertised(headers, frame)
        {
            self.floods.lease_holders.is_at_root((vlan, address.into()), now);
        }
    }

    /// Notes what a client asks a DHCP server, and which addresses it makes itself.
    pub(super) fn learn_from_client<M>(
        &self,
        session: &Session<M>,
        frame: &[u8],
        headers: &Headers,
        now: Duration,
    ) {
        let leases = &session.policing.leases;
        let asks_dhcp = |ports: &[u8; 4]| ports == &DHCP_PORTS || ports.ends_with(&DHCP6_SERVER);
        if headers.ports(frame).is_some_and(asks_dhcp) {
            if leases.hear(headers, frame) {
                self.floods.lease_holders.note_change();
            }
            return;
        }
        // Behind a pair of tags there may be the same address as behind another.
        let is_pair = session.policy.vlans().is_some_and(|vlans| vlans.pair().is_some());
        if !headers.may_resolve() || is_pair {
            return;
        }
        let Some((vlan, address)) = leases.hear_neighbour(headers, frame, now) else { return };
        let floods = &self.floods;
        if !floods.is_elsewhere(&self.bridge, session.port, (vlan, address), now) {
            floods.lease_holders.make((vlan, address.into()), leases, now, || {
                leases.make(&floods.advertised, vlan, address, now)
            });
        }
    }
}
