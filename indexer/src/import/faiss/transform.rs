//! FAISS's chains of vector transforms, and the one transform of a model that does the same.
//!
//! A model has `z = R (x − mean)`, then optionally L2, with R a partial isometry: orthonormal rows
//! (PCA, OPQ), or orthonormal columns where it widens. Chains that are not of that form are refused
//! with the reason, as the index would otherwise answer something else than FAISS did.

use std::io::Read;

use ocelli_index::Metric;

use super::cursor::{Cursor, Result};

/// How far `R Rᵀ` may be from the identity in Frobenius norm, the rounding of a rotation computed
/// in float32 with room to spare, at least and by rows.
const ISOMETRY_TOLERANCE: (f64, f64) = (1e-3, 1e-5);
/// How far a stored bias may be from the one that the stored mean gives, relative.
const BIAS_TOLERANCE: f64 = 1e-3;

/// One transform of a chain.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) d_in: usize,
    pub(super) d_out: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// `A x + b`.
    Linear {
        /// FAISS's class, for errors.
        class: String,
        /// (d_out, d_in).
        a: Vec<f32>,
        /// (d_out,), or empty.
        b: Vec<f32>,
        /// (d_in,), where the file says from what `b` was made, else empty.
        mean: Vec<f32>,
    },
    /// `x − mean`.
    Centre(Vec<f32>),
    /// `x / ‖x‖`.
    Normalize,
}

/// Reads a transform: class, own fields, then the fields that all have.
pub(super) fn read_stage<R: Read>(file: &mut Cursor<R>) -> Result<Stage> {
    let at = file.at();
    let class = file.code("class of a transform")?;
    let kind = read_kind(file, at, &class)?;
    let shape: [i32; 2] = file.one("shape of a transform")?;
    let trained = file.flag("is_trained of a transform")?;
    let [Ok(d_in), Ok(d_out)] = shape.map(usize::try_from) else {
        return Err(format!(
            "offset {at}: a transform from {} to {} dimensions",
            shape[0], shape[1]
        ));
    };
    let sizes_fit = match &kind {
        Kind::Linear { a, b, mean, .. } => {
            d_in.checked_mul(d_out) == Some(a.len())
                && (b.is_empty() || b.len() == d_out)
                && (mean.is_empty() || mean.len() == d_in)
        }
        Kind::Centre(mean) => mean.len() == d_in && d_in == d_out,
        Kind::Normalize => d_in == d_out,
    };
    if !trained || d_in == 0 || d_out == 0 || !sizes_fit {
        return Err(format!(
            "offset {at}: a trained transform from {d_in} to {d_out} dimensions expected, its \
             numbers do not fit"
        ));
    }
    Ok(Stage { d_in, d_out, kind })
}

/// Reads the fields that a class has for itself; its transform began at offset `at`.
fn read_kind<R: Read>(file: &mut Cursor<R>, at: u64, class: &str) -> Result<Kind> {
    Ok(match class {
        "LTra" | "rrot" | "Pcam" => {
            let mut mean = Vec::new();
            if class == "Pcam" {
                // eigen_power, epsilon; random_rotation; balanced_bins: all of it is in the matrix.
                let _: [f32; 2] = file.one("PCA's eigen_power")?;
                file.flag("PCA's random_rotation")?;
                let _: i32 = file.one("PCA's balanced_bins")?;
                mean = file.vector("PCA's mean")?;
                file.vector::<f32>("PCA's eigenvalues")?;
                file.vector::<f32>("PCA's components")?;
            }
            let biased = file.flag("have_bias")?;
            let a = file.vector("matrix of a transform")?;
            let mut b: Vec<f32> = file.vector("bias of a transform")?;
            if !biased {
                // As FAISS applies it: without have_bias, the numbers of the bias are not added.
                (b, mean) = (Vec::new(), Vec::new());
            } else if b.is_empty() {
                return Err(format!("offset {at}: the transform has no bias, one was announced"));
            }
            Kind::Linear { class: class.to_owned(), a, b, mean }
        }
        "VCnt" => Kind::Centre(file.vector("mean")?),
        "VNrm" => {
            let norm: f32 = file.one("norm")?;
            if norm != 2.0 {
                return Err(format!("offset {at}: normalization to L2 expected, found L{norm}"));
            }
            Kind::Normalize
        }
        other => {
            let known = match other {
                "RmDT" => " (padding or selection of dimensions)",
                "HRot" => " (Hadamard rotation)",
                "Viqm" | "Viqt" => " (iterative quantization)",
                _ => "",
            };
            return Err(format!(
                "offset {at}: a linear transform, PCA, OPQ, centring or normalization expected, \
                 found \"{other}\"{known}, which is not imported"
            ));
        }
    })
}

