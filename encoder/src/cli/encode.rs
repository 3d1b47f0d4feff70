//! `ocelli-encoder encode`: a collection into a part file.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use ocelli_index::{Dtype, Model, PackVariant, PartKind};
use ocelli_network::Device;
use ocelli_pictures::photos::{Input, Names, ParquetColumns, Photos, Selection};
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role;

use super::output::Format;
use super::settings::{NetworkArgs, RunArgs};
use super::{require_weights, usage};
use crate::config::Config;
use crate::job::{JobOptions, JobSummary, Output, Parts, encode, encode_regions};

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
    input: InputArgs,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    run: RunArgs,
    /// The part file to write; with --part-images a folder of parts. A part appears under its name
    /// when it is complete.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What to write: one descriptor an image, its region vectors, or its code under --model.
    #[arg(long, value_name = "KIND", default_value = "descriptors")]
    output: OutputKind,
    /// The model of --output codes, where no pack has one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    #[command(flatten)]
    parts: PartsArgs,
    /// How numbers are stored: f32 or f16.
    #[arg(long, value_name = "TYPE", default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Where to list rejected images with reasons, a JSON object a line [default:
    /// OUT.rejected.jsonl]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Leave out the hashes of pixels, by which copies are found: an exact one and a perceptual
    /// one. They take about a quarter of the time of decoding.
    #[arg(long, conflicts_with = "regions")]
    no_pixel_hashes: bool,
    /// Follow symbolic links that lead out of PHOTOS_DIR, and relative paths that lead out of the
    /// folder of --parquet. Without this flag, they are rejected.
    #[arg(long, conflicts_with_all = ["list", "tar", "regions"])]
    follow_links: bool,
    /// End as at SIGTERM when standard input ends, so that the end of a parent process is enough.
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Jobs in parts.
#[derive(Args)]
struct PartsArgs {
    /// Write a folder of parts of N images each. Run the same command again to continue.
    #[arg(long, value_name = "N", conflicts_with = "rejected")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    part_images: Option<u64>,
    /// Processes that share the folder, each with a --task of its own.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "part_images")]
    tasks: u64,
    /// Make the parts whose number is this modulo --tasks.
    #[arg(long, value_name = "I", default_value_t = 0, requires = "part_images")]
    task: u64,
}

/// Where images come from: exactly one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct InputArgs {
    /// A directory: every file below it, recognised by content; names with a leading dot are
    /// skipped.
    #[arg(value_name = "PHOTOS_DIR")]
    photos: Option<PathBuf>,
    /// A list file: a path or a JSON object a line (see below).
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// An uncompressed tar file.
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// A Parquet file with an image a row (its bytes or its path), or a directory of such files.
    #[arg(long, value_name = "FILE|DIR")]
    parquet: Option<PathBuf>,
    /// Unwhitened region vectors of an earlier `--output regions`: no network runs.
    #[arg(long, value_name = "PART", conflicts_with = "NetworkArgs")]
    regions: Option<PathBuf>,
}

/// The other inputs: clap drops what an argument requires where that conflicts with an input that
/// is given.
const OTHERS: [&str; 4] = ["photos", "list", "tar", "regions"];

/// Columns of --parquet.
#[derive(Args)]
struct ColumnArgs {
    /// --parquet: column of the images: binary (a file's bytes), text (its path), or a struct of
    /// bytes and path [default: image]
    #[arg(long, value_name = "NAME", requires = "parquet", conflicts_with_all = OTHERS)]
    image_column: Option<String>,
    /// --parquet: column of the keys [default: FILE#ROW for a row with an image's bytes, else the
    /// path]
    #[arg(long, value_name = "NAME", requires = "parquet", conflicts_with_all = OTHERS)]
    key_column: Option<String>,
    /// --parquet: column of ids, integers of 0 or more.
    #[arg(long, value_name = "NAME", requires = "parquet", conflicts_with_all = OTHERS)]
    id_column: Option<String>,
}

/// Which images of an input are encoded.
#[derive(Args)]
struct SelectionArgs {
    /// Encode only images whose key matches: `*.jpg`, `paris/*` (a * matches / too). Repeatable.
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["parquet", "regions"])]
    include: Vec<String>,
    /// Skip images whose key matches; they are counted, not rejected. Repeatable [default: *.json
    /// and *.txt, unless --include or --exclude is given]
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["parquet", "regions"])]
    exclude: Vec<String>,
    /// End the job if a key or an id occurs twice, is null or too long, or if a line of the list is
    /// bad. Without this flag, such an item is rejected and the others are encoded.
    #[arg(long, conflicts_with = "regions")]
    strict: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutputKind {
    Descriptors,
    Regions,
    /// Codes under --model, as `ocelli build` makes them of descriptors.
    Codes,
}

