//! Lines that wait to be said.

use std::collections::VecDeque;

/// Questions and accounts that wait at most: as many as a server may ask at a time, and more than it may
/// have sessions that end at once. An account is some 400 bytes.
const MAX_QUESTIONS: usize = 4_096;
const MAX_ACCOUNTS: usize = 65_536;
/// Lines that are said at once.
const AT_ONCE: usize = 64;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    questions: VecDeque<String>,
    accounts: VecDeque<String>,
    /// Of those, how many are being said: they are only gone once that is done.
    said_accounts: usize,
}

impl Queue {
    /// Takes a question; `false` where too many wait.
    pub(super) fn ask(&mut self, line: String) -> bool {
        let fits = self.questions.len() < MAX_QUESTIONS;
        if fits {
            self.questions.push_back(line);
        }
        fits
    }

    /// Takes an account; `false` where too many wait.
    pub(super) fn account(&mut self, line: String) -> bool {
        let fits = self.accounts.len() < MAX_ACCOUNTS;
        if fits {
            self.accounts.push_back(line);
        }
        fits
    }

    /// What is to be said now: questions first, for somebody waits for them.
    pub(super) fn next(&mut self) -> Option<String> {
        let questions = self.questions.len().min(AT_ONCE);
        let mut lines: String = self.questions.drain(..questions).collect();
        self.said_accounts = self.accounts.len().min(AT_ONCE - questions);
        lines.extend(self.accounts.range(..self.said_accounts).map(String::as_str));
        (!lines.is_empty()).then_some(lines)
    }

    /// It was said.
    pub(super) fn said(&mut self) {
        self.accounts.drain(..self.said_accounts);
        self.said_accounts = 0;
    }

    /// Nobody hears any more: questions are asked anew, and accounts that may not have been heard are said
    /// again.
    pub(super) fn lost(&mut self) {
        self.questions.clear();
        self.said_accounts = 0;
    }

    /// Accounts that wait.
    pub(super) fn accounts(&self) -> usize {
        self.accounts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_first_and_accounts_are_kept_until_they_were_said() {
        let mut queue = Queue::default();
        assert!(queue.account("a\n".to_owned()) && queue.ask("q\n".to_owned()));
        assert_eq!(queue.next().as_deref(), Some("q\na\n"));
        queue.lost();
        assert_eq!(queue.next().as_deref(), Some("a\n"));
        assert!(queue.account("b\n".to_owned()));
        queue.said();
        assert_eq!(queue.next().as_deref(), Some("b\n"));
        queue.said();
        assert_eq!((queue.next(), queue.accounts()), (None, 0));
    }

    #[test]
    fn there_is_room_for_so_much() {
        let mut queue = Queue::default();
        assert_eq!((0..9_999).filter(|_| queue.ask(String::new())).count(), MAX_QUESTIONS);
        assert_eq!((0..99_999).filter(|_| queue.account(String::new())).count(), MAX_ACCOUNTS);
    }
}
