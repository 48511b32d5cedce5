//! Frames joined into super-frames: generic receive offload (GRO) outside the kernel.

use std::array;
use std::io::IoSlice;
use std::mem;
use std::num::NonZeroU16;

use acton_frame::field::ethernet::ADDRESSES_LEN;
use acton_frame::field::{ipv4, ipv6, tcp, udp};
use acton_frame::{Headers, IpVersion, Protocol, Tags};
use thiserror::Error;

use super::checksum::Sum;
use super::layout::{Layout, word};
use super::segment::{put, set_lengths};
use crate::vnet::{Checksum, Gso, Offloads, VnetHeader};

/// Frames that a super-frame is made of at most: `UDP_MAX_SEGMENTS` of linux/udp.h before Linux
/// 6.9, which refuses a longer one, and `UDP_GRO_CNT_MAX` of today. At 1,500 bytes a frame 46 fill
/// a super-frame.
pub const MAX_FRAMES: usize = 64;
/// Bytes of a super-frame: IPv4's total length would allow the Ethernet header more, and the
/// kernel's GRO does, but where such a frame leaves through another interface the kernel cuts it up
/// (`GSO_LEGACY_MAX_SIZE` of linux/netdevice.h).
const MAX_LEN: usize = 65_535;
/// Bytes of the longest headers that are joined: Ethernet, two VLAN tags, IPv6, TCP with options.
const MAX_HEADERS: usize = 14 + 2 * 4 + ipv6::LEN + 60;
/// Super-frames that grow side by side, as in one bucket of the kernel's GRO (`MAX_GRO_SKBS`).
const MAX_RUNS: usize = 8;

/// What is known of the TCP or UDP checksum of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Nothing: it is verified before the frame is joined to another.
    Verify,
    /// It is right: somebody verified it, and nothing could change the frame since.
    Vouched,
    /// It is [partial](Checksum::Partial), and nothing could change the frame since its checksum
    /// was left so.
    Partial,
}

/// A frame said to have a [partial checksum](Trust::Partial) is none that can have one: it is no
/// whole TCP or UDP packet. It must be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("frame without a checksum that could be partial: drop it")]
pub struct NotPartial;

/// Joins frames that come in batches, for a TAP with a vnet header.
///
/// Frames are joined that the kernel's GRO would join (net/ipv4/tcp_offload.c and its kin in Linux
/// 6.18): all their headers are equal but for lengths, checksums, IPv4 ids that count up, and TCP
/// sequence numbers that follow one another; payloads are of one length, the last may be shorter;
/// TCP has no SYN, RST, URG or CWR, and FIN and PSH on the last alone. Cut up again, a super-frame
/// is the frames it was made of, byte for byte, save what carries no meaning: IPv4 ids
/// that stay the same count up then, which is only allowed to happen where fragmentation is not
/// (RFC 6864, section 4.1), and a TCP checksum of 0xffff is the other zero, 0.
///
/// The kernel also joins frames with equal IPv6 extension headers or without DF and with equal ids,
/// and newer ones those with equal CWR: not this, for the vnet header cannot say how to cut them.
///
/// The frames between two MAC addresses, IP addresses and ports with the same VLAN tags (priorities
/// and all) keep their order, and so does every
/// frame that is neither TCP nor UDP with all the others.
#[derive(Debug)]
pub struct Coalescer {
    offloads: Offloads,
    /// In the order of their first frames.
    runs: Vec<Run>,
    /// Empty; only its allocation lives on.
    entries: Vec<Entry<'static>>,
}

/// A batch of frames on their way through a [`Coalescer`], each at most once to a `sink` that
/// writes it, alone or in a super-frame. What is left goes to the `sink` when the batch is dropped.
pub struct Batch<'c, 'f, S: FnMut(&SuperFrame<'_>)> {
    coalescer: &'c mut Coalescer,
    entries: Vec<Entry<'f>>,
    sink: S,
}

/// What is to be written to a TAP at once: a super-frame, or a frame that was not joined.
#[derive(Debug)]
pub struct SuperFrame<'a> {
    header: VnetHeader,
    pieces: &'a [IoSlice<'a>],
    frames: usize,
    entries: &'a [Entry<'a>],
    first: usize,
}

/// A frame that a [`SuperFrame`] was made of.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The vnet header that it is written with alone.
    pub header: VnetHeader,
    /// The tags that are written behind its addresses.
    pub tags: Tags,
    /// Its bytes, without those.
    pub frame: &'a [u8],
}

