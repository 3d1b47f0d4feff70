//! Vision transformers: their names, in three dialects, and what their shapes tell.
//!
//! Dosovitskiy et al.: "An Image is Worth 16x16 Words" (ICLR 2021), as DINO (Caron et al. 2021),
//! DeiT (Touvron et al. 2021) and DINOv2 (Oquab et al. 2024; with registers: Darcet et al. 2024)
//! have it: patches, a class token, learned positions, blocks that normalise first, and a last
//! normalisation. Every block may scale its branches (`LayerScale`).

use ocelli_index::Layer;

use crate::error::{Error, Result};
use crate::file::Weights;
use crate::transformer::TransformerSettings;

/// Channels of a head of attention in all published networks.
const HEAD_WIDTH: usize = 64;
/// Epsilon of the normalisations of DINO, DeiT and DINOv2.
const NORM_EPS: f64 = 1e-6;
/// What DINO's and DINOv2's code adds to the number of patches. With register tokens DINOv2's
/// adds nothing.
const POSITION_OFFSET: f64 = 0.1;

/// The names of a transformer's tensors, without `.weight` and `.bias` where a layer has both.
#[derive(Debug, PartialEq, Eq)]
struct Dialect {
    class: &'static str,
    registers: &'static str,
    positions: &'static str,
    patch: &'static str,
    norm: &'static str,
    /// What stands before the number of a block.
    blocks: &'static str,
    norm1: &'static str,
    /// One layer for queries, keys and values, or three.
    qkv: &'static [&'static str],
    projection: &'static str,
    scale1: Option<&'static str>,
    norm2: &'static str,
    fc1: &'static str,
    fc2: &'static str,
    scale2: Option<&'static str>,
}

const HF_QKV: &[&str] =
    &["attention.attention.query", "attention.attention.key", "attention.attention.value"];

/// Dialects by their publishers: DINO, DINOv2, DeiT and timm; transformers' `Dinov2Model`;
/// transformers' `ViTModel`.
static DIALECTS: [Dialect; 3] = [
    Dialect {
        class: "cls_token",
        registers: "register_tokens",
        positions: "pos_embed",
        patch: "patch_embed.proj",
        norm: "norm",
        blocks: "blocks.",
        norm1: "norm1",
        qkv: &["attn.qkv"],
        projection: "attn.proj",
        scale1: Some("ls1.gamma"),
        norm2: "norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
        scale2: Some("ls2.gamma"),
    },
    Dialect {
        class: "embeddings.cls_token",
        registers: "embeddings.register_tokens",
        positions: "embeddings.position_embeddings",
        patch: "embeddings.patch_embeddings.projection",
        norm: "layernorm",
        blocks: "encoder.layer.",
        norm1: "norm1",
        qkv: HF_QKV,
        projection: "attention.output.dense",
        scale1: Some("layer_scale1.lambda1"),
        norm2: "norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
        scale2: Some("layer_scale2.lambda1"),
    },
    Dialect {
        class: "embeddings.cls_token",
        registers: "embeddings.register_tokens",
        positions: "embeddings.position_embeddings",
        patch: "embeddings.patch_embeddings.projection",
        norm: "layernorm",
        blocks: "encoder.layer.",
        norm1: "layernorm_before",
        qkv: HF_QKV,
        projection: "attention.output.dense",
        scale1: None,
        norm2: "layernorm_after",
        fc1: "intermediate.dense",
        fc2: "output.dense",
        scale2: None,
    },
];

/// Names that training and classifiers leave in such files, and that no descriptor needs.
const UNUSED: [&str; 4] = ["mask_token", "embeddings.mask_token", "head.", "pooler."];

/// A vision transformer as far as the weights hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vit {
    dialect: &'static Dialect,
    /// Channels of every token.
    pub width: usize,
    /// Pixels along a side of a patch.
    pub patch: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Whether there is a class token.
    pub has_class: bool,
    /// Register tokens: as many as the weights hold, or 0.
    pub registers: usize,
    /// Patches along a side of the square that the learned positions lie on.
    pub grid: usize,
}

/// The settings of a transformer, complete.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitSettings {
    /// Heads of each attention.
    pub heads: usize,
    /// Epsilon of the layer normalisations.
    pub norm_eps: f64,
    /// As [`TransformerSettings::position_offset`].
    pub position_offset: f64,
    /// As [`TransformerSettings::position_antialias`].
    pub position_antialias: bool,
}