/// z = R (x − mean), optionally divided by its norm: what a model does to vectors first.
#[derive(Debug, PartialEq)]
pub struct Transform {
    /// Subtracted first, `(dim,)`.
    pub mean: Option<Vec<f32>>,
    /// Multiplied then, `(d, dim)` with orthonormal rows.
    pub rotation: Option<Vec<f32>>,
    /// Whether vectors are divided by their norm last.
    pub renormalize: bool,
}

/// State of the composition: `A (x − mean)`, then L2 if `normalized`.
struct Composed {
    dim: usize,
    /// (d, dim), `None` for the identity.
    a: Option<Vec<f64>>,
    d: usize,
    mean: Vec<f64>,
    normalized: bool,
}

/// The chain as one transform of vectors (dim,).
///
/// # Errors
/// The reason, where a model cannot say the same.
pub(super) fn compose(stages: &[Stage], dim: usize, metric: Metric) -> Result<Transform> {
    let mut all = Composed { dim, a: None, d: dim, mean: vec![0.0; dim], normalized: false };
    for (stage, number) in stages.iter().zip(1..) {
        all.append(stage).map_err(|what| format!("transform {number}: {what}"))?;
    }
    let centred = all.mean.iter().any(|&x| x != 0.0);
    if centred && metric == Metric::InnerProduct && !all.normalized {
        return Err(
            "a centred transform under inner product: FAISS centres the query too and ranks by \
             ⟨R(q − mean), R(x − mean)⟩, which is no inner product with q; import the same index \
             with L2, with L2norm behind the PCA, or with have_bias = false"
                .to_owned(),
        );
    }
    let numbers = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect();
    Ok(Transform {
        mean: centred.then(|| numbers(all.mean)),
        rotation: all.a.map(numbers),
        renormalize: all.normalized,
    })
}

impl Composed {
    fn append(&mut self, stage: &Stage) -> Result<()> {
        match &stage.kind {
            Kind::Normalize => self.normalized = true,
            Kind::Centre(_) | Kind::Linear { .. } if self.normalized && !stage.keeps_norms() => {
                return Err(
                    "it changes norms after a normalization; a model normalizes last".into()
                );
            }
            Kind::Centre(mean) => {
                let minus: Vec<f64> = mean.iter().map(|&x| -f64::from(x)).collect();
                self.shift(&minus)?;
            }
            Kind::Linear { class, a, b, mean } => {
                if !a.iter().chain(b).chain(mean).all(|x| x.is_finite()) {
                    return Err("a number is not finite".into());
                }
                let wide = stage.d_out > stage.d_in;
                // What widens must come first: two matrices then never make a product that is
                // larger than the first, whatever a file says.
                if wide && self.a.is_some() {
                    return Err("it adds dimensions after another transform".into());
                }
                let error = isometry_error(a, stage.d_out, stage.d_in);
                let (least, by_rows) = ISOMETRY_TOLERANCE;
                let tolerance = least.max(by_rows * stage.d_out.min(stage.d_in) as f64);
                // NaN, too, is no isometry.
                if error.is_nan() || error > tolerance {
                    return Err(format!(
                        "\"{class}\" is no rotation or projection (R Rᵀ is off the identity by \
                         {error:.1e}): a whitening belongs before the index, not into it"
                    ));
                }
                let first = self.a.is_none();
                self.rotate(a, stage.d_out);
                if first && !b.is_empty() && bias_is_of(a, mean, b) {
                    // The mean itself says more than the bias: vectors come back in full.
                    self.mean.iter_mut().zip(mean).for_each(|(m, &x)| *m += f64::from(x));
                } else if b.iter().any(|&x| x != 0.0) {
                    let b: Vec<f64> = b.iter().map(|&x| f64::from(x)).collect();
                    self.shift(&b)?;
                }
            }
        }
        self.d = stage.d_out;
        Ok(())
    }

