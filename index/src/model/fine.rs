//! The fine codec: codes beside the scanned ones, by which the best rows of a scan are scored
//! again.
//!
//! A scan reads every code of the probed lists, so its codes are short. The best `r` rows of a scan
//! are decoded from a finer code too ([`ocelli_vector::fine`]) and scored by the distance to *that*
//! row: few reads, at scattered places, of codes that may be several times longer.
//!
//! A [`FineCodec`] says how finer codes are made and read. It belongs to one model and has a hash
//! of its own: the model's hash, by which plain scores are known, does not depend on it, and a
//! shard names both. So an index may get finer codes, or others, and its model stays the same.
//!
//! Finer codes lie in the order of *slots* (see `docs/shard-format.md`): the candidates of a query
//! lie in few lists, so their codes share pages. A quantizer of what the first code left over needs
//! that first code too; the scan copies it when it scores a row.

use ocelli_vector::fine::{self, Coarser, Finer};
use ocelli_vector::{Simd, encode};

use super::{Metric, ModelParts, Query};
use crate::base::error::{Error, Result};
use crate::base::hash::{Hash, Hasher};
use crate::base::named::named;
use crate::base::range::MAX_MODEL_NUMBER;
use crate::files::container::{Reader, SectionKind};
use crate::files::floats::are_within;

/// Bytes in front of a model's numbers, and of a shard's codes: one cache line, so that codes whose
/// length divides 64, or is a multiple of it, lie on as few lines as they can.
pub(crate) const HEADER_BYTES: usize = 64;

/// Most sub-quantizers of a code.
pub const MAX_M: usize = 128;

named! {
    /// What a finer code stores of a row.
    FineKind, "kind of fine codec" {
        /// A second product quantizer, of what the first one left over.
        Pq = "pq",
        /// One byte a dimension of what the first code left over.
        Sq8 = "sq8",
        /// The vectors z themselves, in half precision.
        F16 = "f16",
        /// Nothing: the best rows are compared again by the cosine.
        Cosine = "cosine",
    }
}

impl FineKind {
    pub(crate) const ALL: [Self; 4] = [Self::Pq, Self::Sq8, Self::F16, Self::Cosine];

    /// The kind's number in files.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Pq => 1,
            Self::Sq8 => 2,
            Self::F16 => 3,
            Self::Cosine => 4,
        }
    }
}

/// Codewords of a sub-quantizer of a fine codec: one byte.
pub const FINE_KSUB: usize = 256;

/// How the finer codes of one model are made and read.
#[derive(Clone, Debug, PartialEq)]
pub struct FineCodec {
    kind: FineKind,
    /// Hash of the model that it belongs to.
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

impl FineCodec {
    /// A second product quantizer of m sub-quantizers for the model of this hash, whose z has d
    /// dimensions, from `codebooks` (m, 256, d / m).
    ///
    /// # Errors
    /// [`Error::Invalid`] if m does not divide d, [`Error::Dim`] for codebooks of another shape,
    /// and for numbers that are not finite.
    pub fn pq(model: Hash, d: usize, m: usize, codebooks: Vec<f32>) -> Result<Self> {
        Self::new(FineKind::Pq, model, d, m, codebooks)
    }

    /// One byte a dimension of z − (c + r̂), whose value is [`fine::sq8_value`] of `linear` (d,)
    /// and `cubic` (d,).
    ///
    /// # Errors
    /// [`Error::Dim`]; [`Error::Invalid`] for numbers that are not finite, or negative.
    pub fn sq8(model: Hash, linear: &[f32], cubic: &[f32]) -> Result<Self> {
        Self::new(FineKind::Sq8, model, linear.len(), 0, [linear, cubic].concat())
    }

    /// The vectors z (d,) in half precision, for the model of this hash.
    pub fn f16(model: Hash, d: usize) -> Self {
        Self::hashed(FineKind::F16, model, d, 0, Vec::new())
    }

