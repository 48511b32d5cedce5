//! A client's part of a worker in secure mode.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use acton_frame::Headers;
use acton_proto::session::Content;
use acton_proto::wire::{Datagram, Header};
use arc_swap::{ArcSwap, Cache};

use super::arrival::{Drops, count_bundle, deliver, has_frames, pass_mark};
use super::client::SecureUplink;
use super::sealed::{Sealed, Syns};
use crate::capture::packet::{Direction, Outcome, Who};
use crate::floods::client_screen::{ClientFloods, ClientScreen};
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::observe::tally::Tallies;
use crate::run::control::Outbox;
use crate::run::lane::{Lane, Place};
use crate::run::launch::Post;
use crate::run::side::{Arrival, Output, Side};
use crate::run::tap_writer::TapSink;

/// What a worker passes to the control thread.
pub(super) enum News {
    /// A datagram that is not for workers.
    Datagram { from: SocketAddr, bytes: Vec<u8>, place: Option<Place> },
    /// The system refused a datagram of this size.
    TooLarge(usize),
    /// A router says how large datagrams to there may be.
    PathHint(SocketAddr, usize),
    /// The network could not deliver something, to there if that is known.
    NetworkError(Option<SocketAddr>, io::ErrorKind),
    /// This host's links, addresses or routes are others.
    NetworkChanged,
    /// What a look-up of the name of the server of this number found.
    LookedUp(usize, io::Result<Vec<SocketAddr>>),
}

/// Whether a frame is for a group of hosts.
pub(super) fn is_for_group(frame: &[u8]) -> bool {
    frame.first().is_some_and(|byte| byte & 1 == 1)
}

/// The client's part of a worker.
pub(super) struct ClientSide {
    link: Cache<Arc<ArcSwap<SecureUplink>>, Arc<SecureUplink>>,
    sealed: Sealed,
    syns: Syns,
    strangers: Lane,
    counters: Arc<Counters>,
    tallies: Arc<Tallies>,
    screen: ClientScreen,
    outbox: Outbox<News>,
    thread: usize,
}

impl ClientSide {
    pub(super) fn new(
        link: Cache<Arc<ArcSwap<SecureUplink>>, Arc<SecureUplink>>,
        strangers: Lane,
        tallies: Arc<Tallies>,
        floods: Option<Arc<ClientFloods>>,
        post: Post<News>,
    ) -> Self {
        let Post { outbox, counters, floods: reporter, thread, .. } = post;
        let screen = ClientScreen::new(floods, reporter, Arc::clone(&counters));
        let (sealed, syns) = (Sealed::default(), Syns::default());
        Self { link, sealed, syns, strangers, counters, tallies, screen, outbox, thread }
    }
}

impl Side for ClientSide {
    fn send(&mut self, frames: &mut FrameBatch, now: Duration, out: &mut Output<'_>) {
        let link = self.link.load();
        let Some(keys) = &link.seal else {
            return frames.drop_all(Counter::NotConnected, now, &self.counters);
        };
        self.screen.screen_batch(frames, now, self.tallies.of(self.thread));
        if out.recorder().wants_frames() {
            let (all, outcome) = (0..frames.len(), Outcome::ToSession);
            frames.show(all, Who::Server, outcome, out.recorder());
        }
        self.syns.find(frames, 0..frames.len());
        self.syns.clamp(frames, keys);
        let (tally, who) = (self.tallies.of(self.thread), Who::Server);
        let drops = Drops { counters: &self.counters, tally, who, now };
        self.sealed.seal(&link.to, keys, frames, 0..frames.len(), now, drops);
        self.sealed.send(out);
        for (_, size) in out.refused() {
            self.outbox.post(News::TooLarge(size));
        }
    }

    fn receive<'f>(
        &mut self,
        arrival: &Arrival,
        datagram: &'f mut [u8],
        now: Duration,
        tap: &mut impl TapSink<'f>,
    ) {
        let link = self.link.load();
        let header = has_frames(datagram).then(|| Header::parse(datagram).ok()).flatten();
        let known = header.and_then(|header| {
            let id = header.receiver_id;
            let here = link.opening(id).map(|keys| (header, keys, false));
            here.or_else(|| Some((header, link.opening_beside(id)?, true)))
        });
        let Some((header, keys, is_beside)) = known else {
            // A handshake may be anybody's, and so may keys that are not known here.
            let stranger = match Datagram::parse(datagram) {
                Ok(Datagram::Sealed(Header { receiver_id: id, .. })) => {
                    link.opening(id).is_none() && link.opening_beside(id).is_none()
                }
                Ok(Datagram::Hello(_) | Datagram::Query(_)) => {
                    return arrival.drop(Counter::WrongEnd, datagram, now, &self.counters);
                }
                Err(_) => return arrival.drop(Counter::Malformed, datagram, now, &self.counters),
                Ok(_) => true,
            };
            let place = stranger.then(|| self.strangers.enter());
            if matches!(place, Some(None)) {
                return arrival.drop(Counter::ControlBusy, datagram, now, &self.counters);
            }
            let (from, bytes, place) = (arrival.from, datagram.to_vec(), place.flatten());
            self.outbox.post(News::Datagram { from, bytes, place });
            return;
        };
        let tally = self.tallies.of(self.thread);
        let drops = Drops { counters: &self.counters, tally, who: Who::Server, now };
        let len = datagram.len();
        match keys.receive(now, &header, datagram).map(|received| received.content) {
            Ok(Content::Frames(frames)) => {
                count_bundle(&self.counters, &frames);
                let (mut passed, mut bytes) = (0, 0);
                for mut frame in frames {
                    let headers = Headers::parse(frame.bytes());
                    if let Some(listener) = &link.listener
                        && listener.takes(&headers, frame.bytes())
                    {
                        self.counters.add(Counter::IsolationHeard, 1);
                        continue;
                    }
                    // What is for all comes by way of the other server too.
                    if is_beside && is_for_group(frame.bytes()) {
                        drops.add_frames(Counter::Beside, 1, Direction::In, frame.bytes());
                        continue;
                    }
                    if self.screen.passes(frame.bytes(), &headers, now, tally)
                        && pass_mark(arrival, keys, &mut frame, &headers, drops)
                    {
                        passed += 1;
                        bytes += frame.bytes().len() as u64;
                        deliver(frame, &headers, tap);
                    }
                }
                tally.add_in(passed, bytes);
            }
            Ok(Content::Piece) => self.counters.add(Counter::Pieces, 1),
            Ok(Content::BadPiece) => drops.add_datagram(Counter::BadPiece, arrival, &header, len),
            Ok(Content::Bad | Content::Control(_)) => {
                drops.add_datagram(Counter::BadFrame, arrival, &header, len);
            }
            Err(error) => drops.add_unopened(error, arrival, &header, len),
        }
    }

    fn network_error(&mut self, to: Option<SocketAddr>, error: &io::Error) {
        log::trace!("UDP: {error}");
        self.outbox.post(News::NetworkError(to, error.kind()));
    }

    fn path_hint(&mut self, to: SocketAddr, max_payload: usize) {
        self.outbox.post(News::PathHint(to, max_payload));
    }
}
