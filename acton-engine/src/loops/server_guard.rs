//! A server's search for loops: when it probes, and what a probe that comes back means.
//!
//! Two ways to find one. A probe into the TAP that comes back through a session: the client's LAN is
//! joined to the server's by another way. A probe through a session that comes back by the TAP is the
//! same; one that comes back through another session says that two clients share a LAN, so that each
//! takes from it what the other brought. One that comes back through the session it was sent to proves
//! no way past the tunnel: any host in that LAN can send it back, which must not cut off the site. It is
//! told.
//!
//! A probe that comes back holds back the flooding of the client that brought it, and of no other:
//! who sends on what he finds in his LAN harms himself alone. (By the TAP, one that was sent to a client
//! holds back that client. Whoever brings it there was in that client's LAN.)

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use acton_bridge::Owner;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::loops::hold::{Hold, PastHold};
use crate::loops::pace::Pace;

/// Time between two probes into the TAP.
const TAP_INTERVAL: Duration = Duration::from_secs(3);
/// Time between two probes to one client, and of all of them together on the average: what ten thousand
/// clients cost is fifty datagrams a second.
const CLIENT_INTERVAL: Duration = Duration::from_secs(20);
const CLIENT_SPACING: Duration = Duration::from_millis(20);
/// Clients that are probed in one go at most: to wake the thread for each takes longer than to probe it.
const AT_ONCE: u32 = 16;
/// Least time between two probes to one client on suspicion.
const CLIENT_SUSPICION: Duration = Duration::from_secs(1);
/// Clients that are looked at in one turn of the control thread.
const TURN: usize = 64;
/// Clients held back that are looked after at each probe into the TAP.
const LOOKED_AFTER: usize = 64;
/// A probe that is older than this proves nothing any more.
pub(crate) const FRESH: Duration = Duration::from_secs(10);

/// With what a client's LAN is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinedWith<P> {
    /// The server's LAN.
    Root,
    /// The LAN of another client.
    Client(P),
}

/// Where a probe was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentTo<P> {
    Tap,
    Client(P),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action<P> {
    /// Probe into the TAP.
    ProbeTap,
    /// Probe to a client, and say whether its flooding is held back.
    ProbeClient { port: P, blocked: bool },
    /// Hold a client's flooding back, at least for so long.
    Block { port: P, with: JoinedWith<P>, hold: Duration },
    /// Let it flood again; it was held back for so long.
    Open { port: P, after: Duration },
    /// Tell that a client's LAN sends frames back.
    TellReflects { port: P },
}

/// How a client is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held<P> {
    /// With what its LAN is joined.
    pub(crate) with: JoinedWith<P>,
    /// For how long it has been held back.
    pub(crate) since: Duration,
    /// When it opens, unless a probe comes back before.
    pub(crate) opens_in: Duration,
}

/// What is known of a client.
#[derive(Debug)]
struct Client<P> {
    /// When it was last probed.
    probed: Option<Duration>,
    /// Held back, and for what.
    held: Option<(Hold, JoinedWith<P>)>,
    past: Option<PastHold>,
    /// It was told that its LAN sends frames back.
    reflects: bool,
}

/// The search, over clients `P`.
#[derive(Debug)]
pub(crate) struct ServerGuard<P> {
    pace: Pace,
    clients: HashMap<P, Client<P>, RandomState>,
    /// Who is to be probed when, in order; clients that have gone are passed over.
    queue: VecDeque<(Duration, P)>,
    /// When the next of them may be probed.
    next_client_at: Duration,
    /// Who is held back.
    held: VecDeque<P>,
    actions: VecDeque<Action<P>>,
}

impl<P: Copy + Eq + Hash> ServerGuard<P> {
    /// A search that begins now; `seed` spreads those of several servers.
    pub(crate) fn new(now: Duration, seed: u64) -> Self {
        Self {
            pace: Pace::new(now, seed),
            clients: HashMap::default(),
            queue: VecDeque::new(),
            next_client_at: now,
            held: VecDeque::new(),
            actions: VecDeque::new(),
        }
    }

