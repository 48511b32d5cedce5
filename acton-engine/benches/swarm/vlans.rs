//! Frames for all in one VLAN, which few of many clients are in.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::contender::{PORT, TAP};
use crate::quantiles::Quantiles;
use crate::support::crowd::{Addresses, Crowd, Tag, wall_clock};
use crate::support::process::ServerProcess;
use crate::support::server::{Mode, Serve};
use crate::support::{Result, enter_network, thousands};
use crate::swarm::ADDRESS;
use crate::table::{Bar, Column};

/// Clients that are in the VLAN of the frames.
const MEMBERS: usize = 10;
/// Frames a second, and for how long.
const RATE: u32 = 200;
const SECONDS: u32 = 5;
/// How long all are waited for, and what is under way.
const JOIN: Duration = Duration::from_secs(120);
const HEAR: Duration = Duration::from_secs(2);

/// A column for the members alone, and one for them among so many clients that are in another VLAN.
pub(crate) fn measure(clients: usize, workers: Option<usize>) -> Result<Vec<Column>> {
    [MEMBERS, clients].into_iter().map(|clients| flood(clients, workers)).collect()
}

fn flood(clients: usize, workers: Option<usize>) -> Result<Column> {
    let name = format!("{MEMBERS} of {}", thousands(clients));
    eprintln!("frames for all in a VLAN: {name}");
    enter_network()?;
    let server = ServerProcess::start(&Serve {
        serve: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
        mode: Mode::Secure,
        max_sessions: clients + 1,
        tap_address: Some(TAP.into()),
        workers,
        snooping: false,
        untagged: Some(MEMBERS),
    })?;
    let mut crowd = Crowd::new(Mode::Secure, clients, ADDRESS, Addresses::Many)?;
    crowd.each(0..clients, f64::INFINITY, Crowd::join)?;
    if !crowd.run_while(JOIN, |crowd| crowd.wait_for_answers(0..clients) == 0)? {
        return Err("not all clients are in".into());
    }
    crowd.run(HEAR)?;
    let root = UdpSocket::bind((TAP.addr(), 0))?;
    root.set_broadcast(true)?;
    let spent = server.processor()?.total();
    let tags: Vec<_> = (1..=u64::from(RATE * SECONDS)).map(Tag).collect();
    let mut sent = Vec::with_capacity(tags.len());
    let start = crowd.now();
    crowd.each(0..tags.len(), RATE.into(), |_, number| {
        sent.push(wall_clock());
        root.send_to(&tags[number].bytes(), (TAP.broadcast(), 9))?;
        Ok(())
    })?;
    let (spent, took) = (server.processor()?.total() - spent, crowd.now() - start);
    // What the clients' keepalives cost meanwhile.
    let idle = server.processor()?.total();
    crowd.run(took)?;
    let idle = server.processor()?.total() - idle;
    let heard: usize = tags.iter().map(|&tag| crowd.heard().count(tag)).sum();
    let lasts = tags.iter().zip(&sent).filter_map(|(&tag, &sent)| {
        Some(crowd.heard().get(tag)?.last.saturating_sub(sent).as_secs_f64())
    });
    let lasts = Quantiles::of(lasts.collect::<Vec<_>>());
    let mut column = Column::new(name);
    column.put("processor a frame, us", (spent - idle).max(0.0) * 1e6 / tags.len() as f64);
    let expected = tags.len() * MEMBERS;
    let percent = heard as f64 * 100.0 / expected as f64;
    column.hold("heard, %", percent, Bar::AtLeast(100.0));
    column.put("last of them, ms", lasts.median * 1e3);
    column.put("- 99 %, ms", lasts.p99 * 1e3);
    Ok(column)
}
