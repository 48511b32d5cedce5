//! Circuits of clients: named in what they ask of servers behind the root, taken out of what these answer.

use std::hash::Hash;
use std::sync::LazyLock;
use std::time::Duration;

use acton_bridge::{
    Bridge, Circuit, CircuitEcho, CircuitFacts, CircuitProtocol, CompiledPolicy, Objection, Owner,
};
use acton_frame::Headers;
use nix::unistd::gethostname;

use crate::floods::shared::Floods;
use crate::frames::batch::FrameBatch;
use crate::frames::store::FrameStore;
use crate::observe::status::CircuitReport;
use crate::sessions::directory::Directory;
use crate::sessions::port::LeafId;
use crate::sessions::session::Session;

/// What a worker keeps of circuits.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    /// The frame that was named last.
    marked: Vec<u8>,
    /// Which frames of a batch are for which client, whatever their addresses say.
    named: Vec<(usize, LeafId)>,
}

/// This host's name, as it was when it was first asked for; `localhost` where it is not known or not
/// printable ASCII.
pub(crate) fn host_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        let name = gethostname().ok().and_then(|name| name.into_string().ok());
        let is_plain =
            |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        name.filter(is_plain).unwrap_or_else(|| "localhost".to_owned())
    });
    &NAME
}

/// What a policy and a name say of a client.
pub(crate) fn facts<'a>(policy: &CompiledPolicy, name: &'a str) -> CircuitFacts<'a> {
    let is_trusted = policy.policy().trusted == Some(true);
    CircuitFacts { client: name, server: host_name(), is_trusted }
}

/// What a client's circuit has against a frame of the client's.
pub(crate) fn objection<M>(
    session: &Session<M>,
    headers: &Headers,
    frame: &[u8],
) -> Option<Objection> {
    let circuit = session.policy.policy().circuit.as_ref()?;
    let facts = facts(&session.policy, &session.name);
    circuit.mark(&facts, headers, frame).err().map(|_| Objection::Circuit)
}

/// Whether a server's answer has the name of a client's circuit in it.
fn is_for<M>(session: &Session<M>, echo: &CircuitEcho, frame: &[u8]) -> bool {
    let circuit = session.policy.policy().circuit.as_ref();
    circuit
        .is_some_and(|circuit| circuit.is_in(&facts(&session.policy, &session.name), echo, frame))
}

/// Whom an answer with the name of a circuit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// No client has that name, or not the one that it is addressed to: it goes on as it is.
    Nobody,
    /// The name is taken out, and it goes by its address.
    ByAddress,
    /// The name is taken out, and it goes to that client, whatever its address.
    Client(LeafId),
}

/// Which client a frame from the root is addressed to.
pub(crate) fn leads_to(
    headers: &Headers,
    frame: &[u8],
    bridge: &Bridge<LeafId>,
    floods: &Floods,
    now: Duration,
) -> Option<LeafId> {
    // A pair of tags leads to its client whatever the address.
    let by_tags = floods.are_by_vlan().then(|| floods.pairs.find(headers, frame)).flatten();
    if let Some(holder) = by_tags {
        return holder.port();
    }
    let ethernet = headers.ethernet()?;
    match bridge.lookup(ethernet.vlan(), ethernet.destination(), now) {
        Some(Owner::Leaf(port)) => Some(port),
        _ => None,
    }
}

/// Whom a frame from the root with the name of a circuit is for, which [leads](leads_to) `there`.
pub(crate) fn addressee<K: Copy + Eq + Hash, M>(
    directory: &Directory<K, Session<M>>,
    echo: &CircuitEcho,
    frame: &[u8],
    there: Option<LeafId>,
) -> Addressee {
    if let Some(port) = there {
        if directory.read(port, |session| is_for(session, echo, frame)) == Some(true) {
            return Addressee::ByAddress;
        }
        // What is addressed to another client is that one's, but for what a relay gets.
        if echo.protocol() != CircuitProtocol::Dhcp6 {
            return Addressee::Nobody;
        }
    }
    let (mut found, mut count) = (None, 0);
    directory.for_each(|session| {
        if is_for(session, echo, frame) {
            found = Some((session.port, session.gate.is_blocked()));
            count += 1;
        }
    });
    match found {
        None => Addressee::Nobody,
        Some((port, false)) if count == 1 => Addressee::Client(port),
        // Where several have one name, or nothing is to be flooded to the client.
        Some(_) => Addressee::ByAddress,
    }
}

impl Circuits {
    /// The frame of a client's with the name of its circuit in it; `None` where it goes on as it is.
    #[cold]
    pub(crate) fn mark<M>(
        &mut self,
        session: &Session<M>,
        headers: &Headers,
        frame: &[u8],
        is_partial: bool,
    ) -> Option<&mut [u8]> {
        let circuit = session.policy.policy().circuit.as_ref()?;
        let facts = facts(&session.policy, &session.name);
        let mark = circuit.mark(&facts, headers, frame).ok()??;
        mark.write(headers, frame, is_partial, &mut self.marked);
        Some(&mut self.marked)
    }

    /// Forgets the batch before.
    pub(crate) fn begin(&mut self) {
        self.named.clear();
    }

    /// Which client frame `index` is for, whatever its address says.
    #[inline]
    pub(crate) fn named(&self, index: usize) -> Option<LeafId> {
        self.named.iter().find(|named| named.0 == index).map(|named| named.1)
    }

    /// Takes the name of a circuit out of frame `index`, from the TAP; whether there was one of a
    /// client's. Where the frame's address does not lead to it, it is noted whom the frame is for: what
    /// answers one client is told to no other.
    #[cold]
    pub(crate) fn take_out<K: Copy + Eq + Hash, M>(
        &mut self,
        frames: &mut FrameBatch,
        index: usize,
        bridge: &Bridge<LeafId>,
        floods: &Floods,
        directory: &Directory<K, Session<M>>,
        now: Duration,
    ) -> bool {
        let (frame, headers) = (frames.get(index), *frames.headers(index));
        let Some(echo) = CircuitEcho::find(&headers, frame) else { return false };
        let there = leads_to(&headers, frame, bridge, floods, now);
        match addressee(directory, &echo, frame, there) {
            Addressee::Nobody => return false,
            Addressee::ByAddress => {}
            Addressee::Client(port) => self.named.push((index, port)),
        }
        frames.shorten(index, |frame, headers, is_partial| echo.remove(headers, frame, is_partial))
    }
}

/// What a status says of a client's circuit.
pub(crate) fn circuit_report(circuit: &Circuit, name: &str) -> CircuitReport {
    let all = [CircuitProtocol::Dhcp, CircuitProtocol::Dhcp6, CircuitProtocol::Pppoe];
    let told = all.into_iter().filter(|&protocol| circuit.tells_in(protocol));
    CircuitReport {
        id: circuit.id.shown(name, host_name()),
        remote: circuit.remote.as_ref().map(|remote| remote.shown(name, host_name())),
        protocols: told.map(|protocol| protocol.as_str().into()).collect(),
    }
}
