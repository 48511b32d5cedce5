//! What was captured, as pcapng: an interface a session, and what became of each packet as its comment.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acton_engine::{Direction, TraceVerdict, drop_reasons};
use acton_pcapng::{Flags, Interface, Packet, Writer};
use data_encoding::BASE64;

use super::datagram;
use crate::control::PacketRecord;

/// Sessions that have an interface of their own at most; those of later ones are on the TAP's.
const MAX_INTERFACES: usize = 65_536;

/// Why a packet is not recorded.
#[derive(Debug)]
pub(super) enum Error {
    /// The output fails.
    Write(io::Error),
    /// It is none.
    Data,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

/// A recording.
pub(super) struct Recording<W> {
    writer: Writer<W>,
    /// The TAP's, for what is of no one session.
    tap: u32,
    /// By the session's name.
    interfaces: HashMap<String, u32>,
    snaplen: u32,
    packets: u64,
    meanings: HashMap<&'static str, &'static str>,
}

impl<W: Write> Recording<W> {
    /// Of a tunnel with that TAP; a `snaplen` of 0 is no limit.
    pub(super) fn new(output: W, tap: &str, snaplen: u32) -> io::Result<Self> {
        let mut writer = Writer::new(output, "acton capture")?;
        let tap = writer.interface(&Interface { name: tap, snaplen })?;
        let (interfaces, meanings) = (HashMap::new(), drop_reasons().collect());
        Ok(Self { writer, tap, interfaces, snaplen, packets: 0, meanings })
    }

    /// Packets so far.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// Adds a packet.
    pub(super) fn add(&mut self, record: &PacketRecord) -> Result<(), Error> {
        let mut bytes = BASE64.decode(record.data.as_bytes()).map_err(|_| Error::Data)?;
        let mut len = record.len;
        if let (Some(remote), Some(local)) = (record.remote, record.local) {
            let (from, to) = match record.direction {
                Direction::In => (remote, local),
                Direction::Out => (local, remote),
            };
            let headers = datagram::headers(from, to, &bytes, len);
            len += headers.len();
            bytes.splice(..0, headers);
            if self.snaplen > 0 {
                bytes.truncate(self.snaplen as usize);
            }
        }
        let interface = self.interface(record.session.as_deref())?;
        let flags = match record.direction {
            Direction::In => Flags::INBOUND,
            Direction::Out => Flags::OUTBOUND,
        };
        let comment = self.comment(record);
        let packet = Packet {
            time: time(record.time),
            bytes: &bytes,
            len,
            flags,
            comment: comment.as_deref(),
        };
        self.writer.packet(interface, &packet)?;
        self.packets += 1;
        Ok(())
    }

    fn interface(&mut self, session: Option<&str>) -> io::Result<u32> {
        let Some(session) = session else { return Ok(self.tap) };
        if let Some(&interface) = self.interfaces.get(session) {
            return Ok(interface);
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            return Ok(self.tap);
        }
        let snaplen = self.snaplen;
        let interface = self.writer.interface(&Interface { name: session, snaplen })?;
        self.interfaces.insert(session.to_owned(), interface);
        Ok(interface)
    }

    fn comment(&self, record: &PacketRecord) -> Option<String> {
        let mut comment = record.verdict.as_ref()?.to_string();
        if let Some(TraceVerdict::Drop(reason)) = &record.verdict
            && let Some(meaning) = self.meanings.get(&**reason)
        {
            comment = format!("{comment}: {meaning}");
        }
        if record.frames > 1 {
            comment = format!("{comment}; a super-frame of {} frames", record.frames);
        }
        Some(comment)
    }

    /// Has the reader see all that was added.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Adds how many there were, and how many were lost beside them.
    pub(super) fn finish(&mut self, lost: u64) -> io::Result<()> {
        self.writer.statistics(self.tap, SystemTime::now(), self.packets + lost, lost)?;
        self.writer.flush()
    }
}

/// Of seconds since 1970; those before it and far ahead are 1970's first.
fn time(seconds: f64) -> SystemTime {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}
