//! A way that takes time: a relay of UDP that holds each datagram for as long.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acton_netns::Namespace;
use socket2::SockRef;

use crate::support::{PORT, PROXY_V4, SERVER_V4};

/// Bytes that wait in a socket of the relay, so that it loses nothing itself.
const ROOM: usize = 16 << 20;

/// A datagram on its way: when it is due, the socket that sends it, where to, and its bytes. As all take
/// equally long, the first to come is the first to go.
type Held = (Instant, Arc<UdpSocket>, SocketAddr, Vec<u8>);

/// Relays between whoever sends to the port of a server at the relay's address and the server; each way
/// takes `delay`. It ends with the program.
pub(crate) fn start(host: &Namespace, delay: Duration) {
    let server = SocketAddr::new(SERVER_V4, PORT);
    let front = host.run(|| socket((PROXY_V4, PORT)));
    let [up, down] = [(); 2].map(|()| {
        let (sender, receiver) = channel();
        host.spawn_thread(move || release(&receiver)).unwrap();
        sender
    });
    let backs = Mutex::new(HashMap::<SocketAddr, Arc<UdpSocket>>::new());
    host.spawn_thread(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (length, client) = front.recv_from(&mut buffer).unwrap();
            let due = Instant::now() + delay;
            let mut backs = backs.lock().unwrap();
            let back = backs.entry(client).or_insert_with(|| {
                let back = socket((PROXY_V4, 0));
                hold(Arc::clone(&back), Arc::clone(&front), client, delay, down.clone());
                back
            });
            let _ = up.send((due, Arc::clone(back), server, buffer[..length].to_vec()));
        }
    })
    .unwrap();
}

fn socket((address, port): (IpAddr, u16)) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((address, port)).unwrap();
    let _ = SockRef::from(&socket).set_recv_buffer_size(ROOM);
    Arc::new(socket)
}

/// Takes what comes for a client.
fn hold(
    from: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    delay: Duration,
    held: Sender<Held>,
) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((length, _)) = from.recv_from(&mut buffer) {
            let due = Instant::now() + delay;
            let _ = held.send((due, Arc::clone(&front), client, buffer[..length].to_vec()));
        }
    });
}

/// Sends each when it is due.
fn release(held: &Receiver<Held>) {
    for (due, socket, to, bytes) in held {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // A refusal is a datagram lost, as on any network.
        let _ = socket.send_to(&bytes, to);
    }
}
