//! The command line: flags over configuration, one call into the library, an exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use ocelli_index::{
    Combine, Dtype, Form, Grid, InputConvention, Model, PartKind, Precision, ResizeFilter,
};
use ocelli_proto::observe::{self, TracesConfig};
use ocelli_proto::role::{LogFormat, main_exit, print};
use ocelli_proto::security::{self, Role};

use crate::config::{Config, DEFAULT_TOML, PoolingName};
use crate::job::{JobOptions, JobSummary, Output, Parts, encode, encode_regions};
use crate::photos::Input;
use crate::service;
use crate::weights_cli::{self, WeightsCommand};

/// Turns images into R-MAC descriptors: whole collections into part files, or one image at a time as a
/// gRPC service.
#[derive(Parser)]
#[command(name = "ocelli-encoder", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encode a directory, a list or a tar of images into a part file.
    ///
    /// Images are encoded in a fixed order: equal input gives equal bytes, whatever the number of
    /// workers. What is no image, is truncated or is too large goes to a list of its own with the
    /// reason, and stops nothing.
    Encode(Box<EncodeArgs>),
    /// Serve ocelli.v1.EncoderService until SIGTERM or Ctrl-C.
    Serve(Box<ServeArgs>),
    /// Get, convert or make network weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Print the default configuration, every key with its explanation.
    Config,
    /// Draw a bearer token: it goes to a new file, its line for `security.tokens_file` to standard output.
    Token(TokenArgs),
}

#[derive(Args)]
struct TokenArgs {
    /// Whose token it is, for the servers' logs.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it allows: search or admin.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// The file that the token is written to; only its owner can read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
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
    ocelli whiten regions.part --dim 256 --out photos.whitening
    ocelli-encoder encode --regions regions.part \\
      --whitening photos.whitening --out photos.part

