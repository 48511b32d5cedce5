//! A client's part of a worker in plain mode.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::plain::{Control, Datagram};
use acton_tap::offload::{Tags, Trust};
use acton_udp::Destination;

use super::bad_datagram;
use super::client::PlainUplink;
use crate::capture::packet::{Outcome, Who};
use crate::floods::client_screen::{ClientFloods, ClientScreen};
use crate::frames::batch::FrameBatch;
use crate::frames::cut::Cut;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tallies;
use crate::run::control::Outbox;
use crate::run::launch::Post;
use crate::run::side::{Arrival, Output, Side};
use crate::run::tap_writer::TapSink;

/// What a worker passes to the control thread.
pub(super) enum News {
    /// A control word.
    Control(Control),
    /// The network could not deliver something.
    NetworkError(io::ErrorKind),
    /// What a look-up of the server's name found.
    LookedUp(io::Result<Vec<SocketAddr>>),
}

/// The client's part of a worker.
pub(super) struct ClientSide {
    link: Arc<PlainUplink>,
    server: Destination,
    cut: Cut,
    counters: Arc<Counters>,
    tallies: Arc<Tallies>,
    screen: ClientScreen,
    outbox: Outbox<News>,
    thread: usize,
}

impl ClientSide {
    pub(super) fn new(
        link: Arc<PlainUplink>,
        tallies: Arc<Tallies>,
        floods: Option<Arc<ClientFloods>>,
        post: Post<News>,
    ) -> Self {
        let Post { outbox, counters, floods: reporter, thread, .. } = post;
        let screen = ClientScreen::new(floods, reporter, Arc::clone(&counters));
        let server = Destination::connected();
        Self { link, server, cut: Cut::default(), counters, tallies, screen, outbox, thread }
    }
}

impl Side for ClientSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        if !self.link.connected.load(Ordering::Relaxed) {
            return frames.drop_all(Counter::NotConnected, now, &self.counters);
        }
        let tally = self.tallies.of(self.thread);
        self.screen.screen_batch(frames, now, tally);
        if out.recorder().wants_frames() {
            let (all, outcome) = (0..frames.len(), Outcome::ToSession);
            frames.show(all, Who::Server, outcome, out.recorder());
        }
        self.cut.fill(frames);
        self.cut.count_bad(frames, now, &self.counters);
        if out.recorder().wants_datagrams() {
            self.cut.show(frames, 0..frames.len(), &self.server, out.recorder());
        }
        let mut batch = out.batch();
        let (mut count, mut bytes) = (0, 0);
        for parts in self.cut.parts(frames, 0..frames.len()) {
            count += 1;
            bytes += parts.iter().map(|part| part.len() as u64).sum::<u64>();
            batch.push_parts(&self.server, parts);
        }
        batch.finish();
        tally.add_out(count, bytes);
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        match Datagram::parse(datagram) {
            Ok(Datagram::Frame(frame)) => {
                self.link.last_frame.store(now.as_nanos() as u64, Ordering::Relaxed);
                if self.link.connected.load(Ordering::Relaxed) {
                    let (tally, headers) = (self.tallies.of(self.thread), Headers::parse(frame));
                    if arrival.slows(frame) {
                        arrival.drop(Counter::StandingQueue, frame, now, &self.counters);
                    } else if self.screen.passes(frame, &headers, now, tally) {
                        tally.add_in(1, frame.len() as u64);
                        tap.write(frame, &headers, Tags::NONE, Trust::Verify);
                    }
                } else {
                    arrival.drop(Counter::NoSession, frame, now, &self.counters);
                }
            }
            Ok(Datagram::Control(Control::Bye)) => {
                arrival.drop(Counter::WrongEnd, datagram, now, &self.counters);
            }
            Ok(Datagram::Control(control)) => {
                self.outbox.post(News::Control(control));
            }
            Err(error) => arrival.drop(bad_datagram(error), datagram, now, &self.counters),
        }
    }

    fn network_error(&mut self, _: Option<SocketAddr>, error: &io::Error) {
        log::debug!("UDP: {error}");
        self.outbox.post(News::NetworkError(error.kind()));
    }
}
