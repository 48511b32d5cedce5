//! Which session an event is about.

use crate::observe::event::{EventKind, Place};

impl EventKind {
    /// The number of the session that this is about; where a MAC moved, that where it lives now. `None`
    /// for what is about no one session, as all is at a client, which has but one.
    #[must_use]
    pub fn session(&self) -> Option<usize> {
        match self {
            Self::SessionUp { session, .. }
            | Self::SessionDown { session, .. }
            | Self::SessionMoved { session, .. }
            | Self::Rekeyed { session }
            | Self::Replaced { session, .. }
            | Self::Duplicate { session, .. }
            | Self::AccountingStart { session, .. }
            | Self::AccountingInterim { session, .. }
            | Self::AccountingStop { session, .. } => Some(*session),
            Self::MacLearnt { at, .. }
            | Self::MacFrozen { at, .. }
            | Self::LoopFound { at, .. }
            | Self::LanReflects { at }
            | Self::LoopOver { at, .. }
            | Self::BudgetActs { at, .. }
            | Self::PolicyActs { at, .. }
            | Self::MacHeld { by: at, .. }
            | Self::MacNoRoom { by: at, .. } => number(at),
            Self::MacMoved { from, to, .. } => number(to).or_else(|| number(from)),
            _ => None,
        }
    }
}

fn number(place: &Place) -> Option<usize> {
    match place {
        Place::Session { session, .. } => Some(*session),
        Place::Root | Place::Client => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_that_moves_is_of_the_session_where_it_lives_now() {
        let mac = "02:00:00:00:00:09".parse().unwrap();
        let at = |session| Place::Session { session, client: None };
        let moved = |from, to| EventKind::MacMoved { mac, vlan: 0, from, to }.session();
        assert_eq!(moved(at(3), at(5)), Some(5));
        assert_eq!(moved(at(3), Place::Root), Some(3));
        assert_eq!(EventKind::Rekeyed { session: 7 }.session(), Some(7));
        assert_eq!(EventKind::Carrier { up: true }.session(), None);
    }
}
