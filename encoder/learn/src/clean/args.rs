//! The command line of a cleaning.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use ocelli_index::task_number;
use ocelli_service::role::print;

use crate::clean::commit::{CommitOptions, check_files, commit};
use crate::clean::plan::Plan;
use crate::clean::report::ReportOptions;
use crate::clean::settings::{Components, KeepSettings, MatchSettings};
use crate::clean::source::Source;
use crate::format::Format;
use crate::logs;

const EXAMPLES: &str = "\
A list in one process; the same command after a kill goes on:
  ocelli learn clean set.jsonl --out cleaned.jsonl --report cleaned.html
The same by many processes:
  ocelli learn clean plan set.jsonl --work cleaning --tasks 8
  ocelli learn clean task --work cleaning --task 0
  ocelli learn clean commit --work cleaning --out cleaned.jsonl";

/// Arguments of `clean`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = EXAMPLES)]
pub struct CleanArgs {
    #[command(subcommand)]
    step: Option<Step>,
    #[command(flatten)]
    whole: WholeArgs,
}

#[derive(Subcommand)]
enum Step {
    /// Write what is to be done into a work folder. Reads the bytes of all photos.
    Plan(PlanArgs),
    /// Do one task of a plan. Tasks may run in any order, at once, and again.
    Task(TaskArgs),
    /// Write the list, once all tasks have ended.
    Commit(CommitArgs),
}

#[derive(Args)]
struct WholeArgs {
    /// JSON lines: {"path": …, "class": …, "box": [x0, y0, x1, y1], "split": …}, or a Parquet file
    /// with these columns.
    #[arg(required = true)]
    list: Option<PathBuf>,
    /// The file of the cleaned list: JSON lines.
    #[arg(long, value_name = "FILE", required = true)]
    out: Option<PathBuf>,
    /// The folder of the results of classes. A cleaning that finds some does not make them again
    /// [default: that of --out with .work at its end].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    #[command(flatten)]
    matching: MatchArgs,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Args)]
struct PlanArgs {
    /// JSON lines: {"path": …, "class": …, "box": [x0, y0, x1, y1], "split": …}, or a Parquet file
    /// with these columns.
    list: PathBuf,
    /// The folder of the plan and of the results of classes.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Tasks, at most one for each class.
    #[arg(long, value_name = "N", default_value_t = 16)]
    tasks: u32,
    #[command(flatten)]
    matching: MatchArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Args)]
struct TaskArgs {
    /// The folder of the plan.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// The task, from 0 [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX].
    #[arg(long, value_name = "I")]
    task: Option<u32>,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Args)]
