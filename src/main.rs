//! The `ocelli` command: arguments to configuration, one call into a role, an exit code.
//!
//! `ocelli encode …`, `ocelli learn …` and `ocelli serve …` run `ocelli-encoder`, `ocelli-learn`
//! and `ocelli-searcher`, so that this program links neither libtorch nor the searcher, and they do
//! not link FAISS.

mod admin;
mod cli;
mod commands;
mod output;
mod pass_through;
mod progress;
mod query;
mod remote;
mod vector_file;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};
use output::Format;

fn main() -> ExitCode {
    // An index with many generations has many files, and a backup opens them all.
    ocelli_service::role::raise_file_limit();
    let result = match Cli::parse().command {
        Command::Index(args) => commands::jobs::index::run(args),
        Command::Find(args) => commands::jobs::find::run(args),
        Command::Up(args) => commands::jobs::up::run(args),
        Command::Encode(args) => pass_through::run("ocelli-encoder", Some("encode"), args),
        Command::Serve(args) => pass_through::run("ocelli-searcher", Some("serve"), args),
        Command::Learn(args) => pass_through::run("ocelli-learn", None, args),
        Command::Whiten(args) => commands::whiten::run(args),
        Command::Train(args) => commands::train::run(args),
        Command::Build(args) => commands::build::run(args),
        Command::Plan { command } => commands::lifecycle::plan::run(command),
        Command::Task(args) => commands::lifecycle::task::run(args),
        Command::Commit(args) => commands::lifecycle::commit::run(args),
        Command::Add(args) => commands::lifecycle::add::run(args, false),
        Command::Upsert(args) => commands::lifecycle::add::run(args, true),
        Command::Delete(args) => commands::lifecycle::delete::run(args),
        Command::Compact(args) => commands::lifecycle::compact::run(args),
        Command::Rebuild(args) => commands::lifecycle::rebuild::run(args),
        Command::Rollback(args) => commands::lifecycle::rollback::run(args),
        Command::Recover(args) => commands::lifecycle::recover::run(args),
        Command::Gc(args) => commands::lifecycle::gc::run(args),
        Command::Import { command } => commands::import::run(command),
        Command::Export { command } => commands::export::run(command),
        Command::Query(args) => query::run(&args.query, args.output.format == Format::Json),
        Command::Admin(args) => admin::run(&args.remote, args.command, args.output.format),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Doctor(args) => commands::doctor::run(args),
        Command::Verify(args) => commands::lifecycle::verify::run(args),
        Command::Dedup(args) => commands::dedup::run(*args),
        Command::Recall(args) => commands::lifecycle::recall::run(args),
        Command::Tune(args) => commands::lifecycle::tune::run(args),
        Command::Backup(args) => commands::lifecycle::backup::run(args),
        Command::Restore(args) => commands::lifecycle::restore::run(args),
        Command::Pack { command } => commands::pack::run(command),
        Command::Eval { command } => commands::eval::run(command),
    };
    ocelli_service::role::main_exit(result)
}
