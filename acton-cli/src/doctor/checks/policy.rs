//! What policies do to clients: as they should, or not as whoever wrote them thought.

use std::time::Duration;

use acton_engine::SessionStatus;

use crate::doctor::code::Code;
use crate::doctor::finding::Finding;

const CODE: Code = Code::Policy;
/// Of a hundred frames from a client that policies look at so many are worth a warning.
const MUCH: u64 = 10;
/// Clients that are told of at most.
const TOLD: usize = 3;
/// After so long without another frame that guards drop, it is over.
const GUARD_OVER: Duration = Duration::from_secs(600);
/// What guards drop that nobody says by mistake, and who says such.
const GUARDS: [(&str, &str); 2] =
    [("guard_dhcp", "answers as a DHCP server"), ("guard_ra", "says that it is an IPv6 router")];
/// What is dropped of the addresses that a client claims.
const SOURCE_IP: &str = "source_ip";

/// What policies do to clients now, one finding of each kind.
pub(super) fn check(sessions: &[SessionStatus]) -> Vec<Finding> {
    let kinds = [unheard(sessions), mute(sessions), guarded(sessions), losing(sessions)];
    let found: Vec<_> = kinds.into_iter().flatten().collect();
    match found.is_empty() {
        true => vec![Finding::ok(CODE, "none drops much of what a client sends")],
        false => found,
    }
}

/// A client that may use what DHCP gives it alone, of which no lease was heard.
fn unheard(sessions: &[SessionStatus]) -> Option<Finding> {
    let first = sessions.iter().find(|it| is_unheard(it))?;
    let what = format!("no lease of {} was heard, and what it sends is dropped", first.name);
    let finding = Finding::warning(CODE, what)
        .wanted("an answer of the LAN's DHCP server, on the server's side")
        .advice(
            "look that there is one; a host that had its address before is heard once it renews \
             that, or list its address (ips)",
        );
    Some(finding)
}

/// A client that may send from no MAC.
fn mute(sessions: &[SessionStatus]) -> Option<Finding> {
    let first = sessions.iter().find(|it| is_mute(it))?;
    let what = format!("{} is strict and has no MAC: nothing that it sends passes", first.name);
    let finding = Finding::warning(CODE, what).wanted("a MAC that it may use").advice(
        "write mac or shared-mac in its table of the list of clients, or strict = false; where it \
             has a mac, acton events says why that is not kept (mac_not_kept)",
    );
    Some(finding)
}

/// Clients of which a policy drops much.
fn losing(sessions: &[SessionStatus]) -> Option<Finding> {
    let much: Vec<_> = sessions.iter().filter_map(much_of).take(TOLD).collect();
    (!much.is_empty()).then(|| {
        Finding::warning(CODE, much.join("; "))
            .wanted("few drops, or a client that means ill")
            .advice("acton capture NAME --drops shows what; the list of clients says what may pass")
    })
}

/// Whether a client may send from no MAC at all.
fn is_mute(session: &SessionStatus) -> bool {
    session.policy.as_ref().is_some_and(|policy| {
        policy.strict && policy.own_macs.is_empty() && policy.shared_macs.is_empty()
    })
}

/// Clients that say what a server or router of the LAN does: few frames, of which one would do harm.
fn guarded(sessions: &[SessionStatus]) -> Option<Finding> {
    let is_guarded = |it: &&SessionStatus| it.policy.as_ref().is_some_and(|it| it.guarded);
    let told = sessions.iter().filter(is_guarded).flat_map(|session| {
        GUARDS.iter().filter_map(|(reason, says)| {
            let dropped = session.traffic.drops.get(*reason).filter(|dropped| **dropped > 0)?;
            if is_over(session, reason) {
                return None;
            }
            Some(format!("{} {says} ({dropped} dropped as {reason} so far)", session.name))
        })
    });
    let told: Vec<_> = told.take(TOLD).collect();
    (!told.is_empty()).then(|| {
        Finding::warning(CODE, told.join("; "))
            .wanted("no client does, but those that are trusted to")
            .advice(
                "stop that there; acton capture NAME --drops --since 10m shows the frames; \
                 trusted = true in its table of the list of clients permits it",
            )
    })
}

/// Whether nothing was dropped for a reason for long. Earlier versions do not say.
fn is_over(session: &SessionStatus, reason: &str) -> bool {
    let acted = session.policy.iter().flat_map(|policy| &policy.acted);
    acted.into_iter().any(|it| it.reason == reason && it.ago > GUARD_OVER)
}

/// Whether a client may use what a DHCP server gives it alone, and none gave it anything.
fn is_unheard(session: &SessionStatus) -> bool {
    session.policy.as_ref().is_some_and(|policy| {
        let learns = policy.sources.as_ref().is_some_and(|it| it.learn && it.listed.is_empty());
        learns && policy.leases.is_empty() && policy.acting.iter().any(|reason| reason == SOURCE_IP)
    })
}

