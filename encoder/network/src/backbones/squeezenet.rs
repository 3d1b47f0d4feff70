//! Loading a SqueezeNet's layers.
//!
//! Nothing but the 3x3 expansions is padded. The pools round up (a window may hang over the edge)
//! in Caffe and torchvision, down in Keras: that is the network's form.

use ocelli_index::Form;
use ocelli_weights::Weights;
use ocelli_weights::backbone::Squeezenet;

use crate::error::Result;
use crate::layers::{Conv, ConvSpec, Fire, Layer, MaxPool, Trunk};

/// Loads the stages 1 to `last_stage`; a stage's pooling belongs to the next. Widths are free.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(super) fn load(
    weights: &Weights,
    net: &Squeezenet,
    form: Form,
    last_stage: usize,
) -> Result<Trunk> {
    let load = |spec: ConvSpec<'_>| Conv::load(weights, &spec, 0.0);
    let [squeeze, expand1x1, expand3x3] = net.parts();
    let spec = ConvSpec::new(net.stem(), 3, 3);
    let stem = load(ConvSpec { stride: 2, padding: 0, ..spec })?;
    let mut width = stem.out_channels();
    let mut layers = vec![Layer::Conv(stem)];
    for stage in 2..=last_stage {
        let pool = MaxPool { kernel: 3, stride: 2, padding: 0, ceil: form != Form::FloorPool };
        layers.push(Layer::MaxPool(pool));
        for fire in net.fires(stage) {
            let squeeze = load(ConvSpec::new(&format!("{fire}.{squeeze}"), width, 1))?;
            let inner = squeeze.out_channels();
            let expand1x1 = load(ConvSpec::new(&format!("{fire}.{expand1x1}"), inner, 1))?;
            let expand3x3 = load(ConvSpec::new(&format!("{fire}.{expand3x3}"), inner, 3))?;
            width = expand1x1.out_channels() + expand3x3.out_channels();
            layers.push(Layer::Fire(Fire { squeeze, expand1x1, expand3x3 }));
        }
    }
    Ok(Trunk::new(layers, width))
}
