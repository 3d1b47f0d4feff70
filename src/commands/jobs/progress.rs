//! Progress of a job: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use ocelli_indexer::Progress;
use ocelli_service::role;
use parking_lot::Mutex;

use crate::output::thousands;
use crate::progress::Bars;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Shows the stages of a job, one after the other.
pub struct JobProgress {
    bars: Option<Bars>,
    told: Mutex<Option<(&'static str, Instant)>>,
}

impl JobProgress {
    /// Chooses how progress is shown on standard error.
    pub fn new() -> Self {
        let bars = stderr().is_terminal().then(Bars::default);
        JobProgress { bars, told: Mutex::new(None) }
    }

    /// Takes a report.
    pub fn report(&self, progress: Progress) {
        if let Some(bars) = &self.bars {
            bars.report(progress);
            return;
        }
        let Progress { stage, done, total } = progress;
        let mut told = self.told.lock();
        let is_new = told.is_none_or(|(last, _)| last != stage);
        if !is_new && told.is_some_and(|(_, at)| at.elapsed() < EVERY) {
            return;
        }
        *told = Some((stage, Instant::now()));
        match (is_new, total) {
            (true, 0) => role::note(stage),
            (true, total) => role::note(&format!("{stage}: {}", thousands(total))),
            (false, total) => {
                role::note(&format!("{stage}: {} of {}", thousands(done), thousands(total)));
            }
        }
    }
}
