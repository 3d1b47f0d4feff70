//! Lines of a log that come now and then, however often there is a reason.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A line comes as often as this: a client that goes on must not fill the disk.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts what no line of the log has told yet.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    count: u64,
    told: Option<Instant>,
}

impl Seldom {
    /// Counts one more. If it is time for a line: how many there were since the last one.
    pub(crate) fn tell(&self) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        let due = untold.told.is_none_or(|told| told.elapsed() >= INTERVAL);
        due.then(|| {
            let count = untold.count;
            *untold = Untold { count: 0, told: Some(Instant::now()) };
            count
        })
    }
}
