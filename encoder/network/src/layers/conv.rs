//! One convolution, with batch normalisation folded away.

use std::sync::Arc;

use ocelli_weights::{Floats, Weights};
use tch::{Kind, Tensor};

use super::place::{Place, rounded};
use crate::error::{Error, Result};
use crate::torch::Torch;

/// One convolution with its bias; batch normalisation is already in both.
pub(crate) struct Conv {
    /// The name that its tensors have in a file: "layer1.0.conv1".
    name: Arc<str>,
    /// (out, in, k, k) f32; (out, 1, k, k) for a depthwise one.
    weight: Tensor,
    /// The weights for sides that are even, see [`ConvSpec::same`]: even height, even width, both.
    shifted: Option<[Tensor; 3]>,
    /// (out,) f32
    bias: Tensor,
    pub(crate) kernel: i64,
    pub(crate) stride: i64,
    pub(crate) padding: i64,
    /// 1, or the channels of a depthwise convolution.
    groups: i64,
    /// Whether oneDNN is asked without libtorch's choice.
    direct: bool,
    /// Whether what it makes is rounded to bfloat16.
    pub(crate) rounding: bool,
}

/// Name of a convolution, of its batch normalisation, and what it must look like.
#[derive(Clone, Copy)]
pub(crate) struct ConvSpec<'a> {
    pub(crate) conv: &'a str,
    /// None: no batch normalisation follows, whatever the names of other tensors are.
    pub(crate) bn: Option<&'a str>,
    /// None: free.
    pub(crate) out: Option<usize>,
    pub(crate) input: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: i64,
    pub(crate) padding: i64,
    /// Each channel on its own: (out, 1, k, k).
    pub(crate) depthwise: bool,
    /// Padded as TensorFlow's `SAME`: at stride 2 the windows of an even side begin one cell later
    /// than those of an odd one, so that less is padded in front than behind.
    pub(crate) same: bool,
}

impl<'a> ConvSpec<'a> {
    /// Stride 1, any number of outputs, padded so that the size stays, no batch normalisation.
    pub(crate) fn new(conv: &'a str, input: usize, kernel: usize) -> ConvSpec<'a> {
        let padding = (kernel / 2) as i64;
        ConvSpec {
            conv,
            bn: None,
            out: None,
            input,
            kernel,
            stride: 1,
            padding,
            depthwise: false,
            same: false,
        }
    }
}

impl Conv {
    /// y = gamma (conv(x) + b - mean) / sqrt(var + eps) + beta is again a convolution: its weight
    /// is scaled by gamma / sqrt(var + eps), its bias is beta + (b - mean) times that. Computed in
    /// float64 and rounded once.
    pub(crate) fn load(weights: &Weights, spec: &ConvSpec<'_>, bn_eps: f64) -> Result<Conv> {
        let ConvSpec { conv, bn, out, input, kernel, stride, padding, depthwise, same } = *spec;
        let weight = tensor_f64(
            weights,
            &format!("{conv}.weight"),
            &[out, Some(if depthwise { 1 } else { input }), Some(kernel), Some(kernel)],
        )?;
        let out = weight.size().first().map_or(0, |&n| n as usize);
        let per_channel = |name: String| tensor_f64(weights, &name, &[Some(out)]);
        let bias_name = format!("{conv}.bias");
        let has_bias = weights.contains(&bias_name);
        let bn_fields = ["weight", "bias", "running_mean", "running_var"];
        let present =
            |bn: &&str| bn_fields.iter().any(|field| weights.contains(&format!("{bn}.{field}")));

        let (weight, bias) = if let Some(bn) = bn.filter(present) {
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
            let wanted = match bn {
                Some(bn) => {
                    format!("{bias_name} or {bn}.weight, .bias, .running_mean, .running_var")
                }
                None => bias_name,
            };
            return Err(weights.missing(&wanted, &[Some(out)]).into());
        };

        let single = |tensor: &Tensor| tensor.f_to_kind(Kind::Float).and_then(|t| t.f_contiguous());
        let (weight, bias) = single(&weight)
            .and_then(|weight| Ok((weight, single(&bias)?)))
            .map_err(Error::torch("rounding weights"))?;
        for tensor in [&weight, &bias] {
            let finite =
                tensor.f_isfinite().and_then(|t| t.f_all()).and_then(|t| t.f_int64_value(&[]));
            if finite.map_err(Error::torch("checking weights"))? == 0 {
                let bn = bn.map(|bn| format!(" with {bn}")).unwrap_or_default();
                let what = format!(
                    "{conv}{bn}: not finite in float32 once folded (a negative variance, or values \
                     out of range)"
                );
                return Err(weights.bad(what).into());
            }
        }
        let shifted = if same && stride == 2 { Some(shifted(&weight)?) } else { None };
        let groups = if depthwise { input as i64 } else { 1 };
        let kernel = kernel as i64;
        let (direct, rounding) = (false, false);
        let name = Arc::from(conv);
        Ok(Conv { name, weight, shifted, bias, kernel, stride, padding, groups, direct, rounding })
    }

