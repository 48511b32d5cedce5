//! How much may pass of one leaf's frames, in one direction.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;
/// Bytes of the largest super-frame.
const SUPER_FRAME: u64 = 65_535;
/// What may pass at once unless told otherwise: what comes in this time. TCP fills a policed link
/// where that is about its round trip (RFC 4115 leaves it to the operator).
const BURST: Duration = Duration::from_millis(200);
/// Bytes of a small frame: a question or an answer, speech, TCP's acknowledgements, but no part of a transfer.
const SMALL: usize = 256;
/// Small frames have this part of a rate, and of its burst, where others have used up all of it: a transfer
/// keeps the bucket empty, and a ping beside it would be lost as often as not.
const SMALL_PART: u64 = 16;

/// How much may pass a second, and at once after a time with less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Rate {
    /// Bytes a second, of frames with their Ethernet header.
    pub bytes: Option<NonZeroU64>,
    /// Bytes at once.
    pub burst_bytes: NonZeroU64,
    /// Frames a second.
    pub frames: Option<NonZeroU64>,
    /// Frames at once.
    pub burst_frames: NonZeroU64,
}

impl Rate {
    /// So many bytes and frames a second; `None` for any number. At once may pass what comes in 200 ms,
    /// and no less than 128 KiB or 256 frames.
    #[must_use]
    pub fn new(bytes: Option<NonZeroU64>, frames: Option<NonZeroU64>) -> Self {
        let burst = |rate: Option<NonZeroU64>, least: u64| {
            let in_time = rate.map_or(0, |rate| rate.get() / (SECOND / BURST.as_nanos() as u64));
            NonZeroU64::new(in_time.max(least)).unwrap_or(NonZeroU64::MIN)
        };
        Self {
            bytes,
            burst_bytes: burst(bytes, 128 << 10),
            frames,
            burst_frames: burst(frames, 256),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(bytes) = self.bytes {
            let bits = u128::from(bytes.get()) * 8;
            let (number, unit) = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")]
                .into_iter()
                .find(|(factor, _)| bits.is_multiple_of(*factor))
                .map_or((bits, ""), |(factor, unit)| (bits / factor, unit));
            write!(formatter, "{number} {unit}bit/s")?;
            separator = ", ";
        }
        if let Some(frames) = self.frames {
            write!(formatter, "{separator}{frames} frames/s")?;
            separator = ", ";
        }
        if separator.is_empty() { formatter.write_str("any") } else { Ok(()) }
    }
}

/// What has passed of a [`Rate`]: token buckets of one word each, for any number of threads, without
/// a lock. (Each word is the theoretical arrival time of the Generic Cell Rate Algorithm, ITU-T I.371,
/// annex A, in nanoseconds.)
#[derive(Debug, Default)]
pub struct Policer {
    bytes: Word,
    frames: Word,
    /// Of small frames for which there were no bytes, in nanoseconds of their part of the rate.
    small: Word,
}

#[derive(Debug, Default)]
struct Word(AtomicU64);

impl Policer {
    /// One of which nothing has passed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Word::new(), frames: Word::new(), small: Word::new() }
    }

    /// Whether so many frames of so many bytes in all may pass, all or none of them; if so, they have
    /// passed. They do where anything is left, and what is more than that is paid for afterwards: a
    /// super-frame is one piece.
    ///
    /// Where no bytes are left, a lone frame of 256 bytes at most still passes, as long as such frames take no
    /// more than a sixteenth of the rate. They are paid for too, so that the rate is what it is; and as they
    /// get no more than that, a flood of them leaves others their share.
    #[must_use]
    pub fn admits(&self, rate: &Rate, frames: u32, bytes: usize, now: Duration) -> bool {
        let now = nanoseconds(now);
        let (mut cost, mut small_cost) = (0, 0);
        if let Some(per_second) = rate.bytes {
            cost = time_of(bytes as u64, per_second);
            let burst = time_of(rate.burst_bytes.get(), per_second);
            if !self.bytes.take(cost, burst, now) {
                small_cost = cost.saturating_mul(SMALL_PART);
                if !is_small(frames, bytes) || !self.small.take(small_cost, burst, now) {
                    return false;
                }
                // Always: there is a limit to what is owed, the burst of small frames.
                let _ = self.bytes.take(cost, u64::MAX, now);
            }
        }
        let Some(per_second) = rate.frames else { return true };
        let burst = time_of(rate.burst_frames.get(), per_second);
        let admits = self.frames.take(time_of(frames.into(), per_second), burst, now);
        if !admits {
            self.bytes.give_back(cost);
            self.small.give_back(small_cost);
        }
        admits
    }

