//! The names that tools read: what is here changes for a good reason only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::{Duration, SystemTime};

use acton_bridge::{Budget, EtherType, LearntFrom, Rate, Sources, VlanId, Vlans};
use pnet_base::MacAddr;
use serde_json::{Value, from_value, json, to_value};

use crate::floods::budgets::Budgets;
use crate::observe::counters::Counters;
use crate::observe::event::{Beginning, EndReason, Event, EventKind, LoopWitness, Place};
use crate::observe::status::{
    ActedReport, CircuitReport, LeaseReport, LoopReport, LossReport, MacReport, PastSession,
    PolicyReport, RttReport, SessionStatus, SocketReport, State,
};
use crate::observe::tally::Traffic;
use crate::settings::{
    ClientMode, ClientSettings, PlainServerSettings, SecureSettings, ServerMode, ServerSettings,
    Settings,
};
use crate::{Protocol, Role, ServerName, Totals};

const MAC: MacAddr = MacAddr(2, 0, 0, 0, 0, 9);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_session_of_which_all_is_known() {
    let mut status = SessionStatus::new("laptop".to_owned());
    status.number = Some(3);
    status.key = Some("AAEC".to_owned());
    status.state = State::Quiet;
    status.in_state_for = Some(ms(1_500));
    status.session_for = Some(ms(60_000));
    status.address = Some(SocketAddr::from(([192, 0, 2, 7], 4_242)));
    status.roams = Some(1);
    status.rekeys = Some(2);
    status.suite = Some("aes-256-gcm".into());
    status.peer_version = Some("0.2.0".to_owned());
    status.peer_mtu = Some(1_500);
    status.server_restarts = Some(4);
    status.heard_ago = Some(ms(16_500));
    let (smoothed, min, jitter) = (ms(20), Some(ms(10)), Some(ms(5)));
    status.rtt = Some(RttReport { min, smoothed, jitter });
    status.loss_in = Some(LossReport { sent: 100, received: 99 });
    status.path_mtu_out = Some(1_472);
    let drops = BTreeMap::from([("source_held".into(), 4)]);
    status.traffic = Traffic { frames_in: 1, bytes_in: 60, frames_out: 2, bytes_out: 120, drops };
    status.macs = vec![MacReport { mac: MAC, vlan: 7, age: Some(ms(250)), frozen: false }];
    status.mac_limit = Some(16);
    status.budgets_acting = vec!["arp".into()];
    let (with, found_ago) = (Some(Place::Root), ms(250));
    status.loop_found = Some(LoopReport { with, found_ago, opens_in: Some(ms(60_000)) });
    status.policy = Some(PolicyReport {
        guarded: true,
        ethertypes: Some(vec![EtherType::new(0x0800), EtherType::new(0x8863)]),
        sources: Some(Sources { listed: vec!["10.0.0.5/32".parse().unwrap()], learn: true }),
        leases: vec![LeaseReport {
            vlan: 7,
            address: [10, 0, 0, 9].into(),
            prefix_len: None,
            from: LearntFrom::Dhcp,
            left: ms(1_500),
        }],
        vlans: Some(Vlans::Access(VlanId::new(100).unwrap())),
        rate_in: Some(Rate::new(NonZeroU64::new(1_000_000), None)),
        rate_out: None,
        circuit: Some(CircuitReport {
            id: "olt-7 laptop".to_owned(),
            remote: None,
            protocols: vec!["dhcp".into(), "pppoe".into()],
        }),
        own_macs: vec![MAC],
        shared_macs: Vec::new(),
        strict: true,
        acting: vec!["source_ip".into()],
        acted: vec![ActedReport { reason: "source_ip".into(), ago: ms(1_500) }],
    });
    status.before = Some(PastSession { reason: EndReason::Silent, ago: ms(90_000) });
    let policy = json!({
        "guarded": true, "ethertypes": ["ip", "0x8863"],
        "sources": { "listed": ["10.0.0.5/32"], "learn": true },
        "leases": [{
            "vlan": 7, "address": "10.0.0.9", "prefix_len": null, "from": "dhcp",
            "left_seconds": 1.5,
        }],
        "vlans": { "access": 100 },
        "rate_in": {
            "bytes": 1_000_000, "burst_bytes": 200_000, "frames": null, "burst_frames": 256,
        },
        "rate_out": null,
        "circuit": { "id": "olt-7 laptop", "remote": null, "protocols": ["dhcp", "pppoe"] },
        "own_macs": ["02:00:00:00:00:09"], "strict": true,
        "acting": ["source_ip"],
        "acted": [{ "reason": "source_ip", "ago_seconds": 1.5 }],
    });
    let expected = json!({
        "number": 3, "name": "laptop", "key": "AAEC",
        "state": "quiet", "state_seconds": 1.5, "reason": null, "refusal": null,
        "session_seconds": 60.0,
        "address": "192.0.2.7:4242", "roams": 1, "rekeys": 2, "suite": "aes-256-gcm",
        "peer_version": "0.2.0", "peer_mtu": 1_500, "server_restarts": 4, "heard_seconds": 16.5,
        "rtt": { "min_seconds": 0.01, "smoothed_seconds": 0.02, "jitter_seconds": 0.005 },
        "loss_in": { "sent": 100, "received": 99 }, "loss_out": null,
        "path_mtu_out": 1_472, "path_mtu_in": null,
        "traffic": {
            "frames_in": 1, "bytes_in": 60, "frames_out": 2, "bytes_out": 120,
            "drops": { "source_held": 4 },
        },
        "macs": [{
            "mac": "02:00:00:00:00:09", "vlan": 7, "age_seconds": 0.25, "frozen": false,
        }],
        "mac_limit": 16, "budgets_acting": ["arp"],
        "loop": { "with": "root", "found_seconds": 0.25, "opens_in_seconds": 60.0 },
        "policy": policy,
        "before": { "reason": "silent", "ago_seconds": 90.0 },
    });
    assert_eq!(to_value(&status).unwrap(), expected);
    assert_eq!(from_value::<SessionStatus>(expected).unwrap(), status);
}

