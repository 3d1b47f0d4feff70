//! `ocelli-encoder encode`: a collection into a part file, or the task of a plan.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use ocelli_pictures::photos::Photos;
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role;

use super::job::{JobArgs, JobRequest, Source, run_network};
use super::output::Format;
use super::usage;
use crate::config::Config;
use crate::job::{JobOptions, JobSummary, Output, Parts, encode_regions};
use crate::planned::Encoding;

const ENCODE_HELP: &str = "\
Examples:
  Descriptors of a folder of photos, by the pack that is part of this program:
    ocelli-encoder encode photos --pack default --out photos.part
  Descriptors by a network of your own:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 550,800,1050 --out photos.part
  Weights of a Caffe or Keras network, with a whitening:
    ocelli-encoder encode photos --weights resnet50_v1.safetensors \\
      --form v1 --input caffe-bgr --bn-eps 1.001e-5 --sizes 448 \\
      --whitening photos.whitening --out photos.part
  Region vectors, a whitening from them, then descriptors without the network:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --output regions --out regions.part
    ocelli whiten regions.part --out photos.whitening
    ocelli-encoder encode --regions regions.part \\
      --whitening photos.whitening --out photos.part

  A large collection in parts of 100,000 images; run it again to continue:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --part-images 100000 --out photos.parts
  Images in the rows of Parquet files, with keys from another column:
    ocelli-encoder encode --parquet shards --key-column url \\
      --weights resnet50.safetensors --sizes 448 --out photos.part
  Codes instead of descriptors, for `ocelli build`:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --output codes --model my.model --out photos.part

