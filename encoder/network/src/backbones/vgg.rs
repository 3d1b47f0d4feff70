//! Loading a VGG's layers.

use ocelli_weights::Weights;
use ocelli_weights::backbone::Vgg;

use crate::error::Result;
use crate::layers::{Conv, ConvSpec, Layer, MaxPool, Trunk};

/// Loads the stages 1 to `last_stage`, each up to its last ReLU: a stage's pooling belongs to
/// the next. Widths are free.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(super) fn load(weights: &Weights, vgg: &Vgg, last_stage: usize, bn_eps: f64) -> Result<Trunk> {
    let mut layers = Vec::new();
    let mut width = 3;
    for stage in vgg.convs.iter().take(last_stage) {
        if !layers.is_empty() {
            let pool = MaxPool { kernel: 2, stride: 2, padding: 0, ceil: false };
            layers.push(Layer::MaxPool(pool));
        }
        for &step in stage {
            let (conv, bn) = (format!("features.{step}"), format!("features.{}", step + 1));
            let spec = ConvSpec { bn: vgg.has_bn.then_some(&bn), ..ConvSpec::new(&conv, width, 3) };
            let conv = Conv::load(weights, &spec, bn_eps)?;
            width = conv.out_channels();
            layers.push(Layer::Conv(conv));
        }
    }
    Ok(Trunk::new(layers, width))
}
