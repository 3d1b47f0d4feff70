//! Flags of the files that tell how a training goes.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::files::{Named, check_folder_target};
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
    /// The files that are written, for [`files::check`](crate::files::check).
    pub(super) fn written(&self) -> [Option<Named<'_>>; 2] {
        [Named::flag("--log", self.log.as_ref()), Named::flag("--plot", self.plot.as_ref())]
    }

    /// Refuses a folder of event files that cannot be made.
    pub(super) fn check_folder(&self) -> Result<()> {
        match &self.tensorboard {
            Some(folder) => Ok(check_folder_target("--tensorboard", folder)?),
            None => Ok(()),
        }
    }

    pub(super) fn files(&self) -> ReportFiles {
        let ReportArgs { log, plot, tensorboard } = self;
        ReportFiles { log: log.clone(), plot: plot.clone(), tensorboard: tensorboard.clone() }
    }
}
