//! The way to a server, and whether it answers.

use crate::doctor::code::Code;
use crate::doctor::facts::{Answered, Facts, Gso, ServerFacts};
use crate::doctor::finding::Finding;

/// How far the clocks of two hosts may be apart, in seconds: what the tunnel itself tells of is more.
const CLOCKS_APART: f64 = 30.0;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    if facts.servers.is_empty() {
        let is_server = facts.listens.is_some();
        let why = if is_server { "this is the server" } else { "no server to look for: name one" };
        let skipped = |code| Finding::skipped(code, why);
        return [Code::NameResolution, Code::Route, Code::Server, Code::Clock, Code::UdpGso]
            .map(skipped)
            .to_vec();
    }
    facts.servers.iter().flat_map(of).collect()
}

fn of(server: &ServerFacts) -> Vec<Finding> {
    let findings = match &server.addresses {
        Err(why) => vec![unresolved(server, why)],
        Ok(_) => vec![resolved(server), route(server), answer(server), clock(server), gso(server)],
    };
    findings.into_iter().map(|finding| finding.about(&*server.name)).collect()
}

fn unresolved(server: &ServerFacts, why: &str) -> Finding {
    let host = host_of(&server.name);
    Finding::failed(Code::NameResolution, format!("{host} has no address: {why}"))
        .wanted("an address of IPv4 or IPv6")
        .advice(format!("see `getent ahosts {host}`; or give the server's address in its place"))
}

fn host_of(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(host, _)| host)
}

