//! A server's part of a worker in secure mode.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::Bridge;
use acton_frame::Headers;
use acton_proto::plain;
use acton_proto::server::{Notice, Path};
use acton_proto::session::{Content, Keys, Received};
use acton_proto::wire::{Datagram, Header, Hello, Kind, Query, Version};
use acton_udp::Destination;

use super::arrival::{
    Drops, count_bundle, deliver, deliver_tagged, is_sealed, pass_mark, write_named,
};
use super::expected::{Expected, Stray};
use super::hellos::{self, Hellos, Judged};
use super::sealed::{Sealed, Syns};
use super::server::{SecureDirectory, SecureSession, Secured, specified};
use super::uplinks::Down;
use crate::authorize::Decision;
use crate::capture::packet::Who;
use crate::floods::shared::Floods;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::run::control::Outbox;
use crate::run::lane::Place;
use crate::run::launch::Post;
use crate::run::side::{Arrival, Output, Side};
use crate::run::tap_writer::TapSink;
use crate::run::worker::NEWS_INTERVAL;
use crate::sessions::bell::Bell;
use crate::sessions::directory::Index;
use crate::sessions::port::LeafId;
use crate::sessions::rate_out::RateOut;
use crate::sessions::rounds::{Rounds, SharedRounds, Slice};
use crate::sessions::router::{Router, Target, VlanParts, take_off_tags};
use crate::sessions::rules::RulesNews;
use crate::throttle::{Bucket, Throttle};

/// What a worker passes to the control thread.
pub(super) enum News {
    /// A HELLO.
    Hello { path: Path, hello: Box<Hello>, place: Place },
    /// Somebody asks how the server is.
    Query { path: Path, query: Query, place: Place },
    /// A datagram of an id that the control thread expects.
    Datagram { path: Path, bytes: Vec<u8>, place: Place },
    /// A datagram of an id that nobody has.
    Unknown { path: Path, header: Header, place: Place },
    /// News of a datagram that was opened.
    Opened { notice: Notice, place: Place },
    /// A control message that was opened, in the datagram of this counter, and has no answer that a
    /// worker could give.
    Control { notice: Notice, counter: u64, message: Vec<u8>, place: Place },
    /// The system refused a datagram of this size.
    TooLarge { leaf: LeafId, size: usize },
    /// What the largest of this host's links carries now, in bytes of UDP payload, and which of the
    /// tracked ones carry nothing.
    Links { pmtu: u16, down: Vec<Down> },
    /// Somebody there asks for a session of plain mode.
    OtherMode(SocketAddr),
    /// A router says how large datagrams to there may be.
    PathHint { to: SocketAddr, size: usize },
    /// Not from a worker: other rules of who gets in, or other keys of the network.
    Rules(RulesNews),
    /// Not from a worker either: what was decided on a client.
    Decision(Decision),
}

/// The server's part of a worker.
pub(super) struct ServerSide {
    directory: Arc<SecureDirectory>,
    /// By the id in a datagram's header.
    index: Index<u32, Sender>,
    router: Router,
    sealed: Sealed,
    syns: Syns,
    parts: VlanParts,
    runs: Vec<(Target<Secured>, Range<usize>)>,
    rounds: Rounds<SecureSession>,
    /// Of the round under way.
    round_syns: Syns,
    round_parts: VlanParts,
    rate_out: RateOut,
    expected: Arc<Expected>,
    hellos: Arc<Hellos>,
    /// Which HELLO with a wrong key the control thread hears of.
    told: Bucket,
    /// The version of this software to tell clients, if they are to know.
    version: Option<Version>,
    /// What the datagrams of this batch are to be answered with.
    answers: Vec<(Arc<Destination>, Vec<u8>)>,
    /// Of those who speak the other mode.
    others: Throttle,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
    thread: usize,
}

/// Whose a datagram is, by the id in its header.
struct Sender {
    session: Arc<SecureSession>,
    keys: Arc<Keys>,
}

