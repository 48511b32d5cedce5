//! What has to come of a fault, what was seen, and the table of both.

use std::fmt::Display;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::wait_until;

/// One expectation.
#[derive(Debug)]
struct Check {
    expected: String,
    seen: String,
    ok: bool,
}

/// The expectations of one fault, in the order in which they were looked at.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<Vec<Check>>);

impl Checks {
    /// What has to be, what was, and whether these agree.
    pub(crate) fn holds(&self, expected: impl Into<String>, seen: impl Display, ok: bool) {
        let check = Check { expected: expected.into(), seen: seen.to_string(), ok };
        // Whoever panicked has written whole checks.
        self.0.lock().unwrap_or_else(|poison| poison.into_inner()).push(check);
    }

    /// Something has to have happened `most` after it could at the earliest.
    pub(crate) fn within(&self, what: &str, took: Duration, most: Duration) {
        self.holds(format!("{what} within {most:?}"), format!("{took:.2?}"), took <= most);
    }

    /// The same of something that is waited for here.
    #[track_caller]
    pub(crate) fn comes_within(&self, what: &str, most: Duration, holds: impl FnMut() -> bool) {
        let start = Instant::now();
        wait_until(what, holds);
        self.within(what, start.elapsed(), most);
    }

    pub(crate) fn at_most(&self, what: &str, seen: u64, most: u64) {
        self.holds(format!("{what}: at most {most}"), seen, seen <= most);
    }

    pub(crate) fn at_least(&self, what: &str, seen: u64, least: u64) {
        self.holds(format!("{what}: at least {least}"), seen, seen >= least);
    }

    pub(crate) fn equal<T: Display + PartialEq>(&self, what: &str, seen: T, expected: T) {
        self.holds(format!("{what}: {expected}"), &seen, seen == expected);
    }

    /// A text has to contain `words`.
    pub(crate) fn told(&self, who: &str, text: &str, words: &str) {
        let found = text.contains(words);
        self.holds(format!("{who} says \"{words}\""), if found { "it does" } else { "no" }, found);
    }

    /// Prints a line for each, and says whether all are as they have to be.
    pub(crate) fn print(self, fault: &str) -> bool {
        let checks = self.0.into_inner().unwrap_or_else(|poison| poison.into_inner());
        let mut name = fault;
        for Check { expected, seen, ok } in &checks {
            line(name, expected, seen, if *ok { "ok" } else { "NOT OK" });
            name = "";
        }
        checks.iter().all(|check| check.ok)
    }
}

/// Prints a line of the table.
pub(crate) fn line(fault: &str, expected: &str, seen: &str, verdict: &str) {
    println!("{fault:<30}  {expected:<62}  {seen:<26}  {verdict}");
}
