//! A vision transformer: patches to tokens, blocks of attention, and what is read of the tokens.
//!
//! Dosovitskiy et al.: "An Image is Worth 16x16 Words" (ICLR 2021); scaled branches from Touvron et
//! al.: "Going deeper with Image Transformers" (ICCV 2021); register tokens from Darcet et al.:
//! "Vision Transformers Need Registers" (ICLR 2024).
//!
//! Pixels right of and below the last whole patch are not seen, as in the code of DINO and of
//! Hugging Face: an image of 450 x 300 pixels is one of 448 x 294 to a network of patches of 14.

use ocelli_index::Precision;
use ocelli_weights::backbone::VitSettings;
use tch::{Device, Kind, Tensor};

use super::place::rounded;
use crate::torch::Torch;

/// y = W x + b.
pub(crate) struct Linear {
    /// (out, in), or (width, 3, side, side) for the layer that makes tokens of patches.
    pub(crate) weight: Tensor,
    /// (out,)
    pub(crate) bias: Option<Tensor>,
}

/// Layer normalisation: gain and bias, (width,) each.
pub(crate) struct Norm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

/// x + attention(norm(x)), then x + mlp(norm(x)). Scales of branches are already in `projection`
/// and `fc2`.
pub(crate) struct Block {
    pub(crate) norm1: Norm,
    /// (3 width, width): queries, keys, values.
    pub(crate) qkv: Linear,
    pub(crate) projection: Linear,
    pub(crate) norm2: Norm,
    pub(crate) fc1: Linear,
    pub(crate) fc2: Linear,
}

/// The learned positions: of patches on a square, scaled to the patches of an image.
pub(crate) struct Positions {
    /// (1, width, side, side), always float32.
    pub(crate) patches: Tensor,
    pub(crate) settings: VitSettings,
}

/// All layers from the pixels to the last normalisation.
pub(crate) struct Transformer {
    pub(crate) patch: Linear,
    /// Pixels along a side of a patch.
    pub(crate) side: i64,
    pub(crate) width: i64,
    /// (1, 1, width): the class token with its position.
    pub(crate) class: Option<Tensor>,
    /// (1, n, width).
    pub(crate) registers: Option<Tensor>,
    pub(crate) positions: Positions,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    pub(crate) kind: Kind,
    /// Whether float32 is rounded as bfloat16 would be.
    pub(crate) rounding: bool,
}

impl Transformer {
    /// The same network in another number type, on `device`; only from float32 on the CPU.
    pub(crate) fn arranged(self, precision: Precision, device: Device) -> Torch<Transformer> {
        let kind = match precision {
            Precision::F32 => Kind::Float,
            Precision::Bf16 => Kind::BFloat16,
        };
        let positions = self.positions.patches.f_to_device(device)?;
        let put = |tensor: &Tensor| tensor.f_to_device(device)?.f_to_kind(kind);
        let mut made = self.mapped(&put)?;
        made.positions.patches = positions;
        made.kind = kind;
        Ok(made)
    }

    /// The same network in float32, with everything rounded to what bfloat16 has.
    pub(crate) fn rounding(self) -> Torch<Transformer> {
        let positions = self.positions.patches.shallow_clone();
        let mut made = self.mapped(&rounded)?;
        made.positions.patches = positions;
        made.rounding = true;
        Ok(made)
    }

    /// A second handle on the same tensors.
    pub(crate) fn share(&self) -> Transformer {
        let linear = |l: &Linear| Linear {
            weight: l.weight.shallow_clone(),
            bias: l.bias.as_ref().map(Tensor::shallow_clone),
        };
        let norm =
            |n: &Norm| Norm { weight: n.weight.shallow_clone(), bias: n.bias.shallow_clone() };
        let block = |b: &Block| Block {
            norm1: norm(&b.norm1),
            qkv: linear(&b.qkv),
            projection: linear(&b.projection),
            norm2: norm(&b.norm2),
            fc1: linear(&b.fc1),
            fc2: linear(&b.fc2),
        };
        Transformer {
            patch: linear(&self.patch),
            class: self.class.as_ref().map(Tensor::shallow_clone),
            registers: self.registers.as_ref().map(Tensor::shallow_clone),
            positions: Positions {
                patches: self.positions.patches.shallow_clone(),
                settings: self.positions.settings,
            },
            blocks: self.blocks.iter().map(block).collect(),
            norm: norm(&self.norm),
            ..*self
        }
    }

