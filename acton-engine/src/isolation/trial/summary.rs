//! What came of a test, counted.

use std::collections::BTreeSet;

use acton_bridge::DropReason;

use super::{Member, NUMBERS, Planned, Trial};
use crate::isolation::fates::{Fate, OVER_RATE};
use crate::isolation::kind::TestKind;
use crate::isolation::report::{
    IsolationClient, IsolationKind, IsolationLeak, IsolationPart, IsolationReport, IsolationVerdict,
};

/// The reason for which frames are dropped whose source lives at the root.
const AT_ROOT: &str = DropReason::SourceAtRoot.as_str();
/// Leaks that are listed; all are counted.
const MAX_LISTED: usize = 256;

pub(super) fn report(trial: &Trial) -> IsolationReport {
    let mut kinds: Vec<_> = TestKind::ALL.iter().map(|&kind| row(kind)).collect();
    let mut doubts = trial.doubts.clone();
    let at = |kind: TestKind| TestKind::ALL.iter().position(|&it| it == kind).unwrap_or_default();
    let mut lost = 0;
    for order in &trial.orders {
        let member = &trial.members[order.from];
        for kind in TestKind::of(order.frames.kinds) {
            let row = &mut kinds[at(kind)];
            let fate = trial.fates.of(order.frames.number + kind as u16, member.port);
            let was_sent = was_sent(trial, order, kind);
            row.sent += u64::from(was_sent);
            if kind.is_beside() {
                continue;
            }
            match fate {
                Some(Fate::Root) => row.at_root += 1,
                Some(Fate::Dropped(reason)) => *row.dropped.entry(reason.into()).or_default() += 1,
                None if was_sent => {
                    row.lost += 1;
                    lost += 1;
                }
                None => {}
            }
        }
    }
    let mut leaks: Vec<_> = trial.orders.iter().filter_map(|it| way_beside(trial, it)).collect();
    let (mut routed, mut leaked) = (Vec::new(), leaks.len() as u64);
    kinds[at(TestKind::Beside)].at_clients = leaked;
    leaks.truncate(MAX_LISTED);
    for (receiver, member) in trial.members.iter().enumerate() {
        for &number in &member.heard {
            let order = trial.orders.get(usize::from(number / NUMBERS));
            let Some((order, kind)) = order.zip(TestKind::from_number(number % NUMBERS)) else {
                continue;
            };
            let row = &mut kinds[at(kind)];
            if order.from == receiver {
                row.came_back += 1;
                continue;
            }
            row.at_clients += 1;
            let list = if kind.is_routed() {
                &mut routed
            } else {
                leaked += 1;
                &mut leaks
            };
            if list.len() < MAX_LISTED {
                let (from, at) =
                    (trial.members[order.from].name.to_string(), member.name.to_string());
                list.push(IsolationLeak { kind: kind.name().into(), from, at });
            }
        }
    }
    let tested = !trial.orders.is_empty();
    if !tested {
        kinds.clear();
    }
    let failed = trial.members.iter().filter(|member| {
        matches!(
            member.part,
            Some(IsolationPart::Silent | IsolationPart::Deaf | IsolationPart::Gone)
        )
    });
    for member in failed.filter(|_| tested) {
        let what = match member.part {
            Some(IsolationPart::Deaf) => "did not hear what the server sent it",
            Some(IsolationPart::Gone) => "lost its session",
            _ => "did not answer to the end",
        };
        doubts.push(format!("{} {what}", member.name));
    }
    for at in trial.willing().filter(|_| tested) {
        doubts.extend(doubts_about(trial, at));
    }
    for order in trial.orders.iter().filter(|order| order.to.is_none()) {
        let member = &trial.members[order.from];
        let number = order.frames.number + TestKind::Root as u16;
        if trial.fates.of(number, member.port) == Some(Fate::Dropped(AT_ROOT)) {
            doubts.push(format!(
                "frames of {} are dropped, for its MAC is at the server's side too: something there \
                 sends frames back, or has the same MAC (acton fdb)",
                member.name
            ));
        }
    }
    if lost > 0 {
        doubts.push(format!("{lost} frames were lost on their way to the server"));
    }
    let over_rate: u64 = kinds.iter().filter_map(|row| row.dropped.get(OVER_RATE)).sum();
    if over_rate > 0 {
        doubts.push(format!("{over_rate} frames were dropped for their clients' rates"));
    }
    let verdict = match (leaked, tested && doubts.is_empty()) {
        (0, true) => IsolationVerdict::Isolated,
        (0, false) => IsolationVerdict::Unproved,
        _ => IsolationVerdict::Leaks,
    };
    let sent = trial.orders.iter().filter(|order| sent_kinds(trial, order).next().is_some());
    let pairs: BTreeSet<_> = sent.filter_map(|order| Some((order.from, order.to?))).collect();
    let willing = trial.orders.iter().filter(|order| order.to.is_none()).count();
    IsolationReport {
        verdict,
        doubts,
        clients: trial.members.iter().map(client).collect(),
        left_out: trial.left_out,
        pairs: pairs.len(),
        pairs_of: willing * willing.saturating_sub(1),
        kinds,
        leaks,
        routed,
    }
}