fn resolved(server: &ServerFacts) -> Finding {
    const CODE: Code = Code::NameResolution;
    let addresses = server.addresses.as_deref().unwrap_or_default();
    if server.is_literal {
        return Finding::skipped(CODE, "an address needs no look-up");
    }
    let of = |is_ipv6: bool| {
        let mut ips: Vec<_> =
            addresses.iter().map(|at| at.ip()).filter(|ip| ip.is_ipv6() == is_ipv6).collect();
        ips.dedup();
        ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let text = match (&*of(false), &*of(true)) {
        (v4, "") => format!("IPv4 {v4}; no IPv6"),
        ("", v6) => format!("IPv6 {v6}; no IPv4"),
        (v4, v6) => format!("IPv4 {v4}; IPv6 {v6}"),
    };
    Finding::ok(CODE, text)
}

fn route(server: &ServerFacts) -> Finding {
    const CODE: Code = Code::Route;
    let all = server.addresses.as_deref().unwrap_or_default();
    let told: Vec<_> =
        server.unroutable.iter().map(|(ip, error)| format!("{ip}: {error}")).collect();
    match told.len() {
        0 => Finding::ok(CODE, "there is one"),
        some if some < all.len() => Finding::ok(CODE, format!("there is one; {}", told.join("; "))),
        _ => Finding::failed(CODE, told.join("; "))
            .wanted("a route")
            .advice("give this host an address in that network, or a default route: ip route"),
    }
}

fn answer(server: &ServerFacts) -> Finding {
    const CODE: Code = Code::Server;
    let by = |who: &Option<std::net::IpAddr>| {
        who.map_or_else(|| "ICMP".to_owned(), |who| format!("ICMP from {who}"))
    };
    let Some(answer) = &server.answer else {
        return Finding::skipped(CODE, "there is no route to ask by");
    };
    match answer {
        Answered::Welcome(time) => {
            Finding::ok(CODE, format!("answers, after {:.1} ms", time.as_secs_f64() * 1e3))
        }
        Answered::Heard(ago) => {
            Finding::ok(CODE, format!("the session is up, heard {:.1} s ago", ago.as_secs_f64()))
        }
        Answered::Refused(why) => Finding::ok(CODE, format!("answers; {why}")),
        Answered::NobodyListens(who) => {
            let what = format!("{} says that nobody listens at that port", by(who));
            Finding::failed(CODE, what)
                .wanted("an answer")
                .advice("start the server there (acton server), or mend the port on this side")
        }
        Answered::Unreachable(who, what) => {
            Finding::failed(CODE, format!("{} says: {what}", by(who)))
                .wanted("an answer")
                .advice("the way ends there: is the host up, and the address its own?")
        }
        Answered::Silence(asked) => Finding::failed(CODE, format!("silence, asked {asked} times"))
            .wanted("an answer")
            .advice(
                "a firewall before the server drops the UDP port, nobody has that address, or the \
                 server has other keys: `acton doctor` there says which; else make a new invite",
            ),
        Answered::Mute => {
            Finding::unknown(CODE, "silence, as a server is to those without an invite")
                .advice("name the invite in place of the address, or say --plain")
        }
        Answered::NotSent(why) => Finding::failed(CODE, format!("could not be asked: {why}"))
            .wanted("an answer")
            .advice("see the firewall of this host, and its routes"),
    }
}

fn clock(server: &ServerFacts) -> Finding {
    const CODE: Code = Code::Clock;
    let Some(ahead) = server.clock_ahead else {
        return Finding::skipped(CODE, "the server did not say what time it is");
    };
    if ahead.abs() < CLOCKS_APART {
        return Finding::ok(CODE, format!("{:.1} s from the server's", ahead.abs()));
    }
    let side = if ahead > 0.0 { "ahead of" } else { "behind" };
    Finding::warning(CODE, format!("{:.0} s {side} the server's", ahead.abs()))
        .wanted(format!("less than {CLOCKS_APART} s apart; one of the two clocks is wrong"))
        .fix("timedatectl set-ntp true")
}

fn gso(server: &ServerFacts) -> Finding {
    const CODE: Code = Code::UdpGso;
    match server.gso {
        None => Finding::skipped(CODE, "nothing could be sent"),
        Some(Gso { whole, cut: 0 }) if whole > 0 => {
            Finding::ok(CODE, "the kernel cuts one message into datagrams")
        }
        Some(Gso { cut: 0, .. }) => Finding::unknown(CODE, "the kernel took nothing that was sent"),
        Some(_) => Finding::warning(CODE, "the kernel refuses to cut a message into datagrams")
            .wanted("it does, which saves a system call for each datagram")
            .advice("the route goes through IPsec (ip xfrm policy) or a device that cannot"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::finding::Verdict;

    fn server(answer: Option<Answered>) -> ServerFacts {
        ServerFacts {
            name: "a.example:8080".into(),
            is_literal: false,
            addresses: Ok(vec![
                "192.0.2.1:8080".parse().unwrap(),
                "[2001:db8::1]:8080".parse().unwrap(),
            ]),
            unroutable: vec![("2001:db8::1".parse().unwrap(), "no route".into())],
            answer,
            gso: Some(Gso { whole: 1, cut: 0 }),
            clock_ahead: Some(-1.0),
        }
    }

    #[test]
    fn each_way_not_to_answer_has_a_text_of_its_own() {
        let router = "192.0.2.254".parse().ok();
        let ways = [
            Answered::NobodyListens(router),
            Answered::Unreachable(router, "no route to host".into()),
            Answered::Silence(4),
            Answered::NotSent("operation not permitted".into()),
        ];
        let told: Vec<_> = ways.into_iter().map(|way| answer(&server(Some(way)))).collect();
        assert!(told.iter().all(|finding| finding.verdict == Verdict::Failed));
        for (at, finding) in told.iter().enumerate() {
            assert!(told[..at].iter().all(|other| {
                other.measured != finding.measured && other.advice != finding.advice
            }));
        }
        for fine in [Answered::Welcome(Duration::ZERO), Answered::Refused("its list".into())] {
            assert_eq!(answer(&server(Some(fine))).verdict, Verdict::Ok);
        }
        assert_eq!(answer(&server(None)).verdict, Verdict::Skipped);
    }

    #[test]
    fn one_way_is_enough_and_none_is_a_failure() {
        let mut server = server(None);
        assert_eq!(route(&server).verdict, Verdict::Ok);
        assert_eq!(resolved(&server).measured, "IPv4 192.0.2.1; IPv6 2001:db8::1");
        server.unroutable.push(("192.0.2.1".parse().unwrap(), "unreachable".into()));
        assert_eq!(route(&server).verdict, Verdict::Failed);
        server.addresses = Err("no such name".into());
        let [finding] = &of(&server)[..] else { panic!() };
        assert!(finding.advice.as_deref().unwrap().contains("getent ahosts a.example`"));
    }

    #[test]
    fn clocks_and_segmentation() {
        let mut server = server(None);
        assert_eq!(clock(&server).verdict, Verdict::Ok);
        server.clock_ahead = Some(-31.0);
        assert_eq!(clock(&server).measured, "31 s behind the server's");
        assert_eq!(clock(&server).verdict, Verdict::Warning);
        assert_eq!(gso(&server).verdict, Verdict::Ok);
        server.gso = Some(Gso { whole: 0, cut: 1 });
        assert_eq!(gso(&server).verdict, Verdict::Warning);
    }
}
