//! Encodes many vectors under one model: the results of [`Model::transform`], [`Model::assign`] and
//! [`Model::encode`], faster.

use ocelli_vector::Simd;
use ocelli_vector::encode::encode;
use ocelli_vector::nearest::{GroupedRows, GroupedScratch, NearestRows, NearestScratch};

use crate::base::error::Result;
use crate::model::{Model, groups};

/// A model prepared for encoding many vectors: its centroids once more, as 16-bit integers.
#[derive(Debug)]
pub struct RowEncoder<'a> {
    model: &'a Model,
    centroids: Centroids<'a>,
    simd: Simd,
}

/// Rows that meet all centroids together: a whole number of the kernel's blocks.
const ROWS: usize = 8 * 96;
/// Rows that meet groups of centroids together: the kernel's own block.
const ROWS_BY_GROUP: usize = 4096;

/// Centroids among which each row looks for its list.
#[derive(Debug)]
enum Centroids<'a> {
    /// All of them.
    All(NearestRows<'a>),
    /// The centroids of near groups.
    Near { rows: Box<GroupedRows<'a>>, effort: usize },
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
    grouped: GroupedScratch,
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
        let centroids = match model.assign_groups() {
            None => Centroids::All(NearestRows::new(&p.coarse, p.d)),
            Some(near) => Centroids::Near {
                rows: Box::new(near.rows(&p.coarse, p.d)),
                effort: groups::assign_effort(near.groups()),
            },
        };
        Self { model, centroids, simd }
    }

    /// Rows that are best encoded together: where centroids are in groups, several rows are to look
    /// at each of them.
    pub fn rows_at_a_time(&self) -> usize {
        match self.centroids {
            Centroids::All(_) => ROWS,
            Centroids::Near { .. } => ROWS_BY_GROUP,
        }
    }

    /// [`Self::rows_at_a_time`] of an encoder under `model`, without one.
    pub fn rows_under(model: &Model) -> usize {
        match model.parts().nlist < groups::MIN_ASSIGN_NLIST {
            true => ROWS,
            false => ROWS_BY_GROUP,
        }
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
        self.assign(x, scratch, out)?;
        self.encode_assigned(scratch, out)
    }

    /// The first half of [`Self::encode`]: the vectors behind the transform and their lists.
    ///
    /// # Errors
    /// Those of [`Model::transform`], for the first row that it refuses.
    pub fn assign(
        &self,
        x: &[f32],
        scratch: &mut RowEncoderScratch,
        out: &mut Encoded,
    ) -> Result<()> {
        let p = self.model.parts();
        let n = x.len() / p.dim;
        let RowEncoderScratch { nearest, grouped, found, .. } = scratch;
        out.z.clear();
        for x in x.chunks(p.dim) {
            out.z.extend_from_slice(&self.model.transform(x)?);
        }
        found.resize(n, (0, 0.0));
        match &self.centroids {
            Centroids::All(rows) => rows.assign(self.simd, &out.z, found, nearest),
            Centroids::Near { rows, effort } => {
                rows.assign(self.simd, &out.z, *effort, found, grouped);
            }
        }
        out.lists.clear();
        out.lists.extend(found.iter().map(|(list, _)| list));
        Ok(())
    }

    /// The second half of [`Self::encode`]: the codes of vectors whose lists are in `out`.
    ///
    /// # Errors
    /// Those of [`Model::intact`].
    pub fn encode_assigned(
        &self,
        scratch: &mut RowEncoderScratch,
        out: &mut Encoded,
    ) -> Result<()> {
        let p = self.model.parts();
        let n = out.lists.len();
        let RowEncoderScratch { residuals, distances, .. } = scratch;
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
    use rand::{RngExt, SeedableRng};

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

    /// A model of so many lists that rows look at near groups only: the list of each row alone, on
    /// every level, with ties; and nearly always the nearest of all.
    #[test]
    fn many_lists_the_same_as_one_by_one() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let mut parts = small(Metric::L2, false, 3).parts().clone();
        parts.nlist = groups::MIN_ASSIGN_NLIST;
        // Whole numbers make ties; the last centroids are there twice.
        let half: Vec<f32> =
            (0..parts.nlist * 6).map(|_| rng.random_range(-6i32..7) as f32).collect();
        parts.coarse = [half.as_slice(), &half].concat().into();
        let model = Model::from_parts(parts).unwrap();
        let x: Vec<f32> = (0..500 * 12).map(|_| rng.random_range(-6i32..7) as f32 / 2.0).collect();
        let want: Vec<u32> = x.chunks_exact(12).map(|x| model.assign(x)).collect();
        let encoder = RowEncoder::new(&model);
        assert!(matches!(encoder.centroids, Centroids::Near { .. }));
        for simd in Simd::all() {
            let mut out = Encoded::default();
            let encoder = RowEncoder::at(simd, &model);
            encoder.encode(&x, &mut RowEncoderScratch::default(), &mut out).unwrap();
            assert_eq!(out.lists, want, "{}", simd.level());
        }
        let coarse = &model.parts().coarse;
        let exact = x.chunks_exact(12).zip(&want).filter(|(x, list)| {
            ocelli_vector::dense::nearest(x, coarse).map(|found| found.0 as u32) == Some(**list)
        });
        let exact = exact.count();
        // Rows without any structure are the hardest.
        assert!(exact >= 400, "{exact} of 500 rows are in the nearest list");
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