struct CommitArgs {
    /// The folder of the plan.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// The file of the cleaned list: JSON lines.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

#[derive(Args)]
struct MachineArgs {
    /// Threads, 0: one per core. The result does not depend on them; memory grows with them, and
    /// with the square of --size.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: u16,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Args)]
struct MatchArgs {
    /// Splits that are cleaned; photos without a split are in "train". Others are copied.
    #[arg(long, value_name = "SPLITS", value_delimiter = ',', default_value = "train")]
    splits: Vec<String>,
    /// Longest side in pixels of the pictures that are matched.
    #[arg(long, value_name = "PX", default_value_t = 640)]
    size: u32,
    /// Features of a photo, at most.
    #[arg(long, value_name = "N", default_value_t = 1500)]
    keypoints: usize,
    /// Distance of the first neighbour over that of the second, at most.
    #[arg(long, value_name = "RATIO", default_value_t = 0.8)]
    ratio: f32,
    /// Matches at different places that must agree on the affine map of two photos.
    #[arg(long, value_name = "N", default_value_t = 8)]
    min_inliers: usize,
    /// Distance in pixels that such a match may have from its image.
    #[arg(long, value_name = "PX", default_value_t = 6.0)]
    tolerance: f64,
    /// Pairs of a class that are compared, at most. Of a larger class each photo is compared with
    /// the same number of others, but with at least 20.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    max_pairs: usize,
}

#[derive(Args)]
struct KeepArgs {
    /// The components of a class that stay.
    #[arg(long, value_enum, default_value_t)]
    components: Components,
    /// Different photos of a component that stays, at least: copies by their bytes count once. A
    /// class without such a component is left out.
    #[arg(long, value_name = "N", default_value_t = 3)]
    min_photos: usize,
    /// Write no new boxes.
    #[arg(long)]
    no_boxes: bool,
    /// The share of its width and height by which a box grows on each side: matched points lie
    /// within the thing, not at its edges.
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    box_margin: f64,
    /// A page of the photos that stay, with their boxes, and of those that do not.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Classes on the page, at most.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "report")]
    report_classes: usize,
    /// Photos of a class on the page that stay, and as many that do not, at most.
    #[arg(long, value_name = "N", default_value_t = 60, requires = "report")]
    report_photos: usize,
}

impl CleanArgs {
    /// Cleans a list, or does one step of it, and prints what came of it.
    ///
    /// # Errors
    /// Settings that cannot be, lists and files that cannot be read or written. Photos that cannot
    /// be read are none: they are counted.
    pub fn run(self) -> Result<()> {
        logs::init()?;
        match self.step {
            Some(Step::Plan(args)) => args.run(),
            Some(Step::Task(args)) => args.run(),
            Some(Step::Commit(args)) => args.run(),
            None => self.whole.run(),
        }
    }
}

impl WholeArgs {
    fn run(self) -> Result<()> {
        let threads = self.machine.threads();
        let (Some(list), Some(out)) = (self.list, self.out) else {
            bail!("expected a list and --out, found only one of them");
        };
        let work = self.work.unwrap_or_else(|| {
            let mut name = OsString::from(&out);
            name.push(".work");
            name.into()
        });
        let source = Source::read(&list)?;
        let options = self.keep.options(out, threads);
        check_files(&source, &options)?;
        let plan = Plan::of(&source, &self.matching.splits, &self.matching.values(), 1, threads)?;
        // No plan is written: the folder may have one for tasks of other processes.
        fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
        plan.run_task(&source, &work, 0, threads)?;
        finish(&plan, &source, &work, &options, self.machine.format)
    }
}

impl PlanArgs {
    fn run(self) -> Result<()> {
        let source = Source::read(&self.list)?;
        let (splits, settings) = (&self.matching.splits, self.matching.values());
        let threads = self.machine.threads();
        let plan = Plan::of(&source, splits, &settings, self.tasks, threads)?;
        plan.write(&self.work)?;
        let (classes, tasks) = (plan.classes.len(), plan.tasks);
        print(&match self.machine.format {
            Format::Json => format!("{{\"classes\":{classes},\"tasks\":{tasks}}}\n"),
            Format::Text => format!("planned {classes} classes in {tasks} tasks\n"),
        })
    }
}

impl TaskArgs {
    fn run(self) -> Result<()> {
        let (plan, source) = Plan::read(&self.work)?;
        let task = task_number(self.task, |name| std::env::var(name).ok(), plan.tasks)?;
        let done = plan.run_task(&source, &self.work, task, self.machine.threads())?;
        print(&match self.machine.format {
            Format::Json => format!("{}\n", serde_json::to_string(&done)?),
            Format::Text => {
                format!("task {task}: {} classes, {} of them were done\n", done.classes, done.found)
            }
        })
    }
}

impl CommitArgs {
    fn run(self) -> Result<()> {
        let (plan, source) = Plan::read(&self.work)?;
        let options = self.keep.options(self.out, self.machine.threads());
        finish(&plan, &source, &self.work, &options, self.machine.format)
    }
}

/// Commits and prints the summary.
fn finish(
    plan: &Plan,
    source: &Source,
    work: &Path,
    options: &CommitOptions,
    format: Format,
) -> Result<()> {
    let summary = commit(plan, source, work, options)
        .with_context(|| format!("making {}", options.out.display()))?;
    print(&match format {
        Format::Json => format!("{}\n", serde_json::to_string(&summary)?),
        Format::Text => format!("{}\n", ocelli_text::report(&summary.to_string())),
    })
}

impl MachineArgs {
    fn threads(&self) -> usize {
        match self.threads {
            0 => available_parallelism().map_or(1, usize::from),
            threads => usize::from(threads),
        }
    }
}

impl MatchArgs {
    fn values(&self) -> MatchSettings {
        MatchSettings {
            size_px: self.size,
            keypoints: self.keypoints,
            ratio: self.ratio,
            min_inliers: self.min_inliers,
            tolerance_px: self.tolerance,
            max_pairs: self.max_pairs,
        }
    }
}

impl KeepArgs {
    fn options(self, out: PathBuf, threads: usize) -> CommitOptions {
        let keep = KeepSettings {
            components: self.components,
            min_photos: self.min_photos.max(1),
            boxes: !self.no_boxes,
            box_margin: self.box_margin,
        };
        let report = self.report.map(|path| ReportOptions {
            path,
            classes: self.report_classes,
            photos: self.report_photos,
            threads,
        });
        CommitOptions { keep, out, report }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: CleanArgs,
    }

    fn parsed(words: &str) -> Result<CleanArgs, clap::Error> {
        Cli::try_parse_from(["clean"].into_iter().chain(words.split(' '))).map(|cli| cli.args)
    }

    #[test]
    fn flags_have_the_documented_defaults() {
        let args = parsed("set.jsonl --out o").unwrap();
        let whole = args.whole;
        assert!(whole.list.is_some() && whole.out.is_some());
        assert_eq!(whole.matching.values(), MatchSettings::default());
        assert_eq!(whole.keep.options(PathBuf::new(), 1).keep, KeepSettings::default());
        assert!(matches!(parsed("plan l --work w").unwrap().step, Some(Step::Plan(_))));
        assert!(matches!(parsed("task --work w").unwrap().step, Some(Step::Task(_))));
        assert!(matches!(parsed("commit --work w --out o").unwrap().step, Some(Step::Commit(_))));
        for bad in ["set.jsonl", "plan l", "commit --work w", "l --out o --report-photos 3"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }
}
