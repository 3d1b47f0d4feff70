//! The command line: flags over configuration, one call into the library, an exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ocelli_index::{Dtype, Model, PartKind};
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role::{self, main_exit, print};
use ocelli_service::security::TokenArgs;

use crate::cli_settings::{NetworkArgs, RunArgs, over};
use crate::config::{Config, DEFAULT_TOML};
use crate::device::Device;
use crate::job::{JobOptions, JobSummary, Output, Parts, encode, encode_regions};
use crate::service;
use crate::tools_cli::{self, CompareArgs, MeasureArgs};
use crate::weights_cli::{self, WeightsCommand};
use ocelli_pictures::photos::{Input, Names, ParquetColumns, Photos, Selection};

/// Turns images into R-MAC descriptors: whole collections into part files, or one image at a time
/// as a gRPC service.
#[derive(Parser)]
#[command(name = "ocelli-encoder", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encode a directory, a list, a tar or Parquet files of images into a part file.
    ///
    /// Images are encoded in a fixed order: equal input gives equal bytes, whatever the number of
    /// workers. What is no image, is truncated or is too large goes to a list of its own with the
    /// reason, and stops nothing.
    Encode(Box<EncodeArgs>),
    /// Serve ocelli.v1.EncoderService until SIGTERM or Ctrl-C.
    Serve(Box<ServeArgs>),
    /// Measure how fast the network alone computes, on made-up images that lie in memory.
    ///
    /// Beside `encode`'s rate this tells whether the network or reading and decoding binds.
    Measure(Box<MeasureArgs>),
    /// Compare two parts of the same images: cosines of vectors, share of codes that differ.
    Compare(CompareArgs),
    /// Get, convert or make network weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Print the default configuration, every key with its explanation.
    Config,
    /// Draw a bearer token: it goes to a new file, its line for `security.tokens_file` to standard
    /// output.
    Token(TokenArgs),
}

const ENCODE_HELP: &str = "\
Examples:
  Descriptors of a folder of photos:
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

  A large collection in parts of 100,000 images; run it again to go on:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --part-images 100000 --out photos.parts
  Images in the rows of Parquet files, named by a column of theirs:
    ocelli-encoder encode --parquet shards --key-column url \\
      --weights resnet50.safetensors --sizes 448 --out photos.part
  Codes in place of descriptors, for `ocelli build`:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --output codes --model my.model --out photos.part

A list file has one image a line: a path, or a JSON object
  {\"path\": \"a/b.jpg\", \"key\": \"b\", \"id\": 7, \"box\": [x0, y0, x1, y1]}
of which only the path is required:
  path  relative to the list file's folder, or absolute
  key   the image's name in the index, once in a list [default: the path]
  id    a whole number below 2^63, once in a list, on every line or on none
  box   the part to encode, in pixels as stored (before EXIF rotation),
        x to the right, y down; the image is resized first, then cut
Empty lines are skipped. A line that will not do (any other key, a key that
occurs twice or is longer than 16 KiB, no id where others have one) is rejected
with its number; --strict ends the job there.

Every setting can also stand in a configuration file or in the environment
(OCELLI_ENCODER_WEIGHTS=...); `ocelli-encoder config` prints all of them.
Exit codes: 0 success, 1 failure, 2 usage.";

#[derive(Args)]
#[command(after_help = ENCODE_HELP)]
struct EncodeArgs {
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
    /// The model of --output codes.
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
    /// Follow symbolic links that lead out of PHOTOS_DIR, and relative paths that lead out of the
    /// folder of --parquet; without it they are rejected with their reason.
    #[arg(long, conflicts_with_all = ["list", "tar", "regions"])]
    follow_links: bool,
}

/// Jobs in parts.
#[derive(Args)]
struct PartsArgs {
    /// Write a folder of parts of N images each. The same command goes on where it was stopped.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "rejected")]
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
    /// A directory: every file below it, tried by content; names with a leading dot are left out.
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

/// What is taken of an input.
#[derive(Args)]
struct SelectionArgs {
    /// Take only what matches, by key: `*.jpg`, `paris/*` (a * stands for / too). May be repeated.
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["parquet", "regions"])]
    include: Vec<String>,
    /// Leave out what matches, by key; counted, not rejected. May be repeated [default: *.json and
    /// *.txt, unless --include or --exclude is given]
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["parquet", "regions"])]
    exclude: Vec<String>,
    /// End the job where a key or an id occurs twice, is null or too long, or a line of the list is
    /// wrong. Without it such an item is rejected and the others are encoded.
    #[arg(long, conflicts_with = "regions")]
    strict: bool,
}

