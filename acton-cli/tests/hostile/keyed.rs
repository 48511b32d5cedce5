//! An end that has keys, and so is believed to be what it says, and has nothing good in mind.

use std::thread;
use std::time::Duration;

use acton_proto::client::{Client, ClientConfig};
use acton_proto::handshake::{Secret, SystemRandom};
use acton_proto::server::{AnyClient, Server, ServerConfig};
use acton_proto::session::{Keys, Reservation};
use acton_proto::wire::{
    Bye, CONTROL_MIN_LEN, Caps, Control, Fragment, HEADER_LEN, Kind, MAX_FRAGMENTS, TAG_LEN,
};
use pnet_base::MacAddr;
use socket2::SockRef;

use super::random::{Random, frames};
use super::support::{
    Acton, CLIENT_MAC, End, Machine, Mode, PORT, SERVER_MAC, SERVER_V4, World, counter, counters,
    said, wait_until,
};
use super::{drops, works, written_as_counted};

/// Datagrams that are sent before each is asked after.
const ROUND: usize = 64;
/// The value of IP's type of service that says a datagram met congestion (RFC 3168, section 5).
const MARKED: u32 = 3;
/// About the longest plaintext of a bundle, in bytes: a few times as long as may be.
const MOST_BUNDLED: usize = 10_000;
/// All that acton does with frames.
const ALL: Caps = Caps::ALL.union(Caps::ECN);

/// A client that was invited, with all capabilities and then with none.
pub(super) fn sealed_by_an_invited_client() {
    let mut random = Random::seeded();
    let world = World::new(2).speaking(Mode::Secure);
    let server = world.serve(&["--macs-per-client", "0", "--no-loop-guard"]);
    for (number, caps) in [(1, ALL), (2, Caps(0))] {
        let identity = world.keys.server();
        let key = Secret::generate(&mut SystemRandom);
        let mut config = ClientConfig::new(key, identity.public_key);
        config.network_key = Some(identity.network_key);
        config.caps = caps;
        let machine = Client::new(config, Box::new(SystemRandom), Duration::ZERO);
        let mut peer = End::new(machine, &world.clients[1], 0);
        peer.to = Some((SERVER_V4, PORT).into());
        // The server gives it a session with the first thing that is thrown.
        wait_until("the peer has keys", || {
            peer.hear();
            let has_keys = peer.machine.keys().is_some();
            if !has_keys {
                peer.speak();
            }
            has_keys
        });
        throw(&mut random, &mut peer, &server, SERVER_MAC, caps);
        // It said so much that the server may be through with its words for a while: BYE is one, too.
        thread::sleep(Duration::from_millis(500));
        peer.machine.close(peer.now());
        peer.turn();
        server.wait_for_nth(said::BYE, number);
    }
    let client = world.join(0, &["--no-loop-guard"]);
    works(&world, &server, &client);
    written_as_counted(&world.server, "server", &server);
    client.stop();
    println!("server: {}", server.stop());
}

/// A server that has the keys of the one that the client trusts, which is back at last.
pub(super) fn sealed_by_a_trusted_server() {
    let mut random = Random::seeded();
    let world = World::new(1).speaking(Mode::Secure);
    let identity = world.keys.server();
    let mut config = ServerConfig::new(identity.private_key);
    config.network_key = Some(identity.network_key);
    config.caps = ALL;
    let machine = Server::new(config, Box::new(AnyClient), Box::new(SystemRandom), Duration::ZERO);
    let mut hostile = End::new(machine, &world.server, PORT);
    let client = world.start_client(0, "192.0.2.1", &["--no-loop-guard"]);
    wait_until("the client has a session", || {
        hostile.turn();
        client.log().contains(said::CONNECTED) && hostile.machine.session_count() == 1
    });
    throw(&mut random, &mut hostile, &client, CLIENT_MAC, ALL);
    hostile.machine.close(hostile.now(), Bye::Restart, Duration::ZERO);
    hostile.turn();
    drop(hostile);
    let server = world.serve(&["--no-loop-guard"]);
    client.wait_for_nth(said::CONNECTED, 2);
    works(&world, &server, &client);
    written_as_counted(&world.clients[0], "client", &client);
    println!("client: {}", client.stop());
    server.stop();
}

