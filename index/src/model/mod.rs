//! The trained model: transform, coarse centroids, product quantizer.
//!
//! ```text
//! x (dim,) ──► z = R (x − mean) (d,), optionally L2 again
//!          ──► list l: nearest c_l ──► r = z − c_l ──► code (m,)
//! ```
//!
//! A model is shared by every shard that was built under it; its content hash is in each of
//! them. Product quantization of residuals: Jégou, Douze, Schmid 2011.

mod file;
pub mod fine;
pub mod groups;
mod order;
mod probe;
pub mod row_encoder;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

pub use ocelli_vector::Metric;
use ocelli_vector::codes::CodeLayout;
use ocelli_vector::fine::{Coarser, Finer};
use ocelli_vector::lut::WholeBooks;
use ocelli_vector::shortlist::ByteRows;
use ocelli_vector::{Simd, adc, dense, dot, encode, l2_normalize};

use self::file::{hash_of, numbers};
use self::fine::FineCodec;
pub use self::fine::MAX_M;
use self::groups::CoarseGroups;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::base::level::simd;
use crate::base::range::{MAX_MODEL_NUMBER, out_of_range};
use crate::files::container::Reader;
use crate::files::floats::{Floats, are_within};
use crate::spec::DescriptorSpec;
pub(crate) use probe::ProbeBuffers;

/// Most coarse centroids.
pub const MAX_NLIST: usize = 1 << 24;

/// The parts that a model consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParts {
    /// The spec of the vectors that this model indexes.
    pub spec: DescriptorSpec,
    /// The metric that compares vectors.
    pub metric: Metric,
    /// Subtracted first, (dim,).
    pub mean: Option<Vec<f32>>,
    /// Orthonormal rows, (d, dim) row-major: a PCA or OPQ. Without it d = dim.
    pub rotation: Option<Vec<f32>>,
    /// Whether z is L2-normalised again after the rotation.
    pub renormalize: bool,
    /// Dimension of x.
    pub dim: usize,
    /// Dimension of z.
    pub d: usize,
    /// Number of coarse centroids.
    pub nlist: usize,
    /// Coarse centroids, (nlist, d) row-major.
    pub coarse: Floats,
    /// Number of sub-quantizers; d is a multiple of it.
    pub m: usize,
    /// Codewords of a sub-quantizer: 256 or 16.
    pub ksub: usize,
    /// Codebooks, (m, ksub, d / m) row-major.
    pub codebooks: Vec<f32>,
    /// Facts of the training (rows, seed, iterations): for people, not part of the hash.
    pub training: BTreeMap<String, String>,
}

/// A model ready for use. Its parts fit together and are finite.
#[derive(Debug)]
pub struct Model {
    parts: ModelParts,
    /// Codebooks as vectors are encoded by them, (m, dsub, ksub).
    transposed: Vec<f32>,
    /// Codebooks as a query's table is filled from them.
    whole_books: WholeBooks,
    /// See [`Self::residual_norm_sq`].
    residual_norm_sq: f64,
    /// Centroids as bytes, from which the ones worth a float are chosen: where all of them are
    /// looked at.
    shortlist: OnceLock<ByteRows>,
    /// Centroids in groups, of which a query looks at some: if there are many.
    pub(crate) groups: Option<CoarseGroups>,
    layout: CodeLayout,
    pub(crate) hash: Hash,
    /// Made when a batch first asks for it.
    list_ranks: OnceLock<Vec<u32>>,
    lists_by_rank: OnceLock<Vec<u32>>,
    /// R μ (d,), made when a decoded row is first wanted as a query of inner products.
    rotated_mean: OnceLock<Vec<f32>>,
    /// The codec of finer codes, where they are. Not part of the hash: it has its own.
    fine_codec: Option<FineCodec>,
    /// Groups made to be written or to assign rows by, where the centroids are in none. Queries do
    /// not use them: a model answers as before it was written.
    made_groups: OnceLock<CoarseGroups>,
    /// The file of which a part is still mapped.
    file: Option<Arc<Reader>>,
}

/// A query in the model's space.
#[derive(Clone, Debug)]
pub struct Query {
    /// Vector that is compared with z, (d,).
    pub z: Vec<f32>,
    /// Constant that belongs to every inner product: ⟨x, mean⟩ where the transform is centred.
    pub offset: f32,
}

impl Query {
    /// The score of a decoded row `z` (d,), by definition.
    pub(crate) fn score(&self, metric: Metric, z: &[f32]) -> f32 {
        self.with_offset(metric, metric.of(&self.z, z))
    }

