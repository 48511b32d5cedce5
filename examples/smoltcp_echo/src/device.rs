//! A TAP as a device of smoltcp: super-frames both ways over IPv4, to smoltcp alone over IPv6, and TCP
//! checksums left to the kernel.

use std::io::{self, ErrorKind, IoSlice};
use std::num::NonZeroUsize;

use acton_tap::offload::{Headers, Sum, partial_checksum_parsed};
use acton_tap::{Checksum, Gso, GsoKind, Offloads, Queue, VnetHeader};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Bytes of the longest super-frame: an IP packet of 64 KiB less one.
const MAX_SUPER_FRAME: usize = ETHERNET + 65_535;
/// TCP's number in IP (IANA, Assigned Internet Protocol Numbers).
const TCP: u8 = 6;

/// What to ask of the TAP: all that smoltcp can do without. It has TCP alone in super-frames.
pub(crate) const OFFLOADS: [Offloads; 4] =
    [Offloads::CSUM, Offloads::TSO4, Offloads::TSO6, Offloads::TSO_ECN];

/// Frames of one direction.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) frames: u64,
    /// Bytes of the longest.
    pub(crate) longest: usize,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.longest = self.longest.max(bytes);
    }
}

/// A queue of a TAP with the vnet header and [`OFFLOADS`].
#[derive(Debug)]
pub(crate) struct SuperFrames {
    queue: Queue,
    /// Bytes of an IP packet on the TAP.
    mtu: usize,
    granted: Offloads,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    pub(crate) received: Count,
    pub(crate) sent: Count,
    /// smoltcp has no way to hear of it.
    failed: io::Result<()>,
}

impl SuperFrames {
    /// A device of a non-blocking queue.
    pub(crate) fn new(queue: Queue, mtu: usize, granted: Offloads) -> Self {
        let incoming = vec![0; VnetHeader::LEN + MAX_SUPER_FRAME];
        let (received, sent) = Default::default();
        Self { queue, mtu, granted, incoming, outgoing: Vec::new(), received, sent, failed: Ok(()) }
    }

    /// What went wrong since this was asked last.
    pub(crate) fn take_error(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.failed, Ok(()))
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }
}

impl Device for SuperFrames {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received<'_>, Transmit<'_>)> {
        let length = match self.queue.recv(&mut self.incoming) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => {
                self.failed = Err(error);
                return None;
            }
        };
        // The vnet header says what is left undone. smoltcp takes payloads of any length, and does
        // not verify the checksum that nobody has filled in: nothing is left to do.
        let frame = self.incoming.get(VnetHeader::LEN..length)?;
        self.received.add(frame.len());
        let (queue, buffer) = (&self.queue, &mut self.outgoing);
        let (count, failed) = (&mut self.sent, &mut self.failed);
        let meta = PacketMeta::default();
        Some((Received(frame), Transmit { queue, buffer, count, failed, meta }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Transmit<'_>> {
        let (queue, buffer) = (&self.queue, &mut self.outgoing);
        let (count, failed) = (&mut self.sent, &mut self.failed);
        Some(Transmit { queue, buffer, count, failed, meta: PacketMeta::default() })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut checksum = ChecksumCapabilities::default();
        // Not verified when received, nor computed when sent: see `complete`.
        checksum.tcp = phy::Checksum::None;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = ETHERNET + self.mtu;
        capabilities.checksum = checksum;
        // Not over IPv6: smoltcp 0.14 makes super-frames of that, too, but drops them for their length
        // on their way to the device (`dispatch_ip`).
        let longest = NonZeroUsize::new(MAX_SUPER_FRAME);
        capabilities.segmentation.tcpv4 = longest.filter(|_| self.granted.contains(Offloads::TSO4));
        capabilities
    }
}

/// A frame that was received.
pub(crate) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Leave to send a frame.
pub(crate) struct Transmit<'a> {
    queue: &'a Queue,
    buffer: &'a mut Vec<u8>,
    count: &'a mut Count,
    failed: &'a mut io::Result<()>,
    meta: PacketMeta,
}

impl phy::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.buffer.clear();
        self.buffer.resize(len, 0);
        let result = f(self.buffer);
        let header = complete(self.buffer, self.meta).encode();
        match self.queue.send_vectored(&[IoSlice::new(&header), IoSlice::new(self.buffer)]) {
            Ok(_) => self.count.add(len),
            // As on a cable that is out.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => *self.failed = Err(error),
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

/// The vnet header of a frame of smoltcp's. A TCP checksum, which smoltcp leaves 0, becomes the
/// pseudo-header's sum that the kernel goes on from.
fn complete(frame: &mut [u8], meta: PacketMeta) -> VnetHeader {
    let headers = Headers::parse(frame);
    let tcp = headers.ip().is_some_and(|ip| ip.protocol == TCP);
    let (Some(hosts), Some(transport)) = (headers.hosts(frame), headers.transport()) else {
        return VnetHeader::default();
    };
    let Some(checksum @ Checksum::Partial { start, offset }) =
        partial_checksum_parsed(&headers).filter(|_| tcp)
    else {
        return VnetHeader::default();
    };
    let (start, header_len) = (usize::from(start), transport.payload as u16);
    let sum = Sum::pseudo_header(hosts, TCP, frame.len() - start).folded();
    let at = start + usize::from(offset);
    frame[at..at + 2].copy_from_slice(&sum);
    let gso =
        meta.segmentation_offload_size.map(|size| Gso { kind: GsoKind::Tcp4, size, ecn: false });
    VnetHeader { checksum, gso, header_len }
}
