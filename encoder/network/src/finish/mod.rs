//! What follows the pooling: projections of rows, the whitening, and the sum of an image's rows.
//!
//! [`Finish`] does all of this, for a network on the CPU and for one on a device. The functions of
//! this module do the same for rows that come from a file. No other module whitens.

mod on_device;
mod rows;

use std::sync::Arc;

use ocelli_index::Whitening;
use ocelli_vector::l2_normalize;
use ocelli_weights::Head;

use crate::error::{Error, Result};
pub(crate) use on_device::DeviceFinish;
pub use rows::{check_whitening, sum_of_units, sum_rows, whiten};

/// The steps after the pooling of one network: projections, whitening, sums.
pub struct Finish {
    head: Arc<Head>,
    /// Channels of a pooled row.
    channels: usize,
    whitening: Option<Arc<Whitening>>,
    /// Where the network is on a device, which does all of this then.
    on_device: Option<DeviceFinish>,
}

impl Finish {
    /// `device` is that of a network which is not computed by the calling thread.
    pub(crate) fn new(
        head: Arc<Head>,
        channels: usize,
        whitening: Option<Whitening>,
        device: Option<tch::Device>,
    ) -> Result<Finish> {
        if let Some(whitening) = &whitening {
            check_whitening(whitening, head.row_dim(channels))?;
        }
        let on_device = device
            .map(|device| DeviceFinish::new(device, &head, whitening.as_ref()))
            .transpose()?;
        Ok(Finish { head, channels, whitening: whitening.map(Arc::new), on_device })
    }

    /// The same for another thread; costs a few handles.
    #[must_use]
    pub fn share(&self) -> Finish {
        Finish {
            head: Arc::clone(&self.head),
            channels: self.channels,
            whitening: self.whitening.clone(),
            on_device: self.on_device.as_ref().map(DeviceFinish::share),
        }
    }

    /// Length of a finished row.
    #[must_use]
    pub fn row_dim(&self) -> usize {
        let unwhitened = || self.head.row_dim(self.channels);
        self.whitening.as_ref().map_or_else(unwhitened, |whitening| whitening.dim_out())
    }

    /// The part that a device does.
    pub(crate) fn on_device(&self) -> Option<&DeviceFinish> {
        self.on_device.as_ref()
    }

    /// On the CPU: pooled rows (n, channels) to unit rows (n, [`row_dim`](Finish::row_dim)), or
    /// with `sum` to their L2-normalised sum.
    pub(crate) fn rows(&self, pooled: Vec<f32>, sum: bool) -> Result<Vec<f32>> {
        let rows = rows::project_rows(&self.head, pooled, self.channels);
        let (dim, whitening) = (self.head.row_dim(self.channels), self.whitening.as_deref());
        match sum {
            true => sum_of_units(&rows, dim, whitening),
            false => Ok(whiten(&rows, dim, whitening)?.into_owned()),
        }
    }

    /// An image's descriptor of length 1 from the combined sums of its sizes, behind the projection
    /// of whole images where the weights have one.
    ///
    /// # Errors
    /// `NoActivation` for one that is zero.
    pub fn image(&self, descriptor: Vec<f32>) -> Result<Vec<f32>> {
        let descriptor = unit(descriptor)?;
        match &self.head.image {
            None => Ok(descriptor),
            Some(projection) => unit(rows::project(projection, &descriptor)),
        }
    }
}

/// Scales a descriptor to length 1.
///
/// # Errors
/// `NoActivation` for one that is zero.
pub fn unit(mut descriptor: Vec<f32>) -> Result<Vec<f32>> {
    if l2_normalize(&mut descriptor) { Ok(descriptor) } else { Err(Error::no_activation()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hazard is 0 / 0 and squares out of range: neither may give NaN.
    #[test]
    fn unit_vectors_without_nan() {
        assert!(matches!(unit(vec![0.0; 5]), Err(Error::NoActivation { .. })));
        for scale in [1e-30f32, 1.0, 1e30] {
            let v = unit(vec![3.0 * scale, 4.0 * scale]).unwrap();
            assert!((v[0] - 0.6).abs() < 1e-6 && (v[1] - 0.8).abs() < 1e-6, "{scale}: {v:?}");
        }
        assert!(unit(vec![1.0, f32::INFINITY]).is_err());
    }
}
