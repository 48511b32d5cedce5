//! Pumps UDP datagrams over loopback, a batch a system call, and says how fast.
//!
//! ```text
//! udp_pump [DATAGRAMS] [SIZE] [BATCH]      (1000000 1400 64)
//! ```
//!
//! It sends to a thread of its own. The sender watches the kernel's view of the receiver's socket,
//! and pauses while its buffer is half full: so what is measured is what gets through.

use std::env;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use acton_udp::{MAX_PAYLOAD, RecvBatch, SendBuffer, SendCounts, UdpSocket};

const USAGE: &str = "\
usage: udp_pump [DATAGRAMS] [SIZE] [BATCH]

Sends DATAGRAMS (1000000) of SIZE bytes (1400; 1 to 65507) to itself over
loopback, BATCH (64) of them at a time, and prints how fast that was, how many
went in a system call, and how many in a message of the kernel's. With BATCH 1
it shows what batches are good for.";

/// How long the receiver waits for a datagram before it takes the rest for lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause of the sender while the receiver has enough to do.
const PAUSE: Duration = Duration::from_micros(50);

/// What to send.
#[derive(Clone, Copy)]
struct Plan {
    datagrams: usize,
    /// Bytes in each.
    size: usize,
    batch: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let plan = match parse(&arguments) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("udp_pump: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match pump(plan) {
        Ok(report) => {
            // Where whoever reads it has gone, nothing is amiss.
            let _ = writeln!(io::stdout(), "{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("udp_pump: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan { datagrams: 1_000_000, size: 1_400, batch: 64 };
    let places = [&mut plan.datagrams, &mut plan.size, &mut plan.batch];
    if arguments.len() > places.len() {
        return Err("too many arguments".to_owned());
    }
    for (place, argument) in places.into_iter().zip(arguments) {
        let number = argument.parse().ok().filter(|&number: &usize| number > 0);
        *place = number.ok_or_else(|| format!("{argument:?}: expected a number from 1 on"))?;
    }
    if plan.size > MAX_PAYLOAD {
        return Err(format!("{}: a datagram holds at most {MAX_PAYLOAD} bytes", plan.size));
    }
    Ok(plan)
}

/// What became of it.
struct Report {
    plan: Plan,
    sent: SendCounts,
    sending: Duration,
    received: Received,
    /// Messages that the kernel dropped at the receiver's socket.
    dropped: u32,
}

/// What the receiver saw.
#[derive(Default)]
struct Received {
    datagrams: u64,
    messages: u64,
    calls: u64,
    time: Duration,
}

fn pump(plan: Plan) -> io::Result<Report> {
    let any = (Ipv4Addr::LOCALHOST, 0).into();
    let (sender, receiver) = (UdpSocket::bind(any)?, UdpSocket::bind(any)?);
    let view = receiver.try_clone()?;
    thread::scope(|scope| {
        let receiving = scope.spawn(move || receive(&receiver, plan));
        let start = Instant::now();
        let sent = send(&sender, &view, plan);
        let sending = start.elapsed();
        let received =
            receiving.join().map_err(|_| io::Error::other("the receiver panicked"))??;
        let dropped = view.kernel_statistics()?.dropped;
        Ok(Report { plan, sent: sent?, sending, received, dropped })
    })
}

/// Sends all, a batch at a time, no faster than what `view` shows is received.
fn send(socket: &UdpSocket, view: &UdpSocket, plan: Plan) -> io::Result<SendCounts> {
    let to = socket.destination(view.local_addr()?, None);
    let payload = vec![0x5a; plan.size];
    let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
    let mut left = plan.datagrams;
    while left > 0 {
        let queue = view.kernel_statistics()?;
        if queue.receive_queued > queue.receive_buffer / 2 {
            thread::sleep(PAUSE);
            continue;
        }
        let now = left.min(plan.batch);
        let mut batch = buffer.begin(socket, &mut counts);
        for _ in 0..now {
            batch.push_parts(&to, [&payload]);
        }
        batch.finish();
        left -= now;
    }
    Ok(counts)
}

/// Receives until all is there, or nothing comes any more.
fn receive(socket: &UdpSocket, plan: Plan) -> io::Result<Received> {
    let mut batch = RecvBatch::new();
    let mut received = Received::default();
    let mut start = None;
    while received.datagrams < plan.datagrams as u64 && socket.wait_readable(Some(PATIENCE))? {
        match batch.receive(socket) {
            Ok(messages) => received.messages += messages as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        received.calls += 1;
        for message in batch.messages() {
            received.datagrams += message.datagrams().count() as u64;
        }
        received.time = start.get_or_insert_with(Instant::now).elapsed();
    }
    Ok(received)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, sent, sending, received, dropped } = self;
        let each = |datagrams: u64, of: u64| datagrams as f64 / of.max(1) as f64;
        let mut line = |what, datagrams, calls, messages, time: Duration| {
            let rate = datagrams as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE);
            let gigabits = rate * plan.size as f64 * 8.0 / 1e9;
            writeln!(
                f,
                "{what} {datagrams} datagrams of {} bytes: {:.0} thousand/s, {gigabits:.2} Gbit/s, \
                 {:.1} a system call, {:.1} a message",
                plan.size,
                rate / 1e3,
                each(datagrams, calls),
                each(datagrams, messages),
            )
        };
        line("sent", sent.sent, sent.calls, sent.messages, *sending)?;
        let Received { datagrams, messages, calls, time } = *received;
        line("received", datagrams, calls, messages, time)?;
        let lost = (plan.datagrams as u64).saturating_sub(datagrams);
        write!(f, "lost {lost}; the kernel dropped {dropped} messages at the receiver")
    }
}
