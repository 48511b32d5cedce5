//! The reading end of captures: frames, datagrams and drops as they pass, and drops after the fact.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use acton_frame::{Filter, Headers};
use rtrb::Consumer;

use crate::Error;
use crate::capture::desk::{CaptureRings, Wanted};
use crate::capture::packet::{Direction, NOTE_LEN, Note, Outcome, Who};
use crate::observe::counters::drop_reasons;
use crate::observe::event::EventKind;
use crate::observe::status::SessionStatus;
use crate::run::clock;
use crate::run::handle::Handle;
use crate::run::trace::TraceVerdict;
use crate::sessions::port::LeafId;

/// How often rings are looked into: short enough to look immediate, and a ring takes as much as comes
/// in that time. Workers wake nobody.
const LOOK: Duration = Duration::from_millis(10);
/// Packets taken from a ring at a time, so that those of several workers come nearly in order.
const PACKETS_A_LOOK: usize = 1_024;
/// How long an address is believed to be the same session's.
const ADDRESSES_HOLD: Duration = Duration::from_secs(1);

/// What a capture shows. By default all frames, those that were dropped among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CaptureOptions {
    /// Only what is of this session, and what is for all: a client by its name, its UDP address or the
    /// session's number, or at a client a server of its.
    pub session: Option<String>,
    /// Frames or datagrams; where it is not said frames, and of drops both.
    pub layer: Option<CaptureLayer>,
    /// Only what is dropped.
    pub drops: Option<DropsWanted>,
    /// Only frames that pass this.
    pub filter: Option<Filter>,
    /// Bytes of each packet at most; all where it is not said. Of what is dropped there are never
    /// more than 128.
    pub snaplen: Option<usize>,
}

/// A layer of the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum CaptureLayer {
    /// Frames as they go through the tunnel.
    Inner,
    /// UDP datagrams as they are on the way between the two ends, in secure mode sealed.
    Outer,
}

/// Which drops a capture shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropsWanted {
    /// Only those for the reason of this [name](crate::drop_reasons).
    pub reason: Option<String>,
    /// Those of so much time until now, as far as they are kept, and no later ones. Without it those
    /// from now on.
    pub since: Option<Duration>,
}

/// A frame or a datagram, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapturedPacket {
    /// When the batch began that it was in.
    pub time: SystemTime,
    /// What operators call the session that it is of; `None` where it is of no one session: for all,
    /// from nobody who is known, or joined to others.
    pub session: Option<String>,
    /// Which way it goes.
    pub direction: Direction,
    /// What became of it; `None` for a datagram that passes.
    pub verdict: Option<TraceVerdict>,
    /// Frames of the wire that it stands for: several for a super-frame, which is cut later.
    pub frames: u32,
    /// Bytes of the longest of these; `None` of what is no super-frame, or not known to be one.
    pub longest: Option<u16>,
    /// Bytes of all of it.
    pub len: usize,
    /// The first of them: of a frame from its destination MAC on, of a datagram UDP's payload.
    pub bytes: Vec<u8>,
    /// Of a datagram, whence and whither.
    pub datagram: Option<DatagramPath>,
}

/// Between which addresses a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatagramPath {
    /// Of the other end.
    pub remote: SocketAddr,
    /// Of this end; the unspecified address where the kernel chose or did not say which.
    pub local: SocketAddr,
}

/// What is captured, as it comes. Dropped, it ends the capture.
///
/// A reader that is too slow loses packets, which [`lost`](Self::lost) counts; the tunnel does not
/// wait for it.
#[derive(Debug)]
pub struct CaptureStream {
    handle: Handle,
    options: CaptureOptions,
    rings: Option<CaptureRings>,
    /// For each thread, the number of the last drop that was read; empty where none are wanted.
    drops: Vec<u64>,
    /// Drops before that are not wanted.
    oldest: Duration,
    ready: VecDeque<CapturedPacket>,
    /// How many packets were given.
    given: u64,
    /// Drops that were overwritten before anybody looked whether they are wanted.
    unseen: u64,
    /// All that was asked for has been looked at.
    is_complete: bool,
    labels: Labels,
}

