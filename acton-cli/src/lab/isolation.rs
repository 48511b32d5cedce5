//! Whether frames of one client reach another at layer 2.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use acton_raw::{Filter, RawSocket};
use pnet_base::MacAddr;

use super::{Node, TAP};

/// IEEE 802 local experimental EtherType 1: no kernel answers it.
const ETHERTYPE: u16 = 0x88b5;
/// A locally administered address that nobody has.
const NOBODY: MacAddr = MacAddr(0x02, 0, 0, 0xde, 0xad, 0);
/// Frame length in bytes: Ethernet's least, without its check sequence.
const FRAME_LEN: usize = 60;
/// How long the server is given to see what it should see.
const ARRIVE_WAIT: Duration = Duration::from_secs(5);
/// How much longer a client listens for what it should not see.
const STRAY_WAIT: Duration = Duration::from_millis(200);

/// What was sent by clients, and who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Isolation {
    /// Frames sent to all and to nobody known; the server is to see each.
    pub floods: usize,
    /// How many of them the server saw.
    pub at_server: usize,
    /// Frames sent to another client's MAC; nobody is to see one.
    pub direct: usize,
    /// Frames of either kind that another client saw.
    pub at_clients: usize,
    /// Frames sent to another client's MAC that the server saw.
    pub direct_at_server: usize,
}

impl Isolation {
    /// Whether nothing reached another client.
    pub fn holds(&self) -> bool {
        self.at_clients == 0 && self.direct_at_server == 0
    }

    /// Whether all that should reach the server did: without that, silence elsewhere proves
    /// nothing.
    pub fn is_proven(&self) -> bool {
        self.at_server == self.floods
    }
}

pub(super) fn check(server: &Node, clients: &[Node]) -> io::Result<Isolation> {
    let listen = |node: &Node| {
        node.namespace.run(|| {
            RawSocket::builder(TAP)
                .filter(Filter::ethertype(ETHERTYPE))
                .promiscuous(true)
                .ignore_outgoing(true)
                .nonblocking(true)
                .build()
                .map_err(io::Error::other)
        })
    };
    let at_server = listen(server)?;
    let at_clients = clients.iter().map(listen).collect::<io::Result<Vec<_>>>()?;
    let others =
        |index: usize| (0..clients.len()).filter(move |&i| i != index).map(|i| clients[i].mac);
    let (mut floods, mut direct) = (0, 0);
    let mut seen = Seen::default();
    for (index, socket) in at_clients.iter().enumerate() {
        let source = clients[index].mac;
        for destination in [MacAddr::broadcast(), NOBODY] {
            socket.send(&frame(destination, source))?;
            floods += 1;
        }
        for destination in others(index) {
            socket.send(&frame(destination, source))?;
            direct += 1;
        }
        // One client after the other, so that no buffer of so many frames is asked for.
        let deadline = Instant::now() + ARRIVE_WAIT;
        while seen.floods < floods && Instant::now() < deadline {
            seen.take(&at_server, clients)?;
            thread::sleep(Duration::from_millis(1));
        }
    }
    thread::sleep(STRAY_WAIT);
    seen.take(&at_server, clients)?;
    let mut strays = 0;
    for socket in &at_clients {
        strays += drain(socket)?.len();
    }
    Ok(Isolation {
        floods,
        at_server: seen.floods,
        direct,
        at_clients: strays,
        direct_at_server: seen.direct,
    })
}

/// What the server saw.
#[derive(Default)]
struct Seen {
    floods: usize,
    direct: usize,
}

impl Seen {
    fn take(&mut self, socket: &RawSocket, clients: &[Node]) -> io::Result<()> {
        for destination in drain(socket)? {
            if clients.iter().any(|client| client.mac == destination) {
                self.direct += 1;
            } else {
                self.floods += 1;
            }
        }
        Ok(())
    }
}

/// The destinations of the frames that wait.
fn drain(socket: &RawSocket) -> io::Result<Vec<MacAddr>> {
    let mut destinations = Vec::new();
    let mut buffer = [0; FRAME_LEN];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {
                let [a, b, c, d, e, f, ..] = buffer;
                destinations.push(MacAddr(a, b, c, d, e, f));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(destinations),
            Err(error) => return Err(error),
        }
    }
}

fn frame(destination: MacAddr, source: MacAddr) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    frame
}
