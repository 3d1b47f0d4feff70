//! Indexes of FAISS, read without FAISS.

mod cursor;
mod fast_scan;
mod file;
mod lists;
mod order;
#[cfg(test)]
mod tests;
mod transform;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::foreign::open_regular;
use ocelli_index::{
    DescriptorSpec, Hash, Hasher, IndexDir, Metric, Model, ModelParts, NewGeneration, ShardBuilder,
    ShardEntry,
};
use serde::Serialize;

use crate::numbering::Numbering;
use crate::{Error, Progress, ProgressFn, Result};
pub use file::IvfPq;
use lists::unpack;
pub use lists::{List, code_bytes};
use order::Order;
pub use transform::Transform;

/// Options of an import of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The user's name for what made the vectors: the spec is `foreign:<name>`.
    pub name: String,
    /// Shards; the rows, by ascending id, are split into so many ranges of equal length.
    pub shards: usize,
}

/// Report of an import of an index.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation, now current.
    pub generation: u64,
    /// Hash of the model, which is in the index directory.
    pub model: Hash,
    /// Metric of the search.
    #[serde(serialize_with = "ocelli_index::as_text::serialize")]
    pub metric: Metric,
    /// Vectors.
    pub rows: u64,
    /// Shards.
    pub shards: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Dimension after the transform.
    pub d: usize,
    /// Whether vectors are rotated or projected.
    pub rotated: bool,
    /// Whether a mean is subtracted from vectors.
    pub centred: bool,
    /// Whether vectors are divided by their L2 norm.
    pub normalized: bool,
    /// Inverted lists.
    pub nlist: usize,
    /// Sub-quantizers.
    pub m: usize,
    /// Codewords of each.
    pub ksub: usize,
    /// Smallest and largest id.
    pub ids: (u64, u64),
    /// Bytes of FAISS's file.
    pub file_bytes: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// `bytes` over `rows`.
    pub bytes_per_vector: f64,
    /// Wall time.
    pub seconds: f64,
}

