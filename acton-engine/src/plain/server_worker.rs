//! A server's part of a worker in plain mode.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_bridge::Bridge;
use acton_frame::Headers;
use acton_proto::plain::{Control, Datagram};
use acton_proto::wire;
use acton_tap::offload::{Tags, Trust};
use acton_udp::{SendBatch, Source};

use super::bad_datagram;
use super::server::{Allowed, PlainDirectory, PlainSession, is_allowed};
use crate::floods::shared::Floods;
use crate::frames::batch::FrameBatch;
use crate::frames::cut::Cut;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::run::control::Outbox;
use crate::run::lane::{Lane, Place};
use crate::run::launch::Post;
use crate::run::side::{Arrival, Output, Side};
use crate::run::tap_writer::TapSink;
use crate::run::worker::NEWS_INTERVAL;
use crate::sessions::bell::Bell;
use crate::sessions::directory::Index;
use crate::sessions::port::LeafId;
use crate::sessions::rate_out::RateOut;
use crate::sessions::rounds::{Rounds, SharedRounds, Slice};
use crate::sessions::router::{Router, Target};
use crate::throttle::Throttle;

/// Bytes of a large frame that take as long as a small one: on loopback, some 2 us either way.
pub(super) const DATAGRAM: usize = 1_024;

/// What a worker passes to the control thread.
pub(super) enum News {
    /// A control word, from there and to this address of ours; with a place where no session is there.
    Control { from: SocketAddr, to: Option<Source>, control: Control, place: Option<Place> },
    /// Somebody there asks for a session of secure mode.
    OtherMode(SocketAddr),
    /// The client behind this port sent its first frame.
    FirstFrame(LeafId),
}

/// The server's part of a worker.
pub(super) struct ServerSide {
    directory: Arc<PlainDirectory>,
    /// By a client's address.
    index: Index<SocketAddr, Arc<PlainSession>>,
    cut: Cut,
    router: Router,
    /// Who gets which frames of a batch.
    runs: Vec<(Arc<PlainSession>, Range<usize>)>,
    rounds: Rounds<PlainSession>,
    /// Of the round under way.
    round_cut: Cut,
    rate_out: RateOut,
    /// Of those who speak the other mode.
    others: Throttle,
    allow: Arc<Allowed>,
    strangers: Lane,
    counters: Arc<Counters>,
    outbox: Outbox<News>,
    thread: usize,
}

impl ServerSide {
    pub(super) fn new(
        directory: Arc<PlainDirectory>,
        bridge: Arc<Bridge<LeafId>>,
        floods: Arc<Floods>,
        allow: Arc<Allowed>,
        strangers: Lane,
        rounds: Arc<SharedRounds>,
        post: Post<News>,
    ) -> Self {
        let Post { outbox, counters, sightings, floods: reporter, thread } = post;
        Self {
            index: directory.index(),
            directory,
            cut: Cut::default(),
            rate_out: RateOut::new(Arc::clone(&counters), reporter.clone(), thread),
            router: Router::new(bridge, Arc::clone(&counters), sightings, floods, reporter, thread),
            runs: Vec::new(),
            rounds: Rounds::new(rounds, thread - 1),
            round_cut: Cut::default(),
            others: Throttle::new(NEWS_INTERVAL),
            allow,
            strangers,
            counters,
            outbox,
            thread,
        }
    }
}

/// Adds frames, each in two parts, to those that go to one client.
fn push<'f>(
    batch: &mut SendBatch<'f, '_>,
    session: &'f PlainSession,
    frames: impl Iterator<Item = [&'f [u8]; 2]>,
    thread: usize,
) {
    let (mut count, mut bytes) = (0, 0);
    for parts in frames {
        count += 1;
        bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        batch.push_parts(&session.to, parts);
    }
    session.tallies.of(thread).add_out(count, bytes);
}

/// Sends runs of frames, each to its client, and forgets them.
fn send_runs(
    runs: &mut Vec<(Arc<PlainSession>, Range<usize>)>,
    frames: &impl FrameStore,
    cut: &Cut,
    thread: usize,
    out: &mut Output<'_>,
) {
    if out.recorder().wants_datagrams() {
        for (session, run) in &*runs {
            cut.show(frames, run.clone(), &session.to, out.recorder());
        }
    }
    let mut batch = out.batch();
    for (session, run) in &*runs {
        push(&mut batch, session, cut.parts(frames, run.clone()), thread);
    }
    batch.finish();
    runs.clear();
}