impl ServerSide {
    #[allow(clippy::too_many_arguments)] // what the workers of a server share
    pub(super) fn new(
        directory: Arc<SecureDirectory>,
        bridge: Arc<Bridge<LeafId>>,
        floods: Arc<Floods>,
        expected: Arc<Expected>,
        hellos: Arc<Hellos>,
        rounds: Arc<SharedRounds>,
        version: Option<Version>,
        post: Post<News>,
    ) -> Self {
        let Post { outbox, counters, sightings, floods: reporter, thread } = post;
        Self {
            index: directory.index(),
            directory,
            rate_out: RateOut::new(Arc::clone(&counters), reporter.clone(), thread),
            router: Router::new(bridge, Arc::clone(&counters), sightings, floods, reporter, thread),
            sealed: Sealed::default(),
            syns: Syns::default(),
            parts: VlanParts::default(),
            runs: Vec::new(),
            rounds: Rounds::new(rounds, thread - 1),
            round_syns: Syns::default(),
            round_parts: VlanParts::default(),
            expected,
            hellos,
            told: hellos::told(),
            version,
            answers: Vec::new(),
            others: Throttle::new(NEWS_INTERVAL),
            counters,
            outbox,
            thread,
        }
    }

    /// Tells of datagrams that were too large for the link.
    fn post_refused(&self, out: &mut Output<'_>) {
        for (leaf, size) in out.refused() {
            self.outbox.post(News::TooLarge { leaf, size });
        }
    }
}

/// What sealing a batch takes beside its frames.
struct Sealer<'a> {
    counters: &'a Counters,
    thread: usize,
    now: Duration,
}

impl Sealer<'_> {
    /// Seals the frames `run` of `frames`, among whose SYNs are `syns`, for one session, and sends
    /// what is sealed where that is enough.
    ///
    /// A frame for everybody is sealed for each: a key that all share would let any of them speak as
    /// the server.
    fn seal(
        &self,
        session: &SecureSession,
        syns: &Syns,
        frames: &mut impl FrameStore,
        run: Range<usize>,
        sealed: &mut Sealed,
        out: &mut Output<'_>,
    ) {
        let (tally, who) = (session.tallies.of(self.thread), Who::Client(&session.name));
        let drops = Drops { counters: self.counters, tally, who, now: self.now };
        syns.clamp(frames, &session.mode.seal);
        sealed.seal(&session.to, &session.mode.seal, frames, run, self.now, drops);
        if sealed.is_full() {
            sealed.send(out);
        }
    }
}

/// Whether a datagram asks for a session of plain mode.
fn is_plain(datagram: &[u8]) -> bool {
    matches!(plain::Datagram::parse(datagram), Ok(plain::Datagram::Control(_)))
}

/// Passes on what got a place.
fn post(outbox: &Outbox<News>, place: Option<Place>, news: impl FnOnce(Place) -> News) {
    match place {
        Some(place) => {
            outbox.post(news(place));
        }
        None => outbox.counters.add(Counter::ControlBusy, 1),
    }
}

impl ServerSide {
    /// Takes a datagram that is not sealed.
    fn take_hello(&mut self, arrival: &Arrival, path: Path, datagram: &[u8], now: Duration) {
        let reason = match Datagram::parse(datagram) {
            Ok(Datagram::Hello(hello)) => match self.hellos.judge(&hello, &mut self.told, now) {
                Judged::Passed(place) => {
                    self.outbox.post(News::Hello { path, hello: Box::new(hello), place });
                    return;
                }
                Judged::WrongKey => Counter::HelloWrongKey,
                Judged::Busy => Counter::ControlBusy,
            },
            Ok(Datagram::Query(query)) => match self.hellos.judge_query(&query) {
                Judged::Passed(place) => {
                    self.outbox.post(News::Query { path, query, place });
                    return;
                }
                Judged::WrongKey => Counter::HelloWrongKey,
                Judged::Busy => Counter::ControlBusy,
            },
            Ok(_) => Counter::WrongEnd,
            Err(_) if is_plain(datagram) => {
                if self.others.admits(now) {
                    self.outbox.post(News::OtherMode(path.remote));
                }
                Counter::OtherMode
            }
            Err(_) => Counter::Malformed,
        };
        arrival.drop(reason, datagram, now, &self.counters);
    }

