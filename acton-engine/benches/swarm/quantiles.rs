//! What half and nearly all of some values do not exceed.

/// The median, and what 99 in 100 do not exceed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Quantiles {
    pub(crate) median: f64,
    pub(crate) p99: f64,
}

impl Quantiles {
    /// Those of some values; of none they are not numbers.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len() as f64 * share) as usize;
            values.get(index.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), p99: at(0.99) }
    }
}

/// The median alone.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Quantiles::of(values).median
}
