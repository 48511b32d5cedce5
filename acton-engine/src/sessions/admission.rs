//! Who gets in, and on what terms.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use acton_bridge::{CompiledPolicy, MacRange, TagPair, Vlans};
use acton_proto::handshake::Secret;
use acton_proto::server;
use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use pnet_base::MacAddr;

use crate::authorize::verdicts::Verdicts;
use crate::observe::status::Listing;
use crate::sessions::pair_owners::PairOwners;
use crate::sessions::rules::{ListAnswer, Rules, RulesNews, RulesWatch};

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
    /// MAC addresses that it takes from another client with its first frame; nobody takes them from the
    /// LAN.
    pub shared_macs: Vec<MacRange>,
    /// How many MACs may be behind it, 0 for any number; the server's setting where it is `None`.
    pub max_macs: Option<usize>,
    /// Whether it may use nothing but `macs` and `shared_macs`.
    pub strict: bool,
    /// What frames it may send and get.
    pub frames: Arc<CompiledPolicy>,
}

impl ClientPolicy {
    /// The pair of VLAN tags that is its alone.
    pub(crate) fn pair(&self) -> Option<TagPair> {
        self.frames.vlans().and_then(Vlans::pair)
    }
}

/// Decides who gets in. What it says must not change; for rules that change there is [`Admission`].
pub trait Admit: fmt::Debug + Send + Sync {
    /// The terms for the holder of this public key, `None` to refuse.
    fn admit(&self, client: &Key) -> Option<Arc<ClientPolicy>>;

    /// Every client with MACs or a pair of VLAN tags of its own, whether it is here or not.
    fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
        Vec::new()
    }

    /// How many clients it names, where it names them.
    fn clients(&self) -> Option<usize> {
        None
    }

    /// Why it names nobody, where that is for want of a list that can be read.
    fn lacks_list(&self) -> Option<&str> {
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

    /// Looks for a change, several times a second on a thread of its own, where it may take its time:
    /// the new rules, or why those before stay in force. With `again` also where nothing seems to have
    /// changed.
    fn look(&mut self, again: bool) -> Option<Result<Arc<dyn Admit>, String>>;

    /// Looks whether the network's keys are others than the last time, once before the server starts
    /// and then as often as [`look`](Self::look), on the same thread: the new ones, or why those before
    /// stay in force. `None` at first leaves the server what it was given.
    fn network_keys(&mut self) -> Option<Result<NetworkKeys, String>> {
        None
    }
}

/// The keys of a network that its clients know one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkKeys {
    /// The key that all of the network share.
    pub key: Secret,
    /// The one before it, while that still does. Clients that use it are told the other in their
    /// sessions, so where there is one, all that get in are to know it.
    pub before: Option<Secret>,
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

/// The rules in force at a server.
#[derive(Debug)]
pub(crate) struct Gate {
    rules: Rules,
    /// The network's keys at the start, where the rules know them.
    network_keys: Option<NetworkKeys>,
    watch: Option<RulesWatch>,
    /// Clients that do not get in for now, whatever the rules say: until when.
    barred: HashMap<Key, Duration, RandomState>,
    /// What somebody else decides on clients that no list names, where somebody does.
    verdicts: Option<Verdicts>,
}

impl Gate {
    /// The rules that `admission` has now; with those that come later it calls `tell`, on a thread of
    /// its own, until that says `false`.
    ///
    /// # Errors
    /// Where the thread cannot be made.
    pub(crate) fn new(
        mut admission: Box<dyn Admission>,
        tell: impl Fn(RulesNews) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let rules = Rules::new(admission.rules());
        let network_keys = match admission.network_keys() {
            Some(Err(error)) => {
                tell(RulesNews::NetworkKeyFailed(error));
                None
            }
            keys => keys.and_then(Result::ok),
        };
        let watch = match admission.may_change() {
            true => Some(RulesWatch::start(admission, rules.clone(), tell)?),
            false => None,
        };
        Ok(Self { rules, network_keys, watch, barred: HashMap::default(), verdicts: None })
    }

    /// The same, where somebody else decides on clients that no list names. Without a list that is each.
    pub(crate) fn with_verdicts(mut self, verdicts: Option<Verdicts>) -> Self {
        self.verdicts = verdicts;
        self
    }

    /// The network's keys at the start, where the rules know them.
    pub(crate) fn take_network_keys(&mut self) -> Option<NetworkKeys> {
        self.network_keys.take()
    }

    /// The rules, for the protocol.
    pub(crate) fn for_protocol(&self) -> Box<dyn server::Clients> {
        let barred = self.barred.keys().copied().collect();
        let verdicts = self.verdicts.clone();
        Box::new(ForProtocol { rules: Arc::clone(&self.rules.admit), barred, verdicts })
    }

