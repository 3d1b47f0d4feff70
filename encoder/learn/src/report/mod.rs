//! Files that tell how a training goes: a log, a plot of it, event files for TensorBoard.

use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::train::Step;

pub mod events;
pub mod log;
pub mod plot;

use events::{Events, Scalar};
use log::Log;

/// The files that are wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportFiles {
    /// JSON lines, one for each iteration ([`Log`]).
    pub log: Option<PathBuf>,
    /// A drawing of the log, in SVG ([`plot::svg`]). Without a log there is none.
    pub plot: Option<PathBuf>,
    /// The folder of event files ([`Events`]).
    pub tensorboard: Option<PathBuf>,
}

/// Writes the files while a training runs. A file that cannot be written any more does not end the
/// training: a warning says so at once, and [`finish`](Reports::finish) in the end.
pub struct Reports {
    files: ReportFiles,
    log: Option<Log>,
    events: Option<Events>,
    /// The first fault of each file.
    faults: Vec<Error>,
    /// Whether this run had an iteration.
    has_stepped: bool,
    /// The end of the last iteration.
    since: Instant,
}

impl Reports {
    /// Opens or makes the files that are there from the beginning.
    ///
    /// # Errors
    /// `Index` for a file or a folder that cannot be made or read, `Invalid` for a log that is
    /// none.
    pub fn open(files: ReportFiles) -> Result<Reports> {
        let log = files.log.as_deref().map(Log::open).transpose()?;
        let events = files.tensorboard.as_deref().map(Events::begin).transpose()?;
        let (faults, since) = (Vec::new(), Instant::now());
        Ok(Reports { files, log, events, faults, has_stepped: false, since })
    }

    /// Writes an iteration.
    pub fn step(&mut self, step: &Step) {
        self.has_stepped = true;
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        let wrote = self.log.as_mut().map_or(Ok(()), |log| log.put(step));
        if let Err(error) = wrote {
            self.log = None;
            self.failed(error);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall_s = now.map_or(0.0, |now| now.as_secs_f64());
        let scalars = scalars(step, 1.0 / seconds.max(1e-9));
        let wrote = match &mut self.events {
            Some(events) => events.put(step.iteration, wall_s, &scalars),
            None => Ok(()),
        };
        if let Err(error) = wrote {
            self.events = None;
            self.failed(error);
        }
    }

    fn failed(&mut self, error: Error) {
        let reason = error.to_string();
        tracing::warn!(reason, "a report is not written any further; the training goes on");
        self.faults.push(error);
    }

    /// Draws the plot: of a run that had an iteration, or that `is_over` and had none left. One
    /// that was refused draws nothing over the plot of another.
    ///
    /// # Errors
    /// The first fault of a file, those of iterations first.
    pub fn finish(mut self, is_over: bool) -> Result<()> {
        if (self.has_stepped || is_over)
            && let (Some(log), Some(plot)) = (&self.files.log, &self.files.plot)
        {
            let drawn = log::read(log).and_then(|steps| plot::write(plot, &steps));
            self.faults.extend(drawn.err());
        }
        self.faults.into_iter().next().map_or(Ok(()), Err)
    }
}

/// The numbers of an iteration by TensorBoard's names.
fn scalars(step: &Step, iterations_per_s: f64) -> Vec<Scalar> {
    let active = step.active as f64 / (step.terms as f64).max(1.0);
    let all = [
        ("train/loss", Some(step.loss)),
        ("train/active", Some(active)),
        ("train/rate", Some(step.rate)),
        ("train/iterations_per_s", Some(iterations_per_s)),
        ("validation/map", step.validation),
    ];
    let scalar = |(tag, value): (&'static str, Option<f64>)| Some(Scalar { tag, value: value? });
    all.into_iter().filter_map(scalar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(iteration: u64) -> Step {
        let loss = 1.0 / iteration as f64;
        let validation = iteration.is_multiple_of(2).then_some(0.5);
        Step { iteration, loss, terms: 8, active: 2, photos: 9, rate: 0.1, validation }
    }

    /// A training that is killed after five iterations and goes on from its third.
    #[test]
    fn reports_go_on_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Some(folder.path().join(name));
        let (log, plot, tensorboard) = (at("log.jsonl"), at("plot.svg"), at("board/one"));
        let files = ReportFiles { log, plot, tensorboard };
        let mut reports = Reports::open(files.clone()).unwrap();
        (1..=5).for_each(|iteration| reports.step(&step(iteration)));
        drop(reports);
        let mut reports = Reports::open(files.clone()).unwrap();
        (4..=8).for_each(|iteration| reports.step(&step(iteration)));
        reports.finish(false).unwrap();
        let steps = log::read(files.log.as_ref().unwrap()).unwrap();
        assert_eq!(steps, (1..=8).map(step).collect::<Vec<_>>());
        let drawn = std::fs::read_to_string(files.plot.as_ref().unwrap()).unwrap();
        assert!(drawn.starts_with("<svg") && drawn.contains("validation mAP"), "{drawn}");
        let events = std::fs::read_dir(files.tensorboard.as_ref().unwrap()).unwrap();
        assert_eq!(events.count(), 2);
        // Nothing was left to do.
        std::fs::remove_file(files.plot.as_ref().unwrap()).unwrap();
        Reports::open(files.clone()).unwrap().finish(false).unwrap();
        assert!(!files.plot.as_ref().unwrap().exists(), "a training that was refused");
        Reports::open(files.clone()).unwrap().finish(true).unwrap();
        assert!(files.plot.as_ref().unwrap().exists());
        assert_eq!(log::read(files.log.as_ref().unwrap()).unwrap(), steps);
    }

    #[test]
    fn a_report_that_fails_does_not_end_the_training() {
        let folder = tempfile::tempdir().unwrap();
        let log = Some(folder.path().join("log.jsonl"));
        let plot = Some(folder.path().join("gone/plot.svg"));
        let files = ReportFiles { log, plot, tensorboard: None };
        let mut reports = Reports::open(files.clone()).unwrap();
        reports.step(&step(1));
        let error = reports.finish(false).unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
        assert_eq!(log::read(files.log.as_ref().unwrap()).unwrap().len(), 1);
    }
}