/// Names of the tensors of one block; layers without `.weight` and `.bias`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VitBlock {
    /// Normalisation before the attention.
    pub norm1: String,
    /// Queries, keys and values: one layer with all of them in this order, or three.
    pub qkv: Vec<String>,
    /// Projection behind the attention.
    pub projection: String,
    /// Scale of the attention's branch, (width,), if the weights hold it.
    pub scale1: Option<String>,
    /// Normalisation before the two fully connected layers.
    pub norm2: String,
    /// First fully connected layer.
    pub fc1: String,
    /// Second fully connected layer.
    pub fc2: String,
    /// Scale of their branch, (width,), if the weights hold it.
    pub scale2: Option<String>,
}

impl Vit {
    /// None if the names are not those of a vision transformer.
    ///
    /// # Errors
    /// `BadWeights` for shapes that no such network has.
    pub(super) fn of(weights: &Weights) -> Result<Option<Vit>> {
        let is_spoken = |dialect: &&Dialect| {
            weights.contains(&format!("{}.weight", dialect.patch))
                && weights.contains(&format!("{}0.{}.weight", dialect.blocks, dialect.norm1))
        };
        let Some(dialect) = DIALECTS.iter().find(is_spoken) else { return Ok(None) };
        let name = format!("{}.weight", dialect.patch);
        let (width, patch) = match weights.shape(&name) {
            Some(&[width, 3, height, side]) if height == side && side > 0 && width > 0 => {
                (width, side)
            }
            found => {
                return Err(weights.bad(format!(
                    "tensor {name}: expected the shape (width, 3, side, side), found {found:?}"
                )));
            }
        };
        let has_class = weights.contains(dialect.class);
        let tokens_of = |name: &str| match weights.shape(name) {
            Some(&[1, tokens, _]) => Ok(tokens),
            found => Err(weights.bad(format!(
                "tensor {name}: expected the shape (1, tokens, {width}), found {}",
                found.map_or("none".to_owned(), |shape| format!("{shape:?}"))
            ))),
        };
        let registers = match weights.contains(dialect.registers) {
            true => tokens_of(dialect.registers)?,
            false => 0,
        };
        let tokens = tokens_of(dialect.positions)?;
        let places = tokens.saturating_sub(usize::from(has_class));
        let grid = places.isqrt();
        if grid == 0 || grid * grid != places {
            return Err(weights.bad(format!(
                "tensor {}: expected the positions of a square of patches{}, found {tokens}",
                dialect.positions,
                if has_class { " and one of the class token" } else { "" }
            )));
        }
        let depth = depth(weights, dialect.blocks)?;
        Ok(Some(Vit { dialect, width, patch, depth, has_class, registers, grid }))
    }

    /// `vit-s14`, `vit-b16`, with registers `vit-s14-reg4`; `vit-128-3-14` (width, depth, patch)
    /// where no published network is like it.
    pub(super) fn name(&self) -> String {
        let size = match (self.width, self.depth) {
            (192, 12) => "ti".to_owned(),
            (384, 12) => "s".to_owned(),
            (768, 12) => "b".to_owned(),
            (1024, 24) => "l".to_owned(),
            (width, depth) => format!("{width}-{depth}-"),
        };
        let registers = match self.registers {
            0 => String::new(),
            n => format!("-reg{n}"),
        };
        format!("vit-{size}{}{registers}", self.patch)
    }

    /// The name with every setting that is not the network's own: `vit-s14-heads12-offset0`.
    pub(super) fn name_with(&self, settings: &TransformerSettings) -> Result<String> {
        let (own, set) = (self.settings(&TransformerSettings::default()), self.settings(settings)?);
        let own = own.ok();
        let mut name = self.name();
        let mut put = |is_own: Option<bool>, text: String| {
            if is_own != Some(true) {
                name.push_str(&text);
            }
        };
        put(own.map(|own| own.heads == set.heads), format!("-heads{}", set.heads));
        put(own.map(|own| own.norm_eps == set.norm_eps), format!("-eps{}", set.norm_eps));
        put(
            own.map(|own| own.position_offset == set.position_offset),
            format!("-offset{}", set.position_offset),
        );
        let antialias = if set.position_antialias { "-antialias" } else { "-plain" };
        put(own.map(|own| own.position_antialias == set.position_antialias), antialias.to_owned());
        Ok(name)
    }