/// Throws half of the frames at an acton, which writes, keeps or drops each, and counts it.
fn throw<M: Machine>(
    random: &mut Random,
    end: &mut End<M>,
    acton: &Acton,
    to: MacAddr,
    caps: Caps,
) {
    let before = counters(acton);
    let (mut sent, mut bundles, mut bundled) = (0, 0, 0);
    while sent < frames() / 2 {
        let keys = end.machine.keys().expect("the session goes on");
        let mut round = Round { keys: &keys, now: end.now(), to, datagrams: Vec::new() };
        while round.datagrams.len() < ROUND {
            round.fill(random);
        }
        for _ in 0..random.below(6) {
            let [one, other] = [(); 2].map(|()| random.below(round.datagrams.len()));
            round.datagrams.swap(one, other);
        }
        let tos = if random.below(4) == 0 { MARKED } else { 0 };
        SockRef::from(&end.socket).set_tos_v4(tos).unwrap();
        for Thrown { bytes, frames } in round.datagrams {
            end.send(&bytes);
            sent += frames;
            if frames > 1 {
                (bundles, bundled) = (bundles + 1, bundled + frames);
            }
        }
        wait_until(&format!("{sent} frames are written or dropped"), || {
            let now = counters(acton);
            explained(&now) - explained(&before) == sent
        });
        end.turn();
    }
    let after = counters(acton);
    let more = |name: &str| counter(&after, name) - counter(&before, name);
    assert_eq!(more("session.bundles"), bundles, "{after}");
    assert_eq!(more("session.bundled_frames"), bundled, "{after}");
    assert!(more("tap.written.frames") > sent / 8, "{after}");
    assert!(more("tap.writes") < more("tap.written.frames"), "none was merged: {after}");
    let mut counted = vec![
        "drop.forged",
        "drop.replayed",
        "drop.malformed",
        "drop.bad_control",
        "drop.no_session",
        "drop.bad_frame",
    ];
    if caps == ALL {
        counted.extend(["session.bundles", "session.pieces", "drop.bad_piece", "drop.no_checksum"]);
        counted.extend(["ecn.marked", "drop.ecn_unmarkable"]);
    }
    for name in counted {
        assert!(more(name) > 0, "{name}: {after}");
    }
}

/// What became of how many frames, but those of a server's own kernel before there was a session.
fn explained(log: &str) -> u64 {
    // Control is no frame, and the pieces of frames that were given up are counted as pieces.
    let others =
        ["drop.no_client", "drop.bad_control", "drop.control_limited", "drop.incomplete_frame"];
    let dropped = drops(log) - others.map(|name| counter(log, name)).iter().sum::<u64>();
    counter(log, "tap.written.frames") + counter(log, "session.pieces") + dropped
}

/// A datagram, and as how many frames it counts.
struct Thrown {
    bytes: Vec<u8>,
    frames: u64,
}

/// Datagrams that are sent together.
struct Round<'k> {
    keys: &'k Keys,
    now: Duration,
    to: MacAddr,
    datagrams: Vec<Thrown>,
}