    /// No code: the best rows c + r̂ of a scan by inner product are compared with the query again,
    /// by the cosine. A code of few bytes makes rows shorter, some more than others, and a product
    /// counts that.
    pub fn cosine(model: Hash, d: usize) -> Self {
        Self::hashed(FineKind::Cosine, model, d, 0, Vec::new())
    }

    fn new(kind: FineKind, model: Hash, d: usize, m: usize, numbers: Vec<f32>) -> Result<Self> {
        let want = match kind {
            FineKind::Pq if m == 0 || m > MAX_M || !d.is_multiple_of(m) => {
                return Err(Error::invalid(format!(
                    "fine codec: m = {m}, expected a divisor of d = {d}, at most {MAX_M}"
                )));
            }
            FineKind::Pq => d.saturating_mul(FINE_KSUB),
            FineKind::Sq8 => 2 * d,
            FineKind::F16 | FineKind::Cosine => 0,
        };
        if numbers.len() != want {
            let what = format!("fine codec {kind}: its numbers");
            return Err(Error::Dim { what, expected: want, found: numbers.len() });
        }
        if !are_within(&numbers, MAX_MODEL_NUMBER) {
            return Err(Error::invalid(format!(
                "fine codec: a number is not finite, or above {MAX_MODEL_NUMBER:e}"
            )));
        }
        if kind == FineKind::Sq8 && numbers.iter().any(|&step| step < 0.0) {
            return Err(Error::invalid("fine codec: a step is negative"));
        }
        Ok(Self::hashed(kind, model, d, m, numbers))
    }

    /// A codec whose numbers are known to fit.
    fn hashed(kind: FineKind, model: Hash, d: usize, m: usize, numbers: Vec<f32>) -> Self {
        let transposed = match kind {
            FineKind::Pq => encode::transpose(&numbers, m, FINE_KSUB),
            _ => Vec::new(),
        };
        let mut h = Hasher::new();
        let head = format!("ocelli-refinement 1\nmodel={model}\nkind={kind}\nd={d}\nm={m}\n");
        h.update(head.as_bytes());
        h.update(bytemuck::cast_slice(&numbers));
        Self { kind, model, d, m, numbers, transposed, hash: h.finish() }
    }

    /// Hash of the model that it belongs to.
    pub fn model(&self) -> Hash {
        self.model
    }

    /// Dimension of the vectors z that it encodes.
    pub fn d(&self) -> usize {
        self.d
    }

    /// The kind of the finer codes.
    pub fn kind(&self) -> FineKind {
        self.kind
    }

    /// Kind and size, as it is asked for: `pq32`, `sq8`, `f16`.
    pub fn name(&self) -> String {
        match self.kind {
            FineKind::Pq => format!("pq{}", self.m),
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
            FineKind::Pq => self.m,
            FineKind::Sq8 => self.d,
            FineKind::F16 => 2 * self.d,
            FineKind::Cosine => 0,
        }
    }

    /// Where a shard keeps the codes.
    pub(crate) fn section(&self) -> SectionKind {
        match self.kind {
            FineKind::F16 => SectionKind::StoredVectors,
            _ => SectionKind::FineCodes,
        }
    }

    /// Whether the row's first code is needed to decode its finer code.
    pub(crate) fn needs_code(&self) -> bool {
        self.finer().needs_code()
    }

    /// The codec as the kernels take it.
    pub(crate) fn finer(&self) -> Finer<'_> {
        match self.kind {
            FineKind::Pq => Finer::Pq { codebooks: &self.numbers, ksub: FINE_KSUB },
            FineKind::Sq8 => {
                let (linear, cubic) = self.numbers.split_at(self.d);
                Finer::Sq8 { linear, cubic }
            }
            FineKind::F16 => Finer::F16,
            FineKind::Cosine => Finer::Cosine,
        }
    }

