//! Frames taken from the TAP, of which some are sent at each turn: those of sparse flows first.
//!
//! A transfer has on its way what its window allows, and where the tunnel is the slowest part, most
//! of that waits in front of it. A frame of another flow would wait behind all of it in the kernel's
//! queue. So what waits is read at once, and a flow of which little waits goes ahead of the bulk, as
//! in FQ-CoDel (RFC 8290). Frames of a flow keep their order.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::time::Duration;

use acton_frame::Headers;
use acton_tap::{Checksum, VnetHeader};

use crate::capture::packet::{Direction, Outcome, Who, WireFrames};
use crate::capture::recorder::Recorder;
use crate::frames::flow::{Flow, Flows};
use crate::frames::store::FrameStore;
use crate::frames::tags::HiddenTags;
use crate::observe::counters::{Counter, Counters};

/// Frames sent at a turn: enough that the send call is a small part of the cost, few enough that
/// the other direction is not kept waiting.
const TURN_FRAMES: usize = 64;
/// Bytes after which a turn takes no further frame, so that what comes meanwhile, from either side,
/// does not wait for long. Half as many cost a transfer a tenth more processor time.
const TURN_LEN: usize = 128 << 10;
/// Frames of sparse flows at a turn: they leave room for others.
const SPARSE_FRAMES: usize = 32;
/// Room for one read: the vnet header, and the largest super-frame: what IPv6's length says (65,535
/// bytes) behind Ethernet, two VLAN tags and the IPv6 header.
const LARGE_LEN: usize = 65_664;
/// Super-frames held at a time: the window of a transfer.
const LARGE: usize = 64;
/// Room for a frame that is no super-frame; a longer one is held as a super-frame is.
const SMALL_LEN: usize = 2_048;
/// Such frames held at a time.
const SMALL: usize = 512;

/// Room for one frame, and what is known of the frame in it.
#[derive(Debug)]
struct Slot {
    /// Where the frame starts in the buffer. One for super-frames has room for the vnet header
    /// before it.
    start: usize,
    /// Those stand in front of the frame.
    hidden: HiddenTags,
    vnet: VnetHeader,
    headers: Headers,
}

impl Slot {
    fn empty(start: usize) -> Self {
        let (hidden, vnet) = (HiddenTags::default(), VnetHeader::default());
        Self { start, hidden, vnet, headers: Headers::parse(&[]) }
    }

    /// Where the frame lies in the buffer.
    fn range(&self) -> Range<usize> {
        let start = self.start + self.hidden.len();
        start..start + self.headers.frame_len()
    }
}

/// A frame that waits, or has its turn.
#[derive(Debug, Clone, Copy)]
struct Stored {
    /// The number of its slot.
    slot: u16,
    flow: Flow,
}

/// Frames and super-frames read from the TAP, in buffers allocated once.
pub(crate) struct FrameBatch {
    /// Room for super-frames, then for frames.
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// The slots that are free. The one that was freed last is the first to be used again, while it
    /// is in the cache.
    large: Vec<u16>,
    small: Vec<u16>,
    /// Those whose turn it is: those of sparse flows, then others.
    turn: Vec<Stored>,
    /// How many of them are of sparse flows.
    sparse: usize,
    /// What waits in line.
    bulk: VecDeque<Stored>,
    flows: Flows,
}

impl FrameBatch {
    pub(crate) fn new() -> Self {
        const SMALL_START: usize = LARGE * LARGE_LEN;
        let large = (0..LARGE).map(|slot| slot * LARGE_LEN + VnetHeader::LEN);
        let small = (0..SMALL).map(|slot| SMALL_START + slot * SMALL_LEN);
        Self {
            buffer: vec![0; SMALL_START + SMALL * SMALL_LEN],
            slots: large.chain(small).map(Slot::empty).collect(),
            large: (0..LARGE as u16).rev().collect(),
            small: (LARGE as u16..(LARGE + SMALL) as u16).rev().collect(),
            turn: Vec::with_capacity(TURN_FRAMES),
            sparse: 0,
            bulk: VecDeque::with_capacity(LARGE + SMALL),
            flows: Flows::new(),
        }
    }

    fn slot(&self, index: usize) -> &Slot {
        &self.slots[usize::from(self.turn[index].slot)]
    }

    /// The frames of the wire that frame `index` stands for.
    fn wire_frames(&self, index: usize) -> WireFrames {
        let Slot { vnet, headers, .. } = self.slot(index);
        let Some((gso, transport)) = vnet.gso.zip(headers.transport()) else {
            return WireFrames::ONE;
        };
        let longest = gso.size.get().saturating_add(transport.payload as u16);
        WireFrames { count: self.count(index), longest }
    }

