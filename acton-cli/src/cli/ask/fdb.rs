//! `acton fdb`.

use std::net::IpAddr;

use acton_engine::{FdbEntry, MacAddr, Place};
use clap::{Args, Subcommand};

use super::output::Output;
use super::table::Table;
use super::units::time;
use super::{have_done, next, next_raw, unexpected};
use crate::cli::Failure;
use crate::cli::control::InstanceOptions;
use crate::cli::values::{mac, vlan};
use crate::control::{Answer, RawAnswer, Request};

/// The IP addresses behind a MAC that a line has; JSON has all.
const SHOWN_ADDRESSES: usize = 8;

/// Shows a server's table of MACs, or changes it
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,

    /// As JSON
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    instance: InstanceOptions,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Shows each MAC: where it lives, since when it was not heard of, and its IP addresses
    ///
    /// The addresses are those that it told of by ARP and neighbour discovery; those that another
    /// client told of before are with that one's MAC.
    Show,
    /// Says where a MAC lives: behind a client for as long as its session lasts, or at the root
    Add {
        /// The MAC
        #[arg(value_parser = mac)]
        mac: MacAddr,
        /// The session: the client's name, its UDP address or the session's number; or `root`
        #[arg(value_name = "SESSION|root")]
        at: String,
        /// Its VLAN, 0 for untagged
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = vlan())]
        vlan: u16,
    },
    /// Forgets where a MAC lives, until it is heard of again
    Del {
        /// The MAC
        #[arg(value_parser = mac)]
        mac: MacAddr,
        /// Its VLAN, 0 for untagged
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = vlan())]
        vlan: u16,
    },
    /// Forgets all MACs that were learned, until they are heard of again
    Flush {
        /// Only those behind this client
        #[arg(value_name = "SESSION")]
        session: Option<String>,
    },
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        let Self { action, json, instance } = self;
        match action.unwrap_or(Action::Show) {
            Action::Show => show(&instance, json),
            Action::Add { mac, at, vlan } => {
                let place =
                    if at == "root" { "at the root".into() } else { format!("behind {at}") };
                let session = Some(at).filter(|at| at != "root");
                let request = Request::FdbAdd { mac, vlan, session };
                have_done(&instance, json, request, |_| format!("{mac} lives {place} now"))
            }
            Action::Del { mac, vlan } => {
                let words = |done| match done {
                    0 => format!("{mac} was not known"),
                    _ => format!("{mac} is forgotten"),
                };
                have_done(&instance, json, Request::FdbDelete { mac, vlan }, words)
            }
            Action::Flush { session } => {
                let words = |done| match done {
                    1 => "1 MAC is forgotten".to_owned(),
                    done => format!("{done} MACs are forgotten"),
                };
                have_done(&instance, json, Request::FdbFlush { session }, words)
            }
        }
    }
}

fn show(instance: &InstanceOptions, json: bool) -> Result<(), Failure> {
    let mut connection = instance.open()?;
    let mut answers = connection.ask(Request::Fdb {})?;
    let mut out = Output::new();
    if json {
        let mut macs = Vec::new();
        loop {
            match next_raw(&mut answers)? {
                RawAnswer::Mac(mac) => macs.push(mac),
                RawAnswer::End(end) => {
                    out.object(&[end.get()], &[("macs", &macs)])?;
                    return out.end();
                }
                _ => return Err(unexpected()),
            }
        }
    }
    let mut table = Table::new(&["MAC", "VLAN", "WHERE", "AGE", "", "ADDRESSES"], &[1, 3]);
    loop {
        match next(&mut answers)? {
            Answer::Mac(entry) => table.row(row(&entry)),
            Answer::End(_) => break,
            _ => return Err(unexpected()),
        }
    }
    table.lines().iter().try_for_each(|line| out.line(line))?;
    out.end()
}

/// An entry as cells.
pub(super) fn row(entry: &FdbEntry) -> [String; 6] {
    let (vlan, at) = match &entry.at {
        // The root has a MAC on every VLAN.
        Place::Root => ("any".to_owned(), "root".to_owned()),
        Place::Session { client: Some(client), .. } => (entry.vlan.to_string(), client.clone()),
        Place::Session { session, .. } => (entry.vlan.to_string(), format!("session {session}")),
        _ => (entry.vlan.to_string(), "elsewhere".to_owned()),
    };
    let vlan = if vlan == "0" { "-".to_owned() } else { vlan };
    let left = |what: &str, left| format!("{what} for {}", time(left));
    let kept = entry.age.is_none().then(|| "does not age".to_owned());
    let held = entry.held_for.map(|held| left("held", held));
    let frozen = entry.frozen_for.map(|frozen| left("frozen", frozen));
    let notes: Vec<_> = [kept, held, frozen].into_iter().flatten().collect();
    let age = entry.age.map_or_else(|| "-".to_owned(), time);
    let addresses = addresses(&entry.addresses);
    [entry.mac.to_string(), vlan, at, age, notes.join(", "), addresses]
}

/// They stand in the line of their MAC, so that `grep` finds that by them.
fn addresses(all: &[IpAddr]) -> String {
    let (shown, others) = all.split_at(all.len().min(SHOWN_ADDRESSES));
    let mut words: Vec<_> = shown.iter().map(IpAddr::to_string).collect();
    if !others.is_empty() {
        words.push(format!("and {} more", others.len()));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_addresses_some_are_shown() {
        let all: Vec<IpAddr> = (0..10).map(|number| [10, 0, 0, number].into()).collect();
        assert_eq!(addresses(&[]), "");
        assert_eq!(addresses(&all[..2]), "10.0.0.0 10.0.0.1");
        assert!(addresses(&all[..8]).ends_with("10.0.0.7"));
        assert!(addresses(&all).ends_with("10.0.0.7 and 2 more"));
    }
}
