//! Two ends with keys, and the fuzzer as their network and as a peer that seals what no honest one
//! would: fragments that fit nothing, control that is none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::Split;
use acton_proto::session::{Keys, Link, Role, Setup, Suite};
use acton_proto::wire::{Caps, Control, Datagram, Fragment, HEADER_LEN, Header, Kind, TAG_LEN};

use crate::input::Input;

/// First byte of a frame that an honest end sent, and of what a hostile one did.
const HONEST: u8 = 0xaa;
const HOSTILE: u8 = 0xee;

struct World {
    now: Duration,
    /// Two ends; each datagram goes from one to the other.
    ends: [Keys; 2],
    max_frame: usize,
    queue: VecDeque<(usize, Vec<u8>)>,
    sent: BTreeMap<u32, Vec<u8>>,
    delivered: BTreeSet<u32>,
    /// Counters that each end opened.
    opened: [BTreeSet<u64>; 2],
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let now = Duration::from_secs(100);
        let bits = input.u8();
        let suite = if bits & 1 == 0 { Suite::ChaCha20Poly1305 } else { Suite::Aes256Gcm };
        let caps = Caps(Caps::ALL.0 & u32::from(bits >> 1));
        let max_frame = 14 + usize::from(input.u16() % 20_000);
        let split = Split { to_server: [1; 32], to_client: [2; 32] };
        let end = |role, local_id, remote_id| {
            let max_frame = max_frame as u16;
            let setup = Setup { suite, local_id, remote_id, caps, max_frame, born: now };
            Keys::new(role, &split, &setup, Arc::new(Link::new(now)))
        };
        Self {
            now,
            ends: [end(Role::Client, 1, 2), end(Role::Server, 2, 1)],
            max_frame,
            queue: VecDeque::new(),
            sent: BTreeMap::new(),
            delivered: BTreeSet::new(),
            opened: Default::default(),
        }
    }

    /// A frame whose content tells its number.
    fn frame(&mut self, len: usize) -> (u32, Vec<u8>) {
        let number = self.sent.len() as u32;
        let mut frame = vec![number as u8; len];
        let head = [&[HONEST][..], &number.to_be_bytes()].concat();
        let n = len.min(head.len());
        frame[..n].copy_from_slice(&head[..n]);
        (number, frame)
    }

    fn send(&mut self, from: usize, len: usize, partial: bool) {
        let (number, frame) = self.frame(len);
        let mut out = Vec::new();
        let Ok(segment) = self.ends[from].seal_frame(self.now, &frame, partial, &mut out) else {
            assert!(out.is_empty(), "an error appends nothing");
            return;
        };
        assert!(out.chunks(segment).count() <= 16);
        assert!(segment <= usize::from(self.ends[from].link().path_mtu()));
        self.sent.insert(number, frame);
        self.queue.extend(out.chunks(segment).map(|datagram| (from, datagram.to_vec())));
    }

    /// Several frames at once, as one send with UDP_SEGMENT takes them.
    fn send_batch(&mut self, from: usize, stride: usize, count: usize, tail: usize) {
        let mut batch = vec![0; stride * count + tail];
        let mut frames = Vec::new();
        for slot in batch.chunks_mut(stride.max(1)) {
            if let Some(room) = slot.len().checked_sub(HEADER_LEN + TAG_LEN) {
                let number = (self.sent.len() + frames.len()) as u32;
                let mut frame = vec![number as u8; room];
                let head = [&[HONEST][..], &number.to_be_bytes()].concat();
                let n = room.min(head.len());
                frame[..n].copy_from_slice(&head[..n]);
                slot[HEADER_LEN..HEADER_LEN + room].copy_from_slice(&frame);
                frames.push((number, frame));
            }
        }
        if self.ends[from].seal_segments(self.now, &mut batch, stride, false).is_ok() {
            self.sent.extend(frames);
            self.queue.extend(batch.chunks(stride).map(|datagram| (from, datagram.to_vec())));
        }
    }

    fn send_hostile(&mut self, from: usize, kind: Kind, plaintext: &[u8]) {
        let mut datagram = [&[0; HEADER_LEN][..], plaintext, &[0; TAG_LEN]].concat();
        if let Ok(mut counter) = self.ends[from].reserve(self.now, 1)
            && counter.seal(kind, &mut datagram).is_ok()
        {
            self.queue.push_back((from, datagram));
        }
    }

    /// Gives a datagram to the end that it is not from. `changed` ones must not open.
    fn deliver(&mut self, from: usize, datagram: &[u8], changed: bool) {
        let to = 1 - from;
        let mut bytes = datagram.to_vec();
        let Ok(Datagram::Sealed(header)) = Datagram::parse(&bytes) else { return };
        let Header { counter, .. } = header;
        let Ok((opened, frame)) = self.ends[to].receive(self.now, &header, &mut bytes) else {
            return;
        };
        assert!(!changed, "what was changed on the way was opened");
        assert!(self.opened[to].insert(counter), "opened twice");
        if opened.kind == Kind::Control {
            assert!(frame.is_none());
            let _ = Control::parse(opened.plaintext(&bytes));
        }
        if let Some(frame) = frame {
            let frame = frame.bytes(&bytes);
            assert!((14..=self.max_frame).contains(&frame.len()));
            if frame[0] == HONEST {
                let number = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
                let sent = self.sent.get(&number).map(Vec::as_slice);
                assert_eq!(sent, Some(frame), "a frame that was not sent");
                assert!(self.delivered.insert(number), "a frame that came twice");
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let from = usize::from(op >> 7);
        match op & 15 {
            0..=2 => {
                if let Some((from, datagram)) = self.queue.pop_front() {
                    self.deliver(from, &datagram, false);
                }
            }
            3 => {
                if let Some((from, datagram)) = self.queue.pop_back() {
                    self.deliver(from, &datagram, false);
                }
            }
            4 => drop(self.queue.pop_front()),
            5 => self.queue.extend(self.queue.front().cloned()),
            6 => {
                if let Some(first) = self.queue.pop_front() {
                    self.queue.push_back(first);
                }
            }
            7 => {
                if let Some((from, mut datagram)) = self.queue.front().cloned() {
                    let bit = usize::from(input.u16()) % (datagram.len() * 8);
                    datagram[bit / 8] ^= 1 << (bit % 8);
                    self.deliver(from, &datagram, true);
                }
            }
            8 => {
                if let Some((from, mut datagram)) = self.queue.front().cloned() {
                    let old = datagram.len();
                    datagram.resize(usize::from(input.u16()) % (old + 50), 0);
                    self.deliver(from, &datagram, datagram.len() != old);
                }
            }
            9 => self.deliver(from, input.chunk(), true),
            10 | 11 => self.send(from, input.u16().into(), op & 0x40 != 0),
            12 => {
                let (stride, tail) = (usize::from(input.u16() % 1300), usize::from(input.u16()));
                let count = input.below(4);
                self.send_batch(from, stride, count, if stride == 0 { 0 } else { tail % stride });
            }
            13 => self.send_hostile(from, Kind::Control, input.chunk()),
            14 => {
                let bits = input.u8();
                let fragment = Fragment { index: bits >> 4, last: bits & 1 != 0 };
                let partial_checksum = bits & 2 != 0;
                let kind = Kind::Data { fragment, partial_checksum };
                let len = usize::from(input.u16() % 2000);
                // Nothing that looks like an honest one's.
                self.send_hostile(from, kind, &vec![HOSTILE; len]);
            }
            _ => self.now += Duration::from_millis(u64::from(input.u8()) * 10),
        }
    }
}

/// Sealing, opening, the replay window and reassembly.
pub fn session(data: &[u8]) -> bool {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    let mut steps = 0;
    while !input.is_empty() && steps < 1000 {
        world.step(&mut input);
        steps += 1;
    }
    !world.delivered.is_empty()
}