/// Another client that a frame came from which a client sent out of its TAP.
fn way_beside(trial: &Trial, order: &Planned) -> Option<IsolationLeak> {
    let number = order.frames.number + TestKind::Beside as u16;
    let (sender, port) = (&trial.members[order.from], trial.fates.came_from(number)?);
    let is_one = order.frames.kinds & TestKind::Beside.bit() != 0 && port != sender.port;
    let through = trial.members.iter().find(|member| member.port == port);
    is_one.then(|| IsolationLeak {
        kind: TestKind::Beside.name().into(),
        from: sender.name.to_string(),
        at: through.map_or_else(|| "one that takes no part".to_owned(), |it| it.name.to_string()),
    })
}

/// Why what a client sent shows nothing, though it took part to the end.
fn doubts_about(trial: &Trial, at: usize) -> Option<String> {
    let Member { name, port, .. } = &trial.members[at];
    let (mut unsent, mut reached, mut reasons) = (0, false, BTreeSet::new());
    for order in trial.orders.iter().filter(|order| order.from == at) {
        for kind in TestKind::of(order.frames.kinds).filter(|kind| !kind.is_beside()) {
            match trial.fates.of(order.frames.number + kind as u16, *port) {
                Some(Fate::Root) => reached = true,
                Some(Fate::Dropped(reason)) => _ = reasons.insert(reason),
                None if was_sent(trial, order, kind) || kind.takes_addresses() => {}
                None => unsent += 1,
            }
        }
    }
    if unsent > 0 {
        return Some(format!("{name} did not send {unsent} of the frames that it was to send"));
    }
    if reached {
        return None;
    }
    let reasons: Vec<_> = reasons.into_iter().collect();
    Some(if reasons.is_empty() {
        format!("no frame of {name} came to the server")
    } else {
        format!(
            "none of what {name} sent got past the server, so none could have reached anybody; dropped \
             as: {} (acton drops)",
            reasons.join(", ")
        )
    })
}

/// The kinds of an order that were sent.
fn sent_kinds(trial: &Trial, order: &Planned) -> impl Iterator<Item = TestKind> {
    TestKind::of(order.frames.kinds).filter(|&kind| was_sent(trial, order, kind))
}

/// Whether a frame was sent: by the client's word, or because it came.
fn was_sent(trial: &Trial, order: &Planned, kind: TestKind) -> bool {
    let port = trial.members[order.from].port;
    order.sent & kind.bit() != 0
        || trial.fates.of(order.frames.number + kind as u16, port).is_some()
}

fn client(member: &Member) -> IsolationClient {
    IsolationClient {
        name: member.name.to_string(),
        part: member.part.unwrap_or(IsolationPart::Silent),
        mac: member.mac,
    }
}

fn row(kind: TestKind) -> IsolationKind {
    IsolationKind {
        kind: kind.name().into(),
        text: kind.meaning().into(),
        sent: 0,
        at_root: 0,
        dropped: Default::default(),
        lost: 0,
        at_clients: 0,
        came_back: 0,
    }
}
