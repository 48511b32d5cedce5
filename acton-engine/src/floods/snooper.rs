//! Snooping of IGMP and MLD at a server: a frame for a group goes to the clients that asked for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acton_bridge::{
    CompiledPolicy, GroupMessage, GroupRoute, Multicast, Owner, Receivers, group_query,
};
use acton_frame::Headers;
use pnet_base::MacAddr;

use crate::observe::counters::{Counter, Counters};
use crate::sessions::port::LeafId;

/// Who asked for which group, where that is wanted. Shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Snooper {
    on: AtomicBool,
    pub(crate) table: Multicast<LeafId>,
}

/// What a message of a client's on groups is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientSays {
    /// Nothing that keeps it from passing.
    Passes,
    /// A query, of a client that is not trusted to be a router: hosts and routers of the LAN would go by
    /// it, and the LAN's own querier be silent.
    IsQuerier,
}

impl Snooper {
    pub(crate) fn new(on: bool) -> Self {
        Self { on: AtomicBool::new(on), table: Multicast::new() }
    }

    /// Whether anybody listens. All else is to be asked only then.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins or ends to listen. What is known is forgotten, so groups go to everybody until a querier has
    /// asked again.
    pub(crate) fn set_on(&self, on: bool) {
        if self.on.swap(on, Ordering::Relaxed) != on {
            self.table.clear();
        }
    }

    /// Where a frame from the root goes, which is for a group; and hears it.
    pub(crate) fn route(&self, headers: &Headers, frame: &[u8], now: Duration) -> GroupRoute {
        if GroupMessage::may_be(headers, frame)
            && let Some(message @ GroupMessage::Query(_)) = GroupMessage::read(headers, frame)
        {
            self.table.hear(Owner::Root, headers, message, now);
            return GroupRoute::Everybody;
        }
        self.table.route(headers, frame, now)
    }

    /// Who gets what goes there; `None` is everybody.
    pub(crate) fn receivers(&self, route: GroupRoute) -> Option<Receivers<LeafId>> {
        match route {
            GroupRoute::Everybody => None,
            GroupRoute::Group(group) => Some(self.table.receivers(&group)),
            GroupRoute::Routers => Some(self.table.routers()),
        }
    }

    /// Clients that are to be asked now which groups they want, up to `most` looked at, each with the frame
    /// that asks as the client sees it, from the MAC that `mac` gives: `policy_of` gives a client's policy.
    pub(crate) fn take_queries(
        &self,
        now: Duration,
        most: usize,
        policy_of: impl Fn(LeafId) -> Option<Arc<CompiledPolicy>>,
        mac: impl FnOnce() -> Option<MacAddr>,
    ) -> Vec<(LeafId, Vec<u8>)> {
        let vlan_at = |client, vlan| match policy_of(client)?.vlans() {
            None => Some(vlan),
            Some(vlans) => vlans.at_leaf(vlan),
        };
        let is_in = |client, vlan| vlan_at(client, vlan).is_some();
        let asks = self.table.take_asks(now, most, is_in);
        // A TAP that is gone asks nothing.
        let Some(mac) = (!asks.is_empty()).then(mac).flatten() else { return Vec::new() };
        let frames = asks.iter().filter_map(|ask| {
            let vlan = vlan_at(ask.leaf, ask.vlan)?;
            Some((ask.leaf, group_query(vlan, ask.family, ask.group, mac)))
        });
        frames.collect()
    }

    /// Hears a frame of a client's that is for a group. Where the client has a pair of tags, nothing is noted
    /// of it: no group goes to it but by these.
    pub(crate) fn hear_client(
        &self,
        (client, is_guarded, has_pair): (LeafId, bool, bool),
        headers: &Headers,
        frame: &[u8],
        now: Duration,
        counters: &Counters,
    ) -> ClientSays {
        if !GroupMessage::may_be(headers, frame) {
            return ClientSays::Passes;
        }
        let Some(message) = GroupMessage::read(headers, frame) else { return ClientSays::Passes };
        match message {
            GroupMessage::Query(_) if is_guarded => return ClientSays::IsQuerier,
            GroupMessage::RouterHello if is_guarded => return ClientSays::Passes,
            _ if has_pair => return ClientSays::Passes,
            _ => {}
        }
        let no_room = self.table.hear(Owner::Leaf(client), headers, message, now);
        if no_room > 0 {
            counters.add(Counter::GroupsNoRoom, no_room.into());
        }
        ClientSays::Passes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use acton_bridge::{OuterTag, Policy, TagPair, VlanId, VlanRange, VlanSet, Vlans};

    use super::*;

    const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);

    /// A general query of IGMP from 10.0.0.9.
    pub(crate) fn query(vlan: u16) -> Vec<u8> {
        let mut frame = group_query(vlan, acton_bridge::IpFamily::V4, None, MAC);
        let ip = frame.len() - 12 - 24;
        // One from 0.0.0.0 is no querier's.
        frame[ip + 12..ip + 16].copy_from_slice(&[10, 0, 0, 9]);
        frame[ip + 10..ip + 12].fill(0);
        let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        let sum: u32 = frame[ip..ip + 24].chunks(2).map(word).sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    #[test]
    fn nothing_is_noted_of_a_client_behind_a_pair_of_tags() {
        let (frame, now, counters) = (query(10), Duration::from_secs(1), Counters::new());
        let headers = Headers::parse(&frame);
        for (is_guarded, has_pair, says, noted) in [
            (true, true, ClientSays::IsQuerier, 0),
            (false, true, ClientSays::Passes, 0),
            (false, false, ClientSays::Passes, 1),
        ] {
            let snooper = Snooper::new(true);
            let client = (7, is_guarded, has_pair);
            assert_eq!(snooper.hear_client(client, &headers, &frame, now, &counters), says);
            assert_eq!(snooper.table.routers().count(), noted);
        }
    }

    #[test]
    fn a_client_is_asked_by_frames_that_it_can_read() {
        let snooper = Snooper::new(true);
        let secs = Duration::from_secs;
        // Queriers on three VLANs.
        for vlan in [0, 10, 20] {
            let frame = query(vlan);
            let headers = Headers::parse(&frame);
            assert_eq!(snooper.route(&headers, &frame, secs(1)), GroupRoute::Everybody);
        }
        assert_eq!(snooper.table.summary(secs(1)).queriers.len(), 3);
        let id = |number| VlanId::new(number).unwrap();
        let pair = TagPair { outer: id(10), inner: id(20), tpid: OuterTag::Customer };
        let set = VlanSet::new(vec![VlanRange::new(20, 30).unwrap()]).unwrap();
        let places =
            [None, Some(Vlans::Access(id(10))), Some(Vlans::Pair(pair)), Some(Vlans::Tagged(set))];
        let policy_of = |client: LeafId| {
            let vlans = places.get(client as usize)?.clone();
            let mut policy = Policy::default();
            policy.vlans = vlans;
            Some(Arc::new(CompiledPolicy::new(policy)))
        };
        (0..5).for_each(|client| snooper.table.leaf_up(client, secs(10)));
        let queries = snooper.take_queries(secs(10), 64, policy_of, || Some(MAC));
        let vlan = |frame: &[u8]| Headers::parse(frame).ethernet().unwrap().vlan();
        let asked: Vec<_> = queries.iter().map(|(client, frame)| (*client, vlan(frame))).collect();
        assert_eq!(asked, [(0, 0), (0, 10), (0, 20), (1, 0), (3, 20)]);
        let gone = snooper.take_queries(secs(11), 64, policy_of, || None);
        assert_eq!(gone, [], "there is no TAP any more");
    }
}
