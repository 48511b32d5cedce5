//! A client that floods its server with frames.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use acton_proto::handshake::{Random, SystemRandom};

use crate::contender::TAP;
use crate::flood::Flooder;
use crate::support::Result;
use crate::support::crowd::{Socket, Speaker, answers, mac, who_has};
use crate::support::server::Mode;

/// Length of a frame in bytes: Ethernet's least, without its check sequence.
const FRAME: usize = 60;
/// IEEE 802 local experimental EtherType 1: no kernel answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// How long it may take to join, and to be told the MAC of the server's TAP.
const JOIN: Duration = Duration::from_secs(5);
/// Time between two looks meanwhile, and two questions.
const LOOK: Duration = Duration::from_millis(20);

/// What its frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frames {
    /// Broadcasts.
    Broadcasts,
    /// To the server's TAP, each from a MAC that no other had.
    RandomMacs,
}

pub(crate) struct Insider {
    client: Speaker,
    socket: Socket,
    start: Instant,
    frames: Frames,
    frame: [u8; FRAME],
    datagram: Vec<u8>,
}

impl Insider {
    /// Joins as client `number` from `from`.
    pub(crate) fn join(
        mode: Mode,
        number: usize,
        from: Ipv4Addr,
        server: SocketAddr,
        frames: Frames,
    ) -> Result<Self> {
        let mut frame = [0; FRAME];
        frame[6..12].copy_from_slice(&mac(number));
        frame[12..14].copy_from_slice(&ETHERTYPE);
        let mut insider = Self {
            client: Speaker::new(mode, number, Duration::ZERO),
            socket: Socket::new(from, server)?,
            start: Instant::now(),
            frames,
            frame,
            datagram: Vec::new(),
        };
        let (mac, nobody) = (mac(number), Ipv4Addr::UNSPECIFIED);
        let question = who_has(TAP.addr(), mac, nobody);
        let mut root = None;
        while root.is_none() {
            if insider.start.elapsed() > JOIN {
                return Err("the client that is to flood does not join".into());
            }
            let now = insider.start.elapsed();
            if insider.client.frame(now, &question, &mut insider.datagram)? {
                insider.socket.send(&insider.datagram)?;
            }
            thread::sleep(LOOK);
            insider.receive(|frame| {
                if answers(frame, mac, nobody) {
                    root = frame.get(6..12).map(<[u8]>::to_vec);
                }
            })?;
        }
        let to = match (frames, root) {
            (Frames::RandomMacs, Some(root)) => root,
            _ => vec![0xff; 6],
        };
        insider.frame[..6].copy_from_slice(&to);
        Ok(insider)
    }

    fn receive(&mut self, mut deliver: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = [0; 2_048];
        let now = self.start.elapsed();
        while let Some(arrived) = self.socket.receive(&mut buffer)? {
            self.client.handle_input(now, &mut buffer[..arrived.length], &mut deliver);
        }
        if self.client.poll_timeout().is_some_and(|due| due <= now) {
            self.client.handle_timeout(now);
        }
        while self.client.poll_transmit(&mut self.datagram) {
            self.socket.send(&self.datagram)?;
        }
        while self.client.poll_happening().is_some() {}
        Ok(())
    }
}

impl Flooder for Insider {
    fn tick(&mut self) -> Result<()> {
        self.receive(|_| {})
    }

    fn send(&mut self, count: u32, to: SocketAddr) -> Result<()> {
        let now = self.start.elapsed();
        for _ in 0..count {
            if self.frames == Frames::RandomMacs {
                // Locally administered; of 2^40 a million hardly ever meet.
                SystemRandom.fill(&mut self.frame[7..12]);
            }
            if self.client.frame(now, &self.frame, &mut self.datagram)? {
                self.socket.send_to(&self.datagram, to)?;
            }
        }
        Ok(())
    }
}
