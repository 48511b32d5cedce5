//! MACs that clients have by a decision, for as long as their session lasts.

use acton_proto::wire::Key;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use pnet_base::MacAddr;

/// Whose they are.
#[derive(Debug, Default)]
pub(crate) struct LentMacs {
    owner: HashMap<MacAddr, Key, RandomState>,
    of: HashMap<Key, Vec<MacAddr>, RandomState>,
}

impl LentMacs {
    /// Whether somebody has it.
    pub(crate) fn has(&self, mac: MacAddr) -> bool {
        self.owner.contains_key(&mac)
    }

    /// Lends a MAC; `false` where another client has it.
    pub(crate) fn lend(&mut self, mac: MacAddr, client: &Key) -> bool {
        let owner = *self.owner.entry(mac).or_insert(*client);
        let of = self.of.entry(*client).or_default();
        if owner == *client && !of.contains(&mac) {
            of.push(mac);
        }
        owner == *client
    }

    /// Takes back those of a client that are not among `kept`.
    pub(crate) fn take_back(&mut self, client: &Key, kept: &[MacAddr]) -> Vec<MacAddr> {
        let Some(of) = self.of.get_mut(client) else { return Vec::new() };
        let (kept, back): (Vec<_>, Vec<_>) = of.drain(..).partition(|mac| kept.contains(mac));
        if kept.is_empty() {
            self.of.remove(client);
        } else {
            *of = kept;
        }
        for mac in &back {
            self.owner.remove(mac);
        }
        back
    }

    /// The list gives it to a client of its own.
    pub(crate) fn forget(&mut self, mac: MacAddr) {
        let Some(client) = self.owner.remove(&mac) else { return };
        if let Some(of) = self.of.get_mut(&client) {
            of.retain(|other| *other != mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr(2, 0, 0, 0, 0, 1);
    const B: MacAddr = MacAddr(2, 0, 0, 0, 0, 2);

    #[test]
    fn a_mac_is_one_clients_until_it_is_taken_back() {
        let (mut lent, one, two) = (LentMacs::default(), [1; 32], [2; 32]);
        assert!(lent.lend(A, &one) && lent.lend(A, &one) && lent.lend(B, &one));
        assert!(!lent.lend(A, &two) && lent.has(A));
        assert_eq!(lent.take_back(&one, &[B]), [A]);
        assert!(lent.lend(A, &two));
        lent.forget(A);
        assert!(!lent.has(A) && lent.take_back(&two, &[]).is_empty());
        assert_eq!(lent.take_back(&one, &[]), [B]);
        assert!(lent.take_back(&one, &[]).is_empty() && lent.of.is_empty());
    }
}
