//! The screen, in the sixteen colours that every terminal has.

use std::time::Duration;

use acton_engine::State;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::super::events;
use super::super::fdb;
use super::super::session_rows::rows;
use super::super::session_text::one_session;
use super::super::status::{is_about, latest};
use super::super::status_text::{Look, name};
use super::super::table::{Table, wrap};
use super::super::units::{amount, clock, count, time};
use super::model::{Pane, Top, View};

/// Lines of the pane below the table, its title included.
const PANE: u16 = 7;
/// Lines of the chart of throughput.
const CHART: u16 = 2;
/// What is amiss: lines of it, at most.
const HEALTH: usize = 3;
/// Lines below which there is no room for a pane, and for a chart.
const TALL: u16 = 18;

const DIM: Style = Style::new().fg(Color::DarkGray);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const HEAD: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const MARKED: Style = Style::new().add_modifier(Modifier::REVERSED);

const KEYS: &str = "  up, down, PgUp, PgDn, Home, End   mark another session (j, k, g, G too)
  Enter                             all of the marked session; Esc goes back
  /                                 search names, addresses, MACs and states
  s, S (right, left)                sort by the next column, by the one before
  r                                 sort the other way round
  x                                 drops by reason; again for events
  f                                 the table of MACs; again for events
  e                                 events
  p, space                          pause
  q, Ctrl-C                         end

  LOSS is that of the direction that loses more, since the session began. IN and
  OUT are bits of frames a second between two looks. MTU is the largest datagram
  that the path carries. `quiet` is one whose sign of life is overdue.";

/// Draws all of it.
pub(super) fn draw(top: &mut Top, frame: &mut Frame<'_>) {
    let [main, foot] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(footer(top), foot);
    if top.view == View::Help {
        let lines = std::iter::once(Line::styled("Keys", HEAD)).chain(KEYS.lines().map(Line::from));
        frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), main);
        return;
    }
    let Some(look) = &top.look else {
        let waits = match &top.away {
            None => "asking ...".to_owned(),
            Some(why) => format!("waiting for a tunnel: {why}"),
        };
        let lines: Vec<_> = wrap(&waits, main.width.into()).into_iter().map(Line::from).collect();
        frame.render_widget(Paragraph::new(lines), main);
        return;
    };
    let head = header(top, look, main.width);
    let is_tall = main.height >= TALL;
    let [head_area, chart, body, pane] = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Length(if is_tall { CHART } else { 0 }),
        Constraint::Fill(1),
        Constraint::Length(if is_tall && top.view == View::Table { PANE } else { 0 }),
    ])
    .areas(main);
    frame.render_widget(Paragraph::new(head), head_area);
    if is_tall {
        charts(top, frame, chart);
    }
    if top.view == View::Session {
        session(top, frame, body);
        return;
    }
    table(top, frame, body);
    if pane.height > 0 {
        self::pane(top, frame, pane);
    }
}

/// Who it is, what is amiss, and all sessions in figures.
fn header(top: &Top, look: &Look, width: u16) -> Vec<Line<'static>> {
    let it = &look.instance;
    let running = time(Duration::try_from_secs_f64(it.running_seconds).unwrap_or_default());
    let (role, protocol) = (name(it.role), name(it.protocol));
    let what = format!(": {role} ({protocol}), acton {}, up {running}", it.version);
    let (state, style) = match (&top.away, top.is_paused) {
        (Some(_), _) => ("  AWAY", ALARM),
        (None, true) => ("  paused", Style::new().fg(Color::Yellow)),
        (None, false) => ("", DIM),
    };
    let mut lines = vec![Line::from(vec![
        Span::styled(it.name.clone(), BOLD),
        Span::raw(what),
        Span::styled(state, style),
    ])];
    let states = [State::Up, State::Quiet, State::Handshaking, State::Lost, State::Closed];
    let mut counts = vec![Span::raw(format!("{} sessions", count(look.sessions.len() as u64)))];
    for state in states {
        let are = look.sessions.iter().filter(|session| session.state == state).count();
        if are > 0 {
            let text = format!("  {} {}", count(are as u64), name(state));
            counts.push(Span::styled(text, style_of(state)));
        }
    }
    if let Some(bridge) = &it.bridge {
        let (behind, root) = (count(bridge.client_macs as u64), count(bridge.root_macs as u64));
        counts.push(Span::styled(format!("  MACs {behind} behind, {root} at the root"), DIM));
    }
    lines.push(Line::from(counts));
    if let Some(why) = &top.away {
        let text = format!("! the tunnel is away, this is how it was: {why}");
        lines.push(Line::styled(text, ALARM));
    }
    let health =
        it.health.iter().flat_map(|health| wrap(&format!("! {}", health.text), width.into()));
    lines.extend(health.take(HEALTH).map(|line| Line::styled(line, ALARM)));
    lines
}