    /// When [`lift_bars`](Self::lift_bars) has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.barred.values().min().copied()
    }

    /// Keeps a client out until then.
    pub(crate) fn bar(&mut self, client: Key, until: Duration) {
        self.barred.insert(client, until);
    }

    /// Whether a client may get in again that was kept out.
    pub(crate) fn lift_bars(&mut self, now: Duration) -> bool {
        let before = self.barred.len();
        self.barred.retain(|_, &mut until| now < until);
        self.barred.len() < before
    }

    /// Has the rules looked at at once, also where nothing seems to have changed.
    pub(crate) fn look_again(&self, answer: Option<ListAnswer>) {
        if let Some(watch) = &self.watch {
            watch.look_again(answer);
        }
    }

    /// Other rules are in force from now on.
    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Whose a MAC is.
    pub(crate) fn owner(&self, mac: MacAddr) -> Option<Key> {
        self.rules.owners.get(&mac).copied()
    }

    /// All MACs that are somebody's.
    pub(crate) fn owned_macs(&self) -> Vec<MacAddr> {
        self.rules.owners.keys().copied().collect()
    }

    /// The pairs of VLAN tags that the rules give to clients, and to whom.
    pub(crate) fn pairs(&self) -> &PairOwners {
        &self.rules.pairs
    }

    pub(crate) fn rules(&self) -> &dyn Admit {
        &*self.rules.admit
    }

    /// Which list is in force.
    pub(crate) fn listing(&self) -> Listing {
        match (self.rules().lacks_list(), self.rules().clients()) {
            (Some(_), _) => Listing::Unreadable,
            (None, Some(clients)) => Listing::Clients(clients),
            (None, None) => Listing::None,
        }
    }

    /// The terms of a client that got in.
    pub(crate) fn policy(&self, key: &Key) -> Arc<ClientPolicy> {
        terms(&*self.rules.admit, self.verdicts.as_ref(), key).unwrap_or_default()
    }

    /// Whether a list names the client.
    pub(crate) fn lists(&self, key: &Key) -> bool {
        listed(&*self.rules.admit, key).is_some()
    }

    /// What operators call a client.
    pub(crate) fn name(&self, key: &Key) -> String {
        self.listed_name(key).unwrap_or_else(|| short(key))
    }

    /// The same, where the rules name it.
    pub(crate) fn listed_name(&self, key: &Key) -> Option<String> {
        self.policy(key).name.clone()
    }
}

/// The first characters of a public key, enough to tell clients apart in a log.
fn short(key: &Key) -> String {
    // Ten base64 characters hold 7.5 bytes; hexadecimal would need 15.
    format!("{}..", &data_encoding::BASE64.encode(&key[..9])[..10])
}

/// The terms of a client that a list names.
fn listed(rules: &dyn Admit, client: &Key) -> Option<Arc<ClientPolicy>> {
    rules.clients().and_then(|_| rules.admit(client))
}

/// The terms of a client: a list comes before what was decided on it, and only where nobody decides does
/// whoever holds the network key get in.
fn terms(
    rules: &dyn Admit,
    verdicts: Option<&Verdicts>,
    client: &Key,
) -> Option<Arc<ClientPolicy>> {
    match verdicts {
        None => rules.admit(client),
        Some(verdicts) => listed(rules, client).or_else(|| verdicts.terms(client)),
    }
}

struct ForProtocol {
    rules: Arc<dyn Admit>,
    barred: HashSet<Key, RandomState>,
    verdicts: Option<Verdicts>,
}

impl server::Clients for ForProtocol {
    fn admit(&self, client: &Key) -> Option<server::Admission> {
        if self.barred.contains(client) {
            return None;
        }
        let policy = terms(&*self.rules, self.verdicts.as_ref(), client)?;
        // Rules that name their clients know each of them, and so does who gave it a psk or was asked.
        let is_named = self.rules.clients().is_some() || self.verdicts.is_some();
        let listed = is_named || policy.psk.is_some();
        Some(server::Admission { psk: policy.psk.clone(), listed })
    }

    fn is_undecided(&self, client: &Key) -> bool {
        let undecided = |verdicts: &Verdicts| !verdicts.is_there(client);
        !self.barred.contains(client) && self.verdicts.as_ref().is_some_and(undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_barred_gets_in_again_when_the_time_is_over() {
        let (barred, other) = ([1; 32], [2; 32]);
        let mut gate = Gate::new(Box::new(Anybody), |_| true).unwrap();
        assert_eq!(gate.due(), None);
        gate.bar(barred, Duration::from_secs(10));
        assert_eq!(gate.due(), Some(Duration::from_secs(10)));
        let admits = |gate: &Gate, key| gate.for_protocol().admit(&key).is_some();
        assert!(!admits(&gate, barred) && admits(&gate, other));
        assert!(!gate.lift_bars(Duration::from_secs(9)) && !admits(&gate, barred));
        assert!(gate.lift_bars(Duration::from_secs(10)) && admits(&gate, barred));
        assert!(!gate.lift_bars(Duration::from_secs(11)));
    }
}
