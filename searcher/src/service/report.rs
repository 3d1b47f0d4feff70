//! What is told of a request that was answered: metrics, and a line in the log if it was slow.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use ocelli_index::StageTimes;

use super::Searcher;
use crate::answer::{Understood, Waits};
use crate::metrics::Outcome;
use crate::root::Merged;

/// Slow queries that are logged in a second: a server in trouble must not fill its disk as well.
const LINES_PER_SECOND: u32 = 10;

/// Which requests are slow, and how many lines they get.
#[derive(Debug)]
pub(super) struct SlowLog {
    /// None are where this is `None`.
    threshold: Option<Duration>,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    start: Instant,
    lines: u32,
    /// Left out since the last line.
    silent: u32,
}

impl SlowLog {
    pub(super) fn new(threshold_ms: u64) -> SlowLog {
        let second = Second { start: Instant::now(), lines: 0, silent: 0 };
        let threshold = (threshold_ms > 0).then(|| Duration::from_millis(threshold_ms));
        SlowLog { threshold, second: Mutex::new(second) }
    }

    fn is_slow(&self, total: Duration) -> bool {
        self.threshold.is_some_and(|threshold| total >= threshold)
    }

    /// The number of lines that were left out before this one, if this one may be written.
    fn admit(&self, now: Instant) -> Option<u32> {
        let mut second = self.second.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now.duration_since(second.start) >= Duration::from_secs(1) {
            (second.start, second.lines) = (now, 0);
        }
        if second.lines == LINES_PER_SECOND {
            second.silent += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.silent))
    }
}

/// A request, for its line in the log.
pub(super) struct Told<'a> {
    pub(super) index: &'a str,
    pub(super) generation: u64,
    pub(super) understood: Understood,
    pub(super) waits: &'a Waits,
}

impl Searcher {
    /// Tells of a request whose `answers` are there; `failed` of its queries have none.
    pub(super) fn report<'a>(
        &self,
        told: &Told<'_>,
        answers: impl Iterator<Item = &'a Merged>,
        failed: usize,
    ) {
        let Told { index, generation, understood, waits } = told;
        self.metrics.waited(waits);
        let (mut whole, mut partial, mut hits) = (0u64, 0u64, 0);
        let (mut times, mut keys_time) = (StageTimes::default(), Duration::ZERO);
        for merged in answers {
            self.metrics.searched(&merged.times, merged.keys_time);
            *(if merged.failed.is_empty() { &mut whole } else { &mut partial }) += 1;
            times += merged.times;
            keys_time += merged.keys_time;
            hits += merged.ids.len();
        }
        self.metrics.ended(index, Outcome::ok, whole);
        self.metrics.ended(index, Outcome::partial, partial);
        self.metrics.ended(index, Outcome::failed, failed as u64);
        if !self.slow.is_slow(waits.total) {
            return;
        }
        self.metrics.slow();
        let Some(silent) = self.slow.admit(Instant::now()) else { return };
        let us = |time: Duration| time.as_micros() as u64;
        tracing::warn!(
            index,
            generation,
            queries = whole + partial + failed as u64,
            k = understood.k,
            nprobe = understood.nprobe,
            refine = understood.refine,
            searches = understood.searches,
            hits,
            total_us = us(waits.total),
            encode_us = us(waits.encode),
            queue_us = us(waits.queue),
            resolve_us = us(waits.resolve),
            probe_us = us(times.probe),
            lut_us = us(times.lut),
            scan_us = us(times.scan),
            refine_us = us(times.refine),
            diffuse_us = us(times.diffuse),
            keys_us = us(keys_time),
            left_out = silent,
            "slow query"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_says_what_was_left_out() {
        let log = SlowLog::new(5);
        assert!(log.is_slow(Duration::from_millis(5)) && !log.is_slow(Duration::from_millis(4)));
        assert!(!SlowLog::new(0).is_slow(Duration::MAX));
        let now = Instant::now();
        for _ in 0..LINES_PER_SECOND {
            assert_eq!(log.admit(now), Some(0));
        }
        assert_eq!(log.admit(now), None);
        assert_eq!(log.admit(now + Duration::from_millis(500)), None);
        let later = now + Duration::from_secs(2);
        assert_eq!(log.admit(later), Some(2));
        assert_eq!(log.admit(later), Some(0));
    }
}
