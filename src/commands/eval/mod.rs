//! `ocelli eval`.

mod args;
mod compare;
mod flags;
mod queries;
mod retrieval;
mod text;

use anyhow::Result;
use clap::Subcommand;

use args::RetrievalArgs;
use queries::QueriesArgs;

#[derive(Subcommand)]
pub enum EvalCommand {
    /// Judge a search by the protocol of a data set (Oxford, Paris, Holidays, UKBench, …) or by
    /// your own list of matches
    Retrieval(Box<RetrievalArgs>),
    /// Write the list of a data set's queries, cropped to their boxes, for `ocelli encode --list`
    Queries(QueriesArgs),
}

/// Runs one of the commands.
pub fn run(command: EvalCommand) -> Result<()> {
    match command {
        EvalCommand::Retrieval(args) => retrieval::run(*args),
        EvalCommand::Queries(args) => queries::run(args),
    }
}
