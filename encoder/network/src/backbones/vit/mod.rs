//! Loading a vision transformer's layers.

use ocelli_weights::Weights;
use ocelli_weights::backbone::{Vit, VitSettings};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::layers::tensor_f64;
use crate::layers::transformer::{Block, Linear, Norm, Positions, Transformer};
use crate::torch::Torch;

#[cfg(test)]
mod tests;

/// Loads the first `blocks` blocks and what stands around them.
///
/// # Errors
/// `MissingTensor`, `TensorShape`, or `BadWeights` for values that are not finite in float32.
pub(super) fn load(
    weights: &Weights,
    vit: &Vit,
    settings: VitSettings,
    blocks: usize,
) -> Result<Transformer> {
    let (width, side) = (vit.width, vit.patch);
    let file = File { weights, width };
    let tokens = |name: &str, count: usize| file.tensor(name, &[Some(1), Some(count), Some(width)]);
    let of_class = usize::from(vit.has_class);
    let places = vit.grid * vit.grid;
    let positions = tokens(vit.positions(), of_class + places)?;
    let class = vit.has_class.then(|| tokens(vit.class(), 1)).transpose()?;
    let registers =
        (vit.registers > 0).then(|| tokens(vit.register_tokens(), vit.registers)).transpose()?;
    let arrange = || -> Torch<_> {
        let of_patches = positions.f_narrow(1, of_class as i64, places as i64)?;
        let grid = vit.grid as i64;
        let map = of_patches.f_transpose(1, 2)?.f_reshape([1, width as i64, grid, grid])?;
        let class = match class {
            Some(class) => Some(single(&class.f_add(&positions.f_narrow(1, 0, 1)?)?)?),
            None => None,
        };
        Ok((single(&map)?, class, registers.as_ref().map(single).transpose()?))
    };
    let (map, class, registers) = arrange().map_err(Error::torch("arranging positions"))?;
    let shape = [Some(width), Some(3), Some(side), Some(side)];
    let patch = Linear {
        weight: file.single(&format!("{}.weight", vit.patch_layer()), &shape)?,
        bias: file.bias(vit.patch_layer(), width)?,
    };
    let blocks = (0..blocks).map(|number| file.block(vit, number)).collect::<Result<_>>()?;
    Ok(Transformer {
        patch,
        side: side as i64,
        width: width as i64,
        class,
        registers,
        positions: Positions { patches: map, settings },
        blocks,
        norm: file.norm(vit.norm())?,
        kind: Kind::Float,
        rounding: false,
    })
}

/// The weights of a network of this width.
struct File<'a> {
    weights: &'a Weights,
    width: usize,
}

impl File<'_> {
    fn block(&self, vit: &Vit, number: usize) -> Result<Block> {
        let names = vit.block(self.weights, number);
        let width = self.width;
        let fc1 = self.linear(&names.fc1, (None, width), None)?;
        let hidden = fc1.weight.size().first().map_or(0, |&n| n as usize);
        Ok(Block {
            norm1: self.norm(&names.norm1)?,
            qkv: self.qkv(&names.qkv)?,
            projection: self.linear(
                &names.projection,
                (Some(width), width),
                names.scale1.as_deref(),
            )?,
            norm2: self.norm(&names.norm2)?,
            fc1,
            fc2: self.linear(&names.fc2, (Some(width), hidden), names.scale2.as_deref())?,
        })
    }

    /// Queries, keys and values in one layer, whether the file has them so or one by one.
    fn qkv(&self, names: &[String]) -> Result<Linear> {
        let width = self.width;
        if let [name] = names {
            return self.linear(name, (Some(3 * width), width), None);
        }
        let mut parts = Vec::new();
        for name in names {
            parts.push(self.linear(name, (Some(width), width), None)?);
        }
        let join = || -> Torch<Linear> {
            let weights: Vec<&Tensor> = parts.iter().map(|part| &part.weight).collect();
            let biases: Vec<&Tensor> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
            let bias = match biases.len() == parts.len() {
                true => Some(Tensor::f_cat(&biases, 0)?),
                false => None,
            };
            Ok(Linear { weight: Tensor::f_cat(&weights, 0)?, bias })
        };
        let has_bias = |part: &&Linear| part.bias.is_some();
        let with_bias = parts.iter().filter(has_bias).count();
        if with_bias != 0 && with_bias != parts.len() {
            return Err(self
                .weights
                .bad(format!(
                    "{}: expected a bias of each or of none, found {with_bias}",
                    names.join(", ")
                ))
                .into());
        }
        join().map_err(Error::torch("joining queries, keys and values"))
    }

    /// A layer of `(out, input)`, its outputs multiplied by the tensor named `scale`: in float64,
    /// rounded once.
    fn linear(
        &self,
        name: &str,
        (out, input): (Option<usize>, usize),
        scale: Option<&str>,
    ) -> Result<Linear> {
        let weight_name = format!("{name}.weight");
        let weight = self.tensor(&weight_name, &[out, Some(input)])?;
        let out = weight.size().first().map_or(0, |&n| n as usize);
        let bias_name = format!("{name}.bias");
        let bias = match self.weights.contains(&bias_name) {
            true => Some(self.tensor(&bias_name, &[Some(out)])?),
            false => None,
        };
        let Some(scale) = scale else {
            let bias = bias.map(|bias| self.finite(&bias, &bias_name)).transpose()?;
            return Ok(Linear { weight: self.finite(&weight, &weight_name)?, bias });
        };
        let scale = self.tensor(scale, &[Some(out)])?;
        let scaled = || -> Torch<_> {
            let weight = weight.f_mul(&scale.f_reshape([-1, 1])?)?;
            Ok((weight, bias.map(|bias| bias.f_mul(&scale)).transpose()?))
        };
        let (weight, bias) = scaled().map_err(Error::torch("scaling a branch"))?;
        Ok(Linear {
            weight: self.finite(&weight, &weight_name)?,
            bias: bias.map(|bias| self.finite(&bias, &bias_name)).transpose()?,
        })
    }

    fn norm(&self, name: &str) -> Result<Norm> {
        let shape = [Some(self.width)];
        Ok(Norm {
            weight: self.single(&format!("{name}.weight"), &shape)?,
            bias: self.single(&format!("{name}.bias"), &shape)?,
        })
    }

    /// The bias of a layer, if it has one.
    fn bias(&self, layer: &str, out: usize) -> Result<Option<Tensor>> {
        let name = format!("{layer}.bias");
        let has = self.weights.contains(&name);
        has.then(|| self.single(&name, &[Some(out)])).transpose()
    }

    fn single(&self, name: &str, shape: &[Option<usize>]) -> Result<Tensor> {
        self.finite(&self.tensor(name, shape)?, name)
    }

    fn tensor(&self, name: &str, shape: &[Option<usize>]) -> Result<Tensor> {
        tensor_f64(self.weights, name, shape)
    }

    /// A tensor in float32, where all of its values are within its range.
    fn finite(&self, tensor: &Tensor, name: &str) -> Result<Tensor> {
        let tensor = single(tensor).map_err(Error::torch("rounding weights"))?;
        let finite = tensor.f_isfinite().and_then(|t| t.f_all()).and_then(|t| t.f_int64_value(&[]));
        match finite.map_err(Error::torch("checking weights"))? {
            0 => Err(self
                .weights
                .bad(format!("tensor {name}: a value is out of float32's range"))
                .into()),
            _ => Ok(tensor),
        }
    }
}

fn single(tensor: &Tensor) -> Torch<Tensor> {
    tensor.f_to_kind(Kind::Float)?.f_contiguous()
}