/// What sessions are called.
#[derive(Debug)]
struct Labels {
    /// At a client: its servers, that in use first, and where each is.
    servers: Vec<(String, Option<SocketAddr>)>,
    /// The newest event when they were looked at: of a move, one tells.
    event: u64,
    local: SocketAddr,
    /// At a server: clients by their addresses, as they were then.
    clients: HashMap<SocketAddr, Arc<str>>,
    looked: Option<Instant>,
}

impl Handle {
    /// Captures what passes from now on, or says what was dropped lately.
    ///
    /// # Errors
    /// Where there is no such session or reason to drop, a filter is to choose among datagrams, or
    /// there are four captures already.
    pub fn capture(&self, options: CaptureOptions) -> Result<CaptureStream, Error> {
        let mut options = options;
        if options.filter.is_some() {
            if options.layer == Some(CaptureLayer::Outer) {
                let message = "a filter chooses among frames: leave it out for datagrams";
                return Err(Error::Setting(message.to_owned()));
            }
            options.layer = Some(CaptureLayer::Inner);
        }
        if let Some(DropsWanted { reason: Some(reason), .. }) = &options.drops
            && !drop_reasons().any(|(name, _)| name == reason)
        {
            return Err(Error::NoReason(reason.clone()));
        }
        let labels = Labels::new(self);
        options.session = options
            .session
            .map(|wanted| self.session_name(wanted, &labels, options.drops.is_some()))
            .transpose()?;
        let rings = match options.drops {
            Some(_) => None,
            None => {
                let wanted = match options.layer {
                    Some(CaptureLayer::Outer) => Wanted::Datagrams,
                    _ => Wanted::Frames {
                        // A client has one session at a time.
                        client: options.session.clone().filter(|_| labels.servers.is_empty()),
                        filter: options.filter.clone(),
                    },
                };
                let snaplen = options.snaplen.unwrap_or(usize::MAX);
                Some(self.captures().open(&wanted, snaplen).ok_or(Error::CapturesFull)?)
            }
        };
        let since = options.drops.as_ref().and_then(|drops| drops.since);
        let wants_drops = options.drops.is_some() || options.layer != Some(CaptureLayer::Outer);
        let rings_of_drops = self.counters().iter().filter(|_| wants_drops);
        let drops = rings_of_drops.map(|counters| match since {
            Some(_) => counters.dropped().oldest(),
            None => counters.dropped().written(),
        });
        self.tell(EventKind::CaptureBegan {
            session: options.session.clone(),
            drops: options.drops.is_some(),
        });
        let oldest = since.map_or(Duration::ZERO, |since| clock::now().saturating_sub(since));
        Ok(CaptureStream {
            handle: self.clone(),
            rings,
            drops: drops.collect(),
            oldest,
            ready: VecDeque::new(),
            given: 0,
            unseen: 0,
            is_complete: false,
            labels,
            options,
        })
    }

    /// What the session is called that somebody calls so. Drops may be of one that has gone.
    fn session_name(
        &self,
        wanted: String,
        labels: &Labels,
        may_be_over: bool,
    ) -> Result<String, Error> {
        if !labels.servers.is_empty() {
            let is_it = |(server, address): &&(String, Option<SocketAddr>)| {
                *server == wanted || address.is_some_and(|it| it.to_string() == wanted)
            };
            let found = labels.servers.iter().find(is_it);
            return found.map(|(server, _)| server.clone()).ok_or(Error::NoSession(wanted));
        }
        let names = self.names();
        let name = |port: LeafId| names.and_then(|names| names.name(port));
        match names.and_then(|names| names.find(&wanted)).and_then(name) {
            Some(name) => Ok(name.to_string()),
            None if may_be_over => Ok(wanted),
            None => Err(Error::NoSession(wanted)),
        }
    }
}

