//! The command `ocelli-bench-data`: arguments → one call into the library → exit code.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ocelli_bench_data::{Error, LandmarkOptions, ListOptions, generate_with, write_list};
use serde::Serialize;

/// Makes the photos that Ocelli's demo, tests and benchmarks run on.
///
/// Everything depends on the arguments alone: the same seed gives the same bytes, on every machine
/// and for any number of threads.
#[derive(Parser)]
#[command(
    name = "ocelli-bench-data",
    version,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Subcommand)]
enum Command {
    Landmarks(LandmarksArgs),
    List(ListArgs),
}

/// Generate photos of procedural landmarks, with ground truth in the Oxford format.
///
/// Writes photos/*.jpg, groundtruth/<landmark>_<n>_{query,good,ok,junk}.txt, groundtruth.json and
/// manifest.json into a new folder. The folder appears only when it is complete; one that was made
/// with the same options is reused, any other is left as it is and is an error.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data landmarks --out demo-photos --landmarks 12 --views 10 --distractors 530"
)]
struct LandmarksArgs {
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of landmarks: facades, towers and mosaics in turn.
    #[arg(long, value_name = "N", default_value_t = 12)]
    landmarks: u32,
    /// Photos of each landmark, its queries included.
    #[arg(long, value_name = "N", default_value_t = 10)]
    views: u32,
    /// Photos without any landmark.
    #[arg(long, value_name = "N", default_value_t = 530)]
    distractors: u32,
    /// Queries of each landmark.
    #[arg(long, value_name = "N", default_value_t = 3)]
    queries: u32,
    /// Another seed makes other landmarks and other photos.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Longest side of the largest photos, 64 to 4096; photos are drawn from half of it up to it.
    #[arg(long, value_name = "PIXELS", default_value_t = 640)]
    longest_side: u32,
    /// Threads; 0 for one per core. The photos do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
}

/// Choose photos from folders and write a list file for `ocelli encode --list`.
///
/// One JSON object {"path", "key"} a line, sorted by key. The key is the photo's path relative to
/// the root. The path is relative to the list file's folder if the photo lies below it, and
/// absolute otherwise.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data list --root data --photos data/a data/b --take 500 --seed 1 --out list.jsonl"
)]
struct ListArgs {
    /// Folders to search, with all below them.
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    photos: Vec<PathBuf>,
    /// Keys are relative to this folder; all photos lie below it.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Choose this many, or all if there are fewer; all if not given.
    #[arg(long, value_name = "N")]
    take: Option<u64>,
    /// Another seed chooses others; fewer of the same seed are a subset of more.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// List file to write; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The library's messages hold their causes already; only other errors need the chain.
            let (message, code) = match error.downcast_ref() {
                // Options that cannot be are the user's slip like a misspelt flag; all else is a
                // failure.
                Some(error @ Error::Invalid { .. }) => (error.to_string(), 2),
                Some(error) => (error.to_string(), 1),
                None => (format!("{error:#}"), 1),
            };
            let _ = writeln!(std::io::stderr(), "ocelli-bench-data: {message}");
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    match &cli.command {
        Command::Landmarks(args) => {
            let options = LandmarkOptions {
                landmarks: args.landmarks,
                views_per_landmark: args.views,
                distractors: args.distractors,
                queries_per_landmark: args.queries,
                seed: args.seed,
                longest_side: args.longest_side,
                threads: args.threads,
            };
            let bar = LateBar::new(options.photos());
            let summary = generate_with(&args.out, &options, &|done| bar.set(done))?;
            bar.0.finish_and_clear();
            let text = format!(
                "{}: {} photos ({:.1} MB), {} queries; of landmarks {} good, {} ok, {} junk{}",
                summary.path.display(),
                summary.photos,
                summary.bytes as f64 / 1e6,
                summary.queries,
                summary.good,
                summary.ok,
                summary.junk,
                if summary.reused { "; was there already" } else { "" }
            );
            print(cli.format, &text, &summary)
        }
        Command::List(args) => {
            let options = ListOptions {
                photos: args.photos.clone(),
                root: args.root.clone(),
                take: args.take,
                seed: args.seed,
            };
            let summary = write_list(&args.out, &options)?;
            let mut text = format!(
                "{}: {} of {} photos",
                summary.path.display(),
                summary.chosen,
                summary.found
            );
            if summary.unnamable > 0 {
                text += &format!(
                    "; {} files passed over, their names are not UTF-8",
                    summary.unnamable
                );
            }
            print(cli.format, &text, &summary)
        }
    }
}

fn print(format: Format, text: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let line = match format {
        Format::Text => text.to_owned(),
        Format::Json => serde_json::to_string(value).context("cannot print the result")?,
    };
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}

/// A progress bar that shows up only if the work takes longer than two seconds.
struct LateBar(ProgressBar, Instant);

impl LateBar {
    fn new(length: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} photos, {eta} left") {
            bar.set_style(style);
        }
        Self(bar, Instant::now())
    }

    fn set(&self, done: u64) {
        if self.0.is_hidden()
            && self.1.elapsed() > Duration::from_secs(2)
            && std::io::stderr().is_terminal()
        {
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
        // Workers report out of order; the bar must not go back.
        if done > self.0.position() {
            self.0.set_position(done);
        }
    }
}