    fn rotate(&mut self, next: &[f32], d_out: usize) {
        let next = next.iter().map(|&x| f64::from(x));
        self.a = Some(match &self.a {
            None => next.collect(),
            Some(a) => {
                let next: Vec<f64> = next.collect();
                let mut out = vec![0.0; d_out * self.dim];
                for (out, weights) in out.chunks_exact_mut(self.dim).zip(next.chunks_exact(self.d))
                {
                    for (row, &w) in a.chunks_exact(self.dim).zip(weights) {
                        out.iter_mut().zip(row).for_each(|(o, &x)| *o += w * x);
                    }
                }
                out
            }
        });
        self.d = d_out;
    }

    /// Adds b (d,) after A: A (x − mean) + b = A (x − (mean − Aᵀ b)), as A Aᵀ = 1.
    fn shift(&mut self, b: &[f64]) -> Result<()> {
        let Some(a) = &self.a else {
            self.mean.iter_mut().zip(b).for_each(|(m, &b)| *m -= b);
            return Ok(());
        };
        if self.d > self.dim {
            return Err("it shifts vectors after dimensions were added".into());
        }
        for (row, &b) in a.chunks_exact(self.dim).zip(b) {
            self.mean.iter_mut().zip(row).for_each(|(m, &x)| *m -= x * b);
        }
        Ok(())
    }
}

impl Stage {
    /// Whether ‖y‖ = ‖x‖, provided that the matrix is a partial isometry.
    fn keeps_norms(&self) -> bool {
        match &self.kind {
            Kind::Linear { b, .. } => self.d_out >= self.d_in && b.iter().all(|&x| x == 0.0),
            Kind::Centre(mean) => mean.iter().all(|&x| x == 0.0),
            Kind::Normalize => true,
        }
    }
}

/// Whether b = −A mean, up to rounding.
fn bias_is_of(a: &[f32], mean: &[f32], b: &[f32]) -> bool {
    if mean.is_empty() {
        return false;
    }
    let (mut error, mut scale) = (0.0, 0.0);
    for (row, &b) in a.chunks_exact(mean.len()).zip(b) {
        let product: f64 = row.iter().zip(mean).map(|(&a, &m)| f64::from(a) * f64::from(m)).sum();
        error += (product + f64::from(b)).powi(2);
        scale += f64::from(b).powi(2);
    }
    error <= BIAS_TOLERANCE.powi(2) * scale
}

