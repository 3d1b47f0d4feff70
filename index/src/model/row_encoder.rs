//! Encodes many vectors under one model: the results of [`Model::transform`], [`Model::assign`] and
//! [`Model::encode`], faster.

use ocelli_vector::Simd;
use ocelli_vector::encode::encode;
use ocelli_vector::nearest::{NearestRows, NearestScratch};

use crate::base::error::Result;
use crate::model::Model;

/// A model prepared for encoding many vectors: its centroids once more, as 16-bit integers.
#[derive(Debug)]
pub struct RowEncoder<'a> {
    model: &'a Model,
    nearest: NearestRows<'a>,
    simd: Simd,
}

/// Encoded vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// The vectors behind the model's transform, (n, d).
    pub z: Vec<f32>,
    /// List of each row, (n,).
    pub lists: Vec<u32>,
    /// Code of each row, (n, m).
    pub codes: Vec<u8>,
}

/// Buffers of a [`RowEncoder`], one for each thread.
#[derive(Debug, Default)]
pub struct RowEncoderScratch {
    nearest: NearestScratch,
    found: Vec<(u32, f32)>,
    residuals: Vec<f32>,
    distances: Vec<f32>,
}

impl<'a> RowEncoder<'a> {
    /// For vectors under `model`, with the instructions of this process.
    pub fn new(model: &'a Model) -> Self {
        Self::at(crate::base::level::simd(), model)
    }

    fn at(simd: Simd, model: &'a Model) -> Self {
        let p = model.parts();
        Self { model, nearest: NearestRows::new(&p.coarse, p.d), simd }
    }

    /// Encodes the vectors `x` (n, dim) into `out`, replacing what it held: the same as by the
    /// model itself.
    ///
    /// # Errors
    /// Those of [`Model::transform`], for the first row that it refuses; those of
    /// [`Model::intact`].
    pub fn encode(
        &self,
        x: &[f32],
        scratch: &mut RowEncoderScratch,
        out: &mut Encoded,
    ) -> Result<()> {
        let p = self.model.parts();
        let n = x.len() / p.dim;
        let RowEncoderScratch { nearest, found, residuals, distances } = scratch;
        out.z.clear();
        for x in x.chunks(p.dim) {
            out.z.extend_from_slice(&self.model.transform(x)?);
        }
        found.resize(n, (0, 0.0));
        self.nearest.assign(self.simd, &out.z, found, nearest);
        out.lists.clear();
        out.lists.extend(found.iter().map(|(list, _)| list));
        residuals.clear();
        for (z, &list) in out.z.chunks_exact(p.d).zip(&out.lists) {
            residuals.extend(z.iter().zip(self.model.centroid(list)).map(|(z, c)| z - c));
        }
        out.codes.resize(n * p.m, 0);
        distances.resize(n * p.m, 0.0);
        let (books, codes) = (self.model.transposed(), &mut out.codes);
        encode(self.simd, residuals, books, p.m, p.ksub, codes, distances);
        self.model.intact()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metric;
    use crate::model::tests::small;
    use proptest::prelude::*;

    proptest! {
        /// Lists and codes of the model itself, on every level, for coordinates with ties.
        #[test]
        fn the_same_as_one_by_one(
            grid in prop::collection::vec(-3i32..4, 0..40 * 12),
            seed in 0u64..5,
            transform: bool,
            divisor in prop::sample::select(vec![1f32, 2.0, 3.0, 1e10]),
        ) {
            let model = small(Metric::L2, transform, seed);
            let x: Vec<f32> = grid.iter().map(|&g| g as f32 / divisor).collect();
            let x = &x[..x.len() / 12 * 12];
            let (mut want_z, mut want_lists, mut want_codes) = (Vec::new(), Vec::new(), Vec::new());
            for x in x.chunks_exact(12) {
                let z = model.transform(x).unwrap();
                let mut code = [0; 4];
                want_lists.push(model.assign(&z));
                model.encode(&z, model.assign(&z), &mut code);
                want_codes.extend(code);
                want_z.extend(z);
            }
            for simd in Simd::all() {
                let mut out = Encoded { z: vec![1.0], lists: vec![1], codes: vec![1] };
                let mut scratch = RowEncoderScratch::default();
                RowEncoder::at(simd, &model).encode(x, &mut scratch, &mut out).unwrap();
                prop_assert_eq!(&out.lists, &want_lists);
                prop_assert_eq!(&out.codes, &want_codes);
                prop_assert_eq!(&out.z, &want_z);
            }
        }
    }

    #[test]
    fn what_the_model_refuses_is_refused() {
        let model = small(Metric::L2, false, 1);
        let mut x = vec![0.5; 24];
        x[20] = f32::NAN;
        let encoder = RowEncoder::new(&model);
        let (scratch, out) = (&mut RowEncoderScratch::default(), &mut Encoded::default());
        assert!(encoder.encode(&x, scratch, out).is_err());
        assert!(encoder.encode(&x[..13], scratch, out).is_err());
    }
}
