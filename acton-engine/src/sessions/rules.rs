//! The rules in force at a server, and a thread that looks for others: to read a long list takes
//! longer than a control thread may be away.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

use crate::run::clock;
use crate::run::threads::{self, ThreadKind};
use crate::sessions::admission::{Admission, Admit, NetworkKeys};
use crate::sessions::pair_owners::PairOwners;

/// How often the rules are looked at for changes: a client that is taken off a list is out within a
/// second.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// Least time between the first two tellings of one error: whoever mends a list wrongly once more is to
/// hear of it. It doubles with each, up to the other: one that nobody mends fills no log.
const TELL_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Who gets in, and whose MACs are whose by that. Clones are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) admit: Arc<dyn Admit>,
    pub(crate) owners: Arc<HashMap<MacAddr, Key, RandomState>>,
    /// Whose pairs of VLAN tags are whose.
    pub(crate) pairs: Arc<PairOwners>,
}

/// Takes what came of reading the list of clients again: how many are on it, `None` where there is none,
/// or why the one before stays in force.
pub(crate) type ListAnswer = SyncSender<Result<Option<usize>, String>>;

/// Those who may wait at a time for the list to be read again.
const MAX_WAITING: usize = 8;

/// What the thread finds out.
pub(crate) enum RulesNews {
    Rules(NewRules),
    /// Why the rules before stay in force.
    RulesFailed(String),
    NetworkKeys(NetworkKeys),
    /// Why the network's keys before stay in force.
    NetworkKeyFailed(String),
}

/// Rules in place of those before.
pub(crate) struct NewRules {
    pub(crate) rules: Rules,
    /// The MACs whose owner is another than before.
    pub(crate) macs: Vec<MacAddr>,
}

impl Rules {
    pub(crate) fn new(admit: Arc<dyn Admit>) -> Self {
        let owners = admit.owners();
        let macs =
            owners.iter().flat_map(|(key, policy)| policy.macs.iter().map(|&mac| (mac, *key)));
        let pairs = owners.iter().filter_map(|(key, policy)| Some((policy.pair()?, *key)));
        Self { owners: Arc::new(macs.collect()), pairs: Arc::new(pairs.collect()), admit }
    }

    /// The MACs that belong to another client by these rules than by `before`, or to nobody.
    fn differences(&self, before: &Self) -> Vec<MacAddr> {
        let (old, new) = (&before.owners, &self.owners);
        let gone = old.keys().filter(|mac| !new.contains_key(*mac));
        let other = new.iter().filter(|(mac, key)| old.get(*mac) != Some(key));
        // First what goes, so that what comes finds room.
        gone.chain(other.map(|(mac, _)| mac)).copied().collect()
    }

    /// Whether nobody else uses them.
    fn is_last(&self) -> bool {
        let others = [Arc::strong_count(&self.admit), Arc::strong_count(&self.owners)];
        others == [1; 2] && Arc::strong_count(&self.pairs) == 1
    }
}

/// Looks for other rules.
struct Lookout {
    admission: Box<dyn Admission>,
    rules: Rules,
    /// Those before, for as long as somebody uses them: letting go of a long list takes time too, and
    /// should take that of whoever looks.
    before: Vec<Rules>,
    /// What was told of last, so that the same is told once in a while.
    told: Option<Told>,
}

/// An error that was told.
struct Told {
    error: String,
    /// When the same may be told again, and how long after that.
    due: Duration,
    interval: Duration,
}

impl Lookout {
    fn new(admission: Box<dyn Admission>, rules: Rules) -> Self {
        Self { admission, rules, before: Vec::new(), told: None }
    }

    /// Other rules, or why those before stay in force, which `again` has told in any case.
    fn look(&mut self, now: Duration, again: bool) -> Option<Result<NewRules, String>> {
        self.before.retain(|rules| !rules.is_last());
        match self.admission.look(again)? {
            Ok(admit) => {
                self.told = None;
                if let Some(error) = admit.lacks_list() {
                    // It comes with the rules.
                    self.is_due(error, now);
                }
                let rules = Rules::new(admit);
                let macs = rules.differences(&self.rules);
                self.before.push(mem::replace(&mut self.rules, rules.clone()));
                Some(Ok(NewRules { rules, macs }))
            }
            Err(error) => {
                let is_due = self.is_due(&error, now);
                (is_due || again).then_some(Err(error))
            }
        }
    }

    /// Whether an error is to be told now.
    fn is_due(&mut self, error: &str, now: Duration) -> bool {
        let (least, most) = TELL_INTERVALS;
        match &mut self.told {
            Some(told) if told.error == error && now < told.due => false,
            Some(told) if told.error == error => {
                told.interval = most.min(2 * told.interval);
                told.due = now + told.interval;
                true
            }
            told => {
                let error = error.to_owned();
                *told = Some(Told { error, due: now + least, interval: least });
                true
            }
        }
    }
}

