//! A client of the engine's with a TAP, in a network namespace of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{Client, ClientKeys, Running, ServerName, State, TapSettings};
use acton_netns::{Namespace, Veth, veth};
use acton_proto::handshake::{Secret, public_key};
use ipnet::{IpNet, Ipv4Net};

use crate::contender::{PORT, TAP};
use crate::support::crowd::private_key;
use crate::support::server::{self, Mode};
use crate::support::{Result, silence_ipv6};

/// How long one may take to connect.
const CONNECT: Duration = Duration::from_secs(10);
/// Time between two looks whether it has.
const LOOK: Duration = Duration::from_millis(10);
/// MTU of the cable in bytes: in plain mode, too, a full frame of the LAN fits into a packet.
const MTU: u32 = 1_600;
/// Their keys are those of clients behind any that a crowd has.
const FIRST_KEY: usize = 1 << 20;

/// A host at the other end of a cable.
#[derive(Debug)]
pub(crate) struct Host {
    // Dropped first, so that it says goodbye.
    running: Running,
    pub(crate) namespace: Namespace,
    /// The address of the server's end of the cable.
    pub(crate) router: Ipv4Addr,
}

impl Host {
    /// Joins host `number` (from 1) to a server that listens in the calling thread's namespace.
    pub(crate) fn join(mode: Mode, number: u8) -> Result<Self> {
        let (here, namespace) = (Namespace::current()?, Namespace::new()?);
        namespace.run(silence_ipv6)?;
        // Out of the block for network tests (RFC 2544).
        let [router, own] = [1, 2].map(|end| Ipv4Addr::new(198, 18, number, end));
        let device = format!("host{number}");
        veth(&here, &device, &namespace, "eth0", &Veth::new().mtu(MTU))?;
        here.add_address(&device, router.into(), 24)?;
        namespace.add_address("eth0", own.into(), 24)?;

        let mut tap = TapSettings::new("acton");
        let address = Ipv4Addr::new(10, 9, 255, number);
        tap.addresses.push(IpNet::V4(Ipv4Net::new(address, TAP.prefix_len())?));
        let server = ServerName::from(SocketAddr::from((router, PORT)));
        // What a thread inside starts stays inside.
        let running = namespace.run(|| match mode {
            Mode::Secure => Client::secure(server, keys(number)).tap(tap).start(),
            Mode::Plain => Client::plain(server).tap(tap).start(),
        })?;
        let host = Self { running, namespace, router };
        let deadline = Instant::now() + CONNECT;
        while !host.is_up() {
            if Instant::now() > deadline {
                return Err(format!("host {number} does not connect").into());
            }
            thread::sleep(LOOK);
        }
        Ok(host)
    }

    fn is_up(&self) -> bool {
        self.running.status().sessions.iter().any(|session| session.state == State::Up)
    }
}

fn keys(number: u8) -> ClientKeys {
    ClientKeys {
        private_key: private_key(FIRST_KEY + usize::from(number)),
        server_key: public_key(&Secret::new(server::PRIVATE_KEY)),
        network_key: Some(Secret::new(server::NETWORK_KEY)),
        psk: None,
    }
}
