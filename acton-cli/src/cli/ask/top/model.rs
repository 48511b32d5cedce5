//! What is shown: a function of what the tunnel said and of the keys that were pressed.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use acton_engine::{FdbEntry, SessionStatus};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::session_rows::{Column, known_columns};
use super::super::status::{Rates, key};
use super::super::status_text::Look;
use super::feed::{News, Snapshot};
use crate::control::{DropCount, EventRecord};

/// Events that are kept.
const EVENTS: usize = 500;
/// Looks whose throughput is kept: as many as a wide terminal has columns.
const HISTORY: usize = 512;
/// Rows that a page has at least.
const PAGE: usize = 10;

/// What a screen shows above the last line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum View {
    /// The table of sessions, with a pane.
    #[default]
    Table,
    /// One session.
    Session,
    /// The keys.
    Help,
}

/// What is below the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pane {
    #[default]
    Events,
    Drops,
    Fdb,
}

/// A reason to drop, and how many a second now.
#[derive(Debug)]
pub(super) struct RatedDrop {
    pub(super) drop: DropCount,
    pub(super) per_second: f64,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) look: Option<Look>,
    pub(super) rates: Rates,
    pub(super) events: VecDeque<EventRecord>,
    pub(super) drops: Vec<RatedDrop>,
    pub(super) fdb: Vec<FdbEntry>,
    /// Bits a second in and out of all sessions, the latest last.
    pub(super) history: VecDeque<(u64, u64)>,
    /// Why the tunnel is away, if it is.
    pub(super) away: Option<String>,
    pub(super) view: View,
    pub(super) pane: Pane,
    pub(super) sort: Column,
    pub(super) descending: bool,
    /// What names, addresses and MACs are to contain.
    pub(super) search: String,
    /// The search is being typed.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// The sessions that are shown, by their place in the look, in their order.
    pub(super) order: Vec<usize>,
    /// Which of them is marked, and which is the first on the screen.
    pub(super) marked: usize,
    pub(super) first: usize,
    /// Rows that the table had when it was last drawn.
    pub(super) page: usize,
    /// Who is marked, whatever row that is; nobody while it is the first one.
    who: Option<(Option<usize>, String)>,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            look: None,
            rates: Rates::default(),
            events: VecDeque::new(),
            drops: Vec::new(),
            fdb: Vec::new(),
            history: VecDeque::new(),
            away: None,
            view: View::default(),
            pane: Pane::default(),
            sort: Column::In,
            descending: true,
            search: String::new(),
            is_typing: false,
            is_paused: false,
            order: Vec::new(),
            marked: 0,
            first: 0,
            page: PAGE,
            who: None,
        }
    }
}

impl Top {
    /// Takes what the tunnel says; whether that changes what is shown.
    pub(super) fn hear(&mut self, news: News) -> bool {
        match news {
            News::Away(why) => {
                let is_new = self.away.as_ref() != Some(&why);
                self.away = Some(why);
                is_new
            }
            News::Look(snapshot) => {
                self.away = None;
                if !self.is_paused {
                    self.take(*snapshot);
                }
                true
            }
        }
    }

    fn take(&mut self, Snapshot { look, events, drops, fdb }: Snapshot) {
        let before = self.look.take();
        // One that runs for less long is another.
        let before = before
            .filter(|before| before.instance.running_seconds <= look.instance.running_seconds);
        if before.is_none() {
            self.drops.clear();
            self.events.clear();
        }
        let seconds = before.as_ref().map_or(0.0, |it| look.instance.time - it.instance.time);
        if let Some(before) = &before {
            self.rates = Rates::between(before, &look);
            let (into, out) = self.rates.total();
            self.history.push_back((into as u64, out as u64));
            self.history.drain(..self.history.len().saturating_sub(HISTORY));
        }
        let known = std::mem::take(&mut self.drops);
        self.drops = drops
            .into_iter()
            .filter(|drop| drop.count > 0)
            .map(|drop| {
                let old = known.iter().find(|old| old.drop.reason == drop.reason);
                let more = drop.count.saturating_sub(old.map_or(0, |old| old.drop.count));
                let per_second =
                    if seconds > 0.0 && before.is_some() { more as f64 / seconds } else { 0.0 };
                RatedDrop { drop, per_second }
            })
            .collect();
        self.drops.sort_by(|a, b| {
            b.per_second.total_cmp(&a.per_second).then(b.drop.count.cmp(&a.drop.count))
        });
        self.events.extend(events.into_iter().filter(|event| event.text.is_some()));
        self.events.drain(..self.events.len().saturating_sub(EVENTS));
        self.fdb = fdb.unwrap_or_default();
        self.look = Some(look);
        self.arrange();
    }

