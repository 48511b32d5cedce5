//! Answers ARP and ping from user space on a TAP interface.
//!
//! ```text
//! tap_echo [NAME] [ADDRESS/PREFIX]      (echo0 192.0.2.1/24)
//! ```
//!
//! The kernel's side of the TAP gets the address; every other address of its subnet is played by
//! this program. It needs no clean-up: the TAP is not persistent, so the kernel takes it away with
//! the process, however that ends.

mod reply;
mod subnet;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use acton_tap::Tap;

use crate::reply::{Reply, reply};
use crate::subnet::Subnet;

const USAGE: &str = "\
usage: tap_echo [NAME] [ADDRESS/PREFIX]

Makes the TAP interface NAME (echo0), gives the kernel's side ADDRESS/PREFIX
(192.0.2.1/24), and answers ARP and ping for every other address of that subnet
until Ctrl-C. Needs CAP_NET_ADMIN.";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let mut arguments = arguments.into_iter();
    let name = arguments.next().unwrap_or_else(|| "echo0".to_owned());
    let subnet = arguments.next().unwrap_or_else(|| "192.0.2.1/24".to_owned());
    let subnet = match subnet.parse() {
        Ok(subnet) if arguments.next().is_none() => subnet,
        Ok(_) => return usage_error("too many arguments"),
        Err(error) => return usage_error(&format!("{subnet:?}: {error}")),
    };
    match echo(&name, subnet) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has gone: nothing is amiss.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("tap_echo: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprint!(": {error}");
                source = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn usage_error(message: &str) -> ExitCode {
    eprintln!("tap_echo: {message}\n\n{USAGE}");
    ExitCode::from(2)
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(|e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe)
}

fn echo(name: &str, subnet: Subnet) -> Result<(), Box<dyn Error>> {
    let tap = Tap::builder().name(name).exclusive(true).carrier(true).build()?;
    tap.interface().add_address(subnet.kernel.into(), subnet.prefix_len)?;
    tap.interface().up()?;
    let mut out = io::stdout();
    writeln!(out, "{} is up; from another terminal: ping {}", tap.name(), subnet.first())?;

    let queue = &tap.queues()[0];
    let mut buffer = vec![0; 14 + tap.interface().mtu()? as usize];
    loop {
        let length = queue.recv(&mut buffer).map_err(|error| format!("{}: {error}", tap.name()))?;
        let frame = &mut buffer[..length];
        let Some(reply) = reply(frame, &subnet) else { continue };
        match reply {
            Reply::Arp { host } => writeln!(out, "{host} is at {}", reply::MAC)?,
            Reply::Echo { host, sequence } => writeln!(out, "{host} echoes ping {sequence}")?,
        }
        if let Err(error) = queue.send(frame) {
            writeln!(out, "the reply was not sent: {error}")?; // the interface is down
        }
    }
}
