//! The configuration of the encoder; `default.toml` documents every key.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ocelli_index::{
    Combine, CropFirst, DescriptorSpec, Form, Grid, InputConvention, Layer, Pack, PackVariant,
    Pooling, Precision, ResizeFilter, Whitening,
};
use ocelli_network::{Device, DeviceChoice, Network, NetworkOptions};
use ocelli_pictures::ViewOptions;
use ocelli_pictures::limits::MAX_SIDE_PX;
use ocelli_service::connections::ConnectionsConfig;
use ocelli_service::observe::{MetricsConfig, TracesConfig};
use ocelli_service::role::{self, LogConfig};
use ocelli_service::security::SecurityConfig;
use ocelli_weights::SettingsOptions;
use serde::Deserialize;

use crate::pack::{self, PackWeights};
use crate::pipeline::{Pipeline, PipelineOptions};
use crate::service::{EncoderOptions, ServeOptions};

#[cfg(test)]
mod tests;

/// The commented default configuration, as `ocelli-encoder config` prints it.
pub const DEFAULT_TOML: &str = include_str!("../../default.toml");

/// Prefix of the environment variables, without the underscore that follows it.
pub const ENV_PREFIX: &str = "OCELLI_ENCODER";

/// Largest number of worker threads: far above any machine, far below what exhausts one.
const MAX_WORKERS: usize = 1024;

/// Levels of R-MAC, and GeM's exponent, where neither the user nor the weights say.
const DEFAULT_LEVELS: u32 = 3;
const DEFAULT_GEM_P: f32 = 3.0;
const DEFAULT_PROPOSALS: u32 = 128;
/// Workers beyond the number of cores where the network is on a CUDA device: that many wait for it
/// while the others decode.
const WAITING_FOR_CUDA: usize = 2;
/// Batch on a CUDA device where none is given: at 800 x 600 enough to fill a large card's units,
/// and few enough that what all workers have decoded stays at some gigabytes.
const CUDA_BATCH: usize = 16;
/// Largest number of images in a batch: more brings nothing on any device.
const MAX_BATCH: usize = 1024;

/// Configuration of the encoder. `default.toml` explains each key and its unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "default.toml is the one description of these keys")]
pub struct Config {
    pub pack: Option<PathBuf>,
    pub code_bytes: Option<usize>,
    /// The opened pack: see [`Config::use_pack`].
    #[serde(skip)]
    opened: Option<Arc<Pack>>,
    pub weights: Option<PathBuf>,
    pub network_config: Option<PathBuf>,
    pub onnxruntime: Option<PathBuf>,
    pub form: Option<Form>,
    pub input: Option<InputConvention>,
    pub bn_eps: Option<f64>,
    pub last_stage: Option<Layer>,
    pub whitening: Option<PathBuf>,
    pub head: bool,
    pub pooling: Option<PoolingName>,
    pub levels: Option<u32>,
    pub grid: Option<Grid>,
    pub gem_p: Option<f32>,
    pub proposals: Option<u32>,
    pub sizes: Vec<u32>,
    pub filter: ResizeFilter,
    pub upscale: bool,
    pub exif: bool,
    pub combine: Combine,
    pub crop_first: CropFirst,
    pub precision: Precision,
    pub max_pixels: u64,
    pub min_side: u32,
    pub device: DeviceChoice,
    pub workers: usize,
    pub batch: usize,
    pub listen: String,
    pub max_queued: usize,
    pub max_request_pixels: u64,
    pub max_stream_images: usize,
    pub max_message_bytes: usize,
    pub drain_timeout_ms: u64,
    pub connections: ConnectionsConfig,
    pub security: SecurityConfig,
    pub metrics: MetricsConfig,
    pub traces: TracesConfig,
    pub log: LogConfig,
}