A list file has one image a line: a path, or a JSON object
  {\"path\": \"a/b.jpg\", \"key\": \"b\", \"id\": 7, \"box\": [x0, y0, x1, y1], \"rotate\": 90}
of which only the path is required:
  path    relative to the list file's folder, or absolute
  key     the image's name in the index, once in a list [default: the path]
  id      a whole number below 2^63, once in a list, on every line or on none
  box     the part to encode, in pixels as stored (before EXIF rotation),
          x to the right, y down; the image is resized first, then cut
  rotate  90, 180 or 270 degrees clockwise: turns the stored pixels, and the box
          with them, in place of EXIF rotation and also with --no-exif
Empty lines are skipped. A bad line (any other key, a key that occurs twice or
is longer than 16 KiB, no id if others have one) is rejected with its number;
with --strict it ends the job.

Every setting can also be given in a configuration file or in the environment
(OCELLI_ENCODER_WEIGHTS=...); `ocelli-encoder config` prints all settings.
Exit codes: 0 success, 1 failure, 2 usage.";

#[derive(Args)]
#[command(after_help = ENCODE_HELP)]
pub(super) struct EncodeArgs {
    #[command(flatten)]
    job: JobArgs,
    /// The part file to write; with --part-images a folder of parts. A part appears under its name
    /// when it is complete.
    #[arg(long, value_name = "FILE", required_unless_present = "plan")]
    out: Option<PathBuf>,
    #[command(flatten)]
    parts: PartsArgs,
    /// A folder that gets a small picture of each photo, by the hash of its file: `ocelli dedup`
    /// looks at them and need not decode the photos again.
    #[arg(long, value_name = "DIR", conflicts_with = "regions")]
    previews: Option<PathBuf>,
    /// Where to list rejected images with reasons, a JSON object a line [default:
    /// OUT.rejected.jsonl]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// End as at SIGTERM when standard input ends, so that the end of a parent process is enough.
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Jobs in parts.
#[derive(Args)]
struct PartsArgs {
    /// Write a folder of parts of N images each. Run the same command again to continue.
    #[arg(long, value_name = "N", group = "in_parts", conflicts_with = "rejected")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    part_images: Option<u64>,
    /// Processes that share the folder, each with a --task of its own [default: 1]
    #[arg(long, value_name = "N", requires = "part_images")]
    tasks: Option<u64>,
    /// Make the parts whose number is this modulo --tasks [default: 0]. With --plan, the part of
    /// this number [default: that of SLURM_ARRAY_TASK_ID or JOB_COMPLETION_INDEX]
    #[arg(long, value_name = "I", requires = "in_parts")]
    task: Option<u32>,
    /// Encode one part of a plan, which says everything but --workers, --device and logs.
    #[arg(long, value_name = "PLAN", groups = ["InputArgs", "in_parts"])]
    #[arg(conflicts_with_all = ["NetworkArgs", "ColumnArgs", "SelectionArgs", "ResultArgs"])]
    #[arg(conflicts_with_all = ["out", "tasks", "rejected"])]
    #[arg(conflicts_with_all = ["pack", "code_bytes", "whitening", "batch"])]
    plan: Option<PathBuf>,
}

impl PartsArgs {
    /// The parts that the input is split into, if it is.
    fn parts(&self) -> Option<Parts> {
        let images = self.part_images?;
        Some(Parts { images, task: self.task.unwrap_or(0).into(), tasks: self.tasks.unwrap_or(1) })
    }
}

impl EncodeArgs {
    /// Encodes the input and prints the summary.
    pub(super) fn run(self) -> Result<()> {
        if self.stop_with_stdin {
            role::stop_with_stdin()?;
        }
        let (parts, previews) = (self.parts.parts(), self.previews.as_deref());
        let summary = match (self.parts.plan, self.out) {
            (Some(plan), _) => {
                let here = self.job.run.layers(self.job.network, None)?;
                run_task(&plan, self.parts.task, &here, previews)?
            }
            (None, Some(out)) => {
                let rejected = self.rejected.unwrap_or_else(|| Output::rejected_beside(&out));
                if rejected == out {
                    usage("--out and --rejected name the same file");
                }
                run_job(&self.job.request()?, parts, (out, rejected), previews)?
            }
            // The argument parser demands one of the two.
            (None, None) => usage("no output: give --out"),
        };
        self.format.print(&summary)
    }
}

fn run_job(
    job: &JobRequest,
    parts: Option<Parts>,
    (part, rejected): (PathBuf, PathBuf),
    previews: Option<&Path>,
) -> Result<JobSummary> {
    let JobRequest { config, kind, dtype, .. } = job;
    let model = job.model()?.map(|(model, _)| model);
    let output = Output { part, kind: *kind, dtype: *dtype, rejected };
    match &job.source {
        Source::Regions(_) if parts.is_some() => {
            usage("--part-images is for photos; region vectors give one part")
        }
        Source::Regions(regions) => {
            let whitening = config.open_whitening()?;
            Ok(encode_regions(regions, whitening.as_ref(), &output, model)?)
        }
        Source::Photos(input) => {
            let device = config.device.resolve()?;
            let options = JobOptions {
                workers: config.worker_count(device),
                batch: config.batch_size(device),
                parts,
                model,
                pixel_hashes: job.pixel_hashes,
                planned: None,
                previews,
            };
            let selection = job.chosen.selection()?;
            let photos = || Ok(Photos::select(input, &selection)?);
            run_network(photos, config, device, &output, &options)
        }
    }
}

/// Encodes the photos of one part of a plan, unless that is there.
fn run_task(
    plan: &Path,
    task: Option<u32>,
    here: &Config,
    previews: Option<&Path>,
) -> Result<JobSummary> {
    here.check()?;
    observe::init("ocelli-encoder", &here.log, &TracesConfig::default())?;
    let encoding = Encoding::read(plan)?;
    let task = encoding.task(task)?;
    let (planned, output) = (encoding.planned(), encoding.output());
    if planned.is_complete(&output, task)? {
        return Ok(planned.kept(&encoding.photos()?, &output, task)?);
    }
    let config = encoding.config(here)?;
    let device = config.device.resolve()?;
    let own = encoding.model()?;
    let options = JobOptions {
        workers: config.worker_count(device),
        batch: config.batch_size(device),
        parts: Some(planned.parts(task)),
        model: match &own {
            Some(model) => Some(model),
            None => config.variant()?.filter(|_| encoding.makes_codes()).map(|v| v.model()),
        },
        pixel_hashes: encoding.pixel_hashes(),
        planned: Some(planned),
        previews,
    };
    run_network(|| encoding.photos(), &config, device, &output, &options)
}
