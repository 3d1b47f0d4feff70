//! Optimized product quantization: a rotation under which sub-vectors quantize better.

use std::ptr;

use faiss_sys::{
    FaissOPQMatrix, faiss_OPQMatrix_free, faiss_OPQMatrix_new_with, faiss_OPQMatrix_set_niter,
    faiss_OPQMatrix_set_niter_pq, faiss_VectorTransform_apply_noalloc, faiss_VectorTransform_train,
    idx_t,
};

use crate::{Error, Result, Session, check, check_rows, to_c_int};

/// Options of OPQ. FAISS fixes the seed and takes at most 65,536 rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpqOptions {
    /// Rounds of quantizer training and rotation update.
    pub niter: usize,
    /// k-means iterations per round after the first.
    pub niter_pq: usize,
}

impl Default for OpqOptions {
    fn default() -> Self {
        Self { niter: 20, niter_pq: 4 }
    }
}

/// Rows that OPQ needs at least: FAISS trains so many codewords for each sub-quantizer.
pub const MIN_OPQ_ROWS: usize = KSUB;

/// [`Session::opq`] in a session of its own with `threads` OpenMP threads (0: one per core).
///
/// `x` is `(n, d)`, row-major; the result is `(d, d)`.
///
/// # Errors
/// Those of [`Session::run`] and [`Session::opq`].
pub fn opq(
    x: &[f32],
    d: usize,
    m: usize,
    threads: usize,
    options: &OpqOptions,
) -> Result<Vec<f32>> {
    let n = x.len().checked_div(d).unwrap_or(0);
    Session::run(threads, |session| session.opq(x, n, d, m, options))?
}

/// How far `R Rᵀ` may be from the identity, per element: LAPACK in float32 stays well below.
const ORTHONORMAL_TOLERANCE: f64 = 1e-4;

/// Codewords per sub-quantizer inside FAISS's OPQ.
const KSUB: usize = 256;

/// Rows from which on FAISS does not warn: 39 per codeword.
const QUIET_ROWS: usize = 39 * KSUB;

impl Session {
    /// Rotation `R` `(d, d)`, row-major with orthonormal rows, learned from `x` `(n, d)` for `m`
    /// sub-quantizers of 256 codewords (Ge et al. 2013, non-parametric OPQ). Use as `z = R x`.
    ///
    /// # Errors
    /// `m` that does not divide `d`, fewer than 256 rows, values that are not finite, FAISS's own.
    pub fn opq(
        &self,
        x: &[f32],
        n: usize,
        d: usize,
        m: usize,
        options: &OpqOptions,
    ) -> Result<Vec<f32>> {
        check_rows("OPQ", x, n, d)?;
        if m == 0 || !d.is_multiple_of(m) {
            return Err(Error::Invalid(format!("OPQ: m {m} does not divide the dimension {d}")));
        }
        if n < MIN_OPQ_ROWS {
            let message = format!("OPQ: expected at least {MIN_OPQ_ROWS} rows, found {n}");
            return Err(Error::Invalid(message));
        }
        let mut matrix = OpqMatrix::new(d, m, options)?;
        // Whole copies change no mean and no optimum, and keep FAISS from warning on stderr that
        // there are few rows: that is for the trainer to judge.
        let copies = QUIET_ROWS.div_ceil(n);
        match copies {
            1 => matrix.train(x, n)?,
            _ => matrix.train(&x.repeat(copies), n * copies)?,
        }
        let rotation = matrix.read(d);
        check_orthonormal(&rotation, d)?;
        Ok(rotation)
    }
}

/// Owner of a `faiss::OPQMatrix`.
struct OpqMatrix(*mut FaissOPQMatrix);

impl OpqMatrix {
    fn new(d: usize, m: usize, options: &OpqOptions) -> Result<Self> {
        let (d, m) = (to_c_int("dimension", d)?, to_c_int("m", m)?);
        let niter = to_c_int("OPQ iterations", options.niter.max(1))?;
        let niter_pq = to_c_int("OPQ k-means iterations", options.niter_pq.max(1))?;
        let mut this = ptr::null_mut();
        // SAFETY: on success stores a live object into `this`.
        check("OPQ set-up", unsafe { faiss_OPQMatrix_new_with(&mut this, d, m, d) })?;
        // SAFETY: plain setter on a live object.
        unsafe { faiss_OPQMatrix_set_niter(this, niter) };
        // SAFETY: plain setter on a live object.
        unsafe { faiss_OPQMatrix_set_niter_pq(this, niter_pq) };
        Ok(Self(this))
    }

    fn train(&mut self, x: &[f32], n: usize) -> Result<()> {
        // SAFETY: `x` holds n*d floats (the caller checked); no pointer to it is kept.
        check("OPQ", unsafe { faiss_VectorTransform_train(self.0, n as idx_t, x.as_ptr()) })
    }

    /// The matrix has no getter: applied to the identity, it shows its columns.
    fn read(&self, d: usize) -> Vec<f32> {
        let mut identity = vec![0f32; d * d];
        for i in 0..d {
            identity[i * d + i] = 1.0;
        }
        let mut columns = vec![0f32; d * d];
        // The crate's own safe wrapper of this call returns an empty vector, hence the raw one.
        // SAFETY: reads d rows of d and writes d rows of d; the matrix is trained, for which this
        // call throws nothing.
        unsafe {
            faiss_VectorTransform_apply_noalloc(
                self.0,
                d as idx_t,
                identity.as_ptr(),
                columns.as_mut_ptr(),
            );
        }
        let mut rotation = vec![0f32; d * d];
        for column in 0..d {
            for row in 0..d {
                rotation[row * d + column] = columns[column * d + row];
            }
        }
        rotation
    }
}

impl Drop for OpqMatrix {
    fn drop(&mut self) {
        // SAFETY: made by `faiss_OPQMatrix_new_with`, freed once.
        unsafe { faiss_OPQMatrix_free(self.0) };
    }
}

/// FAISS ignores LAPACK's verdict on the decomposition, so it is judged here.
fn check_orthonormal(rotation: &[f32], d: usize) -> Result<()> {
    for i in 0..d {
        for j in 0..=i {
            let (a, b) = (&rotation[i * d..][..d], &rotation[j * d..][..d]);
            let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            let wanted = if i == j { 1.0 } else { 0.0 };
            // False for a NaN too.
            let close = (dot - wanted).abs() <= ORTHONORMAL_TOLERANCE;
            if !close {
                let message = format!(
                    "rows {i} and {j} of the rotation have inner product {dot}, expected {wanted}"
                );
                return Err(Error::Faiss { op: "OPQ", message });
            }
        }
    }
    Ok(())
}
