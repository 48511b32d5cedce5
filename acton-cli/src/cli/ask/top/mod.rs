//! `acton top`.

mod draw;
mod feed;
mod model;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use crate::cli::control::InstanceOptions;
use crate::cli::values::seconds;
use crate::cli::{FAILURE, Failure};
use feed::Feed;
use model::Top;

/// How long a key may wait for what the tunnel says, and that for a key.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Shows the sessions of a tunnel that runs, as they are: a table to sort and search, throughput,
/// events, drops and MACs
///
/// `?` shows the keys. Where the tunnel goes away it waits until that is back. With thousands of
/// sessions it looks less often than each --interval, so that it takes a twentieth of a core at most.
#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,

    #[command(flatten)]
    instance: InstanceOptions,
}

impl Arguments {
    pub(in crate::cli) fn run(self) -> Result<(), Failure> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            let message = "acton top needs a terminal; for programs there is \
                           `acton status --watch --json`"
                .to_owned();
            return Err(Failure { code: FAILURE, message });
        }
        let Some(place) = self.instance.place() else {
            let message = "--control none: there is nobody to ask".to_owned();
            return Err(Failure { code: FAILURE, message });
        };
        let feed = Feed::start(place, self.interval)?;
        let mut terminal = ratatui::try_init()?;
        let shown = show(&mut terminal, &feed);
        let _ = ratatui::try_restore();
        Ok(shown?)
    }
}

/// Draws when there is something new, until somebody has seen enough.
fn show(terminal: &mut DefaultTerminal, feed: &Feed) -> io::Result<()> {
    let mut top = Top::default();
    terminal.draw(|frame| draw::draw(&mut top, frame))?;
    loop {
        let mut is_new = false;
        if event::poll(LOOK_AGAIN)? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    if top.key(key).is_break() {
                        return Ok(());
                    }
                    feed.want_fdb(top.shows_fdb());
                    is_new = true;
                }
                Event::Resize(..) => is_new = true,
                _ => {}
            }
        }
        for news in feed.news() {
            is_new |= top.hear(news);
        }
        if is_new {
            terminal.draw(|frame| draw::draw(&mut top, frame))?;
        }
    }
}