    /// A score with the constant that belongs to every inner product.
    #[inline]
    pub(crate) fn with_offset(&self, metric: Metric, score: f32) -> f32 {
        match metric {
            Metric::L2 => score,
            Metric::InnerProduct => score + self.offset,
        }
    }
}

impl Model {
    /// A model of these parts.
    ///
    /// # Errors
    /// [`Error::Dim`] or [`Error::Invalid`] if they do not fit together or a number is not finite.
    pub fn from_parts(parts: ModelParts) -> Result<Self> {
        Self::assemble(parts, None)
    }

    /// [`Self::from_parts`]; where the hash is known, the arrays were proven by their checksums
    /// instead.
    fn assemble(parts: ModelParts, known: Option<Hash>) -> Result<Self> {
        let p = &parts;
        let dim = |what: &str, expected: usize, found: usize| {
            if expected == found {
                Ok(())
            } else {
                Err(Error::Dim { what: format!("model: {what}"), expected, found })
            }
        };
        dim("spec's dimension", p.dim, p.spec.dim())?;
        if p.dim == 0 || p.d == 0 || p.nlist == 0 || p.nlist > MAX_NLIST || p.m == 0 || p.m > MAX_M
        {
            return Err(Error::invalid(format!(
                "model: dim {}, d {}, nlist {} (1 to {MAX_NLIST}), m {} (1 to {MAX_M})",
                p.dim, p.d, p.nlist, p.m
            )));
        }
        if !p.d.is_multiple_of(p.m) {
            return Err(Error::invalid(format!(
                "model: d = {} is no multiple of m = {}",
                p.d, p.m
            )));
        }
        let layout = CodeLayout::new(p.m, p.ksub).ok_or_else(|| {
            Error::invalid(format!("model: ksub = {}, expected 256 or 16", p.ksub))
        })?;
        let product = |a: usize, b: usize| a.saturating_mul(b);
        if let Some(mean) = &p.mean {
            dim("mean", p.dim, mean.len())?;
        }
        match &p.rotation {
            Some(r) => dim("rotation's elements", product(p.d, p.dim), r.len())?,
            None => dim("d without a rotation", p.dim, p.d)?,
        }
        dim("coarse centroids' elements", product(p.nlist, p.d), p.coarse.len())?;
        dim("codebooks' elements", product(p.ksub, p.d), p.codebooks.len())?;
        let [mean, rotation, coarse, codebooks] = numbers(p);
        // Mapped centroids were looked at when they were proven.
        let fresh: &[f32] = if known.is_some() { &[] } else { coarse };
        let sound = are_within(rotation, f32::MAX)
            && [mean, fresh, codebooks].into_iter().all(|x| are_within(x, MAX_MODEL_NUMBER));
        if !sound {
            return Err(Error::invalid(format!(
                "model: a number is not finite, or above {MAX_MODEL_NUMBER:e}"
            )));
        }
        let hash = known.unwrap_or_else(|| hash_of(p));
        let transposed = encode::transpose(&p.codebooks, p.m, p.ksub);
        let whole_books = WholeBooks::new(&p.codebooks, p.m, p.ksub);
        let residual_norm_sq = longest_codes_sq(&p.codebooks, p.m, p.ksub);
        let file = p.coarse.file().cloned();
        Ok(Self {
            parts,
            transposed,
            whole_books,
            residual_norm_sq,
            shortlist: OnceLock::new(),
            groups: None,
            layout,
            hash,
            list_ranks: OnceLock::new(),
            lists_by_rank: OnceLock::new(),
            rotated_mean: OnceLock::new(),
            fine_codec: None,
            made_groups: OnceLock::new(),
            file,
        })
    }

    /// The model with this fine codec in place of the one that it had. Its hash stays what it was.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the codec belongs to another model; those of [`Self::intact`].
    pub fn with_fine_codec(mut self, codec: FineCodec) -> Result<Self> {
        if codec.model() != self.hash {
            return Err(Error::invalid(format!(
                "fine codec of model {}, expected one of model {}",
                codec.model(),
                self.hash
            )));
        }
        if codec.d() != self.parts.d {
            let what = "fine codec: dimension of z".into();
            return Err(Error::Dim { what, expected: self.parts.d, found: codec.d() });
        }
        codec.fits(&self.parts)?;
        self.intact()?;
        self.fine_codec = Some(codec);
        Ok(self)
    }

    /// The codec that makes and reads finer codes, where the model has them.
    pub fn fine_codec(&self) -> Option<&FineCodec> {
        self.fine_codec.as_ref()
    }

