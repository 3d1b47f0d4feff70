//! Refinement: finer codes beside the scanned ones, by which the best rows of a scan are scored
//! again.
//!
//! A scan reads every code of the probed lists, so codes are short. Whoever is among its best `r`
//! rows is decoded from a finer code too ([`ocelli_vector::refine`]) and scored by the distance to
//! *that* row: few reads, at scattered places, of codes that may be several times longer.
//!
//! A [`Refinement`] says how finer codes are made and read. It belongs to one model and has a hash
//! of its own: the model's hash, by which plain scores are known, does not depend on it, and a
//! shard names both. So an index may get finer codes, or others, without becoming another model's.
//!
//! Finer codes stand in the order of *slots* (see `docs/shard-format.md`): the candidates of a
//! query lie in few lists, so their codes share pages. The first code, which a second quantizer
//! needs too, is copied when the scan scores a row ([`crate::engine::Candidates`]).

mod codes;
mod rescore;
#[cfg(test)]
mod tests;

use ocelli_vector::refine::{Coarser, Finer};
use ocelli_vector::{Simd, dense, encode, refine};

use crate::container::{Reader, SectionKind};
use crate::engine::Remember;
use crate::error::{Error, Result};
use crate::floats::are_within;
use crate::hash::{Hash, Hasher};
use crate::model::{MAX_M, Metric, Model, Query};
use crate::range::MAX_MODEL_NUMBER;
use crate::spec::named;

pub(crate) use codes::{FineCodes, HEADER_BYTES, header, refined_model};
pub(crate) use rescore::{rescore, rescore_naive};

named! {
    /// How a finer code says more than the scanned one.
    RefineKind, "refinement" {
        /// A second product quantizer, of what the first one left over.
        Pq = "pq",
        /// One byte a dimension of what the first code left over.
        Sq8 = "sq8",
        /// The vectors z themselves, in half precision.
        F16 = "f16",
    }
}

impl RefineKind {
    const ALL: [Self; 3] = [Self::Pq, Self::Sq8, Self::F16];

    /// The number that stands in files.
    fn number(self) -> u32 {
        match self {
            Self::Pq => 1,
            Self::Sq8 => 2,
            Self::F16 => 3,
        }
    }
}

/// Codewords of a sub-quantizer: one byte.
pub const REFINE_KSUB: usize = 256;

/// How the finer codes of one model are made and read.
#[derive(Clone, Debug, PartialEq)]
pub struct Refinement {
    kind: RefineKind,
    /// The model that it refines.
    model: Hash,
    /// Dimension of z.
    d: usize,
    /// Sub-quantizers; 0 unless this is a product quantizer.
    m: usize,
    /// pq: codebooks (m, 256, d / m). sq8: linear (d,), then cubic (d,). f16: nothing.
    numbers: Vec<f32>,
    /// pq: codebooks with the coordinates outside, (m, d / m, 256).
    transposed: Vec<f32>,
    hash: Hash,
}

impl Refinement {
    /// A second product quantizer of m sub-quantizers, from `codebooks` (m, 256, d / m).
    ///
    /// # Errors
    /// [`Error::Invalid`] if m does not divide d, [`Error::Dim`] for codebooks of another shape,
    /// and for numbers that are not finite.
    pub fn pq(model: &Model, m: usize, codebooks: Vec<f32>) -> Result<Self> {
        Self::new(RefineKind::Pq, model.hash(), model.parts().d, m, codebooks)
    }

    /// One byte a dimension of z − (c + r̂), whose value is [`refine::sq8_value`] of `linear` (d,)
    /// and `cubic` (d,).
    ///
    /// # Errors
    /// [`Error::Dim`]; [`Error::Invalid`] for numbers that are not finite, or negative.
    pub fn sq8(model: &Model, linear: &[f32], cubic: &[f32]) -> Result<Self> {
        let d = model.parts().d;
        Self::new(RefineKind::Sq8, model.hash(), d, 0, [linear, cubic].concat())
    }

    /// The vectors z in half precision.
    pub fn f16(model: &Model) -> Self {
        Self::hashed(RefineKind::F16, model.hash(), model.parts().d, 0, Vec::new())
    }