/// A frame of a batch.
#[derive(Debug, Clone, Copy)]
struct Entry<'f> {
    frame: &'f [u8],
    /// What is written behind its addresses.
    tags: Tags,
    /// What it is written with alone, but for the tags.
    checksum: Checksum,
    /// Index of the next of its run.
    next: usize,
}

/// A super-frame that grows.
#[derive(Debug, Clone)]
struct Run {
    template: Template,
    /// Indices of its first and last entry.
    first: usize,
    last: usize,
    frames: usize,
    /// Bytes of payload in the first frame, and in all.
    size: usize,
    total: usize,
    ids: Ids,
    /// FIN and PSH of the last frame.
    flags: u8,
    /// Whether the first frame's checksum was verified.
    verified: bool,
}

/// What the IPv4 ids of a run do; the second frame decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    Open,
    Count,
    Stay,
}

/// The headers of a frame that may be joined to others.
#[derive(Debug, Clone)]
struct Template {
    layout: Layout,
    tags: Tags,
    /// As they are, but zero where frames of one run differ: two frames with equal bytes here are
    /// joined if their numbers fit.
    bytes: [u8; MAX_HEADERS],
    id: u16,
    sequence: u32,
    flags: u8,
}

impl Coalescer {
    /// A coalescer for a TAP that was granted `offloads`: only super-frames of those kinds are made.
    pub fn new(offloads: Offloads) -> Self {
        Self { offloads, runs: Vec::with_capacity(MAX_RUNS), entries: Vec::new() }
    }

    /// Makes super-frames of these kinds from here on, none if the kernel refused one.
    pub fn set_offloads(&mut self, offloads: Offloads) {
        self.offloads = offloads;
    }

    /// Starts a batch; its frames must stay where they are until it is dropped.
    pub fn batch<'f, S: FnMut(&SuperFrame<'_>)>(&mut self, sink: S) -> Batch<'_, 'f, S> {
        self.runs.clear();
        let entries = mem::take(&mut self.entries);
        Batch { coalescer: self, entries, sink }
    }
}

impl<'f, S: FnMut(&SuperFrame<'_>)> Batch<'_, 'f, S> {
    /// Takes the next frame, without a vnet header.
    ///
    /// # Errors
    /// The frame cannot have the partial checksum that it is said to have; it was not taken.
    pub fn push(&mut self, frame: &'f [u8], trust: Trust) -> Result<(), NotPartial> {
        self.push_parsed(frame, &Headers::parse(frame), trust)
    }

