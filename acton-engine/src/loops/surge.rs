//! A jump in what is flooded: no proof of a loop, but a reason to look at once.

use std::time::Duration;

/// So many flooded frames within the window are a surge.
const FRAMES: u32 = 32;
const WINDOW: Duration = Duration::from_millis(100);

/// Counts flooded frames of one worker.
#[derive(Debug, Default)]
pub(crate) struct Surge {
    since: Duration,
    frames: u32,
}

impl Surge {
    /// Counts frames; whether they make a surge, which is said once in a window.
    pub(crate) fn add(&mut self, frames: u32, now: Duration) -> bool {
        if now.saturating_sub(self.since) > WINDOW {
            (self.since, self.frames) = (now, 0);
        }
        let before = self.frames;
        self.frames = self.frames.saturating_add(frames);
        (before..self.frames).contains(&FRAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_window() {
        let mut surge = Surge::default();
        let mut add = |frames, ms| surge.add(frames, Duration::from_millis(ms));
        assert!(!add(32, 1_000) && add(1, 1_100) && !add(1_000, 1_100));
        assert!(!add(20, 1_101) && add(20, 1_102) && !add(20, 1_103));
        assert!(!add(20, 1_300) && !add(20, 1_401));
    }
}
