//! What of the frames for a client may go to it now.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::Rate;

use crate::capture::packet::{Direction, Who};
use crate::floods::news::{FloodNews, FloodReporter};
use crate::frames::store::FrameStore;
use crate::observe::counters::{Counter, Counters};
use crate::sessions::policing::PolicyReason;
use crate::sessions::session::Session;

/// A worker's part in holding back what clients get: it drops frames, counts them and tells of it.
pub(crate) struct RateOut {
    counters: Arc<Counters>,
    reporter: FloodReporter,
    /// The number of the thread, for tallies.
    thread: usize,
    /// What passed of the last run.
    parts: Vec<Range<usize>>,
}

impl RateOut {
    pub(crate) fn new(counters: Arc<Counters>, reporter: FloodReporter, thread: usize) -> Self {
        Self { counters, reporter, thread, parts: Vec::new() }
    }

    /// The whole run, as it is.
    pub(crate) fn all(&mut self, run: Range<usize>) -> &[Range<usize>] {
        self.parts.clear();
        self.parts.push(run);
        &self.parts
    }

    /// Drops a run of frames for a client; what is left of it: nothing.
    #[cold]
    pub(crate) fn none<M>(
        &mut self,
        session: &Session<M>,
        cause: Counter,
        frames: &impl FrameStore,
        run: Range<usize>,
        now: Duration,
    ) -> &[Range<usize>] {
        run.for_each(|index| self.drop(session, cause, frames, index, now));
        &[]
    }

    /// The parts of a run of frames for a client that its rate lets pass now. The others are dropped.
    #[inline(never)]
    pub(crate) fn within<M>(
        &mut self,
        session: &Session<M>,
        rate: &Rate,
        frames: &impl FrameStore,
        run: Range<usize>,
        now: Duration,
    ) -> &[Range<usize>] {
        self.parts.clear();
        let reason = PolicyReason::RateOut;
        for index in run {
            let (count, bytes) = (frames.count(index), frames.get(index).len());
            if session.policing.outbound.admits(rate, count, bytes, now) {
                match self.parts.last_mut().filter(|part| part.end == index) {
                    Some(part) => part.end += 1,
                    None => self.parts.push(index..index + 1),
                }
                continue;
            }
            self.drop(session, reason.counter(), frames, index, now);
            let news = FloodNews::PolicyActs { port: session.port, reason };
            if session.policing.note(reason, now) && !self.reporter.tell(news) {
                session.policing.forget(reason);
            }
        }
        &self.parts
    }

