//! The layers of each backbone, loaded by the names of its tensors.

mod efficientnet;
mod resnet;
mod squeezenet;
mod vgg;
mod vit;

use ocelli_index::{Form, Layer};
use ocelli_weights::{Backbone, Settings, Weights};

use crate::body::Body;
use crate::error::Result;

/// Loads the layers up to `last`.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(crate) fn load(
    backbone: &Backbone,
    weights: &Weights,
    form: Form,
    last: Layer,
    settings: &Settings,
) -> Result<Body> {
    let (last_stage, bn_eps) = (backbone.stages_of(last), settings.bn_eps);
    let trunk = match backbone {
        Backbone::Vit(vit) => {
            let settings = vit.settings(&settings.transformer)?;
            return vit::load(weights, vit, settings, last_stage).map(Body::Transformer);
        }
        Backbone::Resnet(layout) => resnet::load(weights, layout, form, last_stage, bn_eps),
        Backbone::Vgg(vgg) => vgg::load(weights, vgg, last_stage, bn_eps),
        Backbone::Squeezenet(net) => squeezenet::load(weights, net, form, last_stage),
        Backbone::Efficientnet(net) => efficientnet::load(weights, net, last, bn_eps),
    };
    trunk.map(Body::Trunk)
}
