use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What happens to datagrams on their way, each way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Impairment {
    /// The share of datagrams lost, 0 to 1.
    pub(crate) loss: f64,
    /// The share of datagrams delivered twice.
    pub(crate) duplicate: f64,
    /// The share of datagrams held back by `delay` once more, so that later ones overtake them.
    pub(crate) reorder: f64,
    /// The share of datagrams in which one bit is turned.
    pub(crate) flip: f64,
    /// The time every datagram takes.
    pub(crate) delay: Duration,
    /// Whether pieces of frames (acton/1) are lost, as with a peer that takes none.
    pub(crate) no_pieces: bool,
}

/// A datagram as it came to the proxy.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) to_server: bool,
    pub(crate) payload: Vec<u8>,
}

/// A UDP relay in a namespace that impairs what it relays: the server sees each of its clients
/// as a port of the relay.
pub(crate) struct Proxy {
    impairment: Arc<Mutex<Impairment>>,
    record: Arc<Mutex<Vec<Recorded>>>,
    orders: Sender<Order>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Counts>>,
}

/// What a [`Proxy`] has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) relayed: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    pub(crate) flipped: u64,
}

/// What the relay's thread is told to do.
enum Order {
    /// Stand for every client by another port from now on.
    Rebind,
    /// Send these again, the way they went the first time.
    Replay(Vec<Recorded>),
}

impl Proxy {
    /// Relays between whoever sends to `port` of `address` and `server`.
    pub(crate) fn start(
        namespace: &Namespace,
        (address, port): (IpAddr, u16),
        server: SocketAddr,
        impairment: Impairment,
        seed: u64,
    ) -> Self {
        let impairment = Arc::new(Mutex::new(impairment));
        let stop = Arc::new(AtomicBool::new(false));
        let front = namespace.run(|| UdpSocket::bind((address, port))).unwrap();
        front.set_nonblocking(true).unwrap();
        let record = Arc::default();
        let (orders, inbox) = channel();
        let relay = Relay {
            orders: inbox,
            record: Arc::clone(&record),
            front,
            server,
            backs: HashMap::new(),
            queue: BinaryHeap::new(),
            impairment: Arc::clone(&impairment),
            random: Random(seed),
            counts: Counts::default(),
        };
        let stopped = Arc::clone(&stop);
        let thread = namespace.spawn_thread(move || relay.run(&stopped)).unwrap();
        Self { impairment, record, orders, stop, thread: Some(thread) }
    }

    /// Changes what happens to the datagrams that arrive from now on.
    pub(crate) fn set(&self, impairment: Impairment) {
        *self.impairment.lock().unwrap() = impairment;
    }

    /// Every datagram that came so far, in its order.
    pub(crate) fn recorded(&self) -> Vec<Recorded> {
        self.record.lock().unwrap().clone()
    }

    /// Sends datagrams again, between the same two addresses as the first time.
    pub(crate) fn replay(&self, datagrams: Vec<Recorded>) {
        self.orders.send(Order::Replay(datagrams)).unwrap();
    }

    /// Forgets the ports that stood for clients, as a translator does that was switched off and
    /// on: the server sees every client at another port with its next datagram.
    pub(crate) fn rebind(&self) {
        self.orders.send(Order::Rebind).unwrap();
    }

