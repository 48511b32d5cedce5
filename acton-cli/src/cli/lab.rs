//! `acton lab`.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{FAILURE, Failure};
use crate::lab::{Lab, MAX_CLIENTS};

/// A server and clients on this machine, each in a network namespace of its own
///
/// Pings every client through the tunnel, shows that clients do not reach one another, and stays
/// until Ctrl-C. Needs root, or user namespaces and a /dev/net/tun that is open to all. Nothing
/// is left behind.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_CLIENTS)))]
    clients: u8,

    /// Run it without keys and without encryption
    #[arg(long)]
    plain: bool,

    /// Ends by itself after so many seconds
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        if !nix::unistd::geteuid().is_root() {
            // While this process has one thread, as the kernel demands.
            acton_netns::enter_user_namespace()?;
        }
        let lab = Lab::start(self.clients, self.plain)?;
        let reports = lab.ping()?;
        let isolation = lab.check_isolation()?;
        // Until here a signal ends the process at once, which takes the lab down too; from here on
        // there is somebody to look at it.
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new().name("acton-signals".to_owned()).spawn(move || {
            for _ in signals.forever() {
                let _ = stop.send(());
            }
        })?;
        let mut out = io::stdout().lock();
        show(&mut out, &lab.describe(&reports, &isolation))?;
        let lost = reports.iter().filter(|report| report.ping.answered < report.ping.sent).count();
        let failure = |message| Failure { code: FAILURE, message };
        if !isolation.holds() {
            return Err(failure("clients reached one another: see above".to_owned()));
        }
        if lost > 0 || !isolation.is_proven() {
            return Err(failure(format!("frames were lost ({lost} clients lost pings)")));
        }
        match self.seconds {
            Some(0) => return Ok(()),
            Some(seconds) => {
                show(&mut out, &format!("Ends after {seconds} s, or with Ctrl-C."))?;
                let _ = stopped.recv_timeout(Duration::from_secs(seconds));
            }
            None => {
                show(&mut out, "Ctrl-C ends it.")?;
                let _ = stopped.recv();
            }
        }
        Ok(())
    }
}

/// Prints a line; that nobody reads it is no failure.
fn show(out: &mut impl Write, line: &str) -> io::Result<()> {
    match writeln!(out, "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