impl CaptureStream {
    /// The next packet, waiting for it at most `timeout`; `None` if none came by then, or none will.
    pub fn next_within(&mut self, timeout: Duration) -> Option<CapturedPacket> {
        let until = Instant::now().checked_add(timeout);
        loop {
            if self.ready.is_empty() && !self.is_complete {
                self.look();
            }
            if let Some(packet) = self.ready.pop_front() {
                self.given += 1;
                return Some(packet);
            }
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
            if self.is_complete || left.is_zero() {
                return None;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    /// Whether no more will come, for all that was asked for was read or the tunnel has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_complete && self.ready.is_empty()
    }

    /// How many packets there was no room for, or no time.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let in_rings = self.rings.as_ref().map_or(0, CaptureRings::lost);
        in_rings + if self.options.wants_every_drop() { self.unseen } else { 0 }
    }

    /// How many drops were overwritten before anybody looked whether they are wanted, where not all
    /// are.
    #[must_use]
    pub fn unseen_drops(&self) -> u64 {
        if self.options.wants_every_drop() { 0 } else { self.unseen }
    }

    /// Takes what there is.
    fn look(&mut self) {
        let drops = self.options.drops.as_ref();
        let is_past = drops.is_some_and(|drops| drops.since.is_some());
        // What came before the end is still read after it.
        let is_last = self.handle.has_ended();
        self.labels.follow(&self.handle);
        // After that, which may wait for another thread: nothing that is found is younger.
        let clocks = (SystemTime::now(), clock::now());
        let mut found = Vec::new();
        if let Some(rings) = &mut self.rings {
            for ring in &mut rings.rings {
                for _ in 0..PACKETS_A_LOOK {
                    let Some((note, bytes)) = take(ring) else { break };
                    let Some(note) = Note::decode(&note) else { continue };
                    found.push(self.labels.packet(&self.handle, &note, bytes, clocks));
                }
            }
        }
        let outer = |note: &Note<'_>| matches!(note.who, Who::Address { .. });
        for (counters, read) in self.handle.counters().iter().zip(&mut self.drops) {
            let ring = counters.dropped();
            let (oldest, newest) = (ring.oldest(), ring.written());
            self.unseen += oldest.saturating_sub(*read);
            for number in oldest.max(*read) + 1..=newest {
                let Some(copy) = ring.get(number) else {
                    self.unseen += 1;
                    continue;
                };
                let Some((note, bytes)) = copy.read() else { continue };
                let is_wanted = note.time >= self.oldest
                    && match self.options.layer {
                        Some(CaptureLayer::Inner) => !outer(&note),
                        Some(CaptureLayer::Outer) => outer(&note),
                        None => self.options.drops.is_some() || !outer(&note),
                    };
                if is_wanted && self.options.wants_drop(&note, bytes) {
                    let kept = bytes.len().min(self.options.snaplen.unwrap_or(usize::MAX));
                    let bytes = bytes[..kept].to_vec();
                    found.push(self.labels.packet(&self.handle, &note, bytes, clocks));
                }
            }
            *read = newest;
        }
        if let Some(wanted) = &self.options.session {
            let is_drop =
                |packet: &CapturedPacket| matches!(packet.verdict, Some(TraceVerdict::Drop(_)));
            found.retain(|packet| match &packet.session {
                Some(session) => session == wanted,
                // What is for all is for this one too.
                None => packet.datagram.is_none() && !is_drop(packet),
            });
        }
        found.sort_by_key(|packet| packet.time);
        self.is_complete = is_past || is_last && found.is_empty();
        self.ready.extend(found);
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        let (packets, lost) = (self.given, self.lost());
        // The end of a tunnel is its last event.
        if !self.handle.has_ended() {
            self.handle.tell(EventKind::CaptureEnded { packets, lost });
        }
    }
}

impl CaptureOptions {
    /// Whether there is no drop that is not wanted.
    fn wants_every_drop(&self) -> bool {
        let Self { session, layer, drops, filter, snaplen: _ } = self;
        let wanted = drops.as_ref().is_some_and(|drops| drops.reason.is_none());
        wanted && session.is_none() && layer.is_none() && filter.is_none()
    }

    /// Whether a packet that was dropped is of the wanted kind.
    fn wants_drop(&self, note: &Note<'_>, bytes: &[u8]) -> bool {
        let Outcome::Dropped(cause) = note.outcome else { return false };
        let reason = self.drops.as_ref().and_then(|drops| drops.reason.as_deref());
        reason.is_none_or(|reason| cause.name() == Some(reason))
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.matches(&Headers::parse(bytes), bytes))
    }
}

impl Labels {
    fn new(handle: &Handle) -> Self {
        let event = handle.newest_event();
        let mut servers = Vec::new();
        if handle.names().is_none() {
            servers = places(handle.status().sessions);
            if servers.is_empty() {
                servers.push(("server".to_owned(), None));
            }
        }
        let (local, clients) = (handle.local_addr(), HashMap::new());
        Self { servers, event, local, clients, looked: None }
    }