/// The poolings by name; their parameters are keys of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PoolingName {
    /// Regional maximum activations (Tolias et al. 2016; Gordo et al. 2017).
    Rmac,
    /// Global maximum.
    Mac,
    /// Global mean.
    Spoc,
    /// Generalized mean.
    Gem,
    /// The class token of a transformer.
    Cls,
    /// SuperGlobal's GeM+ and Regional-GeM (Shao et al. 2023).
    Superglobal,
    /// Maxima over regions that the network proposes (Gordo et al. 2016).
    Rpn,
}

impl Config {
    /// Reads the defaults, `file` and the environment (`OCELLI_ENCODER_…`), in this order.
    ///
    /// # Errors
    /// A missing file, unknown keys, values of the wrong type; the message names layer and key.
    pub fn load(file: Option<&Path>) -> Result<Config> {
        role::load_config(DEFAULT_TOML, file, ENV_PREFIX)
    }

    /// [`Self::load`] with what a pack says in place of the defaults.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_over(pack: &Pack, file: Option<&Path>) -> Result<Config> {
        role::load_config(&over_defaults(pack), file, ENV_PREFIX)
    }

    /// Takes what decides the meaning of a descriptor from a pack; the configuration was loaded by
    /// [`Self::load_over`].
    ///
    /// # Errors
    /// A setting that contradicts the pack, with both values; a size of codes that it does not
    /// have.
    pub fn use_pack(&mut self, pack: Arc<Pack>) -> Result<()> {
        let place = pack.path().display();
        let variant = pack.variant(self.code_bytes)?;
        let said: Config = role::load_config_from(&over_defaults(&pack), None, ENV_PREFIX, [])?;
        for ((key, expected), (_, found)) in said.described().into_iter().zip(self.described()) {
            if let Some(expected) = expected
                && found.as_ref() != Some(&expected)
            {
                let found = found.unwrap_or_default();
                bail!(
                    "{key} contradicts the pack {place}: expected {expected}, found {found}; \
                     leave it out, or use another pack"
                );
            }
        }
        if let Some(path) = &self.network_config {
            bail!(
                "network_config {} beside the pack {place}, which says it all: leave it out",
                path.display()
            );
        }
        if let Some(path) = &self.whitening {
            let found = Some(Whitening::open(path)?.hash());
            let expected = variant.card().whitening;
            let text = |hash: Option<_>| hash.map_or("none".to_owned(), |h| format!("{h}"));
            ensure!(
                found == expected,
                "whitening {} contradicts the pack {place}: expected {}, found {}",
                path.display(),
                text(expected),
                text(found)
            );
        }
        self.opened = Some(pack);
        Ok(())
    }

    /// The settings that a pack decides, with their values; none where it is not set.
    fn described(&self) -> Vec<(&'static str, Option<String>)> {
        fn given<T: Debug>(value: &Option<T>) -> Option<String> {
            value.as_ref().map(|value| format!("{value:?}"))
        }
        let named = |value: &dyn std::fmt::Display| Some(value.to_string());
        vec![
            ("form", self.form.map(|form| form.to_string())),
            ("input", self.input.map(|input| input.to_string())),
            ("bn_eps", given(&self.bn_eps)),
            ("last_stage", self.last_stage.map(|layer| layer.to_string())),
            ("head", named(&self.head)),
            ("pooling", given(&self.pooling).map(|name| name.to_lowercase())),
            ("levels", given(&self.levels)),
            ("grid", self.grid.map(|grid| grid.to_string())),
            ("gem_p", given(&self.gem_p)),
            ("proposals", given(&self.proposals)),
            ("sizes", given(&Some(&self.sizes))),
            ("filter", named(&self.filter)),
            ("upscale", named(&self.upscale)),
            ("exif", named(&self.exif)),
            ("combine", named(&self.combine)),
            ("crop_first", named(&self.crop_first)),
            ("precision", named(&self.precision)),
        ]
    }

    /// The variant of the pack, if there is one.
    ///
    /// # Errors
    /// A size of codes that it does not have.
    pub fn variant(&self) -> Result<Option<&PackVariant>> {
        Ok(self.opened.as_deref().map(|pack| pack.variant(self.code_bytes)).transpose()?)
    }

    /// Whether something says which network it is.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.weights.is_some() || self.opened.is_some()
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first value that is out of range, with the range.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.workers <= MAX_WORKERS,
            "workers: expected at most {MAX_WORKERS}, found {}",
            self.workers
        );
        ensure!(
            self.batch <= MAX_BATCH,
            "batch: expected at most {MAX_BATCH}, found {}",
            self.batch
        );
        ensure!(self.max_queued > 0, "max_queued: expected at least 1, found 0");
        ensure!(self.max_stream_images > 0, "max_stream_images: expected at least 1, found 0");
        ensure!(self.max_pixels > 0, "max_pixels: expected at least 1, found 0");
        ensure!(self.max_message_bytes > 0, "max_message_bytes: expected at least 1, found 0");
        self.connections.check()?;
        for &px in &self.sizes {
            ensure!(
                (1..=MAX_SIDE_PX).contains(&px),
                "sizes: expected 1 to {MAX_SIDE_PX} pixels, found {px}"
            );
        }
        Ok(())
    }

    /// Threads that encode for a network on `device`, at least 1.
    #[must_use]
    pub fn worker_count(&self, device: Device) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        match (self.workers, device) {
            (0, Device::Cpu | Device::CpuAsDevice) => cores(),
            (0, Device::Cuda(_)) => cores() + WAITING_FOR_CUDA,
            (given, _) => given,
        }
    }

    /// Images of equal shape that pass a network on `device` together, at most.
    #[must_use]
    pub fn batch_size(&self, device: Device) -> usize {
        match (self.batch, device) {
            (0, Device::Cpu | Device::CpuAsDevice) => 1,
            (0, Device::Cuda(_)) => CUDA_BATCH,
            (given, _) => given,
        }
    }

    /// How stored pixels become views.
    #[must_use]
    pub fn view_options(&self) -> ViewOptions {
        ViewOptions {
            sizes: self.sizes.clone(),
            filter: self.filter,
            upscale: self.upscale,
            exif: self.exif,
            crop_first: self.crop_first,
            max_pixels: self.max_pixels,
            min_side: self.min_side,
        }
    }

    /// The network of the weights that are named, or of those of the pack.
    fn network(&self, options: &NetworkOptions) -> Result<Network> {
        let Some(pack) = &self.opened else {
            let Some(weights) = &self.weights else {
                bail!(
                    "no weights: give --weights FILE or --pack FILE, or `weights` or `pack` in the \
                     configuration"
                );
            };
            return Ok(Network::open(weights, options)?);
        };
        let weights = match &self.weights {
            Some(path) => PackWeights::File(path.clone()),
            None => pack::weights(pack)?,
        };
        let place = weights.place(pack).display().to_string();
        let network = weights
            .open(pack, options)
            .with_context(|| format!("weights {place} for the pack {}", pack.path().display()))?;
        let (expected, found) = (pack.network().weights, network.identity().weights);
        ensure!(
            found == expected,
            "weights {place} contradict the pack {}: expected tensors with hash {expected}, found \
             {found}",
            pack.path().display()
        );
        Ok(network)
    }

    /// Reads weights and whitening and puts the pipeline together, on a device that
    /// [`DeviceChoice::resolve`] found.
    ///
    /// # Errors
    /// No weights named, and everything that can be wrong with the two files.
    pub fn pipeline(&self, device: Device) -> Result<Pipeline> {
        let options = NetworkOptions {
            settings: SettingsOptions {
                form: self.form,
                input: self.input,
                bn_eps: self.bn_eps,
                config: self.network_config.clone(),
            },
            last_stage: self.last_stage,
            head: self.head,
            precision: self.precision,
            device,
            onnxruntime: self.onnxruntime.clone(),
        };
        let network = self.network(&options)?;
        let pooling = match &self.opened {
            Some(pack) => pack.network().pooling,
            None => self.pooling_of(network.pooling()),
        };
        let options = PipelineOptions {
            pooling,
            sizes: self.sizes.clone(),
            filter: self.filter,
            upscale: self.upscale,
            exif: self.exif,
            jpeg_scaled: false,
            combine: self.combine,
            crop_first: self.crop_first,
        };
        let pipeline = Pipeline::new(network, options, self.open_whitening()?)?;
        if let (Some(pack), Some(variant)) = (&self.opened, self.variant()?) {
            let what = format!("the network against the pack {}", pack.path().display());
            DescriptorSpec::same_or_err(&what, variant.spec(), pipeline.spec())?;
        }
        Ok(pipeline)
    }

    /// The pooling that is set; what is not set is taken from `own`, that of the weights, where it
    /// is of the same kind, or is R-MAC of three levels on the feature map, and 3 for GeM.
    fn pooling_of(&self, own: Option<Pooling>) -> Pooling {
        let name = self.pooling.unwrap_or(match own {
            None | Some(Pooling::Rmac { .. }) => PoolingName::Rmac,
            Some(Pooling::Mac) => PoolingName::Mac,
            Some(Pooling::Spoc) => PoolingName::Spoc,
            Some(Pooling::Cls) => PoolingName::Cls,
            Some(Pooling::Gem { .. }) => PoolingName::Gem,
            Some(Pooling::SuperGlobal { .. }) => PoolingName::Superglobal,
            Some(Pooling::Proposals { .. }) => PoolingName::Rpn,
        });
        let (own_levels, own_grid, own_p) = match own {
            Some(Pooling::Rmac { levels, grid }) => (levels, grid, DEFAULT_GEM_P),
            Some(Pooling::Gem { p }) => (DEFAULT_LEVELS, Grid::FeatureMap, p),
            _ => (DEFAULT_LEVELS, Grid::FeatureMap, DEFAULT_GEM_P),
        };
        match name {
            PoolingName::Rmac => Pooling::Rmac {
                levels: self.levels.unwrap_or(own_levels),
                grid: self.grid.unwrap_or(own_grid),
            },
            PoolingName::Mac => Pooling::Mac,
            PoolingName::Spoc => Pooling::Spoc,
            PoolingName::Cls => Pooling::Cls,
            PoolingName::Gem => Pooling::Gem { p: self.gem_p.unwrap_or(own_p) },
            PoolingName::Rpn => {
                let own = match own {
                    Some(Pooling::Proposals { count }) => count,
                    _ => DEFAULT_PROPOSALS,
                };
                Pooling::Proposals { count: self.proposals.unwrap_or(own) }
            }
            PoolingName::Superglobal => match own {
                Some(own @ Pooling::SuperGlobal { .. }) => own,
                _ => Pooling::SUPERGLOBAL,
            },
        }
    }

    /// The whitening of the pack, or reads the one that is named, if there is one.
    ///
    /// # Errors
    /// The file is missing, or is no whitening.
    pub fn open_whitening(&self) -> Result<Option<Whitening>> {
        if let Some(variant) = self.variant()? {
            return Ok(variant.whitening().cloned());
        }
        Ok(self.whitening.as_deref().map(Whitening::open).transpose()?)
    }

    /// How the service runs with a network on `device`.
    #[must_use]
    pub fn serve_options(&self, device: Device) -> ServeOptions {
        ServeOptions {
            listen: self.listen.clone(),
            encoder: EncoderOptions {
                workers: self.worker_count(device),
                batch: self.batch_size(device),
                max_queued: self.max_queued,
                max_request_pixels: self.max_request_pixels,
                max_stream_images: self.max_stream_images,
            },
            max_message_bytes: self.max_message_bytes,
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            metrics: self.metrics.clone(),
            connections: self.connections.clone(),
            security: self.security.clone(),
        }
    }
}

/// The default configuration with the values of a pack.
fn over_defaults(pack: &Pack) -> String {
    pack::over_defaults(DEFAULT_TOML, &pack::values(pack.network()))
}
