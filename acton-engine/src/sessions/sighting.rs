//! What a worker saw of a MAC, on its way to the control thread.

use std::sync::mpsc::SyncSender;
use std::time::Duration;

use acton_bridge::{DropReason, Owner};
use acton_frame::Ethernet;
use pnet_base::MacAddr;

use crate::run::control::Message;
use crate::sessions::port::LeafId;
use crate::throttle::Bucket;

/// Sightings of one worker: so many at once, one more in so much time.
const AT_ONCE: u32 = 50;
const INTERVAL: Duration = Duration::from_millis(20);

/// What a worker saw of a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) mac: MacAddr,
    /// Its VLAN, 0 for untagged.
    pub(crate) vlan: u16,
    /// Where its frame came from.
    pub(crate) at: Owner<LeafId>,
    pub(crate) what: Sighted,
    /// Sightings that were left out before it, for there were too many.
    pub(crate) left_out: u64,
}

/// What became of a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighted {
    /// It was not known.
    New,
    /// It was known elsewhere.
    Moved { from: Owner<LeafId>, frozen: bool },
    /// It may not be used from there.
    Held(DropReason),
    /// It is one more than may be there.
    NoRoom,
}

/// A worker's way to tell of MACs, of which it tells only so many and never waits.
pub(crate) struct Sightings {
    /// One for each kind: who provokes one leaves room for the others.
    buckets: [Bucket; 4],
    send: Box<dyn Fn(Sighting) -> bool + Send>,
}

impl Sightings {
    /// Tells the control thread that `control` leads to.
    pub(crate) fn new<N: Send + 'static>(control: SyncSender<Message<N>>) -> Self {
        let send = move |sighting| {
            // News for people: where there is no room, it waits for the next.
            control.try_send(Message::Sighting(sighting)).is_ok()
        };
        Self { buckets: [const { Bucket::new(INTERVAL, AT_ONCE) }; 4], send: Box::new(send) }
    }

    /// Tells what became of a frame's source.
    pub(crate) fn tell(
        &mut self,
        ethernet: Option<&Ethernet>,
        at: Owner<LeafId>,
        what: Sighted,
        now: Duration,
    ) {
        let bucket = match what {
            Sighted::New => &mut self.buckets[0],
            Sighted::Moved { .. } => &mut self.buckets[1],
            Sighted::Held(_) => &mut self.buckets[2],
            Sighted::NoRoom => &mut self.buckets[3],
        };
        if let Some(ethernet) = ethernet
            && bucket.admits(now)
        {
            let (mac, vlan) = (ethernet.source(), ethernet.vlan());
            let left_out = bucket.take_suppressed();
            if !(self.send)(Sighting { mac, vlan, at, what, left_out }) {
                bucket.add_suppressed(left_out + 1);
            }
        }
    }
}