impl ServerSide {
    /// Passes a control word on, if its source may say one.
    fn take_control(
        &mut self,
        arrival: &Arrival,
        control: Control,
        now: Duration,
        datagram: &[u8],
    ) {
        let &Arrival { from, to, .. } = arrival;
        let counters = &self.counters;
        if !is_allowed(&self.allow.load(), from) {
            return arrival.drop(Counter::NotAllowed, datagram, now, counters);
        }
        let session = self.index.session(&self.directory, from, Some);
        let place = match session.map(|session| session.mode.admits_control(now)) {
            Some(true) => None,
            Some(false) => {
                return arrival.drop(Counter::ControlLimited, datagram, now, counters);
            }
            None => match self.strangers.enter() {
                Some(place) => Some(place),
                None => return arrival.drop(Counter::ControlBusy, datagram, now, counters),
            },
        };
        self.outbox.post(News::Control { from, to, control, place });
    }
}

impl Side for ServerSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let Self { directory, cut, router, runs, rounds, rate_out, counters, thread, .. } = self;
        let frames = &*frames;
        rounds.begin_turn();
        // What goes to everybody goes out client by client, so that each gets the run in one
        // send; the order of what one client gets stays.
        router.route(frames, now, directory, out.recorder(), |target, run| match target {
            Target::One(session) => runs.push((session, run)),
            Target::Some(receivers, everybody) => {
                if !rounds.takes_some(frames, run.clone(), &receivers, now, counters) {
                    receivers.for_each(directory, |session| {
                        let parts = everybody.parts(session, frames, run.clone(), rate_out, now);
                        runs.extend(parts.iter().map(|part| (Arc::clone(session), part.clone())));
                    });
                }
            }
            Target::All(everybody) => {
                // Without a list of clients there are no VLANs for each.
                let receivers = (directory.len(), false);
                if !rounds.takes(frames, run.clone(), receivers, now, counters) {
                    directory.for_each(|session| {
                        let parts = everybody.parts(session, frames, run.clone(), rate_out, now);
                        runs.extend(parts.iter().map(|part| (Arc::clone(session), part.clone())));
                    });
                }
            }
        });
        if runs.is_empty() {
            return;
        }
        cut.fill(frames);
        cut.count_bad(frames, now, counters);
        send_runs(runs, frames, cut, *thread, out);
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
        let Self { directory, router, runs, rounds, round_cut, rate_out, counters, thread, .. } =
            self;
        rounds.send_slice(directory, now, counters, |slice| {
            let Slice { is_first, begins, frames, run, receivers, wanted } = slice;
            let frames = &*frames;
            if begins {
                round_cut.fill(frames);
            }
            if is_first {
                round_cut.count_bad(frames, now, counters);
            }
            let everybody = router.everybody();
            for session in receivers {
                wanted.find(frames, session.port);
                let mut rest = run.clone();
                while let Some(run) = frames.next_run(&mut rest, wanted) {
                    let parts = everybody.parts(session, frames, run, rate_out, now);
                    runs.extend(parts.iter().map(|part| (Arc::clone(session), part.clone())));
                }
            }
            send_runs(runs, frames, round_cut, *thread, out);
        });
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let from = arrival.from;
        let frame = match Datagram::parse(datagram) {
            Ok(Datagram::Frame(frame)) => frame,
            Ok(Datagram::Control(control)) => {
                return self.take_control(arrival, control, now, datagram);
            }
            Err(error) => return arrival.drop(bad_datagram(error), datagram, now, &self.counters),
        };
        let Some(session) = self.index.session(&self.directory, from, Some) else {
            if !matches!(wire::Datagram::parse(frame), Ok(wire::Datagram::Hello(_))) {
                return arrival.drop(Counter::NoSession, frame, now, &self.counters);
            }
            if self.others.admits(now) {
                self.outbox.post(News::OtherMode(from));
            }
            return arrival.drop(Counter::OtherMode, frame, now, &self.counters);
        };
        session.mode.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
        if session.mode.hear() && !self.outbox.post(News::FirstFrame(session.port)) {
            // The next one tells.
            session.mode.heard.store(false, Ordering::Relaxed);
        }
        let tally = session.tallies.of(self.thread);
        let headers = Headers::parse(frame);
        // Nothing here names VLANs: that takes a list of clients.
        if self.router.admit(session, frame, &headers, now, tally).is_some() {
            if arrival.slows(frame) {
                tally.add_drops(Counter::StandingQueue, 1);
                return arrival.drop(Counter::StandingQueue, frame, now, &self.counters);
            }
            tally.add_in(1, frame.len() as u64);
            tap.hear_client(&session.name);
            tap.write(frame, &headers, Tags::NONE, Trust::Verify);
        }
    }

    fn network_error(&mut self, _: Option<SocketAddr>, error: &io::Error) {
        log::debug!("UDP: {error}");
    }
}
