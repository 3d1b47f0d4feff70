//! `ocelli gc`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_indexer::lifecycle::{GcFile, GcOptions, GcPlan, GcReport, gc};

use crate::output::{OutputArgs, counted, print, thousands};

const GC_EXAMPLE: &str = "\
What would go; nothing is removed:
  ocelli gc index/
Removed, but for the current generation and the newest other one:
  ocelli gc index/ --keep-generations 1 --yes";

/// Files that the text names.
const FIRST: usize = 10;

#[derive(Args)]
#[command(after_help = GC_EXAMPLE)]
pub struct GcArgs {
    /// Index directory
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,
    /// The newest generations that stay besides the current one
    #[arg(long, value_name = "N", default_value_t = GcOptions::default().keep_generations)]
    pub keep_generations: usize,
    /// A file that no generation names stays for so many hours: a build may be under way
    #[arg(long, value_name = "HOURS", default_value_t = GcOptions::default().min_age_s / 3600)]
    pub min_age_hours: u64,
    /// A plan on which nobody has worked for so many hours is given up: until then its shards and
    /// its model stay
    #[arg(long, value_name = "HOURS", default_value_t = GcOptions::default().plan_age_s / 3600)]
    pub plan_age_hours: u64,
    /// Remove the files; without it they are only named
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Removes the files of an index that nobody needs.
pub fn run(args: GcArgs) -> Result<()> {
    let options = GcOptions {
        keep_generations: args.keep_generations,
        min_age_s: args.min_age_hours.saturating_mul(3600),
        plan_age_s: args.plan_age_hours.saturating_mul(3600),
        remove: args.yes,
    };
    print(args.output.format, &gc(&args.index, &options)?, text)
}

fn text(r: &GcReport) -> String {
    let numbers = |of: &[u64]| of.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let verb = if r.removed { "removed" } else { "to be removed (--yes)" };
    let mut text = format!(
        "{}: generations {} stay\n{} of {} bytes {verb}",
        r.index.display(),
        numbers(&r.kept),
        counted(r.files.len() as u64, "file"),
        thousands(r.bytes),
    );
    if !r.dropped.is_empty() {
        text += &format!("; generations {} go", numbers(&r.dropped));
    }
    for GcFile { name, bytes } in r.files.iter().take(FIRST) {
        text += &format!("\n  {name} ({} bytes)", thousands(*bytes));
    }
    if r.files.len() > FIRST {
        text += &format!("\n  and {} more", r.files.len() - FIRST);
    }
    for plan in &r.plans {
        text += &plan_text(plan, r.removed);
    }
    if !r.young.is_empty() {
        text += &format!(
            "\n{} that no generation names stay, since they are young",
            counted(r.young.len() as u64, "file")
        );
    }
    text
}

fn plan_text(plan: &GcPlan, removed: bool) -> String {
    let tasks = match plan.tasks {
        Some(tasks) => format!("{} of {}", plan.ended, counted(u64::from(tasks), "task")),
        None => counted(u64::from(plan.ended), "task"),
    };
    let fate = match (plan.given_up, removed) {
        (false, _) => "its shards stay, and all models",
        (true, true) => "it is given up",
        (true, false) => "it is to be given up",
    };
    format!(
        "\nplan {} ({}), {tasks} ended, idle for {} h: {fate}",
        plan.plan.get(..8).unwrap_or(&plan.plan),
        plan.kind.as_deref().unwrap_or("a job without one"),
        plan.idle_s / 3600
    )
}