    fn new(kind: RefineKind, model: Hash, d: usize, m: usize, numbers: Vec<f32>) -> Result<Self> {
        let want = match kind {
            RefineKind::Pq if m == 0 || m > MAX_M || !d.is_multiple_of(m) => {
                return Err(Error::invalid(format!(
                    "refinement: m = {m}, expected a divisor of d = {d}, at most {MAX_M}"
                )));
            }
            RefineKind::Pq => d.saturating_mul(REFINE_KSUB),
            RefineKind::Sq8 => 2 * d,
            RefineKind::F16 => 0,
        };
        if numbers.len() != want {
            let what = format!("refinement {kind}: its numbers");
            return Err(Error::Dim { what, expected: want, found: numbers.len() });
        }
        if !are_within(&numbers, MAX_MODEL_NUMBER) {
            return Err(Error::invalid(format!(
                "refinement: a number is not finite, or above {MAX_MODEL_NUMBER:e}"
            )));
        }
        if kind == RefineKind::Sq8 && numbers.iter().any(|&step| step < 0.0) {
            return Err(Error::invalid("refinement: a step is negative"));
        }
        Ok(Self::hashed(kind, model, d, m, numbers))
    }

    /// A refinement whose numbers are known to fit.
    fn hashed(kind: RefineKind, model: Hash, d: usize, m: usize, numbers: Vec<f32>) -> Self {
        let transposed = match kind {
            RefineKind::Pq => encode::transpose(&numbers, m, REFINE_KSUB),
            _ => Vec::new(),
        };
        let mut h = Hasher::new();
        let head = format!("ocelli-refinement 1\nmodel={model}\nkind={kind}\nd={d}\nm={m}\n");
        h.update(head.as_bytes());
        h.update(bytemuck::cast_slice(&numbers));
        Self { kind, model, d, m, numbers, transposed, hash: h.finish() }
    }