#[test]
fn what_a_later_version_adds_is_read_as_far_as_it_is_known() {
    let mut later = to_value(SessionStatus::new("laptop".to_owned())).unwrap();
    later["reason"] = json!("struck_by_lightning");
    later["weather"] = json!("bad");
    let read: SessionStatus = from_value(later).unwrap();
    assert_eq!(read.reason, Some(EndReason::Other));
}

#[test]
fn what_is_not_known_is_null_and_never_zero() {
    let Value::Object(fields) = to_value(SessionStatus::new(String::new())).unwrap() else {
        panic!("an object");
    };
    // Counters begin at zero; all else is absent.
    let nothing = json!({
        "frames_in": 0, "bytes_in": 0, "frames_out": 0, "bytes_out": 0, "drops": {},
    });
    for (name, value) in &fields {
        assert!(!value.is_number(), "{name} is {value}");
    }
    assert_eq!((&fields["state"], &fields["traffic"]), (&json!("handshaking"), &nothing));
}

#[test]
fn events_have_a_number_a_time_and_a_kind() {
    let event = |kind: EventKind| {
        let name = kind.name();
        let time = SystemTime::UNIX_EPOCH + ms(1_500);
        let value = to_value(Event { number: 7, time, kind }).unwrap();
        assert_eq!(value["event"], name, "one name, serialised or not");
        assert_eq!((&value["number"], &value["time"]), (&json!(7), &json!(1.5)));
        value
    };
    let address = SocketAddr::from(([192, 0, 2, 7], 4_242));
    let (client, by) = ("laptop".to_owned(), Beginning::Handshake);
    let up = event(EventKind::SessionUp { session: 3, client, address, by, open: 9 });
    assert_eq!(
        up,
        json!({
            "number": 7, "time": 1.5, "event": "session_up", "session": 3, "client": "laptop",
            "address": "192.0.2.7:4242", "by": "handshake", "open": 9,
        })
    );
    let from = Place::Session { session: 3, client: None };
    let moved = event(EventKind::MacMoved { mac: MAC, vlan: 0, from, to: Place::Root });
    assert_eq!(moved["from"], json!({ "session": { "session": 3, "client": null } }));
    assert_eq!((&moved["to"], &moved["mac"]), (&json!("root"), &json!("02:00:00:00:00:09")));
    let (server, reason) = ("a:1".to_owned(), EndReason::Bye);
    let (silent, retry_in) = (None, ms(250));
    let lost = event(EventKind::Disconnected { server, reason, silent, retry_in });
    assert_eq!((&lost["silent"], &lost["retry_in"]), (&Value::Null, &json!(0.25)));
    let (at, with, by) = (Place::Client, Some(Place::Root), LoopWitness::Probe);
    let found = event(EventKind::LoopFound { at, with, by, hold: Some(ms(60_000)) });
    assert_eq!((&found["at"], &found["by"]), (&json!("client"), &json!("probe")));
    assert_eq!(found["hold"], json!(60.0));
    event(EventKind::LanReflects { at: Place::Session { session: 3, client: None } });
    let over = event(EventKind::LoopOver { at: Place::Client, after: ms(1_500) });
    assert_eq!(over["after"], json!(1.5));
    let addresses = vec![[10, 0, 0, 1].into()];
    let root = event(EventKind::RootAddresses { addresses });
    assert_eq!(root["addresses"], json!(["10.0.0.1"]));
    event(EventKind::BudgetActs { at: Place::Root, class: "arp" });
    let acts = event(EventKind::PolicyActs { at: Place::Root, reason: "guard_ra" });
    assert_eq!(acts["reason"], json!("guard_ra"));
    let (taken, needs_restart) = (vec!["common.tap.mtu"], vec!["listen"]);
    let applied = event(EventKind::SettingsApplied { taken, needs_restart });
    assert_eq!(applied["taken"], json!(["common.tap.mtu"]));
    assert_eq!(applied["needs_restart"], json!(["listen"]));
    let began = event(EventKind::CaptureBegan { session: Some("berlin".to_owned()), drops: true });
    assert_eq!((&began["session"], &began["drops"]), (&json!("berlin"), &json!(true)));
    let ended = event(EventKind::CaptureEnded { packets: 7, lost: 1 });
    assert_eq!((&ended["packets"], &ended["lost"]), (&json!(7), &json!(1)));
    event(EventKind::Suppressed { kind: "mac_held", events: 4 });
}

