//! EfficientNet-Lite: which of its blocks the names and shapes describe.
//!
//! Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML 2019),
//! in the variant for small devices that its authors released in 2020: no squeeze-and-excitation,
//! ReLU6, and a stem, a head, a first and a last stage that are not scaled.
//!
//! Checkpoints number the blocks through, whatever their stage. A new stage begins where a block's
//! output has another width than its input: inside a stage the widths are equal, because a block
//! adds its input.

use ocelli_index::Layer;

use crate::error::Result;
use crate::file::Weights;

/// Stages of inverted residual blocks.
pub const STAGES: usize = 7;

/// Step of the depthwise convolution in the first block of each stage.
pub const STRIDES: [u32; STAGES] = [1, 2, 2, 2, 1, 2, 1];

/// Side of the depthwise kernels of each stage.
pub const KERNELS: [usize; STAGES] = [3, 3, 5, 3, 5, 5, 3];

/// More blocks than any published network has (Lite4: 30), so that a damaged name cannot ask for
/// millions.
const MAX_BLOCKS: usize = 1000;

/// Names of the convolutions outside the blocks, and of their batch normalisations.
pub const STEM: [&str; 2] = ["_conv_stem", "_bn0"];
/// The last convolution, before the classifier.
pub const HEAD: [&str; 2] = ["_conv_head", "_bn1"];
/// Convolutions of a block with their batch normalisations: expansion, depthwise, projection.
pub const PARTS: [[&str; 2]; 3] =
    [["_expand_conv", "_bn0"], ["_depthwise_conv", "_bn1"], ["_project_conv", "_bn2"]];

/// Widths and numbers of blocks of a published network.
pub(crate) struct Published {
    /// "efficientnet-lite0".
    pub(crate) name: &'static str,
    /// Channels of each stage.
    pub(crate) widths: [usize; STAGES],
    /// Blocks of each stage.
    pub(crate) blocks: [usize; STAGES],
}

/// Channels behind the first convolution of every published network.
pub(crate) const STEM_WIDTH: usize = 32;
/// Channels behind the last convolution of every published network.
pub(crate) const HEAD_WIDTH: usize = 1280;

/// The published networks: widths times 1, 1, 1.1, 1.2 and 1.4, in multiples of 8; depths times 1,
/// 1.1, 1.2, 1.4 and 1.8, rounded up.
pub(crate) const PUBLISHED: [Published; 5] = [
    Published {
        name: "efficientnet-lite0",
        widths: [16, 24, 40, 80, 112, 192, 320],
        blocks: [1, 2, 2, 3, 3, 4, 1],
    },
    Published {
        name: "efficientnet-lite1",
        widths: [16, 24, 40, 80, 112, 192, 320],
        blocks: [1, 3, 3, 4, 4, 5, 1],
    },
    Published {
        name: "efficientnet-lite2",
        widths: [16, 24, 48, 88, 120, 208, 352],
        blocks: [1, 3, 3, 4, 4, 5, 1],
    },
    Published {
        name: "efficientnet-lite3",
        widths: [24, 32, 48, 96, 136, 232, 384],
        blocks: [1, 3, 3, 5, 5, 6, 1],
    },
    Published {
        name: "efficientnet-lite4",
        widths: [24, 32, 56, 112, 160, 272, 448],
        blocks: [1, 4, 4, 6, 6, 8, 1],
    },
];

/// The blocks that the weights hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Efficientnet {
    /// Blocks of each stage that is held, whole or in part.
    pub blocks: Vec<usize>,
    /// Channels behind each of these stages.
    widths: Vec<usize>,
    /// The expansion of one more block is there, and nothing else of it.
    ends_in_expansion: bool,
    has_head: bool,
    pub(super) has_bn: bool,
}

