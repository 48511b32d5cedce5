//! The names that tools read: what is here changes for a good reason only.

use std::fmt::Debug;
use std::time::Duration;

use acton_bridge::{
    Bridge, BumKind, Config, DropReason, Explanation, FromLeaf, FromRoot, Learned, Owner, Share,
    Step,
};
use pnet_base::MacAddr;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Checks that a value is written like this, and read again.
fn is<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected: &Value) {
    let text = serde_json::to_string(value).expect("can be written");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("is JSON"), *expected);
    assert_eq!(serde_json::from_str::<T>(&text).expect("can be read"), *value);
}

fn mac(n: u8) -> MacAddr {
    MacAddr::new(2, 0, 0, 0, 0, n)
}

fn frame(to: MacAddr, from: MacAddr) -> Vec<u8> {
    [&to.octets()[..], &from.octets(), &[0x81, 0, 0, 7, 8, 0]].concat()
}

#[test]
fn reasons_have_the_names_of_counters() {
    for reason in DropReason::ALL {
        is(reason, &json!(reason.as_str()));
    }
}

#[test]
fn kinds_have_the_names_that_are_displayed() {
    for kind in [BumKind::Broadcast, BumKind::Multicast, BumKind::Unknown] {
        is(&kind, &json!(kind.to_string()));
    }
}

#[test]
fn verdicts() {
    is(&FromRoot::Leaf(42u32), &json!({ "leaf": 42 }));
    is(&FromRoot::<u32>::Flood(BumKind::Unknown), &json!({ "flood": "unknown" }));
    is(&FromRoot::<u32>::Drop(DropReason::Local), &json!({ "drop": "local" }));
    is(&FromLeaf::Root { bum: None }, &json!({ "root": { "bum": null } }));
    is(
        &FromLeaf::Root { bum: Some(BumKind::Multicast) },
        &json!({ "root": { "bum": "multicast" } }),
    );
    is(&FromLeaf::Drop(DropReason::LeafToLeaf), &json!({ "drop": "leaf_to_leaf" }));
}

#[test]
fn what_is_learned() {
    is(&Learned::<u32>::Nothing, &json!("nothing"));
    is(&Learned::<u32>::New, &json!("new"));
    let moved = Learned::<u32>::Moved { from: Owner::Root, frozen: true };
    is(&moved, &json!({ "moved": { "from": "root", "frozen": true } }));
}

#[test]
fn entries_and_limits() {
    let bridge = Bridge::<u32>::new(Config::default());
    let _ = bridge.from_leaf(42, &frame(mac(9), mac(1)), Duration::from_secs(1));
    assert!(bridge.pin(mac(2)));
    let now = Duration::from_millis(2_250);
    let learned = json!({
        "vlan": 7,
        "mac": "02:00:00:00:00:01",
        "owner": { "leaf": 42 },
        "age": 1.25,
        "held_for": 298.75,
        "frozen_for": null,
    });
    is(&bridge.entry(7, mac(1), now).unwrap(), &learned);
    let fixed = json!({
        "vlan": 0,
        "mac": "02:00:00:00:00:02",
        "owner": "root",
        "age": null,
        "held_for": null,
        "frozen_for": null,
    });
    is(&bridge.entry(0, mac(2), now).unwrap(), &fixed);
    let leaf = json!({ "share": { "leaf": 42 }, "learned": 1, "limit": 256 });
    is(&bridge.room(Share::Leaf(42)), &leaf);
    is(&bridge.room(Share::Leaves), &json!({ "share": "leaves", "learned": 1, "limit": 65_536 }));
    is(&bridge.room(Share::Root), &json!({ "share": "root", "learned": 0, "limit": 16_384 }));
}

#[test]
fn an_explanation() {
    let bridge = Bridge::<u32>::new(Config::default());
    bridge.reserve(mac(1), 42).unwrap();
    let now = Duration::from_secs(1);
    let explanation = bridge.explain(Owner::Leaf(42), &frame(mac(9), mac(1)), now);
    let expected = json!({
        "steps": [
            { "header": {
                "vlan": 7,
                "source": "02:00:00:00:00:01",
                "destination": "02:00:00:00:00:09",
            } },
            { "source": null },
            { "source_protection": { "leaf": 42 } },
            { "room": { "share": { "leaf": 42 }, "learned": 0, "limit": 256 } },
            { "room": { "share": "leaves", "learned": 0, "limit": 65_536 } },
            { "destination": null },
        ],
        "learned": "new",
        "verdict": { "from_leaf": { "root": { "bum": "unknown" } } },
    });
    is::<Explanation<u32>>(&explanation, &expected);
    let explanation = bridge.explain(Owner::Root, &frame(MacAddr::broadcast(), mac(9)), now);
    is(&explanation.verdict, &json!({ "from_root": { "flood": "broadcast" } }));
    is::<Step<u32>>(explanation.steps.last().unwrap(), &json!({ "group": "broadcast" }));
}