    /// Appends the finer code of z (d,) to `out`. `first` is called where the row (d,) that the
    /// first code stands for is needed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an element of z is too large for half precision.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn encode(
        &self,
        simd: Simd,
        z: &[f32],
        first: impl FnOnce() -> Vec<f32>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let rest = || -> Vec<f32> { z.iter().zip(&first()).map(|(z, first)| z - first).collect() };
        match self.kind {
            FineKind::Pq => {
                let at = out.len();
                out.resize(at + self.m, 0);
                let books = &self.transposed;
                fine::nearest_codewords(simd, books, FINE_KSUB, &rest(), &mut out[at..]);
            }
            FineKind::Sq8 => {
                let (linear, cubic) = self.numbers.split_at(self.d);
                let steps = linear.iter().zip(cubic);
                out.extend(rest().iter().zip(steps).map(|(&x, (&l, &c))| fine::sq8_byte(l, c, x)));
            }
            FineKind::Cosine => {}
            FineKind::F16 => {
                for (i, &z) in z.iter().enumerate() {
                    let half = half::f16::from_f32(z);
                    if half.is_infinite() {
                        return Err(Error::invalid(format!(
                            "element {i} is {z}: half precision (f16) ends at 65504; choose sq8 \
                             or pq"
                        )));
                    }
                    out.extend(half.to_le_bytes());
                }
            }
        }
        Ok(())
    }

    /// The score of `query` and a decoded row `z` (d,), by definition.
    pub(crate) fn score(&self, query: &Query, metric: Metric, z: &[f32]) -> f32 {
        match self.kind {
            FineKind::Cosine => fine::cosine(&query.z, z),
            _ => query.score(metric, z),
        }
    }

    /// Whether rows of a model can be scored again like this: by the cosine only where the scan's
    /// score is an inner product in the space of z and nothing else.
    pub(crate) fn fits(&self, p: &ModelParts) -> Result<()> {
        if self.kind != FineKind::Cosine
            || p.metric == Metric::InnerProduct && (p.mean.is_none() || p.renormalize)
        {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "scores by the cosine: expected a model of metric ip that is not centred, or \
             normalises again; found metric {}{}",
            p.metric,
            if p.mean.is_some() { ", centred" } else { "" }
        )))
    }

    /// The decoded row ẑ (d,): the same bits at every level. `coarser` is the first code with what
    /// decodes it.
    ///
    /// # Panics
    /// If a shape does not fit, or a codeword is not in its codebook.
    pub fn decode(&self, simd: Simd, coarser: Coarser<'_>, fine: &[u8]) -> Vec<f32> {
        let mut z = vec![0.0; self.d];
        fine::decode(simd, self.finer(), coarser, fine, &mut z);
        z
    }

    /// Codebooks or steps, as they lie in a file.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> &[f32] {
        &self.numbers
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

    /// The codec in a model's file, where the file has one; `model` and `d` are those of the model.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(crate) fn read(file: &Reader, model: Hash, d: usize) -> Result<Option<Self>> {
        let kind = SectionKind::FineCodebooks;
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
        let kind = FineKind::ALL.into_iter().find(|k| k.number() == number);
        let kind = kind.ok_or_else(|| corrupt(format!("kind {number}, expected 1 to 4")))?;
        if word(1) as usize != d || word(3) != 0 || head[48..] != [0; 16] {
            return Err(corrupt(format!(
                "d = {}, expected {}; or a byte that must be zero is not",
                word(1),
                d
            )));
        }
        let numbers = bytemuck::try_cast_slice(numbers)
            .map_err(|_| corrupt(format!("{} bytes of numbers", numbers.len())))?;
        let m = word(2) as usize;
        let found =
            Self::new(kind, model, d, m, numbers.to_vec()).map_err(|e| corrupt(e.to_string()))?;
        if found.hash.bytes() != head[16..48] {
            return Err(corrupt(format!(
                "its content hashes to {}, which it does not say",
                found.hash
            )));
        }
        Ok(Some(found))
    }
}
