//! The option `--budget`.

use acton_engine::{Budget, Budgets, FloodBudgets, FloodClass};
use clap::Args;

/// What `--budget` says at a server.
#[derive(Debug, Args)]
pub(super) struct BudgetOptions {
    /// Frames a second that may be flooded, and frames at once (a second's without it), of a CLASS:
    /// broadcast, arp, nd, dhcp, multicast, unknown, unresolved (ARP and neighbour discovery for
    /// addresses that nobody is known to have), or all of them; from each client, or with root: from
    /// the server's side. May be given more than once; the defaults stop nothing but storms
    #[arg(long, value_name = "[root:]CLASS=RATE[/BURST]|none", value_parser = budget)]
    budget: Vec<BudgetOption>,
}

/// One `--budget`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct BudgetOption {
    root: bool,
    /// `None` for all classes.
    class: Option<FloodClass>,
    budget: Option<Budget>,
}

impl BudgetOptions {
    /// The defaults, and what differs from them; the last option counts.
    pub(super) fn settings(&self) -> FloodBudgets {
        let mut settings = FloodBudgets::default();
        for option in &self.budget {
            let budgets = if option.root { &mut settings.root } else { &mut settings.client };
            match option.class {
                Some(class) => *budgets.of_mut(class) = option.budget,
                None => *budgets = Budgets::all(option.budget),
            }
        }
        settings
    }
}

fn budget(text: &str) -> Result<BudgetOption, String> {
    let (class, budget) =
        text.split_once('=').ok_or("write it as arp=500/1000, or arp=none for no limit")?;
    let (root, class) = class.strip_prefix("root:").map_or((false, class), |class| (true, class));
    let class = match class {
        "all" => None,
        _ => {
            let known = FloodClass::ALL.into_iter().find(|known| known.as_str() == class);
            let names = FloodClass::ALL.map(FloodClass::as_str).join(", ");
            Some(known.ok_or_else(|| format!("no class '{class}'; there are {names}, and all"))?)
        }
    };
    if budget == "none" {
        return Ok(BudgetOption { root, class, budget: None });
    }
    let (rate, burst) = budget.split_once('/').unwrap_or((budget, budget));
    let number = |text: &str| match text.parse() {
        Ok(number @ 1_u32..) => Ok(number),
        _ => {
            Err(format!("'{text}' is no number of frames from 1 to {}; none is no limit", u32::MAX))
        }
    };
    Ok(BudgetOption { root, class, budget: Some(Budget::new(number(rate)?, number(burst)?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &[&str]) -> FloodBudgets {
        let budget = options.iter().map(|text| budget(text).unwrap()).collect();
        BudgetOptions { budget }.settings()
    }

    #[test]
    fn each_option_changes_its_class_and_side() {
        assert_eq!(settings(&[]), FloodBudgets::default());
        let mut expected = FloodBudgets::default();
        expected.client.arp = Some(Budget::new(500, 1_000));
        expected.client.nd = None;
        expected.root.dhcp = Some(Budget::new(7, 7));
        assert_eq!(settings(&["arp=9", "arp=500/1000", "nd=none", "root:dhcp=7"]), expected);
        expected.root = Budgets::all(None);
        expected.root.unknown = Some(Budget::new(1, 2));
        let all = ["arp=500/1000", "nd=none", "root:all=none", "root:unknown=1/2"];
        assert_eq!(settings(&all), expected);
    }

    #[test]
    fn what_is_no_budget_is_refused() {
        for text in ["arp", "arp=", "arp=0", "arp=1/0", "arp=-1", "arp=1/2/3", "ARP=1", "root:=1"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }
}
