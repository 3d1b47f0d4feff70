//! How far a job is, on standard error.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between two log lines if there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Time between two lines for a program.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A progress bar on a terminal, a log line every ten seconds elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    started: Instant,
    logged: Instant,
    told: Option<Instant>,
    done: u64,
    rejected: u64,
}

impl Progress {
    /// Starts the clock. `total` is the number of images that this run makes, if it is known:
    /// what an earlier run has made took none of this one's time.
    pub(super) fn start(total: Option<u64>) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            let template = match total {
                Some(_) => "{wide_bar} {pos}/{len} images, {per_sec}, {eta} left{msg}",
                None => "{spinner} {pos} images, {per_sec}{msg}",
            };
            // The templates are constants; a bar in the default style is no reason to fail.
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        Progress { bar, total, started: now, logged: now, told: None, done: 0, rejected: 0 }
    }

    /// One image more, encoded or rejected.
    pub(super) fn step(&mut self, rejected: bool) {
        self.done += 1;
        self.rejected += u64::from(rejected);
        match &self.bar {
            Some(bar) => {
                if rejected {
                    bar.set_message(format!(", {} rejected", self.rejected));
                }
                bar.inc(1);
            }
            None => self.tell(),
        }
    }

    /// Logs now and then how far the job is: for people seldom, and for a program that reads the
    /// log and draws a bar of its own (`--log info,progress=debug --log-format json`) often.
    fn tell(&mut self) {
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            self.log();
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            let (images, total, rejected) = (self.done, self.total, self.rejected);
            tracing::debug!(target: "progress", images, total, rejected);
        }
    }

    /// Images a second so far, and seconds that the others will take.
    fn estimate(&self) -> (f64, Option<f64>) {
        let rate = self.done as f64 / self.started.elapsed().as_secs_f64().max(1e-9);
        let left = self.total.map(|t| t.saturating_sub(self.done) as f64 / rate.max(1e-9));
        (rate, left)
    }

    fn log(&self) {
        let (rate, left) = self.estimate();
        tracing::info!(
            images = self.done,
            total = self.total,
            rejected = self.rejected,
            images_per_s = format_args!("{rate:.1}"),
            left_s = left.map(f64::round),
            "encoding"
        );
    }

    /// Clears the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // A failed job's error must not stand behind a half bar.
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_done() {
        let mut progress = Progress::start(Some(60));
        progress.started = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        for image in 0..20 {
            progress.step(image == 7);
        }
        let (rate, left) = progress.estimate();
        assert!((rate - 2.0).abs() < 0.1, "{rate}");
        assert!((left.unwrap() - 20.0).abs() < 1.0, "{left:?}");
        assert_eq!(progress.rejected, 1);
        assert_eq!(Progress::start(None).estimate().1, None);
    }
}
