//! Who gets in, and on what terms.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use acton_proto::handshake::Secret;
use acton_proto::server;
use acton_proto::wire::Key;
use pnet_base::MacAddr;

use crate::throttle::ChangeThrottle;

/// On what terms a client gets in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClientPolicy {
    /// What operators call it; the beginning of its key where this is `None`.
    pub name: Option<String>,
    /// Its own pre-shared key; without one the network key counts.
    pub psk: Option<Secret>,
    /// MAC addresses that are this client's and no other's, also while it is away.
    pub macs: Vec<MacAddr>,
    /// How many MACs may be behind it, 0 for any number; the server's setting where it is `None`.
    pub max_macs: Option<usize>,
    /// Whether it may use nothing but `macs`.
    pub strict: bool,
}

/// Decides who gets in. What it says must not change; for rules that change there is [`Admission`].
pub trait Admit: fmt::Debug + Send + Sync {
    /// The terms for the holder of this public key, `None` to refuse.
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>>;

    /// Every client with MACs of its own, whether it is here or not.
    fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
        Vec::new()
    }

    /// How many clients it names, where it names them.
    fn clients(&self) -> Option<usize> {
        None
    }
}

/// Where the rules come from, and whether they have changed.
pub trait Admission: fmt::Debug + Send {
    /// The rules in force.
    fn rules(&self) -> Arc<dyn Admit>;

    /// Whether they may change at all.
    fn may_change(&self) -> bool {
        true
    }

    /// Looks for a change, several times a second on the control thread: the new rules, or why those
    /// before stay in force. With `again` also where nothing seems to have changed.
    fn look(&mut self, again: bool) -> Option<Result<Arc<dyn Admit>, String>>;
}

/// Admits whoever holds the network key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anybody;

impl Admit for Anybody {
    fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
        Some(Arc::default())
    }
}

impl Admission for Anybody {
    fn rules(&self) -> Arc<dyn Admit> {
        Arc::new(*self)
    }

    fn may_change(&self) -> bool {
        false
    }

    fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
        None
    }
}

/// How often the rules are looked at for changes: a client that is taken off a list is out within a
/// second.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Least time between two tellings of one error.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The rules in force at a server, and when to look for others.
#[derive(Debug)]
pub(crate) struct Gate {
    admission: Box<dyn Admission>,
    rules: Arc<dyn Admit>,
    due: Duration,
    /// What went wrong when they were looked at, so that the same is told once in a while.
    errors: ChangeThrottle<String>,
}

impl Gate {
    pub(crate) fn new(admission: Box<dyn Admission>) -> Self {
        let errors = ChangeThrottle::new(TELL_INTERVAL);
        Self { rules: admission.rules(), admission, due: Duration::ZERO, errors }
    }

    /// The rules, for the protocol.
    pub(crate) fn for_protocol(&self) -> Box<dyn server::Clients> {
        Box::new(ForProtocol(Arc::clone(&self.rules)))
    }

    /// When [`look`](Self::look) has something to do.
    pub(crate) fn due(&self) -> Duration {
        if self.admission.may_change() { self.due } else { Duration::MAX }
    }

    /// Whether the rules are others now, or why they are not, which `again` has told in any case.
    pub(crate) fn look(&mut self, now: Duration, again: bool) -> Option<Result<(), String>> {
        if now < self.due() && !again {
            return None;
        }
        self.due = now + LOOK_INTERVAL;
        match self.admission.look(again)? {
            Ok(rules) => {
                self.rules = rules;
                self.errors = ChangeThrottle::new(TELL_INTERVAL);
                Some(Ok(()))
            }
            Err(error) => {
                let told = self.errors.admits(error.clone(), now) || again;
                told.then_some(Err(error))
            }
        }
    }

    pub(crate) fn rules(&self) -> &dyn Admit {
        &*self.rules
    }

    /// The terms of a client that got in.
    pub(crate) fn policy(&self, key: &Key) -> Arc<ClientPolicy> {
        self.rules.admit(key).unwrap_or_default()
    }

    /// What operators call a client.
    pub(crate) fn name(&self, key: &Key) -> String {
        self.policy(key).name.clone().unwrap_or_else(|| short(key))
    }
}

/// The first characters of a public key, enough to tell clients apart in a log.
fn short(key: &Key) -> String {
    // Ten base64 characters hold 7.5 bytes; hexadecimal would need 15.
    format!("{}..", &data_encoding::BASE64.encode(&key[..9])[..10])
}

struct ForProtocol(Arc<dyn Admit>);

impl server::Clients for ForProtocol {
    fn admit(&self, client: &Key) -> Option<server::Admission> {
        let policy = self.0.admit(client)?;
        Some(server::Admission { psk: policy.psk.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules that cannot be read, for ever other reasons.
    #[derive(Debug)]
    struct Unreadable(&'static [&'static str]);

    impl Admission for Unreadable {
        fn rules(&self) -> Arc<dyn Admit> {
            Arc::new(Anybody)
        }

        fn look(&mut self, _: bool) -> Option<Result<Arc<dyn Admit>, String>> {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            let looked = if first.is_empty() { Ok(self.rules()) } else { Err((*first).to_owned()) };
            Some(looked)
        }
    }

    #[test]
    fn what_is_wrong_with_the_rules_is_told_once_in_a_while() {
        let looks = &["a", "a", "b", "b", "a", "a", "", "a", "a", "a"];
        let mut gate = Gate::new(Box::new(Unreadable(looks)));
        let at = |second: u64| Duration::from_secs(second);
        let told: Vec<_> =
            (1..=8).filter(|&second| gate.look(at(second), false).is_some()).collect();
        assert_eq!(told, [1, 3, 5, 7, 8]);
        assert!(gate.look(at(9), true).is_some(), "who asks is told");
        assert!(gate.look(at(100), false).is_some());
    }
}