impl Round<'_> {
    /// Adds a few datagrams of one sort.
    fn fill(&mut self, random: &mut Random) {
        let most = [60, 400, 1_400, 9_000][random.below(4)];
        let partial = random.below(4) == 0;
        let mut run = random.run(most, |_| partial);
        if run.is_empty() {
            return;
        }
        for frame in &mut run {
            frame[..6].copy_from_slice(&self.to.octets());
            frame[6..12].copy_from_slice(&random.source().octets());
        }
        let partial_checksum = partial ^ (random.below(8) == 0);
        match random.below(8) {
            0..=2 => {
                let kind = Kind::Data { fragment: Fragment::WHOLE, partial_checksum };
                run.iter().for_each(|frame| self.seal(random, kind, frame));
            }
            3 | 4 => {
                let mut plaintext = Vec::new();
                for frame in run.iter().take(MOST_BUNDLED / most) {
                    plaintext.extend((frame.len() as u16).to_be_bytes());
                    plaintext.extend(frame);
                }
                if random.below(4) == 0 {
                    random.spoil_any(&mut plaintext);
                }
                self.seal(random, Kind::Bundle { partial_checksum }, &plaintext);
            }
            5 => self.pieces(random, &run[0], partial_checksum),
            6 => {
                let message = random.control();
                // After a BYE there would be no session.
                if !matches!(Control::parse(&message), Ok(Control::Bye { .. })) {
                    self.seal(random, Kind::Control, &message);
                }
            }
            _ => {
                let kind = random.kind();
                let length = 1 + random.below(most);
                let plaintext = random.bytes(length);
                self.seal(random, kind, &plaintext);
            }
        }
    }

    /// A frame in pieces, which fit together or do not.
    fn pieces(&mut self, random: &mut Random, frame: &[u8], partial_checksum: bool) {
        let count = 1 + random.below(MAX_FRAGMENTS);
        let pieces = frame.chunks(frame.len().div_ceil(count));
        let keys = self.keys;
        let count = pieces.len();
        let mut counters = keys.reserve(self.now, count as u64).unwrap();
        for (index, piece) in pieces.enumerate() {
            let mut piece = piece.to_vec();
            let mut fragment = Fragment { index: index as u8, last: index + 1 == count };
            let mut flag = partial_checksum;
            match random.below(40) {
                0 => fragment.index = random.below(MAX_FRAGMENTS) as u8,
                1 => fragment.last ^= true,
                2 => flag ^= true,
                3 => random.spoil(&mut piece),
                4 => fragment = Fragment::WHOLE,
                _ => {}
            }
            let kind = Kind::Data { fragment, partial_checksum: flag };
            self.seal_under(random, &mut counters, kind, &piece);
        }
    }

    fn seal(&mut self, random: &mut Random, kind: Kind, plaintext: &[u8]) {
        let keys = self.keys;
        let mut counters = keys.reserve(self.now, 1).unwrap();
        self.seal_under(random, &mut counters, kind, plaintext);
    }

    /// Adds a datagram; now and then it is changed afterwards, or comes twice.
    fn seal_under(
        &mut self,
        random: &mut Random,
        counters: &mut Reservation<'_>,
        kind: Kind,
        plaintext: &[u8],
    ) {
        let mut bytes = [&[0; HEADER_LEN], plaintext, &[0; TAG_LEN]].concat();
        counters.seal(kind, &mut bytes).unwrap();
        let mut frames = self.frames_in(kind, plaintext);
        // What is said to be CONTROL is no frame, also where it is not authentic.
        if kind != Kind::Control {
            if random.below(32) == 0 {
                random.forge(&mut bytes);
                frames = 1;
            }
            if random.below(32) == 0 {
                self.datagrams.push(Thrown { bytes: bytes.clone(), frames: 1 });
            }
        }
        self.datagrams.push(Thrown { bytes, frames });
    }

    /// As how many frames an authentic datagram counts.
    fn frames_in(&self, kind: Kind, plaintext: &[u8]) -> u64 {
        let setup = self.keys.setup();
        match kind {
            // One that is too short to be CONTROL might have been anything.
            Kind::Control => u64::from(plaintext.len() < CONTROL_MIN_LEN),
            Kind::Data { .. } => 1,
            Kind::Bundle { partial_checksum } => {
                let agreed = setup.caps.contains(Caps::BUNDLE)
                    && (setup.caps.contains(Caps::CSUM) || !partial_checksum)
                    && plaintext.len() <= usize::from(setup.max_frame);
                entries(plaintext).filter(|&frames| agreed && frames > 1).unwrap_or(1)
            }
        }
    }
}

/// The frames of a bundle, if it is nothing else.
fn entries(plaintext: &[u8]) -> Option<u64> {
    let Some((length, rest)) = plaintext.split_first_chunk() else {
        return plaintext.is_empty().then_some(0);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    let rest = rest.get(length..).filter(|_| length >= 14)?;
    Some(1 + entries(rest)?)
}

impl Random {
    /// Whom a frame is said to be from; mostly somebody who may send it.
    fn source(&mut self) -> MacAddr {
        match self.below(24) {
            0 => SERVER_MAC,
            1 => MacAddr::broadcast(),
            2 => MacAddr::zero(),
            _ => CLIENT_MAC,
        }
    }

    /// What has frames in it.
    fn kind(&mut self) -> Kind {
        let partial_checksum = self.below(2) == 0;
        let fragment =
            Fragment { index: self.below(MAX_FRAGMENTS) as u8, last: self.below(2) == 0 };
        match self.below(2) {
            0 => Kind::Bundle { partial_checksum },
            _ => Kind::Data { fragment, partial_checksum },
        }
    }

    /// Something like a control message.
    fn control(&mut self) -> Vec<u8> {
        let (length, padding) = (self.below(16), self.below(1_200));
        let mut message = self.bytes(4 + length);
        message[0] = self.below(6) as u8;
        if self.below(4) > 0 {
            message[1] = 0;
        }
        if self.below(4) > 0 {
            message[2..4].fill(0);
        }
        if self.below(4) == 0 {
            message.resize(message.len() + padding, 0);
        }
        message.truncate(1 + self.below(2 * message.len()));
        message
    }

    /// Spoils any place.
    fn spoil_any(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let mut rest = bytes.split_off(at);
        self.spoil(&mut rest);
        bytes.extend(rest);
    }

    /// Makes a datagram one that was never sealed, but no CONTROL of it.
    fn forge(&mut self, datagram: &mut Vec<u8>) {
        match self.below(4) {
            0 => datagram.truncate(self.below(datagram.len())),
            1 => datagram[0] = self.below(0x10) as u8,
            2 => datagram[1 + self.below(HEADER_LEN - 1)] ^= 1 << self.below(8),
            _ => {
                let at = HEADER_LEN + self.below(datagram.len() - HEADER_LEN);
                datagram[at] ^= 1 << self.below(8);
            }
        }
    }
}
