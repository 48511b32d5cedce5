//! What all workers of a server know of floods.

use std::sync::atomic::{AtomicU64, Ordering};

use acton_bridge::{Budget, FloodClass};

use crate::floods::budgets::{Budgets, FloodBudgets};
use crate::floods::gate::FloodGate;

/// The budgets in force, and what has been flooded from the root.
#[derive(Debug)]
pub(crate) struct Floods {
    pub(crate) client: SharedBudgets,
    pub(crate) root: SharedBudgets,
    pub(crate) root_gate: FloodGate,
}

impl Floods {
    pub(crate) fn new(budgets: &FloodBudgets) -> Self {
        let floods = Self {
            client: SharedBudgets::none(),
            root: SharedBudgets::none(),
            root_gate: FloodGate::new(),
        };
        floods.set_budgets(budgets);
        floods
    }

    /// Puts other budgets in force.
    pub(crate) fn set_budgets(&self, budgets: &FloodBudgets) {
        self.client.set(&budgets.client);
        self.root.set(&budgets.root);
    }
}

/// Budgets that the control thread may change while workers go by them.
#[derive(Debug)]
pub(crate) struct SharedBudgets([AtomicU64; FloodClass::ALL.len()]);

impl SharedBudgets {
    const fn none() -> Self {
        Self([const { AtomicU64::new(0) }; _])
    }

    fn set(&self, budgets: &Budgets) {
        for class in FloodClass::ALL {
            let word = budgets.of(class).map_or(0, |budget| {
                u64::from(budget.rate.get()) << 32 | u64::from(budget.burst.get())
            });
            self.0[class.index()].store(word, Ordering::Relaxed);
        }
    }

    /// The budget of a class.
    pub(crate) fn of(&self, class: FloodClass) -> Option<Budget> {
        match self.0[class.index()].load(Ordering::Relaxed) {
            0 => None,
            word => Some(Budget::new((word >> 32) as u32, word as u32)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_see_what_was_set() {
        let mut budgets = FloodBudgets::default();
        budgets.root.arp = None;
        budgets.client.nd = Some(Budget::new(u32::MAX, 1));
        let floods = Floods::new(&FloodBudgets::default());
        floods.set_budgets(&budgets);
        for class in FloodClass::ALL {
            assert_eq!(floods.client.of(class), budgets.client.of(class));
            assert_eq!(floods.root.of(class), budgets.root.of(class));
        }
    }
}
