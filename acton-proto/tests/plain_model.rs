//! Plain mode under arbitrary calls in arbitrary order: the server against a slow and obvious
//! model, the client against what it promises.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use acton_proto::plain::{
    Client, ClientConfig, ClientEvent, Control, Datagram, DownReason, Origin, Server, ServerConfig,
    ServerEvent, SessionId,
};
use proptest::prelude::*;

const EXPIRE_AFTER: Duration = Duration::from_secs(30);
const MAX_SESSIONS: usize = 3;
const ADDRESSES: u8 = 6;

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![Just(Control::Hello), Just(Control::Keepalive), Just(Control::Bye)]
}

#[derive(Debug, Clone)]
enum ServerCall {
    Control(u8, Control),
    AddStatic(u8),
    /// A frame from an address came, so many milliseconds ago.
    Touch(u8, u64),
    /// The same, but told only when the server asks.
    Frame(u8, u64),
    /// Time passes, and the owner calls at each time-out.
    Run(u64),
    /// Time passes, and the owner oversleeps.
    Oversleep(u64),
    PollEvents,
    PollTransmit,
}

fn server_call() -> impl Strategy<Value = ServerCall> {
    let addr = 0..ADDRESSES;
    prop_oneof![
        8 => (addr.clone(), control()).prop_map(|(a, c)| ServerCall::Control(a, c)),
        1 => addr.clone().prop_map(ServerCall::AddStatic),
        3 => (addr.clone(), 0..20_000_u64).prop_map(|(a, ms)| ServerCall::Touch(a, ms)),
        3 => (addr, 0..20_000_u64).prop_map(|(a, ms)| ServerCall::Frame(a, ms)),
        6 => (0..40_000_u64).prop_map(ServerCall::Run),
        2 => (0..40_000_u64).prop_map(ServerCall::Oversleep),
        4 => Just(ServerCall::PollEvents),
        3 => Just(ServerCall::PollTransmit),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ModelSession {
    seen: Duration,
    origin: Origin,
    /// Of frames that the server was not told about yet.
    unreported: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    Up(Origin),
    Down(DownReason),
}

/// Of each address, in its order.
type Changes = BTreeMap<u8, Vec<Change>>;

#[derive(Default)]
struct Model {
    sessions: BTreeMap<u8, ModelSession>,
    /// What `poll_event` has yet to tell.
    changes: Changes,
    refused: u64,
    replies: Vec<(u8, Control)>,
}

impl Model {
    fn begin(&mut self, addr: u8, origin: Origin, now: Duration) {
        let session = ModelSession { seen: now, origin, unreported: Duration::ZERO };
        self.sessions.insert(addr, session);
        self.changes.entry(addr).or_default().push(Change::Up(origin));
    }

    fn end(&mut self, addr: u8, reason: DownReason) {
        self.sessions.remove(&addr);
        self.changes.entry(addr).or_default().push(Change::Down(reason));
    }

    fn is_full(&self) -> bool {
        let live = self.sessions.values().filter(|s| s.origin != Origin::Static).count();
        let ended = self.changes.values().flatten().filter(|c| matches!(c, Change::Down(_)));
        live + ended.count() >= MAX_SESSIONS
    }

    fn control(&mut self, now: Duration, addr: u8, control: Control) {
        let full = self.is_full();
        let origin = match (self.sessions.get_mut(&addr), control) {
            (Some(session), Control::Bye) if session.origin == Origin::Static => return,
            (Some(_), Control::Bye) => return self.end(addr, DownReason::Bye),
            (None, Control::Bye) => return,
            (Some(session), _) => {
                session.seen = session.seen.max(now);
                return self.replies.push((addr, control));
            }
            (None, Control::Hello) => Origin::Hello,
            (None, Control::Keepalive) => Origin::Keepalive,
        };
        if full {
            self.refused += 1;
        } else {
            self.begin(addr, origin, now);
            self.replies.push((addr, control));
        }
    }

    fn expire(&mut self, now: Duration) {
        for (addr, session) in self.sessions.clone() {
            let seen = session.seen.max(session.unreported);
            if session.origin != Origin::Static && now >= seen + EXPIRE_AFTER {
                self.end(addr, DownReason::Expired);
            }
        }
    }
}

fn poll_events(
    server: &mut Server<u8>,
    ids: &mut BTreeMap<SessionId, u8>,
) -> Result<(Changes, Option<u64>), TestCaseError> {
    let mut changes = Changes::new();
    let mut refused = None;
    while let Some(event) = server.poll_event() {
        match event {
            ServerEvent::SessionUp { id, addr, by } => {
                prop_assert_eq!(ids.insert(id, addr), None, "a name is used twice");
                changes.entry(addr).or_default().push(Change::Up(by));
            }
            ServerEvent::SessionDown { id, addr, reason } => {
                prop_assert_eq!(ids.remove(&id), Some(addr));
                changes.entry(addr).or_default().push(Change::Down(reason));
            }
            ServerEvent::Refused { total, .. } => {
                prop_assert_eq!(refused.replace(total), None);
            }
            other => prop_assert!(false, "unknown event {:?}", other),
        }
    }
    Ok((changes, refused))
}

fn server_is_like_the_model(calls: Vec<ServerCall>) -> Result<(), TestCaseError> {
    let mut now = Duration::from_secs(1_000);
    let config = {
        let mut config = ServerConfig::default();
        config.max_sessions = MAX_SESSIONS;
        config
    };
    let mut server = Server::new(config, now);
    let start = now;
    let mut model = Model::default();
    let mut ids = BTreeMap::new();

    for call in calls {
        match call {
            ServerCall::Control(addr, control) => {
                server.handle_control(now, addr, control);
                model.control(now, addr, control);
            }
            ServerCall::AddStatic(addr) => {
                let id = server.add_static(addr);
                prop_assert_eq!(server.get(addr), Some(id));
                match model.sessions.get_mut(&addr) {
                    Some(session) => session.origin = Origin::Static,
                    None => model.begin(addr, Origin::Static, start),
                }
            }
            ServerCall::Touch(addr, ago) => {
                let seen = now - Duration::from_millis(ago);
                if let Some(id) = server.get(addr) {
                    server.touch(id, seen);
                }
                if let Some(session) = model.sessions.get_mut(&addr) {
                    session.seen = session.seen.max(seen);
                }
            }
            ServerCall::Frame(addr, ago) => {
                if let Some(session) = model.sessions.get_mut(&addr) {
                    let seen = now - Duration::from_millis(ago);
                    session.unreported = session.unreported.max(seen);
                }
            }
            ServerCall::Run(ms) => {
                let end = now + Duration::from_millis(ms);
                while let Some(timeout) = server.poll_timeout().filter(|&at| at <= end) {
                    // Nobody is due before the time-out: the model would notice.
                    let early = timeout.max(now + Duration::from_nanos(1));
                    model.expire(early - Duration::from_nanos(1));
                    prop_assert_eq!(model.sessions.len(), server.len());
                    now = now.max(timeout);
                    timeout_both(&mut server, &mut model, now);
                    prop_assert!(server.poll_timeout().is_none_or(|next| next > now));
                }
                now = end;
                model.expire(now);
            }
            ServerCall::Oversleep(ms) => {
                now += Duration::from_millis(ms);
                timeout_both(&mut server, &mut model, now);
            }
            ServerCall::PollEvents => {
                let (changes, refused) = poll_events(&mut server, &mut ids)?;
                prop_assert_eq!(changes, std::mem::take(&mut model.changes));
                prop_assert!(refused.is_none_or(|total| total <= model.refused));
                prop_assert_eq!(ids.len(), server.len());
            }
            ServerCall::PollTransmit => {
                let replies: Vec<_> = std::iter::from_fn(|| server.poll_transmit()).collect();
                prop_assert_eq!(replies, std::mem::take(&mut model.replies));
            }
        }
        let addresses: BTreeSet<_> = server.sessions().map(|session| session.addr).collect();
        prop_assert!(addresses.iter().eq(model.sessions.keys()));
        prop_assert_eq!(server.len(), addresses.len());
        for session in server.sessions() {
            prop_assert_eq!(server.get(session.addr), Some(session.id));
            prop_assert_eq!(server.session(session.id), Some(session));
            prop_assert_eq!(session.origin, model.sessions[&session.addr].origin);
            // A frame that only its worker knows may show or not yet.
            let ModelSession { seen, unreported, .. } = model.sessions[&session.addr];
            prop_assert!((seen..=seen.max(unreported)).contains(&session.last_seen));
        }
    }
    Ok(())
}

fn timeout_both(server: &mut Server<u8>, model: &mut Model, now: Duration) {
    let unreported: BTreeMap<_, _> = server
        .sessions()
        .map(|session| (session.id, model.sessions[&session.addr].unreported))
        .collect();
    server.handle_timeout_with(now, |id| unreported[&id]);
    model.expire(now);
}

#[derive(Debug, Clone)]
enum ClientCall {
    Control(Control),
    Frame,
    Touch(u64),
    NetworkError,
    Run(u64),
    Oversleep(u64),
    Close,
}

fn client_call() -> impl Strategy<Value = ClientCall> {
    prop_oneof![
        6 => control().prop_map(ClientCall::Control),
        3 => Just(ClientCall::Frame),
        3 => (0..40_000_u64).prop_map(ClientCall::Touch),
        6 => Just(ClientCall::NetworkError),
        8 => (0..40_000_u64).prop_map(ClientCall::Run),
        2 => (0..100_000_u64).prop_map(ClientCall::Oversleep),
        1 => Just(ClientCall::Close),
    ]
}

fn client_keeps_its_promises(seed: u64, calls: Vec<ClientCall>) -> Result<(), TestCaseError> {
    let mut now = Duration::from_secs(1_000);
    let start = now;
    let mut client = Client::new(ClientConfig::default(), seed, now);
    let mut seen = None;
    let mut connections = 0;
    let mut closed = false;
    let mut said: Vec<(Duration, Control)> = Vec::new();

    for call in calls {
        let before = client.is_connected();
        match call {
            ClientCall::Control(control) => {
                client.handle_input(now, &Datagram::Control(control));
                let connects = control == Control::Hello && !before && !closed;
                if connects {
                    connections += 1;
                }
                if connects || before && control != Control::Bye {
                    seen = Some(now);
                }
                prop_assert_eq!(client.is_connected(), before || connects);
            }
            ClientCall::Frame => {
                client.handle_input(now, &Datagram::Frame(&[0; 60]));
                seen = if before { Some(now) } else { seen };
            }
            ClientCall::Touch(ago) => {
                let at = now - Duration::from_millis(ago);
                client.touch(at);
                seen = if before { seen.max(Some(at)) } else { seen };
            }
            ClientCall::NetworkError => {
                let timeout = client.poll_timeout();
                client.handle_network_error(now);
                prop_assert!(client.poll_timeout() <= timeout);
                prop_assert_eq!(client.is_connected(), before);
            }
            ClientCall::Run(ms) => {
                let end = now + Duration::from_millis(ms);
                while let Some(timeout) = client.poll_timeout().filter(|&at| at <= end) {
                    now = now.max(timeout);
                    let was_connected = client.is_connected();
                    client.handle_timeout(now);
                    said.extend(client.poll_transmit().map(|control| (now, control)));
                    prop_assert!(client.poll_timeout().is_some_and(|next| next > now));
                    let lost = was_connected && !client.is_connected();
                    let silent = was_connected && seen.is_some_and(|at| now >= at + EXPIRE_AFTER);
                    prop_assert_eq!(lost, silent);
                }
                now = end;
            }
            ClientCall::Oversleep(ms) => {
                now += Duration::from_millis(ms);
                client.handle_timeout(now);
            }
            ClientCall::Close => {
                client.close();
                closed = true;
            }
        }
        said.extend(client.poll_transmit().map(|control| (now, control)));
        prop_assert_eq!(client.poll_timeout().is_none(), closed);
        prop_assert!(!closed || !client.is_connected());
        // It is never silent for longer than 11 s.
        prop_assert!(
            client.poll_timeout().is_none_or(|next| next <= now + Duration::from_secs(11))
        );
    }

    let byes = said.iter().filter(|(_, control)| *control == Control::Bye).count();
    prop_assert_eq!(byes, usize::from(closed));
    prop_assert!(!closed || said.last().is_some_and(|(_, control)| *control == Control::Bye));
    // Whatever the network refuses, it says little: what is hurried, once in 5 s, the rest once in
    // 9 s, and after each start or loss some more until the back-off has grown.
    let seconds = (now - start).as_secs() as usize;
    let starts = connections + 1;
    prop_assert!(said.len() <= seconds / 5 + seconds / 9 + 8 * starts + byes);
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    prop_assert_eq!(events.last() == Some(&ClientEvent::Closed), closed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn server(calls in prop::collection::vec(server_call(), 1..120)) {
        server_is_like_the_model(calls)?;
    }

    #[test]
    fn client(seed: u64, calls in prop::collection::vec(client_call(), 1..60)) {
        client_keeps_its_promises(seed, calls)?;
    }
}