  A large collection in parts of 100,000 images; run it again to go on:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --part-images 100000 --out photos.parts
  Codes in place of descriptors, for `ocelli build`:
    ocelli-encoder encode photos --weights resnet50.safetensors \\
      --sizes 448 --output codes --model my.model --out photos.part

A list file has one image a line: a path, or a JSON object
  {\"path\": \"a/b.jpg\", \"key\": \"b\", \"id\": 7, \"box\": [x0, y0, x1, y1]}
of which only the path is required:
  path  relative to the list file's folder, or absolute
  key   the image's name in the index, once in a list [default: the path]
  id    a whole number below 2^63, on every line or on none
  box   the part to encode, in pixels as stored (before EXIF rotation),
        x to the right, y down; the image is resized first, then cut
Empty lines are skipped; any other key is an error that names the line.

Every setting can also stand in a configuration file or in the environment
(OCELLI_ENCODER_WEIGHTS=...); `ocelli-encoder config` prints all of them.
Exit codes: 0 success, 1 failure, 2 usage.";

#[derive(Args)]
#[command(after_help = ENCODE_HELP)]
struct EncodeArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    run: RunArgs,
    /// The part file to write; with --part-images a folder of parts. A part appears under its name when
    /// it is complete.
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
    /// Where to list rejected images with reasons, a JSON object a line [default: OUT.rejected.jsonl]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// How the summary is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
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
    /// Unwhitened region vectors of an earlier `--output regions`: no network runs.
    #[arg(long, value_name = "PART", conflicts_with = "NetworkArgs")]
    regions: Option<PathBuf>,
}

/// Settings that decide what a descriptor means.
#[derive(Args)]
struct NetworkArgs {
    /// The network's weights: safetensors with torchvision's tensor names.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What the tensors do not say: v1.5 (torchvision), v1 (Keras), v1-caffe, floor-pool (SqueezeNet of Keras).
    #[arg(long)]
    form: Option<Form>,
    /// How pixels are presented: caffe-bgr or torchvision-rgb.
    #[arg(long, value_name = "CONVENTION")]
    input: Option<InputConvention>,
    /// Epsilon of batch normalisation.
    #[arg(long, value_name = "X")]
    bn_eps: Option<f64>,
    /// A JSON file with form, input and bn_eps [default: the one beside the weights, if any]
    #[arg(long, value_name = "JSON")]
    network_config: Option<PathBuf>,
    /// Stage where the network ends, 1 to 4, for a VGG to 5 [default: the last that the weights hold]
    #[arg(long, value_name = "N")]
    last_stage: Option<u32>,
    /// Leave projections that stand in the weights (a learned whitening) away.
    #[arg(long)]
    no_head: bool,
    /// How a feature map becomes a vector [default: as the weights say, else rmac]
    #[arg(long)]
    pooling: Option<PoolingName>,
    /// Levels of the R-MAC grid, 1 to 4.
    #[arg(long, value_name = "N")]
    levels: Option<u32>,
    /// Where the R-MAC grid is computed: feature-map or image-pixels.
    #[arg(long)]
    grid: Option<Grid>,
    /// Exponent of GeM pooling.
    #[arg(long, value_name = "P")]
    gem_p: Option<f32>,
    /// Longest sides in pixels, with commas between them, or `stored` for never resized.
    #[arg(long, value_name = "PX,…")]
    sizes: Option<Sizes>,
    /// Antialiased resize filter: bilinear, catmull-rom or lanczos3.
    #[arg(long)]
    filter: Option<ResizeFilter>,
    /// Leave images smaller than a size as they are.
    #[arg(long)]
    no_upscale: bool,
    /// Leave images as they are stored, whatever EXIF says.
    #[arg(long)]
    no_exif: bool,
    /// How the descriptors of several sizes become one: sum, or gem:P.
    #[arg(long)]
    combine: Option<Combine>,
    /// Cut boxes out before the image is resized.
    #[arg(long)]
    crop_first: bool,
    /// What the network computes with: f32 or bf16.
    #[arg(long)]
    precision: Option<Precision>,
    /// Pixels (width x height) of the largest image that is decoded.
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
}

/// Settings that both commands share.
#[derive(Args)]
struct RunArgs {
    /// Whitening, learned under the same settings.
    #[arg(long, value_name = "FILE")]
    whitening: Option<PathBuf>,
    /// Threads that encode; 0 is one per core.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Images of equal shape that pass the network together, at most.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "OCELLI_ENCODER_CONFIG")]
    config: Option<PathBuf>,
    /// Log level (error, warn, info, debug, trace), or levels by target.
    #[arg(long = "log", value_name = "FILTER")]
    log_filter: Option<String>,
    /// Form of the logs: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

const SERVE_HELP: &str = "\
Example:
  ocelli-encoder serve --weights resnet50.safetensors --sizes 800 \\
    --whitening photos.whitening --listen 127.0.0.1:7071

When it is ready the server writes the line \"listening on ADDRESS:PORT\" to
standard output; logs go to standard error. Health (grpc.health.v1) and
reflection are served as well. SIGTERM lets what runs end.
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
    /// Serve an address that other machines reach although TLS, or tokens and client certificates, are missing.
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
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Longest sides; empty for `stored`.
#[derive(Clone, Debug, PartialEq)]
struct Sizes(Vec<u32>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stored" {
            return Ok(Sizes(Vec::new()));
        }
        let size = |s: &str| match s.trim().parse::<u32>() {
            Ok(px) if (1..=65_535).contains(&px) => Ok(px),
            _ => Err(format!("expected 1 to 65535 pixels or `stored`, found {s:?}")),
        };
        text.split(',').map(size).collect::<Result<_, _>>().map(Sizes)
    }
}

/// Puts a flag over a setting, where it was given.
fn over<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

impl NetworkArgs {
    fn apply(self, config: &mut Config) {
        config.weights = self.weights.or(config.weights.take());
        config.form = self.form.or(config.form);
        config.input = self.input.or(config.input);
        config.bn_eps = self.bn_eps.or(config.bn_eps);
        config.network_config = self.network_config.or(config.network_config.take());
        config.last_stage = self.last_stage.or(config.last_stage);
        config.head &= !self.no_head;
        config.pooling = self.pooling.or(config.pooling);
        config.levels = self.levels.or(config.levels);
        config.grid = self.grid.or(config.grid);
        config.gem_p = self.gem_p.or(config.gem_p);
        over(&mut config.sizes, self.sizes.map(|s| s.0));
        over(&mut config.filter, self.filter);
        config.upscale &= !self.no_upscale;
        config.exif &= !self.no_exif;
        over(&mut config.combine, self.combine);
        config.crop_first |= self.crop_first;
        over(&mut config.precision, self.precision);
        over(&mut config.max_pixels, self.max_pixels);
    }
}

