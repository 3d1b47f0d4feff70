//! Training of finer codes, from what the codes of a model leave over of rows.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use ocelli_index::{DescriptorSpec, FINE_KSUB, FineCodec, Metric, Model, Part};
use ocelli_vector::fine::{sq8_byte, sq8_value};
use rayon::prelude::*;
use serde::Serialize;

use crate::kmeans::codebooks;
use crate::sample::{blocks, common_spec, count_rows, gather_rows};
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, ROWS_PER_CENTROID, Result};

/// The kind of finer codes that a model gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FineChoice {
    /// A second product quantizer of so many sub-quantizers, which is bytes.
    Pq(usize),
    /// One byte a dimension.
    Sq8,
    /// The vectors in half precision, two bytes a dimension.
    F16,
    /// No code: the best rows are compared again by the cosine.
    Cosine,
}

impl FineChoice {
    /// The choice where nobody makes one: the cosine for short codes of a network's descriptors.
    ///
    /// On three sets it ranks better than the inner product up to 16 bytes, and alike with 32
    /// (docs/evaluation.md).
    #[must_use]
    pub fn by_default(model: &Model) -> Option<Self> {
        let p = model.parts();
        let bytes = if p.ksub == 16 { p.m.div_ceil(2) } else { p.m };
        let is_ours = matches!(p.spec, DescriptorSpec::Network(_));
        let is_product = p.metric == Metric::InnerProduct && (p.mean.is_none() || p.renormalize);
        (is_ours && is_product && bytes <= COSINE_BYTES).then_some(Self::Cosine)
    }

    /// Refuses codes that vectors of `d` dimensions cannot have.
    pub(crate) fn check_dim(self, d: usize) -> Result<()> {
        match self {
            Self::Pq(m) if m == 0 || !d.is_multiple_of(m) => Err(Error::Invalid(format!(
                "finer codes pq{m}: expected a divisor of the dimension {d}, found {m}"
            ))),
            _ => Ok(()),
        }
    }

    /// Whether its codes tell more of a vector than the first ones.
    #[must_use]
    pub fn adds_bytes(self) -> bool {
        self != Self::Cosine
    }
}

impl fmt::Display for FineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pq(m) => write!(f, "pq{m}"),
            Self::Sq8 => f.write_str("sq8"),
            Self::F16 => f.write_str("f16"),
            Self::Cosine => f.write_str("cosine"),
        }
    }
}

/// Bytes of a code up to which rows are compared again by the cosine, if nobody says otherwise.
pub const COSINE_BYTES: usize = 16;

impl FromStr for FineChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let m = text.strip_prefix("pq").and_then(|m| m.parse().ok()).filter(|&m| m > 0);
        match (text, m) {
            ("sq8", _) => Ok(Self::Sq8),
            ("f16", _) => Ok(Self::F16),
            ("cosine", _) => Ok(Self::Cosine),
            (_, Some(m)) => Ok(Self::Pq(m)),
            _ => Err(Error::Invalid(format!(
                "finer codes {text:?}: expected pq and its bytes (pq32, pq64), sq8, f16 or \
                 cosine"
            ))),
        }
    }
}

/// Options of a training of finer codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FineOptions {
    /// The kind of codes.
    pub choice: FineChoice,
    /// k-means iterations.
    pub niter: usize,
    /// Seed of sample and k-means.
    pub seed: u32,
    /// Threads; 0: one per core.
    pub threads: usize,
    /// Train even on fewer than 39 rows per codeword.
    pub force: bool,
}