/// The thread that does so; dropping this ends it.
pub(crate) struct RulesWatch {
    again: SyncSender<Option<ListAnswer>>,
}

impl RulesWatch {
    /// Looks for others than `rules`, and for other keys of the network, and calls `tell` with what it
    /// finds until that says `false`: that nobody hears it any more.
    ///
    /// # Errors
    /// Where the thread cannot be made.
    pub(crate) fn start(
        admission: Box<dyn Admission>,
        rules: Rules,
        tell: impl Fn(RulesNews) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let (again, asked) = mpsc::sync_channel(MAX_WAITING);
        let mut lookout = Lookout::new(admission, rules);
        let look = move || {
            loop {
                let (again, answer): (_, Option<ListAnswer>) =
                    match asked.recv_timeout(LOOK_INTERVAL) {
                        Ok(answer) => (true, answer),
                        Err(RecvTimeoutError::Timeout) => (false, None),
                        Err(RecvTimeoutError::Disconnected) => return,
                    };
                let rules = lookout.look(clock::now(), again).map(|looked| match looked {
                    Ok(rules) => RulesNews::Rules(rules),
                    Err(error) => RulesNews::RulesFailed(error),
                });
                let admit = &lookout.rules.admit;
                let outcome = match (&rules, admit.lacks_list()) {
                    (Some(RulesNews::RulesFailed(error)), _) => Err(error.clone()),
                    (_, Some(error)) => Err(error.to_owned()),
                    (_, None) => Ok(admit.clients()),
                };
                let keys = lookout.admission.network_keys().map(|looked| match looked {
                    Ok(keys) => RulesNews::NetworkKeys(keys),
                    Err(error) => RulesNews::NetworkKeyFailed(error),
                });
                if !rules.into_iter().chain(keys).all(&tell) {
                    return;
                }
                // Whoever asked may have given up.
                let _ = answer.map(|answer| answer.try_send(outcome));
            }
        };
        threads::spawn("acton-rules", ThreadKind::Other, look)?;
        Ok(Self { again })
    }

    /// Has it look at once, also where nothing seems to have changed.
    pub(crate) fn look_again(&self, answer: Option<ListAnswer>) {
        // Those that wait to be taken say it already.
        let _ = self.again.try_send(answer);
    }
}

impl fmt::Debug for RulesWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RulesWatch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::admission::{Anybody, ClientPolicy};

    #[derive(Debug)]
    struct Owners(Vec<(Key, Vec<u8>)>);

    impl Admit for Owners {
        fn admit(&self, _: &Key) -> Option<Arc<ClientPolicy>> {
            None
        }

        fn owners(&self) -> Vec<(Key, Arc<ClientPolicy>)> {
            let policy = |macs: &[u8]| {
                let macs = macs.iter().map(|&last| MacAddr(2, 0, 0, 0, 0, last)).collect();
                Arc::new(ClientPolicy { macs, ..ClientPolicy::default() })
            };
            self.0.iter().map(|(key, macs)| (*key, policy(macs))).collect()
        }
    }

    #[test]
    fn only_macs_with_another_owner_differ() {
        let rules = |owners: &[(u8, &[u8])]| {
            let owners = owners.iter().map(|&(key, macs)| ([key; 32], macs.to_vec()));
            Rules::new(Arc::new(Owners(owners.collect())))
        };
        let differences = |old: &Rules, new: &Rules| {
            let mut macs: Vec<_> = new.differences(old).iter().map(|mac| mac.5).collect();
            let first = macs.first().copied();
            macs.sort_unstable();
            (first, macs)
        };
        let old = rules(&[(1, &[10, 11]), (2, &[20])]);
        assert_eq!(differences(&old, &old), (None, vec![]));
        // 10 goes, 20 is another's, 30 is new.
        let new = rules(&[(1, &[11, 20]), (3, &[30])]);
        assert_eq!(differences(&old, &new), (Some(10), vec![10, 20, 30]));
    }

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
        let rules = Rules::new(Arc::new(Anybody));
        let mut lookout = Lookout::new(Box::new(Unreadable(looks)), rules);
        let at = |second: u64| Duration::from_secs(second);
        let told: Vec<_> =
            (1..=8).filter(|&second| lookout.look(at(second), false).is_some()).collect();
        assert_eq!(told, [1, 3, 5, 7, 8]);
        assert!(lookout.look(at(9), true).is_some(), "who asks is told");
        assert!(lookout.look(at(100), false).is_some());
    }

    #[test]
    fn what_nobody_mends_is_told_ever_less_often() {
        let rules = Rules::new(Arc::new(Anybody));
        let mut lookout = Lookout::new(Box::new(Unreadable(&["a"; 400])), rules);
        let at = |second: u64| Duration::from_secs(second);
        let told: Vec<_> =
            (1..400).filter(|&second| lookout.look(at(second), false).is_some()).collect();
        assert_eq!(told, [1, 6, 16, 36, 76, 136, 196, 256, 316, 376]);
    }
}
