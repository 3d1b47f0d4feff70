//! The command `ocelli-bench-data`: arguments → one call into the library → exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
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
    after_help = "Example:\n  ocelli-bench-data landmarks --out demo-photos --landmarks 12 --views \
                  10 --distractors 530"
)]
struct LandmarksArgs {
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    options: LandmarkOptions,
}

/// Choose photos from folders and write a list file for `ocelli encode --list`.
///
/// One JSON object {"path", "key"} a line, sorted by key. The key is the photo's path relative to
/// the root. The path is relative to the list file's folder if the photo lies below it, and
/// absolute otherwise.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data list --root data --photos data/a data/b --take 500 \
                  --seed 1 --out list.jsonl"
)]
struct ListArgs {
    /// List file to write; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    options: ListOptions,
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
            let bar = ProgressBar::new(args.options.photos());
            if let Ok(style) =
                ProgressStyle::with_template("{bar:40} {pos}/{len} photos, {eta} left")
            {
                bar.set_style(style);
            }
            // Workers report out of order; the bar must not go back.
            let report = |done: u64| bar.set_position(done.max(bar.position()));
            let summary = generate_with(&args.out, &args.options, &report)?;
            bar.finish_and_clear();
            let counts = &summary.counts;
            let text = format!(
                "{}: {} photos ({:.1} MB), {} queries; of landmarks {} good, {} ok, {} junk{}",
                summary.path.display(),
                counts.photos,
                counts.bytes as f64 / 1e6,
                counts.queries,
                counts.good,
                counts.ok,
                counts.junk,
                if summary.reused { "; was there already" } else { "" }
            );
            print(cli.format, &text, &summary)
        }
        Command::List(args) => {
            let summary = write_list(&args.out, &args.options)?;
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
