//! The command line: flags to values, one call into the library, an exit code.

mod check;
mod network;
mod proposals;
mod reports;

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command as Process, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use ocelli_index::Pooling;
use ocelli_network::set_torch_threads;
use ocelli_service::role::{main_exit, print};

use crate::augment::Augment;
use crate::clean::CleanArgs;
use crate::files::{self, LIST, Named};
use crate::format::Format;
use crate::list::List;
use crate::logs;
use crate::loss::LossKind;
use crate::recipe::Recipe;
use crate::report::Reports;
use crate::train::{Checkpoints, Step, train};

use check::CheckArgs;
use network::NetworkArgs;
use proposals::ProposalsArgs;
use reports::ReportArgs;

/// Trains the networks that the encoder runs, on photos of classes.
#[derive(Parser)]
#[command(name = "ocelli-learn", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what is in a training set, and which of its photos cannot be used.
    Check(Box<CheckArgs>),
    /// Leave out the photos of each class that do not show what most of them show, and find out
    /// where the others show it.
    Clean(Box<CleanArgs>),
    /// Train a network with a loss of ranking or of classes, and write it as a file that the
    /// encoder takes.
    ///
    /// Equal flags, list and weights give equal bytes on one kind of machine with one number of
    /// threads, also where the training was interrupted and went on from its checkpoint.
    Train(Box<TrainArgs>),
    /// Train the layers that propose regions, in place of R-MAC's grid, on photos with boxes. The
    /// rest of the network stays as it is.
    Proposals(Box<ProposalsArgs>),
}

#[derive(Args)]
struct TrainArgs {
    /// JSON lines: {"path": …, "class": …, "box": [x0, y0, x1, y1], "split": …}, or a Parquet file
    /// with these columns. Photos of the split "train", or of none, are trained on.
    list: PathBuf,
    /// Weights to begin with: a safetensors file of a network of convolutions.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The file of the trained weights.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The pooling: rmac:LEVELS, rmac:LEVELS:image-pixels, rpn:N, mac or spoc [default: that of the
    /// weights, or rmac:3]
    #[arg(long, value_name = "POOLING")]
    pooling: Option<Pooling>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Threads of libtorch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Photos that are run at a time, each with an equal share of the threads, beside one for each
    /// that decodes. Memory grows with them; small photos are faster. Weights depend on it in their
    /// last bits.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    photos_at_once: u16,
    /// A file that keeps the state of the training. A training that finds it goes on from there.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Iterations between two writes of the checkpoint.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "checkpoint")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    reports: ReportArgs,
    /// How iterations and the summary are printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Args)]
struct RecipeArgs {
    /// The loss that is minimised.
    #[arg(long, value_enum, default_value_t)]
    loss: LossKind,
    /// Longest side of the pictures in pixels.
    #[arg(long, value_name = "PX", default_value_t = 800)]
    size: u32,
    /// Iterations in all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    iterations: u64,
    /// Random photos that hard triplets are looked for in.
    #[arg(long, value_name = "N", default_value_t = 5000)]
    pool: usize,
    /// Iterations until the pool is drawn again and its descriptors are computed anew.
    #[arg(long, value_name = "N", default_value_t = 64)]
    refresh: u64,
    /// Triplets of an iteration.
    #[arg(long, value_name = "N", default_value_t = 64)]
    triplets: usize,
    /// A triplet is drawn from this many hardest ones of its query.
    #[arg(long, value_name = "N", default_value_t = 25)]
    hardest: usize,
    /// Triplets whose negative is farther than the positive, for networks that do not tell the
    /// photos apart yet.
    #[arg(long)]
    semi_hard: bool,
    /// Take only so many nearest positives of a query; 0: all of them. For sets in which some
    /// photos of a class have nothing in common.
    #[arg(long, value_name = "N", default_value_t = 0)]
    nearest_positives: usize,
    /// Take all triplets among the photos of an iteration, up to four of a class, in place of mined
    /// ones.
    #[arg(long)]
    batch_all: bool,
    /// Photos of an iteration, for losses without mined triplets.
    #[arg(long, value_name = "N", default_value_t = 64)]
    photos: usize,
    /// Margin of the loss [default: 0.1 for triplets, 0.5 radians for arcface].
    #[arg(long, value_name = "M")]
    margin: Option<f64>,
    /// Logits of a classifier are so many times the products of descriptors.
    #[arg(long, value_name = "S", default_value_t = 16.0)]
    scale: f64,
    /// The learning rate of a classifier is so many times that of the network.
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    classifier_rate: f64,
    /// Learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 1e-3)]
    rate: f64,
    /// Iterations until the learning rate is a tenth; 0: it stays.
    #[arg(long, value_name = "N", default_value_t = 0)]
    decay_every: u64,
    /// Momentum.
    #[arg(long, value_name = "M", default_value_t = 0.9)]
    momentum: f64,
    /// Weight decay.
    #[arg(long, value_name = "L", default_value_t = 5e-5)]
    weight_decay: f64,
    /// How much photos are changed each time that they are trained on.
    #[arg(long, value_enum, default_value_t)]
    augment: Augment,
    /// The largest share of each side that a random crop takes away [default: 0.05, or 0.3 with
    /// --augment strong].
    #[arg(long, value_name = "SHARE")]
    crop: Option<f64>,
    /// Begin with a new head (shift and FC) of this dimension: the PCA whitening of the regions.
    /// For weights without a head, or with --no-head.
    #[arg(long, value_name = "DIM")]
    head_dim: Option<usize>,
    /// Photos that such a head is learned on, at most.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "head_dim")]
    head_photos: usize,
    /// Measure mAP on the photos of the split "val" every so many iterations, and write the weights
    /// of the best one; 0: never.
    #[arg(long, value_name = "N", default_value_t = 0)]
    validate_every: u64,
    /// End after so many validations without a better one; 0: at the last iteration.
    #[arg(long, value_name = "N", default_value_t = 0)]
    patience: u64,
    /// Seed of everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    main_exit(match cli.command {
        Command::Check(args) => args.run(),
        Command::Clean(args) => args.run(),
        Command::Train(args) => args.run(),
        Command::Proposals(args) => args.run(),
    })
}

