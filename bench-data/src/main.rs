//! The command `ocelli-bench-data`: arguments → one call into the library → exit code.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use ocelli_bench_data::{
    CopyOptions, Error, HashOptions, LandmarkOptions, ListOptions, SheetOptions, copy_photos,
    generate_with, rank_by_hash, write_list, write_sheet,
};
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
    Copies(CopiesArgs),
    Phash(PhashArgs),
    Sheet(SheetArgs),
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

/// Make graded copies of photos, with ground truth.
///
/// Writes photos/*.jpg, groundtruth.json (for `ocelli eval retrieval`), copies.json and
/// manifest.json into a new folder. Each chosen photo has copies, ten by default: smaller,
/// compressed, cut, recoloured, with text, turned, mirrored, framed, on a screen, and several of
/// these at once, each in one of three grades. The photos that are not copied are in the set as
/// well. The folder appears only when it is complete; one that was made with the same options and
/// photos is reused, any other is left as it is and is an error.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data copies --photos holiday --originals 20 --out copies"
)]
struct CopiesArgs {
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    options: CopyOptions,
}

/// Rank photos by a perceptual hash (pHash, 256 bits), for comparison.
///
/// Writes CSV (query, image, score), the best first, for `ocelli eval retrieval --rankings`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data phash --list photos.jsonl --queries queries.jsonl \
                  --out phash.csv"
)]
struct PhashArgs {
    /// File to write, ending in .csv; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    options: HashOptions,
}

/// Draw queries and their hits as one picture (PNG).
///
/// A row for each query: its photo, then its hits with their scores. Frames are blue (the query),
/// green (right), red (wrong) and grey (does not count).
#[derive(Args)]
#[command(
    after_help = "Example:\n  ocelli-bench-data sheet --rankings rankings.csv --list photos.jsonl \
                  --queries queries.jsonl --show a b c --out sheet.png"
)]
struct SheetArgs {
    /// PNG file to write; an existing one is replaced.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    options: SheetOptions,
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
        Command::Landmarks(args) => landmarks(cli.format, args),
        Command::List(args) => list(cli.format, args),
        Command::Copies(args) => copies(cli.format, args),
        Command::Phash(args) => {
            let summary = rank_by_hash(&args.out, &args.options)?;
            let mut text = format!(
                "{}: {} queries, {} photos, by {} bits",
                summary.path.display(),
                summary.queries,
                summary.photos,
                summary.bits
            );
            if summary.unreadable > 0 {
                text += &format!("; {} could not be decoded", summary.unreadable);
            }
            print(cli.format, &text, &summary)
        }
        Command::Sheet(args) => {
            let summary = write_sheet(&args.out, &args.options)?;
            let path = summary.path.display();
            let text = format!("{path}: {} queries, {} hits", summary.queries, summary.hits);
            print(cli.format, &text, &summary)
        }
    }
}

/// A bar on a terminal, for photos that workers report out of order.
fn bar(photos: u64) -> ProgressBar {
    let bar = ProgressBar::new(photos);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} photos, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn landmarks(format: Format, args: &LandmarksArgs) -> anyhow::Result<()> {
    let bar = bar(args.options.photos());
    // The bar must not go back.
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
    print(format, &text, &summary)
}

fn copies(format: Format, args: &CopiesArgs) -> anyhow::Result<()> {
    let bar = bar(0);
    let report = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done.max(bar.position()));
    };
    let summary = copy_photos(&args.out, &args.options, &report)?;
    bar.finish_and_clear();
    let counts = &summary.counts;
    let mut text = format!(
        "{}: {} photos ({:.1} MB), {} of them copies of {}, {} queries",
        summary.path.display(),
        counts.photos,
        counts.bytes as f64 / 1e6,
        counts.copies,
        counts.originals,
        counts.queries
    );
    if !counts.unreadable.is_empty() {
        text += &format!("; {} could not be decoded", counts.unreadable.len());
    }
    if summary.reused {
        text += "; was there already";
    }
    print(format, &text, &summary)
}

fn list(format: Format, args: &ListArgs) -> anyhow::Result<()> {
    let summary = write_list(&args.out, &args.options)?;
    let mut text =
        format!("{}: {} of {} photos", summary.path.display(), summary.chosen, summary.found);
    if summary.unnamable > 0 {
        text += &format!("; {} files passed over, their names are not UTF-8", summary.unnamable);
    }
    print(format, &text, &summary)
}

fn print(format: Format, text: &str, value: &impl Serialize) -> anyhow::Result<()> {
    let line = match format {
        Format::Text => text.to_owned(),
        Format::Json => serde_json::to_string(value).context("cannot print the result")?,
    };
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}
