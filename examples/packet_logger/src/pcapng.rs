//! A writer of pcapng (draft-ietf-opsawg-pcapng): one section, one interface, its frames, and
//! its counters at the end.

use std::io::{self, Write};
use std::mem::size_of;
use std::time::{SystemTime, UNIX_EPOCH};

use acton_raw::{FrameMeta, PacketType};

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

/// Options, by the block they belong to.
const OPT_END: u16 = 0;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TIME_RESOLUTION: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_RECEIVED: u16 = 4;
const ISB_DROPPED: u16 = 5;

/// Writes whole blocks only, so that a file whose writer is killed ends at the end of one.
pub(crate) struct Pcapng<W> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> Pcapng<W> {
    /// Writes the headers; a `snaplen` of 0 is no limit.
    pub(crate) fn new(output: W, interface: &str, snaplen: u32) -> io::Result<Self> {
        let mut this = Self { output, buffer: Vec::with_capacity(2 * BUFFER) };
        this.block(SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend(1_u16.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend((-1_i64).to_le_bytes()); // length unknown
            option(body, SHB_USER_APPLICATION, b"acton packet_logger");
            option(body, OPT_END, &[]);
        })?;
        this.block(INTERFACE_DESCRIPTION, |body| {
            body.extend(ETHERNET.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend(snaplen.to_le_bytes());
            option(body, IF_NAME, interface.as_bytes());
            option(body, IF_TIME_RESOLUTION, &[9]); // nanoseconds
            option(body, OPT_END, &[]);
        })?;
        this.flush()?;
        Ok(this)
    }

    /// Adds a frame of `len` bytes, of which `bytes` were captured.
    pub(crate) fn frame(&mut self, meta: &FrameMeta, bytes: &[u8], len: usize) -> io::Result<()> {
        self.block(ENHANCED_PACKET, |body| {
            body.extend(0_u32.to_le_bytes()); // the first interface
            body.extend(timestamp(meta.timestamp));
            body.extend((bytes.len() as u32).to_le_bytes());
            body.extend((len as u32).to_le_bytes());
            body.extend(bytes);
            pad(body);
            option(body, EPB_FLAGS, &flags(meta.packet_type).to_le_bytes());
            option(body, OPT_END, &[]);
        })
    }

    /// Adds the interface's counters.
    pub(crate) fn finish(
        &mut self,
        now: SystemTime,
        received: u64,
        dropped: u64,
    ) -> io::Result<()> {
        self.block(INTERFACE_STATISTICS, |body| {
            body.extend(0_u32.to_le_bytes());
            body.extend(timestamp(now));
            option(body, ISB_RECEIVED, &received.to_le_bytes());
            option(body, ISB_DROPPED, &dropped.to_le_bytes());
            option(body, OPT_END, &[]);
        })
    }

    /// Hands to the operating system all that was added.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
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

/// `epb_flags`: direction in bits 0 and 1, kind of reception in bits 2 to 4.
fn flags(packet_type: PacketType) -> u32 {
    const INBOUND: u32 = 1;
    const OUTBOUND: u32 = 2;
    match packet_type {
        PacketType::Host => INBOUND | 1 << 2,
        PacketType::Multicast => INBOUND | 2 << 2,
        PacketType::Broadcast => INBOUND | 3 << 2,
        PacketType::OtherHost => INBOUND | 4 << 2,
        PacketType::Outgoing => OUTBOUND,
        _ => 0,
    }
}

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
    fn headers_and_counters_are_blocks() {
        let mut file = Vec::new();
        let mut writer = Pcapng::new(&mut file, "eth0", 96).unwrap();
        writer.finish(SystemTime::now(), 7, 1).unwrap();
        writer.flush().unwrap();
        let blocks = blocks(&file);
        let kinds: Vec<u32> = blocks.iter().map(|block| block.0).collect();
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS]);
        assert_eq!(blocks[0].1[..4], [0x4d, 0x3c, 0x2b, 0x1a]);
        assert_eq!(blocks[1].1[..8], [1, 0, 0, 0, 96, 0, 0, 0]);
    }

    /// A disk that is full.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failed_write_is_told() {
        let error = Pcapng::new(Full, "eth0", 0).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn time_is_in_nanoseconds_upper_half_first() {
        let time = UNIX_EPOCH + std::time::Duration::new(5, 7);
        assert_eq!(timestamp(time), [1, 0, 0, 0, 0x07, 0xf2, 0x05, 0x2a]);
    }
}
