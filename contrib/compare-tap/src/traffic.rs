//! What goes through the TAPs, and what it takes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::Outcome;
use crate::relay::RELAYS;

/// What is not measured: the start of TCP, and of all the rest.
const WARM_UP: Duration = Duration::from_millis(500);

/// What one run gave.
#[derive(Clone, Copy)]
pub struct Measured {
    /// Bytes of TCP, or frames, that arrived.
    pub units: f64,
    pub seconds: f64,
    /// Seconds of processor time of the whole process: sender, relay, receiver, and the kernel for
    /// them.
    pub cpu: f64,
}

/// Runs the relay called `name` and has it do `work` for so many seconds.
pub fn measure(name: &str, work: &str, seconds: u64) -> Outcome<Measured> {
    let relay = RELAYS.iter().find(|relay| relay.name == name).ok_or("no such relay")?;
    let (left, right) = (Namespace::new()?, Namespace::new()?);
    let start = (relay.open)(&left, &right)?;
    for (namespace, name, address) in [(&left, "left", "10.0.0.1"), (&right, "right", "10.0.0.2")] {
        let setup = format!(
            "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip addr add {address}/24 dev {name}; \
             ip link set {name} up; ip link set lo up"
        );
        let output = namespace.output(Command::new("sh").args(["-ec", &setup]))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
    }
    start();
    let duration = Duration::from_secs(seconds);
    match work {
        "tcp" => tcp(&left, &right, duration),
        "frames" => frames(&left, &right, duration),
        _ => Err("work is tcp or frames".into()),
    }
}

/// One stream from left to right.
fn tcp(left: &Namespace, right: &Namespace, duration: Duration) -> Outcome<Measured> {
    let listener = right.run(|| TcpListener::bind("10.0.0.2:5000"))?;
    let mut sender = left.run(|| TcpStream::connect("10.0.0.2:5000"))?;
    let (mut receiver, _) = listener.accept()?;
    thread::spawn(move || {
        let block = vec![7; 256 << 10];
        while sender.write_all(&block).is_ok() {}
    });
    let mut block = vec![0; 256 << 10];
    count(duration, || Ok(receiver.read(&mut block)? as f64))
}

/// Datagrams of 18 bytes from left to right, as many as go: the smallest frames of Ethernet.
fn frames(left: &Namespace, right: &Namespace, duration: Duration) -> Outcome<Measured> {
    let receiver = right.run(|| UdpSocket::bind("10.0.0.2:5000"))?;
    let sender = left.run(|| UdpSocket::bind("10.0.0.1:5000"))?;
    left.run(|| sender.connect("10.0.0.2:5000"))?;
    thread::spawn(move || {
        // A TAP whose queue is full drops, and a sender is told nothing.
        while sender.send(&[7; 18]).is_ok() {}
    });
    let mut datagram = [0; 64];
    count(duration, || receiver.recv(&mut datagram).map(|_| 1.0))
}

/// Adds up what `next` gives for so long.
fn count(duration: Duration, mut next: impl FnMut() -> std::io::Result<f64>) -> Outcome<Measured> {
    let warm = Instant::now();
    while warm.elapsed() < WARM_UP {
        next()?;
    }
    let (begin, cpu, mut units) = (Instant::now(), cpu_seconds()?, 0.0);
    while begin.elapsed() < duration {
        units += next()?;
    }
    Ok(Measured { units, seconds: begin.elapsed().as_secs_f64(), cpu: cpu_seconds()? - cpu })
}

fn cpu_seconds() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds =
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e6)
}
