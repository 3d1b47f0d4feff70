//! The photos, the network and the kind of result, as flags: of jobs that run now or are planned.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use ocelli_index::{Dtype, Model, PackVariant, PartKind};
use ocelli_network::Device;
use ocelli_pictures::photos::{Input, ParquetColumns, Photos};
use ocelli_service::observe::{self, TracesConfig};

use super::settings::{NetworkArgs, RunArgs};
use super::{require_weights, usage};
use crate::config::Config;
use crate::job::{JobOptions, JobSummary, Output, check_kind, encode};
use crate::planned::Chosen;

/// Everything that decides what is encoded, and how.
#[derive(Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    columns: ColumnArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
    #[command(flatten)]
    result: ResultArgs,
}

/// Flags for what is written of an image.
#[derive(Args)]
struct ResultArgs {
    /// What to write: one descriptor an image, its region vectors, or its code under --model.
    #[arg(long, value_name = "KIND", default_value = "descriptors")]
    output: OutputKind,
    /// The model of --output codes, where no pack has one.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// How numbers are stored: f32 or f16.
    #[arg(long, value_name = "TYPE", default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Leave out the hashes of pixels, by which copies are found: an exact one and a perceptual
    /// one. They take about a quarter of the time of decoding.
    #[arg(long, conflicts_with = "regions")]
    no_pixel_hashes: bool,
    /// Follow symbolic links that lead out of PHOTOS_DIR, and relative paths that lead out of the
    /// folder of --parquet. Without this flag, they are rejected.
    #[arg(long, conflicts_with_all = ["list", "tar", "regions"])]
    follow_links: bool,
}

/// A job as its flags say it, with the configuration below them.
pub(super) struct JobRequest {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) chosen: Chosen,
    pub(super) kind: PartKind,
    pub(super) dtype: Dtype,
    pub(super) pixel_hashes: bool,
    /// The model and its file, where no pack has it.
    own: Option<(Model, PathBuf)>,
}

impl JobRequest {
    /// The model of codes, and its file where no pack has it.
    pub(super) fn model(&self) -> Result<Option<(&Model, Option<&Path>)>> {
        if let Some((model, path)) = &self.own {
            return Ok(Some((model, Some(path.as_path()))));
        }
        let variant = self.config.variant()?.filter(|_| self.kind == PartKind::Codes);
        Ok(variant.map(|variant| (PackVariant::model(variant), None)))
    }
}

impl JobArgs {
    /// Checks flags and configuration, starts the logs, and opens the model.
    pub(super) fn request(self) -> Result<JobRequest> {
        let config = self.run.config(self.network)?;
        config.check()?;
        observe::init("ocelli-encoder", &config.log, &TracesConfig::default())?;
        let ResultArgs { output, model, dtype, no_pixel_hashes, follow_links } = self.result;
        let kind = output.part_kind();
        let has_variant = config.variant()?.is_some() && kind == PartKind::Codes;
        if (model.is_some() || has_variant) != (kind == PartKind::Codes) {
            usage("--output codes goes together with --model FILE or --pack FILE");
        }
        if model.is_some() && has_variant {
            usage("--model beside --pack, which has one: leave one out");
        }
        let own = model.map(|path| Ok::<_, anyhow::Error>((Model::open(&path)?, path)));
        let SelectionArgs { include, exclude, strict } = self.selection;
        Ok(JobRequest {
            own: own.transpose()?,
            source: self.input.source(self.columns, follow_links),
            chosen: Chosen { include, exclude, strict },
            kind,
            dtype,
            pixel_hashes: !no_pixel_hashes,
            config,
        })
    }
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
pub(super) enum Source {
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

/// Runs a network over photos.
pub(super) fn run_network(
    photos: impl FnOnce() -> Result<Photos>,
    config: &Config,
    device: Device,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    require_weights(config);
    let pipeline = config.pipeline(device)?;
    check_kind(output.kind, &pipeline)?;
    tracing::info!(
        spec = %pipeline.spec().hash(),
        dim = pipeline.dim(),
        %device,
        workers = options.workers,
        batch = options.batch,
        "network ready"
    );
    // Before the output is created, which may lie in the directory that is walked.
    let photos = photos()?;
    Ok(encode(photos, &pipeline, &config.view_options(), output, options)?)
}
