//! Sessions as rows of a table.

use std::cmp::Ordering;

use acton_engine::{LossReport, SessionStatus};

use super::session_words::why;
use super::status::Rates;
use super::status_text::{Look, name};
use super::table::Table;
use super::units::{amount, round_trip, share, time};

/// The head of the table and a row for each of `sessions`, with as many columns as there is room for.
pub(super) fn rows(
    look: &Look,
    rates: &Rates,
    sessions: &[&SessionStatus],
    width: usize,
) -> Vec<String> {
    let mut columns = known_columns(look);
    let mut narrower = LEAST_NEEDED.into_iter();
    loop {
        let table = table(look, rates, sessions, &columns);
        let is_too_wide = table.iter().any(|line| line.chars().count() > width);
        match narrower.next() {
            Some(least) if is_too_wide => columns.retain(|&column| column != least),
            _ => return table,
        }
    }
}

/// The columns that have something in them.
pub(super) fn known_columns(look: &Look) -> Vec<Column> {
    COLUMNS.into_iter().filter(|column| column.is_known(look)).collect()
}

/// A column of the table of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    State,
    For,
    Address,
    Rtt,
    Loss,
    In,
    Out,
    Macs,
    Mtu,
}

/// All of them, in their order.
const COLUMNS: [Column; 10] = {
    use Column::{Address, For, In, Loss, Macs, Mtu, Name, Out, Rtt, State};
    [Name, State, For, Address, Rtt, Loss, In, Out, Macs, Mtu]
};

/// Those that a narrow terminal does without, first of all the first.
const LEAST_NEEDED: [Column; 4] = [Column::Mtu, Column::Loss, Column::Macs, Column::Rtt];

impl Column {
    /// Whether there is something to be in it: a client knows no MACs, and plain mode neither losses
    /// nor the path's MTU.
    fn is_known(self, look: &Look) -> bool {
        let any = |is_known: fn(&SessionStatus) -> bool| look.sessions.iter().any(is_known);
        match self {
            Self::Macs => !look.is_client(),
            Self::Loss => any(|session| session.loss_in.is_some()),
            Self::Mtu => any(|session| session.path_mtu_out.is_some()),
            Self::Rtt => any(|session| session.rtt.is_some()),
            _ => true,
        }
    }

    /// Those that say who it is and where, and not how frames go through.
    fn is_of_all(self) -> bool {
        matches!(self, Self::Name | Self::State | Self::For | Self::Address)
    }

    pub(super) fn head(self, look: &Look) -> &'static str {
        match self {
            Self::Name if look.is_client() => "SERVER",
            Self::Name => "CLIENT",
            Self::State => "STATE",
            Self::For => "FOR",
            Self::Address => "ADDRESS",
            Self::Rtt => "RTT",
            Self::Loss => "LOSS",
            Self::In => "IN b/s",
            Self::Out => "OUT b/s",
            Self::Macs => "MACS",
            Self::Mtu => "MTU",
        }
    }

    /// Which of two sessions has less in this column; what is not known is less than all.
    pub(super) fn compare(self, a: &SessionStatus, b: &SessionStatus, rates: &Rates) -> Ordering {
        let rate = |of: fn((f64, f64)) -> f64| {
            let (a, b) = (rates.of(a).map(of), rates.of(b).map(of));
            a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0))
        };
        let since = |session: &SessionStatus| session.in_state_for.or(session.session_for);
        let loss = |session| worst_loss(session).map_or(-1.0, |(share, ..)| share);
        match self {
            Self::Name => a.name.cmp(&b.name),
            Self::State => (a.state as u8).cmp(&(b.state as u8)),
            Self::For => since(a).cmp(&since(b)),
            Self::Address => a.address.cmp(&b.address),
            Self::Rtt => a.rtt.map(|rtt| rtt.smoothed).cmp(&b.rtt.map(|rtt| rtt.smoothed)),
            Self::Loss => loss(a).total_cmp(&loss(b)),
            Self::In => rate(|(rate, _)| rate),
            Self::Out => rate(|(_, rate)| rate),
            Self::Macs => a.macs.len().cmp(&b.macs.len()),
            Self::Mtu => a.path_mtu_out.cmp(&b.path_mtu_out),
        }
    }

    fn cell(self, session: &SessionStatus, rates: &Rates) -> String {
        let rate = rates.of(session);
        match self {
            Self::Name => session.name.clone(),
            Self::State => name(session.state),
            Self::For => or_unknown(session.in_state_for.or(session.session_for), time),
            Self::Address => or_unknown(session.address, |address| address.to_string()),
            Self::Rtt => or_unknown(session.rtt, |rtt| round_trip(rtt.smoothed)),
            Self::Loss => loss(session),
            Self::In => or_unknown(rate, |(rate, _)| amount(rate)),
            Self::Out => or_unknown(rate, |(_, rate)| amount(rate)),
            Self::Macs => session.macs.len().to_string(),
            Self::Mtu => or_unknown(session.path_mtu_out, |mtu| mtu.to_string()),
        }
    }
}

/// A row a session.
fn table(
    look: &Look,
    rates: &Rates,
    sessions: &[&SessionStatus],
    columns: &[Column],
) -> Vec<String> {
    let heads: Vec<_> = columns.iter().map(|column| column.head(look)).collect();
    let is_figure = |column: Column| !column.is_of_all() || column == Column::For;
    let right: Vec<_> = (0..columns.len()).filter(|&at| is_figure(columns[at])).collect();
    let mut table = Table::new(&heads, &right);
    for session in sessions {
        let why = why(session);
        let shown = columns.iter().filter(|column| why.is_none() || column.is_of_all());
        table.row(shown.map(|column| column.cell(session, rates)).chain(why.clone()));
    }
    table.lines()
}

const UNKNOWN: &str = "-";

fn or_unknown<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), text)
}

/// The loss of the direction that loses more.
fn loss(session: &SessionStatus) -> String {
    or_unknown(worst_loss(session), |(_, lost, sent)| share(lost, sent))
}

/// What share is lost in the direction that loses more, how many, and of how many.
fn worst_loss(session: &SessionStatus) -> Option<(f64, u64, u64)> {
    let lost = |loss: &LossReport| {
        let lost = loss.sent.saturating_sub(loss.received);
        (lost as f64 / loss.sent.max(1) as f64, lost, loss.sent)
    };
    let both = [session.loss_in, session.loss_out].into_iter().flatten();
    both.map(|loss| lost(&loss)).max_by(|a, b| a.0.total_cmp(&b.0))
}
