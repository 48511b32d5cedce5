//! Where captures are asked for, and workers find them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use acton_frame::Filter;
use parking_lot::Mutex;
use rtrb::{Consumer, Producer, RingBuffer};

/// Captures at a time.
pub(crate) const MAX_CAPTURES: usize = 4;
/// Bytes of packets that wait for the reader of one capture, in the rings of all workers together.
const RINGS_LEN: usize = 16 << 20;
/// Bytes of one worker's ring at least, several super-frames, and at most.
const RING_LEN: [usize; 2] = [512 << 10, 4 << 20];

/// How long a worker waits at the desk for who is there, most of the time another worker with the same
/// wish: a capture that has begun must show what comes then.
const MAX_WAIT: Duration = Duration::from_millis(10);

/// What of the packets that pass is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Frames, at a server of this client alone, that pass this filter.
    Frames { client: Option<String>, filter: Option<Filter> },
    /// Datagrams.
    Datagrams,
}

/// A capture, as a worker has it.
#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) id: u64,
    pub(crate) wanted: Wanted,
    /// Bytes of a packet at most.
    pub(crate) snaplen: usize,
    /// Notes and bytes of packets.
    pub(crate) ring: Producer<u8>,
    /// Packets for which the ring had no room.
    pub(crate) lost: Arc<AtomicU64>,
}

/// The captures of one tunnel.
#[derive(Debug)]
pub(crate) struct CaptureDesk {
    /// Another number after each change: all that a worker looks at while nobody captures.
    version: AtomicU32,
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    workers: usize,
    last_id: u64,
    /// Each capture, and what workers have not fetched of it yet, by their number.
    captures: Vec<(u64, Vec<Option<Capture>>)>,
}

/// What a reader gets: one ring a worker. Dropped, it is no capture any more.
#[derive(Debug)]
pub(crate) struct CaptureRings {
    desk: Arc<CaptureDesk>,
    id: u64,
    pub(crate) rings: Vec<Consumer<u8>>,
    lost: Arc<AtomicU64>,
}

impl CaptureRings {
    /// Packets for which there was no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for CaptureRings {
    fn drop(&mut self) {
        self.desk.orders.lock().captures.retain(|(id, _)| *id != self.id);
        self.desk.changed();
    }
}

impl CaptureDesk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { version: AtomicU32::new(0), orders: Mutex::default() })
    }

    /// The number of one more worker, before anybody captures.
    pub(crate) fn enlist(&self) -> usize {
        let mut orders = self.orders.lock();
        orders.workers += 1;
        orders.workers - 1
    }

    /// A number that is another one after each change.
    #[inline]
    pub(crate) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Has workers show what is wanted from now on; `None` where there are as many captures as may be.
    pub(crate) fn open(self: &Arc<Self>, wanted: &Wanted, snaplen: usize) -> Option<CaptureRings> {
        let mut orders = self.orders.lock();
        if orders.captures.len() >= MAX_CAPTURES {
            return None;
        }
        orders.last_id += 1;
        let (id, lost) = (orders.last_id, Arc::<AtomicU64>::default());
        let [least, most] = RING_LEN;
        let len = (RINGS_LEN / orders.workers.max(1)).clamp(least, most);
        let (rings, captures) = (0..orders.workers)
            .map(|_| {
                let (ring, consumer) = RingBuffer::new(len);
                let (wanted, lost) = (wanted.clone(), Arc::clone(&lost));
                (consumer, Some(Capture { id, wanted, snaplen, ring, lost }))
            })
            .unzip();
        orders.captures.push((id, captures));
        drop(orders);
        self.changed();
        Some(CaptureRings { desk: Arc::clone(self), id, rings, lost })
    }

    /// Brings the captures of a worker up to date; false where that has to wait too long, for somebody
    /// is at the desk.
    pub(crate) fn fetch(&self, worker: usize, captures: &mut Vec<Capture>) -> bool {
        let Some(mut orders) = self.orders.try_lock_for(MAX_WAIT) else { return false };
        captures.retain(|capture| orders.captures.iter().any(|(id, _)| *id == capture.id));
        let parts = orders.captures.iter_mut().filter_map(|(_, parts)| parts.get_mut(worker));
        captures.extend(parts.filter_map(Option::take));
        true
    }
}
