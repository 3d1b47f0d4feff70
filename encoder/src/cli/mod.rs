//! The command line: flags over configuration, one call into the library, an exit code.

mod encode;
mod job;
mod output;
mod plan;
mod serve;
mod settings;
mod tools;
mod weights;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use ocelli_service::role::{main_exit, print};
use ocelli_service::security::TokenArgs;

use crate::config::{Config, DEFAULT_TOML};
use encode::EncodeArgs;
use plan::{CommitArgs, PlanArgs};
use serve::ServeArgs;
use tools::{CompareArgs, MeasureArgs};
use weights::WeightsCommand;

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
    /// workers. A file that is no image, is truncated or is too large does not stop the job: it is
    /// listed in a file of rejected images with the reason.
    Encode(Box<EncodeArgs>),
    /// Plan an encoding: what each of many processes will encode. `ocelli plan encode` runs this.
    Plan(Box<PlanArgs>),
    /// Prove that all parts of a plan are there and whole. `ocelli commit` runs this.
    Commit(CommitArgs),
    /// Serve ocelli.v1.EncoderService until SIGTERM or Ctrl-C.
    Serve(Box<ServeArgs>),
    /// Measure how fast the network alone computes, on generated images in memory.
    ///
    /// Compare the result with the rate of `encode` to see whether the network, or reading and
    /// decoding, is the bottleneck.
    Measure(Box<MeasureArgs>),
    /// Compare two parts of the same images: cosines of vectors, or the share of codes that differ.
    Compare(CompareArgs),
    /// Get, convert or make network weights.
    Weights {
        #[command(subcommand)]
        command: WeightsCommand,
    },
    /// Print the default configuration, every key with its explanation.
    Config,
    /// Make a bearer token: write it to a new file, print its line for `security.tokens_file`.
    Token(TokenArgs),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    main_exit(match cli.command {
        Command::Encode(args) => args.run(),
        Command::Plan(args) => args.run(),
        Command::Commit(args) => args.run(),
        Command::Serve(args) => args.run(),
        Command::Measure(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Weights { command } => command.run(),
        Command::Config => print(DEFAULT_TOML),
        Command::Token(args) => args.run(),
    })
}

/// A mistake on the command line that the parser cannot see: exit code 2.
fn usage(message: &str) -> ! {
    Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit()
}

/// Ends the process if no layer of the configuration names weights or a pack.
fn require_weights(config: &Config) {
    if !config.has_network() {
        usage(
            "no weights: give --weights FILE or --pack FILE, or `weights` or `pack` in the \
             configuration",
        );
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
            "photos --part-images 5 --tasks 2 --task 1",
        ] {
            parse(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        let task = |flags: &str| {
            let words = ["ocelli-encoder", "encode", "--plan", "p"];
            Cli::try_parse_from(words.into_iter().chain(flags.split_whitespace())).map(drop)
        };
        for good in ["", "--task 3", "--task 3 --workers 2 --device cpu --log warn"] {
            task(good).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for bad in [
            "photos",
            "--list l",
            "--out x.part",
            "--sizes 448",
            "--pack default",
            "--output codes",
            "--strict",
            "--no-pixel-hashes",
            "--part-images 5",
            "--tasks 2",
        ] {
            assert!(task(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "photos --list l",
            "--tar t --regions r",
            "--regions r --sizes 448",
            "--tar t --key-column k",
            "--tar t --parquet p",
            "--list l --crop-first=half",
            "photos --task 1",
            "photos --tasks 2",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
