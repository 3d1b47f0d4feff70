//! Reading golden files and comparing with them.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;

use image::RgbImage;
use ocelli_network::pooling::Region;
use safetensors::{Dtype, SafeTensors};

/// Greatest ‖a − b‖ / ‖b‖ between the encoder's float32 and a golden value.
pub const TOLERANCE: f64 = 1e-4;

/// A safetensors file of golden values.
pub struct Golden {
    bytes: Vec<u8>,
    name: String,
}

impl Golden {
    pub fn open(path: &Path) -> Golden {
        Golden { bytes: std::fs::read(path).unwrap(), name: path.display().to_string() }
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> (Vec<u8>, Vec<usize>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), dtype, "{} {name}", self.name);
        (tensor.data().to_vec(), tensor.shape().to_vec())
    }

    /// Values and shape of a float32 tensor.
    pub fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let (bytes, shape) = self.bytes(name, Dtype::F32);
        (bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(), shape)
    }

    /// Regions stored as int32 rows of x, y, w, h.
    pub fn regions(&self, name: &str) -> Vec<Region> {
        let (bytes, _) = self.bytes(name, Dtype::I32);
        let ints: Vec<usize> = bytes
            .chunks_exact(4)
            .map(|b| i32::from_le_bytes(b.try_into().unwrap()).try_into().unwrap())
            .collect();
        ints.chunks_exact(4)
            .map(|r| Region { x: r[0], y: r[1], width: r[2], height: r[3] })
            .collect()
    }

    /// Panics where `found` is further from the golden tensor than the tolerance.
    pub fn assert_near(&self, name: &str, found: &[f32]) {
        let (expected, _) = self.floats(name);
        assert_eq!(found.len(), expected.len(), "{} {name}: length", self.name);
        let error = relative_error(found, &expected);
        assert!(error <= TOLERANCE, "{} {name}: relative error {error:.2e}", self.name);
    }
}

/// ‖a − b‖ / ‖b‖, which is NaN, and so above every bound, where a holds NaN.
pub fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let square = |v: f64| v * v;
    let distance: f64 = a.iter().zip(b).map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum();
    let norm: f64 = b.iter().map(|&b| square(f64::from(b))).sum();
    (distance / norm).sqrt()
}

pub fn decode(path: &Path) -> RgbImage {
    image::open(path).unwrap().into_rgb8()
}