fn style_of(state: State) -> Style {
    match state {
        State::Up => Style::new().fg(Color::Green),
        State::Quiet | State::Handshaking => Style::new().fg(Color::Yellow),
        State::Lost => Style::new().fg(Color::Red),
        _ => DIM,
    }
}

/// Throughput in and out, the latest at the right.
fn charts(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let [left, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area);
    let latest = top.history.back().copied().unwrap_or_default();
    chart(
        frame,
        left,
        "in",
        latest.0,
        top.history.iter().map(|rate| rate.0).collect(),
        Color::Cyan,
    );
    chart(
        frame,
        right,
        "out",
        latest.1,
        top.history.iter().map(|rate| rate.1).collect(),
        Color::Magenta,
    );
}

fn chart(frame: &mut Frame<'_>, area: Rect, what: &str, now: u64, all: Vec<u64>, color: Color) {
    let label = format!("{what:<3} {:>5}b/s ", amount(now as f64));
    let width = label.chars().count() as u16;
    let [text, bars] =
        Layout::horizontal([Constraint::Length(width), Constraint::Fill(1)]).areas(area);
    let most = all.iter().copied().max().unwrap_or(0);
    let scale = format!("max {:>5}b/s ", amount(most as f64));
    let lines = vec![Line::raw(label), Line::styled(scale, DIM)];
    frame.render_widget(Paragraph::new(lines), text);
    let shown = all.len().saturating_sub(bars.width.into());
    let mut data = vec![0; usize::from(bars.width).saturating_sub(all.len())];
    data.extend_from_slice(&all[shown..]);
    frame.render_widget(Sparkline::default().data(data).style(Style::new().fg(color)), bars);
}

