//! `ocelli eval`.

mod compare;
mod map;
mod queries;
mod retrieval;
mod text;

use anyhow::Result;
use clap::Subcommand;

use map::MapArgs;
use queries::QueriesArgs;
use retrieval::RetrievalArgs;

#[derive(Subcommand)]
pub enum EvalCommand {
    /// Judge a search by the protocol of a data set (Oxford, Paris, Holidays, UKBench, …) or by
    /// your own list of matches
    Retrieval(Box<RetrievalArgs>),
    /// Mean average precision by one setup of one ground truth
    Map(MapArgs),
    /// Write the list of a ground truth's queries, cropped to their boxes, for
    /// `ocelli encode --list`
    Queries(QueriesArgs),
}

/// Runs one of the commands.
pub fn run(command: EvalCommand) -> Result<()> {
    match command {
        EvalCommand::Retrieval(args) => retrieval::run(*args),
        EvalCommand::Map(args) => map::map(args),
        EvalCommand::Queries(args) => queries::queries(args),
    }
}
