//! A writer of [pcapng](https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html), the files and
//! streams that Wireshark and tcpdump read: one section, any number of interfaces, their packets with
//! direction and comment, and counters.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use acton_pcapng::{Flags, Interface, Packet, Writer};
//!
//! let mut file = Vec::new();
//! let mut writer = Writer::new(&mut file, "an example")?;
//! let lan = writer.interface(&Interface { name: "lan0", snaplen: 0 })?;
//! let (time, bytes) = (SystemTime::now(), &[0xff; 60][..]);
//! writer.packet(lan, &Packet { time, bytes, len: 60, flags: Flags::INBOUND, comment: Some("hello") })?;
//! writer.flush()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! All interfaces are Ethernet's, for libpcap reads no file that has several link types. Times are in
//! nanoseconds, numbers little-endian on every machine.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Write};
use std::mem::size_of;
use std::ops::BitOr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Block types (section 4 of the draft).
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Says that all numbers are little-endian, whatever the machine.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

/// Bytes after which the buffer is written even before a flush.
const BUFFER: usize = 64 << 10;
/// Bytes of an option's value at most: its length has 16 bits.
const MAX_OPTION: usize = u16::MAX as usize;

/// Options, by the block they belong to.
const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TIME_RESOLUTION: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_RECEIVED: u16 = 4;
const ISB_DROPPED: u16 = 5;

/// Where packets were captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Bytes of a packet at most; 0 is no limit. libpcap wants the same for all.
    pub snaplen: u32,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When it was captured.
    pub time: SystemTime,
    /// What was captured of it, from its destination MAC on.
    pub bytes: &'a [u8],
    /// Bytes of all of it.
    pub len: usize,
    /// Which way it went, and to whom.
    pub flags: Flags,
    /// A comment.
    pub comment: Option<&'a str>,
}

/// What is known of a packet's way (`epb_flags`): a direction, a kind of reception, or `|` of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// It came.
    pub const INBOUND: Self = Self(1);
    /// It went.
    pub const OUTBOUND: Self = Self(2);
    /// For this host.
    pub const UNICAST: Self = Self(1 << 2);
    /// For a group.
    pub const MULTICAST: Self = Self(2 << 2);
    /// For all.
    pub const BROADCAST: Self = Self(3 << 2);
    /// For another host.
    pub const PROMISCUOUS: Self = Self(4 << 2);
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Writes whole blocks only, so that a file whose writer is killed ends at the end of one. What it
/// has, it holds until [`flush`](Self::flush), or until it is 64 KiB.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
    /// Bytes of it that the output took already.
    taken: usize,
    interfaces: u32,
}

impl<W: Write> Writer<W> {
    /// Begins a section.
    ///
    /// # Errors
    /// Those of the output, as of all that follows.
    pub fn new(output: W, application: &str) -> io::Result<Self> {
        let buffer = Vec::with_capacity(2 * BUFFER);
        let mut this = Self { output, buffer, taken: 0, interfaces: 0 };
        this.block(SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend(1_u16.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend((-1_i64).to_le_bytes()); // length unknown
            option(body, SHB_USER_APPLICATION, application.as_bytes());
            option(body, OPT_END, &[]);
        })?;
        Ok(this)
    }

    /// Adds an interface; its number, by which its packets name it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn interface(&mut self, interface: &Interface<'_>) -> io::Result<u32> {
        self.block(INTERFACE_DESCRIPTION, |body| {
            body.extend(ETHERNET.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend(interface.snaplen.to_le_bytes());
            option(body, IF_NAME, interface.name.as_bytes());
            option(body, IF_TIME_RESOLUTION, &[9]); // nanoseconds
            option(body, OPT_END, &[]);
        })?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Adds a packet of an interface.
    ///
    /// # Errors
    /// Those of the output.
    pub fn packet(&mut self, interface: u32, packet: &Packet<'_>) -> io::Result<()> {
        self.block(ENHANCED_PACKET, |body| {
            body.extend(interface.to_le_bytes());
            body.extend(timestamp(packet.time));
            body.extend((packet.bytes.len() as u32).to_le_bytes());
            body.extend((packet.len as u32).to_le_bytes());
            body.extend(packet.bytes);
            pad(body);
            if let Some(comment) = packet.comment {
                option(body, OPT_COMMENT, comment.as_bytes());
            }
            option(body, EPB_FLAGS, &packet.flags.0.to_le_bytes());
            option(body, OPT_END, &[]);
        })
    }

    /// Adds the counters of an interface: packets that there were, and those of them that were lost.
    ///
    /// # Errors
    /// Those of the output.
    pub fn statistics(
        &mut self,
        interface: u32,
        now: SystemTime,
        received: u64,
        dropped: u64,
    ) -> io::Result<()> {
        self.block(INTERFACE_STATISTICS, |body| {
            body.extend(interface.to_le_bytes());
            body.extend(timestamp(now));
            option(body, ISB_RECEIVED, &received.to_le_bytes());
            option(body, ISB_DROPPED, &dropped.to_le_bytes());
            option(body, OPT_END, &[]);
        })
    }

    /// Hands all that was added to the output, and flushes that. After an error the next call goes on
    /// behind the last byte that was taken.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = loop {
            let rest = &self.buffer[self.taken..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.output.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(more) => self.taken += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // What stays begins at a multiple of four bytes, as padding has it.
        let whole = self.taken - self.taken % size_of::<u32>();
        self.buffer.drain(..whole);
        self.taken -= whole;
        written?;
        self.output.flush()
    }

    /// Adds a block: its type, its length, the body, and the length again.
    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.extend(kind.to_le_bytes());
        self.buffer.extend([0; 4]);
        body(&mut self.buffer);
        let len = (self.buffer.len() - start + 4) as u32;
        self.buffer[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
        self.buffer.extend(len.to_le_bytes());
        if self.buffer.len() < BUFFER { Ok(()) } else { self.flush() }
    }
}

/// Fills up to a multiple of four bytes; all that comes before in the buffer has such a length.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(size_of::<u32>()), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(MAX_OPTION)];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// Nanoseconds since 1970, the upper half first.
fn timestamp(time: SystemTime) -> [u8; 8] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = since.as_nanos() as u64;
    let mut halves = [0; 8];
    halves[..4].copy_from_slice(&((nanoseconds >> 32) as u32).to_le_bytes());
    halves[4..].copy_from_slice(&(nanoseconds as u32).to_le_bytes());
    halves
}

