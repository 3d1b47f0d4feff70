//! Progress on standard error: bars on a terminal, lines now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ocelli_indexer::Progress;
use ocelli_service::role;
use parking_lot::Mutex;

use crate::output::thousands;

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(10);

/// Draws a bar, or a spinner if the total is unknown, for one stage after another.
#[derive(Default)]
pub struct Bars {
    current: Mutex<Option<(&'static str, ProgressBar)>>,
}

impl Bars {
    /// Takes a report of the indexer.
    pub fn report(&self, progress: Progress) {
        let mut current = self.current.lock();
        if current.as_ref().is_none_or(|(stage, _)| *stage != progress.stage) {
            if let Some((_, bar)) = current.take() {
                bar.finish_and_clear();
            }
            *current = Some((progress.stage, new_bar(progress)));
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_position(progress.done);
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some((_, bar)) = self.current.get_mut().take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar(progress: Progress) -> ProgressBar {
    let (bar, template) = match progress.total {
        0 => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
        total => (ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len} {eta}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(progress.stage);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

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
