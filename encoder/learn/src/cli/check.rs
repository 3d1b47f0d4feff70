//! The command `check`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ocelli_index::Pooling;
use ocelli_pictures::limits::MAX_SIDE_PX;
use ocelli_service::role::print;

use super::network::NetworkArgs;
use super::{Format, with_steady_memory};
use crate::check::check;
use crate::check::overlap::{Alike, DEFAULT_COSINE, overlap};
use crate::list::List;
use crate::recipe::within;

#[derive(Args)]
pub(super) struct CheckArgs {
    /// JSON lines: {"path": …, "class": …, "box": [x0, y0, x1, y1], "split": …}, or a Parquet file
    /// with these columns.
    list: PathBuf,
    /// Longest side of the pictures in pixels.
    #[arg(long, value_name = "PX", default_value_t = 800)]
    size: u32,
    /// Folders or lists of photos that the network will be judged by. Photos of the list that are
    /// among them are told.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    against: Vec<PathBuf>,
    /// Weights of a network whose descriptors also find photos that were resized, cut or saved
    /// again; without them equal bytes do.
    #[arg(long, value_name = "FILE", requires = "against")]
    weights: Option<PathBuf>,
    /// The pooling of that network [default: that of the weights, or rmac:3]
    #[arg(long, value_name = "POOLING", requires = "weights")]
    pooling: Option<Pooling>,
    #[command(flatten)]
    network: NetworkArgs,
    /// The least cosine of descriptors of the same photo, less the mean of all. It depends on the
    /// network: -1 shows the nearest ones of each photo.
    #[arg(long, value_name = "COSINE", default_value_t = DEFAULT_COSINE, requires = "weights")]
    #[arg(allow_negative_numbers = true)]
    overlap_cosine: f64,
    /// Threads that compare. Each has a network of its own.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "weights")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// How the report is printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl CheckArgs {
    pub(super) fn run(self) -> Result<()> {
        if !(-1.0..=1.0).contains(&self.overlap_cosine) {
            bail!("--overlap-cosine: expected -1 to 1, found {}", self.overlap_cosine);
        }
        within(&[("--size", self.size.into(), MAX_SIDE_PX.into())])?;
        if self.weights.is_some() {
            with_steady_memory()?;
        }
        let list = List::read(&self.list)?;
        // What cannot be loaded is told before all photos are read.
        let threads = usize::from(self.threads);
        let mut networks = match self.weights.as_deref() {
            None => Vec::new(),
            Some(path) => {
                let device = self.network.device()?;
                self.network.load((path, device), threads, self.pooling)?
            }
        };
        let alike = (!networks.is_empty()).then_some(Alike {
            networks: &mut networks,
            size_px: self.size,
            cosine: self.overlap_cosine,
        });
        let overlap = match self.against.is_empty() {
            true => None,
            false => Some(overlap(&list, &self.against, alike)?),
        };
        let mut report = check(&list, self.size);
        report.overlap = overlap;
        print(&match self.format {
            Format::Text => format!("{}\n", ocelli_text::report(&report.to_string())),
            Format::Json => format!("{}\n", serde_json::to_string(&report)?),
        })
    }
}
