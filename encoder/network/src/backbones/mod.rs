//! The layers of each backbone, loaded by the names of its tensors.

mod resnet;
mod squeezenet;
mod vgg;

use ocelli_index::Form;
use ocelli_weights::{Backbone, Weights};

use crate::error::Result;
use crate::layers::Trunk;

/// Loads the stages 1 to `last_stage`.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(crate) fn load(
    backbone: &Backbone,
    weights: &Weights,
    form: Form,
    last_stage: usize,
    bn_eps: f64,
) -> Result<Trunk> {
    match backbone {
        Backbone::Resnet(layout) => resnet::load(weights, layout, form, last_stage, bn_eps),
        Backbone::Vgg(vgg) => vgg::load(weights, vgg, last_stage, bn_eps),
        Backbone::Squeezenet(net) => squeezenet::load(weights, net, form, last_stage),
    }
}
