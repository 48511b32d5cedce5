//! What is measured of an overlay, a file each.

mod cpu;
mod frames;
mod rtt;
mod tcp;

use clap::ValueEnum;

pub(crate) use frames::Lane;
use tcp::Direction;
pub(crate) use tcp::Settings as TcpSettings;
pub(crate) use testbed::proc::busy;

use crate::Result;
use crate::contender::Overlay;

/// One column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// TCP payload of one stream from client to server, Gbit/s.
    TcpToServer,
    /// TCP payload of one stream from server to client, Gbit/s.
    TcpToClient,
    /// TCP payload of several streams from client to server, Gbit/s.
    StreamsToServer,
    /// TCP payload of several streams from server to client, Gbit/s.
    StreamsToClient,
    /// CPU seconds of the tunnel's programs for each 10^9 bytes of TCP payload of one stream.
    Cpu,
    /// Thousands of 64-byte frames a second that arrive with less than 1 % lost.
    Frames,
    /// Thousands of 64-byte frames a second that arrive of as many as can be sent.
    FramesFlooded,
    /// Thousands of small frames of many sizes a second that arrive of as many as can be sent.
    FramesMixed,
    /// Processor time of the tunnel's programs for each of those, microseconds.
    FramesMixedCpu,
    /// Median round trip of a ping, microseconds.
    Rtt,
    /// Round trip that 99 % of the pings do not exceed, microseconds.
    RttTail,
    /// Median round trip of a ping beside one TCP stream from client to server, microseconds.
    RttLoaded,
    /// Round trip that 99 % of those do not exceed, microseconds.
    RttLoadedTail,
}

impl Quantity {
    pub(crate) const ALL: [Self; 13] = [
        Self::TcpToServer,
        Self::TcpToClient,
        Self::StreamsToServer,
        Self::StreamsToClient,
        Self::Cpu,
        Self::Frames,
        Self::FramesFlooded,
        Self::FramesMixed,
        Self::FramesMixedCpu,
        Self::Rtt,
        Self::RttTail,
        Self::RttLoaded,
        Self::RttLoadedTail,
    ];
}

/// TCP streams at once, where there are several.
pub(crate) const STREAMS: usize = 4;

/// What one contender showed in one round; a quantity it does not have is `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures([Option<f64>; Quantity::ALL.len()]);

impl Figures {
    pub(crate) fn get(&self, quantity: Quantity) -> Option<f64> {
        self.0[quantity as usize]
    }

    fn set(&mut self, quantity: Quantity, value: f64) {
        self.0[quantity as usize] = Some(value);
    }
}

/// What can be measured apart from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// TCP throughput and processor time
    Tcp,
    /// Small frames a second
    Frames,
    /// Round trips beside a TCP stream
    Loaded,
    /// Round trips of an idle tunnel
    Idle,
}

/// Measures `groups` of overlays that run side by side, each while the others are idle.
pub(crate) fn all(
    overlays: &[(&str, Overlay)],
    groups: &[Group],
    tcp: &TcpSettings,
) -> Vec<Result<Figures>> {
    let loaded = |(name, overlay): &(&str, Overlay)| {
        eprintln!("  {name}");
        one(overlay, groups, tcp)
    };
    let mut results: Vec<_> = overlays.iter().map(loaded).collect();
    if groups.contains(&Group::Idle) {
        eprintln!("  idle round trips of all");
        let times = rtt::idle(overlays.iter().map(|(_, overlay)| overlay));
        for (result, rtt) in results.iter_mut().zip(times) {
            match (&mut *result, rtt) {
                (Ok(figures), Ok(rtt)) => {
                    figures.set(Quantity::Rtt, rtt.median.as_secs_f64() * 1e6);
                    figures.set(Quantity::RttTail, rtt.p99.as_secs_f64() * 1e6);
                }
                (Ok(_), Err(error)) => *result = Err(error),
                (Err(_), _) => {}
            }
        }
    }
    results
}

/// All but the idle round trips.
fn one(overlay: &Overlay, groups: &[Group], settings: &TcpSettings) -> Result<Figures> {
    let mut figures = Figures::default();
    if groups.contains(&Group::Tcp) {
        transfers(overlay, settings, &mut figures)?;
    }
    if groups.contains(&Group::Frames) {
        let rates = frames::measure(overlay)?;
        figures.set(Quantity::Frames, rates.lossless / 1e3);
        figures.set(Quantity::FramesFlooded, rates.flooded / 1e3);
        let mixed = frames::measure_mixed(overlay)?;
        figures.set(Quantity::FramesMixed, mixed.delivered / 1e3);
        if !overlay.process_groups().is_empty() {
            figures.set(Quantity::FramesMixedCpu, mixed.cpu.as_secs_f64() * 1e6);
        }
    }
    if groups.contains(&Group::Loaded) {
        let ping = |_: &_| rtt::loaded(overlay);
        let loaded = tcp::under_load(overlay, Direction::ToServer, 1, settings, ping)?;
        figures.set(Quantity::RttLoaded, loaded.median.as_secs_f64() * 1e6);
        figures.set(Quantity::RttLoadedTail, loaded.p99.as_secs_f64() * 1e6);
    }
    Ok(figures)
}

fn transfers(overlay: &Overlay, settings: &TcpSettings, figures: &mut Figures) -> Result<()> {
    let to_server = tcp::measure(overlay, Direction::ToServer, 1, settings)?;
    let to_client = tcp::measure(overlay, Direction::ToClient, 1, settings)?;
    figures.set(Quantity::TcpToServer, to_server.gigabits_a_second());
    figures.set(Quantity::TcpToClient, to_client.gigabits_a_second());
    if !overlay.process_groups().is_empty() {
        let spent = (to_server.cpu + to_client.cpu).as_secs_f64();
        figures.set(Quantity::Cpu, spent / (to_server.gigabytes() + to_client.gigabytes()));
    }
    for (quantity, direction) in [
        (Quantity::StreamsToServer, Direction::ToServer),
        (Quantity::StreamsToClient, Direction::ToClient),
    ] {
        let carried = tcp::measure(overlay, direction, STREAMS, settings)?;
        figures.set(quantity, carried.gigabits_a_second());
    }
    Ok(())
}
