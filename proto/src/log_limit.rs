//! A limit for lines of a log that a client could cause without end.
//!
//! It is in this crate because [`codec`](crate::codec) needs it; `ocelli-service` uses it too.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The shortest time between two lines: a client that goes on must not fill the disk.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one line through every ten seconds, and counts the events that had none.
pub struct LogLimit {
    uncounted: AtomicU64,
    lines: Option<DefaultDirectRateLimiter>,
}

impl Default for LogLimit {
    fn default() -> LogLimit {
        let lines = Quota::with_period(INTERVAL).map(RateLimiter::direct);
        LogLimit { uncounted: AtomicU64::new(0), lines }
    }
}

impl LogLimit {
    /// Counts one event. If a line may be written now: the number of events since the last line,
    /// this one included.
    pub fn count(&self) -> Option<u64> {
        self.uncounted.fetch_add(1, Ordering::Relaxed);
        let due = self.lines.as_ref().is_none_or(|lines| lines.check().is_ok());
        due.then(|| self.uncounted.swap(0, Ordering::Relaxed))
    }
}

impl fmt::Debug for LogLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogLimit").field("uncounted", &self.uncounted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_has_a_line_and_those_right_after_it_have_none() {
        let limit = LogLimit::default();
        assert_eq!(limit.count(), Some(1));
        assert_eq!((limit.count(), limit.count()), (None, None));
        assert_eq!(limit.uncounted.load(Ordering::Relaxed), 2);
    }
}