/// How far A (rows, columns) is from orthonormal rows, or columns if those are fewer: ‖G − 1‖_F
/// with G = A Aᵀ or Aᵀ A, estimated as the mean of ‖(G − 1) v‖² over random signs v (Hutchinson
/// 1989), which takes O(rows · columns).
fn isometry_error(a: &[f32], rows: usize, columns: usize) -> f64 {
    const PROBES: usize = 16;
    let multiply = |v: &[f64]| -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(v).map(|(&a, &v)| f64::from(a) * v).sum();
        a.chunks_exact(columns).map(dot).collect()
    };
    let multiply_transposed = |v: &[f64]| -> Vec<f64> {
        let mut out = vec![0.0; columns];
        for (row, &v) in a.chunks_exact(columns).zip(v) {
            out.iter_mut().zip(row).for_each(|(o, &a)| *o += f64::from(a) * v);
        }
        out
    };
    // SplitMix64 (Steele, Lea, Flood 2014): the same signs on every run.
    let mut state = 0u64;
    let mut sign = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
    };
    let size = rows.min(columns);
    let mut sum = 0.0;
    for _ in 0..PROBES {
        let v: Vec<f64> = (0..size).map(|_| sign()).collect();
        let back = if rows <= columns {
            multiply(&multiply_transposed(&v))
        } else {
            multiply_transposed(&multiply(&v))
        };
        sum += back.iter().zip(&v).map(|(b, v)| (b - v).powi(2)).sum::<f64>();
    }
    (sum / PROBES as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(a: &[f32], b: &[f32], d_in: usize, d_out: usize) -> Stage {
        let kind = Kind::Linear { class: "LTra".into(), a: a.into(), b: b.into(), mean: vec![] };
        Stage { d_in, d_out, kind }
    }

    /// y of the chain, computed stage by stage.
    fn apply(stages: &[Stage], x: &[f64]) -> Vec<f64> {
        stages.iter().fold(x.to_vec(), |x, stage| match &stage.kind {
            Kind::Centre(mean) => x.iter().zip(mean).map(|(x, &m)| x - f64::from(m)).collect(),
            Kind::Normalize => {
                let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                x.iter().map(|x| x / norm).collect()
            }
            Kind::Linear { a, b, .. } => (0..stage.d_out)
                .map(|i| {
                    let row = &a[i * stage.d_in..][..stage.d_in];
                    let y: f64 = row.iter().zip(&x).map(|(&a, x)| f64::from(a) * x).sum();
                    y + b.get(i).map_or(0.0, |&b| f64::from(b))
                })
                .collect(),
        })
    }

    #[test]
    fn composition_does_what_the_chain_does() {
        let (s, c) = (0.6, 0.8);
        let chain = [
            Stage { d_in: 3, d_out: 3, kind: Kind::Centre(vec![0.5, -1.0, 2.0]) },
            linear(&[s, c, 0.0, 0.0, 0.0, -1.0], &[0.25, 1.5], 3, 2),
            linear(&[c, -s, s, c], &[-2.0, 0.125], 2, 2),
        ];
        let all = compose(&chain, 3, Metric::L2).unwrap();
        let (mean, rotation) = (all.mean.unwrap(), all.rotation.unwrap());
        let x = [0.3, -0.7, 1.9];
        let want = apply(&chain, &x);
        for (row, want) in rotation.chunks_exact(3).zip(want) {
            let z: f64 = row
                .iter()
                .zip(&mean)
                .zip(x)
                .map(|((&r, &m), x)| f64::from(r) * (x - f64::from(m)))
                .sum();
            assert!((z - want).abs() < 1e-6, "{z} {want}");
        }
    }

    #[test]
    fn what_a_model_cannot_say_is_refused() {
        let norm = || Stage { d_in: 2, d_out: 2, kind: Kind::Normalize };
        let turn = || linear(&[0.6, 0.8, -0.8, 0.6], &[], 2, 2);
        let scaled = linear(&[0.6, 0.8, -0.8, 0.61], &[], 2, 2);
        let shifted = || linear(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.0], 2, 2);
        let wider = || linear(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &[], 2, 3);
        let refused = |stages: &[Stage], metric, why: &str| {
            let found = compose(stages, 2, metric).unwrap_err();
            assert!(found.contains(why), "{found}");
        };
        refused(&[scaled], Metric::L2, "no rotation");
        refused(&[norm(), shifted()], Metric::L2, "norms after");
        refused(&[shifted()], Metric::InnerProduct, "centred");
        refused(&[turn(), wider()], Metric::L2, "adds dimensions");
        assert!(compose(&[norm(), wider()], 2, Metric::InnerProduct).unwrap().renormalize);
        assert!(compose(&[shifted(), norm()], 2, Metric::InnerProduct).unwrap().renormalize);
    }
}