/// Imports an IVF-PQ index that FAISS 1.12 to 1.15 wrote: its centroids, codebooks and transforms
/// become a model, its codes the shards of a new generation of the index at `dir` (made if
/// missing), which becomes current. FAISS's ids stay; there are no keys. A search finds what FAISS
/// finds with the same nprobe, scores being equal up to the rounding of float32.
///
/// Taken: coarse quantizers of floats, flat or under an HNSW graph (which is left out: every
/// centroid is compared); codes of residuals with 8 or 4 bits, plain or fast-scan, L2 and inner
/// product; in front OPQ, rotations, PCA, centring, and L2 normalization as the last step; id maps
/// (IndexIDMap, IndexIDMap2) around any of these. Refused, with the reason: what a model cannot say
/// without answering otherwise, such as whitening in the chain, or a centred transform under inner
/// product.
///
/// Codewords get numbers that scans like better; a code decodes to the same vector.
///
/// The file is held in memory, and a shard's rows beside it. Equal files and options give equal
/// shards.
///
/// # Errors
/// [`Error::File`] where the file is not such an index or is damaged: FAISS's files have no
/// checksums, so that only lengths, shapes, ids and ranges can be judged; [`Error::Invalid`];
/// [`Error::Index`].
pub fn import_faiss(
    path: &Path,
    dir: &Path,
    options: &ImportOptions,
    progress: ProgressFn<'_>,
) -> Result<ImportReport> {
    let start = Instant::now();
    let (mut index, file_bytes) = read(path, progress)?;
    let order =
        Order::of(&index.lists).map_err(|what| Error::File { path: path.to_owned(), what })?;
    let numbering = Numbering::of(&index.codebooks, index.m, index.ksub, &index.coarse);
    index.codebooks = numbering.books(&index.codebooks);
    let model = model_of(&index, path, options)?;
    if options.shards == 0 || options.shards as u64 > index.rows {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {} (the number of rows), found {}",
            index.rows, options.shards
        )));
    }

    let out = IndexDir::create(dir)?;
    let parent = out.current()?;
    out.put_model(&model)?;
    let shards = write_shards(&index, &order, &numbering, &model, &out, options, progress)?;
    let bytes = shards.iter().map(|shard| shard.bytes).sum();
    let next_id = (order.last + 1).max(out.next_id(parent.as_ref())?);
    let generation = out.commit(
        parent.map(|g| g.number),
        NewGeneration {
            model: model.hash(),
            shards,
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id,
        },
    )?;
    let p = model.parts();
    Ok(ImportReport {
        index: dir.to_owned(),
        generation: generation.number,
        model: model.hash(),
        metric: p.metric,
        rows: index.rows,
        shards: generation.shards.len(),
        dim: p.dim,
        d: p.d,
        rotated: p.rotation.is_some(),
        centred: p.mean.is_some(),
        normalized: p.renormalize,
        nlist: p.nlist,
        m: p.m,
        ksub: p.ksub,
        ids: (order.first, order.last),
        file_bytes,
        bytes,
        bytes_per_vector: bytes as f64 / index.rows as f64,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Reads the file; also its length in bytes.
fn read(path: &Path, progress: ProgressFn<'_>) -> Result<(IvfPq, u64)> {
    let file = open_regular(path).map_err(Error::io("open", path))?;
    let bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let reported = Cell::new(0);
    let index = IvfPq::parse(BufReader::with_capacity(1 << 20, file), bytes, &|done| {
        // At most a hundred reports, whatever the number of lists.
        if done == bytes || (done - reported.get()) > bytes / 100 {
            reported.set(done);
            progress(Progress { stage: "read", done, total: bytes });
        }
    });
    Ok((index.map_err(|what| Error::File { path: path.to_owned(), what })?, bytes))
}

/// Writes the rows, by ascending id, as shards.
fn write_shards(
    index: &IvfPq,
    order: &Order,
    numbering: &Numbering,
    model: &Model,
    out: &IndexDir,
    options: &ImportOptions,
    progress: ProgressFn<'_>,
) -> Result<Vec<ShardEntry>> {
    let plan = plan_hash(model, index, options);
    let rows = order.len();
    let mut shards = Vec::with_capacity(options.shards);
    for task in 0..options.shards {
        let range = rows * task / options.shards..rows * (task + 1) / options.shards;
        let mut builder = ShardBuilder::new(model);
        let mut code = vec![0; index.m];
        for (row, (id, list, at)) in range.clone().zip(order.range(range, &index.lists)) {
            unpack(&index.lists[list].codes, at, index.ksub, &mut code);
            numbering.code(&mut code);
            builder.push_code(id, "", list as u32, &code)?;
            if row.is_multiple_of((rows / 100).max(1)) {
                progress(Progress { stage: "write", done: row as u64, total: rows as u64 });
            }
        }
        shards.push(out.put_shard(builder, plan, task as u32)?);
    }
    progress(Progress { stage: "write", done: rows as u64, total: rows as u64 });
    Ok(shards)
}

/// The model that gives FAISS's scores.
fn model_of(index: &IvfPq, path: &Path, options: &ImportOptions) -> Result<Model> {
    let file_error = |what| Error::File { path: path.to_owned(), what };
    let transform = index.transform().map_err(file_error)?;
    let dim = u32::try_from(index.dim)
        .map_err(|_| file_error(format!("dimension {} is too large", index.dim)))?;
    let parts = ModelParts {
        spec: DescriptorSpec::foreign(&options.name, dim)?,
        metric: index.metric,
        mean: transform.mean,
        rotation: transform.rotation,
        renormalize: transform.renormalize,
        dim: index.dim,
        d: index.d,
        nlist: index.nlist,
        coarse: index.coarse.clone().into(),
        m: index.m,
        ksub: index.ksub,
        codebooks: index.codebooks.clone(),
        training: BTreeMap::from([("imported_from".to_owned(), "faiss".to_owned())]),
    };
    Model::from_parts(parts).map_err(|e| file_error(e.to_string()))
}

/// Name of the plan: equal files give equal shards over those that they find.
fn plan_hash(model: &Model, index: &IvfPq, options: &ImportOptions) -> Hash {
    let mut hasher = Hasher::new();
    let head =
        format!("ocelli import faiss 1\nmodel {}\nshards {}\n", model.hash(), options.shards);
    hasher.update(head.as_bytes());
    for list in &index.lists {
        hasher.update(&(list.ids.len() as u64).to_le_bytes());
        hasher.update(bytemuck::cast_slice(&list.ids));
        hasher.update(&list.codes);
    }
    hasher.finish()
}