const SERVE_HELP: &str = "\
Example:
  ocelli-encoder serve --weights resnet50.safetensors --sizes 800 \\
    --whitening photos.whitening --listen 127.0.0.1:7071

The server listens at once; while it reads its network health says NOT_SERVING
and requests get UNAVAILABLE (NOT_READY). When it is ready it writes the line
\"listening on ADDRESS:PORT\" to standard output; logs go to standard error.
Health (grpc.health.v1) and reflection are served as well. SIGTERM lets what runs end.
`ocelli-encoder config` prints all settings.";

#[derive(Args)]
#[command(after_help = SERVE_HELP)]
struct ServeArgs {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Images that may wait for a thread before requests are refused.
    #[arg(long, value_name = "N")]
    max_queued: Option<usize>,
    /// An HTTP endpoint for Prometheus (/metrics) and readiness (/readyz).
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<String>,
    /// Serve an address that other machines reach although TLS, or tokens and client certificates,
    /// are missing.
    #[arg(long)]
    insecure: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum OutputKind {
    Descriptors,
    Regions,
    /// Codes under --model, as `ocelli build` makes them of descriptors.
    Codes,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    main_exit(match cli.command {
        Command::Encode(args) => run_encode(*args),
        Command::Serve(args) => run_serve(*args),
        Command::Measure(args) => tools_cli::run_measure(*args),
        Command::Compare(args) => tools_cli::run_compare(&args),
        Command::Weights { command } => weights_cli::run(command),
        Command::Config => print(DEFAULT_TOML),
        Command::Token(args) => args.run(),
    })
}

/// A mistake on the command line that the parser cannot see: exit code 2.
pub(crate) fn usage(message: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit()
}

fn run_encode(args: EncodeArgs) -> Result<()> {
    let EncodeArgs {
        input,
        columns,
        selection,
        network,
        run,
        out,
        output,
        model,
        dtype,
        rejected,
        format,
        follow_links,
        parts,
    } = args;
    let config = run.config(network)?;
    config.check()?;
    observe::init("ocelli-encoder", &config.log, &TracesConfig::default())?;
    let rejected = rejected.unwrap_or_else(|| Output::rejected_beside(&out));
    if rejected == out {
        usage("--out and --rejected name the same file");
    }
    let kind = match output {
        OutputKind::Descriptors => PartKind::Descriptors,
        OutputKind::Regions => PartKind::Regions,
        OutputKind::Codes => PartKind::Codes,
    };
    if model.is_some() != (kind == PartKind::Codes) {
        usage("--output codes and --model FILE go together");
    }
    let model = model.as_deref().map(Model::open).transpose()?;
    if parts.part_images.is_some() && matches!(input, InputArgs { regions: Some(_), .. }) {
        usage("--part-images is for photos; region vectors give one part");
    }
    // Region vectors need no device.
    let device = match input {
        InputArgs { regions: Some(_), .. } => Device::Cpu,
        InputArgs { .. } => config.device.resolve()?,
    };
    let options = JobOptions {
        workers: config.worker_count(device),
        batch: config.batch_size(device),
        parts: parts.part_images.map(|images| Parts {
            images,
            task: parts.task,
            tasks: parts.tasks,
        }),
        model: model.as_ref(),
    };
    let output = Output { part: out, kind, dtype, rejected };
    let SelectionArgs { include, exclude, strict } = selection;
    let selection = Selection { names: Names::new(&include, &exclude)?, strict };
    let run = |input: Input| run_network(&input, &selection, &config, device, &output, &options);
    let summary = match input {
        InputArgs { regions: Some(regions), .. } => {
            encode_regions(&regions, config.open_whitening()?.as_ref(), &output, model.as_ref())?
        }
        InputArgs { photos: Some(dir), .. } if follow_links => run(Input::LinkedDirectory(dir))?,
        InputArgs { photos: Some(dir), .. } => run(Input::Directory(dir))?,
        InputArgs { list: Some(list), .. } => run(Input::List(list))?,
        InputArgs { tar: Some(tar), .. } => run(Input::Tar(tar))?,
        InputArgs { parquet: Some(path), .. } => {
            let columns = ParquetColumns {
                image: columns.image_column,
                key: columns.key_column,
                id: columns.id_column,
            };
            run(Input::Parquet { path, columns, outside: follow_links })?
        }
        // The argument parser demands one of them.
        InputArgs { .. } => {
            usage("no input: name a directory, or give --list, --tar, --parquet or --regions")
        }
    };
    print(&match format {
        Format::Text => format!("{}\n", ocelli_text::report(&summary.to_string())),
        Format::Json => format!("{}\n", serde_json::to_string(&summary)?),
    })
}

fn run_network(
    input: &Input,
    selection: &Selection,
    config: &Config,
    device: Device,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    if config.weights.is_none() {
        usage("no weights: give --weights FILE, or `weights` in the configuration");
    }
    let pipeline = config.pipeline(device)?;
    // Otherwise each photo would be rejected for it.
    if matches!(output.kind, PartKind::Regions) && pipeline.network().head().image().is_some() {
        bail!(
            "--output regions: these weights whiten whole images only; take them without their head (--no-head)"
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

fn run_serve(args: ServeArgs) -> Result<()> {
    let ServeArgs { network, run, listen, max_queued, metrics, insecure } = args;
    let mut config = run.config(network)?;
    over(&mut config.listen, listen);
    over(&mut config.max_queued, max_queued);
    over(&mut config.metrics.listen, metrics);
    config.security.insecure |= insecure;
    config.check()?;
    if config.weights.is_none() {
        usage("no weights: give --weights FILE, or `weights` in the configuration");
    }
    let runtime = role::runtime(tokio::runtime::Runtime::new)?;
    let telemetry = {
        let _runtime = runtime.enter();
        observe::init("ocelli-encoder", &config.log, &config.traces)?
    };
    // Before the network is read: a device that is not to be had is known at once.
    let device = config.device.resolve()?;
    let options = config.serve_options(device);
    let open = move || Ok((config.pipeline(device)?, config.view_options()));
    let ended = runtime.block_on(service::serve(options, open));
    telemetry.flush();
    leave(ended)
}

/// Ends the process with the exit code of `ended`, and runs no destructors: a thread may still
/// compute what nobody waits for, or read the network, and would crash if libtorch's static objects
/// went away below it.
fn leave(ended: Result<()>) -> ! {
    let code = i32::from(ended.is_err());
    // Prints the error. The code that it returns is `code`.
    let _ = main_exit(ended);
    // Logs go to standard error, which has no buffer.
    let _ = io::stdout().flush();
    // SAFETY: it takes a number, and returns to nobody.
    #[allow(unsafe_code, reason = "the standard library's exit runs the destructors")]
    unsafe {
        libc::_exit(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// One input, and no network flags beside region vectors: what would be ignored is refused.
    #[test]
    fn contradicting_flags_are_refused() {
        let parse = |flags: &str| {
            let words = ["ocelli-encoder", "encode", "--out", "x.part"];
            Cli::try_parse_from(words.into_iter().chain(flags.split_whitespace())).map(drop)
        };
        for good in [
            "photos",
            "--list l",
            "--list l --crop-first",
            "--list l --crop-first=photo-scale --combine gem:3:0",
            "--tar t --pooling gem",
            "--parquet p --key-column k",
            "--regions r --whitening w",
        ] {
            parse(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in [
            "",
            "photos --list l",
            "--tar t --regions r",
            "--regions r --sizes 448",
            "--tar t --key-column k",
            "--tar t --parquet p",
            "--list l --crop-first=half",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
