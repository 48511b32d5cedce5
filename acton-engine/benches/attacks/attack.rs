//! What the attacker says.

use std::net::{Ipv4Addr, UdpSocket};

use acton_proto::handshake::{CookieKey, Initiator, MacKey, Random, Secret, SystemRandom};
use acton_proto::wire::{Caps, Datagram, HELLO_LEN, Hello, HelloPayload, Suites, VERSION};
use clap::ValueEnum;

use crate::peer::{Peer, server_key, socket};
use crate::support::{Result, server};

/// Different HELLO of a flood: more than the server remembers.
const HELLOS: u32 = 4_096;
/// Ports of one host that says HELLO.
const PORTS: usize = 64;
/// Networks that HELLO come from.
const NETWORKS: usize = 256;
/// Datagrams after which a client that moves hears whether it is asked where it is. Odd, so that it is
/// at either port.
const HEARS: u64 = 9;
/// Bytes of a datagram with an id that nobody has.
const STRAY: usize = 44;
/// How CONTROL begins (docs/PROTOCOL.md, section 2).
const CONTROL: u8 = 0x15;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Attack {
    /// KEEPALIVE of one session
    Keepalive,
    /// KEEPALIVE of one session, from two ports in turn
    TwoPorts,
    /// CONTROL of ids that nobody has
    Strays,
    /// HELLO with a right mac1 and cookie, from one address
    HelloOne,
    /// The same from 256 networks
    HelloMany,
}

/// Sends one datagram, the next of so many.
pub(crate) type Step = Box<dyn FnMut(&mut Peer, u64) + Send>;

impl Attack {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Keepalive => "KEEPALIVE",
            Self::TwoPorts => "two ports in turn",
            Self::Strays => "ids of nobody",
            Self::HelloOne => "HELLO, one address",
            Self::HelloMany => "HELLO, 256 networks",
        }
    }

    /// Datagrams a second unless told otherwise: what an audit came to.
    pub(crate) const fn rate(self) -> u32 {
        match self {
            Self::HelloOne | Self::HelloMany => 90_000,
            _ => 100_000,
        }
    }

    pub(crate) fn prepare(self) -> Result<Step> {
        Ok(match self {
            Self::Keepalive => Box::new(|attacker: &mut Peer, _| say(attacker)),
            Self::TwoPorts => Box::new(|attacker: &mut Peer, turn| {
                say(attacker);
                if turn.is_multiple_of(HEARS) {
                    // The server asks there whether this is the client.
                    attacker.turn();
                }
                std::mem::swap(&mut attacker.socket, &mut attacker.spare);
            }),
            Self::Strays => Box::new(|attacker: &mut Peer, _| {
                let mut datagram = [0; STRAY];
                SystemRandom.fill(&mut datagram[4..]);
                datagram[0] = CONTROL;
                let _ = attacker.socket.send(&datagram);
            }),
            Self::HelloOne => flood_of_hello(&vec![Ipv4Addr::new(127, 6, 0, 1); PORTS])?,
            Self::HelloMany => {
                let of = |network: usize| Ipv4Addr::new(127, 3, network as u8, 1);
                flood_of_hello(&(0..NETWORKS).map(of).collect::<Vec<_>>())?
            }
        })
    }
}

fn say(attacker: &Peer) {
    if let Some(datagram) = attacker.keepalive() {
        // What finds no room is lost, as on a network.
        let _ = attacker.socket.send(&datagram);
    }
}

/// HELLO that begin handshakes of ever other clients, with the cookies that they were asked for.
fn flood_of_hello(addresses: &[Ipv4Addr]) -> Result<Step> {
    let sockets: Vec<UdpSocket> =
        addresses.iter().map(|&address| socket(address)).collect::<Result<_>>()?;
    let cookies = CookieKey::new(&server_key(), Some(&Secret::new(server::NETWORK_KEY)));
    let mut hellos = (1..=HELLOS).map(hello).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |_, turn| {
        let number = turn as usize % hellos.len();
        let socket = &sockets[number % sockets.len()];
        let _ = socket.send(&hellos[number]);
        let mut buffer = [0; 2_048];
        while let Ok(length) = socket.recv(&mut buffer) {
            let Ok(Datagram::Retry(retry)) = Datagram::parse(&buffer[..length]) else { continue };
            let asked = hellos.get_mut((retry.receiver_id as usize).wrapping_sub(1));
            let mac1 = |hello: &[u8; HELLO_LEN]| hello[HELLO_LEN - 32..].first_chunk().copied();
            if let Some(hello) = asked
                && let Some(mac1) = mac1(hello)
                && let Some(cookie) = cookies.open(&retry, &mac1)
            {
                cookie.sign_hello(hello);
            }
        }
    }))
}

/// The HELLO of a client with a key of its own.
fn hello(id: u32) -> Result<[u8; HELLO_LEN]> {
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
    let (key, payload) = (Secret::generate(&mut SystemRandom), payload.encode());
    let (server, network) = (server_key(), Secret::new(server::NETWORK_KEY));
    let (_, noise) = Initiator::new(&key, &server, &network, &payload, &mut SystemRandom)?;
    let mut hello = Hello { sender_id: id, noise, mac1: [0; 16], mac2: [0; 16] }.encode();
    MacKey::new(&server, Some(&network)).sign_hello(&mut hello);
    Ok(hello)
}