    pub(crate) fn out_channels(&self) -> usize {
        self.bias.size().first().map_or(0, |&n| n as usize)
    }

    /// Weight and bias, by the names that a file without batch normalisation has for them.
    pub(crate) fn tensors(&self) -> [(String, Tensor); 2] {
        [("weight", &self.weight), ("bias", &self.bias)]
            .map(|(part, tensor)| (format!("{}.{part}", self.name), tensor.shallow_clone()))
    }

    /// Operations for a cell of the output, a multiplication and an addition being two.
    pub(crate) fn flop_a_cell(&self) -> f64 {
        2.0 * self.weight.numel() as f64
    }

    /// (N, in, H, W) to (N, out, h, w), without a ReLU.
    pub(crate) fn forward(&self, x: &Tensor) -> Torch<Tensor> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let (mut weight, mut bias) = (self.weight_for(x)?, self.bias.shallow_clone());
        // In training in bfloat16, where weights are kept in float32.
        if weight.kind() != x.kind() {
            (weight, bias) = (weight.f_to_kind(x.kind())?, bias.f_to_kind(x.kind())?);
        }
        let (weight, bias, groups) = (&weight, Some(&bias), self.groups);
        let y = match self.direct {
            true => x.f_mkldnn_convolution(weight, bias, padding, stride, [1, 1], groups)?,
            false => x.f_conv2d(weight, bias, stride, padding, [1, 1], groups)?,
        };
        if self.rounding { rounded(&y) } else { Ok(y) }
    }

    /// The weights for a map of this size.
    fn weight_for(&self, x: &Tensor) -> Torch<Tensor> {
        let Some([even_height, even_width, both]) = &self.shifted else {
            return Ok(self.weight.shallow_clone());
        };
        let (_, _, height, width) = x.size4()?;
        let (row, column) = (1 - height % 2, 1 - width % 2);
        // Weights that are trained change, and gradients reach them through the padding.
        if self.weight.requires_grad() {
            return self.weight.f_constant_pad_nd([column, 0, row, 0]);
        }
        let weight = match (row, column) {
            (1, 1) => both,
            (1, _) => even_height,
            (_, 1) => even_width,
            _ => &self.weight,
        };
        Ok(weight.shallow_clone())
    }

    /// With weight and bias as `place` puts them.
    pub(crate) fn arranged(self, place: &Place<'_>) -> Torch<Conv> {
        let (weight, bias) = ((place.put)(&self.weight)?, (place.put)(&self.bias)?);
        let shifted = match &self.shifted {
            Some([a, b, c]) => Some([(place.put)(a)?, (place.put)(b)?, (place.put)(c)?]),
            None => None,
        };
        let Place { rounding, direct, .. } = *place;
        Ok(Conv { weight, shifted, bias, rounding, direct, ..self })
    }

    pub(crate) fn share(&self) -> Conv {
        let shifted = self.shifted.as_ref();
        Conv {
            name: Arc::clone(&self.name),
            weight: self.weight.shallow_clone(),
            shifted: shifted.map(|shifted| shifted.each_ref().map(Tensor::shallow_clone)),
            bias: self.bias.shallow_clone(),
            ..*self
        }
    }
}

/// The weights with a row, a column, and both, of zeros in front: with the padding of an odd side
/// their windows begin one cell later, and nothing is copied to pad the map.
fn shifted(weight: &Tensor) -> Result<[Tensor; 3]> {
    let pad = |row, column| weight.f_constant_pad_nd([column, 0, row, 0]);
    pad(1, 0)
        .and_then(|height| Ok([height, pad(0, 1)?, pad(1, 1)?]))
        .map_err(Error::torch("arranging weights"))
}

/// A tensor of the weights in float64, in the shape asked for.
pub(crate) fn tensor_f64(weights: &Weights, name: &str, shape: &[Option<usize>]) -> Result<Tensor> {
    let Floats { shape, values } = weights.floats(name, shape)?;
    let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    Tensor::f_from_slice(&values)
        .and_then(|tensor| tensor.f_reshape(&shape))
        .map_err(Error::torch("reading weights"))
}

/// Folded weight and bias in float64, from weight (o, i, k, k) and [gamma, beta, mean, variance],
/// (o,) each.
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