    /// A client came: its LAN may be one that is joined already.
    pub(crate) fn client_up(&mut self, now: Duration, port: P) {
        let client = Client { probed: None, held: None, past: None, reflects: false };
        self.clients.insert(port, client);
        self.queue.push_back((now + self.client_interval(), port));
        self.suspect(now, Some(port));
    }

    /// A client has gone, and with it the loops through it.
    pub(crate) fn client_down(&mut self, now: Duration, port: P) {
        self.clients.remove(&port);
        self.held.retain(|held| *held != port);
        for other in self.held.clone() {
            if matches!(self.held_with(other), Some(JoinedWith::Client(with)) if with == port) {
                self.open(now, other);
            }
        }
    }

    fn held_with(&self, port: P) -> Option<JoinedWith<P>> {
        self.clients.get(&port)?.held.map(|(_, with)| with)
    }

    /// Something looks like a loop, of that client where it is one's: looks at once, within bounds.
    pub(crate) fn suspect(&mut self, now: Duration, client: Option<P>) {
        self.pace.hurry(now);
        if let Some(port) = client
            && let Some(client) = self.clients.get(&port)
            && client.probed.is_none_or(|probed| now >= probed + CLIENT_SUSPICION)
        {
            self.probe_client(now, port);
        }
    }

    /// A probe of this server's came back, from there.
    pub(crate) fn came_back(
        &mut self,
        now: Duration,
        sent_to: SentTo<P>,
        sent: Duration,
        from: Owner<P>,
    ) {
        if now.saturating_sub(sent) > FRESH {
            return;
        }
        let (port, with) = match (sent_to, from) {
            (SentTo::Tap, Owner::Leaf(port)) => (port, JoinedWith::Root),
            // The server's own LAN sends frames back: that is no loop through a client.
            (SentTo::Tap, Owner::Root) => return,
            (SentTo::Client(port), Owner::Root) => (port, JoinedWith::Root),
            // A client's LAN sends frames back, or a host there does: no way past the tunnel, and what
            // is flooded comes back once. Budgets bound what goes round there.
            (SentTo::Client(to), Owner::Leaf(port)) if to == port => {
                if let Some(client) = self.clients.get_mut(&port)
                    && !std::mem::replace(&mut client.reflects, true)
                {
                    self.actions.push_back(Action::TellReflects { port });
                }
                return;
            }
            (SentTo::Client(to), Owner::Leaf(port)) => {
                // Nothing is flooded to a client that is held back: there is no loop by that way.
                if self.held_with(to).is_some() {
                    return;
                }
                (port, JoinedWith::Client(to))
            }
        };
        let Some(client) = self.clients.get_mut(&port) else { return };
        if let Some((hold, _)) = &mut client.held {
            hold.seen = now;
            return;
        }
        let hold = Hold::begin(now, client.past);
        client.held = Some((hold, with));
        self.held.push_back(port);
        self.actions.push_back(Action::Block { port, with, hold: hold.time });
        // It learns of it at once.
        self.probe_client(now, port);
    }

    /// How many clients are held back.
    pub(crate) fn held_count(&self) -> usize {
        self.held.len()
    }

    /// How a client is held back, where it is.
    pub(crate) fn held(&self, now: Duration, port: P) -> Option<Held<P>> {
        if self.held.is_empty() {
            return None;
        }
        let (hold, with) = self.clients.get(&port)?.held?;
        let (since, opens_in) = (now.saturating_sub(hold.since), hold.until().saturating_sub(now));
        Some(Held { with, since, opens_in })
    }

    /// When [`poll`](Self::poll) has something.
    pub(crate) fn due(&self) -> Duration {
        if !self.actions.is_empty() {
            return Duration::ZERO;
        }
        let client = self.queue.front().map(|&(due, _)| due.max(self.next_client_at));
        client.map_or(self.pace.due(), |due| due.min(self.pace.due()))
    }