    /// With every tensor changed by `put`.
    fn mapped(self, put: &dyn Fn(&Tensor) -> Torch<Tensor>) -> Torch<Transformer> {
        let linear = |l: Linear| -> Torch<Linear> {
            Ok(Linear { weight: put(&l.weight)?, bias: l.bias.as_ref().map(put).transpose()? })
        };
        let norm =
            |n: Norm| -> Torch<Norm> { Ok(Norm { weight: put(&n.weight)?, bias: put(&n.bias)? }) };
        let block = |b: Block| -> Torch<Block> {
            Ok(Block {
                norm1: norm(b.norm1)?,
                qkv: linear(b.qkv)?,
                projection: linear(b.projection)?,
                norm2: norm(b.norm2)?,
                fc1: linear(b.fc1)?,
                fc2: linear(b.fc2)?,
            })
        };
        Ok(Transformer {
            patch: linear(self.patch)?,
            class: self.class.as_ref().map(put).transpose()?,
            registers: self.registers.as_ref().map(put).transpose()?,
            blocks: self.blocks.into_iter().map(block).collect::<Torch<_>>()?,
            norm: norm(self.norm)?,
            ..self
        })
    }

    /// Channels of the map.
    pub(crate) fn channels(&self) -> usize {
        self.width as usize
    }