    /// Looks at which server a client is, if anything has happened.
    fn follow(&mut self, handle: &Handle) {
        let newest = handle.newest_event();
        if !self.servers.is_empty() && newest != self.event {
            self.event = newest;
            self.look(handle);
        }
    }

    /// Looks who is where, once in a while.
    fn refresh(&mut self, handle: &Handle) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= ADDRESSES_HOLD) {
            self.look(handle);
        }
    }

    fn look(&mut self, handle: &Handle) {
        self.looked = Some(Instant::now());
        if let Some(names) = handle.names() {
            self.clients = names.addresses();
            return;
        }
        let servers = handle.report(0..1).map(|report| places(report.sessions));
        if let Some(servers) = servers.filter(|servers| !servers.is_empty()) {
            self.servers = servers;
        }
    }

    fn packet(
        &mut self,
        handle: &Handle,
        note: &Note<'_>,
        bytes: Vec<u8>,
        (wall, now): (SystemTime, Duration),
    ) -> CapturedPacket {
        let mut datagram = None;
        let session = match note.who {
            Who::Tap => None,
            Who::Server => self.servers.first().map(|(name, _)| name.clone()),
            Who::Client(name) => Some(name.to_owned()),
            Who::Address { remote, local } => {
                self.refresh(handle);
                let known = self.servers.first().and_then(|(_, address)| *address);
                let unspecified = SocketAddr::from(([0; 4], 0));
                let remote = remote.or(known).unwrap_or(unspecified);
                let local = local.unwrap_or(match self.local.ip() {
                    ip if ip.is_ipv4() == remote.is_ipv4() => ip,
                    _ if remote.is_ipv4() => [0; 4].into(),
                    _ => [0; 16].into(),
                });
                datagram = Some(DatagramPath { remote, local: (local, self.local.port()).into() });
                match &mut self.servers[..] {
                    [] => self.clients.get(&remote).map(|name| name.to_string()),
                    [(name, address)] => {
                        *address = Some(remote).filter(|&remote| remote != unspecified);
                        Some(name.clone())
                    }
                    several => {
                        let is_it = |(_, address): &&mut (_, _)| *address == Some(remote);
                        several.iter_mut().find(is_it).map(|(name, _)| name.clone())
                    }
                }
            }
        };
        let verdict = match note.outcome {
            Outcome::ToTap => Some(TraceVerdict::Tap),
            Outcome::ToSession => Some(TraceVerdict::Session(session.clone().unwrap_or_default())),
            Outcome::ToAll(sessions) => Some(TraceVerdict::Sessions(sessions as usize)),
            Outcome::ToGroup(sessions) => Some(TraceVerdict::Group(sessions as usize)),
            Outcome::Dropped(cause) => {
                Some(TraceVerdict::Drop(cause.name().unwrap_or("unknown").into()))
            }
            Outcome::Passing => None,
        };
        let age = now.saturating_sub(note.time);
        CapturedPacket {
            time: wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
            session,
            direction: note.direction,
            verdict,
            frames: note.frames.count,
            longest: Some(note.frames.longest).filter(|&longest| longest > 0),
            len: note.len as usize,
            bytes,
            datagram,
        }
    }
}

/// What the servers of a client are called, and where they are.
fn places(sessions: Vec<SessionStatus>) -> Vec<(String, Option<SocketAddr>)> {
    sessions.into_iter().map(|session| (session.name, session.address)).collect()
}

/// The next packet in a ring.
fn take(ring: &mut Consumer<u8>) -> Option<([u8; NOTE_LEN], Vec<u8>)> {
    let mut note = [0; NOTE_LEN];
    let chunk = ring.read_chunk(NOTE_LEN).ok()?;
    let (front, back) = chunk.as_slices();
    let (start, rest) = note.split_at_mut(front.len());
    start.copy_from_slice(front);
    rest.copy_from_slice(back);
    chunk.commit_all();
    // Both came at once.
    let kept = Note::decode(&note).map_or(0, |note| note.kept as usize);
    let chunk = ring.read_chunk(kept).ok()?;
    let (front, back) = chunk.as_slices();
    let bytes = [front, back].concat();
    chunk.commit_all();
    Some((note, bytes))
}