/// The example of README.md, so that it keeps compiling.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits a file into blocks of type and body, checking both lengths of each.
    fn blocks(mut file: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !file.is_empty() {
            let (block, rest) = file.split_at(word(&file[4..]) as usize);
            assert_eq!(block.len() % 4, 0);
            assert_eq!(word(&block[block.len() - 4..]) as usize, block.len());
            blocks.push((word(block), &block[8..block.len() - 4]));
            file = rest;
        }
        blocks
    }

    #[test]
    fn headers_packets_and_counters_are_blocks() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file, "test").unwrap();
        assert_eq!(writer.interface(&Interface { name: "eth0", snaplen: 96 }).unwrap(), 0);
        assert_eq!(writer.interface(&Interface { name: "eth1", snaplen: 96 }).unwrap(), 1);
        let (bytes, flags) = (&[7; 61][..], Flags::OUTBOUND | Flags::BROADCAST);
        let packet = Packet { time: UNIX_EPOCH, bytes, len: 99, flags, comment: Some("why") };
        writer.packet(1, &packet).unwrap();
        writer.statistics(0, SystemTime::now(), 7, 1).unwrap();
        writer.flush().unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|block| block.0).collect();
        let interface = INTERFACE_DESCRIPTION;
        let due = [SECTION_HEADER, interface, interface, ENHANCED_PACKET, INTERFACE_STATISTICS];
        assert_eq!(kinds, due);
        assert_eq!(blocks[0].1[..4], [0x4d, 0x3c, 0x2b, 0x1a]);
        assert_eq!(blocks[1].1[..8], [1, 0, 0, 0, 96, 0, 0, 0]);
        let packet = blocks[3].1;
        assert_eq!(packet[..4], [1, 0, 0, 0]);
        assert_eq!(packet[12..20], [61, 0, 0, 0, 99, 0, 0, 0]);
        assert_eq!(packet[20..84], [&[7; 61][..], &[0; 3]].concat());
        assert_eq!(packet[84..92], [1, 0, 3, 0, b'w', b'h', b'y', 0]);
        assert_eq!(packet[92..100], [2, 0, 4, 0, 2 | 3 << 2, 0, 0, 0]);
    }

    /// A disk that is full.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_write_is_told() {
        let mut writer = Writer::new(Full, "test").unwrap();
        assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::StorageFull);
    }

    /// A disk with room for so many bytes.
    struct Scarce(Vec<u8>, usize);

    impl Write for Scarce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.1);
            self.1 -= taken;
            self.0.extend(&bytes[..taken]);
            if taken > 0 { Ok(taken) } else { Err(ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_failed_write_the_file_goes_on_where_it_ends() {
        let mut writer = Writer::new(Scarce(Vec::new(), 70), "test").unwrap();
        writer.interface(&Interface { name: "eth0", snaplen: 0 }).unwrap();
        assert!(writer.flush().is_err());
        writer.output.1 = 1_000;
        writer.statistics(0, UNIX_EPOCH, 7, 1).unwrap();
        writer.flush().unwrap();
        let kinds: Vec<u32> = blocks(&writer.output.0).iter().map(|block| block.0).collect();
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS]);
    }

    #[test]
    fn time_is_in_nanoseconds_upper_half_first() {
        let time = UNIX_EPOCH + std::time::Duration::new(5, 7);
        assert_eq!(timestamp(time), [1, 0, 0, 0, 0x07, 0xf2, 0x05, 0x2a]);
    }
}