    /// Whole patches of `height` x `width` pixels; None without one.
    pub(crate) fn map_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        let side = self.side as usize;
        Some((height / side, width / side)).filter(|&(height, width)| height > 0 && width > 0)
    }

    /// Operations of all products of matrices, a multiplication and an addition being two.
    pub(crate) fn flop(&self, height: usize, width: usize) -> Option<f64> {
        let (rows, columns) = self.map_size(height, width)?;
        let patches = (rows * columns) as f64;
        let registers = self.registers.as_ref().and_then(|r| r.size().get(1).copied());
        let tokens =
            patches + f64::from(u8::from(self.class.is_some())) + registers.unwrap_or(0) as f64;
        let block = |block: &Block| {
            let layers = [&block.qkv, &block.projection, &block.fc1, &block.fc2];
            let weights: usize = layers.iter().map(|layer| layer.weight.numel()).sum();
            // Besides the layers: queries times keys, and the shares times values.
            2.0 * tokens * weights as f64 + 4.0 * tokens * tokens * self.width as f64
        };
        let patch = 2.0 * patches * self.patch.weight.numel() as f64;
        Some(patch + self.blocks.iter().map(block).sum::<f64>())
    }

    /// Pixels (N, 3, H, W) to the map (N, width, h, w) of the normalised tokens of all patches. The
    /// caller holds `no_grad`.
    pub(crate) fn map(&self, pixels: &Tensor) -> Torch<Tensor> {
        let (tokens, (height, width)) = self.tokens(pixels)?;
        let (images, all, channels) = tokens.size3()?;
        let patches = tokens.f_narrow(1, all - height * width, height * width)?;
        let patches = self.normal(&self.norm, &patches)?;
        patches.f_transpose(1, 2)?.f_reshape([images, channels, height, width])
    }

    /// Pixels to the normalised class token, as a map of one cell (N, width, 1, 1). Without a class
    /// token that is the first patch: [`has_class_token`](Transformer::has_class_token) tells.
    pub(crate) fn class_token(&self, pixels: &Tensor) -> Torch<Tensor> {
        let (tokens, _) = self.tokens(pixels)?;
        let (images, _, channels) = tokens.size3()?;
        let class = self.normal(&self.norm, &tokens.f_narrow(1, 0, 1)?)?;
        class.f_reshape([images, channels, 1, 1])
    }

    /// Whether there is a class token.
    pub(crate) fn has_class_token(&self) -> bool {
        self.class.is_some()
    }

    /// Tokens (N, n, width) behind the last block: of the class, registers, and patches row by row;
    /// and the number of patches, (height, width).
    fn tokens(&self, pixels: &Tensor) -> Torch<(Tensor, (i64, i64))> {
        let (images, _, pixel_height, pixel_width) = pixels.size4()?;
        let pixels = self.round(pixels.f_to_kind(self.kind)?)?;
        let stride = [self.side; 2];
        let patches = pixels.f_conv2d(
            &self.patch.weight,
            self.patch.bias.as_ref(),
            stride,
            [0, 0],
            [1, 1],
            1,
        )?;
        let (_, channels, height, width) = patches.size4()?;
        let row_by_row =
            |map: &Tensor| map.f_reshape([-1, channels, height * width])?.f_transpose(1, 2);
        let positions = self.positions.of((height, width), (pixel_height, pixel_width))?;
        let positions = row_by_row(&positions)?.f_to_kind(self.kind)?;
        let patches = self.round(row_by_row(&self.round(patches)?)?.f_add(&positions)?)?;
        let for_all = |token: &Tensor| token.f_expand([images, -1, channels], false);
        let mut parts = Vec::new();
        for special in [&self.class, &self.registers].into_iter().flatten() {
            parts.push(for_all(special)?);
        }
        parts.push(patches);
        let mut tokens = Tensor::f_cat(&parts, 1)?;
        for block in &self.blocks {
            tokens = self.block(block, tokens)?;
        }
        Ok((tokens, (height, width)))
    }

    fn block(&self, block: &Block, tokens: Tensor) -> Torch<Tensor> {
        let attended = self.attention(block, &self.normal(&block.norm1, &tokens)?)?;
        let tokens = self.round(tokens.f_add(&attended)?)?;
        let hidden = self.linear(&block.fc1, &self.normal(&block.norm2, &tokens)?)?;
        let hidden = self.round(hidden.f_gelu("none")?)?;
        self.round(tokens.f_add(&self.linear(&block.fc2, &hidden)?)?)
    }

    fn attention(&self, block: &Block, tokens: &Tensor) -> Torch<Tensor> {
        let (images, count, width) = tokens.size3()?;
        let heads = self.positions.settings.heads as i64;
        let qkv = self.linear(&block.qkv, tokens)?;
        let qkv = qkv.f_reshape([images, count, 3, heads, width / heads])?;
        let qkv = qkv.f_permute([2, 0, 3, 1, 4])?;
        let [query, key, value] = [0, 1, 2].map(|part| qkv.f_select(0, part));
        let (query, key, value) = (query?, key?, value?);
        let none: Option<Tensor> = None;
        let mixed = Tensor::f_scaled_dot_product_attention(
            &query, &key, &value, none, 0.0, false, None, false,
        )?;
        let mixed = mixed.f_transpose(1, 2)?.f_reshape([images, count, width])?;
        self.linear(&block.projection, &self.round(mixed)?)
    }

    fn linear(&self, layer: &Linear, x: &Tensor) -> Torch<Tensor> {
        self.round(x.f_linear(&layer.weight, layer.bias.as_ref())?)
    }

    fn normal(&self, norm: &Norm, x: &Tensor) -> Torch<Tensor> {
        let eps = self.positions.settings.norm_eps;
        let (weight, bias) = (Some(&norm.weight), Some(&norm.bias));
        self.round(x.f_layer_norm([self.width], weight, bias, eps, true)?)
    }

    fn round(&self, x: Tensor) -> Torch<Tensor> {
        if self.rounding { rounded(&x) } else { Ok(x) }
    }
}

impl Positions {
    /// The positions of `patches`, (height, width), of an image of `pixels`, as a map (1, width,
    /// height, width), float32.
    ///
    /// DINOv2's code: as learned where the image is square and has as many patches; else bicubic.
    /// With an offset the scale is (patches + offset) / side, without one patches / side.
    fn of(&self, patches: (i64, i64), pixels: (i64, i64)) -> Torch<Tensor> {
        let (_, _, side, _) = self.patches.size4()?;
        if patches.0 * patches.1 == side * side && pixels.0 == pixels.1 {
            return Ok(self.patches.shallow_clone());
        }
        let offset = self.settings.position_offset;
        let scale =
            |patches: i64| (offset > 0.0).then_some((patches as f64 + offset) / side as f64);
        let (size, vertical, horizontal) =
            ([patches.0, patches.1], scale(patches.0), scale(patches.1));
        match self.settings.position_antialias {
            false => self.patches.f_upsample_bicubic2d(size, false, vertical, horizontal),
            true => {
                self.patches.f_internal_upsample_bicubic2d_aa(size, false, vertical, horizontal)
            }
        }
    }
}
