//! The convolutional trunk of a ResNet: loading, with batch normalisation folded away, and running.
//!
//! He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (CVPR 2016). Two forms exist
//! of the bottleneck that enters a stage. The first, by the authors (Caffe, Keras), halves the map in
//! the first 1x1 convolution; torchvision's, often called v1.5, in the 3x3.

use ocelli_index::Form;
use tch::{Kind, Tensor};

use super::layout::{BlockKind, Layout};
use super::weights::Weights;
use crate::error::{Error, Result};

/// What libtorch answers; [`Error::torch`] names the operation where it leaves this module.
type Torch<T> = std::result::Result<T, tch::TchError>;

/// One convolution with its bias; batch normalisation is already in both.
struct Conv {
    /// (out, in, k, k) f32
    weight: Tensor,
    /// (out,) f32
    bias: Tensor,
    stride: i64,
    /// Keeps the size at stride 1: k / 2.
    padding: i64,
}

/// relu(branch(x) + shortcut(x)).
struct Block {
    /// First convolution of the branch.
    entry: Conv,
    /// The others, each after a ReLU.
    branch: Vec<Conv>,
    /// None: the identity.
    shortcut: Option<Conv>,
}

/// All layers from the pixels to the last stage.
pub(super) struct Trunk {
    stem: Conv,
    blocks: Vec<Block>,
    channels: usize,
    memory: MemoryLayout,
}

/// How weights and maps lie in memory between the first and the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryLayout {
    /// (N, C, H, W) row-major, which every build of libtorch computes with.
    Plain,
    /// oneDNN's own blocked layout. In the plain one oneDNN reorders the map before and after every
    /// convolution, a third of the time of a ResNet-50.
    Blocked,
}

impl MemoryLayout {
    /// The faster one, where this build of libtorch has it.
    pub(super) fn fastest() -> MemoryLayout {
        if tch::utils::has_mkldnn() { MemoryLayout::Blocked } else { MemoryLayout::Plain }
    }

    fn convert(self, tensor: &Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain => Ok(tensor.shallow_clone()),
            MemoryLayout::Blocked => tensor.f_to_mkldnn(None),
        }
    }

    fn restore(self, tensor: Tensor) -> Torch<Tensor> {
        match self {
            MemoryLayout::Plain => Ok(tensor),
            MemoryLayout::Blocked => tensor.f_to_dense(None, false),
        }
    }
}

/// Name of a convolution, of its batch normalisation, and what it must look like.
struct ConvSpec<'a> {
    conv: &'a str,
    bn: &'a str,
    /// None: free.
    out: Option<usize>,
    input: usize,
    kernel: usize,
    stride: i64,
}

/// Where a block stands.
struct Entry<'a> {
    /// "layer2.0"
    prefix: &'a str,
    /// Channels of its input.
    width: usize,
    stride: i64,
    /// The first block of its stage.
    is_entry: bool,
}

impl Trunk {
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
        let stem = ConvSpec { conv: "conv1", bn: "bn1", out: None, input: 3, kernel: 7, stride: 2 };
        let stem = Conv::load(weights, &stem, bn_eps)?;
        let mut width = stem.out_channels();
        let mut blocks = Vec::new();
        for (stage, &count) in layout.blocks.iter().enumerate().take(last_stage) {
            for block in 0..count {
                let prefix = format!("layer{}.{block}", stage + 1);
                // The max-pooling has halved the map already before stage 1.
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let entry = Entry { prefix: &prefix, width, stride, is_entry: block == 0 };
                let block = Block::load(weights, layout.kind, form, entry, bn_eps)?;
                width = block.branch.last().map_or(width, Conv::out_channels);
                blocks.push(block);
            }
        }
        Ok(Trunk { stem, blocks, channels: width, memory: MemoryLayout::Plain })
    }

    /// The same trunk with its weights in another layout; only from `Plain`.
    pub(super) fn arranged(self, memory: MemoryLayout) -> Torch<Trunk> {
        let stem = self.stem.arranged(memory)?;
        let blocks =
            self.blocks.into_iter().map(|block| block.arranged(memory)).collect::<Torch<_>>()?;
        Ok(Trunk { stem, blocks, channels: self.channels, memory })
    }

    /// Channels of the feature map.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Pixels (1, 3, H, W) to the feature map (1, C, h, w) after the last ReLU. The caller holds
    /// `no_grad`.
    pub(super) fn forward(&self, pixels: &Tensor) -> Torch<Tensor> {
        let pixels = self.memory.convert(pixels)?;
        let x = self.stem.forward(&pixels)?.f_relu_()?;
        let mut x = x.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.memory.restore(x)
    }

    /// A second handle on the same tensors.
    pub(super) fn share(&self) -> Trunk {
        Trunk {
            stem: self.stem.share(),
            blocks: self.blocks.iter().map(Block::share).collect(),
            channels: self.channels,
            memory: self.memory,
        }
    }
}

