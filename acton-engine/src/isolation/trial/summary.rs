//! What came of a test, counted.

use std::collections::BTreeSet;

use acton_bridge::DropReason;

use super::{Member, NUMBERS, Trial};
use crate::isolation::fates::Fate;
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
            let was_sent = fate.is_some() || order.sent & kind.bit() != 0;
            row.sent += u64::from(was_sent);
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
    let (mut leaks, mut routed, mut leaked) = (Vec::new(), Vec::new(), 0_u64);
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
    kinds.retain(|row| row.sent > 0);
    let tested = !trial.orders.is_empty();
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
    for order in trial.orders.iter().filter(|order| order.to.is_none()) {
        let member = &trial.members[order.from];
        let number = order.frames.number + TestKind::Root as u16;
        let is_lost = trial.fates.of(number, member.port).is_none();
        if is_lost && member.part == Some(IsolationPart::Agreed) {
            doubts.push(format!("no frame of {} came to the server", member.name));
        }
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
    let verdict = match (leaked, tested && doubts.is_empty()) {
        (0, true) => IsolationVerdict::Isolated,
        (0, false) => IsolationVerdict::Unproved,
        _ => IsolationVerdict::Leaks,
    };
    let pairs: BTreeSet<_> =
        trial.orders.iter().filter_map(|order| Some((order.from, order.to?))).collect();
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