    /// Puts the sessions in order anew, and the mark on whom it was.
    fn arrange(&mut self) {
        let Some(look) = &self.look else { return };
        let sessions = &look.sessions;
        let mut order: Vec<_> =
            (0..sessions.len()).filter(|&at| self.is_found(&sessions[at])).collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&sessions[a], &sessions[b]);
            let by = self.sort.compare(a, b, &self.rates);
            (if self.descending { by.reverse() } else { by }).then_with(|| a.name.cmp(&b.name))
        });
        let place =
            |who: &(Option<usize>, String)| order.iter().position(|&at| key(&sessions[at]) == *who);
        self.marked = self.who.as_ref().and_then(place).unwrap_or(self.marked);
        self.order = order;
        self.mark(self.marked);
    }

    fn is_found(&self, session: &SessionStatus) -> bool {
        let search = self.search.to_lowercase();
        let has = |text: String| text.to_lowercase().contains(&search);
        search.is_empty()
            || has(session.name.clone())
            || session.address.is_some_and(|address| has(address.to_string()))
            || session.macs.iter().any(|report| has(report.mac.to_string()))
            || has(super::super::status_text::name(session.state))
    }

    /// The session that is marked.
    pub(super) fn session(&self) -> Option<&SessionStatus> {
        self.look.as_ref()?.sessions.get(*self.order.get(self.marked)?)
    }

    /// Whether the table of MACs is shown.
    pub(super) fn shows_fdb(&self) -> bool {
        self.pane == Pane::Fdb
    }

    fn mark(&mut self, row: usize) {
        self.marked = row.min(self.order.len().saturating_sub(1));
        let last = self.order.len().saturating_sub(self.page);
        let least = (self.marked + 1).saturating_sub(self.page);
        self.first = self.first.min(self.marked).min(last).max(least);
        // Whoever is first is shown first, whoever that is.
        self.who = self.session().map(key).filter(|_| self.marked > 0);
    }

    /// Says how many rows there is room for.
    pub(super) fn set_page(&mut self, rows: usize) {
        self.page = rows.max(1);
        self.mark(self.marked);
    }

    /// Does what a key says; breaks where that is the end.
    pub(super) fn key(&mut self, key: KeyEvent) -> ControlFlow<()> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('c') {
            return ControlFlow::Break(());
        }
        if self.is_typing {
            self.type_search(key.code);
            return ControlFlow::Continue(());
        }
        match key.code {
            KeyCode::Char('q') if self.view == View::Table => return ControlFlow::Break(()),
            KeyCode::Char('q') | KeyCode::Esc if self.view != View::Table => {
                self.view = View::Table;
            }
            KeyCode::Esc => self.search_for(String::new()),
            KeyCode::Char('?' | 'h') => self.view = View::Help,
            KeyCode::Enter if self.session().is_some() => self.view = View::Session,
            KeyCode::Char('/') => (self.view, self.is_typing) = (View::Table, true),
            KeyCode::Char('x') => self.pane = self.other_pane(Pane::Drops),
            KeyCode::Char('f') => self.pane = self.other_pane(Pane::Fdb),
            KeyCode::Char('e') => self.pane = Pane::Events,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') | KeyCode::Right => self.sort_by_next(1),
            KeyCode::Char('S') | KeyCode::Left => self.sort_by_next(-1),
            KeyCode::Char('r') => {
                self.descending = !self.descending;
                self.arrange();
            }
            KeyCode::Up | KeyCode::Char('k') => self.mark(self.marked.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.mark(self.marked + 1),
            KeyCode::PageUp => self.mark(self.marked.saturating_sub(self.page)),
            KeyCode::PageDown => self.mark(self.marked + self.page),
            KeyCode::Home | KeyCode::Char('g') => self.mark(0),
            KeyCode::End | KeyCode::Char('G') => self.mark(usize::MAX),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn type_search(&mut self, key: KeyCode) {
        match key {
            KeyCode::Char(letter) => {
                let search = format!("{}{letter}", self.search);
                self.search_for(search);
            }
            KeyCode::Backspace => {
                let mut search = self.search.clone();
                search.pop();
                self.search_for(search);
            }
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.search_for(String::new());
            }
            _ => {}
        }
    }

    fn search_for(&mut self, search: String) {
        self.search = search;
        self.arrange();
    }

    /// The pane, or the one of events where it is shown already.
    fn other_pane(&self, pane: Pane) -> Pane {
        if self.pane == pane { Pane::Events } else { pane }
    }

    fn sort_by_next(&mut self, step: isize) {
        let Some(look) = &self.look else { return };
        let columns = known_columns(look);
        let at = columns.iter().position(|&column| column == self.sort).unwrap_or(0);
        let next = (at as isize + step).rem_euclid(columns.len() as isize);
        self.sort = columns[next as usize];
        // Names and addresses begin with the first, figures with the largest.
        self.descending = !matches!(self.sort, Column::Name | Column::Address | Column::State);
        self.arrange();
    }
}
