//! What is measured, and how much of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::support::crowd::Addresses;
use crate::support::program::Program;
use crate::support::server::Mode;
use crate::{attacks, streams};

/// What thousands of clients meet at one server: joining, floods, attacks, a crash
#[derive(Debug, Parser)]
#[command(name = "swarm", max_term_width = 100)]
pub(crate) struct Arguments {
    /// What is measured; everything without it
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) parts: Vec<Part>,

    /// What server and clients speak
    #[arg(long = "mode", value_enum, default_value_t = Modes::Both)]
    pub(crate) modes: Modes,

    /// Numbers of clients, each measured with a server of its own [default: 100,1000,3000,10000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) clients: Vec<u32>,

    /// Where the clients are
    #[arg(long, value_enum, default_value_t = Addresses::Many)]
    pub(crate) addresses: Addresses,

    /// Frames for everybody a second while they come in numbers
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,

    /// How long they do, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,

    /// How long clients come and go, in seconds: the slope of memory wants twenty minutes
    #[arg(long, default_value_t = 1_200, value_parser = clap::value_parser!(u32).range(5..=86_400))]
    pub(crate) churn_seconds: u32,

    /// Leaves acton 0.1.1 out
    #[arg(long)]
    pub(crate) no_predecessor: bool,

    /// In less than two minutes: fewer clients, one round, seconds of churn, no crash of idle
    /// clients, and without acton 0.1.1
    #[arg(long)]
    pub(crate) quick: bool,

    /// Folder, as seen from the workspace, whose BENCHMARKS.md takes the tables
    #[arg(long, value_name = "FOLDER", conflicts_with = "quick")]
    pub(crate) write: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) program: Program,
}

/// What can be measured apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Joining, frames for everybody, roaming, a crash, for each number of clients
    Clients,
    /// A transfer beside floods, and beside clients that come and go
    Attacks,
    /// A hundred TCP streams
    Streams,
    /// A stream to a multicast group that few of a thousand want, with snooping and without
    Multicast,
    /// Frames for all in a VLAN that ten of all clients are in
    Vlans,
    /// Memory while clients come and go
    Churn,
}

/// Which modes are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Modes {
    Secure,
    Plain,
    Both,
}

impl Modes {
    pub(crate) fn each(self) -> &'static [Mode] {
        match self {
            Self::Secure => &[Mode::Secure],
            Self::Plain => &[Mode::Plain],
            Self::Both => &[Mode::Secure, Mode::Plain],
        }
    }
}

/// How much of it is done.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    pub(crate) clients: Vec<usize>,
    pub(crate) hosts: u8,
    /// How often is looked, and how long.
    pub(crate) attacks: (usize, Duration),
    pub(crate) streams: (usize, Duration),
    pub(crate) churn: Duration,
    pub(crate) predecessor: bool,
}

impl Extent {
    pub(crate) fn of(arguments: &Arguments) -> Self {
        let clients = |standard: &[usize]| match &arguments.clients[..] {
            [] => standard.to_vec(),
            some => some.iter().map(|&clients| clients as usize).collect(),
        };
        if arguments.quick {
            return Self {
                clients: clients(&[1_000]),
                hosts: 10,
                attacks: (1, Duration::from_millis(300)),
                streams: (1, Duration::from_secs(1)),
                churn: Duration::from_secs(3),
                predecessor: false,
            };
        }
        Self {
            clients: clients(&[100, 1_000, 3_000, 10_000]),
            hosts: 100,
            attacks: attacks::LOOKS,
            streams: streams::LOOKS,
            churn: Duration::from_secs(arguments.churn_seconds.into()),
            predecessor: !arguments.no_predecessor && arguments.modes != Modes::Secure,
        }
    }
}
