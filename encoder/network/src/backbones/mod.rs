//! The layers of each backbone, loaded by the names of its tensors.

mod efficientnet;
mod resnet;
mod squeezenet;
mod vgg;

use ocelli_index::{Form, Layer};
use ocelli_weights::{Backbone, Weights};

use crate::error::Result;
use crate::layers::Trunk;

/// Loads the layers up to `last`.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(crate) fn load(
    backbone: &Backbone,
    weights: &Weights,
    form: Form,
    last: Layer,
    bn_eps: f64,
) -> Result<Trunk> {
    let last_stage = backbone.stages_of(last);
    match backbone {
        Backbone::Resnet(layout) => resnet::load(weights, layout, form, last_stage, bn_eps),
        Backbone::Vgg(vgg) => vgg::load(weights, vgg, last_stage, bn_eps),
        Backbone::Squeezenet(net) => squeezenet::load(weights, net, form, last_stage),
        Backbone::Efficientnet(net) => efficientnet::load(weights, net, last, bn_eps),
    }
}
