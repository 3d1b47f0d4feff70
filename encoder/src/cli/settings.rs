//! Flags over settings, for the commands that run a network.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use ocelli_index::{
    Combine, CropFirst, Form, Grid, InputConvention, Layer, Pack, Precision, ResizeFilter,
};
use ocelli_network::DeviceChoice;
use ocelli_pictures::limits::MAX_SIDE_PX;
use ocelli_service::role::LogFormat;

use super::usage;
use crate::config::{Config, PoolingName};

/// Settings that decide what a descriptor means.
#[derive(Clone, Args)]
pub(super) struct NetworkArgs {
    /// The network's weights: safetensors with torchvision's tensor names.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Form of the network, if the tensors leave it open: v1.5 (torchvision), v1 (Keras),
    /// v1-caffe, or floor-pool (SqueezeNet of Keras).
    #[arg(long)]
    form: Option<Form>,
    /// How pixels are presented: caffe-bgr, torchvision-rgb or centred-rgb.
    #[arg(long, value_name = "CONVENTION")]
    input: Option<InputConvention>,
    /// Epsilon of batch normalisation.
    #[arg(long, value_name = "X")]
    bn_eps: Option<f64>,
    /// A JSON file with form, input and bn_eps [default: the one beside the weights, if any]
    #[arg(long, value_name = "JSON")]
    network_config: Option<PathBuf>,
    /// Library of ONNX Runtime, or its folder: for networks in ONNX files.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Layer that is pooled: a stage, 1 to 4, for a VGG to 5; for EfficientNet 1 to 7, e1 to e6 for
    /// the expansion behind a stage, or head [default: the last that the weights hold]
    #[arg(long, value_name = "LAYER")]
    last_stage: Option<Layer>,
    /// Do not apply projections stored in the weights (a learned whitening).
    #[arg(long)]
    no_head: bool,
    /// How a feature map becomes a vector [default: the weights' own pooling, or rmac]
    #[arg(long)]
    pooling: Option<PoolingName>,
    /// Levels of the R-MAC grid, 1 to 4.
    #[arg(long, value_name = "N")]
    levels: Option<u32>,
    /// Where the R-MAC grid is computed: feature-map or image-pixels.
    #[arg(long)]
    grid: Option<Grid>,
    /// Exponent of GeM pooling.
    #[arg(long, value_name = "P")]
    gem_p: Option<f32>,
    /// Regions of --pooling rpn, 1 to 1000, for weights with layers that propose regions.
    #[arg(long, value_name = "N")]
    proposals: Option<u32>,
    /// Longest sides in pixels, with commas between them, or `stored` for never resized.
    #[arg(long, value_name = "PX,…")]
    sizes: Option<Sizes>,
    /// Antialiased resize filter: bilinear, catmull-rom or lanczos3.
    #[arg(long)]
    filter: Option<ResizeFilter>,
    /// Do not enlarge images that are smaller than a size.
    #[arg(long)]
    no_upscale: bool,
    /// Do not rotate images as EXIF says.
    #[arg(long)]
    no_exif: bool,
    /// How the descriptors of several sizes become one: sum, gem:P (dirtorch's), gem:P:0
    /// (cirtorch's, without dirtorch's floor of 1e-6), or max (SuperGlobal's).
    #[arg(long)]
    combine: Option<Combine>,
    /// Cut boxes out before the image is resized, so that a box's longest side gets the size. With
    /// =photo-scale, boxes are resized as the whole photo would be (cirtorch's queries).
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    crop_first: Option<CropFirst>,
    /// Precision of the network: f32, or bf16 (fast only on CPUs with AVX-512 and on GPUs).
    #[arg(long)]
    precision: Option<Precision>,
    /// Pixels (width x height) of the largest image that is decoded.
    #[arg(long, value_name = "N")]
    max_pixels: Option<u64>,
    /// Shortest side in pixels of an accepted image; 0: any.
    #[arg(long, value_name = "N")]
    min_side: Option<u32>,
}