    /// Stops relaying.
    pub(crate) fn stop(mut self) -> Counts {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The state of the relay's thread.
struct Relay {
    orders: Receiver<Order>,
    record: Arc<Mutex<Vec<Recorded>>>,
    front: UdpSocket,
    server: SocketAddr,
    /// A client's address and the socket that stands for it before the server.
    backs: HashMap<SocketAddr, UdpSocket>,
    queue: BinaryHeap<Reverse<Held>>,
    impairment: Arc<Mutex<Impairment>>,
    random: Random,
    counts: Counts,
}

/// A datagram on its way; the earliest due goes first, and of equals the first come.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    order: u64,
    client: SocketAddr,
    to_server: bool,
    payload: Vec<u8>,
}

impl Relay {
    fn run(mut self, stop: &AtomicBool) -> Counts {
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            while let Ok(order) = self.orders.try_recv() {
                self.obey(order);
            }
            while let Ok((length, client)) = self.front.recv_from(&mut buffer) {
                self.backs.entry(client).or_insert_with(|| back_of(&self.front, self.server));
                self.hold(client, true, &buffer[..length]);
            }
            let clients: Vec<_> = self.backs.keys().copied().collect();
            for client in clients {
                while let Ok(length) = self.backs[&client].recv(&mut buffer) {
                    self.hold(client, false, &buffer[..length]);
                }
            }
            self.release();
        }
        self.counts
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Rebind => self.backs.clear(),
            Order::Replay(datagrams) => {
                for (client, back) in &self.backs {
                    for Recorded { to_server, payload } in &datagrams {
                        let _ = match to_server {
                            true => back.send(payload),
                            false => self.front.send_to(payload, client),
                        };
                        // No faster than a receiver's buffer holds.
                        thread::sleep(Duration::from_micros(20));
                    }
                }
            }
        }
    }

    /// Waits for a datagram, for one that falls due, or a little while.
    fn wait(&self) {
        let due = self.queue.peek().map(|Reverse(held)| held.due);
        let wait = due.map_or(20, |due| {
            let left = due.saturating_duration_since(Instant::now());
            u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(20).min(20)
        });
        let sockets = self.backs.values().chain([&self.front]);
        let mut sockets: Vec<_> =
            sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let _ = poll(&mut sockets, PollTimeout::from(wait));
    }

    fn hold(&mut self, client: SocketAddr, to_server: bool, payload: &[u8]) {
        let impairment = *self.impairment.lock().unwrap();
        self.record.lock().unwrap().push(Recorded { to_server, payload: payload.to_vec() });
        // The type byte of DATA, and the byte behind it where a frame is not in pieces.
        let is_piece = payload.starts_with(&[0x14]) && !payload.starts_with(&[0x14, 0x01]);
        if self.random.chance(impairment.loss) || impairment.no_pieces && is_piece {
            self.counts.lost += 1;
            return;
        }
        let copies = if self.random.chance(impairment.duplicate) { 2 } else { 1 };
        self.counts.duplicated += copies - 1;
        for _ in 0..copies {
            let mut due = Instant::now() + impairment.delay;
            if self.random.chance(impairment.reorder) {
                self.counts.reordered += 1;
                due += impairment.delay;
            }
            self.counts.relayed += 1;
            let order = self.counts.relayed;
            let mut payload = payload.to_vec();
            if !payload.is_empty() && self.random.chance(impairment.flip) {
                self.counts.flipped += 1;
                let bit = self.random.next() as usize % (payload.len() * 8);
                payload[bit / 8] ^= 1 << (bit % 8);
            }
            self.queue.push(Reverse(Held { due, order, client, to_server, payload }));
        }
    }

    fn release(&mut self) {
        let now = Instant::now();
        while self.queue.peek().is_some_and(|Reverse(held)| held.due <= now) {
            let Some(Reverse(held)) = self.queue.pop() else { return };
            // A refusal (ECONNREFUSED) is a datagram lost, as on any network.
            let _ = if held.to_server {
                let back = self.backs.entry(held.client);
                back.or_insert_with(|| back_of(&self.front, self.server)).send(&held.payload)
            } else {
                self.front.send_to(&held.payload, held.client)
            };
        }
    }
}

/// A socket on the relay's own address and a port of its own.
fn back_of(front: &UdpSocket, server: SocketAddr) -> UdpSocket {
    let back = UdpSocket::bind((front.local_addr().unwrap().ip(), 0)).unwrap();
    back.connect(server).unwrap();
    back.set_nonblocking(true).unwrap();
    back
}

/// splitmix64, so that a seed gives the same fate to the same sequence of datagrams.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self, share: f64) -> bool {
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn <= share && share > 0.0
    }
}