    /// Whether frames wait that have not had their turn.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.bulk.is_empty()
    }

    /// Reads what waits in the queue, as far as there is room for it.
    pub(crate) fn fill(
        &mut self,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
        counters: &Counters,
    ) -> io::Result<()> {
        let (mut reads, mut bytes) = (0, 0);
        while let (Some(&large), Some(_)) = (self.large.last(), self.small.last()) {
            let start = self.slots[usize::from(large)].start - VnetHeader::LEN;
            let room = &mut self.buffer[start..start + LARGE_LEN];
            let length = match read(room) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            reads += 1;
            bytes += length;
            let vnet = room.first_chunk().map(VnetHeader::decode);
            match (vnet, length.checked_sub(VnetHeader::LEN)) {
                (Some(Ok(vnet)), Some(len)) => self.store(start + VnetHeader::LEN, len, vnet),
                _ => counters.add(Counter::BadSuperFrame, 1),
            }
        }
        counters.add(Counter::TapReads, reads);
        counters.add(Counter::TapReadBytes, (bytes - reads as usize * VnetHeader::LEN) as u64);
        Ok(())
    }

    /// Keeps the frame of `len` bytes that was read into the next slot for super-frames, at `start`.
    fn store(&mut self, start: usize, len: usize, vnet: VnetHeader) {
        let free = if len <= SMALL_LEN { &mut self.small } else { &mut self.large };
        let Some(number) = free.pop() else { return };
        let slot = &mut self.slots[usize::from(number)];
        if slot.start != start {
            self.buffer.copy_within(start..start + len, slot.start);
        }
        let frame = &self.buffer[slot.start..slot.start + len];
        slot.hidden = HiddenTags::default();
        slot.vnet = vnet;
        slot.headers = Headers::parse(frame);
        let flow = self.flows.of(&slot.headers, frame);
        let stored = Stored { slot: number, flow };
        if self.sparse < SPARSE_FRAMES && self.flows.is_sparse(flow, len) {
            self.flows.add_sparse(flow, len);
            self.turn.push(stored);
            self.sparse += 1;
        } else {
            self.flows.add_bulk(flow);
            self.bulk.push_back(stored);
        }
    }

    /// Gives a turn to frames that wait; whether there are any.
    pub(crate) fn begin_turn(&mut self) -> bool {
        let mut bytes = 0;
        while self.turn.len() < TURN_FRAMES
            && bytes < TURN_LEN
            && let Some(stored) = self.bulk.pop_front()
        {
            bytes += self.slots[usize::from(stored.slot)].headers.frame_len();
            self.turn.push(stored);
        }
        !self.turn.is_empty()
    }

    /// Takes frames out of the turn that `keep` does not want, and is done with them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8], &Headers) -> bool) {
        let mut index = 0;
        while index < self.turn.len() {
            if keep(self.get(index), self.headers(index)) {
                index += 1;
                continue;
            }
            let stored = self.turn.remove(index);
            self.release(stored, index < self.sparse);
            self.sparse -= usize::from(index < self.sparse);
        }
    }

    /// Lets `change` shorten frame `index` in place, with its headers; it is told whether the checksum is
    /// partial, and gives the new length of a frame whose checksum is whole. Whether it did: a super-frame
    /// stays as it is.
    #[cold]
    pub(crate) fn shorten(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut [u8], &Headers, bool) -> usize,
    ) -> bool {
        let slot = &mut self.slots[usize::from(self.turn[index].slot)];
        if slot.vnet.gso.is_some() {
            return false;
        }
        let is_partial = matches!(slot.vnet.checksum, Checksum::Partial { .. });
        let frame = &mut self.buffer[slot.range()];
        let len = change(frame, &slot.headers, is_partial).min(frame.len());
        slot.headers = Headers::parse(&frame[..len]);
        slot.vnet.checksum = Checksum::Unverified;
        true
    }

    /// Shows those who capture the frames `run`, which go the same way.
    #[cold]
    pub(crate) fn show(
        &self,
        run: Range<usize>,
        who: Who<'_>,
        outcome: Outcome,
        recorder: &mut Recorder,
    ) {
        for index in run {
            let (headers, frame) = (self.headers(index), self.get(index));
            let frames = self.wire_frames(index);
            recorder.frame(Direction::Out, who, outcome, frames, headers, frame);
        }
    }

    /// Counts that all that have their turn go nowhere.
    #[cold]
    pub(crate) fn drop_all(&self, reason: Counter, now: Duration, counters: &Counters) {
        counters.add(reason, self.len() as u64);
        for index in 0..self.len() {
            let frame = self.get(index);
            counters.dropped().add_frame(now, Direction::Out, Who::Tap, reason, frame);
        }
    }

    fn release(&mut self, Stored { slot, flow }: Stored, is_sparse: bool) {
        let free = if usize::from(slot) < LARGE { &mut self.large } else { &mut self.small };
        free.push(slot);
        if is_sparse {
            self.flows.clear_sparse(flow);
        } else {
            self.flows.remove_bulk(flow);
        }
    }

    /// The frames that had their turn are done with.
    pub(crate) fn end_turn(&mut self) {
        for index in 0..self.turn.len() {
            self.release(self.turn[index], index < self.sparse);
        }
        self.turn.clear();
        self.sparse = 0;
    }
}