/// Settings that `encode`, `serve` and `measure` share.
#[derive(Clone, Args)]
pub(super) struct RunArgs {
    /// A pack, which says everything that decides what a descriptor means: its file, or `default`.
    /// Settings that contradict it are refused.
    #[arg(long, value_name = "FILE|default")]
    pack: Option<PathBuf>,
    /// Bytes of a code, of the sizes that the pack has; its whitening follows from them [default:
    /// the pack's own choice]
    #[arg(long, value_name = "N")]
    code_bytes: Option<usize>,
    /// Whitening, learned under the same settings.
    #[arg(long, value_name = "FILE")]
    whitening: Option<PathBuf>,
    /// Where the network computes: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Threads that encode; 0 is one per core.
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Largest batch of images of equal shape; 0: chosen for the device (1 on a CPU, 16 on CUDA).
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = "OCELLI_ENCODER_CONFIG")]
    config: Option<PathBuf>,
    /// Log level (error, warn, info, debug, trace), or levels by target.
    #[arg(long = "log", value_name = "FILTER")]
    log_filter: Option<String>,
    /// Form of the logs: text or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Longest sides; empty for `stored`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sizes(Vec<u32>);

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "stored" {
            return Ok(Sizes(Vec::new()));
        }
        let size = |s: &str| match s.trim().parse::<u32>() {
            Ok(px) if (1..=MAX_SIDE_PX).contains(&px) => Ok(px),
            _ => Err(format!("expected 1 to {MAX_SIDE_PX} pixels or `stored`, found {s:?}")),
        };
        text.split(',').map(size).collect::<Result<_, _>>().map(Sizes)
    }
}

/// Replaces a setting by its flag, if the flag was given.
pub(super) fn over<T>(setting: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *setting = value;
    }
}

impl NetworkArgs {
    fn apply(self, config: &mut Config) {
        config.weights = self.weights.or(config.weights.take());
        config.form = self.form.or(config.form);
        config.input = self.input.or(config.input);
        config.bn_eps = self.bn_eps.or(config.bn_eps);
        config.network_config = self.network_config.or(config.network_config.take());
        config.onnxruntime = self.onnxruntime.or(config.onnxruntime.take());
        config.last_stage = self.last_stage.or(config.last_stage);
        config.head &= !self.no_head;
        config.pooling = self.pooling.or(config.pooling);
        config.levels = self.levels.or(config.levels);
        config.grid = self.grid.or(config.grid);
        config.gem_p = self.gem_p.or(config.gem_p);
        config.proposals = self.proposals.or(config.proposals);
        over(&mut config.sizes, self.sizes.map(|s| s.0));
        over(&mut config.filter, self.filter);
        config.upscale &= !self.no_upscale;
        config.exif &= !self.no_exif;
        over(&mut config.combine, self.combine);
        over(&mut config.crop_first, self.crop_first);
        over(&mut config.precision, self.precision);
        over(&mut config.max_pixels, self.max_pixels);
        over(&mut config.min_side, self.min_side);
    }
}

impl RunArgs {
    /// All layers: defaults or a pack, file, environment, flags.
    pub(super) fn config(self, network: NetworkArgs) -> Result<Config> {
        let config = self.clone().layers(network.clone(), None)?;
        let Some(choice) = &config.pack else {
            if let Some(bytes) = config.code_bytes {
                usage(&format!("--code-bytes {bytes} chooses from a pack: give --pack too"));
            }
            return Ok(config);
        };
        let pack = Arc::new(ocelli_packs::open(choice)?);
        let mut config = self.layers(network, Some(&pack))?;
        config.use_pack(pack)?;
        Ok(config)
    }

    /// All layers over the defaults or a pack.
    pub(super) fn layers(self, network: NetworkArgs, pack: Option<&Pack>) -> Result<Config> {
        let file = self.config.as_deref();
        let mut config = match pack {
            None => Config::load(file)?,
            Some(pack) => Config::load_over(pack, file)?,
        };
        network.apply(&mut config);
        config.pack = self.pack.or(config.pack);
        config.code_bytes = self.code_bytes.or(config.code_bytes);
        config.whitening = self.whitening.or(config.whitening);
        over(&mut config.device, self.device);
        over(&mut config.workers, self.workers);
        over(&mut config.batch, self.batch);
        over(&mut config.log.filter, self.log_filter);
        over(&mut config.log.format, self.log_format);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_or_stored() {
        assert_eq!("550,800, 1050".parse(), Ok(Sizes(vec![550, 800, 1050])));
        assert_eq!("stored".parse(), Ok(Sizes(vec![])));
        for bad in ["", "448,", "0", "-1", "70000", "all"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad:?}");
        }
    }
}
