//! Which residual network a set of tensor names describes.

use crate::error::Result;
use crate::file::Weights;

/// More blocks than any published network has in a stage (ResNet-152: 36), so that a damaged name
/// cannot ask for millions.
const MAX_BLOCKS: usize = 1000;

/// Number of stages of a residual network.
pub(crate) const STAGES: usize = 4;

/// Kind of residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// Two 3x3 convolutions (ResNet-18, 34).
    Basic,
    /// 1x1, 3x3, 1x1 (ResNet-50, 101, 152).
    Bottleneck,
}

/// Blocks of each stage that the weights hold, stage 1 (`layer1`) first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Kind of all blocks.
    pub kind: BlockKind,
    /// Number of blocks of each stage.
    pub blocks: Vec<usize>,
    /// Batch normalisation is still a layer of its own.
    pub(super) has_bn: bool,
}

const PUBLISHED: [(&str, BlockKind, [usize; STAGES]); 5] = [
    ("resnet18", BlockKind::Basic, [2, 2, 2, 2]),
    ("resnet34", BlockKind::Basic, [3, 4, 6, 3]),
    ("resnet50", BlockKind::Bottleneck, [3, 4, 6, 3]),
    ("resnet101", BlockKind::Bottleneck, [3, 4, 23, 3]),
    ("resnet152", BlockKind::Bottleneck, [3, 8, 36, 3]),
];

impl Layout {
    /// None if the names are not those of a ResNet.
    ///
    /// # Errors
    /// `BadWeights` for a block number that no network has.
    pub(super) fn of(weights: &Weights) -> Result<Option<Layout>> {
        let mut blocks = vec![0; STAGES];
        let mut kind = BlockKind::Basic;
        for name in weights.names() {
            let Some((stage, block, rest)) = split_name(name) else { continue };
            if block >= MAX_BLOCKS {
                return Err(weights.bad(format!(
                    "tensor {name}: expected at most {MAX_BLOCKS} blocks in a stage"
                )));
            }
            if let Some(count) = blocks.get_mut(stage - 1) {
                *count = (*count).max(block + 1);
            }
            if rest.starts_with("conv3.") {
                kind = BlockKind::Bottleneck;
            }
        }
        let held = blocks.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        if held == 0 || !weights.contains("conv1.weight") {
            return Ok(None);
        }
        blocks.truncate(held);
        let has_bn = weights.names().any(|name| name.ends_with(".running_var"));
        Ok(Some(Layout { kind, blocks, has_bn }))
    }

    /// "resnet50" where exactly one published network begins with these blocks, else the blocks
    /// themselves: "resnet-basic-1-1-2".
    pub(super) fn name(&self) -> String {
        let mut known = PUBLISHED
            .iter()
            .filter(|(_, kind, blocks)| *kind == self.kind && blocks.starts_with(&self.blocks));
        if let (Some((name, ..)), None) = (known.next(), known.next()) {
            return (*name).to_string();
        }
        let kind = match self.kind {
            BlockKind::Basic => "basic",
            BlockKind::Bottleneck => "bottleneck",
        };
        let blocks: Vec<String> = self.blocks.iter().map(usize::to_string).collect();
        format!("resnet-{kind}-{}", blocks.join("-"))
    }

    /// Whether this network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        if name.starts_with("fc.") {
            return true;
        }
        let (stem, rest) = match split_name(name) {
            None => (true, name),
            Some((_, _, rest)) => (false, rest),
        };
        let Some((module, field)) = rest.rsplit_once('.') else { return false };
        let is_conv = matches!(field, "weight" | "bias");
        let is_bn = matches!(
            field,
            "weight" | "bias" | "running_mean" | "running_var" | "num_batches_tracked"
        );
        let convs = match (stem, self.kind) {
            (true, _) => 1,
            (false, BlockKind::Basic) => 2,
            (false, BlockKind::Bottleneck) => 3,
        };
        let numbered = |prefix: &str| {
            let number = module.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
            number.is_some_and(|n| (1..=convs).contains(&n))
        };
        (numbered("conv") && is_conv)
            || (numbered("bn") && is_bn)
            || (!stem && module == "downsample.0" && is_conv)
            || (!stem && module == "downsample.1" && is_bn)
    }
}

/// `layer2.0.conv1.weight` to (2, 0, `conv1.weight`); stages from 1 to 4 only.
fn split_name(name: &str) -> Option<(usize, usize, &str)> {
    let (stage, rest) = name.strip_prefix("layer")?.split_once('.')?;
    let (block, rest) = rest.split_once('.')?;
    let stage = stage.parse().ok().filter(|stage| (1..=STAGES).contains(stage))?;
    Some((stage, block.parse().ok()?, rest))
}