/// What a policy drops of a client, where that is much.
fn much_of(session: &SessionStatus) -> Option<String> {
    let policy = session.policy.as_ref()?;
    let drops = |reason: &str| session.traffic.drops.get(reason).copied().unwrap_or_default();
    let (reason, dropped) = policy
        .acting
        .iter()
        .map(|reason| (reason, drops(reason)))
        .max_by_key(|(_, dropped)| *dropped)?;
    let passed =
        if reason == "rate_out" { session.traffic.frames_out } else { session.traffic.frames_in };
    let all = passed + dropped;
    let is_much = dropped * 100 >= all * MUCH && dropped > 0;
    is_much.then(|| format!("{} of {all} frames of {} ({reason})", dropped, session.name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn session(policy: Value, passed: u64, drops: Value) -> SessionStatus {
        serde_json::from_value(json!({
            "number": 1, "name": "oslo", "state": "up", "state_seconds": 1.0, "session_seconds": 1.0,
            "heard_seconds": 0.1, "peer_version": "0.0.1", "macs": [],
            "budgets_acting": [], "policy": policy,
            "traffic": { "frames_in": passed, "bytes_in": 0, "frames_out": 5, "bytes_out": 0, "drops": drops },
        }))
        .unwrap()
    }

    #[test]
    fn a_tenth_of_the_frames_is_much_where_it_goes_on() {
        let policy = |acting: &[&str]| json!({ "guarded": true, "leases": [], "acting": acting });
        let drops = json!({ "ethertype": 50, "source_ip": 3 });
        let acting = policy(&["ethertype", "source_ip"]);
        assert_eq!(much_of(&session(acting.clone(), 1_000, drops.clone())), None);
        let told = much_of(&session(acting, 400, drops.clone())).unwrap();
        assert_eq!(told, "50 of 450 frames of oslo (ethertype)");
        assert_eq!(much_of(&session(policy(&[]), 4, drops)), None, "it is over");
        let told = much_of(&session(policy(&["rate_out"]), 4_000, json!({ "rate_out": 5 })));
        assert_eq!(told.unwrap(), "5 of 10 frames of oslo (rate_out)");
    }

    #[test]
    fn a_dhcp_server_at_a_client_is_told_of_however_little_it_says() {
        let policy = json!({ "guarded": true, "leases": [], "acting": [] });
        let quiet = session(policy.clone(), 9_000, json!({ "rate_in": 5 }));
        assert_eq!(guarded(&[quiet]), None);
        let told = guarded(&[session(policy.clone(), 9_000, json!({ "guard_dhcp": 3 }))]).unwrap();
        assert_eq!(told.measured, "oslo answers as a DHCP server (3 dropped as guard_dhcp so far)");
        assert!(told.advice.unwrap().contains("trusted = true"));
        let ago = |seconds: f64| {
            let mut policy = policy.clone();
            policy["acted"] = json!([{ "reason": "guard_dhcp", "ago_seconds": seconds }]);
            guarded(&[session(policy, 9_000, json!({ "guard_dhcp": 3 }))])
        };
        assert!(ago(599.0).is_some());
        assert_eq!(ago(601.0), None, "somebody has seen to it");
    }

    #[test]
    fn a_router_at_one_client_does_not_hide_what_another_loses() {
        let policy = |acting: &[&str]| json!({ "guarded": true, "leases": [], "acting": acting });
        let sessions = [
            session(policy(&[]), 9_000, json!({ "guard_ra": 3 })),
            session(policy(&["source_ip"]), 10, json!({ "source_ip": 90 })),
        ];
        let [router, loses] = &check(&sessions)[..] else { panic!() };
        assert!(router.measured.contains("IPv6 router"), "{router:?}");
        assert_eq!(loses.measured, "90 of 100 frames of oslo (source_ip)");
    }

    #[test]
    fn a_strict_client_without_a_mac_is_told_of() {
        let is_mute = |strict: bool, macs: &[&str]| {
            let policy = json!({ "guarded": true, "leases": [], "acting": [], "strict": strict,
                                 "own_macs": macs });
            is_mute(&session(policy, 0, json!({})))
        };
        assert!(is_mute(true, &[]));
        assert!(!is_mute(false, &[]) && !is_mute(true, &["02:00:00:00:00:01"]));
    }

    #[test]
    fn a_client_that_learns_and_hears_nothing_is_told_of() {
        let policy = |listed: &[&str], leases: Value, acting: &[&str]| {
            let sources = json!({ "listed": listed, "learn": true });
            json!({ "guarded": true, "sources": sources, "leases": leases, "acting": acting })
        };
        let is_unheard = |policy| is_unheard(&session(policy, 0, json!({ "source_ip": 9 })));
        assert!(is_unheard(policy(&[], json!([]), &["source_ip"])));
        assert!(!is_unheard(policy(&[], json!([]), &[])));
        assert!(!is_unheard(policy(&["10.0.0.5/32"], json!([]), &["source_ip"])));
        let lease = json!([{ "vlan": 0, "address": "10.0.0.9", "left_seconds": 9.0 }]);
        assert!(!is_unheard(policy(&[], lease, &["source_ip"])));
    }
}