impl Block {
    fn load(
        weights: &Weights,
        kind: BlockKind,
        form: Form,
        entry: Entry<'_>,
        bn_eps: f64,
    ) -> Result<Block> {
        let Entry { prefix, width, stride, is_entry } = entry;
        // Kernel and stride of each convolution of the branch.
        let plan: Vec<(usize, i64)> = match (kind, form) {
            (BlockKind::Basic, _) => vec![(3, stride), (3, 1)],
            (BlockKind::Bottleneck, Form::V1) => vec![(1, stride), (3, 1), (1, 1)],
            (BlockKind::Bottleneck, Form::V1_5) => vec![(1, 1), (3, stride), (1, 1)],
        };
        let downsample = format!("{prefix}.downsample.0");
        let has_shortcut = weights.contains(&format!("{downsample}.weight"));
        let mut branch: Vec<Conv> = Vec::with_capacity(plan.len());
        let mut input = width;
        for (i, &(kernel, stride)) in plan.iter().enumerate() {
            let is_last = i + 1 == plan.len();
            let spec = ConvSpec {
                conv: &format!("{prefix}.conv{}", i + 1),
                bn: &format!("{prefix}.bn{}", i + 1),
                // Inside a stage the branch comes back to the width of the identity. (At its entry,
                // what does not fit asks for a projection.)
                out: (is_last && !is_entry && !has_shortcut).then_some(width),
                input,
                kernel,
                stride,
            };
            let conv = Conv::load(weights, &spec, bn_eps)?;
            input = conv.out_channels();
            branch.push(conv);
        }
        let shortcut = if has_shortcut || stride != 1 || input != width {
            let bn = format!("{prefix}.downsample.1");
            let spec = ConvSpec {
                conv: &downsample,
                bn: &bn,
                out: Some(input),
                input: width,
                kernel: 1,
                stride,
            };
            Some(Conv::load(weights, &spec, bn_eps)?)
        } else {
            None
        };
        let entry = branch.remove(0);
        Ok(Block { entry, branch, shortcut })
    }

    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let mut y = self.entry.forward(x)?;
        for conv in &self.branch {
            y = conv.forward(&y.f_relu_()?)?;
        }
        // In place: y is fresh from a convolution, and nobody else holds it.
        let mut sum = match &self.shortcut {
            Some(conv) => y.f_add_(&conv.forward(x)?)?,
            None => y.f_add_(x)?,
        };
        sum.f_relu_()
    }

    fn arranged(self, memory: MemoryLayout) -> Torch<Block> {
        Ok(Block {
            entry: self.entry.arranged(memory)?,
            branch: self
                .branch
                .into_iter()
                .map(|conv| conv.arranged(memory))
                .collect::<Torch<_>>()?,
            shortcut: self.shortcut.map(|conv| conv.arranged(memory)).transpose()?,
        })
    }

    fn share(&self) -> Block {
        Block {
            entry: self.entry.share(),
            branch: self.branch.iter().map(Conv::share).collect(),
            shortcut: self.shortcut.as_ref().map(Conv::share),
        }
    }
}

