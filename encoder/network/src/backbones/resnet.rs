//! Loading a ResNet's layers.
//!
//! Two forms exist of the bottleneck that enters a stage. The first, by the authors, halves the map
//! in the first 1x1 convolution; torchvision's, often called v1.5, in the 3x3. And the pool after
//! the first convolution is padded in torchvision and Keras, but not in Caffe, where it rounds up
//! instead: maps have the same size, but every window lies one cell further on.

use ocelli_index::Form;
use ocelli_weights::Weights;
use ocelli_weights::backbone::{BlockKind, Layout};

use crate::error::Result;
use crate::layers::{Conv, ConvSpec, Layer, MaxPool, Residual, Trunk};

/// The position of a block in the network.
struct Entry<'a> {
    /// "layer2.0"
    prefix: &'a str,
    /// Channels of its input.
    width: usize,
    stride: i64,
    /// The first block of its stage.
    is_entry: bool,
}

/// Loads the stages 1 to `last_stage`. Widths are free, as long as neighbours agree.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(super) fn load(
    weights: &Weights,
    layout: &Layout,
    form: Form,
    last_stage: usize,
    bn_eps: f64,
) -> Result<Trunk> {
    let stem = ConvSpec { bn: Some("bn1"), stride: 2, ..ConvSpec::new("conv1", 3, 7) };
    let stem = Conv::load(weights, &stem, bn_eps)?;
    let mut width = stem.out_channels();
    let is_caffe = form == Form::V1Caffe;
    let padding = if is_caffe { 0 } else { 1 };
    let pool = MaxPool { kernel: 3, stride: 2, padding, ceil: is_caffe };
    let mut layers = vec![Layer::Conv(stem), Layer::MaxPool(pool)];
    for (stage, &count) in layout.blocks.iter().enumerate().take(last_stage) {
        for block in 0..count {
            let prefix = format!("layer{}.{block}", stage + 1);
            // The max-pooling has halved the map already before stage 1.
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let entry = Entry { prefix: &prefix, width, stride, is_entry: block == 0 };
            let block = load_block(weights, layout.kind, form, entry, bn_eps)?;
            width = block.branch.last().map_or(width, Conv::out_channels);
            layers.push(Layer::Residual(block));
        }
    }
    Ok(Trunk::new(layers, width))
}

fn load_block(
    weights: &Weights,
    kind: BlockKind,
    form: Form,
    entry: Entry<'_>,
    bn_eps: f64,
) -> Result<Residual> {
    let Entry { prefix, width, stride, is_entry } = entry;
    // Kernel and stride of each convolution of the branch.
    let plan: Vec<(usize, i64)> = match (kind, form) {
        (BlockKind::Basic, _) => vec![(3, stride), (3, 1)],
        (BlockKind::Bottleneck, Form::V1 | Form::V1Caffe) => vec![(1, stride), (3, 1), (1, 1)],
        (BlockKind::Bottleneck, _) => vec![(1, 1), (3, stride), (1, 1)],
    };
    let downsample = format!("{prefix}.downsample.0");
    let has_shortcut = weights.contains(&format!("{downsample}.weight"));
    let mut branch: Vec<Conv> = Vec::with_capacity(plan.len());
    let mut input = width;
    for (i, &(kernel, stride)) in plan.iter().enumerate() {
        let is_last = i + 1 == plan.len();
        let (conv, bn) = (format!("{prefix}.conv{}", i + 1), format!("{prefix}.bn{}", i + 1));
        let spec = ConvSpec {
            bn: Some(&bn),
            // Inside a stage the branch comes back to the width of the identity. (At its entry,
            // what does not fit asks for a projection.)
            out: (is_last && !is_entry && !has_shortcut).then_some(width),
            stride,
            ..ConvSpec::new(&conv, input, kernel)
        };
        let conv = Conv::load(weights, &spec, bn_eps)?;
        input = conv.out_channels();
        branch.push(conv);
    }
    let shortcut = if has_shortcut || stride != 1 || input != width {
        let bn = format!("{prefix}.downsample.1");
        let spec = ConvSpec {
            bn: Some(&bn),
            out: Some(input),
            stride,
            ..ConvSpec::new(&downsample, width, 1)
        };
        Some(Conv::load(weights, &spec, bn_eps)?)
    } else {
        None
    };
    let entry = branch.remove(0);
    Ok(Residual { entry, branch, shortcut })
}