/// Report of a training of finer codes.
#[derive(Clone, Debug, Serialize)]
pub struct FineReport {
    /// The kind as on the command line: `pq32`, `sq8`, `f16`.
    pub name: String,
    /// Hash of the codec, which shards name.
    pub hash: String,
    /// Bytes of a finer code.
    pub code_bytes: usize,
    /// Rows trained on.
    pub rows: usize,
    /// Mean of ‖z − ẑ‖² over the training rows, ẑ decoded from the finer code; None where that
    /// adds no byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mse: Option<f64>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Rows of the sample: as many as k-means of 256 centroids takes. Minima and maxima of more rows
/// would be those of outliers.
const ROWS: usize = 256 * FINE_KSUB;

/// Gives `model` finer codes, learned from a sample of the rows of `parts`.
///
/// pq: one codebook of 256 codewords for each sub-vector of z − (c + r̂), by k-means (Jégou,
/// Tavenard, Douze, Amsaleg, *Searching in one billion vectors: re-rank with source coding*, 2011).
/// sq8: per dimension the range and the growth of the steps. f16, cosine: nothing to learn. Equal
/// input and seed give equal bits. The model's own hash stays.
///
/// # Errors
/// Parts of another spec than the model's; fewer than 39 rows per codeword, unless forced; a number
/// of sub-quantizers that does not divide the dimension; a part that cannot be read.
pub fn train_fine_codec(
    parts: &[Part],
    model: Model,
    options: &FineOptions,
    progress: ProgressFn<'_>,
) -> Result<(Model, FineReport)> {
    let start = Instant::now();
    check(parts, &model, options)?;
    if options.choice == FineChoice::Cosine {
        return by_cosine(model, start);
    }
    progress(Progress { stage: "finer codes: read", done: 0, total: 0 });
    let (x, rows) = gather_rows(parts, ROWS, u64::from(options.seed))?;
    progress(Progress { stage: "finer codes: encode", done: 0, total: 0 });
    let pool = pool(options.threads)?;
    let (model, codec, mse) = pool.install(|| {
        let encoded = encode(&model, &x)?;
        let codec = learn(&model, &encoded, options, progress)?;
        let model = model.with_fine_codec(codec.clone())?;
        match mean_error(&model, &encoded) {
            Ok(mse) => Ok((model, codec, mse)),
            Err(error) => {
                every_row_has_a_code(parts, &model)?;
                Err(error)
            }
        }
    })?;
    let report = FineReport {
        name: codec.name(),
        hash: codec.hash().to_string(),
        code_bytes: codec.code_bytes(),
        rows,
        mse: Some(mse),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((model, report))
}

/// A model whose best rows are compared again by the cosine: nothing is learned.
fn by_cosine(model: Model, start: Instant) -> Result<(Model, FineReport)> {
    let codec = FineCodec::cosine(model.hash(), model.parts().d);
    let report = FineReport {
        name: codec.name(),
        hash: codec.hash().to_string(),
        code_bytes: 0,
        rows: 0,
        mse: None,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((model.with_fine_codec(codec)?, report))
}

/// All that can be refused without reading rows.
pub(crate) fn check(parts: &[Part], model: &Model, options: &FineOptions) -> Result<()> {
    let spec = common_spec(parts)?;
    DescriptorSpec::same_or_err("training rows under the model", model.spec(), spec)?;
    let needed = match options.choice {
        FineChoice::Pq(_) => ROWS_PER_CENTROID * FINE_KSUB,
        FineChoice::Sq8 | FineChoice::F16 | FineChoice::Cosine => 1,
    };
    let found = count_rows(parts);
    if found < needed && (found == 0 || !options.force) {
        return Err(Error::TooFewRows {
            what: format!("finer codes of {FINE_KSUB} codewords ({ROWS_PER_CENTROID} rows each)"),
            needed,
            found,
            hint: "; give more rows, or --force".to_owned(),
        });
    }
    options.choice.check_dim(model.parts().d)
}

/// Learns the codec from rows. On the current rayon pool.
fn learn(
    model: &Model,
    rows: &[Row],
    options: &FineOptions,
    progress: ProgressFn<'_>,
) -> Result<FineCodec> {
    let d = model.parts().d;
    Ok(match options.choice {
        FineChoice::F16 => FineCodec::f16(model.hash(), d),
        FineChoice::Cosine => FineCodec::cosine(model.hash(), d),
        FineChoice::Sq8 => {
            let (linear, cubic) = scalars(model, rows);
            FineCodec::sq8(model.hash(), &linear, &cubic)?
        }
        FineChoice::Pq(m) => {
            let seed = |sub| u64::from(options.seed).wrapping_add(1 + sub);
            let stage = "finer codes: quantizer";
            let step = |done| progress(Progress { stage, done, total: m as u64 });
            let rest = rest(model, rows);
            let books = codebooks(&rest, d, m, FINE_KSUB, options.niter, seed, &step)?;
            FineCodec::pq(model.hash(), d, m, books)?
        }
    })
}

/// A row as the model sees it.
struct Row {
    z: Vec<f32>,
    list: u32,
    code: Vec<u8>,
}

/// Rows of `x` (n, dim) with their lists and codes.
fn encode(model: &Model, x: &[f32]) -> Result<Vec<Row>> {
    let p = model.parts();
    x.par_chunks_exact(p.dim)
        .map(|x| {
            let z = model.transform(x)?;
            let list = model.assign(&z);
            let mut code = vec![0; p.m];
            model.encode(&z, list, &mut code);
            Ok(Row { z, list, code })
        })
        .collect()
}

/// The difference z − (c + r̂) of each row, `(n, d)`.
fn rest(model: &Model, rows: &[Row]) -> Vec<f32> {
    let mut rest = Vec::with_capacity(rows.len() * model.parts().d);
    for row in rows {
        let first = model.decode(row.list, &row.code);
        rest.extend(row.z.iter().zip(&first).map(|(z, first)| z - first));
    }
    rest
}

/// Shares of the range's end that the cubic part has, from equal steps to ones that hardly begin.
const CUBIC_SHARES: [f32; 10] = [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95];

/// The linear and the cubic part of the scalars' steps, `(d,)` each. They span the range of what
/// the codes leave over; of [`CUBIC_SHARES`] the one with the smallest squared error is taken.
fn scalars(model: &Model, rows: &[Row]) -> (Vec<f32>, Vec<f32>) {
    let d = model.parts().d;
    let rest = rest(model, rows);
    let best = |i: usize| {
        let column: Vec<f32> = rest.iter().skip(i).step_by(d).copied().collect();
        let end = column.iter().fold(0f32, |end, x| end.max(x.abs()));
        let of_share = |share: f32| {
            let (linear, cubic) = (end * (1.0 - share) / 127.5, end * share / 127.5f32.powi(3));
            let errors = column.iter().map(|&x| {
                let byte = sq8_byte(linear, cubic, x);
                f64::from(x - sq8_value(linear, cubic, byte)).powi(2)
            });
            (errors.sum::<f64>(), linear, cubic)
        };
        let all = CUBIC_SHARES.into_iter().map(of_share);
        all.min_by(|a, b| a.0.total_cmp(&b.0))
            .map_or((0.0, 0.0), |(_, linear, cubic)| (linear, cubic))
    };
    (0..d).into_par_iter().map(best).unzip()
}

/// Refuses the first row of `parts` that has no finer code, and says why.
fn every_row_has_a_code(parts: &[Part], model: &Model) -> Result<()> {
    let simd = ocelli_index::simd();
    for part in parts {
        for block in blocks(part.rows()) {
            let first = block.start;
            for (i, row) in encode(model, &part.read(block)?)?.iter().enumerate() {
                let mut fine = Vec::new();
                let code = model.encode_fine(simd, &row.z, row.list, &row.code, &mut fine);
                code.map_err(|e| {
                    let path = part.path().display();
                    Error::Invalid(format!("{path}: row {}: {e}", first + i))
                })?;
            }
        }
    }
    Ok(())
}

/// Mean of ‖z − ẑ‖² over the rows.
fn mean_error(model: &Model, rows: &[Row]) -> Result<f64> {
    let simd = ocelli_index::simd();
    let errors: Vec<f64> = rows
        .par_iter()
        .map(|row| {
            let mut fine = Vec::new();
            model.encode_fine(simd, &row.z, row.list, &row.code, &mut fine)?;
            let back = model.decode_fine(simd, row.list, &row.code, &fine);
            Ok(f64::from(ocelli_vector::l2_sq(&row.z, &back)))
        })
        .collect::<Result<_>>()?;
    Ok(errors.iter().sum::<f64>() / errors.len().max(1) as f64)
}
