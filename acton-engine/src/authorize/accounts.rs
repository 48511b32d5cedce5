//! Whose account is to be told when.

use std::collections::BTreeSet;
use std::time::Duration;

use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// The sessions that are accounted for, by their number.
#[derive(Debug)]
pub(crate) struct Accounts {
    /// How often each is told while it lasts; never where this is `None`.
    interval: Option<Duration>,
    /// Beginnings and ends are told also where there is no interval.
    always: bool,
    /// Names this run, where its beginning was told.
    run: Option<String>,
    open: HashMap<usize, Account, RandomState>,
    due: BTreeSet<(Duration, usize)>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    /// Names it among all of this server's, also those of earlier runs.
    pub(crate) id: String,
    pub(crate) client: Key,
    pub(crate) since: Duration,
    due: Option<Duration>,
}

impl Accounts {
    /// Accounts that are told this often, and with `always` their beginnings and ends in any case.
    pub(crate) fn new(interval: Option<Duration>, always: bool) -> Self {
        Self { interval, always, run: None, open: HashMap::default(), due: BTreeSet::new() }
    }

    /// Begins all of this run at `wall`, in nanoseconds since 1970: its name, if anything is to be told.
    pub(crate) fn begin_run(&mut self, wall: u64) -> Option<String> {
        self.run = self.tells().then(|| format!("{wall:016x}"));
        self.run.clone()
    }

    /// Ends all of this run: its name, if its beginning was told.
    pub(crate) fn end_run(&mut self) -> Option<String> {
        self.run.take()
    }

    fn tells(&self) -> bool {
        self.interval.is_some() || self.always
    }

    /// Begins one at `wall`, in nanoseconds since 1970, if anything of it is to be told.
    pub(crate) fn begin(&mut self, now: Duration, wall: u64, session: usize, client: Key) {
        self.end(session);
        if !self.tells() {
            return;
        }
        let due = self.interval.map(|interval| first(now, interval, &client));
        self.due.extend(due.map(|due| (due, session)));
        let account = Account { id: format!("{wall:016x}-{session:x}"), client, since: now, due };
        self.open.insert(session, account);
    }

    /// Ends one.
    pub(crate) fn end(&mut self, session: usize) -> Option<Account> {
        let account = self.open.remove(&session)?;
        if let Some(due) = account.due {
            self.due.remove(&(due, session));
        }
        Some(account)
    }

    /// One that is open.
    pub(crate) fn get(&self, session: usize) -> Option<&Account> {
        self.open.get(&session)
    }

    /// Has them told this often from now on.
    pub(crate) fn set_interval(&mut self, now: Duration, interval: Option<Duration>) {
        if interval == self.interval {
            return;
        }
        self.interval = interval;
        self.due.clear();
        for (&session, account) in &mut self.open {
            account.due = interval.map(|interval| first(now, interval, &account.client));
            self.due.extend(account.due.map(|due| (due, session)));
        }
    }

    /// When [`poll`](Self::poll) has one.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due.first().map(|&(due, _)| due)
    }

    /// One that is to be told now.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<usize> {
        let interval = self.interval?;
        let &(due, session) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.pop_first();
        let account = self.open.get_mut(&session)?;
        // From when it was due, so that they stay apart, but never one after the other to catch up.
        let next = if due + interval > now { due + interval } else { now + interval };
        account.due = Some(next);
        self.due.insert((next, session));
        Some(session)
    }
}

/// When one is told first: half an interval to one and a half later, by the client's key, so that those
/// that begin at once are not all told at once.
fn first(now: Duration, interval: Duration, client: &Key) -> Duration {
    let share = u32::from(u16::from_be_bytes([client[1], client[2]]));
    now + interval / 2 + interval * share / 65_536
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(1_000);

    fn client(number: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.wrapping_mul(2_654_435_769).to_be_bytes());
        key
    }

    #[test]
    fn ten_thousand_that_begin_at_once_are_told_spread_and_each_as_often_as_said() {
        let interval = Duration::from_secs(300);
        let mut accounts = Accounts::new(Some(interval), false);
        for session in 0..10_000 {
            accounts.begin(START, 7, session, client(session as u32));
        }
        let (mut told, mut most) = (vec![0; 10_000], 0);
        for second in 0..=3_000 {
            let (now, mut in_second) = (START + Duration::from_secs(second), 0);
            while let Some(session) = accounts.poll(now) {
                told[session] += 1;
                in_second += 1;
            }
            most = most.max(in_second);
        }
        assert!(told.iter().all(|&told| (9..=10).contains(&told)));
        assert!(most < 70, "{most} in a second, 33 on the average");
    }

    #[test]
    fn a_number_that_is_used_again_is_another_account() {
        let mut accounts = Accounts::new(None, true);
        accounts.begin(START, 0xabc, 3, client(1));
        assert_eq!(accounts.get(3).unwrap().id, "0000000000000abc-3");
        assert_eq!((accounts.due(), accounts.poll(START * 2)), (None, None));
        accounts.set_interval(START, Some(Duration::from_secs(2)));
        assert!(accounts.due().is_some());
        accounts.begin(START, 0xabd, 3, client(2));
        assert_eq!(accounts.get(3).unwrap().id, "0000000000000abd-3");
        assert_eq!(accounts.poll(START), None);
        assert_eq!(accounts.end(3).map(|account| account.client), Some(client(2)));
        assert_eq!((accounts.end(3), accounts.due()), (None, None));
        let mut none = Accounts::new(None, false);
        none.begin(START, 1, 0, client(1));
        assert_eq!(none.get(0), None, "nobody is told");
    }

    #[test]
    fn a_run_has_a_name_and_ends_once_where_anybody_is_told() {
        let mut accounts = Accounts::new(None, true);
        assert_eq!(accounts.begin_run(0xabc).as_deref(), Some("0000000000000abc"));
        assert_eq!(accounts.end_run().as_deref(), Some("0000000000000abc"));
        assert_eq!(accounts.end_run(), None);
        let mut none = Accounts::new(None, false);
        assert_eq!(none.begin_run(1), None);
        none.set_interval(START, Some(Duration::from_secs(2)));
        assert_eq!(none.end_run(), None, "its beginning was not told");
    }

    #[test]
    fn what_is_not_due_stays() {
        let mut accounts = Accounts::new(Some(Duration::from_secs(2)), false);
        accounts.begin(START, 1, 0, client(1));
        assert_eq!(accounts.poll(START), None);
        assert!(accounts.due().is_some(), "looking takes nothing away");
        let late = START + Duration::from_secs(100);
        assert!(accounts.poll(late).is_some());
        assert_eq!(
            (accounts.poll(late), accounts.due()),
            (None, Some(late + Duration::from_secs(2)))
        );
    }
}
