//! A flood of HELLO from many addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use acton_proto::handshake::{Initiator, MacKey, Random, Secret, SystemRandom, public_key};
use acton_proto::plain::Control;
use acton_proto::wire::{Caps, HELLO_LEN, Hello, HelloPayload, Suites, VERSION};
use acton_udp::{Destination, SendBuffer, SendCounts, Source, UdpSocket};

use crate::flood::Flooder;
use crate::support::Result;
use crate::support::server;

/// Different HELLO, each from an address of its own, that are sent over and over.
pub(crate) const ADDRESSES: usize = 2_048;
/// First byte of a HELLO.
const HELLO: u8 = 0x11;

/// What it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// That a secure server is there.
    Nothing,
    /// The network key: each HELLO begins a handshake of another client.
    NetworkKey,
    /// That a plain server is there.
    Plain,
}

pub(crate) struct Outsider {
    socket: UdpSocket,
    buffer: SendBuffer,
    hellos: Vec<Vec<u8>>,
    /// Where all go that are sent now, each from its own address.
    to: Option<SocketAddr>,
    destinations: Vec<Destination>,
    next: usize,
}

impl Outsider {
    pub(crate) fn new(knowledge: Knowledge) -> Result<Self> {
        let hellos = (0..ADDRESSES).map(|_| hello(knowledge)).collect::<Result<_>>()?;
        let socket = UdpSocket::builder().bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let destinations = Vec::with_capacity(ADDRESSES);
        Ok(Self { socket, buffer: SendBuffer::new(), hellos, to: None, destinations, next: 0 })
    }
}

impl Flooder for Outsider {
    fn send(&mut self, count: u32, to: SocketAddr) -> Result<()> {
        if self.to.replace(to) != Some(to) {
            let destination = |number: usize| {
                let [_, _, high, low] = (number as u32).to_be_bytes();
                let from = IpAddr::V4(Ipv4Addr::new(127, 4, high, low));
                self.socket.destination(to, Some(Source::of(from, to)))
            };
            self.destinations = (0..ADDRESSES).map(destination).collect();
        }
        let mut counts = SendCounts::default();
        let mut batch = self.buffer.begin(&self.socket, &mut counts);
        for _ in 0..count {
            batch.push_parts(&self.destinations[self.next], [&self.hellos[self.next]]);
            self.next = (self.next + 1) % ADDRESSES;
        }
        batch.finish();
        Ok(())
    }
}

fn hello(knowledge: Knowledge) -> Result<Vec<u8>> {
    Ok(match knowledge {
        Knowledge::Plain => Control::Hello.as_bytes().to_vec(),
        Knowledge::Nothing => {
            let mut bytes = vec![0; HELLO_LEN];
            SystemRandom.fill(&mut bytes[4..]);
            bytes[0] = HELLO;
            bytes
        }
        Knowledge::NetworkKey => {
            let server_key = public_key(&Secret::new(server::PRIVATE_KEY));
            let network_key = Secret::new(server::NETWORK_KEY);
            let payload = HelloPayload {
                version_min: VERSION,
                version_max: VERSION,
                suites: Suites::detect(),
                caps: Caps::FRAG,
                instance: 1,
                timestamp: 1,
                max_frame: 1_514,
                pmtu: 1_472,
                keepalive: 15,
            };
            let client = Secret::generate(&mut SystemRandom);
            let random = &mut SystemRandom;
            let (_, noise) =
                Initiator::new(&client, &server_key, &network_key, &payload.encode(), random)?;
            let mut hello = Hello { sender_id: 1, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
            MacKey::new(&server_key, Some(&network_key)).sign_hello(&mut hello);
            hello.to_vec()
        }
    })
}