    /// Whether it belongs to this model.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn check_model(&self, model: &Model) -> Result<()> {
        if self.model == model.hash() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "refinement of model {}, expected one of model {}",
            self.model,
            model.hash()
        )))
    }

    /// How finer codes say more.
    pub fn kind(&self) -> RefineKind {
        self.kind
    }

    /// Kind and size, as it is asked for: `pq32`, `sq8`, `f16`.
    pub fn name(&self) -> String {
        match self.kind {
            RefineKind::Pq => format!("pq{}", self.m),
            other => other.to_string(),
        }
    }

    /// Hash over everything that defines finer codes and refined scores, the model's hash included.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Bytes of a finer code.
    pub fn code_bytes(&self) -> usize {
        match self.kind {
            RefineKind::Pq => self.m,
            RefineKind::Sq8 => self.d,
            RefineKind::F16 => 2 * self.d,
        }
    }

    /// Where a shard keeps the codes.
    pub(crate) fn section(&self) -> SectionKind {
        match self.kind {
            RefineKind::F16 => SectionKind::StoredVectors,
            _ => SectionKind::RefineCodes,
        }
    }

    /// What a scan must remember of the rows that are scored again.
    pub(crate) fn remember(&self) -> Remember {
        if self.finer().needs_code() { Remember::Codes } else { Remember::Places }
    }

    fn finer(&self) -> Finer<'_> {
        match self.kind {
            RefineKind::Pq => Finer::Pq { codebooks: &self.numbers, ksub: REFINE_KSUB },
            RefineKind::Sq8 => {
                let (linear, cubic) = self.numbers.split_at(self.d);
                Finer::Sq8 { linear, cubic }
            }
            RefineKind::F16 => Finer::F16,
        }
    }

    /// Appends the finer code of z (d,), a row whose list and first code (m,) are known, to `out`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an element of z is too large for half precision.
    ///
    /// # Panics
    /// If a shape does not fit, or the model is another.
    pub fn encode(
        &self,
        simd: Simd,
        model: &Model,
        z: &[f32],
        list: u32,
        code: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        assert_eq!(self.model, model.hash(), "refinement of another model");
        let rest = || -> Vec<f32> {
            let first = model.decode(list, code);
            z.iter().zip(&first).map(|(z, first)| z - first).collect()
        };
        match self.kind {
            RefineKind::Pq => {
                let at = out.len();
                out.resize(at + self.m, 0);
                let books = &self.transposed;
                refine::nearest_codewords(simd, books, REFINE_KSUB, &rest(), &mut out[at..]);
            }
            RefineKind::Sq8 => {
                let (linear, cubic) = self.numbers.split_at(self.d);
                let steps = linear.iter().zip(cubic);
                out.extend(
                    rest().iter().zip(steps).map(|(&x, (&l, &c))| refine::sq8_byte(l, c, x)),
                );
            }
            RefineKind::F16 => {
                for (i, &z) in z.iter().enumerate() {
                    let half = half::f16::from_f32(z);
                    if half.is_infinite() {
                        return Err(Error::invalid(format!(
                            "element {i} is {z}: half precision (f16) ends at 65504; choose sq8 or pq"
                        )));
                    }
                    out.extend(half.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// The decoded row ẑ (d,): the same bits at every level. `code` (m,) is the first code.
    ///
    /// # Panics
    /// If a shape does not fit, or a codeword is not in its codebook.
    pub fn decode(
        &self,
        simd: Simd,
        model: &Model,
        list: u32,
        code: &[u8],
        fine: &[u8],
    ) -> Vec<f32> {
        let p = model.parts();
        let centroid = model.centroid(list);
        let coarser = Coarser { centroid, codebooks: &p.codebooks, ksub: p.ksub, code };
        let mut z = vec![0.0; self.d];
        refine::decode(simd, self.finer(), coarser, fine, &mut z);
        z
    }

    /// Content of the model's section.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + 4 * self.numbers.len());
        for number in [self.kind.number(), self.d as u32, self.m as u32, 0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.hash.bytes());
        out.resize(HEADER_BYTES, 0);
        out.extend_from_slice(bytemuck::cast_slice(&self.numbers));
        out
    }

    /// The refinement that a model's file holds, if it holds one, for the model of this hash.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(crate) fn read(file: &Reader, model: &Model) -> Result<Option<Self>> {
        let kind = SectionKind::RefineCodebooks;
        if file.find(kind).is_none() {
            return Ok(None);
        }
        let bytes = file.read_all(kind)?;
        let corrupt =
            |what: String| Error::corrupt(file.path(), format!("{}: {what}", kind.name()));
        let (head, numbers) = bytes
            .split_at_checked(HEADER_BYTES)
            .ok_or_else(|| corrupt(format!("{} bytes, the shortest has 64", bytes.len())))?;
        let word = |i: usize| u32::from_le_bytes(head.as_chunks::<4>().0[i]);
        let number = word(0);
        let kind = RefineKind::ALL.into_iter().find(|k| k.number() == number);
        let kind = kind.ok_or_else(|| corrupt(format!("kind {number}, expected 1 to 3")))?;
        if word(1) as usize != model.parts().d || word(3) != 0 || head[48..] != [0; 16] {
            return Err(corrupt(format!(
                "d = {}, expected {}; or a byte that must be zero is not",
                word(1),
                model.parts().d
            )));
        }
        let numbers = bytemuck::try_cast_slice(numbers)
            .map_err(|_| corrupt(format!("{} bytes of numbers", numbers.len())))?;
        let (d, m) = (model.parts().d, word(2) as usize);
        let found = Self::new(kind, model.hash(), d, m, numbers.to_vec())
            .map_err(|e| corrupt(e.to_string()))?;
        if found.hash.bytes() != head[16..48] {
            return Err(corrupt(format!(
                "its content hashes to {}, which it does not say",
                found.hash
            )));
        }
        Ok(Some(found))
    }
}

/// The refined score of a decoded row `z` (d,), by definition.
fn score(metric: Metric, query: &Query, z: &[f32]) -> f32 {
    match metric {
        Metric::L2 => dense::l2_sq(&query.z, z),
        Metric::InnerProduct => dense::dot(&query.z, z) + query.offset,
    }
}