/// The images or regions that a command encodes.
enum Source {
    /// Photos, by the network.
    Photos(Input),
    /// Region vectors of an earlier job, without it.
    Regions(PathBuf),
}

impl OutputKind {
    fn part_kind(self) -> PartKind {
        match self {
            OutputKind::Descriptors => PartKind::Descriptors,
            OutputKind::Regions => PartKind::Regions,
            OutputKind::Codes => PartKind::Codes,
        }
    }
}

impl InputArgs {
    /// The one input that was given.
    fn source(self, columns: ColumnArgs, follow_links: bool) -> Source {
        match self {
            InputArgs { regions: Some(regions), .. } => Source::Regions(regions),
            InputArgs { photos: Some(dir), .. } if follow_links => {
                Source::Photos(Input::LinkedDirectory(dir))
            }
            InputArgs { photos: Some(dir), .. } => Source::Photos(Input::Directory(dir)),
            InputArgs { list: Some(list), .. } => Source::Photos(Input::List(list)),
            InputArgs { tar: Some(tar), .. } => Source::Photos(Input::Tar(tar)),
            InputArgs { parquet: Some(path), .. } => {
                let columns = ParquetColumns {
                    image: columns.image_column,
                    key: columns.key_column,
                    id: columns.id_column,
                };
                Source::Photos(Input::Parquet { path, columns, follow_links })
            }
            // The argument parser demands one of them.
            InputArgs { .. } => {
                usage("no input: name a directory, or give --list, --tar, --parquet or --regions")
            }
        }
    }
}

impl PartsArgs {
    /// The parts that the input is split into, if it is.
    fn parts(&self) -> Option<Parts> {
        let images = self.part_images?;
        Some(Parts { images, task: self.task, tasks: self.tasks })
    }
}

impl EncodeArgs {
    /// Encodes the input and prints the summary.
    pub(super) fn run(self) -> Result<()> {
        if self.stop_with_stdin {
            role::stop_with_stdin()?;
        }
        let config = self.run.config(self.network)?;
        config.check()?;
        observe::init("ocelli-encoder", &config.log, &TracesConfig::default())?;
        let rejected = self.rejected.unwrap_or_else(|| Output::rejected_beside(&self.out));
        if rejected == self.out {
            usage("--out and --rejected name the same file");
        }
        let kind = self.output.part_kind();
        let variant = config.variant()?.filter(|_| kind == PartKind::Codes);
        if (self.model.is_some() || variant.is_some()) != (kind == PartKind::Codes) {
            usage("--output codes goes together with --model FILE or --pack FILE");
        }
        if self.model.is_some() && variant.is_some() {
            usage("--model beside --pack, which has one: leave one out");
        }
        let own = self.model.as_deref().map(Model::open).transpose()?;
        let model = own.as_ref().or(variant.map(PackVariant::model));
        let parts = self.parts.parts();
        let source = self.input.source(self.columns, self.follow_links);
        let output = Output { part: self.out, kind, dtype: self.dtype, rejected };
        let summary = match source {
            Source::Regions(_) if parts.is_some() => {
                usage("--part-images is for photos; region vectors give one part")
            }
            Source::Regions(regions) => {
                let whitening = config.open_whitening()?;
                encode_regions(&regions, whitening.as_ref(), &output, model)?
            }
            Source::Photos(input) => {
                let device = config.device.resolve()?;
                let options = JobOptions {
                    workers: config.worker_count(device),
                    batch: config.batch_size(device),
                    parts,
                    model,
                    pixel_hashes: !self.no_pixel_hashes,
                };
                let SelectionArgs { include, exclude, strict } = self.selection;
                let selection = Selection { names: Names::new(&include, &exclude)?, strict };
                run_network(&input, &selection, &config, device, &output, &options)?
            }
        };
        self.format.print(&summary)
    }
}

fn run_network(
    input: &Input,
    selection: &Selection,
    config: &Config,
    device: Device,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    require_weights(config);
    let pipeline = config.pipeline(device)?;
    // Otherwise each photo would be rejected for it.
    if matches!(output.kind, PartKind::Regions) && pipeline.network().head().image.is_some() {
        bail!(
            "--output regions: these weights whiten whole images only; pass --no-head to run them \
             without it"
        );
    }
    tracing::info!(
        spec = %pipeline.spec().hash(),
        dim = pipeline.dim(),
        %device,
        workers = options.workers,
        batch = options.batch,
        "network ready"
    );
    // Before the output is created, which may lie in the directory that is walked.
    let photos = Photos::select(input, selection)?;
    Ok(encode(photos, &pipeline, &config.view_options(), output, options)?)
}
