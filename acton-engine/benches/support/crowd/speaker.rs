//! A client of either mode: bytes and a time in, bytes and what happened out.

use std::time::Duration;

use acton_proto::client::{Client, ClientConfig, ClientEvent, DownReason};
use acton_proto::handshake::{Secret, SystemRandom, public_key};
use acton_proto::plain;

use crate::support::Result;
use crate::support::server::{self, Mode};

use super::wall_clock;

/// What its owner should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// It has a session, or the server answered that it still has.
    Answered,
    /// It made new keys for its session.
    Rekeyed,
    /// It lost its session, was refused, or met another server than before.
    Lost,
}

#[derive(Debug)]
pub(crate) enum Speaker {
    Secure(Box<Client>),
    Plain(PlainSpeaker),
}

#[derive(Debug)]
pub(crate) struct PlainSpeaker {
    client: plain::Client,
    hellos: u64,
    answered: bool,
}

impl Speaker {
    /// Client `number`, with a key of its own in secure mode.
    pub(crate) fn new(mode: Mode, number: usize, now: Duration) -> Self {
        match mode {
            Mode::Secure => {
                let server_key = public_key(&Secret::new(server::PRIVATE_KEY));
                let mut config = ClientConfig::new(private_key(number), server_key);
                config.network_key = Some(Secret::new(server::NETWORK_KEY));
                Self::Secure(Box::new(Client::new(config, Box::new(SystemRandom), now)))
            }
            Mode::Plain => {
                let client = plain::Client::new(plain::ClientConfig::default(), number as u64, now);
                Self::Plain(PlainSpeaker { client, hellos: 0, answered: false })
            }
        }
    }

    /// Takes a datagram of the server's; `deliver` gets the frames.
    pub(crate) fn handle_input(
        &mut self,
        now: Duration,
        datagram: &mut [u8],
        mut deliver: impl FnMut(&[u8]),
    ) {
        match self {
            Self::Secure(client) => {
                client.handle_input(now, datagram).for_each(|frame| deliver(frame.bytes()));
            }
            Self::Plain(speaker) => {
                let Ok(datagram) = plain::Datagram::parse(datagram) else { return };
                speaker.client.handle_input(now, &datagram);
                match datagram {
                    plain::Datagram::Frame(frame) => deliver(frame),
                    plain::Datagram::Control(_) => speaker.answered = true,
                }
            }
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        match self {
            Self::Secure(client) => client.handle_timeout(now, wall_clock().as_nanos() as u64),
            Self::Plain(speaker) => speaker.client.handle_timeout(now),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match self {
            Self::Secure(client) => client.poll_timeout(),
            Self::Plain(speaker) => speaker.client.poll_timeout(),
        }
    }

    /// The next datagram to send, in place of what `datagram` held; whether there is one.
    pub(crate) fn poll_transmit(&mut self, datagram: &mut Vec<u8>) -> bool {
        datagram.clear();
        match self {
            Self::Secure(client) => client.poll_transmit(1, datagram).is_some(),
            Self::Plain(speaker) => {
                let Some(control) = speaker.client.poll_transmit() else { return false };
                speaker.hellos += u64::from(control == plain::Control::Hello);
                datagram.extend_from_slice(control.as_bytes());
                true
            }
        }
    }

    /// What happened next, oldest first.
    pub(crate) fn poll_happening(&mut self) -> Option<Happening> {
        match self {
            Self::Secure(client) => loop {
                match client.poll_event()? {
                    ClientEvent::Connected { .. } => return Some(Happening::Answered),
                    ClientEvent::KeysChanged { .. } => return Some(Happening::Rekeyed),
                    ClientEvent::Disconnected { reason: DownReason::Closed, .. }
                    | ClientEvent::Connecting { .. }
                    | ClientEvent::KeysDropped { .. } => {}
                    _ => return Some(Happening::Lost),
                }
            },
            Self::Plain(speaker) => loop {
                match speaker.client.poll_event() {
                    Some(plain::ClientEvent::Lost { .. }) => return Some(Happening::Lost),
                    Some(_) => {}
                    None => {
                        let answered = std::mem::take(&mut speaker.answered);
                        return answered.then_some(Happening::Answered);
                    }
                }
            },
        }
    }

    /// A frame as a datagram, in place of what `datagram` held; whether there is a session for it.
    pub(crate) fn frame(
        &self,
        now: Duration,
        frame: &[u8],
        datagram: &mut Vec<u8>,
    ) -> Result<bool> {
        datagram.clear();
        match self {
            Self::Secure(client) => {
                let Some(keys) = client.keys() else { return Ok(false) };
                keys.seal_frame(now, frame, false, datagram)?;
                Ok(true)
            }
            Self::Plain(speaker) => {
                datagram.extend_from_slice(frame);
                Ok(speaker.client.is_connected())
            }
        }
    }

    /// HELLO that it said.
    pub(crate) fn hellos(&self) -> u64 {
        match self {
            Self::Secure(client) => client.stats().hellos,
            Self::Plain(speaker) => speaker.hellos,
        }
    }

    /// Has it look for its server as where its network reports an error: it asks for new keys.
    pub(crate) fn hurry(&mut self, now: Duration) {
        match self {
            Self::Secure(client) => client.handle_network_error(now),
            Self::Plain(speaker) => speaker.client.handle_network_error(now),
        }
    }

    /// Has it say BYE.
    pub(crate) fn close(&mut self, now: Duration) {
        match self {
            Self::Secure(client) => client.close(now),
            Self::Plain(speaker) => speaker.client.close(),
        }
    }
}

/// The key of client `number`.
pub(crate) fn private_key(number: usize) -> Secret {
    let mut bytes = [3; 32];
    // Not at its ends: X25519 ignores some bits there.
    bytes[8..16].copy_from_slice(&(number as u64).to_be_bytes());
    Secret::new(bytes)
}