fn table(top: &mut Top, frame: &mut Frame<'_>, area: Rect) {
    // A line of the title, and one of the heads.
    top.set_page(usize::from(area.height.saturating_sub(2)));
    let Some(look) = &top.look else { return };
    let arrow = if top.descending { "largest first" } else { "smallest first" };
    let found = match &*top.search {
        "" => String::new(),
        search => format!(", {} with '{search}'", count(top.order.len() as u64)),
    };
    let title = format!("sessions by {}, {arrow}{found}", top.sort.head(look));
    let mut lines = vec![rule(&title, area.width)];
    let shown: Vec<_> = top.order.iter().skip(top.first).take(top.page).collect();
    let sessions: Vec<_> = shown.iter().map(|&&at| &look.sessions[at]).collect();
    let mut text = rows(look, &top.rates, &sessions, area.width.into()).into_iter();
    lines.extend(text.next().map(|head| Line::styled(head, HEAD)));
    for (row, (line, session)) in text.zip(&sessions).enumerate() {
        let style = match session.state {
            State::Up => Style::new(),
            state => style_of(state),
        };
        let style = if top.first + row == top.marked { style.patch(MARKED) } else { style };
        let width = usize::from(area.width);
        lines.push(Line::styled(format!("{line:width$}"), style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// A line with a title in it.
fn rule(title: &str, width: u16) -> Line<'static> {
    let rest = usize::from(width).saturating_sub(title.chars().count() + 4);
    Line::from(vec![
        Span::styled("── ", DIM),
        Span::styled(title.to_owned(), BOLD),
        Span::styled(format!(" {}", "─".repeat(rest)), DIM),
    ])
}

fn pane(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let room = usize::from(area.height.saturating_sub(1));
    let (title, lines) = match top.pane {
        Pane::Events => ("events".to_owned(), event_lines(top, room)),
        Pane::Drops => {
            (format!("drops: {} reasons", top.drops.len()), drop_lines(top, room, area.width))
        }
        Pane::Fdb => (format!("MACs: {}", count(top.fdb.len() as u64)), fdb_lines(top, room)),
    };
    let mut all = vec![rule(&title, area.width)];
    all.extend(lines.into_iter().map(Line::from));
    frame.render_widget(Paragraph::new(all), area);
}

/// The latest events, the newest below.
fn event_lines(top: &Top, room: usize) -> Vec<String> {
    let skipped = top.events.len().saturating_sub(room);
    let line = |event| {
        let line = events::line(event);
        // The number and the date are for those who look for one.
        let time = clock(event.time);
        let text = line.split_once(&time).map_or(&*line, |(_, text)| text).trim_start();
        let time = time.split_once('T').map_or(&*time, |(_, time)| time);
        format!("{}  {text}", time.trim_end_matches('Z'))
    };
    top.events.iter().skip(skipped).map(line).collect()
}

fn drop_lines(top: &Top, room: usize, width: u16) -> Vec<String> {
    if top.drops.is_empty() {
        return vec!["nothing was dropped".to_owned()];
    }
    let mut table = Table::new(&["REASON", "COUNT", "PER s", "MEANING"], &[1, 2]);
    for it in top.drops.iter().take(room.saturating_sub(1)) {
        let (of, rate) = (count(it.drop.count), amount(it.per_second));
        table.row([it.drop.reason.to_string(), of, rate, it.drop.meaning.to_string()]);
    }
    let cut = |line: String| line.chars().take(width.into()).collect();
    table.lines().into_iter().map(cut).collect()
}

fn fdb_lines(top: &Top, room: usize) -> Vec<String> {
    if top.look.as_ref().is_some_and(Look::is_client) {
        return vec!["the server has the table of MACs".to_owned()];
    }
    let mut table = Table::new(&["MAC", "VLAN", "WHERE", "AGE", "", "ADDRESSES"], &[1, 3]);
    let search = top.search.to_lowercase();
    let found = top.fdb.iter().map(fdb::row).filter(|row| {
        search.is_empty() || row.iter().any(|cell| cell.to_lowercase().contains(&search))
    });
    found.take(room.saturating_sub(1)).for_each(|row| table.row(row));
    table.lines()
}

/// All of the session that is marked.
fn session(top: &Top, frame: &mut Frame<'_>, area: Rect) {
    let Some(session) = top.session() else { return };
    let is_client = top.look.as_ref().is_some_and(Look::is_client);
    let its = top.events.iter().filter(|event| is_client || is_about(event, &session.name));
    let text = one_session(session, &top.rates, &[]);
    // As many of the latest events as there is room for, below their head.
    let room = usize::from(area.height).saturating_sub(text.len() + 1);
    let text = one_session(session, &top.rates, &latest(its.cloned(), room));
    let mut lines = vec![rule("session", area.width)];
    lines.extend(text.into_iter().map(Line::from));
    frame.render_widget(Paragraph::new(lines), area);
}

fn footer(top: &Top) -> Line<'static> {
    if top.is_typing {
        return Line::from(vec![
            Span::styled("/", BOLD),
            Span::raw(top.search.clone()),
            Span::styled(" ", MARKED),
            Span::styled("  Enter keeps it, Esc ends it", DIM),
        ]);
    }
    let keys: &[(&str, &str)] = match top.view {
        View::Table => &[
            ("?", "help"),
            ("/", "search"),
            ("Enter", "session"),
            ("s", "sort"),
            ("x", "drops"),
            ("f", "MACs"),
            ("p", "pause"),
            ("q", "end"),
        ],
        _ => &[("Esc", "back"), ("Ctrl-C", "end")],
    };
    let spans = keys.iter().flat_map(|(key, what)| {
        [Span::styled(*key, HEAD), Span::styled(format!(" {what}  "), DIM)]
    });
    Line::from(spans.collect::<Vec<_>>())
}