    /// Drops frame `index` for a client, which may stand for several of the wire.
    #[cold]
    fn drop<M>(
        &self,
        session: &Session<M>,
        cause: Counter,
        frames: &impl FrameStore,
        index: usize,
        now: Duration,
    ) {
        let count = frames.count(index).into();
        self.counters.add(cause, count);
        session.tallies.of(self.thread).add_drops(cause, count);
        let (dropped, who) = (self.counters.dropped(), Who::Client(&session.name));
        dropped.add_frame(now, Direction::Out, who, cause, frames.get(index));
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "lists of runs, of which there is one")]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::num::{NonZeroU16, NonZeroU64};
    use std::sync::mpsc::{Receiver, sync_channel};

    use acton_bridge::Policy;
    use acton_frame::Headers;
    use acton_tap::{Gso, GsoKind, VnetHeader};
    use acton_udp::UdpSocket;

    use super::*;
    use crate::floods::gate::FloodGate;
    use crate::floods::shared::Floods;
    use crate::observe::tally::Tallies;
    use crate::run::control::Message;
    use crate::sessions::policing::Policing;
    use crate::sessions::router::Everybody;

    /// Frames, all alike: one of 1,000 bytes each, or a super-frame of 40.
    struct Alike {
        frame: Vec<u8>,
        vnet: VnetHeader,
        headers: Headers,
        len: usize,
    }

    impl Alike {
        fn new(len: usize, cut_into: Option<u16>) -> Self {
            let mut frame = vec![2; 12];
            frame.extend([0x88, 0xb5]);
            frame.resize(cut_into.map_or(1_000, |count| usize::from(count) * 1_000), 7);
            let size = NonZeroU16::new(1_000).unwrap();
            let gso = cut_into.map(|_| Gso { kind: GsoKind::Tcp4, size, ecn: false });
            let headers = Headers::parse(&frame);
            Self { frame, vnet: VnetHeader { gso, ..VnetHeader::default() }, headers, len }
        }
    }

    impl FrameStore for Alike {
        fn len(&self) -> usize {
            self.len
        }
        fn vnet(&self, _: usize) -> &VnetHeader {
            &self.vnet
        }
        fn headers(&self, _: usize) -> &Headers {
            &self.headers
        }
        fn get(&self, _: usize) -> &[u8] {
            &self.frame
        }
        fn get_mut(&mut self, _: usize) -> (&mut [u8], &Headers) {
            (&mut self.frame, &self.headers)
        }
        fn take_off_tags(&mut self, _: usize, _: u8) {}
    }

    /// A client that may get so many bytes at once, or any number.
    fn session(burst: Option<u64>) -> Session<()> {
        let mut policy = Policy::default();
        policy.rate_out = burst.map(|burst| {
            let mut rate = Rate::new(NonZeroU64::new(1_000), None);
            rate.burst_bytes = NonZeroU64::new(burst).unwrap();
            rate
        });
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        Session {
            port: 1,
            name: "berlin".into(),
            to: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())
                .unwrap()
                .destination(to, None)
                .into(),
            since: Duration::ZERO,
            tallies: Arc::new(Tallies::new(1)),
            gate: Arc::new(FloodGate::new()),
            policy: Arc::new(policy.into()),
            policing: Arc::new(Policing::new(Arc::default())),
            mode: (),
        }
    }

    fn worker() -> (RateOut, Arc<Counters>, Receiver<Message<()>>) {
        let (control, heard) = sync_channel(9);
        let counters = Arc::new(Counters::new());
        let reporter = FloodReporter::new(control);
        (RateOut::new(Arc::clone(&counters), reporter, 0), counters, heard)
    }

    const AT: Duration = Duration::from_secs(100);

    /// One part of a run.
    fn part(start: usize, end: usize) -> [Range<usize>; 1] {
        std::array::from_fn(|_| start..end)
    }

    #[test]
    fn of_a_flood_passes_what_the_rate_lets_pass_and_the_rest_is_told() {
        let (mut rate_out, counters, heard) = worker();
        let everybody = Everybody::of(&Floods::new(&Default::default(), false));
        let (limited, free) = (session(Some(10_000)), session(None));
        let frames = Alike::new(40, None);
        assert_eq!(everybody.parts(&limited, &frames, 5..40, &mut rate_out, AT), part(5, 15));
        assert_eq!(everybody.parts(&free, &frames, 5..40, &mut rate_out, AT), part(5, 40));
        assert_eq!(counters.get(Counter::OverRateOut), 25);
        assert_eq!(limited.policing.acting(AT), ["rate_out"]);
        assert_eq!(heard.try_iter().count(), 1, "told once");
        // A second later there is room for one more.
        let later = AT + Duration::from_secs(1);
        assert_eq!(everybody.parts(&limited, &frames, 0..3, &mut rate_out, later), part(0, 1));
    }

    #[test]
    fn a_super_frame_counts_as_the_frames_that_it_is_cut_into() {
        let (mut rate_out, counters, _heard) = worker();
        let limited = session(Some(80_000));
        let rate = limited.policy.policy().rate_out.unwrap();
        let frames = Alike::new(3, Some(40));
        assert_eq!(rate_out.within(&limited, &rate, &frames, 0..3, AT), part(0, 2));
        assert_eq!(counters.get(Counter::OverRateOut), 40);
        assert_eq!(limited.tallies.sum().drops["rate_out"], 40);
    }

    #[test]
    fn a_client_that_is_held_back_gets_nothing_that_is_flooded() {
        let (mut rate_out, counters, _heard) = worker();
        let floods = Floods::new(&Default::default(), false);
        floods.set_blocked(1);
        let (everybody, session) = (Everybody::of(&floods), session(None));
        session.gate.set_blocked(true);
        let frames = Alike::new(3, Some(40));
        assert!(everybody.parts(&session, &frames, 0..3, &mut rate_out, AT).is_empty());
        assert_eq!(counters.get(Counter::LoopBlocked), 120);
    }
}