    /// Whether all that was read of a mapped model could be read. What comes of its centroids
    /// counts once this has returned `Ok`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the file, if it was cut since it was opened, or its disk failed.
    pub fn intact(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.intact())
    }

    /// Groups the centroids, so that [`Self::probe`] looks at some of them only; [`Self::write`]
    /// writes the groups along. `groups` is their number, by default what suits nlist; the same
    /// number gives the same groups on every machine. Models of at least [`groups::MIN_NLIST`]
    /// lists are grouped when they are written, so that this need not be called.
    pub fn group_centroids(&mut self, groups: Option<usize>) {
        let p = &self.parts;
        let groups = groups.unwrap_or_else(|| groups::groups_of(p.nlist));
        self.groups = Some(CoarseGroups::build(simd(), &p.coarse, p.d, groups, self.hash));
    }

    /// Number of groups that the centroids are in, where they are.
    pub fn groups(&self) -> Option<usize> {
        self.groups.as_ref().map(CoarseGroups::groups)
    }

    /// All centroids as bytes, made when they are first wanted.
    fn shortlist(&self) -> &ByteRows {
        self.shortlist.get_or_init(|| ByteRows::new(&self.parts.coarse, self.parts.d))
    }

    /// The parts that the model consists of.
    pub fn parts(&self) -> &ModelParts {
        &self.parts
    }

    /// No decoded residual has a larger squared norm.
    pub(crate) fn residual_norm_sq(&self) -> f64 {
        self.residual_norm_sq
    }

    /// Codebooks as whole numbers.
    pub(crate) fn whole_books(&self) -> &WholeBooks {
        &self.whole_books
    }

    /// Codebooks with the coordinates outside, (m, dsub, ksub).
    pub(crate) fn transposed(&self) -> &[f32] {
        &self.transposed
    }

    /// The place of each list (nlist,) in an order in which near lists are near.
    pub(crate) fn list_ranks(&self) -> &[u32] {
        self.list_ranks.get_or_init(|| order::ranks(&self.parts.coarse, self.parts.d))
    }

    /// Every list, in the order of [`Self::list_ranks`].
    pub(crate) fn lists_by_rank(&self) -> &[u32] {
        self.lists_by_rank.get_or_init(|| {
            let ranks = self.list_ranks();
            let mut lists = vec![0; ranks.len()];
            ranks.iter().zip(0u32..).for_each(|(&rank, list)| lists[rank as usize] = list);
            lists
        })
    }

    /// The layout of codes in memory.
    pub fn layout(&self) -> CodeLayout {
        self.layout
    }

    /// Hash over everything that defines codes and scores.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The spec of the vectors that this model indexes.
    pub fn spec(&self) -> &DescriptorSpec {
        &self.parts.spec
    }

    /// The metric that compares vectors.
    pub fn metric(&self) -> Metric {
        self.parts.metric
    }

    /// Centroid of a list, (d,).
    ///
    /// # Panics
    /// If `list >= nlist`.
    #[inline]
    pub fn centroid(&self, list: u32) -> &[f32] {
        let at = list as usize * self.parts.d;
        &self.parts.coarse[at..at + self.parts.d]
    }

    fn check_dim(&self, what: &str, x: &[f32]) -> Result<()> {
        if x.len() != self.parts.dim {
            return Err(Error::Dim { what: what.into(), expected: self.parts.dim, found: x.len() });
        }
        match out_of_range(x) {
            None => Ok(()),
            Some(why) => Err(Error::invalid(format!("{what}: {why}"))),
        }
    }

    /// x minus `mean`, rotated.
    fn rotate(&self, x: &[f32], mean: Option<&Vec<f32>>) -> Vec<f32> {
        let centred: Vec<f32> = match mean {
            Some(mean) => x.iter().zip(mean).map(|(a, b)| a - b).collect(),
            None => x.to_vec(),
        };
        match &self.parts.rotation {
            None => centred,
            Some(r) => {
                let mut z = Vec::with_capacity(self.parts.d);
                dense::matvec(r, &centred, &mut z);
                z
            }
        }
    }

    /// z (d,) of a vector x (dim,).
    ///
    /// # Errors
    /// [`Error::Dim`]; [`Error::Invalid`] if x is [`out_of_range`], or if z is to be normalised and
    /// has no direction.
    pub fn transform(&self, x: &[f32]) -> Result<Vec<f32>> {
        self.check_dim("vector", x)?;
        let mut z = self.rotate(x, self.parts.mean.as_ref());
        if self.parts.renormalize && !l2_normalize(&mut z) {
            return Err(Error::invalid("vector: it has no direction after the model's transform"));
        }
        Ok(z)
    }

    /// A query in the model's space. With inner product and a centred transform the query itself is
    /// not centred: ⟨x, Rᵀz + mean⟩ = ⟨R x, z⟩ + ⟨x, mean⟩. Where z was normalised again, the score
    /// is a cosine in the space of z, and the query goes the same way as the indexed vectors.
    ///
    /// # Errors
    /// As [`Self::transform`].
    pub fn prepare(&self, x: &[f32]) -> Result<Query> {
        if self.parts.metric == Metric::L2 || self.parts.renormalize {
            return Ok(Query { z: self.transform(x)?, offset: 0.0 });
        }
        self.check_dim("query", x)?;
        let offset = self.parts.mean.as_ref().map_or(0.0, |mean| dot(x, mean));
        Ok(Query { z: self.rotate(x, None), offset })
    }

    /// A decoded row `z` (d,) as a query: what [`Self::prepare`] makes of its vector.
    pub(crate) fn as_query(&self, mut z: Vec<f32>) -> Query {
        let mut offset = 0.0;
        // Inner products are those of vectors that are not centred: x = Rᵀ z + μ, R x = z + R μ.
        if self.parts.metric == Metric::InnerProduct
            && !self.parts.renormalize
            && let Some(mean) = &self.parts.mean
        {
            let rotated = self.rotated_mean.get_or_init(|| self.rotate(mean, None));
            offset = dot(&z, rotated) + dense::norm_sq(mean);
            z.iter_mut().zip(rotated).for_each(|(z, m)| *z += m);
        }
        Query { z, offset }
    }

    /// The list of z (d,): nearest centroid by L2 whatever the metric, ties to the smaller list.
    /// (Assigning by inner product would fill the lists of long centroids.) A model of at least
    /// [`groups::MIN_ASSIGN_NLIST`] lists looks at the centroids of the groups near z, and at no
    /// others.
    pub fn assign(&self, z: &[f32]) -> u32 {
        match self.assign_groups() {
            Some(groups) => groups.assign(simd(), &self.parts.coarse, z),
            None => dense::nearest(z, &self.parts.coarse).map_or(0, |(list, _)| list as u32),
        }
    }

    /// The groups of centroids by which rows find their lists: those of the file, or else the same
    /// ones made now. None for a model of few lists.
    fn assign_groups(&self) -> Option<&CoarseGroups> {
        let p = &self.parts;
        if p.nlist < groups::MIN_ASSIGN_NLIST {
            return None;
        }
        Some(self.groups.as_ref().unwrap_or_else(|| self.made_groups()))
    }

    /// Groups of the centroids, made when they are first wanted.
    fn made_groups(&self) -> &CoarseGroups {
        let p = &self.parts;
        self.made_groups.get_or_init(|| {
            let groups = groups::groups_of(p.nlist);
            CoarseGroups::build(simd(), &p.coarse, p.d, groups, self.hash)
        })
    }

    /// The code (m,) of z (d,) in a list: per sub-quantizer the nearest codeword to the residual,
    /// ties to the smaller.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn encode(&self, z: &[f32], list: u32, code: &mut [u8]) {
        let p = &self.parts;
        assert_eq!(code.len(), p.m, "code of another m");
        let residual: Vec<f32> = z.iter().zip(self.centroid(list)).map(|(a, b)| a - b).collect();
        let dsub = p.d / p.m;
        let books = p.codebooks.chunks_exact(p.ksub * dsub);
        for ((c, sub), book) in code.iter_mut().zip(residual.chunks_exact(dsub)).zip(books) {
            *c = dense::nearest(sub, book).map_or(0, |(word, _)| word as u8);
        }
    }

    /// ẑ (d,): centroid plus decoded residual.
    pub fn decode(&self, list: u32, code: &[u8]) -> Vec<f32> {
        let mut z = vec![0.0; self.parts.d];
        adc::decode(&self.parts.codebooks, self.parts.ksub, code, &mut z);
        z.iter_mut().zip(self.centroid(list)).for_each(|(r, c)| *r += c);
        z
    }

    /// Appends the finer code of z (d,), a row whose list and first code (m,) are known, to `out`;
    /// nothing where the model has no fine codec.
    ///
    /// # Errors
    /// Those of [`FineCodec::encode`].
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn encode_fine(
        &self,
        simd: Simd,
        z: &[f32],
        list: u32,
        code: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        match &self.fine_codec {
            Some(codec) => codec.encode(simd, z, || self.decode(list, code), out),
            None => Ok(()),
        }
    }

    /// ẑ (d,) of a row from its first and its finer code: the same bits at every level. The
    /// model's centroid and the first code alone where the model has no fine codec.
    ///
    /// # Panics
    /// If a shape does not fit, or a codeword is not in its codebook.
    pub fn decode_fine(&self, simd: Simd, list: u32, code: &[u8], fine: &[u8]) -> Vec<f32> {
        let Some(codec) = &self.fine_codec else { return self.decode(list, code) };
        let p = &self.parts;
        let centroid = self.centroid(list);
        let coarser = Coarser { centroid, codebooks: &p.codebooks, ksub: p.ksub, code };
        codec.decode(simd, coarser, fine)
    }

    /// ẑ (d,) of a row of a shard, from its finest code: `fine`, if the shard has finer codes.
    ///
    /// # Panics
    /// As [`Self::decode_fine`].
    pub fn decode_finest(&self, list: u32, code: &[u8], fine: Option<&[u8]>) -> Vec<f32> {
        match fine {
            Some(fine) => self.decode_fine(simd(), list, code, fine),
            None => self.decode(list, code),
        }
    }

    /// The squared distance below which codes tell little: about twice the squared error of a
    /// decoded row, estimated from how near to each other the codewords are. `finer`: of the finer
    /// codes, if the model has a fine codec. Of half-precision codes it is 0.
    pub fn resolution_sq(&self, finer: bool) -> f64 {
        let p = &self.parts;
        let codec = self.fine_codec().filter(|_| finer);
        let m = codec.map_or(p.m, FineCodec::code_bytes);
        match codec.map(FineCodec::finer) {
            Some(Finer::F16) => 0.0,
            // Errors are spread evenly over a step, most of which are near the smallest.
            Some(Finer::Sq8 { linear, .. }) => {
                linear.iter().map(|&step| f64::from(step).powi(2) / 6.0).sum()
            }
            Some(Finer::Pq { codebooks, ksub }) => 2.0 * error_sq(codebooks, p.d, m, ksub),
            Some(Finer::Cosine) | None => 2.0 * error_sq(&p.codebooks, p.d, p.m, p.ksub),
        }
    }

    /// x̂ (dim,) = Rᵀ ẑ + mean: what the index knows of a vector, in the space of x.
    pub fn reconstruct(&self, list: u32, code: &[u8]) -> Vec<f32> {
        self.restore(self.decode(list, code))
    }

    /// x̂ (n, dim) = Rᵀ ẑ + mean of each ẑ of `z` (n, d): the same bits for each row, however
    /// many there are.
    pub fn restore(&self, z: Vec<f32>) -> Vec<f32> {
        let mut x = match &self.parts.rotation {
            None => z,
            Some(r) => {
                let mut x = Vec::new();
                dense::matvecs_transposed(simd(), r, self.parts.dim, &z, &mut x);
                x
            }
        };
        if let Some(mean) = &self.parts.mean {
            for x in x.chunks_exact_mut(self.parts.dim) {
                x.iter_mut().zip(mean).for_each(|(a, b)| *a += b);
            }
        }
        x
    }
}

