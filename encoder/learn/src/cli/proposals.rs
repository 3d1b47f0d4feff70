//! The command `proposals`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ocelli_index::Pooling;
use ocelli_network::set_torch_threads;
use ocelli_service::role::print;

use super::Format;
use super::network::NetworkArgs;
use crate::files::{self, LIST, Named};
use crate::list::List;
use crate::logs;
use crate::proposals::{ProposalRecipe, ProposalStep, ProposalSummary, train_proposals};
use crate::train::Checkpoints;

#[derive(Args)]
pub(super) struct ProposalsArgs {
    /// A list as for `train`. Photos with a box are used; those of the split "val" judge the
    /// proposals in the end.
    list: PathBuf,
    /// Weights to add the layers to: a safetensors file of a network of convolutions.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The file of the weights with the layers.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Regions of a picture that the file pools by default.
    #[arg(long, value_name = "N", default_value_t = 128)]
    count: u32,
    /// Longest side of the pictures in pixels.
    #[arg(long, value_name = "PX", default_value_t = 800)]
    size: u32,
    /// Iterations in all.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    iterations: u64,
    /// Photos of an iteration.
    #[arg(long, value_name = "N", default_value_t = 8)]
    photos: usize,
    /// Anchors of a photo that are drawn.
    #[arg(long, value_name = "N", default_value_t = 256)]
    anchors: usize,
    /// Outputs of the first convolution.
    #[arg(long, value_name = "N", default_value_t = 256)]
    hidden: usize,
    /// Learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 0.02)]
    rate: f64,
    /// Iterations until the learning rate is a tenth; 0: it stays.
    #[arg(long, value_name = "N", default_value_t = 0)]
    decay_every: u64,
    /// Seed of everything that is random.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    network: NetworkArgs,
    /// Threads of libtorch.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// A file that keeps the state of the training. A training that finds it goes on from there.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Iterations between two writes of the checkpoint.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "checkpoint")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// How iterations and the summary are printed on standard output.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

impl ProposalsArgs {
    pub(super) fn run(self) -> Result<()> {
        logs::init()?;
        let checkpoint = Named::flag("--checkpoint", self.checkpoint.as_ref());
        let written = [Some(Named { name: "--out", path: &self.out }), checkpoint];
        files::check(
            &[
                Named { name: LIST, path: &self.list },
                Named { name: "--weights", path: &self.weights },
            ],
            &written.into_iter().flatten().collect::<Vec<_>>(),
        )?;
        let device = self.network.device()?;
        set_torch_threads(usize::from(self.threads));
        let recipe = self.recipe();
        recipe.check()?;
        let list = List::read(&self.list)?;
        // Any pooling: it becomes that of the proposals.
        let from = (self.weights.as_path(), device);
        let mut networks = self.network.load(from, 1, Some(Pooling::Mac))?;
        let network = networks.first_mut().context("loading a network")?;
        let every = self.checkpoint_every;
        let checkpoints = self.checkpoint.map(|path| Checkpoints { path, every });
        let json = matches!(self.format, Format::Json);
        let mut report = |step: &ProposalStep| {
            // A reader that has gone away does not end a training.
            let _ = print(&step_text(step, recipe.iterations, json));
        };
        let summary =
            train_proposals(&list, network, &recipe, checkpoints.as_ref(), &self.out, &mut report)?;
        if json {
            return print(&format!("{}\n", serde_json::to_string(&summary)?));
        }
        let ProposalSummary { iterations, photos, failed_photos, judged, found, found_by_grid } =
            summary;
        let judged = match judged {
            0 => "no box could be looked for".to_owned(),
            _ => format!(
                "of {judged} boxes {:.1} % are found by {} proposals, {:.1} % by R-MAC's grid",
                100.0 * found,
                recipe.count,
                100.0 * found_by_grid
            ),
        };
        print(&format!(
            "wrote {}: {iterations} iterations on {photos} photos with a box; photos failed \
             {failed_photos} times; {judged}\n",
            ocelli_text::printable(&self.out.display().to_string(), ocelli_text::MAX_CHARS)
        ))
    }

    fn recipe(&self) -> ProposalRecipe {
        ProposalRecipe {
            count: self.count,
            size_px: self.size,
            iterations: self.iterations,
            photos: self.photos,
            anchors: self.anchors,
            hidden: self.hidden,
            rate: self.rate,
            decay_every: self.decay_every,
            seed: self.seed,
            ..ProposalRecipe::default()
        }
    }
}

fn step_text(step: &ProposalStep, of: u64, json: bool) -> String {
    if json {
        return serde_json::to_string(step).unwrap_or_default() + "\n";
    }
    let ProposalStep { iteration, scores, boxes, photos } = step;
    format!(
        "iteration {iteration} of {of}: loss of scores {scores:.4}, of boxes {boxes:.4}, {photos} \
         photos\n"
    )
}
