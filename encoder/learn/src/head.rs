//! A first head for weights that have none: the whitening of regions by their principal components,
//! as published (Gordo et al., IJCV 2017), which training then changes.

use ocelli_network::Trainable;
use ocelli_network::tch::{self, Device, Kind, Tensor};

use crate::error::{Error, Result, Torch};
use crate::loss::doubles;
use crate::passes::Inputs;

/// Share of the largest variance that a direction has at least.
const LEAST_SHARE: f64 = 1e-9;

/// Sums over rows (n, C): their number, their sum, and the sum of their products.
pub struct Moments {
    rows: f64,
    sum: Tensor,
    products: Tensor,
}

/// Sums over the regions of `count` photos, and how many of these could not be read. Memory: two
/// matrices of channels × channels in float64.
///
/// # Errors
/// Those of `inputs`; `Torch`.
pub fn moments(
    network: &Trainable,
    count: usize,
    inputs: &mut Inputs<'_>,
) -> Result<(Moments, usize)> {
    let failed = || Error::torch("learning a head");
    let (mut moments, mut lost) = (Moments::new(network.channels() as i64).map_err(failed())?, 0);
    for at in 0..count {
        let Some(input) = inputs(at)? else {
            lost += 1;
            continue;
        };
        let rows = tch::no_grad(|| network.rows(&input))?;
        moments.add(&rows).map_err(failed())?;
    }
    Ok((moments, lost))
}

/// The mean (C,) and the weight (`dim`, C) of the whitening of all regions, and how many photos
/// could not be read.
///
/// # Errors
/// `Invalid` for a dimension out of range, and where the regions have fewer than `dim` directions;
/// `Torch`.
pub fn whitening(all: Vec<(Moments, usize)>, dim: usize) -> Result<(Vec<f32>, Vec<f32>, usize)> {
    let failed = || Error::torch("learning a head");
    let (mut sum, mut lost) = (None::<Moments>, 0);
    for (moments, left_out) in all {
        lost += left_out;
        match &mut sum {
            None => sum = Some(moments),
            Some(sum) => sum.add_all(&moments).map_err(failed())?,
        }
    }
    let sum = sum.ok_or_else(|| Error::invalid("head: expected photos, found none"))?;
    let channels = sum.sum.size1().map_err(failed())? as usize;
    if dim == 0 || dim > channels {
        let what = format!("head: expected a dimension of 1 to {channels}, found {dim}");
        return Err(Error::invalid(what));
    }
    let (mean, weight, least) = sum.whitening(dim as i64).map_err(failed())?;
    if least.is_nan() || least <= LEAST_SHARE {
        return Err(Error::invalid(format!(
            "head: the regions of the photos have fewer than {dim} directions: take more photos or \
             fewer dimensions"
        )));
    }
    let single = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<_>>();
    Ok((single(mean), single(weight), lost))
}

impl Moments {
    fn new(channels: i64) -> Torch<Moments> {
        let kind = (Kind::Double, Device::Cpu);
        let sum = Tensor::f_zeros([channels], kind)?;
        Ok(Moments { rows: 0.0, sum, products: Tensor::f_zeros([channels, channels], kind)? })
    }

    fn add(&mut self, rows: &Tensor) -> Torch<()> {
        let rows = &rows.f_to_device(Device::Cpu)?;
        self.rows += rows.size2()?.0 as f64;
        let sum = rows.f_sum_dim_intlist([0i64].as_slice(), false, Kind::Double)?;
        let _ = self.sum.f_add_(&sum)?;
        let _ = self.products.f_add_(&rows.f_transpose(0, 1)?.f_matmul(rows)?)?;
        Ok(())
    }

    fn add_all(&mut self, others: &Moments) -> Torch<()> {
        self.rows += others.rows;
        let _ = self.sum.f_add_(&others.sum)?;
        let _ = self.products.f_add_(&others.products)?;
        Ok(())
    }

    /// The mean (C,), Λ^−½ Uᵀ (dim, C) of the largest variances, and the least of these variances
    /// as a share of the largest.
    fn whitening(&self, dim: i64) -> Torch<(Vec<f64>, Vec<f64>, f64)> {
        let mean = self.sum.f_div_scalar(self.rows)?;
        let centre = mean.f_outer(&mean)?;
        let covariance = self.products.f_div_scalar(self.rows)?.f_sub(&centre)?;
        // Ascending.
        let (values, vectors) = covariance.f_linalg_eigh("L")?;
        let first = values.size1()? - dim;
        let values = values.f_narrow(0, first, dim)?.f_flip([0])?;
        let vectors = vectors.f_narrow(1, first, dim)?.f_flip([1])?;
        let (largest, least) = (values.f_double_value(&[0])?, values.f_double_value(&[dim - 1])?);
        let weight = vectors.f_div(&values.f_sqrt()?.f_reshape([1, -1])?)?.f_transpose(0, 1)?;
        Ok((doubles(&mean)?, doubles(&weight)?, least / largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whitened rows have mean 0 and variance 1 in all directions, the largest variance first.
    #[test]
    fn rows_are_white() {
        let rows = Tensor::arange(60 * 4, (Kind::Double, Device::Cpu)).reshape([60, 4]);
        let rows = (rows.square() * 0.37).sin() * Tensor::from_slice(&[1.0, 3.0, 0.5, 2.0]) + 0.7;
        let mut moments = Moments::new(4).unwrap();
        moments.add(&rows.slice(0, 0, 25, 1)).unwrap();
        let mut others = Moments::new(4).unwrap();
        others.add(&rows.slice(0, 25, 60, 1)).unwrap();
        moments.add_all(&others).unwrap();
        let (mean, weight, least) = moments.whitening(3).unwrap();
        assert!(least > 0.01 && least < 1.0, "{least}");
        let weight = Tensor::from_slice(&weight).reshape([3, 4]);
        let white = (&rows - Tensor::from_slice(&mean)).matmul(&weight.transpose(0, 1));
        let covariance = doubles(&(white.transpose(0, 1).matmul(&white) / 60.0)).unwrap();
        for (at, found) in covariance.iter().enumerate() {
            let expected = if at % 4 == 0 { 1.0 } else { 0.0 };
            assert!((found - expected).abs() < 1e-9, "{covariance:?}");
        }
        let sums = doubles(&white.sum_dim_intlist([0i64].as_slice(), false, Kind::Double)).unwrap();
        assert!(sums.iter().all(|sum| sum.abs() < 1e-9), "{sums:?}");
        // The first row of the weight is along the axis of the largest spread.
        let first = doubles(&weight.get(0)).unwrap();
        assert!(first.iter().all(|v| v.abs() <= first[1].abs()), "{first:?}");
    }
}