/// Settings of the memory, which libraries read when the process begins. Photos have many shapes:
/// oneDNN keeps code for each, a thousand pieces of it, and the allocator keeps what freed maps of
/// one shape leave between those of others. With these numbers the peak hardly grows with the
/// triplets. Larger ones (256, 33554432) save a tenth of the time and take a third more memory.
const STEADY: [(&str, &str); 2] =
    [("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64"), ("MALLOC_MMAP_THRESHOLD_", "2097152")];

/// Becomes the same command with [`STEADY`] in its environment, unless the environment has values.
fn with_steady_memory() -> Result<()> {
    let missing: Vec<(&str, &str)> =
        STEADY.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let own = env::current_exe().context("finding this program")?;
    let error = Process::new(own).args(env::args_os().skip(1)).envs(missing).exec();
    Err(error).context("starting this program again")
}

impl TrainArgs {
    fn run(self) -> Result<()> {
        with_steady_memory()?;
        logs::init()?;
        let threads = usize::from(self.threads);
        if self.photos_at_once > self.threads {
            bail!(
                "--photos-at-once: expected at most the {} of --threads, found {}",
                self.threads,
                self.photos_at_once
            );
        }
        let checkpoint = Named::flag("--checkpoint", self.checkpoint.as_ref());
        files::check(
            &[
                Named { name: LIST, path: &self.list },
                Named { name: "--weights", path: &self.weights },
            ],
            &[Some(Named { name: "--out", path: &self.out }), checkpoint]
                .into_iter()
                .chain(self.reports.written())
                .flatten()
                .collect::<Vec<_>>(),
        )?;
        self.reports.check_folder()?;
        let device = self.network.device()?;
        set_torch_threads((threads / usize::from(self.photos_at_once)).max(1));
        let recipe = self.recipe.values();
        recipe.check()?;
        let list = List::read(&self.list)?;
        let count = usize::from(self.photos_at_once);
        let mut networks = self.network.load((&self.weights, device), count, self.pooling)?;
        let (network, copies) = networks.split_first_mut().context("loading a network")?;
        let mut reports = Reports::open(self.reports.files())?;
        let checkpoints = self.checkpoint.map(|path| {
            let every = self.checkpoint_every;
            Checkpoints { path, every }
        });
        let format = self.format;
        let (begun, mut done) = (Instant::now(), 0);
        let mut report = |step: &Step| {
            done += 1;
            let pace = Pace { done, seconds: begun.elapsed().as_secs_f64(), of: recipe.iterations };
            // A reader that has gone away does not end a training.
            let _ = print(&pace.told(step, format));
            reports.step(step);
        };
        let networks = (network, copies, threads);
        let trained = train(&list, networks, &recipe, checkpoints.as_ref(), &self.out, &mut report);
        // Also of a training that failed.
        let reported = reports.finish(trained.is_ok()).context("writing reports of the training");
        let summary = trained?;
        print(&match format {
            Format::Json => format!("{}\n", serde_json::to_string(&summary)?),
            Format::Text => format!(
                "wrote {}{}: {} iterations on {} photos; {} classes with one photo left out; \
                 photos failed {} times; {} queries had no triplet\n",
                ocelli_text::printable(&self.out.display().to_string(), ocelli_text::MAX_CHARS),
                summary.best.map_or(String::new(), |(iteration, map)| {
                    format!(", of iteration {iteration}, validation mAP {map:.4}")
                }),
                summary.iterations,
                summary.photos,
                summary.single_classes,
                summary.failed_photos,
                summary.queries_without
            ),
        })?;
        reported
    }
}