    /// What `given` says, and where it says nothing what DINOv2's code does with such a network.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number of heads that does not divide the width, or that is not
    /// given where 64 does not, for an epsilon below 0 and for an offset outside [0, 1).
    pub fn settings(&self, given: &TransformerSettings) -> Result<VitSettings> {
        let heads = given.heads.unwrap_or(self.width / HEAD_WIDTH);
        let is_divided = heads > 0 && self.width.is_multiple_of(heads);
        if !is_divided || (given.heads.is_none() && !self.width.is_multiple_of(HEAD_WIDTH)) {
            return Err(Error::invalid(format!(
                "heads: expected a divisor of the width {}, found {}; give \"transformer\": \
                 {{\"heads\": N}} in the JSON file beside the weights",
                self.width,
                given.heads.map_or("none".to_owned(), |heads| heads.to_string())
            )));
        }
        let norm_eps = given.norm_eps.unwrap_or(NORM_EPS);
        if !(norm_eps.is_finite() && norm_eps >= 0.0) {
            return Err(Error::invalid(format!("norm_eps: expected 0 or more, found {norm_eps}")));
        }
        let has_registers = self.registers > 0;
        let own_offset = if has_registers { 0.0 } else { POSITION_OFFSET };
        let position_offset = given.position_offset.unwrap_or(own_offset);
        if !(0.0..1.0).contains(&position_offset) {
            return Err(Error::invalid(format!(
                "position_offset: expected 0 or more, and less than 1, found {position_offset}"
            )));
        }
        let position_antialias = given.position_antialias.unwrap_or(has_registers);
        Ok(VitSettings { heads, norm_eps, position_offset, position_antialias })
    }

    /// Name of the class token, (1, 1, width).
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.dialect.class
    }

    /// Name of the register tokens, (1, registers, width).
    #[must_use]
    pub fn register_tokens(&self) -> &'static str {
        self.dialect.registers
    }

    /// Name of the positions, (1, tokens, width): that of the class token first, if there is one,
    /// then row by row those of the patches.
    #[must_use]
    pub fn positions(&self) -> &'static str {
        self.dialect.positions
    }

    /// Name of the layer that makes a token of a patch.
    #[must_use]
    pub fn patch_layer(&self) -> &'static str {
        self.dialect.patch
    }

    /// Name of the last normalisation.
    #[must_use]
    pub fn norm(&self) -> &'static str {
        self.dialect.norm
    }

    /// Names of a block, from 0.
    #[must_use]
    pub fn block(&self, weights: &Weights, number: usize) -> VitBlock {
        let name = |part: &str| format!("{}{number}.{part}", self.dialect.blocks);
        let scale = |part: Option<&str>| part.map(name).filter(|name| weights.contains(name));
        VitBlock {
            norm1: name(self.dialect.norm1),
            qkv: self.dialect.qkv.iter().map(|part| name(part)).collect(),
            projection: name(self.dialect.projection),
            scale1: scale(self.dialect.scale1),
            norm2: name(self.dialect.norm2),
            fc1: name(self.dialect.fc1),
            fc2: name(self.dialect.fc2),
            scale2: scale(self.dialect.scale2),
        }
    }

    /// Whether such a network, or its classifier, has a tensor of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        let d = self.dialect;
        let is_layer = |name: &str, layer: &str| {
            let field = name.strip_prefix(layer).and_then(|rest| rest.strip_prefix('.'));
            matches!(field, Some("weight" | "bias"))
        };
        if UNUSED.iter().any(|unused| match unused.strip_suffix('.') {
            Some(_) => name.starts_with(unused),
            None => name == *unused,
        }) {
            return true;
        }
        let Some((_, part)) = name.strip_prefix(d.blocks).and_then(|rest| rest.split_once('.'))
        else {
            return [d.class, d.registers, d.positions].contains(&name)
                || is_layer(name, d.patch)
                || is_layer(name, d.norm);
        };
        let layers = [d.norm1, d.projection, d.norm2, d.fc1, d.fc2];
        layers.iter().chain(d.qkv).any(|layer| is_layer(part, layer))
            || [d.scale1, d.scale2].contains(&Some(part))
    }
}

/// Number of blocks: one more than the largest number in the names.
fn depth(weights: &Weights, blocks: &str) -> Result<usize> {
    let mut depth = 0;
    for name in weights.names() {
        let Some((number, _)) = name.strip_prefix(blocks).and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else { continue };
        if number >= Layer::MAX_STAGE as usize {
            return Err(
                weights.bad(format!("tensor {name}: expected at most {} blocks", Layer::MAX_STAGE))
            );
        }
        depth = depth.max(number + 1);
    }
    Ok(depth)
}
