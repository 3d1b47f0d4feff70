//! Flags of the files that tell how a training goes.

use std::path::PathBuf;

use clap::Args;

use crate::report::ReportFiles;

#[derive(Args)]
pub(super) struct ReportArgs {
    /// Append each iteration to this file, as --format json prints it. A training that goes on from
    /// its checkpoint goes on with the log.
    #[arg(long, value_name = "FILE.jsonl")]
    log: Option<PathBuf>,
    /// Draw the losses and validations of the log into this file when the training ends.
    #[arg(long, value_name = "FILE.svg", requires = "log")]
    plot: Option<PathBuf>,
    /// Write event files for TensorBoard into this folder.
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
}

impl ReportArgs {
    pub(super) fn files(&self) -> ReportFiles {
        let ReportArgs { log, plot, tensorboard } = self;
        ReportFiles { log: log.clone(), plot: plot.clone(), tensorboard: tensorboard.clone() }
    }
}
