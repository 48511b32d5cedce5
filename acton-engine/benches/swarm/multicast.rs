//! A stream to a multicast group that a few of many clients want, with snooping and without.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, sendto, socket,
};
use pnet_packet::util::checksum;

use crate::contender::{PORT, TAP};
use crate::quantiles::Quantiles;
use crate::support::crowd::{Addresses, Crowd, Tag, mac, wall_clock};
use crate::support::process::ServerProcess;
use crate::support::server::{Mode, Serve};
use crate::support::{Result, enter_network};
use crate::swarm::ADDRESS;
use crate::table::{Bar, Column};

/// Clients that are there.
pub(crate) const CLIENTS: usize = 1_000;
/// Frames a second, and for how long.
const RATE: u32 = 1_000;
const SECONDS: u32 = 3;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// After a client has come it gets all groups for 20 s.
const GRACE: Duration = Duration::from_secs(22);
/// How long all are waited for, and what is under way.
const JOIN: Duration = Duration::from_secs(60);
const HEAR: Duration = Duration::from_secs(2);

/// How many want the group; `None` without snooping.
const WANTED_BY: [(&str, Option<usize>); 3] =
    [("no snooping", None), ("3 want it", Some(3)), ("all want it", Some(CLIENTS))];

/// A column for each.
pub(crate) fn measure(mode: Mode, workers: Option<usize>) -> Result<Vec<Column>> {
    WANTED_BY.iter().map(|&(name, members)| stream(mode, workers, name, members)).collect()
}

fn stream(
    mode: Mode,
    workers: Option<usize>,
    name: &str,
    members: Option<usize>,
) -> Result<Column> {
    eprintln!("a stream to a multicast group, {mode:?}: {name}");
    enter_network()?;
    let mut server = ServerProcess::start(&Serve {
        serve: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
        mode,
        max_sessions: CLIENTS + 1,
        tap_address: Some(TAP.into()),
        workers,
        snooping: members.is_some(),
        untagged: None,
    })?;
    let mut crowd = Crowd::new(mode, CLIENTS, ADDRESS, Addresses::Many)?;
    crowd.each(0..CLIENTS, f64::INFINITY, Crowd::join)?;
    if !crowd.run_while(JOIN, |crowd| crowd.wait_for_answers(0..CLIENTS) == 0)? {
        return Err("not all clients are in".into());
    }
    crowd.run(HEAR)?;
    if let Some(members) = members {
        ask()?;
        crowd
            .each(0..members, f64::INFINITY, |crowd, number| crowd.say(number, &report(number)))?;
        crowd.run(GRACE)?;
    }
    let expected = (RATE * SECONDS) as usize * members.unwrap_or(CLIENTS);
    let root = UdpSocket::bind((TAP.addr(), 0))?;
    let (start, spent) = (wall_clock(), server.processor()?.total());
    let tags: Vec<_> = (1..=u64::from(RATE * SECONDS)).map(Tag).collect();
    let mut sent = Vec::with_capacity(tags.len());
    crowd.each(0..tags.len(), RATE.into(), |_, number| {
        sent.push(wall_clock());
        root.send_to(&tags[number].bytes(), (GROUP, 9))?;
        Ok(())
    })?;
    let share = (server.processor()?.total() - spent) / (wall_clock() - start).as_secs_f64();
    let heard =
        |crowd: &mut Crowd| -> usize { tags.iter().map(|&tag| crowd.heard().count(tag)).sum() };
    crowd.run_while(JOIN, |crowd| heard(crowd) >= expected)?;
    crowd.run(HEAR)?;
    let lasts = tags.iter().zip(&sent).filter_map(|(&tag, &sent)| {
        Some(crowd.heard().get(tag)?.last.saturating_sub(sent).as_secs_f64())
    });
    let lasts = Quantiles::of(lasts.collect::<Vec<_>>());
    let mut column = Column::new(name);
    column.put("% of a core", share * 100.0);
    column.hold(
        "heard, of what is wanted, %",
        percent(heard(&mut crowd), expected),
        Bar::AtLeast(100.0),
    );
    column.put("last, ms", lasts.median * 1e3);
    column.put("- 99 %, ms", lasts.p99 * 1e3);
    let grouped = server.counter("multicast.grouped")?;
    column.put("frames that went to members alone", grouped as f64);
    Ok(column)
}

/// What is heard by those that did not want it counts too, so it may be more than all.
fn percent(some: usize, all: usize) -> f64 {
    some as f64 * 100.0 / all as f64
}

/// Asks by IGMPv3 as the LAN's querier: for all groups, to be answered within a second.
fn ask() -> Result<()> {
    let to = Ipv4Addr::new(224, 0, 0, 1);
    let packet = igmp(TAP.addr(), to, vec![0x11, 10, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
    // IPPROTO_RAW: what is sent has its IP header.
    let raw: OwnedFd =
        socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let [a, b, c, d] = TAP.addr().octets();
    bind(raw.as_raw_fd(), &SockaddrIn::new(a, b, c, d, 0))?;
    let [a, b, c, d] = to.octets();
    sendto(raw.as_raw_fd(), &packet, &SockaddrIn::new(a, b, c, d, 0), MsgFlags::empty())?;
    Ok(())
}

/// The frame by which a client says that it wants the group, by IGMPv2.
fn report(number: usize) -> Vec<u8> {
    let [_, b, c, d] = GROUP.octets();
    let mut frame = [&[1, 0, 0x5e, b & 0x7f, c, d][..], &mac(number), &[8, 0]].concat();
    let message = [&[0x16, 0, 0, 0][..], &GROUP.octets()].concat();
    frame.extend(igmp(Ipv4Addr::UNSPECIFIED, GROUP, message));
    frame
}

/// A packet of IGMP with a router alert.
fn igmp(from: Ipv4Addr, to: Ipv4Addr, mut message: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&message, 1);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x46, 0xc0, 0, 24 + message.len() as u8, 0, 0, 0, 0, 1, 2, 0, 0];
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend([0x94, 4, 0, 0]);
    let sum = checksum(&packet, 5);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(message);
    packet
}
