//! How far two parts of the same images are apart: of two devices, two precisions, two builds.

use std::fmt;
use std::path::Path;

use ocelli_index::{Part, PartKind};
use serde::Serialize;

use crate::error::{Error, Result};

/// How far two parts are apart. `Display` is for people, serde for `--format json`.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Images of both parts.
    pub images: usize,
    /// Rows of both parts.
    pub rows: usize,
    /// The differences of two parts of vectors.
    #[serde(flatten)]
    pub vectors: Option<VectorsCompared>,
    /// The differences of two parts of codes.
    #[serde(flatten)]
    pub codes: Option<CodesCompared>,
}

/// Cosines between the rows of one part and those of the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct VectorsCompared {
    /// The least of them.
    pub cosine_min: f64,
    /// Mean cosine of the pairs.
    pub cosine_mean: f64,
}

/// Shares, 0 to 1, of what differs between the codes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CodesCompared {
    /// Rows that are in another list. All bytes of such a row count as they are: codes of residuals
    /// of another centroid.
    pub lists_differ: f64,
    /// Bytes of the codes.
    pub bytes_differ: f64,
    /// Bytes of the finer codes; 0 without any.
    pub fine_bytes_differ: f64,
}

/// Compares two parts of the same images in the same order.
///
/// # Errors
/// `Invalid` unless kind, dimension or model, number of images and rows, and keys are equal; the
/// index room's, for files that are no parts or damaged.
pub fn compare(a: &Path, b: &Path) -> Result<Compared> {
    let (a, b) = (Part::open(a)?, Part::open(b)?);
    let differ = |what: &str, found: [String; 2]| {
        let [of_a, of_b] = found;
        Err(Error::invalid(format!(
            "{} and {}: expected the same {what}, found {of_a} and {of_b}",
            a.path().display(),
            b.path().display()
        )))
    };
    if a.kind() != b.kind() {
        return differ("kind", [a.kind().to_string(), b.kind().to_string()]);
    }
    if a.dim() != b.dim() {
        return differ("dimension", [a.dim().to_string(), b.dim().to_string()]);
    }
    if a.code_form() != b.code_form() {
        return differ(
            "model",
            [&a, &b].map(|part| format!("{:?}", part.code_form().map(|form| form.model))),
        );
    }
    if (a.images(), a.rows()) != (b.images(), b.rows()) {
        return differ(
            "images",
            [&a, &b].map(|part| format!("{} ({} rows)", part.images(), part.rows())),
        );
    }
    let mut vectors = Vectors::default();
    let mut codes = Codes::default();
    for image in 0..a.images() {
        let keys = [a.key(image)?, b.key(image)?];
        if keys[0] != keys[1] {
            let keys = keys.map(|key| ocelli_text::quoted(&key));
            return differ(&format!("key of image {image}"), keys);
        }
        let rows = [a.rows_of(image), b.rows_of(image)];
        if rows[0] != rows[1] {
            return differ(
                &format!("rows of {}", ocelli_text::quoted(&keys[0])),
                rows.map(|rows| format!("{rows:?}")),
            );
        }
        let [of_a, of_b] = rows;
        match a.kind() {
            PartKind::Codes => codes.add(&a.read_codes(of_a)?, &b.read_codes(of_b)?),
            _ => vectors.add(&a.read(of_a)?, &b.read(of_b)?, a.dim()),
        }
    }
    let is_codes = a.kind() == PartKind::Codes;
    Ok(Compared {
        images: a.images(),
        rows: a.rows(),
        vectors: (!is_codes).then(|| vectors.compared(a.rows())),
        codes: is_codes.then(|| codes.compared()),
    })
}

struct Vectors {
    least: f64,
    sum: f64,
}

impl Default for Vectors {
    fn default() -> Self {
        Vectors { least: 1.0, sum: 0.0 }
    }
}

impl Vectors {
    fn add(&mut self, a: &[f32], b: &[f32], dim: usize) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        for (a, b) in a.chunks_exact(dim.max(1)).zip(b.chunks_exact(dim.max(1))) {
            let norms = dot(a, a) * dot(b, b);
            // Two rows of zeros, regions in which nothing fired, are equal; one is as far as can
            // be.
            let cosine = match norms > 0.0 {
                true => dot(a, b) / norms.sqrt(),
                false => f64::from(u8::from(a == b)),
            };
            self.least = self.least.min(cosine);
            self.sum += cosine;
        }
    }

    fn compared(&self, rows: usize) -> VectorsCompared {
        VectorsCompared { cosine_min: self.least, cosine_mean: self.sum / rows.max(1) as f64 }
    }
}

/// Numbers that differ, and all numbers.
#[derive(Default)]
struct Codes {
    lists: [usize; 2],
    bytes: [usize; 2],
    fine: [usize; 2],
}

impl Codes {
    fn add(&mut self, a: &ocelli_index::CodeRows, b: &ocelli_index::CodeRows) {
        fn count<T: PartialEq>(counted: &mut [usize; 2], a: &[T], b: &[T]) {
            counted[0] += a.iter().zip(b).filter(|(a, b)| a != b).count();
            counted[1] += a.len();
        }
        count(&mut self.lists, &a.lists, &b.lists);
        count(&mut self.bytes, &a.codes, &b.codes);
        count(&mut self.fine, &a.fine, &b.fine);
    }

    fn compared(&self) -> CodesCompared {
        let share = |[differing, all]: [usize; 2]| differing as f64 / all.max(1) as f64;
        CodesCompared {
            lists_differ: share(self.lists),
            bytes_differ: share(self.bytes),
            fine_bytes_differ: share(self.fine),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images, {} rows", self.images, self.rows)?;
        if let Some(VectorsCompared { cosine_min, cosine_mean }) = self.vectors {
            write!(f, ": cosine {cosine_min:.7} at least, {cosine_mean:.7} in the mean")?;
        }
        if let Some(CodesCompared { lists_differ, bytes_differ, fine_bytes_differ }) = self.codes {
            let [lists, bytes, fine] =
                [lists_differ, bytes_differ, fine_bytes_differ].map(|share| 100.0 * share);
            write!(
                f,
                ": {lists:.3} % of the lists differ, {bytes:.3} % of the codes' bytes, {fine:.3} \
                 % of the finer codes'"
            )?;
        }
        Ok(())
    }
}