/// About the mean squared error of a vector that is decoded by `codebooks` (m, ksub, d / m). Points
/// that lie evenly in cubes of side h, one codeword in the middle of each, are off by dsub h² / 12,
/// and a codeword has 2 dsub neighbours at the distance h.
fn error_sq(codebooks: &[f32], d: usize, m: usize, ksub: usize) -> f64 {
    let dsub = d / m;
    let neighbours = (2 * dsub).min(ksub - 1);
    let of_book = |book: &[f32]| -> f64 {
        let words: Vec<&[f32]> = book.chunks_exact(dsub).collect();
        let near = |word: &&[f32]| -> f64 {
            let mut distances: Vec<f32> =
                words.iter().map(|other| dense::l2_sq(word, other)).collect();
            distances.sort_unstable_by(f32::total_cmp);
            // The first is the codeword itself.
            distances[1..=neighbours].iter().map(|&x| f64::from(x)).sum::<f64>()
        };
        words.iter().map(near).sum::<f64>() / (ksub * neighbours) as f64
    };
    let sides_sq: f64 = codebooks.chunks_exact(ksub * dsub).map(of_book).sum();
    sides_sq * dsub as f64 / 12.0
}

/// Σⱼ of the largest squared norm among the codewords of book j, for `codebooks` (m, ksub, dsub).
fn longest_codes_sq(codebooks: &[f32], m: usize, ksub: usize) -> f64 {
    let dsub = codebooks.len() / (m * ksub);
    let norm_sq = |word: &[f32]| word.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let longest = |book: &[f32]| book.chunks_exact(dsub).map(norm_sq).fold(0.0, f64::max);
    codebooks.chunks_exact(ksub * dsub).map(longest).sum()
}