    /// Takes a sealed datagram of an id that no session has.
    fn take_stray(
        &self,
        arrival: &Arrival,
        path: Path,
        header: Header,
        datagram: &[u8],
        now: Duration,
    ) {
        let outbox = &self.outbox;
        match self.expected.judge(header.receiver_id, now) {
            Stray::Expected(place) => {
                let bytes = datagram.to_vec();
                outbox.post(News::Datagram { path, bytes, place });
            }
            Stray::Nobodys(place) => {
                outbox.post(News::Unknown { path, header, place });
            }
            Stray::Limited => arrival.drop(Counter::ControlBusy, datagram, now, &self.counters),
            Stray::Dropped => arrival.drop(Counter::NoSession, datagram, now, &self.counters),
        }
    }
}

impl Side for ServerSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let Self {
            directory,
            router,
            sealed,
            syns,
            parts,
            runs,
            rounds,
            rate_out,
            counters,
            thread,
            ..
        } = self;
        rounds.begin_turn();
        router.take_out_circuits(frames, now, directory);
        router
            .route(frames, now, directory, out.recorder(), |target, run| runs.push((target, run)));
        let sealer = Sealer { counters, thread: *thread, now };
        for (target, run) in runs.drain(..) {
            match target {
                Target::One(session) => {
                    if session.policy.limits_what_it_gets() {
                        take_off_tags(&session, frames, run.clone());
                    }
                    syns.find(frames, run.clone());
                    sealer.seal(&session, syns, frames, run, sealed, out);
                }
                Target::Some(receivers, everybody) => {
                    if rounds.takes_some(frames, run.clone(), &receivers, now, counters) {
                        continue;
                    }
                    syns.find(frames, run.clone());
                    parts.find(router.is_by_vlan(), frames, run.clone());
                    receivers.for_each(directory, |session| {
                        parts.for_each(session, frames, run.clone(), |frames, run| {
                            for part in everybody.parts(session, &*frames, run, rate_out, now) {
                                sealer.seal(session, syns, frames, part.clone(), sealed, out);
                            }
                        });
                    });
                }
                Target::All(everybody) => {
                    let receivers = (directory.len(), router.is_by_vlan());
                    if rounds.takes(frames, run.clone(), receivers, now, counters) {
                        continue;
                    }
                    syns.find(frames, run.clone());
                    parts.find(router.is_by_vlan(), frames, run.clone());
                    directory.for_each(|session| {
                        parts.for_each(session, frames, run.clone(), |frames, run| {
                            for part in everybody.parts(session, &*frames, run, rate_out, now) {
                                sealer.seal(session, syns, frames, part.clone(), sealed, out);
                            }
                        });
                    });
                }
            }
        }
        sealed.send(out);
        self.post_refused(out);
    }

    fn bell(&self) -> Option<&Bell> {
        self.rounds.bell()
    }

    fn has_slice(&self) -> bool {
        self.rounds.has_slice()
    }

    fn is_served(&self) -> bool {
        self.rounds.is_served()
    }

    fn send_slice(&mut self, now: Duration, out: &mut Output<'_>) {
        let Self {
            directory,
            router,
            sealed,
            rounds,
            round_syns,
            round_parts,
            rate_out,
            counters,
            thread,
            ..
        } = self;
        let sealer = Sealer { counters, thread: *thread, now };
        rounds.send_slice(directory, now, counters, |slice| {
            let Slice { begins, frames, run, receivers, wanted, .. } = slice;
            if begins {
                round_syns.find(frames, run.clone());
                round_parts.find(router.is_by_vlan(), frames, run.clone());
            }
            let everybody = router.everybody();
            for session in receivers {
                wanted.find(frames, session.port);
                let mut rest = run.clone();
                while let Some(run) = frames.next_run(&mut rest, wanted) {
                    round_parts.for_each(session, frames, run, |frames, run| {
                        for part in everybody.parts(session, &*frames, run, rate_out, now) {
                            sealer.seal(session, round_syns, frames, part.clone(), sealed, out);
                        }
                    });
                }
            }
        });
        sealed.send(out);
        self.post_refused(out);
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let local = arrival.to.and_then(|to| specified(to.ip()));
        let path = Path { remote: arrival.from, local };
        let Some(header) = is_sealed(datagram).then(|| Header::parse(datagram).ok()).flatten()
        else {
            return self.take_hello(arrival, path, datagram, now);
        };
        let Self { directory, index, router, .. } = self;
        let id = header.receiver_id;
        let Some(Sender { session, keys }) = index.session(directory, id, |session| {
            let keys = Arc::clone(session.mode.opening(id)?);
            Some(Sender { session, keys })
        }) else {
            return self.take_stray(arrival, path, header, datagram, now);
        };
        let (counters, outbox, budget) = (&self.counters, &self.outbox, &session.mode.budget);
        let tally = session.tallies.of(self.thread);
        let drops = Drops { counters, tally, who: Who::Client(&session.name), now };
        let bytes = datagram.len();
        let Received { newest, first, content } = match keys.receive(now, &header, datagram) {
            Ok(received) => received,
            Err(error) => return drops.add_unopened(error, arrival, &header, bytes),
        };
        let moved = newest && session.mode.path != path;
        let notice = Notice { local_id: header.receiver_id, from: path, bytes, newest };
        // While the client is looked for elsewhere, that it is here ends it.
        let is_news = first || moved || newest && keys.link().is_looking();
        // A control message brings the news along.
        if is_news && header.kind != Kind::Control && (first || budget.admits_news(path, now)) {
            post(outbox, budget.enter(), |place| News::Opened { notice, place });
        }
        match content {
            Content::Frames(frames) => {
                count_bundle(counters, &frames);
                tap.hear_client(&session.name);
                let (mut passed, mut bytes) = (0, 0);
                for mut frame in frames {
                    let headers = Headers::parse(frame.bytes());
                    if let Some(tags) = router.admit(session, frame.bytes(), &headers, now, tally)
                        && pass_mark(arrival, keys, &mut frame, &headers, drops)
                    {
                        passed += 1;
                        bytes += frame.bytes().len() as u64;
                        let is_partial = frame.partial_checksum;
                        match router.name_circuit(session, &headers, frame.bytes(), is_partial) {
                            None if tags.is_empty() => deliver(frame, &headers, tap),
                            None => deliver_tagged(frame, &headers, tags, tap),
                            Some(named) => write_named(named, tags, tap),
                        }
                    }
                }
                tally.add_in(passed, bytes);
            }
            Content::Piece => counters.add(Counter::Pieces, 1),
            Content::Control(_) if !budget.admits_control(now) => {
                drops.add_datagram(Counter::ControlLimited, arrival, &header, bytes);
            }
            Content::Control(message) => {
                let counter = header.counter;
                // A sign of life from where the session is wakes no other thread.
                let mode = &session.mode;
                let settled = !is_news && mode.path == path && Arc::ptr_eq(keys, &mode.seal);
                let answer = || keys.answer(now, counter, message, bytes, self.version);
                if let Some(answer) = settled.then(answer).flatten() {
                    self.answers.push((Arc::clone(&session.to), answer));
                } else {
                    let message = message.to_vec();
                    let news = |place| News::Control { notice, counter, message, place };
                    post(outbox, budget.enter(), news);
                }
            }
            Content::BadPiece => drops.add_datagram(Counter::BadPiece, arrival, &header, bytes),
            Content::Bad => drops.add_datagram(Counter::BadFrame, arrival, &header, bytes),
        }
    }

    fn answer(&mut self, out: &mut Output<'_>) {
        if out.recorder().wants_datagrams() {
            for (to, answer) in &self.answers {
                out.recorder().datagram_to(to.remote(), [answer, &[]]);
            }
        }
        let mut batch = out.batch();
        for (to, answer) in &self.answers {
            batch.push_parts(to, [answer.as_slice()]);
        }
        batch.finish();
        self.answers.clear();
        // Keys of a session that has ended do not stay for want of a datagram.
        self.index.tidy(&self.directory);
    }

    fn network_error(&mut self, _: Option<SocketAddr>, error: &io::Error) {
        log::trace!("UDP: {error}");
    }

    fn path_hint(&mut self, to: SocketAddr, max_payload: usize) {
        self.outbox.post(News::PathHint { to, size: max_payload });
    }
}