    /// What is to be done now, action by action.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<Action<P>> {
        if self.actions.is_empty() {
            self.look(now);
        }
        self.actions.pop_front()
    }

    fn look(&mut self, now: Duration) {
        if self.pace.take_due(now, TAP_INTERVAL) {
            self.actions.push_back(Action::ProbeTap);
            self.look_after_held(now);
        }
        if self.next_client_at <= now {
            self.look_at_clients(now);
        }
    }

    fn look_at_clients(&mut self, now: Duration) {
        let interval = self.client_interval();
        // Where there are many, with those who are next.
        let soon = now + CLIENT_SPACING * AT_ONCE.min(self.clients.len() as u32 / AT_ONCE);
        let mut probed = 0;
        for _ in 0..TURN {
            let Some((_, port)) = self.queue.pop_front_if(|&mut (due, _)| due <= soon) else {
                break;
            };
            let Some(client) = self.clients.get(&port) else { continue };
            // One that was probed for another reason waits for its next turn.
            if client.probed.is_none_or(|probed| now >= probed + interval / 2) {
                self.probe_client(now, port);
                probed += 1;
            }
            self.queue.push_back((now + interval, port));
            if probed == AT_ONCE {
                break;
            }
        }
        self.next_client_at = now + CLIENT_SPACING * probed;
    }

    fn client_interval(&self) -> Duration {
        CLIENT_INTERVAL.max(CLIENT_SPACING * self.clients.len() as u32)
    }

    /// Probes those who are held back and those with whom they share a LAN, and opens those of whom
    /// nothing was seen for long enough.
    fn look_after_held(&mut self, now: Duration) {
        for _ in 0..self.held.len().min(LOOKED_AFTER) {
            let Some(port) = self.held.pop_front() else { return };
            let held = self.clients.get(&port).and_then(|client| client.held);
            let Some((hold, with)) = held else { continue };
            self.held.push_back(port);
            if now >= hold.until() {
                self.open(now, port);
                continue;
            }
            self.actions.push_back(Action::ProbeClient { port, blocked: true });
            if let JoinedWith::Client(other) = with
                && self.held_with(other).is_none()
            {
                self.actions.push_back(Action::ProbeClient { port: other, blocked: false });
            }
        }
    }

    fn open(&mut self, now: Duration, port: P) {
        self.held.retain(|held| *held != port);
        let Some(client) = self.clients.get_mut(&port) else { return };
        let Some((hold, _)) = client.held.take() else { return };
        client.past = Some(hold.end(now));
        self.actions.push_back(Action::Open { port, after: now.saturating_sub(hold.since) });
        // Should the loop be there still, it is found within a round trip.
        client.probed = None;
        self.suspect(now, Some(port));
    }

    fn probe_client(&mut self, now: Duration, port: P) {
        let Some(client) = self.clients.get_mut(&port) else { return };
        client.probed = Some(now);
        let blocked = client.held.is_some();
        self.actions.push_back(Action::ProbeClient { port, blocked });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_that_come_at_once_are_probed_one_by_one_for_ever() {
        const CLIENTS: usize = 4_096;
        let mut guard = ServerGuard::new(Duration::ZERO, 7);
        let mut now = Duration::from_secs(1);
        (0..CLIENTS).for_each(|port| guard.client_up(now, port));
        while guard.poll(now).is_some() {}
        let mut probed = vec![0; CLIENTS];
        while now < Duration::from_secs(400) {
            now = guard.due().max(now);
            let mut clients = 0;
            while let Some(action) = guard.poll(now) {
                if let Action::ProbeClient { port, .. } = action {
                    probed[port] += 1;
                    clients += 1;
                }
            }
            assert!(clients <= AT_ONCE, "{clients} at {now:?}");
            now += Duration::from_micros(100);
        }
        // 82 s of a round, and a second that those who wait in it take.
        let (least, most) = (probed.iter().min(), probed.iter().max());
        assert!(least >= Some(&3) && most <= Some(&5), "{least:?} to {most:?}");
    }
}