    /// What [`admits`](Self::admits) would say; nothing is spent.
    #[must_use]
    pub fn would_admit(&self, rate: &Rate, frames: u32, bytes: usize, now: Duration) -> bool {
        let now = nanoseconds(now);
        let has_bytes = rate.bytes.is_none_or(|per_second| {
            let burst = time_of(rate.burst_bytes.get(), per_second);
            self.bytes.has_room(burst, now)
                || is_small(frames, bytes) && self.small.has_room(burst, now)
        });
        has_bytes
            && rate.frames.is_none_or(|per_second| {
                self.frames.has_room(time_of(rate.burst_frames.get(), per_second), now)
            })
    }

    /// Bytes and frames that may pass now; `None` for any number. Nothing is spent.
    #[must_use]
    pub fn left(&self, rate: &Rate, now: Duration) -> (Option<u64>, Option<u64>) {
        let now = nanoseconds(now);
        let left = |word: &Word, per_second: NonZeroU64, burst: NonZeroU64| {
            let ahead = word.0.load(Ordering::Relaxed).saturating_sub(now);
            let time = time_of(burst.get(), per_second).saturating_sub(ahead);
            let left = u128::from(time) * u128::from(per_second.get()) / u128::from(SECOND);
            u64::try_from(left).unwrap_or(u64::MAX).min(burst.get())
        };
        (
            rate.bytes.map(|bytes| left(&self.bytes, bytes, rate.burst_bytes)),
            rate.frames.map(|frames| left(&self.frames, frames, rate.burst_frames)),
        )
    }
}

impl Word {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether less than `burst` is owed.
    fn has_room(&self, burst: u64, now: u64) -> bool {
        self.0.load(Ordering::Relaxed).saturating_sub(now) < burst
    }

    /// Owes less again.
    fn give_back(&self, cost: u64) {
        if cost > 0 {
            self.0.fetch_sub(cost, Ordering::Relaxed);
        }
    }

