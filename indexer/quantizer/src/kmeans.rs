//! Lloyd's k-means with exact L2 assignment, and nearest-centroid assignment.

use std::ptr;

use faiss_sys::{
    FaissClustering, FaissClusteringParameters, FaissIndex, FaissIndexFlatL2,
    faiss_Clustering_centroids, faiss_Clustering_free, faiss_Clustering_new_with_params,
    faiss_Clustering_train, faiss_ClusteringParameters_init, faiss_Index_add, faiss_Index_search,
    faiss_IndexFlatL2_free, faiss_IndexFlatL2_new_with, idx_t,
};

use crate::{Error, Result, Session, check, check_rows, to_c_int};

/// Options of k-means; the defaults are those of FAISS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmeansOptions {
    /// Lloyd iterations.
    pub niter: usize,
    /// Seed of the initial centroids (random rows) and of the sample.
    pub seed: u32,
    /// Rows beyond `k` times this are left out by random choice: more change little and cost time.
    pub max_points_per_centroid: usize,
}

impl Default for KmeansOptions {
    fn default() -> Self {
        Self { niter: 25, seed: 1234, max_points_per_centroid: 256 }
    }
}

/// Nearest centroid of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// `(n,)`, each below the number of centroids.
    pub labels: Vec<u32>,
    /// `(n,)` squared L2 distances.
    pub distances_sq: Vec<f32>,
}

impl Session {
    /// Centroids `(k, d)`, row-major, of `x` `(n, d)` under L2 (Lloyd 1982, as FAISS runs it:
    /// random rows to begin with, an empty cluster splits a large one). Equal input and thread
    /// count give equal bits on one kind of machine.
    ///
    /// With `n <= k` every row is a centroid and the rest repeat them, so that a forced training on
    /// little data still makes a valid codebook.
    ///
    /// # Errors
    /// Values that are not finite, sizes that do not match, FAISS's own.
    pub fn kmeans(
        &self,
        x: &[f32],
        n: usize,
        d: usize,
        k: usize,
        options: &KmeansOptions,
    ) -> Result<Vec<f32>> {
        check_rows("k-means", x, n, d)?;
        if k == 0 {
            return Err(Error::Invalid(
                "k-means: expected at least 1 centroid, found 0".to_owned(),
            ));
        }
        if n <= k {
            return Ok(x.iter().copied().cycle().take(k * d).collect());
        }
        let mut params = FaissClusteringParameters {
            niter: 0,
            nredo: 0,
            verbose: 0,
            spherical: 0,
            int_centroids: 0,
            update_index: 0,
            frozen_centroids: 0,
            min_points_per_centroid: 0,
            max_points_per_centroid: 0,
            seed: 0,
            decode_block_size: 0,
        };
        // SAFETY: writes FAISS's defaults into a struct of the layout that the bindings assert.
        unsafe { faiss_ClusteringParameters_init(&mut params) };
        params.niter = to_c_int("niter", options.niter)?;
        // FAISS reads a negative seed as "take the clock".
        params.seed = (options.seed & 0x7fff_ffff) as i32;
        params.max_points_per_centroid =
            to_c_int("max_points_per_centroid", options.max_points_per_centroid.max(1))?;
        // Below this FAISS writes a warning to stderr; too few rows are judged by the trainer.
        params.min_points_per_centroid = 1;

        let mut clustering = Clustering::new(d, k, &params)?;
        let index = FlatL2::new(d)?;
        clustering.train(x, n, &index)?;
        clustering.centroids(k * d)
    }

