//! What comes from the server.

use std::sync::Arc;
use std::time::Duration;

use super::{CHECK_EVERY, Client, ClientEvent, DownReason, REFUSED_HOLD};
use crate::handshake::{CookieKey, MacKey, Secret, public_key, wipe_stack};
use crate::session::{Content, Frames, Keys, Live};
use crate::wire::{Bye, Caps, Control, Datagram, Header, NewNetworkKey, ReportRole};

/// Longest time that a BYE may keep the client away.
const MAX_BYE_WAIT: Duration = Duration::from_secs(600);
/// First and longest time to stay away after another instance took the session.
const REPLACED_HOLD: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

impl Client {
    /// Takes a datagram, which is opened in place if it is sealed. Gives the frames in it, or the one
    /// it completes.
    pub fn handle_input<'d>(&mut self, now: Duration, datagram: &'d mut [u8]) -> Frames<'d> {
        match Datagram::parse(datagram) {
            Ok(_) if self.closed => {}
            Ok(Datagram::Sealed(header)) => return self.handle_sealed(now, &header, datagram),
            Ok(Datagram::Welcome(welcome)) => {
                self.handle_welcome(now, &welcome, datagram);
                wipe_stack();
            }
            Ok(Datagram::Retry(retry)) => self.handle_retry(now, &retry),
            Ok(Datagram::Reset(reset)) => {
                let sent = |keys: &Arc<Keys>| {
                    keys.setup().remote_id == reset.receiver_id && reset.counter < keys.sealed()
                };
                if self.keys().is_some_and(sent) {
                    self.hurry(now);
                } else {
                    self.stats.stale_answers += 1;
                }
            }
            // A REPLY is for whoever sent the QUERY.
            Ok(Datagram::Reply(_)) => self.stats.stale_answers += 1,
            Ok(Datagram::Hello(_) | Datagram::Query(_)) => self.stats.wrong_end += 1,
            Err(_) => self.stats.malformed += 1,
        }
        Frames::default()
    }

    fn handle_sealed<'d>(
        &mut self,
        now: Duration,
        header: &Header,
        datagram: &'d mut [u8],
    ) -> Frames<'d> {
        let keys = self.live.as_ref().and_then(|live| live.keys(header.receiver_id));
        let Some(keys) = keys.cloned() else {
            self.stats.sealed.unknown += 1;
            return Frames::default();
        };
        let size = datagram.len();
        let received = match keys.receive(now, header, datagram) {
            Ok(received) => received,
            Err(error) => {
                self.stats.sealed.note_unopened(error);
                return Frames::default();
            }
        };
        match received.content {
            Content::Frames(frames) => return frames,
            Content::Control(message) => match Control::parse(message) {
                Ok(message) => self.handle_control(now, &keys, header.counter, message, size),
                Err(_) => self.stats.sealed.bad_control += 1,
            },
            Content::Bad => self.stats.sealed.bad_frames += 1,
            Content::Piece => self.stats.sealed.pieces += 1,
            Content::BadPiece => self.stats.sealed.bad_pieces += 1,
        }
        Frames::default()
    }

    fn handle_control(
        &mut self,
        now: Duration,
        keys: &Arc<Keys>,
        counter: u64,
        message: Control,
        len: usize,
    ) {
        match message {
            Control::Keepalive { token, .. } => {
                // A datagram is at most 65,507 bytes.
                let echo = Control::Echo { token, size: len as u16 };
                if let Ok(datagram) = keys.seal_control(now, echo) {
                    self.outbox.push((), datagram);
                }
            }
            Control::Echo { token, size } => {
                self.liveness.handle_echo(now, token);
                if let Some(live) = &mut self.live {
                    live.handle_echo(now, token, size);
                }
            }
            Control::Bye { reason, retry_ms } => self.handle_bye(now, reason, retry_ms),
            // One under keys that were replaced has had its effect.
            Control::Rekey => {
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.rekey(now);
                }
            }
            Control::Report { role: ReportRole::Answer, token, report }
                if keys.setup().caps.contains(Caps::REPORT) =>
            {
                self.liveness.handle_echo(now, token);
                if let Some(live) = &mut self.live {
                    live.hear(now, keys, counter, report);
                }
            }
            Control::NetworkKey(NewNetworkKey(key))
                if keys.setup().caps.contains(Caps::NETWORK_KEY) =>
            {
                // One under keys that were replaced may be older than what was told since.
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.take_network_key(now, Secret::new(key));
                }
            }
            Control::Move { to } if keys.setup().caps.contains(Caps::MOVE) => {
                let to = Some(to).filter(|&to| to != 0);
                self.events.push_back(ClientEvent::AskedToMove { to });
            }
            Control::IsolationOrder(order) if keys.setup().caps.contains(Caps::ISOLATION) => {
                // One under keys that were replaced is repeated.
                if self.keys().is_some_and(|current| Arc::ptr_eq(current, keys)) {
                    self.events.push_back(ClientEvent::IsolationOrder { order });
                }
            }
            Control::Report { .. }
            | Control::NetworkKey(_)
            | Control::Move { .. }
            | Control::IsolationOrder(_)
            | Control::IsolationAnswer(_) => {
                self.stats.sealed.bad_control += 1;
            }
        }
    }

    /// The network key from the next HELLO on.
    fn take_network_key(&mut self, now: Duration, key: Secret) {
        if self.config.network_key.as_ref() == Some(&key) {
            return;
        }
        self.mac_to_server = MacKey::new(&self.config.server_key, Some(&key));
        self.mac_to_us = MacKey::new(&public_key(&self.config.private_key), Some(&key));
        self.cookie_key = CookieKey::new(&self.config.server_key, Some(&key));
        self.config.network_key = Some(key.clone());
        // What was made with the one before would be answered with that.
        self.cookie = None;
        if self.pending.take().is_some() {
            self.hello_at = Some(now);
        }
        self.events.push_back(ClientEvent::NetworkKey { key });
    }

    fn handle_bye(&mut self, now: Duration, reason: Bye, retry_ms: u32) {
        let asked = Duration::from_millis(retry_ms.into()).min(MAX_BYE_WAIT);
        let wait = match reason {
            Bye::Replaced => {
                let (first, longest) = REPLACED_HOLD;
                let since = self.live.as_ref().map_or(now, Live::since);
                if now.saturating_sub(since) >= longest {
                    self.replaced = 0;
                }
                let hold = (first * (1 << self.replaced.min(8))).min(longest);
                self.replaced += 1;
                self.jitter(hold, 50).max(asked)
            }
            Bye::Removed => asked.max(REFUSED_HOLD),
            Bye::Limit => asked.max(CHECK_EVERY),
            _ => asked,
        };
        self.down(now, DownReason::Bye(reason), wait);
    }
}
