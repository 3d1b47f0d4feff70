//! Weights and the forward pass: an RGB image to the feature map of a ResNet.
//!
//! Weights are safetensors files with torchvision's tensor names. ResNet-18, 34, 50, 101 and 152 and
//! any relatives with other widths or block counts are told apart by their tensors; what the tensors
//! do not say ([`NetworkOptions`]) comes from the caller, a JSON file or the file's metadata.
//!
//! # Threads
//! libtorch's tensors may be sent to another thread but not be shared between two. Each worker
//! therefore owns a [`Network`] of its own, made by [`Network::try_clone`]: the handles are its own,
//! the weights behind them exist once and are only read. Several workers of one libtorch thread each
//! are faster than one worker with several threads; [`set_torch_threads`] says so to libtorch, once
//! in every worker.

mod config;
mod layout;
pub mod seeded;
mod trunk;
mod weights;

use std::path::Path;

use image::RgbImage;
use ocelli_index::{Form, Hash, InputConvention};
use tch::{Kind, Tensor};

pub use config::NetworkOptions;

use crate::error::{Error, Result};
use layout::{BlockKind, Layout};
use trunk::{MemoryLayout, Trunk};
use weights::Weights;

/// A ResNet without its classifier, ready to run.
pub struct Network {
    trunk: Trunk,
    identity: Identity,
}

/// What the descriptor spec records of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Hash of all tensors of the file: names, types, shapes and bytes, in order of the names.
    pub weights: Hash,
    /// "resnet50", or "resnet-bottleneck-1-1-1" where no published network has these blocks.
    pub arch: String,
    /// For basic blocks always `V1_5`: they have one form only.
    pub form: Form,
    /// 1 to 4.
    pub last_stage: u32,
    /// How pixels are presented.
    pub input: InputConvention,
    /// Epsilon of batch normalisation; 1e-5 where it is already folded and does not matter.
    pub bn_eps: f64,
}

impl Network {
    /// Reads weights from a safetensors file.
    ///
    /// # Errors
    /// `BadWeights` (another file type, truncated, not a ResNet), `MissingTensor`, `TensorShape`,
    /// `NotConfigured` when the form or the input convention is given nowhere, `Invalid` for a stage
    /// that the weights do not hold.
    pub fn open(path: &Path, options: &NetworkOptions) -> Result<Network> {
        let weights = Weights::read(path)?;
        let layout = Layout::of(&weights)?;
        let last_stage = layout.last_stage(options.last_stage)?;
        let settings = config::resolve(&weights, options)?;
        let form = match layout.kind {
            BlockKind::Basic => Form::V1_5,
            BlockKind::Bottleneck => config::require_form(settings.form, path)?,
        };
        let unknown = layout.unknown_names(&weights);
        if !unknown.is_empty() {
            let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
            tracing::warn!(weights = %path.display(), tensors = names.join(", "), "tensors that no ResNet has are ignored");
        }
        let trunk = tch::no_grad(|| {
            Trunk::load(&weights, &layout, form, last_stage, settings.bn_eps)?
                .arranged(MemoryLayout::fastest())
                .map_err(Error::torch("arranging weights"))
        })?;
        let identity = Identity {
            weights: weights.hash(),
            arch: layout.name(),
            form,
            last_stage: last_stage as u32,
            input: settings.input,
            bn_eps: if layout.has_bn { settings.bn_eps } else { config::DEFAULT_BN_EPS },
        };
        Ok(Network { trunk, identity })
    }

    /// What distinguishes this network from others.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Channels C of the feature map.
    pub fn channels(&self) -> usize {
        self.trunk.channels()
    }

    /// Image pixels per cell of the feature map: 4, 8, 16 or 32.
    pub fn stride(&self) -> u32 {
        2 << self.identity.last_stage
    }

    /// Another network over the same weights, for another thread. Costs a few handles, no memory.
    ///
    /// # Errors
    /// `Torch` when libtorch refuses.
    pub fn try_clone(&self) -> Result<Network> {
        Ok(Network { trunk: self.trunk.share(), identity: self.identity.clone() })
    }

    /// Feature map (C, H, W), f32, after the last ReLU, contiguous. A map's cell covers
    /// [`stride`](Network::stride) pixels; sizes are rounded up at every halving.
    ///
    /// # Errors
    /// `Invalid` for an image without pixels, `Torch` when libtorch fails (memory).
    pub fn feature_map(&self, rgb: &RgbImage) -> Result<Tensor> {
        let (width, height) = rgb.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!(
                "image: expected at least one pixel, found {width}x{height}"
            )));
        }
        let planes = to_planes(rgb, self.identity.input);
        tch::no_grad(|| {
            let pixels = Tensor::f_from_slice(&planes)?.f_reshape([
                1,
                3,
                i64::from(height),
                i64::from(width),
            ])?;
            self.trunk.forward(&pixels)?.f_squeeze_dim(0)?.f_contiguous()?.f_to_kind(Kind::Float)
        })
        .map_err(Error::torch("the forward pass"))
    }
}

/// Threads that libtorch uses for operations called from this thread (its setting is per thread).
/// Values below 1 count as 1.
pub fn set_torch_threads(threads: usize) {
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

/// Pixels (H, W, 3) u8 to the first layer's planes (3, H, W) f32.
fn to_planes(rgb: &RgbImage, input: InputConvention) -> Vec<f32> {
    // Plane p takes channel `source[p]` of RGB, times scale, minus shift.
    let (source, scale, shift) = match input {
        // The means of ImageNet that the Caffe releases use.
        InputConvention::CaffeBgr => ([2, 1, 0], [1.0f64; 3], [103.939, 116.779, 123.68]),
        // (v / 255 - mean) / std
        InputConvention::TorchvisionRgb => {
            let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
            let scale = std.map(|s| 1.0 / (255.0 * s));
            ([0, 1, 2], scale, [mean[0] / std[0], mean[1] / std[1], mean[2] / std[2]])
        }
    };
    let pixels = rgb.as_raw();
    let mut planes = Vec::with_capacity(pixels.len());
    for ((source, scale), shift) in source.into_iter().zip(scale).zip(shift) {
        // 256 values only: computed in float64 and rounded once.
        let table: Vec<f32> = (0..=255u8).map(|v| (f64::from(v) * scale - shift) as f32).collect();
        planes.extend(
            pixels.iter().skip(source).step_by(3).filter_map(|&v| table.get(usize::from(v))),
        );
    }
    planes
}
