//! One server and a thousand clients of plain mode, each a UDP socket of this process.
#![allow(clippy::unwrap_used)] // a test: the panic is the report

mod support;

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pnet_base::MacAddr;
use support::{
    Acton, HANG, PORT, SERVER_MAC, SERVER_V4, TEST_ETHERTYPE, Wire, World, counter, counters,
    frame, said, wait_until,
};

testbed::main! {
    a_thousand_clients_at_one_server,
}

const CLIENTS: usize = 1_000;

/// Frames under way at one time where nobody would send one again: far below what the queues of
/// the devices hold.
const BATCH: usize = 50;

/// Frames to all that are sent at once: fewer than a client's socket holds.
const MANY: u16 = 150;

/// What one client received.
#[derive(Debug, Default)]
struct Inbox {
    words: Vec<Vec<u8>>,
    frames: Vec<Vec<u8>>,
}

/// The clients, and what each received.
struct Crowd {
    sockets: Arc<Vec<UdpSocket>>,
    inboxes: Vec<Inbox>,
}

impl Crowd {
    fn new(world: &World) -> Self {
        allow_open_files(CLIENTS as u64 + 100);
        let socket = |_| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect((SERVER_V4, PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let sockets: Vec<_> = world.clients[0].run(|| (0..CLIENTS).map(socket).collect());
        Self {
            sockets: Arc::new(sockets),
            inboxes: (0..CLIENTS).map(|_| Inbox::default()).collect(),
        }
    }

    fn send(&self, client: usize, datagram: &[u8]) {
        self.sockets[client].send(datagram).unwrap();
    }

    /// Puts what waits at the sockets into the inboxes.
    fn receive(&mut self) {
        let mut buffer = [0; 2_000];
        for (socket, inbox) in self.sockets.iter().zip(&mut self.inboxes) {
            loop {
                match socket.recv(&mut buffer) {
                    Ok(length) if length < 14 => inbox.words.push(buffer[..length].to_vec()),
                    Ok(length) if buffer[12..14] == TEST_ETHERTYPE.to_be_bytes() => {
                        inbox.frames.push(buffer[..length].to_vec());
                    }
                    // What the server's kernel has to say on its LAN.
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Receives until it is so.
    #[track_caller]
    fn receive_until(&mut self, what: &str, holds: impl Fn(&[Inbox]) -> bool) {
        let start = Instant::now();
        self.receive();
        while !holds(&self.inboxes) {
            assert!(start.elapsed() < HANG, "hung waiting until {what}");
            thread::sleep(Duration::from_millis(1));
            self.receive();
        }
    }

    /// Says HELLO for every client, again each second where it was not answered; how often.
    fn register(&mut self) -> usize {
        let registered = |inbox: &Inbox| inbox.words.iter().any(|word| word == b"HELLO");
        let (start, mut said) = (Instant::now(), 0);
        while !self.inboxes.iter().all(registered) {
            assert!(start.elapsed() < HANG, "hung waiting until all are answered");
            for client in (0..CLIENTS).filter(|&i| !registered(&self.inboxes[i])) {
                self.send(client, b"HELLO");
                said += 1;
            }
            let again = Instant::now() + Duration::from_secs(1);
            while Instant::now() < again && !self.inboxes.iter().all(registered) {
                thread::sleep(Duration::from_millis(1));
                self.receive();
            }
        }
        said
    }

    /// Has one frame sent to all, waits until those who should have it do, and returns the time
    /// that took. What was sent to them before has come by then, too.
    fn flood(&mut self, root: &Wire, text: &[u8], expected: impl Fn(usize) -> bool) -> Duration {
        let to_all = test_frame(MacAddr::broadcast(), SERVER_MAC, text);
        let start = Instant::now();
        root.send(&to_all);
        self.receive_until("a frame to all has come", |inboxes| {
            (0..CLIENTS).filter(|&i| expected(i)).all(|i| inboxes[i].frames.contains(&to_all))
        });
        start.elapsed()
    }

    /// Sends many frames to all at once, and waits until each came to each client or is counted as late.
    fn check_many(&mut self, server: &Acton, root: &Wire) {
        let frames: Vec<_> = (0..MANY)
            .map(|number| test_frame(MacAddr::broadcast(), SERVER_MAC, &number.to_be_bytes()))
            .collect();
        let start = Instant::now();
        server.while_stopped(|| frames.iter().for_each(|frame| root.send(frame)));
        let late = || counter(&counters(server), "drop.flood_late") as usize;
        self.receive_until("all have come or are counted", |inboxes| {
            let came: usize = inboxes.iter().map(|inbox| inbox.frames.len()).sum();
            came + late() == CLIENTS * frames.len()
        });
        println!("{MANY} broadcasts in {:.1?}, {} late", start.elapsed(), late());
        for inbox in &mut self.inboxes {
            let mut sent = frames.iter();
            let in_order = inbox.frames.drain(..).all(|frame| sent.any(|sent| *sent == frame));
            assert!(in_order, "frames to all keep their order");
        }
    }

    /// Demands that each client received just these frames since the last time.
    #[track_caller]
    fn check_frames(&mut self, expected: impl Fn(usize) -> Vec<Vec<u8>>) {
        for client in 0..CLIENTS {
            let frames = std::mem::take(&mut self.inboxes[client].frames);
            assert_eq!(frames, expected(client), "client {client}");
        }
    }
}

/// Says KEEPALIVE for the living clients, each every few seconds, on a thread of its own.
struct Life {
    living: Arc<Mutex<Vec<bool>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Life {
    fn new(crowd: &Crowd) -> Self {
        let living = Arc::new(Mutex::new(vec![true; CLIENTS]));
        let end = Arc::new(AtomicBool::new(false));
        let (sockets, lives, ends) =
            (Arc::clone(&crowd.sockets), Arc::clone(&living), Arc::clone(&end));
        let thread = thread::spawn(move || {
            for client in (0..CLIENTS).cycle() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                // Under the lock, so that nobody speaks once dead.
                let lives = lives.lock().unwrap();
                if lives[client] {
                    sockets[client].send(b"KEEPALIVE").unwrap();
                }
                drop(lives);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self { living, end, thread: Some(thread) }
    }

    /// From here on only these speak.
    fn only(&self, lives: impl Fn(usize) -> bool) {
        *self.living.lock().unwrap() = (0..CLIENTS).map(lives).collect();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Raises this process's limit of open files to at least `needed`.
fn allow_open_files(needed: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard >= needed,
        "at most {hard} open files are allowed, {needed} are needed: ulimit -Hn"
    );
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
}

fn open_files(process: &Acton) -> usize {
    fs::read_dir(format!("/proc/{}/fd", process.id())).unwrap().count()
}

/// The MAC of a host behind a client.
fn host(client: usize) -> MacAddr {
    let [high, low] = (client as u16).to_be_bytes();
    MacAddr(2, 0xac, 0x71, 0, high, low)
}

fn test_frame(to: MacAddr, from: MacAddr, text: &[u8]) -> Vec<u8> {
    frame(to, from, TEST_ETHERTYPE, &[text, &[0; 46]].concat())
}

/// Has the host behind each client send a frame to the server: now that knows where it is.
fn learn(crowd: &Crowd, root: &Wire) {
    for first in (0..CLIENTS).step_by(BATCH) {
        let frames: Vec<_> = (first..first + BATCH)
            .map(|client| test_frame(SERVER_MAC, host(client), b"here"))
            .collect();
        for (client, frame) in (first..).zip(&frames) {
            crowd.send(client, frame);
        }
        // Of several clients several workers take care, each in its own time.
        let mut received: Vec<_> = frames.iter().map(|_| root.receive(HANG).unwrap()).collect();
        received.sort_unstable();
        assert_eq!(received, frames);
    }
}

/// How many sessions ended for this reason, each with its MAC.
fn ended(server: &Acton, reason: &str) -> usize {
    let line = format!("{reason}; 1 MAC forgotten");
    server.log().matches(&line).count()
}

fn a_thousand_clients_at_one_server() {
    let world = World::new(1);
    // Silent for 12 s is gone.
    let most = CLIENTS.to_string();
    let server = world.serve(&[
        "--keepalive",
        "4",
        "--max-sessions-per-source",
        &most,
        "--no-loop-guard", // its probes are frames at the root too
    ]);
    let root = world.server_wire();
    let mut crowd = Crowd::new(&world);
    let (memory, files) = (server.proc_status("VmRSS"), open_files(&server));
    println!("server without clients: {memory} KiB, {files} open files");

    let start = Instant::now();
    let hellos = crowd.register();
    let took = start.elapsed();
    let life = Life::new(&crowd);
    server.wait_for(&format!("; {CLIENTS} open"));
    let log = server.log();
    let up = log.lines().filter_map(|line| line.split_once(" up: ")?.1.strip_suffix(" open"));
    let addresses: HashSet<_> = up.map(|line| line.split(' ').next()).collect();
    assert_eq!(addresses.len(), CLIENTS);
    println!(
        "{CLIENTS} sessions in {took:.1?} by {hellos} HELLO: {} KiB",
        server.proc_status("VmRSS")
    );

    let start = Instant::now();
    learn(&crowd, &root);
    println!(
        "{CLIENTS} MACs learned in {:.1?}: {} KiB",
        start.elapsed(),
        server.proc_status("VmRSS")
    );

    let took = crowd.flood(&root, b"to all", |_| true);
    println!("one broadcast at {CLIENTS} clients in {took:.1?}");
    let to_all = |text| test_frame(MacAddr::broadcast(), SERVER_MAC, text);
    crowd.check_frames(|_| vec![to_all(b"to all")]);

    let start = Instant::now();
    let to_one = |client| test_frame(host(client), SERVER_MAC, b"to one");
    for first in (0..CLIENTS).step_by(BATCH) {
        (first..first + BATCH).for_each(|client| root.send(&to_one(client)));
        crowd.receive_until("a batch has come", |inboxes| {
            (first..first + BATCH).all(|client| inboxes[client].frames == [to_one(client)])
        });
    }
    println!("{CLIENTS} unicasts, one a client, in {:.1?}", start.elapsed());
    crowd.flood(&root, b"behind them", |_| true);
    crowd.check_frames(|client| vec![to_one(client), to_all(b"behind them")]);

    crowd.check_many(&server, &root);

    let start = Instant::now();
    let stays = |client: usize| client.is_multiple_of(2);
    life.only(stays);
    (0..CLIENTS).filter(|&client| !stays(client)).for_each(|client| crowd.send(client, b"BYE"));
    wait_until("all BYE are heard", || ended(&server, said::BYE) == CLIENTS / 2);
    println!("{} BYE in {:.1?}", CLIENTS / 2, start.elapsed());
    // A MAC whose client has gone is unknown: its frames go to all who are there.
    root.send(&to_one(1));
    crowd.flood(&root, b"after BYE", stays);
    crowd.check_frames(|client| match stays(client) {
        true => vec![to_one(1), to_all(b"after BYE")],
        false => Vec::new(),
    });

    let start = Instant::now();
    let lives = |client: usize| client.is_multiple_of(4);
    life.only(lives);
    wait_until("the silent ones are gone", || ended(&server, said::EXPIRED) == CLIENTS / 4);
    println!("{} expired in {:.1?}", CLIENTS / 4, start.elapsed());
    root.send(&to_one(2));
    crowd.flood(&root, b"at last", lives);
    crowd.check_frames(|client| match lives(client) {
        true => vec![to_one(2), to_all(b"at last")],
        false => Vec::new(),
    });

    // A socket serves them all.
    assert_eq!(open_files(&server), files);
    println!("server in the end: {} KiB", server.proc_status("VmRSS"));
    drop(life);
    let log = server.stop();
    assert_eq!(counter(&log, "drop.control_busy"), 0, "{}", log.lines().last().unwrap());
}
