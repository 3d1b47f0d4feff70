//! Reports a request that was answered: to the metrics, and to the log if it was slow.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Searcher;
use crate::answer::Waits;
use crate::metrics::Outcome;
use crate::options::Options;
use crate::root::Merged;
use crate::times::{text, us};

/// The most slow queries that are logged in a second. A slow server must not fill its disk as well.
const LINES_PER_SECOND: NonZeroU32 = NonZeroU32::new(10).expect("not 0");

/// Limits the log of slow requests.
pub(super) struct SlowLog {
    /// A request of this time or more is slow; `None`: no request is.
    threshold: Option<Duration>,
    lines: DefaultDirectRateLimiter,
    /// The number of slow queries without a line since the last line.
    left_out: AtomicU64,
}

impl SlowLog {
    pub(super) fn new(threshold_ms: u64) -> SlowLog {
        SlowLog {
            threshold: (threshold_ms > 0).then(|| Duration::from_millis(threshold_ms)),
            lines: RateLimiter::direct(Quota::per_second(LINES_PER_SECOND)),
            left_out: AtomicU64::new(0),
        }
    }

    fn is_slow(&self, total: Duration) -> bool {
        self.threshold.is_some_and(|threshold| total >= threshold)
    }

    /// If a line may be written now: the number of slow queries that had none since the last line.
    fn admit(&self) -> Option<u64> {
        if self.lines.check().is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

/// A request that was answered.
pub(super) struct Report<'a> {
    pub(super) index: &'a str,
    pub(super) generation: u64,
    pub(super) options: &'a Options,
    pub(super) waits: &'a Waits,
}

impl Searcher {
    /// Counts a request whose `answers` are there, and logs it if it was slow; `failed` of its
    /// queries have no answer.
    pub(super) fn report<'a>(
        &self,
        report: &Report<'_>,
        answers: impl Iterator<Item = &'a Merged>,
        failed: usize,
    ) {
        let Report { index, generation, options, waits } = report;
        self.metrics.times(&waits.times);
        let (mut whole, mut partial, mut hits) = (0u64, 0u64, 0);
        let mut times = waits.times;
        for merged in answers {
            self.metrics.times(&merged.times);
            *(if merged.failed.is_empty() { &mut whole } else { &mut partial }) += 1;
            times += merged.times;
            hits += merged.ids.len();
        }
        self.metrics.ended(index, Outcome::ok, whole);
        self.metrics.ended(index, Outcome::partial, partial);
        self.metrics.ended(index, Outcome::failed, failed as u64);
        if !self.slow.is_slow(waits.total) {
            return;
        }
        self.metrics.slow();
        let Some(left_out) = self.slow.admit() else { return };
        tracing::warn!(
            index,
            generation,
            queries = whole + partial + failed as u64,
            k = options.search.k,
            nprobe = options.search.nprobe,
            refine_candidates = options.search.refine_candidates,
            searches = options.searches(),
            hits,
            total_us = us(waits.total),
            stages_us = text(&times),
            left_out,
            "slow query"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_line_counts_what_was_left_out() {
        let log = SlowLog::new(5);
        assert!(log.is_slow(Duration::from_millis(5)) && !log.is_slow(Duration::from_millis(4)));
        assert!(!SlowLog::new(0).is_slow(Duration::MAX));
        let lines = (0..1000).filter(|_| log.admit().is_some()).count();
        assert!((10..500).contains(&lines), "{lines} lines");
        std::thread::sleep(Duration::from_millis(150));
        let left_out = log.admit().expect("a tenth of a second is over");
        assert!(left_out > 0 && left_out <= 990, "{left_out}");
    }
}
