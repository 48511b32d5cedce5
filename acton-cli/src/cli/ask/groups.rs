//! `acton groups`.

use std::collections::BTreeSet;

use acton_engine::{AllReason, GroupMember, MulticastReport, Place, QuerierReport};
use clap::Args;

use super::output::Output;
use super::table::Table;
use super::units::{count, time};
use super::{next, next_raw, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::control::{Answer, RawAnswer, Request};

/// Queriers that a line of the status names.
const SHOWN_QUERIERS: usize = 4;

/// Shows which multicast groups each client of a server gets, with `multicast-snooping`
///
/// Who asks the LAN for groups, and how many there are, `acton status` says.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let mut connection = self.instance.open()?;
        let mut answers = connection.ask(Request::Groups {})?;
        let mut out = Output::new();
        if self.json {
            let mut groups = Vec::new();
            loop {
                match next_raw(&mut answers)? {
                    RawAnswer::Group(group) => groups.push(group),
                    RawAnswer::End(end) => {
                        out.object(&[end.get()], &[("groups", &groups)])?;
                        return out.end();
                    }
                    _ => return Err(unexpected()),
                }
            }
        }
        let mut table = Table::new(&["CLIENT", "VLAN", "GROUP", "AGE", "LEFT", ""], &[1, 3, 4]);
        let mut wanted = BTreeSet::new();
        let end = loop {
            match next(&mut answers)? {
                Answer::Group(member) => {
                    wanted.extend(asked_for(&member));
                    table.row(row(&member));
                }
                Answer::End(end) => break end,
                _ => return Err(unexpected()),
            }
        };
        // Earlier versions do not say who asks.
        let notes = end.multicast.map(|it| lacking(&it.queriers, &wanted)).unwrap_or_default();
        table.lines().iter().chain(&notes).try_for_each(|line| out.line(line))?;
        out.end()
    }
}

/// Whose questions a group is told in answer to: those of a VLAN, 0 for untagged, of IGMP or, as `true`, MLD.
type Asked = (u16, bool);

/// Whose questions this is an answer to, where it is one group.
fn asked_for(member: &GroupMember) -> Option<Asked> {
    Some((member.vlan?, member.group?.is_ipv6()))
}

/// Why what the table says does not hold yet: of all groups, or of those of some in it.
fn lacking(queriers: &[QuerierReport], wanted: &BTreeSet<Asked>) -> Vec<String> {
    if queriers.is_empty() {
        return vec!["the LAN has no querier, so all clients get all groups".to_owned()];
    }
    if !queriers.iter().any(|querier| querier.settled) {
        return vec![
            "hosts are still answering the LAN's queriers: until then all clients get all groups"
                .to_owned(),
        ];
    }
    let asking = |is_enough: fn(&QuerierReport) -> bool| -> BTreeSet<Asked> {
        let those = queriers.iter().filter(|querier| is_enough(querier));
        those.map(|querier| (querier.vlan, querier.address.is_ipv6())).collect()
    };
    let (there, settled) = (asking(|_| true), asking(|querier| querier.settled));
    let (waits, lacks): (Vec<_>, Vec<_>) =
        wanted.difference(&settled).copied().partition(|asked| there.contains(asked));
    let lacks = told(&lacks)
        .map(|whose| format!("the LAN has no querier for {whose}: all clients get these groups"));
    let waits = told(&waits).map(|whose| {
        format!(
            "hosts are still answering the querier for {whose}: until then all clients get these \
             groups"
        )
    });
    lacks.into_iter().chain(waits).collect()
}

/// Whose questions these are, in words, if there are any.
fn told(asked: &[Asked]) -> Option<String> {
    let told = asked.iter().take(SHOWN_QUERIERS).map(|(vlan, is_ipv6)| {
        let family = if *is_ipv6 { "IPv6" } else { "IPv4" };
        match vlan {
            0 => format!("untagged {family}"),
            vlan => format!("{family} in VLAN {vlan}"),
        }
    });
    let told: Vec<_> = told.collect();
    let more = asked.len().saturating_sub(SHOWN_QUERIERS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!told.is_empty()).then(|| told.join(", ") + &more)
}

/// A group of a client's as cells.
fn row(member: &GroupMember) -> [String; 6] {
    let client = match &member.at {
        Place::Session { client: Some(client), .. } => client.clone(),
        Place::Session { session, .. } => format!("session {session}"),
        _ => "elsewhere".to_owned(),
    };
    let vlan = match member.vlan {
        None => "any".to_owned(),
        Some(0) => "-".to_owned(),
        Some(vlan) => vlan.to_string(),
    };
    let group = member.group.map_or_else(|| "all".to_owned(), |group| group.to_string());
    let note = match member.all {
        Some(AllReason::New) => "it has just come",
        Some(AllReason::TooMany) => "it wants more groups than are kept",
        Some(AllReason::Router) => "a multicast router is behind it",
        Some(_) => "",
        None if member.leaving => "left; others there are asked",
        None => "",
    };
    [client, vlan, group, time(member.age), time(member.left), note.to_owned()]
}