impl RunArgs {
    /// All layers: defaults, file, environment, flags.
    fn config(self, network: NetworkArgs) -> Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        network.apply(&mut config);
        config.whitening = self.whitening.or(config.whitening);
        over(&mut config.workers, self.workers);
        over(&mut config.batch, self.batch);
        over(&mut config.log.filter, self.log_filter);
        over(&mut config.log.format, self.log_format);
        Ok(config)
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    main_exit(match cli.command {
        Command::Encode(args) => run_encode(*args),
        Command::Serve(args) => run_serve(*args),
        Command::Weights { command } => weights_cli::run(command),
        Command::Config => print(DEFAULT_TOML),
        Command::Token(TokenArgs { name, role, out }) => {
            security::draw(&name, role, &out).and_then(|line| print(&line))
        }
    })
}

/// A mistake on the command line that the parser cannot see: exit code 2.
fn usage(message: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit()
}

fn run_encode(args: EncodeArgs) -> Result<()> {
    let EncodeArgs { input, network, run, out, output, model, dtype, rejected, format, parts } =
        args;
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
    let options = JobOptions {
        workers: config.worker_count(),
        batch: config.batch,
        parts: parts.part_images.map(|images| Parts {
            images,
            task: parts.task,
            tasks: parts.tasks,
        }),
        model: model.as_ref(),
    };
    let output = Output { part: out, kind, dtype, rejected };
    let summary = match input {
        InputArgs { regions: Some(regions), .. } => {
            encode_regions(&regions, config.open_whitening()?.as_ref(), &output, model.as_ref())?
        }
        InputArgs { photos: Some(dir), .. } => {
            run_network(&Input::Directory(dir), &config, &output, &options)?
        }
        InputArgs { list: Some(list), .. } => {
            run_network(&Input::List(list), &config, &output, &options)?
        }
        InputArgs { tar: Some(tar), .. } => {
            run_network(&Input::Tar(tar), &config, &output, &options)?
        }
        // The argument parser demands one of them.
        InputArgs { .. } => usage("no input: name a directory, or give --list, --tar or --regions"),
    };
    print(&match format {
        Format::Text => format!("{summary}\n"),
        Format::Json => format!("{}\n", serde_json::to_string(&summary)?),
    })
}

fn run_network(
    input: &Input,
    config: &Config,
    output: &Output,
    options: &JobOptions<'_>,
) -> Result<JobSummary> {
    if config.weights.is_none() {
        usage("no weights: give --weights FILE, or `weights` in the configuration");
    }
    let pipeline = config.pipeline()?;
    // Otherwise each photo would be rejected for it.
    if matches!(output.kind, PartKind::Regions) && pipeline.network().head().image().is_some() {
        bail!(
            "--output regions: these weights whiten whole images only; take them without their head (--no-head)"
        );
    }
    tracing::info!(
        spec = %pipeline.spec().hash(),
        dim = pipeline.dim(),
        workers = config.worker_count(),
        "network ready"
    );
    Ok(encode(input, &pipeline, &config.view_options(), output, options)?)
}

fn run_serve(args: ServeArgs) -> Result<()> {
    let ServeArgs { network, run, listen, max_queued, insecure } = args;
    let mut config = run.config(network)?;
    over(&mut config.listen, listen);
    over(&mut config.max_queued, max_queued);
    config.security.insecure |= insecure;
    config.check()?;
    if config.weights.is_none() {
        usage("no weights: give --weights FILE, or `weights` in the configuration");
    }
    observe::init("ocelli-encoder", &config.log, &TracesConfig::default())?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async threads")?;
    let open = || Ok((config.pipeline()?, config.view_options()));
    runtime.block_on(service::serve(config.serve_options(), open))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_numbers_or_stored() {
        assert_eq!("550,800, 1050".parse(), Ok(Sizes(vec![550, 800, 1050])));
        assert_eq!("stored".parse(), Ok(Sizes(vec![])));
        for bad in ["", "448,", "0", "-1", "70000", "all"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad:?}");
        }
    }

    /// One input, and no network flags beside region vectors: what would be ignored is refused.
    #[test]
    fn contradicting_flags_are_refused() {
        let parse = |flags: &str| {
            let words = ["ocelli-encoder", "encode", "--out", "x.part"];
            Cli::try_parse_from(words.into_iter().chain(flags.split_whitespace())).map(drop)
        };
        for good in ["photos", "--list l", "--tar t --pooling gem", "--regions r --whitening w"] {
            parse(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in ["", "photos --list l", "--tar t --regions r", "--regions r --sizes 448"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
