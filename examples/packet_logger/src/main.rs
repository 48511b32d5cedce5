//! Prints, counts and records the frames of one interface; stands on `acton-raw`.
#![forbid(unsafe_code)]

mod arguments;
mod line;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use acton_pcapng::{Flags, Interface, Packet, Writer};
use acton_raw::{Block, Frame, PacketType, RawSocket, Ring, RingConfig, Wake};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

use arguments::Arguments;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long the kernel may hold frames back to hand over many at once: short enough to look
/// immediate.
const HOLD: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("packet_logger: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let stop = stop_on_signals()?;
    let mut ring = open(arguments)?;
    let mut logger = Logger::new(arguments)?;
    eprintln!("packet_logger: listening on {}", ring.interface());

    let end = log(&mut ring, &stop, &mut logger);
    if matches!(end, Ok(End::ReaderGone)) {
        return Ok(());
    }
    eprintln!("{}", logger.summary(&ring)?);
    end?;
    logger.close(&ring)
}

/// A socket that is readable after the first SIGINT or SIGTERM; the second ends the program at
/// once, in case it hangs.
fn stop_on_signals() -> io::Result<UnixStream> {
    let (stop, stopper) = UnixStream::pair()?;
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
        pipe::register(signal, stopper.try_clone()?)?;
    }
    Ok(stop)
}

fn open(arguments: &Arguments) -> Result<Ring> {
    let mut builder = RawSocket::builder(&arguments.interface).promiscuous(arguments.promiscuous);
    if let Some(filter) = arguments.filter() {
        builder = builder.filter(filter);
    }
    if let Some(bytes) = arguments.snaplen {
        builder = builder.snaplen(bytes);
    }
    Ok(builder.build_ring(RingConfig::default().hold(HOLD))?)
}

/// Why the log ends.
enum End {
    /// By a signal, or because all the frames asked for are there.
    Stopped,
    /// Nobody reads the output any more.
    ReaderGone,
}

fn log(ring: &mut Ring, stop: &UnixStream, logger: &mut Logger) -> Result<End> {
    loop {
        match ring.wait(Some(stop.as_fd()), None) {
            Ok(Wake::Stopped) => break,
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                eprintln!("packet_logger: {} is down; waiting for it", ring.interface());
                continue;
            }
            Err(error) => return Err(format!("{}: {error}", ring.interface()).into()),
        }
        if let Some(block) = ring.next_block(Some(Duration::ZERO))?
            && let Some(end) = logger.block(&block)?
        {
            return Ok(end);
        }
    }
    // What came before the signal and the kernel still holds.
    let deadline = Instant::now() + 2 * HOLD;
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        if let Some(block) = ring.next_block(Some(left))?
            && let Some(end) = logger.block(&block)?
        {
            return Ok(end);
        }
    }
    Ok(End::Stopped)
}

/// The same error, with what could not be written.
fn of_record(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write the record: {error}"))
}

/// A record of frames of one interface; a `snaplen` of 0 is no limit.
fn record(file: File, interface: &str, snaplen: u32) -> io::Result<Writer<File>> {
    let mut record = Writer::new(file, "acton packet_logger")?;
    record.interface(&Interface { name: interface, snaplen })?;
    record.flush()?;
    Ok(record)
}

/// What is known of a frame's way.
fn flags(packet_type: PacketType) -> Flags {
    match packet_type {
        PacketType::Host => Flags::INBOUND | Flags::UNICAST,
        PacketType::Multicast => Flags::INBOUND | Flags::MULTICAST,
        PacketType::Broadcast => Flags::INBOUND | Flags::BROADCAST,
        PacketType::OtherHost => Flags::INBOUND | Flags::PROMISCUOUS,
        PacketType::Outgoing => Flags::OUTBOUND,
        _ => Flags::NONE,
    }
}

/// Where frames go, and how many there were.
struct Logger {
    output: Option<BufWriter<StdoutLock<'static>>>,
    record: Option<Writer<File>>,
    left: u64,
    start: Instant,
    incoming: u64,
    outgoing: u64,
    bytes: u64,
    /// For frames whose VLAN tag is put back.
    scratch: Vec<u8>,
}

impl Logger {
    fn new(arguments: &Arguments) -> Result<Self> {
        let record = match &arguments.write {
            Some(path) => {
                let in_path = |error| format!("cannot write {}: {error}", path.display());
                let file = File::create(path).map_err(in_path)?;
                let snaplen = arguments.snaplen.unwrap_or(0);
                Some(record(file, &arguments.interface, snaplen).map_err(in_path)?)
            }
            None => None,
        };
        Ok(Self {
            output: (!arguments.quiet).then(|| BufWriter::new(io::stdout().lock())),
            record,
            left: arguments.count.unwrap_or(u64::MAX),
            start: Instant::now(),
            incoming: 0,
            outgoing: 0,
            bytes: 0,
            scratch: Vec::new(),
        })
    }

    /// Logs the frames of a block, as many as are still wanted.
    fn block(&mut self, block: &Block<'_>) -> Result<Option<End>> {
        match block.frames().try_for_each(|frame| self.frame(&frame)).and_then(|()| self.flush()) {
            Ok(()) if self.left == 0 => Ok(Some(End::Stopped)),
            Ok(()) => Ok(None),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Some(End::ReaderGone)),
            Err(error) => Err(error.into()),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        let outgoing = frame.meta.packet_type == PacketType::Outgoing;
        *(if outgoing { &mut self.outgoing } else { &mut self.incoming }) += 1;
        let len = frame.meta.original_len + if frame.meta.vlan.is_some() { 4 } else { 0 };
        self.bytes += len as u64;

        let wire = frame.tagged(&mut self.scratch);
        if let Some(record) = &mut self.record {
            let (time, flags) = (frame.meta.timestamp, flags(frame.meta.packet_type));
            let packet = Packet { time, bytes: wire, len, flags, comment: None };
            record.packet(0, &packet).map_err(of_record)?;
        }
        match &mut self.output {
            Some(output) => writeln!(output, "{}", line::line(&frame.meta, wire, len)),
            None => Ok(()),
        }
    }

    /// The record first: what has been printed is on record.
    fn flush(&mut self) -> io::Result<()> {
        if let Some(record) = &mut self.record {
            record.flush().map_err(of_record)?;
        }
        self.output.as_mut().map_or(Ok(()), Write::flush)
    }

    fn close(&mut self, ring: &Ring) -> Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        let statistics = ring.statistics()?;
        let seen = statistics.received + statistics.dropped;
        let now = SystemTime::now();
        record.statistics(0, now, seen, statistics.dropped).map_err(of_record)?;
        Ok(record.flush().map_err(of_record)?)
    }

    fn summary(&self, ring: &Ring) -> io::Result<String> {
        let Self { incoming, outgoing, bytes, .. } = self;
        Ok(format!(
            "{} frames ({incoming} in, {outgoing} out), {bytes} bytes in {:.1} s; {} dropped by \
             the kernel",
            incoming + outgoing,
            self.start.elapsed().as_secs_f64(),
            ring.statistics()?.dropped,
        ))
    }
}