/// Those whose turn it is.
impl FrameStore for FrameBatch {
    fn len(&self) -> usize {
        self.turn.len()
    }

    fn vnet(&self, index: usize) -> &VnetHeader {
        &self.slot(index).vnet
    }

    fn headers(&self, index: usize) -> &Headers {
        &self.slot(index).headers
    }

    fn get(&self, index: usize) -> &[u8] {
        &self.buffer[self.slot(index).range()]
    }

    fn get_mut(&mut self, index: usize) -> (&mut [u8], &Headers) {
        let slot = &self.slots[usize::from(self.turn[index].slot)];
        (&mut self.buffer[slot.range()], &slot.headers)
    }

    fn take_off_tags(&mut self, index: usize, tags: u8) {
        let slot = &mut self.slots[usize::from(self.turn[index].slot)];
        let room = &mut self.buffer[slot.start..slot.range().end];
        slot.hidden.set(tags, room, &mut slot.vnet, &mut slot.headers);
    }
}

#[cfg(test)]
impl FrameBatch {
    /// A turn's batch of this frame alone.
    pub(crate) fn of_one(frame: &[u8]) -> Self {
        let mut once = Some([&VnetHeader::default().encode()[..], frame].concat());
        let mut batch = Self::new();
        let read = |slot: &mut [u8]| {
            let read = once.take().ok_or(ErrorKind::WouldBlock)?;
            slot[..read.len()].copy_from_slice(&read);
            Ok(read.len())
        };
        batch.fill(read, &Counters::new()).unwrap();
        batch.begin_turn();
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A UDP packet of a flow, that has a number.
    fn frame(flow: u8, number: u32, len: usize) -> Vec<u8> {
        let mut frame = [&[2; 12][..], &[8, 0, 0x45], &[0; 8], &[17], &[0; 10]].concat();
        frame.extend([&[0, flow, 0, 9, 0, 0, 0, 0], &number.to_be_bytes()[..]].concat());
        frame.resize(len.max(frame.len()), 0);
        frame
    }

    fn flow_and_number(frame: &[u8]) -> (u8, u32) {
        (frame[35], u32::from_be_bytes(frame[42..46].try_into().unwrap()))
    }

    /// The frames of the next turn.
    fn turn(batch: &mut FrameBatch) -> Vec<(u8, u32)> {
        batch.begin_turn();
        let turn = (0..batch.len()).map(|index| flow_and_number(batch.get(index))).collect();
        batch.end_turn();
        turn
    }

    /// Lets the batch read `queue`.
    fn fill(batch: &mut FrameBatch, queue: &mut VecDeque<Vec<u8>>) {
        let counters = Counters::new();
        let read = |slot: &mut [u8]| {
            let frame = queue.pop_front().ok_or(ErrorKind::WouldBlock)?;
            let header = VnetHeader::default().encode();
            slot[..VnetHeader::LEN].copy_from_slice(&header);
            slot[VnetHeader::LEN..][..frame.len()].copy_from_slice(&frame);
            Ok(VnetHeader::LEN + frame.len())
        };
        batch.fill(read, &counters).unwrap();
    }

    fn any_frames() -> impl Strategy<Value = Vec<(u8, usize)>> {
        let len = prop_oneof![3 => 46..100_usize, 2 => 46..3_000_usize, 1 => 46..65_000_usize];
        prop::collection::vec((0..6_u8, len), 0..90)
    }

    proptest! {
        #[test]
        fn each_flow_keeps_its_order_and_nothing_is_lost(
            arrivals in prop::collection::vec(any_frames(), 1..8),
        ) {
            let (mut batch, mut queue) = (FrameBatch::new(), VecDeque::new());
            let (mut sent, mut due) = (HashMap::<u8, u32>::new(), HashMap::<u8, u32>::new());
            let mut arrivals = arrivals.into_iter();
            loop {
                let more = arrivals.next();
                if more.is_none() && queue.is_empty() && !batch.has_backlog() {
                    break;
                }
                for (flow, len) in more.into_iter().flatten() {
                    let number = sent.entry(flow).or_default();
                    queue.push_back(frame(flow, *number, len));
                    *number += 1;
                }
                fill(&mut batch, &mut queue);
                let turn = turn(&mut batch);
                prop_assert!(turn.len() <= TURN_FRAMES);
                for (flow, number) in turn {
                    let due = due.entry(flow).or_default();
                    prop_assert_eq!(number, *due);
                    *due += 1;
                }
            }
            prop_assert_eq!(due, sent);
            prop_assert_eq!((batch.large.len(), batch.small.len()), (LARGE, SMALL));
        }
    }

    #[test]
    fn a_sparse_flow_goes_ahead_of_a_transfer() {
        let mut batch = FrameBatch::new();
        let flow = |flow| {
            let frame = frame(flow, 0, 98);
            batch.flows.of(&Headers::parse(&frame), &frame)
        };
        // Numbers of flows are few: now and then two flows share one.
        let ping = (2..9).find(|&ping| flow(ping) != flow(1)).unwrap();
        let mut queue: VecDeque<_> = (0..30).map(|number| frame(1, number, 60_000)).collect();
        queue.push_back(frame(ping, 0, 98));
        fill(&mut batch, &mut queue);
        assert_eq!(turn(&mut batch), [(ping, 0), (1, 0), (1, 1), (1, 2)]);
        // What comes later does not wait for what came earlier either, but for its own flow.
        queue.extend([frame(1, 30, 60), frame(ping, 1, 98)]);
        fill(&mut batch, &mut queue);
        assert_eq!(turn(&mut batch), [(ping, 1), (1, 3), (1, 4), (1, 5)]);
        let mut rest = Vec::new();
        while batch.has_backlog() {
            rest.extend(turn(&mut batch));
        }
        assert_eq!(rest, (6..=30).map(|number| (1, number)).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_wanted_leaves_the_turn_and_its_room() {
        let mut batch = FrameBatch::new();
        let sizes = |number| if number % 3 == 0 { 60_000 } else { 98 };
        for _ in 0..50 {
            let mut queue =
                (0..30).map(|number| frame(number as u8, number, sizes(number))).collect();
            fill(&mut batch, &mut queue);
            while batch.begin_turn() {
                let wanted = |number: u32| number.is_multiple_of(2);
                batch.retain(|frame, _| wanted(flow_and_number(frame).1));
                let kept = (0..batch.len()).map(|index| flow_and_number(batch.get(index)).1);
                assert!(kept.into_iter().all(wanted));
                batch.end_turn();
            }
        }
        assert_eq!((batch.large.len(), batch.small.len()), (LARGE, SMALL));
    }

    #[test]
    fn a_frame_is_shortened_in_place_and_a_super_frame_is_not() {
        let partial = Checksum::Partial { start: 34, offset: 6 };
        let gso = VnetHeader { checksum: partial, ..VnetHeader::default() };
        let mut with_gso = gso.encode();
        // Of UDP, in pieces of 100 bytes (linux/virtio_net.h).
        with_gso[1] = 5;
        with_gso[4..6].copy_from_slice(&100_u16.to_le_bytes());
        let mut batch = FrameBatch::new();
        let mut queue: VecDeque<_> = [gso.encode(), with_gso].into();
        let read = |slot: &mut [u8]| {
            let read = [&queue.pop_front().ok_or(ErrorKind::WouldBlock)?[..], &frame(1, 7, 400)];
            let read = read.concat();
            slot[..read.len()].copy_from_slice(&read);
            Ok(read.len())
        };
        batch.fill(read, &Counters::new()).unwrap();
        batch.begin_turn();
        for index in 0..2 {
            batch.shorten(index, |frame, headers, is_partial| {
                assert!(is_partial && headers.frame_len() == 400);
                frame[41] = 8;
                300
            });
        }
        assert_eq!((batch.get(0).len(), batch.headers(0).frame_len()), (300, 300));
        assert_eq!((batch.get(0)[41], batch.vnet(0).checksum), (8, Checksum::Unverified));
        assert_eq!((batch.get(1).len(), batch.vnet(1).checksum), (400, partial));
        batch.end_turn();
        assert_eq!((batch.large.len(), batch.small.len()), (LARGE, SMALL));
    }

    #[test]
    fn many_sparse_flows_leave_room_for_a_transfer() {
        let mut batch = FrameBatch::new();
        let mut queue: VecDeque<_> = [frame(0, 0, 60_000)].into();
        queue.extend((1..200).map(|flow| frame(flow, 0, 98)));
        fill(&mut batch, &mut queue);
        let turn = turn(&mut batch);
        assert!(turn.contains(&(0, 0)), "{turn:?}");
    }
}
