//! `ocelli-encoder plan` and `commit`: a collection into parts, each by a process of its own.

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_index::Estimate;
use ocelli_service::observe::{self, TracesConfig};
use ocelli_text::{counted, thousands};
use serde::Serialize;

use super::job::{JobArgs, Source};
use super::output::Format;
use super::{require_weights, usage};
use crate::config::Config;
use crate::job::{Output, Proof};
use crate::planned::{self, Encoding, Request};

const PLAN_HELP: &str = "\
Example:
  Parts of 100,000 photos, by as many processes as there are; then the proof that all are there:
    ocelli plan encode photos --weights resnet50.safetensors --sizes 448 \\
      --part-images 100000 --out-parts photos.parts --out photos.plan
    for i in $(ocelli plan show photos.plan --tasks); do
      ocelli encode --plan photos.plan --task $i
    done
    ocelli commit --plan photos.plan
Slurm and Kubernetes give the number of a task by themselves: see docs/plans.md.";

#[derive(Args)]
#[command(after_help = PLAN_HELP)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Images of each part, and so of each task.
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    part_images: u64,
    /// The folder of parts that the tasks make.
    #[arg(long, value_name = "DIR")]
    out_parts: PathBuf,
    /// The plan's file.
    #[arg(short, long, value_name = "PLAN")]
    out: PathBuf,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Report of a plan.
#[derive(Serialize)]
struct PlanReport {
    plan: PathBuf,
    hash: String,
    kind: &'static str,
    tasks: u32,
    images: u64,
    parts: PathBuf,
    estimate: Estimate,
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: to {} {} into {} in {} (plan {})",
            self.plan.display(),
            self.kind,
            counted(self.images, "image"),
            self.parts.display(),
            counted(u64::from(self.tasks), "task"),
            self.hash.get(..8).unwrap_or(&self.hash)
        )
    }
}

impl PlanArgs {
    /// Makes a plan.
    pub(super) fn run(self) -> Result<()> {
        let job = self.job.request()?;
        require_weights(&job.config);
        let Source::Photos(input) = &job.source else {
            usage("--regions gives one part: no plan is needed, ocelli encode --regions makes it")
        };
        let output = Output {
            rejected: Output::rejected_beside(&self.out_parts),
            part: self.out_parts,
            kind: job.kind,
            dtype: job.dtype,
        };
        let file = planned::plan(&Request {
            config: &job.config,
            input,
            chosen: job.chosen.clone(),
            output: &output,
            model: job.model()?,
            part_images: self.part_images,
            pixel_hashes: job.pixel_hashes,
        })?;
        file.write(&self.out)?;
        let report = PlanReport {
            images: Encoding::read(&self.out)?.planned().images(),
            hash: file.hash.to_string(),
            kind: file.plan.kind(),
            tasks: file.plan.tasks(),
            plan: self.out,
            parts: file.out,
            estimate: file.estimate,
        };
        self.format.print(&report)
    }
}

const COMMIT_HELP: &str = "\
Example:
  When all tasks of a plan have ended:
    ocelli commit --plan photos.plan";

#[derive(Args)]
#[command(after_help = COMMIT_HELP)]
pub(super) struct CommitArgs {
    /// The plan.
    #[arg(long, value_name = "PLAN")]
    plan: PathBuf,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Report of a commit.
#[derive(Serialize)]
struct CommitReport {
    folder: PathBuf,
    plan: String,
    #[serde(flatten)]
    proof: Proof,
}

impl fmt::Display for CommitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proof { parts, images, rows, rejected, bytes, .. } = self.proof;
        write!(
            f,
            "{}: whole: {}, {}, {}, {}; {} rejected",
            self.folder.display(),
            counted(parts, "part"),
            counted(images, "image"),
            counted(rows, "row"),
            counted(bytes, "byte"),
            thousands(rejected)
        )
    }
}

impl CommitArgs {
    /// Proves that all parts of a plan are there, and prints what they hold.
    pub(super) fn run(self) -> Result<()> {
        let log = Config::load(None)?.log;
        observe::init("ocelli-encoder", &log, &TracesConfig::default())?;
        let encoding = Encoding::read(&self.plan)?;
        let proof = encoding.prove()?;
        let folder = encoding.output().part;
        self.format.print(&CommitReport { folder, plan: encoding.hash().to_string(), proof })
    }
}
