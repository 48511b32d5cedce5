//! Two hosts with a cable between them, and waiting for what a tunnel says of itself.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use acton_engine::{
    Client, ClientBuilder, ClientKeys, Event, EventKind, Events, MacAddr, Running, Secret,
    SecureClient, SecureServer, Server, ServerBuilder, ServerKeys, ServerName, SessionStatus,
    State, SystemRandom, TapSettings, public_key,
};
use acton_netns::{Namespace, Veth, veth};

/// How long a wait may take before the test is called hung. No measure of anything.
pub(crate) const HANG: Duration = Duration::from_secs(180);

/// A server's host and a client's, with one cable between them.
pub(crate) struct World {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
    pub(crate) server_key: Secret,
    pub(crate) client_key: Secret,
}

impl World {
    /// With nothing on either yet.
    pub(crate) fn new() -> Self {
        let (server, client) = (Namespace::new().unwrap(), Namespace::new().unwrap());
        veth(&server, "cable", &client, "cable", &Veth::new()).unwrap();
        let host = |last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last));
        server.add_address("cable", host(1), 24).unwrap();
        client.add_address("cable", host(2), 24).unwrap();
        let secret = || Secret::generate(&mut SystemRandom);
        Self { server, client, server_key: secret(), client_key: secret() }
    }

    /// The client's address on the cable.
    pub(crate) fn client_ip() -> IpAddr {
        IpAddr::from([192, 0, 2, 2])
    }

    /// A TAP with the MAC and the address of that number.
    pub(crate) fn tap(last: u8) -> TapSettings {
        let mut tap = TapSettings::new("lan");
        tap.addresses.push(format!("10.9.0.{last}/24").parse().unwrap());
        tap.mac = Some(MacAddr(2, 0, 0, 0, 0, last));
        tap
    }

    /// A server of secure mode in the making.
    pub(crate) fn secure_server(&self) -> ServerBuilder<SecureServer> {
        let keys = ServerKeys { private_key: self.server_key.clone(), network_key: None };
        Server::secure(keys).tap(Self::tap(1))
    }

    /// What the client calls the server.
    pub(crate) fn name() -> ServerName {
        SocketAddr::from(([192, 0, 2, 1], 8080)).into()
    }

    /// A client of secure mode in the making.
    pub(crate) fn secure_client(&self) -> ClientBuilder<SecureClient> {
        Client::secure(Self::name(), self.client_keys()).tap(Self::tap(2))
    }

    /// The client's keys.
    pub(crate) fn client_keys(&self) -> ClientKeys {
        ClientKeys {
            private_key: self.client_key.clone(),
            server_key: public_key(&self.server_key),
            network_key: None,
            psk: None,
        }
    }

    /// A server and a client of secure mode, connected.
    pub(crate) fn connected(&self) -> (Running, Running) {
        self.connected_with(|server| server)
    }

    /// The same, of a server that differs.
    pub(crate) fn connected_with(
        &self,
        change: impl FnOnce(ServerBuilder<SecureServer>) -> ServerBuilder<SecureServer> + Send,
    ) -> (Running, Running) {
        let server = self.server.run(|| change(self.secure_server()).start().unwrap());
        let client = self.client.run(|| self.secure_client().start().unwrap());
        until(&client, |session| session.state == State::Up);
        until(&server, |session| session.state == State::Up);
        (server, client)
    }

    /// Sends `count` datagrams of `bytes` from the client's LAN to the server's, through the tunnel.
    pub(crate) fn send(&self, count: usize, bytes: usize) {
        let receiver = self.server.run(|| UdpSocket::bind("10.9.0.1:5000").unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let sender = self.client.run(|| UdpSocket::bind("10.9.0.2:0").unwrap());
        let (mut got, mut buffer) = (0, vec![0; bytes]);
        let since = Instant::now();
        while got < count {
            assert!(since.elapsed() < HANG, "{got} of {count} came through");
            sender.send_to(&buffer, "10.9.0.1:5000").unwrap();
            got += usize::from(receiver.recv_from(&mut buffer).is_ok());
        }
    }
}

/// Waits until the one session is as wanted, and gives it.
#[track_caller]
pub(crate) fn until(running: &Running, wanted: impl Fn(&SessionStatus) -> bool) -> SessionStatus {
    let since = Instant::now();
    loop {
        let status = running.status();
        if let Some(session) = status.sessions.iter().find(|session| wanted(session)) {
            return session.clone();
        }
        assert!(since.elapsed() < HANG, "{:#?}", status.sessions);
        thread::sleep(Duration::from_millis(5));
    }
}

/// The next event that is one of those wanted.
#[track_caller]
pub(crate) fn next(events: &mut Events, wanted: impl Fn(&EventKind) -> bool) -> Arc<Event> {
    let since = Instant::now();
    while let Some(event) = events.next_within(HANG) {
        if wanted(&event.kind) {
            return event;
        }
        assert!(since.elapsed() < HANG, "last seen: {event:?}");
    }
    panic!("no such event came");
}
