//! Progress bars on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ocelli_indexer::Progress;
use parking_lot::Mutex;

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
