//! Two ends with keys, and the fuzzer as their network and as a peer that seals what no honest one
//! would: fragments that fit nothing, control that is none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::Split;
use acton_proto::session::{Bundle, Content, Keys, Link, Role, Setup, Suite};
use acton_proto::wire::{
    Caps, Control, Datagram, Fragment, HEADER_LEN, Header, Kind, MIN_FRAME, TAG_LEN,
};

use crate::input::Input;

/// First byte of a frame that an honest end sent, and of what a hostile one did.
const HONEST: u8 = 0xaa;
const HOSTILE: u8 = 0xee;

struct World {
    now: Duration,
    /// Two ends; each datagram goes from one to the other.
    ends: [Arc<Keys>; 2],
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
            Arc::new(Keys::new(role, &split, &setup, Arc::new(Link::new(now))))
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

    /// Several frames in as few datagrams as they go into.
    fn send_bundle(&mut self, from: usize, input: &mut Input<'_>) {
        let keys = Arc::clone(&self.ends[from]);
        let partial = input.u8() & 1 != 0;
        let (mut out, mut bundle) = (Vec::new(), None::<Bundle<'_>>);
        for _ in 0..input.below(8) {
            let (number, frame) = self.frame(usize::from(input.u16() % 400).max(MIN_FRAME));
            self.sent.insert(number, frame.clone());
            if bundle.as_mut().is_some_and(|open| open.push([&frame], partial, &mut out)) {
                continue;
            }
            self.close(from, bundle.take(), &mut out);
            bundle = Some(Bundle::begin(&keys, [&frame[..9], &frame[9..]], partial, &mut out));
        }
        self.close(from, bundle, &mut out);
    }

    fn close(&mut self, from: usize, bundle: Option<Bundle<'_>>, out: &mut Vec<u8>) {
        if let Some(bundle) = bundle
            && let Ok(size) = bundle.seal(self.now, out)
        {
            assert_eq!(size, out.len());
            assert!(size <= usize::from(self.ends[from].link().path_mtu()));
            self.queue.push_back((from, std::mem::take(out)));
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
        let Ok(received) = self.ends[to].receive(self.now, &header, &mut bytes) else {
            return;
        };
        assert!(!changed, "what was changed on the way was opened");
        assert!(self.opened[to].insert(counter), "opened twice");
        if let Content::Control(message) = received.content {
            let _ = Control::parse(message);
        }
        for frame in received.content.into_frames() {
            let frame = frame.bytes();
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
            12 => self.send_bundle(from, input),
            13 => self.send_hostile(from, Kind::Control, input.chunk()),
            14 => {
                let bits = input.u8();
                let fragment = Fragment { index: bits >> 4, last: bits & 1 != 0 };
                let partial_checksum = bits & 2 != 0;
                // Nothing that looks like an honest one's.
                if bits & 4 != 0 {
                    let plaintext = input.chunk().iter().map(|&b| if b == HONEST { 0 } else { b });
                    let plaintext: Vec<u8> = plaintext.collect();
                    self.send_hostile(from, Kind::Bundle { partial_checksum }, &plaintext);
                } else {
                    let kind = Kind::Data { fragment, partial_checksum };
                    let len = usize::from(input.u16() % 2000);
                    self.send_hostile(from, kind, &vec![HOSTILE; len]);
                }
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
