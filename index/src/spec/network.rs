//! The spec of Ocelli's own encoder, with the defaults of version 1.

use serde::Serialize;

use super::fields::{
    Combine, CropFirst, Form, Grid, Head, InputConvention, Layer, Pooling, Precision, ResizeFilter,
};
use crate::base::hash::Hash;

/// Everything that decides what a descriptor of Ocelli's own encoder means.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkSpec {
    /// Hash over the weights: tensor names, shapes, types and bytes, sorted by name.
    pub weights: Hash,
    /// Backbone, for example `resnet50`.
    pub arch: String,
    /// The form of its layers, where its tensors leave it open.
    pub form: Form,
    /// The layer that is pooled: stage 1 to 4 of a ResNet (3 is the paper's conv4, stride 16) and
    /// of SqueezeNet, 1 to 5 of a VGG; for EfficientNet also an expansion and the head.
    pub last_stage: Layer,
    /// How pixels become the network's input.
    pub input: InputConvention,
    /// Epsilon of batch normalisation.
    pub bn_eps: f64,
    /// How a feature map becomes vectors.
    pub pooling: Pooling,
    /// Longest sides in pixels that an image is resized to; empty: never resized.
    pub sizes: Vec<u32>,
    /// Filter of the resizing.
    pub filter: ResizeFilter,
    /// Whether images smaller than a size are enlarged to it.
    pub upscale: bool,
    /// Whether the EXIF orientation is applied.
    pub exif: bool,
    /// Whether JPEG files may be decoded at a reduced scale.
    pub jpeg_scaled: bool,
    /// The use of the weights' own fully connected layer for each pooled row.
    pub head: Head,
    /// Whether the weights' own whitening of whole images is applied.
    pub image_whitening: bool,
    /// Number type of the network's layers.
    pub precision: Precision,
    /// How the descriptors of several sizes become one.
    pub combine: Combine,
    /// Whether, and how, a box is cut out before the image is resized.
    pub crop_first: CropFirst,
    /// Hash of the whitening, if there is one.
    pub whitening: Option<Hash>,
    /// Dimension of the descriptors.
    pub dim: u32,
}

impl NetworkSpec {
    /// The spec of a backbone with everything else at its version-1 default: v1.5, torchvision
    /// input, BN epsilon 1e-5, R-MAC of 3 levels on the feature map, never resized, bilinear,
    /// enlarging, EXIF applied, full JPEG decoding, no head, no whitening.
    pub fn new(weights: Hash, arch: impl Into<String>, last_stage: Layer, dim: u32) -> Self {
        Self {
            weights,
            arch: arch.into(),
            form: Form::V1_5,
            last_stage,
            input: InputConvention::TorchvisionRgb,
            bn_eps: 1e-5,
            pooling: Pooling::Rmac { levels: 3, grid: Grid::FeatureMap },
            sizes: Vec::new(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            jpeg_scaled: false,
            head: Head::None,
            image_whitening: false,
            precision: Precision::F32,
            combine: Combine::Sum,
            crop_first: CropFirst::No,
            whitening: None,
            dim,
        }
    }

    /// The first value that is out of its range, if there is one.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.combine.is_sound() {
            return Err(format!(
                "combine={}: expected an exponent over 0 and a floor of 0 or more",
                self.combine
            ));
        }
        if self.dim == 0 || !self.last_stage.is_sound() {
            return Err(format!(
                "dim={}, last_stage={}: expected a dimension and a layer",
                self.dim, self.last_stage
            ));
        }
        self.pooling.check().map_err(|error| error.to_string())?;
        if !(self.bn_eps.is_finite() && self.bn_eps >= 0.0) {
            return Err(format!("bn_eps={}: expected 0 or more", self.bn_eps));
        }
        Ok(())
    }
}
