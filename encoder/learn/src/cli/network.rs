//! Flags of the network that is trained, or that compares photos.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use ocelli_index::{Form, Grid, InputConvention, Layer, Pooling, Precision};
use ocelli_network::{Device, DeviceChoice, NetworkOptions, Trainable};
use ocelli_weights::{SettingsOptions, Weights};

#[derive(Args)]
pub(super) struct NetworkArgs {
    /// The last layer, as for the encoder.
    #[arg(long, value_name = "LAYER", requires = "weights")]
    last_stage: Option<Layer>,
    /// The form of a network of bottlenecks, where the weights do not say it.
    #[arg(long, value_name = "FORM", requires = "weights")]
    form: Option<Form>,
    /// The form of the pixels, where the weights do not say it.
    #[arg(long, value_name = "CONVENTION", requires = "weights")]
    input: Option<InputConvention>,
    /// Leave out the projections that the weights hold.
    #[arg(long, requires = "weights")]
    no_head: bool,
    /// Where the network computes: auto, cpu, cuda or cuda:N. Only the CPU makes equal bytes again.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", requires = "weights")]
    device: DeviceChoice,
    /// Precision of the maps: f32, or bf16, fast on GPUs and on CPUs with AVX-512. Weights and
    /// descriptors stay in f32.
    #[arg(long, value_name = "PRECISION", default_value = "f32", requires = "weights")]
    precision: Precision,
}

impl NetworkArgs {
    /// The device, to be found before the first call into libtorch.
    pub(super) fn device(&self) -> Result<Device> {
        Ok(self.device.resolve()?)
    }

    /// Loads the network of a file `count` times. Where no `pooling` is asked for, it is that of
    /// the file, or else R-MAC of three levels.
    pub(super) fn load(
        &self,
        (weights, device): (&Path, Device),
        count: usize,
        pooling: Option<Pooling>,
    ) -> Result<Vec<Trainable>> {
        let weights = Weights::read(weights)?;
        let options = NetworkOptions {
            settings: SettingsOptions {
                form: self.form,
                input: self.input,
                ..SettingsOptions::default()
            },
            last_stage: self.last_stage,
            head: !self.no_head,
            device,
            ..NetworkOptions::default()
        };
        let own = weights.metadata("ocelli.pooling").map(str::parse).transpose();
        let own = own.map_err(|error| weights.bad(format!("metadata ocelli.pooling: {error}")))?;
        let default = Pooling::Rmac { levels: 3, grid: Grid::FeatureMap };
        let pooling = pooling.or(own).unwrap_or(default);
        let load = || Trainable::load(&weights, &options, pooling, self.precision.into());
        Ok((0..count).map(|_| load()).collect::<Result<Vec<_>, _>>()?)
    }
}
