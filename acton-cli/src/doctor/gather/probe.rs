//! What a server says to a question of ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_engine::keys::Invite;
use acton_engine::{Secret, SystemRandom};
use acton_proto::client::{Client, ClientConfig, ClientEvent};
use acton_udp::{Origin, RecvBatch, Report, SendBuffer, SendCounts, UdpSocket};

use super::By;
use crate::doctor::facts::{Answered, Gso};

/// How long an answer is waited for: some HELLO, a slow path, and the 3 s after which this host says
/// that an address is nobody's.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two questions in plain mode.
const AGAIN: Duration = Duration::from_secs(1);
/// The port where datagrams are thrown away (RFC 863), if anybody listens at all.
const DISCARD: u16 = 9;
/// Bytes of a datagram of those that the kernel is to cut.
const SEGMENT: usize = 512;

/// Asks a server for a session, as somebody whom it does not know, and says goodbye. Gives also how
/// far this host's clock is ahead of the server's, in seconds, where that said.
pub(super) fn ask(server: SocketAddr, by: &By) -> (Answered, Option<f64>) {
    let asked = match by {
        By::Invite(invite) => ask_with(server, invite),
        By::Plain => ask_plain(server).map(|answer| (answer, None)),
        By::Nothing => ask_plain(server).map(|answer| match answer {
            Answered::Silence(_) => (Answered::Mute, None),
            answer => (answer, None),
        }),
    };
    asked.unwrap_or_else(|error| (Answered::NotSent(error.to_string()), None))
}

fn socket(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0).into())?;
    socket.keep_reports()?;
    Ok(socket)
}

fn ask_with(server: SocketAddr, invite: &Invite) -> io::Result<(Answered, Option<f64>)> {
    let socket = socket(server)?;
    let to = socket.destination(server, None);
    // A key of its own: that of a client that runs would take its session.
    let mut config = ClientConfig::new(Secret::generate(&mut SystemRandom), invite.server_key);
    config.network_key = invite.network_key.clone();
    let begun = Instant::now();
    let mut client = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
    let (mut buffer, mut batch, mut asked) = (Vec::new(), RecvBatch::new(), 0);
    let mut transmit = |client: &mut Client| -> io::Result<()> {
        while let Some(segment) = client.poll_transmit(1, &mut buffer) {
            let sent = buffer.chunks(segment).try_for_each(|datagram| socket.send(&to, datagram));
            buffer.clear();
            sent?;
            asked += 1;
        }
        Ok(())
    };
    while begun.elapsed() < PATIENCE {
        let now = begun.elapsed();
        client.handle_timeout(now, u64::try_from(wall().as_nanos()).unwrap_or(u64::MAX));
        transmit(&mut client)?;
        let next = client.poll_timeout().map_or(PATIENCE, |at| at.min(PATIENCE));
        socket.wait_readable(Some(next.saturating_sub(begun.elapsed())))?;
        if let Some(answer) = reported(&socket) {
            return Ok((answer, None));
        }
        if batch.receive(&socket).is_ok() {
            let now = begun.elapsed();
            for message in batch.messages().filter(|message| message.from == server) {
                for datagram in message.datagrams() {
                    let _frames = client.handle_input(now, datagram);
                }
            }
        }
        while let Some(event) = client.poll_event() {
            match event {
                ClientEvent::Connected { server_time, .. } => {
                    let ahead =
                        wall().as_secs_f64() - Duration::from_nanos(server_time).as_secs_f64();
                    let took = begun.elapsed();
                    client.close(took);
                    transmit(&mut client)?;
                    return Ok((Answered::Welcome(took), Some(ahead)));
                }
                ClientEvent::Refused { reason } => {
                    let why =
                        format!("it gives no session to a key that it does not know ({reason:?})");
                    return Ok((Answered::Refused(why), None));
                }
                ClientEvent::Unreadable => {
                    let why = "its answer does not open: this invite has another pre-shared key";
                    return Ok((Answered::Refused(why.to_owned()), None));
                }
                _ => {}
            }
        }
    }
    Ok((Answered::Silence(asked), None))
}

fn ask_plain(server: SocketAddr) -> io::Result<Answered> {
    let socket = socket(server)?;
    let to = socket.destination(server, None);
    let (begun, mut batch, mut asked) = (Instant::now(), RecvBatch::new(), 0);
    while begun.elapsed() < PATIENCE {
        socket.send(&to, b"HELLO")?;
        asked += 1;
        let until = Instant::now() + AGAIN;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if !socket.wait_readable(Some(left))? {
                break;
            }
            if let Some(answer) = reported(&socket) {
                return Ok(answer);
            }
            let received = batch.receive(&socket).is_ok();
            if received && batch.messages().any(|message| message.from == server) {
                let took = begun.elapsed();
                socket.send(&to, b"BYE")?;
                return Ok(Answered::Welcome(took));
            }
        }
    }
    Ok(Answered::Silence(asked))
}

/// What the network said of a question, where that ends the asking.
fn reported(socket: &UdpSocket) -> Option<Answered> {
    while let Some(Report { error, origin, .. }) = socket.take_report() {
        let who = match origin {
            Origin::Icmp(who) => who,
            _ => None,
        };
        match error.kind() {
            io::ErrorKind::ConnectionRefused => return Some(Answered::NobodyListens(who)),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                return Some(Answered::Unreachable(who, error.to_string()));
            }
            _ => {}
        }
    }
    None
}

/// Whether the kernel cuts a message into datagrams on the way there. They go to the port where
/// datagrams are thrown away.
pub(super) fn segmentation(server: SocketAddr) -> Option<Gso> {
    let socket = socket(server).ok()?;
    let to = socket.destination(SocketAddr::new(server.ip(), DISCARD), None);
    let (mut buffer, mut counts) = (SendBuffer::new(), SendCounts::default());
    let run = [0; 2 * SEGMENT];
    let mut batch = buffer.begin(&socket, &mut counts);
    batch.push_run(&to, 0, &run, SEGMENT);
    batch.finish();
    let whole = u64::from(counts.sent == 2 && counts.cut == 0);
    Some(Gso { whole, cut: counts.cut })
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