/// How fast a training is.
#[derive(Clone, Copy)]
struct Pace {
    /// Iterations of this run.
    done: u64,
    /// The time that they took.
    seconds: f64,
    /// Iterations in all.
    of: u64,
}

impl Pace {
    /// An iteration as it is printed.
    fn told(self, step: &Step, format: Format) -> String {
        if matches!(format, Format::Json) {
            return serde_json::to_string(step).unwrap_or_default() + "\n";
        }
        let each_s = self.seconds / self.done.max(1) as f64;
        let left_s = each_s * self.of.saturating_sub(step.iteration) as f64;
        let validation =
            step.validation.map_or(String::new(), |map| format!(", validation mAP {map:.4}"));
        format!(
            "iteration {} of {}: loss {:.6}, {} of {} not right yet, {} photos, rate \
             {}{validation}; {:.2} iterations/s, {:.0} min left\n",
            step.iteration,
            self.of,
            step.loss,
            step.active,
            step.terms,
            step.photos,
            step.rate,
            1.0 / each_s.max(1e-9),
            left_s / 60.0
        )
    }
}

impl RecipeArgs {
    fn values(&self) -> Recipe {
        Recipe {
            loss: self.loss,
            size_px: self.size,
            iterations: self.iterations,
            pool: self.pool,
            refresh: self.refresh,
            triplets: self.triplets,
            hardest: self.hardest,
            semi_hard: self.semi_hard,
            nearest_positives: self.nearest_positives,
            batch_all: self.batch_all,
            photos: self.photos,
            margin: self.margin.unwrap_or(self.loss.margin()),
            scale: self.scale,
            classifier_rate: self.classifier_rate,
            rate: self.rate,
            decay_every: self.decay_every,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            augment: self.augment,
            crop: self.crop.unwrap_or(self.augment.crop()),
            head_dim: self.head_dim.unwrap_or(0),
            head_photos: self.head_photos,
            validate_every: self.validate_every,
            patience: self.patience,
            seed: self.seed,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The flags' defaults are the recipe's.
    #[test]
    fn flags_have_the_published_defaults() {
        let words = ["ocelli-learn", "train", "l", "--weights", "w", "--out", "o"];
        let Command::Train(args) = Cli::parse_from(words).command else { panic!("train") };
        assert_eq!(args.recipe.values(), Recipe::default());
        let strong = words.into_iter().chain(["--augment", "strong"]);
        let Command::Train(args) = Cli::parse_from(strong).command else { panic!("train") };
        let (augment, crop) = (Augment::Strong, 0.3);
        assert_eq!(args.recipe.values(), Recipe { augment, crop, ..Recipe::default() });
        let requires = ["ocelli-learn", "train", "l", "--weights", "w", "--out", "o"]
            .into_iter()
            .chain(["--checkpoint-every", "3"]);
        assert!(Cli::try_parse_from(requires).is_err(), "of which file?");
    }
}
