//! Transfers between the kernels of a server and its clients.

use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use nix::sys::socket::{setsockopt, sockopt};

/// Bytes of a write and of a read.
const CHUNK: usize = 64 * 1024;
/// Bytes of data in a datagram, and of the headers before it: Ethernet, IPv4, UDP.
pub(crate) const DATAGRAM: usize = 1_200;
pub(crate) const UDP_HEADERS: usize = 14 + 20 + 8;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a transfer speaks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Speech {
    /// TCP of that congestion control, as fast as it goes.
    Tcp(String),
    /// Datagrams at so many bits a second, of frames, evenly.
    Udp(f64),
}

/// One that goes on until it is dropped.
pub(crate) struct Flow {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Flow {
    /// From one host to another, which has `address`; the connection is made by `opener`, if it is TCP.
    pub(crate) fn start(
        from: &Namespace,
        to: &Namespace,
        address: IpAddr,
        speech: &Speech,
    ) -> Self {
        let mut flow = Self {
            received: Arc::default(),
            stop: Arc::default(),
            streams: Vec::new(),
            threads: Vec::new(),
        };
        match speech {
            Speech::Tcp(control) => flow.tcp(from, to, address, control),
            Speech::Udp(rate) => flow.udp(from, to, address, *rate),
        }
        flow
    }

    fn tcp(&mut self, from: &Namespace, to: &Namespace, address: IpAddr, control: &str) {
        let listener = to.run(|| TcpListener::bind((address, 0))).unwrap();
        let at = listener.local_addr().unwrap();
        let sender = from.run(|| TcpStream::connect_timeout(&at, PATIENCE)).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        setsockopt(&sender, sockopt::TcpCongestion, &OsString::from(control)).unwrap();
        self.streams.extend([sender.try_clone().unwrap(), receiver.try_clone().unwrap()]);
        let (mut sender, mut receiver) = (sender, receiver);
        self.threads.push(thread::spawn(move || {
            let chunk = vec![0x5a; CHUNK];
            while sender.write_all(&chunk).is_ok() {}
        }));
        let received = Arc::clone(&self.received);
        self.threads.push(thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = receiver.read(&mut buffer) {
                received.fetch_add(length as u64, Ordering::Relaxed);
            }
        }));
    }

    fn udp(&mut self, from: &Namespace, to: &Namespace, address: IpAddr, rate: f64) {
        let receiver = to.run(|| UdpSocket::bind((address, 0))).unwrap();
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let at = receiver.local_addr().unwrap();
        let sender = from.run(|| {
            let sender = UdpSocket::bind(SocketAddr::from(([0; 4], 0))).unwrap();
            sender.connect(at).unwrap();
            sender
        });
        let interval = Duration::from_secs_f64((DATAGRAM + UDP_HEADERS) as f64 * 8.0 / rate);
        let (stop, stopped) = (Arc::clone(&self.stop), Arc::clone(&self.stop));
        self.threads.push(thread::spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                // A full queue is loss like any other.
                let _ = sender.send(&[0x5a; DATAGRAM]);
                next += interval;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }));
        let received = Arc::clone(&self.received);
        self.threads.push(thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while !stopped.load(Ordering::Relaxed) {
                match receiver.recv(&mut buffer) {
                    Ok(length) => _ = received.fetch_add(length as u64, Ordering::Relaxed),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        }));
    }

    /// Bytes of data that came so far.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for stream in &self.streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