impl Efficientnet {
    /// None if the names are not those of an EfficientNet.
    ///
    /// # Errors
    /// `BadWeights` for one with squeeze-and-excitation, and for more stages or blocks than there
    /// are.
    pub(super) fn of(weights: &Weights) -> Result<Option<Efficientnet>> {
        let first = |name: &str| weights.shape(&format!("{name}.weight")).map(|s| (s, s.first()));
        let Some((_, Some(&stem))) = first(STEM[0]) else { return Ok(None) };
        if let Some(name) = weights.names().find(|name| name.contains("._se_reduce.")) {
            return Err(weights.bad(format!(
                "expected an EfficientNet-Lite, found one with squeeze-and-excitation ({name}), \
                 which is not read"
            )));
        }
        let (mut blocks, mut widths): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut width = stem;
        let mut number = 0;
        let part = |number: usize, part: usize| block_part(number, PARTS[part][0]);
        while let Some((_, Some(&out))) = first(&part(number, 2)) {
            match blocks.last_mut() {
                Some(count) if out == width => *count += 1,
                _ => {
                    blocks.push(1);
                    widths.push(out);
                }
            }
            (width, number) = (out, number + 1);
        }
        if blocks.len() > STAGES || number > MAX_BLOCKS {
            return Err(weights.bad(format!(
                "expected an EfficientNet of at most {STAGES} stages and {MAX_BLOCKS} blocks, \
                 found {number} blocks that make {} stages by their widths",
                blocks.len()
            )));
        }
        Ok(Some(Efficientnet {
            ends_in_expansion: first(&part(number, 0)).is_some()
                && first(&part(number, 1)).is_none(),
            has_head: first(HEAD[0]).is_some() && blocks.len() == STAGES,
            has_bn: weights.names().any(|name| name.ends_with(".running_var")),
            blocks,
            widths,
        }))
    }

    /// "efficientnet-lite0" where exactly one published network begins with these stages, else the
    /// blocks themselves: "efficientnet-lite-1-1-2".
    pub(super) fn name(&self) -> String {
        let mut known = PUBLISHED.iter().filter(|published| {
            published.blocks.starts_with(&self.blocks) && published.widths.starts_with(&self.widths)
        });
        if let (Some(published), None) = (known.next(), known.next()) {
            return published.name.to_owned();
        }
        let blocks: Vec<String> = self.blocks.iter().map(usize::to_string).collect();
        format!("efficientnet-lite-{}", blocks.join("-"))
    }

    /// Stages held.
    pub(super) fn stages(&self) -> usize {
        self.blocks.len()
    }

    /// Whether the weights hold the layers up to this one.
    pub(super) fn holds(&self, layer: Layer) -> bool {
        let stages = self.stages() as u32;
        match layer {
            Layer::Stage(stage) => (1..=stages).contains(&stage),
            Layer::Expansion(stage) => {
                let last = if self.ends_in_expansion { stages } else { stages.saturating_sub(1) };
                (1..=last.min(STAGES as u32 - 1)).contains(&stage)
            }
            Layer::Head => self.has_head,
        }
    }

    /// The last layer that the weights hold.
    pub(super) fn last(&self) -> Layer {
        let stages = self.stages() as u32;
        [Layer::Head, Layer::Expansion(stages)]
            .into_iter()
            .find(|&layer| self.holds(layer))
            .unwrap_or(Layer::Stage(stages))
    }

    /// Image pixels per cell behind a stage.
    pub(super) fn stride(stage: usize) -> u32 {
        STRIDES.iter().take(stage).product::<u32>() * 2
    }

    /// Whether this network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        if name.starts_with("_fc.") {
            return true;
        }
        let Some((module, field)) = name.rsplit_once('.') else { return false };
        let of = |[conv, bn]: [&str; 2], module: &str| match field {
            "weight" | "bias" => module == conv || module == bn,
            "running_mean" | "running_var" | "num_batches_tracked" => module == bn,
            _ => false,
        };
        let held: usize = self.blocks.iter().sum();
        match module.strip_prefix("_blocks.").and_then(|rest| rest.split_once('.')) {
            None => of(STEM, module) || of(HEAD, module),
            Some((number, module)) => {
                number.parse().is_ok_and(|number: usize| number <= held)
                    && PARTS.iter().any(|&part| of(part, module))
            }
        }
    }
}

/// Name of a module of a block, counted from 0: `_blocks.3._bn1`.
#[must_use]
pub fn block_part(number: usize, module: &str) -> String {
    format!("_blocks.{number}.{module}")
}