    /// As [`push`](Self::push), of a frame that was parsed before. With headers of a frame of another
    /// length it is joined to none.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn push_parsed(
        &mut self,
        frame: &'f [u8],
        headers: &Headers,
        trust: Trust,
    ) -> Result<(), NotPartial> {
        self.push_tagged(frame, headers, Tags::NONE, trust)
    }

    /// As [`push_parsed`](Self::push_parsed), of a frame that is written with tags behind its addresses,
    /// in front of those that it has. Frames with other tags are of another flow.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn push_tagged(
        &mut self,
        frame: &'f [u8],
        headers: &Headers,
        tags: Tags,
        trust: Trust,
    ) -> Result<(), NotPartial> {
        let checksum = trust.checksum(headers)?;
        let Some(layout) = Layout::in_frame(headers, frame) else {
            self.flush();
            self.alone(frame, tags, checksum);
            return Ok(());
        };
        let offload = layout.offload() | Offloads::CSUM;
        let template = if layout.fills && self.coalescer.offloads.contains(offload) {
            Template::of(frame, tags, layout)
        } else {
            None
        };
        // A flow has one run at most, the newest most likely.
        let of_flow = |run: &Run| run.template.is_same_flow(frame, tags, &layout);
        if let Some(index) = self.coalescer.runs.iter().rposition(of_flow) {
            match &template {
                Some(template) if self.join(index, frame, checksum, template) => return Ok(()),
                _ => self.close(index),
            }
        }
        match template {
            Some(template) if !template.ends_run() => self.start(frame, checksum, template),
            _ => self.alone(frame, tags, checksum),
        }
        Ok(())
    }

    /// Passes a frame that does not stay where it is to the sink now, after all that was pushed.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn pass(&mut self, frame: &[u8], trust: Trust) -> Result<(), NotPartial> {
        self.pass_parsed(frame, &Headers::parse(frame), trust)
    }

    /// As [`pass`](Self::pass), of a frame that was parsed before.
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn pass_parsed(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        trust: Trust,
    ) -> Result<(), NotPartial> {
        self.pass_tagged(frame, headers, Tags::NONE, trust)
    }

    /// As [`pass_parsed`](Self::pass_parsed), with tags as of [`push_tagged`](Self::push_tagged).
    ///
    /// # Errors
    /// As of [`push`](Self::push).
    pub fn pass_tagged(
        &mut self,
        frame: &[u8],
        headers: &Headers,
        tags: Tags,
        trust: Trust,
    ) -> Result<(), NotPartial> {
        let checksum = trust.checksum(headers)?;
        self.flush();
        self.alone(frame, tags, checksum);
        Ok(())
    }

    /// Passes all that was pushed to the sink now.
    pub fn flush(&mut self) {
        while !self.coalescer.runs.is_empty() {
            self.close(0);
        }
    }

    /// Starts a run with `frame`.
    fn start(&mut self, frame: &'f [u8], checksum: Checksum, template: Template) {
        if self.coalescer.runs.len() == MAX_RUNS {
            self.close(0);
        }
        let entry = self.entries.len();
        let (size, tags) = (frame.len() - template.layout.payload, template.tags);
        self.entries.push(Entry { frame, tags, checksum, next: entry });
        self.coalescer.runs.push(Run {
            template,
            first: entry,
            last: entry,
            frames: 1,
            size,
            total: size,
            ids: Ids::Open,
            flags: 0,
            verified: false,
        });
    }

    /// Appends `frame` to the run at `index` if it belongs there.
    fn join(
        &mut self,
        index: usize,
        frame: &'f [u8],
        checksum: Checksum,
        template: &Template,
    ) -> bool {
        let run = &mut self.coalescer.runs[index];
        let payload = frame.len() - template.layout.payload;
        let Some(ids) = run.follows(template, payload) else {
            return false;
        };
        let first = self.entries[run.first];
        run.verified = run.verified || is_right(first.frame, first.checksum, &template.layout);
        if !run.verified || !is_right(frame, checksum, &template.layout) {
            return false;
        }
        let entry = self.entries.len();
        self.entries[run.last].next = entry;
        self.entries.push(Entry { frame, tags: template.tags, checksum, next: entry });
        run.last = entry;
        run.frames += 1;
        run.total += payload;
        run.ids = ids;
        run.flags = template.flags;
        if payload < run.size || template.ends_run() || run.frames == MAX_FRAMES {
            self.close(index);
        }
        true
    }

    /// Passes the run at `index` to the sink.
    fn close(&mut self, index: usize) {
        let run = self.coalescer.runs.remove(index);
        if run.frames == 1 {
            let Entry { frame, tags, checksum, .. } = self.entries[run.first];
            self.alone(frame, tags, checksum);
        } else {
            self.joined(&run);
        }
        if self.coalescer.runs.is_empty() {
            self.entries.clear();
        }
    }

    fn joined(&mut self, run: &Run) {
        let layout = &run.template.layout;
        let first = self.entries[run.first];
        let tags = run.template.tags;
        let header = VnetHeader {
            checksum: shifted(layout.partial(), tags),
            gso: NonZeroU16::new(run.size as u16).map(|size| Gso {
                kind: layout.kind(),
                size,
                ecn: false,
            }),
            header_len: (layout.payload + tags.len()) as u16,
        };
        let mut bytes = [0; VnetHeader::LEN + MAX_HEADERS + Tags::MAX_LEN];
        let mut prefix = &mut bytes[..VnetHeader::LEN + layout.payload];
        let (vnet, head) = prefix.split_at_mut(VnetHeader::LEN);
        vnet.copy_from_slice(&header.encode());
        head.copy_from_slice(&first.frame[..layout.payload]);
        if layout.protocol == Protocol::Tcp {
            head[layout.transport + tcp::FLAGS] |= run.flags;
        }
        set_lengths(head, layout, run.total);
        let length = head.len() - layout.transport + run.total;
        let sum = Sum::pseudo_header(layout.addresses(head), layout.protocol.number(), length);
        put(head, layout.checksum(), sum.folded());
        if !tags.is_empty() {
            let behind = VnetHeader::LEN + ADDRESSES_LEN;
            let end = VnetHeader::LEN + layout.payload + tags.len();
            bytes.copy_within(behind..end - tags.len(), behind + tags.len());
            bytes[behind..behind + tags.len()].copy_from_slice(tags.bytes().as_slice());
            prefix = &mut bytes[..end];
        }

        let mut next = run.first;
        let mut pieces: [IoSlice<'_>; MAX_FRAMES + 1] = array::from_fn(|_| IoSlice::new(&[]));
        let (before, payloads) = pieces.split_at_mut(1);
        before[0] = IoSlice::new(prefix);
        for piece in &mut payloads[..run.frames] {
            *piece = IoSlice::new(&self.entries[next].frame[layout.payload..]);
            next = self.entries[next].next;
        }
        (self.sink)(&SuperFrame {
            header,
            pieces: &pieces[..=run.frames],
            frames: run.frames,
            entries: &self.entries,
            first: run.first,
        });
    }

    fn alone(&mut self, frame: &[u8], tags: Tags, checksum: Checksum) {
        let entry = Entry { frame, tags, checksum, next: 0 };
        let header = entry.header();
        let (vnet, entries) = (header.encode(), &[entry]);
        let parts = frame.split_at_checked(ADDRESSES_LEN).filter(|_| !tags.is_empty());
        if let Some((addresses, rest)) = parts {
            let tags = tags.bytes();
            let pieces = [&vnet, addresses, tags.as_slice(), rest].map(IoSlice::new);
            return (self.sink)(&SuperFrame {
                header,
                pieces: &pieces,
                frames: 1,
                entries,
                first: 0,
            });
        }
        let pieces = [&vnet, frame].map(IoSlice::new);
        (self.sink)(&SuperFrame { header, pieces: &pieces, frames: 1, entries, first: 0 });
    }
}

