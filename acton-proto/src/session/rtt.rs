//! Round-trip times, summed up as RFC 6298 does.

use std::time::Duration;

use crate::wire::Rtt;

impl Rtt {
    /// What is known after one measurement.
    fn first(sample: Duration) -> Self {
        Self { min: sample, smoothed: sample, jitter: sample / 2 }
    }

    /// What is known after one more.
    pub(crate) fn after(known: Option<Self>, sample: Duration) -> Self {
        let Some(Self { min, smoothed, jitter }) = known else { return Self::first(sample) };
        // RFC 6298, section 2.3: beta is 1/4, alpha is 1/8, and RTTVAR takes the old SRTT.
        Self {
            min: min.min(sample),
            smoothed: (smoothed * 7 + sample) / 8,
            jitter: (jitter * 3 + smoothed.abs_diff(sample)) / 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_means_are_those_of_rfc_6298() {
        let ms = Duration::from_millis;
        let rtt = Rtt::after(None, ms(80));
        assert_eq!(rtt, Rtt { min: ms(80), smoothed: ms(80), jitter: ms(40) });
        let rtt = Rtt::after(Some(rtt), ms(160));
        assert_eq!(rtt, Rtt { min: ms(80), smoothed: ms(90), jitter: ms(50) });
        let rtt = Rtt::after(Some(rtt), ms(10));
        assert_eq!(rtt, Rtt { min: ms(10), smoothed: ms(80), jitter: ms(57) + ms(1) / 2 });
    }
}