impl Conv {
    /// y = gamma (conv(x) + b - mean) / sqrt(var + eps) + beta is again a convolution: its weight is
    /// scaled by gamma / sqrt(var + eps), its bias is beta + (b - mean) times that. Computed in
    /// float64 and rounded once.
    fn load(weights: &Weights, spec: &ConvSpec<'_>, bn_eps: f64) -> Result<Conv> {
        let ConvSpec { conv, bn, out, input, kernel, stride } = *spec;
        let weight = weights.tensor_f64(
            &format!("{conv}.weight"),
            &[out, Some(input), Some(kernel), Some(kernel)],
        )?;
        let out = weight.size().first().map_or(0, |&n| n as usize);
        let per_channel = |name: String| weights.tensor_f64(&name, &[Some(out)]);
        let bias_name = format!("{conv}.bias");
        let has_bias = weights.contains(&bias_name);
        let bn_fields = ["weight", "bias", "running_mean", "running_var"];
        let has_bn = bn_fields.iter().any(|field| weights.contains(&format!("{bn}.{field}")));

        let (weight, bias) = if has_bn {
            let gamma = per_channel(format!("{bn}.weight"))?;
            let beta = per_channel(format!("{bn}.bias"))?;
            let mean = per_channel(format!("{bn}.running_mean"))?;
            let variance = per_channel(format!("{bn}.running_var"))?;
            let bias = if has_bias { Some(per_channel(bias_name)?) } else { None };
            fold(&weight, bias.as_ref(), [&gamma, &beta, &mean, &variance], bn_eps)
                .map_err(Error::torch("folding batch normalisation"))?
        } else if has_bias {
            (weight, per_channel(bias_name)?)
        } else {
            let either = format!("{bias_name} or {bn}.weight, .bias, .running_mean, .running_var");
            return Err(weights.missing(&either, &[Some(out)]));
        };

        let single = |tensor: &Tensor| tensor.f_to_kind(Kind::Float).and_then(|t| t.f_contiguous());
        let (weight, bias) = single(&weight)
            .and_then(|weight| Ok((weight, single(&bias)?)))
            .map_err(Error::torch("rounding weights"))?;
        for tensor in [&weight, &bias] {
            let finite =
                tensor.f_isfinite().and_then(|t| t.f_all()).and_then(|t| t.f_int64_value(&[]));
            if finite.map_err(Error::torch("checking weights"))? == 0 {
                return Err(weights.bad(format!(
                    "{conv} with {bn}: not finite in float32 once folded (a negative variance, or values out of range)"
                )));
            }
        }
        Ok(Conv { weight, bias, stride, padding: (kernel / 2) as i64 })
    }

    fn out_channels(&self) -> usize {
        self.bias.size().first().map_or(0, |&n| n as usize)
    }

    fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.f_conv2d(&self.weight, Some(&self.bias), stride, padding, [1, 1], 1)
    }

    fn arranged(self, memory: MemoryLayout) -> Torch<Conv> {
        Ok(Conv {
            weight: memory.convert(&self.weight)?,
            bias: memory.convert(&self.bias)?,
            ..self
        })
    }

    fn share(&self) -> Conv {
        Conv {
            weight: self.weight.shallow_clone(),
            bias: self.bias.shallow_clone(),
            stride: self.stride,
            padding: self.padding,
        }
    }
}

/// Folded weight and bias in float64, from weight (o, i, k, k) and [gamma, beta, mean, variance], (o,)
/// each.
fn fold(
    weight: &Tensor,
    bias: Option<&Tensor>,
    [gamma, beta, mean, variance]: [&Tensor; 4],
    eps: f64,
) -> Torch<(Tensor, Tensor)> {
    let scale = gamma.f_div(&variance.f_add_scalar(eps)?.f_sqrt()?)?;
    let centre = match bias {
        Some(bias) => bias.f_sub(mean)?,
        None => mean.f_neg()?,
    };
    let folded = weight.f_mul(&scale.f_reshape([-1, 1, 1, 1])?)?;
    Ok((folded, centre.f_mul(&scale)?.f_add(beta)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Golden values are compared in the fastest layout; this holds the plain one, the fallback, to it.
    #[test]
    fn both_memory_layouts_agree() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/bottleneck_v1.weights.safetensors");
        let weights = Weights::read(&path).unwrap();
        let layout = Layout::of(&weights).unwrap();
        let map = |memory| {
            let trunk = Trunk::load(&weights, &layout, Form::V1, 3, 1e-3)
                .unwrap()
                .arranged(memory)
                .unwrap();
            let pixels = Tensor::arange(3 * 61 * 45, (Kind::Float, tch::Device::Cpu))
                .sin()
                .reshape([1, 3, 61, 45]);
            Vec::<f32>::try_from(trunk.forward(&pixels).unwrap().reshape([-1])).unwrap()
        };
        let (plain, fastest) =
            tch::no_grad(|| (map(MemoryLayout::Plain), map(MemoryLayout::fastest())));
        assert_eq!(plain.len(), 64 * 4 * 3);
        let largest = plain.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0);
        assert!(plain.iter().zip(&fastest).all(|(a, b)| (a - b).abs() < 1e-5 * largest));
    }
}