impl<S: FnMut(&SuperFrame<'_>)> Drop for Batch<'_, '_, S> {
    fn drop(&mut self) {
        self.flush();
        self.coalescer.entries = emptied(mem::take(&mut self.entries));
    }
}

/// The allocation of `entries` for another lifetime: the standard library collects in place.
fn emptied<'f>(entries: Vec<Entry<'_>>) -> Vec<Entry<'f>> {
    entries.into_iter().map_while(|_| None).collect()
}

impl<'a> SuperFrame<'a> {
    /// Its vnet header, which is part of [`pieces`](Self::pieces) too.
    pub fn header(&self) -> VnetHeader {
        self.header
    }

    /// What to [write](crate::Queue::send_vectored), in order: a vnet header with, in a
    /// super-frame, its headers behind; then payloads, or the frame with its tags.
    pub fn pieces(&self) -> &'a [IoSlice<'a>] {
        self.pieces
    }

    /// Frames in it, 1 if nothing was joined.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Bytes of it, without the vnet header.
    pub fn frame_len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum::<usize>() - VnetHeader::LEN
    }

    /// The frames it was made of, each with a vnet header of its own: what to write if the kernel
    /// refuses it.
    pub fn members(&self) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let entries = self.entries;
        let mut next = self.first;
        (0..self.frames()).map(move |_| {
            let entry = &entries[next];
            next = entry.next;
            Member { header: entry.header(), tags: entry.tags, frame: entry.frame }
        })
    }
}

impl Entry<'_> {
    /// The vnet header it is written with alone.
    fn header(&self) -> VnetHeader {
        let checksum = shifted(self.checksum, self.tags);
        VnetHeader { checksum, ..VnetHeader::default() }
    }
}

impl Trust {
    /// The checksum as a TAP is told of it.
    fn checksum(self, headers: &Headers) -> Result<Checksum, NotPartial> {
        match self {
            Self::Verify => Ok(Checksum::Unverified),
            Self::Vouched => Ok(Checksum::Valid),
            Self::Partial => super::partial_checksum_parsed(headers).ok_or(NotPartial),
        }
    }
}

impl Run {
    /// What the ids do if a frame of this `template` and so many bytes of payload comes next; `None` if
    /// it may not, whatever its checksum is.
    fn follows(&self, template: &Template, payload: usize) -> Option<Ids> {
        let Layout { payload: head, protocol, .. } = template.layout;
        let head = head + self.template.tags.len();
        let fits = payload <= self.size && head + self.total + payload <= MAX_LEN;
        let expected = self.template.sequence.wrapping_add(self.total as u32);
        let in_order = protocol == Protocol::Udp || template.sequence == expected;
        if !(fits && in_order && self.template.fit(template)) {
            return None;
        }
        if template.layout.version == IpVersion::V6 {
            return Some(Ids::Open);
        }
        let counts = template.id == self.template.id.wrapping_add(self.frames as u16);
        let stays = template.id == self.template.id && template.dont_fragment();
        match self.ids {
            Ids::Open | Ids::Count if counts => Some(Ids::Count),
            Ids::Open | Ids::Stay if stays => Some(Ids::Stay),
            _ => None,
        }
    }
}

