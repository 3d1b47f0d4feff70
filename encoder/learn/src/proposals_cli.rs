//! `ocelli learn proposals`: flags to values, one call, a report.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ocelli_index::{Form, InputConvention, Layer, Pooling};
use ocelli_network::training::TrainingPrecision;
use ocelli_network::{DeviceChoice, NetworkOptions, Trainable, set_torch_threads};
use ocelli_service::observe::{self, TracesConfig};
use ocelli_service::role::{LogConfig, LogFormat, print};
use ocelli_weights::{SettingsOptions, Weights};

use crate::list::List;
use crate::proposals::{ProposalRecipe, ProposalStep, ProposalSummary, train_proposals};
use crate::train::Checkpoints;

/// The arguments of `ocelli learn proposals`.
#[derive(Args)]
pub struct ProposalsArgs {
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
    /// The last layer, as for the encoder.
    #[arg(long, value_name = "LAYER")]
    last_stage: Option<Layer>,
    /// The form of a network of bottlenecks, where the weights do not say it.
    #[arg(long, value_name = "FORM")]
    form: Option<Form>,
    /// The form of the pixels, where the weights do not say it.
    #[arg(long, value_name = "CONVENTION")]
    input: Option<InputConvention>,
    /// Where the network computes: auto, cpu, cuda or cuda:N. Bytes are equal again on the CPU only.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
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
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

impl ProposalsArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of [`train_proposals`], and of reading the list and the weights.
    pub fn run(self) -> Result<()> {
        let logs = LogConfig { filter: "info".to_owned(), format: LogFormat::Text };
        observe::init("ocelli-learn", &logs, &TracesConfig::default())?;
        let device = self.device.resolve()?;
        set_torch_threads(usize::from(self.threads));
        let recipe = self.recipe();
        recipe.check()?;
        let list = List::read(&self.list)?;
        let weights = Weights::read(&self.weights)?;
        let options = NetworkOptions {
            settings: SettingsOptions {
                form: self.form,
                input: self.input,
                ..SettingsOptions::default()
            },
            last_stage: self.last_stage,
            device,
            ..NetworkOptions::default()
        };
        // Any pooling: it becomes that of the proposals.
        let mut network =
            Trainable::load(&weights, &options, Pooling::Mac, TrainingPrecision::Single)?;
        drop(weights);
        let every = self.checkpoint_every;
        let checkpoints = self.checkpoint.map(|path| Checkpoints { path, every });
        let json = self.json;
        let mut report = |step: &ProposalStep| {
            // A reader that has gone away does not end a training.
            let _ = print(&step_text(step, recipe.iterations, json));
        };
        let summary = train_proposals(
            &list,
            &mut network,
            &recipe,
            checkpoints.as_ref(),
            &self.out,
            &mut report,
        )?;
        if json {
            return print(&format!("{}\n", serde_json::to_string(&summary)?));
        }
        let ProposalSummary { iterations, photos, failed_photos, judged, found, found_by_grid } =
            summary;
        print(&format!(
            "wrote {}: {iterations} iterations on {photos} photos with a box; photos failed \
             {failed_photos} times; of {judged} boxes {:.1} % are found by {} proposals, {:.1} % \
             by R-MAC's grid\n",
            ocelli_text::printable(&self.out.display().to_string(), ocelli_text::MAX_CHARS),
            100.0 * found,
            recipe.count,
            100.0 * found_by_grid
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