    /// Takes `cost` where less than `burst` is owed.
    fn take(&self, cost: u64, burst: u64, now: u64) -> bool {
        let next = |arrival: u64| {
            let start = arrival.max(now);
            (start - now < burst).then(|| start.saturating_add(cost))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Whether frames are one that may pass where nothing is left for others.
const fn is_small(frames: u32, bytes: usize) -> bool {
    frames == 1 && bytes <= SMALL
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds in which so much passes at a rate, rounded up; at most an hour, so that nothing waits
/// for longer.
fn time_of(units: u64, per_second: NonZeroU64) -> u64 {
    const LONGEST: u64 = 3_600 * SECOND;
    if units <= SUPER_FRAME {
        return (units * SECOND).div_ceil(per_second.get()).min(LONGEST);
    }
    let time = (u128::from(units) * u128::from(SECOND)).div_ceil(per_second.get().into());
    u64::try_from(time).unwrap_or(LONGEST).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AT: Duration = Duration::from_secs(1);

    fn rate(bytes: u64, burst_bytes: u64, frames: u64, burst_frames: u64) -> Rate {
        let some = |number| NonZeroU64::new(number);
        let least = |number| NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN);
        Rate {
            bytes: some(bytes),
            burst_bytes: least(burst_bytes),
            frames: some(frames),
            burst_frames: least(burst_frames),
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (policer, rate) = (Policer::new(), rate(100_000, 10_000, 0, 1));
        let passed = |at| (0..1_000).filter(|_| policer.admits(&rate, 1, 1_000, at)).count();
        assert_eq!(passed(AT), 10);
        assert_eq!(policer.left(&rate, AT), (Some(0), None));
        assert_eq!(passed(AT + Duration::from_millis(50)), 5);
        assert_eq!(passed(AT * 60), 10);
    }

    #[test]
    fn frames_that_are_one_too_many_cost_no_bytes() {
        let (policer, rate) = (Policer::new(), rate(1_000, 10_000, 1, 2));
        assert!(policer.admits(&rate, 2, 100, AT));
        let left = policer.left(&rate, AT);
        assert!(!policer.admits(&rate, 1, 100, AT));
        assert_eq!(policer.left(&rate, AT), left);
    }

    #[test]
    fn a_super_frame_larger_than_the_burst_passes_and_is_paid_for() {
        let (policer, rate) = (Policer::new(), rate(10_000, 1_500, 0, 1));
        assert!(policer.admits(&rate, 40, 60_000, AT));
        assert!(!policer.admits(&rate, 1, 600, AT + Duration::from_secs(5)));
        assert!(policer.admits(&rate, 1, 600, AT + Duration::from_secs(6)));
    }

    /// At 5 Mbit/s, a transfer of 1,514-byte frames at twice the rate, and beside it small frames at that many
    /// bits a second: the share of the rate that passed in 20 s, of both, and that of the small frames that did.
    fn beside_a_transfer(small: usize, bits: u64) -> [f64; 2] {
        let (policer, rate) = (Policer::new(), Rate::new(NonZeroU64::new(625_000), None));
        let offers = |len: usize, bits: u64| (len as u64 * 8 * SECOND / bits, len);
        let offers = [offers(1_514, 10_000_000), offers(small, bits)];
        let (mut next, mut sent, mut passed, mut bytes) = ([SECOND; 2], 0, 0, 0);
        let mut random = 1_u64;
        while next[0] < 22 * SECOND {
            let which = usize::from(next[1] < next[0]);
            let (now, (interval, len)) = (next[which], offers[which]);
            // Marsaglia's xorshift. At even intervals the two keep step, and one finds room each time: these
            // are those of a Poisson process.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let uniform = ((random >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            next[which] += (interval as f64 * -uniform.ln()) as u64;
            let admits = policer.admits(&rate, 1, len, Duration::from_nanos(now));
            // The burst at the beginning has passed by then.
            if now >= 2 * SECOND {
                bytes += if admits { len } else { 0 };
                sent += which;
                passed += if admits { which } else { 0 };
            }
        }
        [bytes as f64 / 20.0 / 625_000.0, passed as f64 / sent as f64]
    }

    #[test]
    fn small_frames_pass_beside_a_transfer_and_the_rate_stays_what_it_is() {
        // 50 pings a second, and speech both of a G.711 caller and of a talkative one.
        for (small, bits) in [(98, 39_200), (214, 85_600), (256, 290_000)] {
            let [of_rate, passed] = beside_a_transfer(small, bits);
            assert!((0.99..1.01).contains(&of_rate), "{small}: {of_rate}");
            assert!(passed == 1.0, "{small}: {passed}");
        }
        // A frame of a transfer has nothing of that.
        let [of_rate, passed] = beside_a_transfer(257, 85_600);
        assert!((0.99..1.01).contains(&of_rate) && passed < 0.9, "{of_rate} {passed}");
        // Nor is a flood of small ones worth more than a sixteenth: as much is offered of them as there is
        // of the transfer, and they get what they offer of the rate, and that.
        let [of_rate, passed] = beside_a_transfer(60, 10_000_000);
        assert!((0.99..1.01).contains(&of_rate), "{of_rate}");
        assert!((0.25..0.25 + 0.5 / 16.0).contains(&passed), "{passed}");
    }

    #[test]
    fn small_frames_that_are_one_too_many_cost_nothing() {
        let (policer, rate) = (Policer::new(), rate(1_000, 1_600, 1, 2));
        assert!(policer.admits(&rate, 2, 60_000, AT));
        let owed = |policer: &Policer| {
            [&policer.bytes, &policer.small].map(|word| word.0.load(Ordering::Relaxed))
        };
        let before = owed(&policer);
        assert!(!policer.admits(&rate, 1, 60, AT), "of frames there is none left");
        let after = owed(&policer);
        assert_eq!(after[0], before[0]);
        assert!(after[1].saturating_sub(AT.as_nanos() as u64) == 0, "{after:?}");
    }

    #[test]
    fn rates_read_well() {
        assert_eq!(rate(2_500_000, 1, 0, 1).to_string(), "20 Mbit/s");
        assert_eq!(rate(1, 1, 500, 1).to_string(), "8 bit/s, 500 frames/s");
        let default = Rate::new(NonZeroU64::new(125_000_000), None);
        assert_eq!(default.burst_bytes.get(), 25_000_000);
        assert_eq!(Rate::new(NonZeroU64::new(1), None).burst_bytes.get(), 128 << 10);
    }

    /// 20 Mbit/s, and bits a second that passed in 20 s of what is offered: so many frames, of so many
    /// bytes in all, each time.
    fn measured(offered: &mut dyn FnMut(u64, bool) -> (u64, u32, usize)) -> f64 {
        let (policer, rate) = (Policer::new(), Rate::new(NonZeroU64::new(2_500_000), None));
        let (mut now, mut passed, mut admits) = (SECOND, 0, true);
        while now < 22 * SECOND {
            let (wait, frames, bytes) = offered(now, admits);
            now += wait;
            admits = policer.admits(&rate, frames, bytes, Duration::from_nanos(now));
            // The burst at the beginning has passed by then.
            if admits && now >= 2 * SECOND {
                passed += bytes;
            }
        }
        passed as f64 * 8.0 / 20.0 / 1e6
    }

    #[test]
    fn what_passes_of_20_mbit_is_19_to_21() {
        let is_right = |name: &str, measured: f64| {
            eprintln!("{name}: {measured:.2} Mbit/s");
            assert!((19.0..=21.0).contains(&measured), "{name}: {measured}");
        };
        // Datagrams of 1,200 bytes at an even pace of 100 Mbit/s, and of 21; small ones at once.
        is_right("100 Mbit/s of UDP", measured(&mut |_, _| (96_000, 1, 1_200)));
        is_right("21 Mbit/s of UDP", measured(&mut |_, _| (457_143, 1, 1_200)));
        is_right("small datagrams", measured(&mut |_, _| (10_000, 1, 60)));
        // Bursts of 64 datagrams, ten milliseconds apart.
        let mut sent = 0;
        let mut burst = |_, _| {
            sent += 1;
            (if sent % 64 == 0 { 10_000_000 } else { 0 }, 1, 1_200)
        };
        is_right("bursts of UDP", measured(&mut burst));
        // Super-frames of 64 KiB, as fast as they come.
        is_right("super-frames", measured(&mut |_, _| (300_000, 44, 65_226)));
        // As TCP does: a window of frames each 20 ms, one larger each time and half as large after a
        // loss. It does not fill the link all the time: its own rate is more or less.
        let (mut window, mut left, mut lost) = (10_u32, 10_u32, false);
        let mut tcp = |_, admits: bool| {
            lost |= !admits;
            if left > 0 {
                left -= 1;
                return (10_000, 1, 1_514);
            }
            window = if lost { (window / 2).max(2) } else { window + 1 };
            (left, lost) = (window - 1, false);
            (20_000_000 - u64::from(window.min(1_900)) * 10_000, 1, 1_514)
        };
        is_right("a window", measured(&mut tcp));
    }

    #[test]
    fn of_two_who_share_a_rate_each_gets_what_it_offers_of_it() {
        let (policer, rate) = (Policer::new(), Rate::new(NonZeroU64::new(2_500_000), None));
        let mut passed = [0_u64; 3];
        // In any order: two offer 40 Mbit/s each in frames of 1,000 bytes, the third 40 in ones of 500.
        let mut random = 1_u64;
        for step in 0..400_000_u64 {
            let now = Duration::from_nanos(SECOND + step * 50_000);
            // Marsaglia's xorshift.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let offered = match random % 4 {
                0 => (0, 1_000),
                1 => (1, 1_000),
                _ => (2, 500),
            };
            if policer.admits(&rate, 1, offered.1, now) {
                passed[offered.0] += offered.1 as u64;
            }
        }
        let [one, two, small] = passed.map(|bytes| bytes as f64);
        eprintln!("{one} {two} {small} bytes");
        let mean = (one + two + small) / 3.0;
        assert!([one, two, small].iter().all(|it| (0.9..1.1).contains(&(it / mean))), "{passed:?}");
    }

    proptest! {
        /// Against buckets of tokens that come with time.
        #[test]
        fn it_agrees_with_buckets_of_tokens(
            bytes in prop::sample::select(vec![0_u64, 1_000, 10_000, 1_000_000]),
            burst_bytes in 1..200_000_u64,
            frames in prop::sample::select(vec![0_u64, 1, 10, 1_000]),
            burst_frames in 1..100_u64,
            steps in prop::collection::vec(
                (
                    0..500_000_u64,
                    prop_oneof![(1..50_u32, 1..65_536_usize), (Just(1_u32), 1..300_usize)],
                ),
                1..300,
            ),
        ) {
            let (policer, rate) = (Policer::new(), rate(bytes, burst_bytes, frames, burst_frames));
            let mut now = 0;
            // In nanoseconds of each rate.
            let most = [(bytes, burst_bytes), (frames, burst_frames)].map(|(per_second, burst)| {
                SECOND.checked_div(per_second).map(|each| i128::from(burst * each))
            });
            let mut tokens = most;
            // Those of small frames, a sixteenth of those of bytes.
            let mut small = most[0].unwrap_or_default();
            for (microseconds, (frame_count, len)) in steps {
                now += microseconds * 1_000;
                let mut costs = [0; 2];
                for (index, (per_second, units)) in
                    [(bytes, len as u64), (frames, frame_count.into())].into_iter().enumerate()
                {
                    if let (Some(most), Some(tokens)) = (most[index], &mut tokens[index]) {
                        *tokens = (*tokens + i128::from(microseconds) * 1_000).min(most);
                        costs[index] = i128::from(units * (SECOND / per_second));
                    }
                }
                small = most[0].unwrap_or_default().min(small + i128::from(microseconds) * 1_000);
                let fits = |index: usize| match (most[index], tokens[index]) {
                    (Some(_), Some(tokens)) => tokens > 0,
                    _ => true,
                };
                let is_small = frame_count == 1 && len <= 256;
                let takes_small = !fits(0) && is_small && small > 0;
                let admits = (fits(0) || takes_small) && fits(1);
                let at = Duration::from_nanos(now);
                prop_assert_eq!(policer.would_admit(&rate, frame_count, len, at), admits);
                if admits {
                    small -= if takes_small { costs[0] * 16 } else { 0 };
                    for (tokens, cost) in tokens.iter_mut().zip(costs) {
                        *tokens = tokens.map(|tokens| tokens - cost);
                    }
                }
                prop_assert_eq!(policer.admits(&rate, frame_count, len, at), admits);
            }
        }
    }
}
