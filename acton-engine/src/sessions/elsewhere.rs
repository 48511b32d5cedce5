//! Frames of clients that go to another server of the same LAN.

use std::time::Duration;

use acton_bridge::{Bridge, Owner};
use acton_frame::Ethernet;

use crate::sessions::port::LeafId;

/// Whether a frame that the LAN brings is from an address that somebody gave to a client that is here, by
/// `mac=` in the list of clients for one. It is about to be at another server, or there is a loop: what it
/// sends to all is for no client here, as none reaches another, and of a thousand clients that change
/// servers each tells the LAN where it is.
pub(crate) fn is_from_client(
    bridge: &Bridge<LeafId>,
    ethernet: Option<&Ethernet>,
    now: Duration,
) -> bool {
    let entry = ethernet.and_then(|it| bridge.entry(it.vlan(), it.source(), now));
    // What a client only had until now, the LAN has taken from it with this very frame.
    entry.is_some_and(|entry| matches!(entry.owner, Owner::Leaf(_)) && entry.age.is_none())
}

#[cfg(test)]
mod tests {
    use acton_bridge::Config;
    use acton_frame::Headers;
    use pnet_base::MacAddr;

    use super::*;

    #[test]
    fn an_address_is_a_clients_where_that_was_said() {
        let bridge = Bridge::new(Config::default());
        let [listed, learnt, unknown] = [1, 2, 3].map(|last| MacAddr(2, 0, 0, 0, 0, last));
        bridge.reserve(listed, 7).expect("there is room");
        let now = Duration::from_secs(1);
        let frame = |source: MacAddr| {
            let source: [u8; 6] = source.into();
            [&[0xff; 6][..], &source, &[8, 6], &[0; 46]].concat()
        };
        let _ = bridge.from_leaf(8, &frame(learnt), now);
        let is = |source| {
            let frame = frame(source);
            is_from_client(&bridge, Headers::parse(&frame).ethernet(), now)
        };
        assert_eq!([listed, learnt, unknown].map(is), [true, false, false]);
        // The LAN's frames teach nothing else.
        let _ = bridge.from_root(&frame(listed), now);
        assert!(is(listed) && !is_from_client(&bridge, None, now));
    }
}