#[test]
fn roles_protocols_sockets_and_totals() {
    assert_eq!(to_value((Role::Server, Role::Client)).unwrap(), json!(["server", "client"]));
    assert_eq!(to_value([Protocol::Plain, Protocol::Acton1]).unwrap(), json!(["plain", "acton/1"]));
    let socket = SocketReport {
        local: SocketAddr::from(([0, 0, 0, 0], 8_080)),
        kernel_drops: Some(0),
        receive_buffer: Some(1),
        receive_queued: Some(2),
        send_buffer: None,
        send_queued: None,
    };
    let expected = json!({
        "local": "0.0.0.0:8080", "kernel_drops": 0, "receive_buffer": 1, "receive_queued": 2,
        "send_buffer": null, "send_queued": null,
    });
    assert_eq!(to_value(socket).unwrap(), expected);
    let totals = to_value(Totals::of(&[Counters::new().into()])).unwrap();
    assert_eq!(totals["tap.reads"], 0);
    assert_eq!(totals["drop.source_held"], 0);
}

#[test]
fn settings_are_written_and_read_again() {
    let again = |settings: &Settings| {
        let text = serde_json::to_string(settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), *settings, "{text}");
    };
    let mut server = ServerSettings::new(ServerMode::Secure(SecureSettings::default()));
    server.common.tap.addresses.push("10.0.0.1/24".parse().unwrap());
    server.common.tap.mac = Some(MAC);
    server.common.keepalive = Some(ms(2_500));
    server.workers = Some(3);
    server.shared_macs.push("00:00:5e:00:01:00/40".parse().unwrap());
    server.budgets.client = Budgets::all(None);
    server.budgets.root = Budgets::all(None);
    server.budgets.client.arp = Some(Budget::new(500, 1_000));
    again(&Settings::Server(server.clone()));
    let plain = PlainServerSettings {
        allow: vec!["192.0.2.0/24".parse().unwrap()],
        peers: vec!["192.0.2.1:9".parse().unwrap()],
    };
    again(&Settings::Server(ServerSettings::new(ServerMode::Plain(plain))));
    let name = ServerName::parse("example.net:9", 1).unwrap();
    again(&Settings::Client(ClientSettings::new(name, ClientMode::Plain)));
    let none = json!({
        "broadcast": null, "arp": null, "nd": null, "dhcp": null, "multicast": null, "unknown": null,
        "unresolved": null,
    });
    let mut arp = none.clone();
    arp["arp"] = json!({ "rate": 500, "burst": 1_000 });
    let expected = json!({ "server": {
        "common": {
            "tap": {
                "name": "server", "mac": "02:00:00:00:00:09", "default_mac": null,
                "addresses": ["10.0.0.1/24"],
                "mtu": 1_500, "bridge": null, "isolated": false,
            },
            "keepalive": 2.5,
            "scheduling": { "busy_poll": 0.0, "pin": false },
            "loop_guard": true,
        },
        "listen": "0.0.0.0:8080", "workers": 3, "max_sessions": 4_096, "mac_ageing": 300.0,
        "max_sessions_per_source": null, "max_unlisted": null,
        "macs_per_client": 256,
        "protected_macs": [], "protected_addresses": [], "shared_macs": ["00:00:5e:00:01:00/40"], "mac_hold": null,
        "budgets": { "client": arp, "root": none },
        "guards": true, "multicast_snooping": false, "tracked_links": [],
        "authorize_timeout": 3.0, "accounting_interval": null,
        "mode": { "secure": { "suite": "auto", "rekey_after": null } },
    }});
    assert_eq!(to_value(Settings::Server(server)).unwrap(), expected);
    // A setting of the other mode is an error, not a surprise.
    let mut wrong = expected;
    wrong["server"]["mode"] = json!({ "secure": { "allow": [] } });
    assert!(from_value::<Settings>(wrong).is_err());
}