    /// The nearest of `centroids` `(k, d)` to each row of `x` `(n, d)` by exact L2.
    ///
    /// # Errors
    /// As [`Self::kmeans`].
    pub fn assign(&self, x: &[f32], n: usize, d: usize, centroids: &[f32]) -> Result<Assignment> {
        check_rows("assignment", x, n, d)?;
        let k = centroids.len() / d;
        check_rows("assignment (centroids)", centroids, k, d)?;
        let index = FlatL2::new(d)?;
        index.add(centroids, k)?;
        let mut labels: Vec<idx_t> = vec![-1; n];
        let mut distances_sq = vec![0f32; n];
        // SAFETY: `x` holds n*d floats (checked above), both outputs n*1; the index is live, holds
        // vectors of dimension d and keeps no pointer.
        let code = unsafe {
            faiss_Index_search(
                index.0,
                n as idx_t,
                x.as_ptr(),
                1,
                distances_sq.as_mut_ptr(),
                labels.as_mut_ptr(),
            )
        };
        check("assignment", code)?;
        let labels = labels
            .into_iter()
            .map(|label| u32::try_from(label).ok().filter(|l| (*l as usize) < k))
            .collect::<Option<Vec<u32>>>()
            .ok_or(Error::Faiss {
                op: "assignment",
                message: "a row got no centroid".to_owned(),
            })?;
        Ok(Assignment { labels, distances_sq })
    }
}

/// Owner of a `faiss::Clustering`.
struct Clustering(*mut FaissClustering);

impl Clustering {
    fn new(d: usize, k: usize, params: &FaissClusteringParameters) -> Result<Self> {
        let (d, k) = (to_c_int("dimension", d)?, to_c_int("k", k)?);
        let mut this = ptr::null_mut();
        // SAFETY: on success stores a live object into `this`; `params` is copied.
        let code = unsafe { faiss_Clustering_new_with_params(&mut this, d, k, params) };
        check("k-means set-up", code)?;
        Ok(Self(this))
    }

    fn train(&mut self, x: &[f32], n: usize, index: &FlatL2) -> Result<()> {
        // SAFETY: `x` holds n*d floats (the caller checked), clustering and index are live and of
        // the same d; neither keeps a pointer to `x`.
        let code = unsafe { faiss_Clustering_train(self.0, n as idx_t, x.as_ptr(), index.0) };
        check("k-means", code)
    }

    fn centroids(&mut self, expected: usize) -> Result<Vec<f32>> {
        let (mut data, mut len) = (ptr::null_mut(), 0usize);
        // SAFETY: stores pointer and length of the object's own vector.
        unsafe { faiss_Clustering_centroids(self.0, &mut data, &mut len) };
        if data.is_null() || len != expected {
            let message = format!("expected {expected} centroid values, found {len}");
            return Err(Error::Faiss { op: "k-means", message });
        }
        // SAFETY: FAISS owns `len` floats at `data`, alive and unchanged while `self` is borrowed.
        Ok(unsafe { std::slice::from_raw_parts(data, len) }.to_vec())
    }
}

impl Drop for Clustering {
    fn drop(&mut self) {
        // SAFETY: made by `faiss_Clustering_new_with_params`, freed once.
        unsafe { faiss_Clustering_free(self.0) };
    }
}

/// Owner of a `faiss::IndexFlatL2`.
struct FlatL2(*mut FaissIndex);

impl FlatL2 {
    fn new(d: usize) -> Result<Self> {
        let mut this: *mut FaissIndexFlatL2 = ptr::null_mut();
        // SAFETY: on success stores a live object into `this`.
        let code = unsafe { faiss_IndexFlatL2_new_with(&mut this, d as idx_t) };
        check("index set-up", code)?;
        Ok(Self(this))
    }

    fn add(&self, x: &[f32], n: usize) -> Result<()> {
        // SAFETY: `x` holds n*d floats (the caller checked) and is copied by the live index.
        let code = unsafe { faiss_Index_add(self.0, n as idx_t, x.as_ptr()) };
        check("adding centroids", code)
    }
}

impl Drop for FlatL2 {
    fn drop(&mut self) {
        // SAFETY: made by `faiss_IndexFlatL2_new_with`, freed once.
        unsafe { faiss_IndexFlatL2_free(self.0) };
    }
}
