//! What follows the pooling, on a device.
//!
//! A whitening of 2,048 x 512 values is 4 MB. A CPU reads it again for each of an image's 20 rows,
//! which takes milliseconds, as long as decoding the image. Here all rows of a batch are whitened
//! in one product, and one row of an image is copied back in place of 20. The product is in
//! float64, so that it is at least as exact as the CPU's in float32.

use ocelli_index::Whitening;
use ocelli_weights::{Head, Projection};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::torch::Torch;

/// A smaller norm is that of a row of zeros: the square of float32's least number is far larger.
const LEAST_NORM: f64 = 1e-200;

/// A network's [`Head`] and a whitening, on a device, L2-normalised before and after each.
pub(crate) struct DeviceFinish {
    head: Option<(Affine, bool)>,
    whitening: Option<Affine>,
}

/// y = (x − mean) P + bias, float64.
struct Affine {
    /// (1, dim_in)
    mean: Tensor,
    /// (dim_in, dim_out)
    projection: Tensor,
    /// (1, dim_out)
    bias: Tensor,
}

impl DeviceFinish {
    pub(crate) fn new(
        device: Device,
        head: &Head,
        whitening: Option<&Whitening>,
    ) -> Result<DeviceFinish> {
        let of_head = |(projection, normalize): &(Projection, bool)| -> Torch<_> {
            let Projection { dim_in, mean, transposed, bias, .. } = projection;
            Ok((Affine::put(device, (mean, transposed, bias, *dim_in))?, *normalize))
        };
        let of_whitening =
            |w: &Whitening| Affine::put(device, (&w.mean, &w.projection, &[], w.dim_in()));
        let made = || -> Torch<DeviceFinish> {
            Ok(DeviceFinish {
                head: head.rows.as_ref().map(of_head).transpose()?,
                whitening: whitening.map(of_whitening).transpose()?,
            })
        };
        made().map_err(Error::torch("putting the whitening on the device"))
    }

    /// A projection of rows whose tensors are trained: weight (D, C), mean (C,) and bias (D,), of
    /// any floating kind, and whether rows are L2-normalised before it.
    pub(crate) fn of_tensors(
        weight: &Tensor,
        [mean, bias]: [Option<&Tensor>; 2],
        normalize: bool,
    ) -> Torch<DeviceFinish> {
        let weight = weight.f_to_kind(Kind::Double)?;
        let (dim_out, dim_in) = weight.size2()?;
        let row = |values: Option<&Tensor>, len: i64| match values {
            Some(values) => values.f_to_kind(Kind::Double)?.f_reshape([1, len]),
            None => Tensor::f_zeros([1, len], (Kind::Double, weight.device())),
        };
        let (mean, bias) = (row(mean, dim_in)?, row(bias, dim_out)?);
        let affine = Affine { mean, projection: weight.f_transpose(0, 1)?, bias };
        Ok(DeviceFinish { head: Some((affine, normalize)), whitening: None })
    }

    /// No projection: rows are L2-normalised and summed.
    pub(crate) fn plain() -> DeviceFinish {
        DeviceFinish { head: None, whitening: None }
    }

    /// Second handles on the same tensors.
    pub(crate) fn share(&self) -> DeviceFinish {
        DeviceFinish {
            head: self.head.as_ref().map(|(head, normalize)| (head.share(), *normalize)),
            whitening: self.whitening.as_ref().map(Affine::share),
        }
    }

    /// Pooled rows (N, n, C) to unit rows (N, n, D) f32, or with `sum` to the L2-normalised sum of
    /// each image's, (N, 1, D).
    pub(crate) fn apply(&self, rows: &Tensor, sum: bool) -> Torch<Tensor> {
        self.exact(rows, sum)?.f_to_kind(Kind::Float)
    }

    /// [`apply`](DeviceFinish::apply) without its last rounding: f64.
    pub(crate) fn exact(&self, rows: &Tensor, sum: bool) -> Torch<Tensor> {
        let mut rows = rows.f_to_kind(Kind::Double)?;
        if let Some((head, normalize)) = &self.head {
            if *normalize {
                rows = units(&rows)?;
            }
            rows = head.apply(&rows)?;
        }
        rows = units(&rows)?;
        if let Some(whitening) = &self.whitening {
            rows = units(&whitening.apply(&rows)?)?;
        }
        if sum {
            rows = units(&rows.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?)?;
        }
        Ok(rows)
    }
}

impl Affine {
    /// Mean (dim_in,), projection (dim_in, dim_out), bias (dim_out,), and dim_in. An empty mean or
    /// bias means zeros.
    fn put(
        device: Device,
        (mean, projection, bias, dim_in): (&[f32], &[f32], &[f32], usize),
    ) -> Torch<Affine> {
        let dim_out = projection.len() / dim_in.max(1);
        let put = |values: &[f32], rows: usize, columns: usize| {
            let shape = [rows as i64, columns as i64];
            let values = match values {
                [] => Tensor::f_zeros(shape, (Kind::Double, Device::Cpu))?,
                _ => Tensor::f_from_slice(values)?.f_to_kind(Kind::Double)?.f_reshape(shape)?,
            };
            // Last, since this copy is over when it returns: the device's threads read it on other
            // streams.
            values.f_to_device(device)
        };
        Ok(Affine {
            mean: put(mean, 1, dim_in)?,
            projection: put(projection, dim_in, dim_out)?,
            bias: put(bias, 1, dim_out)?,
        })
    }

    fn apply(&self, rows: &Tensor) -> Torch<Tensor> {
        rows.f_sub(&self.mean)?.f_matmul(&self.projection)?.f_add(&self.bias)
    }

    fn share(&self) -> Affine {
        Affine {
            mean: self.mean.shallow_clone(),
            projection: self.projection.shallow_clone(),
            bias: self.bias.shallow_clone(),
        }
    }
}

/// Rows along the last axis L2-normalised; rows of zeros stay.
fn units(rows: &Tensor) -> Torch<Tensor> {
    let norms = rows.f_norm_scalaropt_dim(2.0, [-1i64], true)?;
    rows.f_div(&norms.f_clamp_min(LEAST_NORM)?)
}
