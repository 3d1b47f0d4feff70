//! The gradient of a batch in the memory of one image.
//!
//! Pass one computes the descriptors without a graph, image by image. The loss gives the gradient
//! with respect to each descriptor. Pass two runs each image again, with a graph, and propagates
//! descriptor · gradient back: by the chain rule the sum over the images is the gradient of the
//! loss. Images may have any sizes, since none shares a tensor with another.

use ocelli_network::Trainable;
use ocelli_network::tch::{self, Tensor};

use crate::error::{Error, Result};
use crate::loss::doubles;

/// Gives the input of an image by its place; None for one that cannot be read.
pub type Inputs<'a> = dyn FnMut(usize) -> Result<Option<Tensor>> + 'a;

/// Descriptors of images 0 to `count`, without a graph. None for those that cannot be read, and for
/// those where no unit fires.
///
/// # Errors
/// Those of `inputs`, `Torch`.
pub fn descriptors(
    network: &Trainable,
    count: usize,
    inputs: &mut Inputs<'_>,
) -> Result<Vec<Option<Vec<f64>>>> {
    let mut one = |at: usize| -> Result<Option<Vec<f64>>> {
        let Some(input) = inputs(at)? else { return Ok(None) };
        let descriptor = tch::no_grad(|| network.descriptor(&input))?;
        let values = doubles(&descriptor).map_err(Error::torch("reading a descriptor"))?;
        Ok(Some(values).filter(|values| values.iter().any(|&v| v != 0.0)))
    };
    (0..count).map(&mut one).collect()
}

/// Adds the gradient of each image to the gradients of the network's parameters. `gradient` is
/// (n, dim), row by row that of the loss with respect to the descriptor of an image. Images whose
/// row is zero are not run. Returns the number of images that could not be read any more.
///
/// # Errors
/// Those of `inputs`, `Torch`.
pub fn propagate(
    network: &Trainable,
    gradient: &[f64],
    dim: usize,
    inputs: &mut Inputs<'_>,
) -> Result<usize> {
    let mut lost = 0;
    for (at, row) in gradient.chunks_exact(dim.max(1)).enumerate() {
        if row.iter().all(|&v| v == 0.0) {
            continue;
        }
        let Some(input) = inputs(at)? else {
            lost += 1;
            continue;
        };
        let descriptor = network.descriptor(&input)?;
        Tensor::f_from_slice(row)
            .and_then(|row| descriptor.f_dot(&row.f_to_device(descriptor.device())?)?.f_backward())
            .map_err(Error::torch("the backward pass"))?;
    }
    Ok(lost)
}
