//! What a network does between the pixels and the map, whatever kind of network it is.

use std::sync::Arc;

use ocelli_index::{Grid, Pooling, Precision};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::transformer::Transformer;
use crate::layers::{MemoryLayout, Trunk};
use crate::onnx::Onnx;
use crate::torch::Torch;

/// The layers of a network.
pub(crate) enum Body {
    /// Convolutions one after the other.
    Trunk(Trunk),
    /// A vision transformer.
    Transformer(Transformer),
    /// A network in an ONNX file.
    Onnx(Arc<Onnx>),
}

impl Body {
    /// The same layers in a layout and number type, on `device`; only from plain float32 on the
    /// CPU. bfloat16 on a CPU that libtorch has no kernels for is computed in float32, with the
    /// same rounding. The caller holds `no_grad`.
    pub(crate) fn arranged(
        self,
        layout: MemoryLayout,
        precision: Precision,
        device: Device,
    ) -> Result<Body> {
        let arranged = match self.share() {
            Body::Trunk(trunk) => trunk.arranged(layout, precision, device).map(Body::Trunk),
            Body::Transformer(transformer) => {
                transformer.arranged(precision, device).map(Body::Transformer)
            }
            Body::Onnx(onnx) => Ok(Body::Onnx(onnx)),
        };
        let arranged = arranged.map_err(Error::torch("arranging weights"))?;
        if precision != Precision::Bf16 || device != Device::Cpu {
            return Ok(arranged);
        }
        // Asked of libtorch itself, since what it takes depends on its build and on the
        // environment, too.
        let Err(refused) = arranged.try_out() else { return Ok(arranged) };
        let rounding = match self {
            Body::Trunk(trunk) => trunk.rounding().map(Body::Trunk),
            Body::Transformer(transformer) => transformer.rounding().map(Body::Transformer),
            Body::Onnx(onnx) => Ok(Body::Onnx(onnx)),
        };
        let rounding = rounding.map_err(Error::torch("arranging weights"))?;
        rounding.try_out()?;
        tracing::warn!(
            %refused,
            "--precision bf16 needs a CPU with AVX-512 (BW, VL and DQ) or AVX-NE-CONVERT: here \
             values are rounded as there and computed in float32, which is slower than \
             --precision f32"
        );
        Ok(rounding)
    }

    /// Runs a small image through all layers.
    fn try_out(&self) -> Result<()> {
        let pixels = Tensor::f_zeros([1, 3, 64, 64], (Kind::Float, Device::Cpu));
        let maps = pixels.and_then(|pixels| self.forward(&pixels, &Pooling::Mac));
        maps.map(drop).map_err(Error::torch("trying out the layers"))
    }

    /// Channels of the map.
    pub(crate) fn channels(&self) -> usize {
        match self {
            Body::Trunk(trunk) => trunk.channels(),
            Body::Transformer(transformer) => transformer.channels(),
            Body::Onnx(onnx) => onnx.channels(),
        }
    }

    /// Refuses a pooling that reads what this network has not: what was expected.
    pub(crate) fn check(&self, pooling: &Pooling) -> std::result::Result<(), &'static str> {
        let is_cls = *pooling == Pooling::Cls;
        match self {
            Body::Trunk(_) if is_cls => Err("gem, rmac, mac or spoc, or a transformer"),
            Body::Transformer(transformer) if is_cls && !transformer.has_class_token() => {
                Err("gem, rmac, mac or spoc, or a transformer with a class token")
            }
            Body::Onnx(onnx) if onnx.is_embedding() && !is_cls => {
                Err("cls, since the network's output is an embedding")
            }
            Body::Onnx(onnx) if !onnx.is_embedding() => match pooling {
                Pooling::Cls => Err("gem, rmac, mac or spoc, or an output that is an embedding"),
                Pooling::Rmac { grid: Grid::ImagePixels, .. } => {
                    Err("the grid feature-map, since an ONNX file does not tell its stride")
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Size of the map of `height` x `width` pixels; None for an image that is too small.
    pub(crate) fn map_size(&self, height: usize, width: usize) -> Option<(usize, usize)> {
        match self {
            Body::Trunk(trunk) => trunk.map_size(height, width),
            Body::Transformer(transformer) => transformer.map_size(height, width),
            // The runtime tells when it has run.
            Body::Onnx(_) => Some((1, 1)),
        }
    }

    /// Operations for an image of `height` x `width` pixels, a multiplication and an addition being
    /// two; None for one that is too small, and for an ONNX network.
    pub(crate) fn flop(&self, height: usize, width: usize) -> Option<f64> {
        match self {
            Body::Trunk(trunk) => trunk.flop(height, width),
            Body::Transformer(transformer) => transformer.flop(height, width),
            Body::Onnx(_) => None,
        }
    }

    /// Pixels (N, 3, H, W) to what `pooling` reads: maps (N, C, h, w), or the class token as a map
    /// of one cell. The caller holds `no_grad`.
    pub(crate) fn forward(&self, pixels: &Tensor, pooling: &Pooling) -> Torch<Tensor> {
        match (self, pooling) {
            (Body::Trunk(trunk), _) => trunk.forward(pixels),
            (Body::Transformer(transformer), Pooling::Cls) => transformer.class_token(pixels),
            (Body::Transformer(transformer), _) => transformer.map(pixels),
            (Body::Onnx(onnx), _) => onnx.forward(pixels),
        }
    }

    /// A second handle on the same tensors.
    pub(crate) fn share(&self) -> Body {
        match self {
            Body::Trunk(trunk) => Body::Trunk(trunk.share()),
            Body::Transformer(transformer) => Body::Transformer(transformer.share()),
            Body::Onnx(onnx) => Body::Onnx(Arc::clone(onnx)),
        }
    }
}
