//! What acton does when something goes wrong: each fault is made, and what has to come of it is
//! measured.
//!
//! ```text
//! cargo bench -p acton-cli --bench faults                  # all of them, some six minutes
//! cargo bench -p acton-cli --bench faults -- disk emfile   # those whose names contain a word
//! ```
//!
//! It prints a table (fault, expected, seen, ok or not) and ends with code 1 where anything is not
//! as it has to be, or could not be tried. Most faults are made between real kernels, each in
//! network namespaces of its own; what takes an hour or 2²⁶ datagrams, between the state machines of
//! `acton-proto` on a virtual clock. A fault is a function that is given its [`Checks`].
//!
//! Needs root, and the programs that a fault names.
#![allow(clippy::unwrap_used)] // as the tests whose world it uses: the panic is the report

mod buffers;
mod checks;
mod clocks;
mod crashes;
mod disks;
mod files;
mod limits;
mod macs;
mod paths;
#[path = "../../../acton-proto/tests/secure_rig/mod.rs"]
mod rig;
#[path = "../../tests/support/mod.rs"]
mod support;
mod upgrades;
mod virtual_time;

use std::process::ExitCode;

use clap::Parser;

use checks::{Checks, line};

/// Makes faults, and looks what comes of them
#[derive(Debug, Parser)]
#[command(name = "faults", max_term_width = 100)]
struct Arguments {
    /// Words: faults whose names contain one of them [default: all]
    filter: Vec<String>,

    /// What cargo bench adds, and cargo test does not
    #[arg(long, hide = true)]
    bench: bool,
}

/// Something that goes wrong.
struct Fault {
    name: &'static str,
    /// Programs that make it.
    needs: &'static [&'static str],
    make: fn(&Checks),
}

const fn fault(name: &'static str, make: fn(&Checks)) -> Fault {
    Fault { name, needs: &[], make }
}

const fn fault_by(name: &'static str, needs: &'static [&'static str], make: fn(&Checks)) -> Fault {
    Fault { name, needs, make }
}

const FAULTS: &[Fault] = &[
    fault("server killed, 1,000 clients", crashes::server_killed_under_load),
    fault("server restarted, port kept", upgrades::server_restarted_with_its_port_kept),
    fault("server away for an hour", virtual_time::server_away_for_an_hour),
    fault("client killed", crashes::client_killed),
    fault("client suspended for 45 s", crashes::client_suspended),
    fault("server suspended for 45 s", crashes::server_suspended),
    fault("two hosts with one key", crashes::two_hosts_with_one_key),
    fault("TAP deleted", crashes::tap_deleted),
    fault("NAT rebinds", paths::nat_rebinds),
    fault("link flaps", paths::link_flaps),
    fault_by("path MTU lowered silently", &["ethtool"], paths::path_shrinks),
    fault("address changes", paths::address_changes),
    fault_by("DNS name changes", &["unshare"], paths::name_changes),
    fault_by("ENOBUFS", &["tc"], buffers::no_buffers),
    fault_by("EAGAIN", &["tc"], buffers::send_buffer_full),
    fault_by("EMFILE at start", &["prlimit"], limits::few_files_at_start),
    fault_by("EMFILE while it runs", &["prlimit"], limits::no_files_while_running),
    fault_by("ENOMEM at start", &["prlimit"], limits::little_memory_at_start),
    fault_by("ENOMEM while it runs", &["prlimit"], limits::no_memory_while_running),
    fault_by("clock years off at start", &["faketime"], clocks::years_off_at_start),
    fault_by("clock set years back and forth", &["faketime"], clocks::set_while_running),
    fault_by("full disk under state", &["unshare"], disks::full_under_state),
    fault_by("full disk under key log", &["unshare"], disks::full_under_key_log),
    fault("full disk under log", disks::full_under_log),
    fault("corrupted keys", files::corrupted_keys),
    fault("corrupted invite", files::corrupted_invite),
    fault("corrupted list of clients", files::corrupted_list),
    fault("list of 100,000 clients", files::long_list),
    fault("1,000,000 random MACs", macs::random_macs_of_one_client),
    fault("counters near their limits", virtual_time::counters_near_their_limits),
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // cargo test --all-targets builds benchmarks and runs them too.
        println!("not run: cargo bench -p acton-cli --bench faults");
        return ExitCode::SUCCESS;
    }
    if let Some(why) = testbed::missing_on_this_machine() {
        eprintln!("{why}");
        return ExitCode::FAILURE;
    }
    line("FAULT", "EXPECTED", "SEEN", "");
    let wanted = |fault: &&Fault| {
        let words = &arguments.filter;
        words.is_empty() || words.iter().any(|word| fault.name.contains(word))
    };
    // All are tried, whatever came of those before.
    let failed = FAULTS.iter().filter(wanted).filter(|fault| !make(fault)).count();
    println!("{failed} faults in which not all was as expected");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes a fault and prints its lines; whether all was as expected.
fn make(fault: &Fault) -> bool {
    let checks = Checks::default();
    if let Some(program) = fault.needs.iter().find(|program| testbed::which(program).is_none()) {
        checks.holds("it can be tried", format!("{program} is not installed"), false);
        return checks.print(fault.name);
    }
    if let Err(panic) = testbed::in_namespace(|| (fault.make)(&checks)) {
        let message = panic.lines().next().unwrap_or_default();
        checks.holds("it comes to its end", message, false);
    }
    checks.print(fault.name)
}
