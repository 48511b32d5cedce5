//! The last hour of the tunnel's counters, so that who opens the page now sees it.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use acton_engine::Totals;
use serde_json::{Map, Value, json};

use crate::control::SCHEMA;

/// Time between two samples.
pub(super) const SAMPLE: Duration = Duration::from_secs(10);
/// Samples that are kept: an hour.
const SAMPLES: usize = 360;

/// What was counted in the last hour, some seconds at a time. Only what changed takes room: some
/// hundred counters at most, of 16 bytes each.
#[derive(Debug)]
pub(super) struct History {
    /// The counters when the newest sample was taken.
    last: Vec<u64>,
    taken: Instant,
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    /// When it ended.
    time: SystemTime,
    seconds: f64,
    /// By how much which counter grew.
    growth: Box<[(u16, u64)]>,
}

impl History {
    /// One that begins now.
    pub(super) fn new(totals: &Totals) -> Self {
        let last = totals.iter().map(|(_, value)| value).collect();
        Self { last, taken: Instant::now(), samples: VecDeque::new() }
    }

    /// Adds what came since the last sample.
    pub(super) fn add(&mut self, totals: &Totals) {
        let now = Instant::now();
        let growth =
            totals.iter().zip(&self.last).enumerate().filter_map(|(index, ((_, now), &then))| {
                let growth = now.saturating_sub(then);
                (growth > 0).then_some((index as u16, growth))
            });
        let (growth, time) = (growth.collect(), SystemTime::now());
        let seconds = now.duration_since(self.taken).as_secs_f64();
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { time, seconds, growth });
        self.last = totals.iter().map(|(_, value)| value).collect();
        self.taken = now;
    }

    /// All of it, the oldest first; `totals` has the names.
    pub(super) fn json(&self, totals: &Totals) -> Value {
        let names: Vec<_> = totals.iter().map(|(name, _)| name).collect();
        let samples = self.samples.iter().map(|sample| {
            let growth: Map<_, _> = sample
                .growth
                .iter()
                .filter_map(|&(index, growth)| {
                    Some(((*names.get(usize::from(index))?).to_owned(), growth.into()))
                })
                .collect();
            let time = sample.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            json!({ "time": time, "seconds": sample.seconds, "totals": growth })
        });
        json!({ "schema": SCHEMA, "samples": samples.collect::<Vec<_>>() })
    }
}