/// What a server knows of multicast groups, in a line of its status.
pub(super) fn summary(report: &MulticastReport) -> String {
    let some = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", count(number as u64)),
    };
    let mut text = format!(
        "{} wanted, by {} in all",
        some(report.groups, "group"),
        some(report.memberships, "client")
    );
    match report.get_all {
        0 => {}
        1 => text.push_str("; 1 client gets all"),
        all => text.push_str(&format!("; {} clients get all", count(all as u64))),
    }
    if report.queriers.is_empty() {
        return text + "; the LAN has no querier, so all clients get all";
    }
    let queriers = report.queriers.iter().take(SHOWN_QUERIERS).map(|querier| {
        let vlan = match querier.vlan {
            0 => String::new(),
            vlan => format!(" on VLAN {vlan}"),
        };
        let waits = if querier.settled { "" } else { " (answers are under way)" };
        format!("{}{vlan}{waits}", querier.address)
    });
    let queriers: Vec<_> = queriers.collect();
    let more = report.queriers.len().saturating_sub(SHOWN_QUERIERS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{text}; asked for by {}{more}", queriers.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_status_says_who_asks() {
        let mut report: MulticastReport = from_value(json!({
            "queriers": [], "groups": 1, "memberships": 3, "get_all": 1,
        }))
        .unwrap();
        assert_eq!(
            summary(&report),
            "1 group wanted, by 3 clients in all; 1 client gets all; the LAN has no querier, so \
             all clients get all"
        );
        report.get_all = 0;
        report.queriers = from_value(json!([
            { "vlan": 0, "address": "10.0.0.1", "heard_seconds": 1, "left_seconds": 9, "settled": true },
            { "vlan": 7, "address": "fe80::1", "heard_seconds": 1, "left_seconds": 9, "settled": false },
        ]))
        .unwrap();
        assert_eq!(
            summary(&report),
            "1 group wanted, by 3 clients in all; asked for by 10.0.0.1, fe80::1 on VLAN 7 (answers \
             are under way)"
        );
    }

    #[test]
    fn groups_that_nobody_asks_for_are_named_by_family_and_vlan() {
        let queriers = |them: &[(u16, &str, bool)]| -> Vec<QuerierReport> {
            let them = them.iter().map(|(vlan, address, settled)| {
                json!({ "vlan": vlan, "address": address, "heard_seconds": 1, "left_seconds": 9,
                        "settled": settled })
            });
            them.map(|it| from_value(it).unwrap()).collect()
        };
        let wanted = BTreeSet::from([(0, false), (0, true), (7, false)]);
        let lacking = |them: &[(u16, &str, bool)]| lacking(&queriers(them), &wanted);
        assert_eq!(lacking(&[]), ["the LAN has no querier, so all clients get all groups"]);
        assert_eq!(
            lacking(&[(0, "10.0.0.1", true)]),
            [
                "the LAN has no querier for untagged IPv6, IPv4 in VLAN 7: all clients get these groups"
            ]
        );
        let all = [(0, "10.0.0.1", true), (0, "fe80::1", true), (7, "10.7.0.1", true)];
        assert_eq!(lacking(&[&all[..], &[(9, "10.9.0.1", false)]].concat()), [""; 0]);
        // One that has just come changes nothing before hosts have answered it.
        assert_eq!(
            lacking(&[(0, "10.0.0.1", true), (0, "fe80::1", false)]),
            [
                "the LAN has no querier for IPv4 in VLAN 7: all clients get these groups",
                "hosts are still answering the querier for untagged IPv6: until then all clients get \
                 these groups"
            ]
        );
        assert_eq!(
            lacking(&[(0, "10.0.0.1", false), (9, "10.9.0.1", false)]),
            ["hosts are still answering the LAN's queriers: until then all clients get all groups"]
        );
    }

    #[test]
    fn a_client_that_gets_all_says_why() {
        let member = |group: serde_json::Value| {
            let mut member = json!({
                "at": { "session": { "session": 3, "client": "berlin" } },
                "age_seconds": 5, "left_seconds": 255, "leaving": false,
            });
            member.as_object_mut().unwrap().append(&mut group.as_object().unwrap().clone());
            row(&from_value(member).unwrap())
        };
        let one = member(json!({ "vlan": 0, "group": "239.1.2.3", "all": null }));
        assert_eq!(one, ["berlin", "-", "239.1.2.3", "5s", "4m15s", ""]);
        let all = member(json!({ "vlan": null, "group": null, "all": "router" }));
        assert_eq!(all[1..3], ["any", "all"]);
        assert_eq!(all[5], "a multicast router is behind it");
    }
}
