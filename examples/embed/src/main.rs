//! A server of Ethernet over UDP inside another program: prints the invite, then a line of JSON a
//! second on how it is, and what happens as it happens.
//!
//! ```sh
//! cargo run -p embed -- 127.0.0.1:8080 10.99.0.1/24     # as root
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, thread};

use acton_engine::keys::State;
use acton_engine::{Handle, Server, ServerName, TapSettings};

const USAGE: &str = "usage: embed LISTEN:PORT IP/N [STATE-DIRECTORY]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(listen), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err(USAGE.into());
    };
    let listen = listen.parse().map_err(|error| format!("'{listen}': {error}; {USAGE}"))?;
    let address = address.parse().map_err(|error| format!("'{address}': {error}; {USAGE}"))?;
    let state = arguments.next().map_or_else(|| env::temp_dir().join("acton-embed"), Into::into);

    let mut tap = TapSettings::new("embed%d");
    tap.addresses.push(address);
    let identity = State::new(state).server_identity()?;
    let invite = identity.invite(ServerName::from(listen));
    let running = Server::secure(identity.into()).listen(listen).tap(tap).start()?;
    // The whole surface is there: status(), events(), apply(), stop(), from any thread.
    let (handle, events) = (running.handle(), running.events(0));
    eprintln!("join with: acton client '{}'", invite.url().as_str());

    thread::spawn(move || {
        for event in events {
            eprintln!("{:?}", event.kind);
        }
    });
    thread::spawn(move || {
        // Whoever reads the status has gone: so does the server.
        if print_status(&handle).is_err() {
            handle.stop();
        }
    });
    running.wait()?;
    Ok(())
}

/// Prints a line of JSON a second, until nobody reads it.
fn print_status(handle: &Handle) -> io::Result<()> {
    loop {
        let line = serde_json::to_string(&handle.status())?;
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
        drop(out);
        thread::sleep(Duration::from_secs(1));
    }
}
