//! Loading an EfficientNet-Lite's layers.
//!
//! Tan, Le: "EfficientNet" (ICML 2019), in its variant without squeeze-and-excitation. All windows
//! are padded as TensorFlow's `SAME` does.

use ocelli_index::Layer as Last;
use ocelli_weights::Weights;
use ocelli_weights::backbone::efficientnet::{
    Efficientnet, HEAD, KERNELS, PARTS, STEM, STRIDES, block_part,
};

use crate::error::Result;
use crate::layers::{Conv, ConvSpec, Inverted, Layer, Trunk};

/// A block's place in the network.
struct Block {
    number: usize,
    /// Channels of its input.
    width: usize,
    kernel: usize,
    stride: i64,
    /// Whether its output has the width of its input, which is added.
    adds: bool,
}

/// Loads the layers up to `last`. Widths are free, as long as neighbours agree.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite.
pub(super) fn load(
    weights: &Weights,
    net: &Efficientnet,
    last: Last,
    bn_eps: f64,
) -> Result<Trunk> {
    let stem = spec(STEM[0], STEM[1], 3, 3);
    let stem = Conv::load(weights, &ConvSpec { stride: 2, ..stem }, bn_eps)?;
    let mut width = stem.out_channels();
    let mut layers = vec![Layer::Clipped(stem)];
    let stages = match last {
        Last::Stage(stage) | Last::Expansion(stage) => stage as usize,
        Last::Head => net.blocks.len(),
    };
    let mut number = 0;
    let plan = net.blocks.iter().zip(STRIDES).zip(KERNELS).take(stages);
    for ((&count, stride), kernel) in plan {
        for at in 0..count {
            let stride = if at == 0 { i64::from(stride) } else { 1 };
            let block = Block { number, width, kernel, stride, adds: at > 0 };
            let block = load_block(weights, &block, bn_eps)?;
            width = block.project.out_channels();
            layers.push(Layer::Inverted(block));
            number += 1;
        }
    }
    let end = match last {
        Last::Stage(_) => None,
        Last::Expansion(_) => Some(PARTS[0].map(|module| block_part(number, module))),
        Last::Head => Some(HEAD.map(str::to_owned)),
    };
    if let Some([conv, bn]) = end {
        let conv = Conv::load(weights, &spec(&conv, &bn, width, 1), bn_eps)?;
        width = conv.out_channels();
        layers.push(Layer::Clipped(conv));
    }
    Ok(Trunk::new(layers, width))
}

/// A convolution of stride 1 with its batch normalisation.
fn spec<'a>(conv: &'a str, bn: &'a str, input: usize, kernel: usize) -> ConvSpec<'a> {
    ConvSpec { bn: Some(bn), same: true, ..ConvSpec::new(conv, input, kernel) }
}

fn load_block(weights: &Weights, block: &Block, bn_eps: f64) -> Result<Inverted> {
    let [expand, depthwise, project] =
        PARTS.map(|part| part.map(|module| block_part(block.number, module)));
    let mut width = block.width;
    // The first block of the network has no expansion.
    let has_expansion = weights.contains(&format!("{}.weight", expand[0]));
    let expand = if has_expansion {
        let conv = Conv::load(weights, &spec(&expand[0], &expand[1], width, 1), bn_eps)?;
        width = conv.out_channels();
        Some(conv)
    } else {
        None
    };
    let depthwise = ConvSpec {
        out: Some(width),
        depthwise: true,
        stride: block.stride,
        ..spec(&depthwise[0], &depthwise[1], width, block.kernel)
    };
    let depthwise = Conv::load(weights, &depthwise, bn_eps)?;
    let project = ConvSpec {
        out: block.adds.then_some(block.width),
        ..spec(&project[0], &project[1], width, 1)
    };
    let project = Conv::load(weights, &project, bn_eps)?;
    Ok(Inverted { expand, depthwise, project, adds: block.adds })
}