impl Template {
    /// `None` if a frame with such headers is never joined.
    fn of(frame: &[u8], tags: Tags, layout: Layout) -> Option<Self> {
        let Layout { ip, transport, payload, .. } = layout;
        if !layout.is_plain() || payload == frame.len() {
            return None;
        }
        let mut bytes = [0; MAX_HEADERS];
        bytes[..payload].copy_from_slice(&frame[..payload]);
        let mut id = 0;
        match layout.version {
            IpVersion::V4 => {
                id = word(frame, ip + ipv4::ID.start)?;
                for field in [ipv4::TOTAL_LENGTH, ipv4::ID, ipv4::CHECKSUM] {
                    put(&mut bytes, ip + field.start, [0, 0]);
                }
            }
            IpVersion::V6 => put(&mut bytes, ip + ipv6::PAYLOAD_LENGTH.start, [0, 0]),
        }
        let (mut sequence, mut flags) = (0, 0);
        match layout.protocol {
            Protocol::Tcp => {
                flags = frame[transport + tcp::FLAGS];
                if flags & (tcp::SYN | tcp::RST | tcp::URG | tcp::CWR) != 0 {
                    return None;
                }
                flags &= tcp::FIN | tcp::PSH;
                bytes[transport + tcp::FLAGS] ^= flags;
                let field = &mut bytes[transport..][tcp::SEQUENCE];
                sequence = field.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
                field.fill(0);
            }
            Protocol::Udp => {
                let length = word(frame, transport + udp::LENGTH.start)?;
                // Without a checksum there is none to fill in (RFC 768).
                if transport + usize::from(length) != frame.len()
                    || word(frame, layout.checksum())? == 0
                {
                    return None;
                }
                put(&mut bytes, transport + udp::LENGTH.start, [0, 0]);
            }
        }
        put(&mut bytes, layout.checksum(), [0, 0]);
        Some(Self { layout, tags, bytes, id, sequence, flags })
    }

    /// Whether all is equal that must be in a super-frame.
    fn fit(&self, other: &Self) -> bool {
        self.layout == other.layout && self.bytes == other.bytes
    }

    /// Whether no frame may follow in a super-frame.
    fn ends_run(&self) -> bool {
        self.flags != 0
    }

    fn dont_fragment(&self) -> bool {
        word(&self.bytes, self.layout.ip + ipv4::FRAGMENT.start) == Some(ipv4::DONT_FRAGMENT)
    }

    /// Whether `frame` is between the same MAC addresses, in the same VLAN, between the same IP
    /// addresses and ports.
    fn is_same_flow(&self, frame: &[u8], tags: Tags, layout: &Layout) -> bool {
        let own = &self.layout;
        let ports = |layout: &Layout| layout.transport..layout.transport + 4;
        (own.version, own.protocol, own.ip) == (layout.version, layout.protocol, layout.ip)
            && self.tags == tags
            && self.bytes[ports(own)] == frame[ports(layout)]
            && own.addresses(&self.bytes) == layout.addresses(frame)
            && self.bytes[..own.ip] == frame[..own.ip]
    }
}

/// A checksum's place in a frame that has these tags more.
fn shifted(checksum: Checksum, tags: Tags) -> Checksum {
    match checksum {
        Checksum::Partial { start, offset } => {
            Checksum::Partial { start: start + tags.len() as u16, offset }
        }
        other => other,
    }
}

/// Whether the checksums that a super-frame does away with are right, as far as it is not known.
fn is_right(frame: &[u8], checksum: Checksum, layout: &Layout) -> bool {
    let ip =
        layout.version == IpVersion::V6 || Sum::of(&frame[layout.ip..layout.transport]).is_valid();
    ip && match checksum {
        Checksum::Valid | Checksum::Partial { .. } => true,
        Checksum::Unverified => {
            let bytes = &frame[layout.transport..];
            let protocol = layout.protocol.number();
            Sum::pseudo_header(layout.addresses(frame), protocol, bytes.len())
                .plus(bytes)
                .is_valid()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_share_an_allocation() {
        // UDP over IPv6 without a payload's worth of care: only headers are looked at.
        let mut frame = [0; 14 + 40 + 8 + 10];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[18..21].copy_from_slice(&[0, 18, 17]);
        frame[58..62].copy_from_slice(&[0, 18, 1, 1]);
        let mut coalescer = Coalescer::new(Offloads::all());
        let mut allocations = Vec::new();
        for _ in 0..3 {
            let mut frames = 0;
            let mut batch = coalescer.batch(|super_frame| frames += super_frame.frames());
            for _ in 0..63 {
                batch.push(&frame, Trust::Vouched).unwrap();
            }
            drop(batch);
            assert_eq!(frames, 63);
            allocations.push((coalescer.entries.as_ptr(), coalescer.entries.capacity()));
        }
        assert!(allocations[0].1 >= 63);
        assert_eq!(allocations, [allocations[0]; 3]);
    }
}
