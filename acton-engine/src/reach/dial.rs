//! Finds the server's address, again and again, and points the socket at it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;

use nix::errno::Errno;
use parking_lot::Mutex;

use crate::ServerName;
use crate::run::running::Message;
use acton_udp::{Destination, UdpSocket};

/// Most addresses from which an answer is taken for the server's.
const MAX_ASKED: usize = 16;

/// A client's server: its name, and the address that the socket talks to now.
pub(crate) struct Dial<M> {
    server: ServerName,
    socket: UdpSocket,
    control: SyncSender<Message<M>>,
    /// Makes a message to the control thread of what a look-up found.
    news: fn(io::Result<Vec<SocketAddr>>) -> M,
    peer: Arc<Mutex<Option<SocketAddr>>>,
    /// Whether the socket is connected to the peer, and so hears what the network says of it; else
    /// it goes on when this host's own address changes.
    connected: bool,
    looking_up: bool,
    /// Where the server was looked for since it last answered.
    asked: Vec<SocketAddr>,
    /// Why the last datagram to it was not sent.
    unsent: Option<Errno>,
}

impl<M: Send + 'static> Dial<M> {
    pub(crate) fn new(
        server: ServerName,
        socket: UdpSocket,
        control: SyncSender<Message<M>>,
        news: fn(io::Result<Vec<SocketAddr>>) -> M,
        connected: bool,
    ) -> Self {
        Self {
            server,
            socket,
            control,
            news,
            peer: Arc::default(),
            connected,
            looking_up: false,
            asked: Vec::new(),
            unsent: None,
        }
    }

    /// Where the address is kept, for others to read.
    pub(crate) fn peer(&self) -> Arc<Mutex<Option<SocketAddr>>> {
        Arc::clone(&self.peer)
    }

    /// The address, where it is known.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        *self.peer.lock()
    }

    /// Whether the socket points at an address and no look-up is under way: what is said before
    /// waits.
    pub(crate) fn is_ready(&self) -> bool {
        !self.looking_up && self.peer.lock().is_some()
    }

    /// Finds the address anew: it may have changed. `attempt` counts from 1.
    pub(crate) fn connect(&mut self, attempt: u32) {
        if attempt > 1 {
            log::debug!("no answer from {}; attempt {attempt}", self.text());
        }
        if let Some(address) = self.server.literal() {
            return self.connect_to(address, attempt == 1);
        }
        if self.looking_up {
            return;
        }
        self.looking_up = true;
        let (name, control, news) = (self.server.clone(), self.control.clone(), self.news);
        let look_up = move || {
            let _ = control.send(Message::News(news(name.look_up())));
        };
        // A look-up can take many seconds, in which a stop must still be heard.
        if let Err(error) = thread::Builder::new().name("acton-dns".to_owned()).spawn(look_up) {
            self.looking_up = false;
            log::warn!("{}: cannot start a thread to look it up: {error}", self.server);
        }
    }

    /// The server answered from there, maybe late, when the next address was tried already.
    pub(crate) fn answered(&mut self, from: SocketAddr) {
        if self.asked.contains(&from) {
            *self.peer.lock() = Some(from);
        }
        self.asked.clear();
    }

    /// Takes what a look-up found. With a session it comes too late: that stays where it is.
    pub(crate) fn looked_up(&mut self, result: io::Result<Vec<SocketAddr>>, connected: bool) {
        self.looking_up = false;
        match result {
            Ok(_) if connected => {}
            Ok(addresses) => {
                // The next one each time, so that one that does not answer is passed over.
                let peer = *self.peer.lock();
                let last = addresses.iter().position(|&address| Some(address) == peer);
                let address = addresses[last.map_or(0, |last| (last + 1) % addresses.len())];
                self.connect_to(address, Some(address) != peer);
            }
            Err(error) => log::warn!("{}: {error}; trying again", self.server),
        }
    }

    fn connect_to(&mut self, address: SocketAddr, news: bool) {
        if self.connected
            && let Err(error) = self.socket.connect(address)
        {
            log::warn!("{address}: {error}; trying again");
            return;
        }
        *self.peer.lock() = Some(address);
        if !self.asked.contains(&address) {
            // Late answers come from the latest; a name may have ever other addresses.
            if self.asked.len() == MAX_ASKED {
                self.asked.remove(0);
            }
            self.asked.push(address);
        }
        if news {
            log::info!("connecting to {}", self.text());
        }
    }

    /// Sends one datagram to the server.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub(crate) fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(&self.destination(), payload);
        let errno = sent.as_ref().err().and_then(io::Error::raw_os_error);
        self.unsent = errno.map(Errno::from_raw);
        sent.inspect_err(|error| log::debug!("{}: {error}", self.text()))
    }

    /// For the log, why the last datagram to the server was not sent, in brackets; nothing if it was.
    pub(crate) fn trouble(&self) -> String {
        self.unsent.map_or_else(String::new, |errno| format!(" ({})", errno.desc()))
    }

    /// Where datagrams to the server go.
    pub(crate) fn destination(&self) -> Destination {
        match *self.peer.lock() {
            Some(peer) if !self.connected => self.socket.destination(peer, None),
            _ => Destination::connected(),
        }
    }

    /// The server's name and address, for the log.
    pub(crate) fn text(&self) -> String {
        match *self.peer.lock() {
            Some(peer) if self.server.literal().is_none() => format!("{} ({peer})", self.server),
            Some(peer) => peer.to_string(),
            None => self.server.to_string(),
        }
    }
}
