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

/// The commented default configuration, as `ocelli-encoder config` prints it.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Prefix of the environment variables, without the underscore that follows it.
pub const ENV_PREFIX: &str = "OCELLI_ENCODER";

/// Largest number of worker threads: far above any machine, far below what exhausts one.
const MAX_WORKERS: usize = 1024;

/// Levels of R-MAC, and GeM's exponent, where neither the user nor the weights say.
const DEFAULT_LEVELS: u32 = 3;
const DEFAULT_GEM_P: f32 = 3.0;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ocelli_index::{Hash, Metric, Model, ModelParts, NetworkCard, NetworkSpec, NewPack};

    use super::*;

    /// The file that users read is the one that the program runs with, and every key in it that has
    /// no default can be set as the example beside it says.
    #[test]
    fn the_default_file_is_complete_and_its_examples_are_valid() {
        let load = |text: &str| role::load_config_from::<Config>(text, None, ENV_PREFIX, []);
        let config = load(DEFAULT_TOML).unwrap();
        config.check().unwrap();
        assert_eq!((config.head, config.sizes.as_slice()), (true, &[800][..]));
        let rmac = Pooling::Rmac { levels: 3, grid: Grid::FeatureMap };
        assert_eq!(config.pooling_of(None), rmac);
        assert_eq!(config.max_pixels, ocelli_pictures::limits::DEFAULT_MAX_PIXELS);
        assert_eq!(config.min_side, ocelli_pictures::limits::DEFAULT_MIN_SIDE_PX);
        let largest_px = u64::from(*ocelli_proto::limits::IMAGE_SIZES_PX.end());
        assert_eq!(config.max_request_pixels, largest_px.pow(2));
        assert_eq!(config.max_message_bytes, ocelli_proto::limits::DEFAULT_MAX_MESSAGE_BYTES);
        assert_eq!(config.connections, ConnectionsConfig::default());

        let is_key = |line: &str| {
            line.strip_prefix("# ")
                .and_then(|l| l.split_once(" = "))
                .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        };
        let with_examples: String = DEFAULT_TOML
            .lines()
            .map(|line| if is_key(line) { &line[2..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = load(&with_examples).unwrap();
        assert!(config.weights.is_some() && config.network_config.is_some());
        assert_eq!(config.form, Some(Form::V1_5));
        assert_eq!(config.input, Some(InputConvention::TorchvisionRgb));
        assert_eq!((config.bn_eps, config.last_stage), (Some(1e-5), Some(Layer::Stage(4))));
        assert!(config.whitening.is_some());
        assert_eq!((config.pooling, config.levels), (Some(PoolingName::Rmac), Some(3)));
        assert_eq!((config.grid, config.gem_p), (Some(Grid::FeatureMap), Some(3.0)));

        assert_eq!(config.device, DeviceChoice::Auto);
        assert_eq!([Device::Cpu, Device::Cuda(0)].map(|d| config.batch_size(d)), [1, 16]);
        let [cpu, cuda] = [Device::Cpu, Device::Cuda(0)].map(|d| config.worker_count(d));
        assert_eq!(cuda, cpu + 2);
        // A truth value and a word, from a file as from the environment.
        for (value, expected) in [
            ("true", CropFirst::OwnScale),
            ("false", CropFirst::No),
            ("photo-scale", CropFirst::PhotoScale),
        ] {
            let vars = [("OCELLI_ENCODER_CROP_FIRST".into(), value.into())];
            let config =
                role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap();
            assert_eq!(config.crop_first, expected);
        }
        let text = DEFAULT_TOML.replace("crop_first = false", "crop_first = true");
        assert_eq!(load(&text).unwrap().crop_first, CropFirst::OwnScale);
        let vars = [("OCELLI_ENCODER_SIZES", "[550, 800]"), ("OCELLI_ENCODER_FORM", "v1")];
        let vars = vars.map(|(name, value)| (name.into(), value.into()));
        let config =
            role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap();
        assert_eq!((config.sizes, config.form), (vec![550, 800], Some(Form::V1)));
    }

    /// A checkpoint's learned exponent is used unless another is asked for, and never for another
    /// pooling.
    #[test]
    fn weights_bring_their_pooling() {
        let load = |vars: &[(&str, &str)]| {
            let vars = vars.iter().map(|&(name, value)| (name.into(), value.into()));
            role::load_config_from::<Config>(DEFAULT_TOML, None, ENV_PREFIX, vars).unwrap()
        };
        let gem = Some(Pooling::Gem { p: 2.92 });
        let rmac = |levels, grid| Pooling::Rmac { levels, grid };
        let own = "superglobal:3:2:3:0".parse().unwrap();
        assert_eq!(load(&[]).pooling_of(Some(own)), own);
        let asked = load(&[("OCELLI_ENCODER_POOLING", "superglobal")]);
        assert_eq!(asked.pooling_of(Some(own)), own);
        assert_eq!(asked.pooling_of(gem), Pooling::SUPERGLOBAL);
        assert_eq!(load(&[]).pooling_of(gem), Pooling::Gem { p: 2.92 });
        assert_eq!(load(&[]).pooling_of(Some(Pooling::Mac)), Pooling::Mac);
        let own = Some(rmac(2, Grid::ImagePixels));
        assert_eq!(load(&[]).pooling_of(own), rmac(2, Grid::ImagePixels));
        let levels = load(&[("OCELLI_ENCODER_LEVELS", "4")]);
        assert_eq!(levels.pooling_of(own), rmac(4, Grid::ImagePixels));
        let asked = load(&[("OCELLI_ENCODER_POOLING", "gem"), ("OCELLI_ENCODER_GEM_P", "4")]);
        assert_eq!(asked.pooling_of(gem), Pooling::Gem { p: 4.0 });
        assert_eq!(
            load(&[("OCELLI_ENCODER_POOLING", "rmac")]).pooling_of(gem),
            rmac(3, Grid::FeatureMap)
        );
    }

    /// A pack of a network of 4 dimensions, without a whitening.
    fn pack_of(folder: &Path, network: &NetworkSpec) -> Arc<Pack> {
        let spec = DescriptorSpec::Network(network.clone());
        let model = Model::from_parts(ModelParts {
            spec: spec.clone(),
            metric: Metric::InnerProduct,
            mean: None,
            rotation: None,
            renormalize: false,
            dim: 4,
            d: 4,
            nlist: 1,
            coarse: vec![0.0; 4].into(),
            m: 2,
            ksub: 16,
            codebooks: vec![0.5; 64],
            training: BTreeMap::new(),
        });
        let pack = NewPack {
            name: "test".into(),
            made_by: "test".into(),
            network: NetworkCard {
                spec: spec.canonical(),
                name: "net".into(),
                package: None,
                package_file: None,
                package_sha256: None,
                licence: None,
            },
            default_code_bytes: None,
            thresholds: Vec::new(),
            trained_on: Vec::new(),
            notes: Vec::new(),
            variants: vec![(None, model.unwrap())],
            weights: None,
        };
        let path = folder.join("test.pack");
        pack.write(&path).unwrap();
        Arc::new(Pack::open(&path).unwrap())
    }

    /// Nothing at its default.
    fn unusual() -> NetworkSpec {
        let mut n = NetworkSpec::new(Hash::of(b"weights"), "net", Layer::Expansion(5), 4);
        n.form = Form::V1Caffe;
        n.input = InputConvention::CentredRgb;
        n.bn_eps = 1.001e-3;
        n.pooling = Pooling::Gem { p: 2.5 };
        n.sizes = vec![448, 640];
        n.filter = ResizeFilter::Lanczos3;
        n.upscale = false;
        n.exif = false;
        n.combine = Combine::Gem { p: 3.0, floor: 0.0 };
        n.crop_first = CropFirst::PhotoScale;
        n.precision = Precision::Bf16;
        n
    }

    /// The configuration over a pack, with variables.
    fn over(pack: &Arc<Pack>, vars: &[(&str, &str)]) -> Result<Config> {
        let vars = vars.iter().map(|&(name, value)| (name.into(), value.into()));
        let mut config: Config =
            role::load_config_from(&over_defaults(pack), None, ENV_PREFIX, vars)?;
        config.use_pack(Arc::clone(pack)).map(|()| config)
    }

    #[test]
    fn a_pack_says_every_setting() {
        let dir = tempfile::tempdir().unwrap();
        let config = over(&pack_of(dir.path(), &unusual()), &[]).unwrap();
        assert_eq!((config.form, config.input), (Some(Form::V1Caffe), Some(unusual().input)));
        assert_eq!(config.bn_eps, Some(1.001e-3));
        assert_eq!((config.last_stage, config.head), (Some(Layer::Expansion(5)), false));
        // Not what the weights say of themselves.
        assert_eq!(config.pooling_of(Some(Pooling::Mac)), Pooling::Gem { p: 2.5 });
        assert_eq!(config.sizes, [448, 640]);
        assert_eq!(config.filter, ResizeFilter::Lanczos3);
        assert_eq!((config.upscale, config.exif), (false, false));
        assert_eq!(config.combine, unusual().combine);
        assert_eq!(config.crop_first, CropFirst::PhotoScale);
        assert_eq!(config.precision, Precision::Bf16);
        assert!(config.has_network());

        let pooling = Pooling::Rmac { levels: 2, grid: Grid::ImagePixels };
        let head = ocelli_index::Head::Fc;
        let network = NetworkSpec { pooling, head, sizes: Vec::new(), ..unusual() };
        let config = over(&pack_of(dir.path(), &network), &[]).unwrap();
        assert_eq!(config.pooling_of(Some(Pooling::Mac)), pooling);
        assert!(config.head && config.sizes.is_empty());
    }

    /// Every setting that a pack decides is refused where it differs, and taken where it agrees.
    #[test]
    fn settings_that_contradict_a_pack_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let pack = pack_of(dir.path(), &unusual());
        for (name, agrees, differs, expected) in [
            ("FORM", "v1-caffe", "v1", "v1-caffe"),
            ("INPUT", "centred-rgb", "caffe-bgr", "centred-rgb"),
            ("BN_EPS", "0.001001", "0.001", "0.001001"),
            ("LAST_STAGE", "e5", "head", "e5"),
            ("HEAD", "false", "true", "false"),
            ("POOLING", "gem", "mac", "gem"),
            ("GEM_P", "2.5", "3", "2.5"),
            ("SIZES", "[448, 640]", "[448]", "[448, 640]"),
            ("FILTER", "lanczos3", "bilinear", "lanczos3"),
            ("UPSCALE", "false", "true", "false"),
            ("EXIF", "false", "true", "false"),
            ("COMBINE", "gem:3:0", "sum", "gem:3:0"),
            ("CROP_FIRST", "photo-scale", "false", "photo-scale"),
            ("PRECISION", "bf16", "f32", "bf16"),
        ] {
            let variable = format!("OCELLI_ENCODER_{name}");
            over(&pack, &[(&variable, agrees)]).unwrap();
            let error = over(&pack, &[(&variable, differs)]).unwrap_err().to_string();
            let key = name.to_lowercase();
            assert!(error.starts_with(&format!("{key} contradicts the pack")), "{error}");
            assert!(error.contains(&format!("expected {expected}, found {differs}")), "{error}");
        }
        // What the pack does not decide.
        let config = over(&pack, &[("OCELLI_ENCODER_LEVELS", "2")]).unwrap();
        assert_eq!(config.levels, Some(2));
        let vars = [("OCELLI_ENCODER_NETWORK_CONFIG", "net.json")];
        assert!(over(&pack, &vars).unwrap_err().to_string().contains("net.json"));
        let error = over(&pack, &[("OCELLI_ENCODER_CODE_BYTES", "9")]).unwrap_err().to_string();
        assert!(error.contains("no codes of 9 bytes"), "{error}");
    }

    /// A value of a pack stands in the place of the key, commented or not; nothing else changes.
    #[test]
    fn values_replace_lines_of_the_default_file() {
        let dir = tempfile::tempdir().unwrap();
        let text = over_defaults(&pack_of(dir.path(), &unusual()));
        let changed = DEFAULT_TOML.lines().zip(text.lines()).filter(|(a, b)| a != b).count();
        let values = pack::values(&unusual());
        assert_eq!(
            changed,
            values.len(),
            "a key is missing in default.toml, or was at its default"
        );
        assert_eq!(DEFAULT_TOML.lines().count(), text.lines().count());
    }
}
