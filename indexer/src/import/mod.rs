//! Import: what others made. An index of FAISS becomes an index of ours with the same codes
//! ([`import_faiss`]); vectors become a part ([`import_vectors`]).

mod cursor;
mod faiss_file;
mod fast_scan;
mod parquet_file;
mod rows;
#[cfg(test)]
mod tests;
mod transform;
mod vectors;
#[cfg(test)]
mod vectors_tests;

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::foreign::open_regular;
use ocelli_index::{
    DescriptorSpec, Hash, Hasher, IndexDir, Metric, Model, ModelParts, NewGeneration, ShardBuilder,
};
use serde::Serialize;

use crate::{Error, Progress, ProgressFn, Result};
use cursor::Cursor;
use faiss_file::{IvfPq, List, code_bytes};
pub use parquet_file::{ParquetColumns, ParquetFile};
pub use vectors::{OnBadRow, VectorSource, VectorsOptions, VectorsReport, import_vectors};

/// How a file of FAISS becomes an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// The user's name for what made the vectors: the spec is `foreign:<name>`.
    pub name: String,
    /// Shards; the rows, by ascending id, are split into so many ranges of equal length.
    pub shards: usize,
}

/// What was imported, for people.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation, now current.
    pub generation: u64,
    /// Hash of the model, which stands in the index directory.
    pub model: Hash,
    /// How vectors are compared.
    pub metric: Metric,
    /// Vectors.
    pub rows: u64,
    /// Shards.
    pub shards: usize,
    /// Dimension of the vectors.
    pub dim: usize,
    /// Dimension behind the transform.
    pub d: usize,
    /// Whether vectors are rotated or projected.
    pub rotated: bool,
    /// Whether vectors are centred.
    pub centred: bool,
    /// Whether vectors are L2-normalised.
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
    let file = open_regular(path).map_err(Error::io("open", path))?;
    let file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let said = std::cell::Cell::new(0);
    let index = parse(BufReader::with_capacity(1 << 20, file), file_bytes, &|done| {
        // At most a hundred reports, whatever the number of lists.
        if done == file_bytes || (done - said.get()) > file_bytes / 100 {
            said.set(done);
            progress(Progress { stage: "read", done, total: file_bytes });
        }
    });
    let index = index.map_err(|what| Error::File { path: path.to_owned(), what })?;
    let order =
        Order::of(&index.lists).map_err(|what| Error::File { path: path.to_owned(), what })?;
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
    let plan = plan_hash(&model, &index, options);
    let rows = order.len();
    let mut shards = Vec::with_capacity(options.shards);
    for task in 0..options.shards {
        let range = rows * task / options.shards..rows * (task + 1) / options.shards;
        let mut builder = ShardBuilder::new(&model);
        let mut code = vec![0; index.m];
        for (row, (id, list, at)) in range.clone().zip(order.range(range, &index.lists)) {
            unpack(&index.lists[list].codes, at, index.ksub, &mut code);
            builder.push_code(id, "", list as u32, &code)?;
            if row.is_multiple_of((rows / 100).max(1)) {
                progress(Progress { stage: "write", done: row as u64, total: rows as u64 });
            }
        }
        shards.push(builder.write(&out.shards_folder(), plan, task as u32)?);
    }
    progress(Progress { stage: "write", done: rows as u64, total: rows as u64 });

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

/// Parses `len` bytes.
fn parse(from: impl Read, len: u64, progress: &dyn Fn(u64)) -> cursor::Result<IvfPq> {
    faiss_file::read(&mut Cursor::new(from, len), progress)
}

/// The model that gives FAISS's scores.
fn model_of(index: &IvfPq, path: &Path, options: &ImportOptions) -> Result<Model> {
    let file_error = |what| Error::File { path: path.to_owned(), what };
    let transform =
        transform::compose(&index.stages, index.dim, index.metric).map_err(file_error)?;
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

/// Rows by ascending id, so that ids without gaps need no room in a shard.
struct Order {
    /// Places in the lists laid end to end.
    rows: Vec<u64>,
    /// First place of each list, and the end.
    starts: Vec<u64>,
    first: u64,
    last: u64,
}

impl Order {
    /// # Errors
    /// No rows; ids that are negative or there twice.
    fn of(lists: &[List]) -> cursor::Result<Self> {
        let mut starts = vec![0u64];
        let mut ids = Vec::new();
        for (number, list) in lists.iter().enumerate() {
            if let Some((row, id)) = list.ids.iter().enumerate().find(|&(_, &id)| id < 0) {
                return Err(format!("list {number}, row {row}: id {id}, expected 0 to 2^63 - 1"));
            }
            ids.extend(list.ids.iter().map(|&id| id as u64));
            starts.push(ids.len() as u64);
        }
        let (Some(&first), Some(&last)) = (ids.iter().min(), ids.iter().max()) else {
            return Err("the index holds no vectors".to_owned());
        };
        let twice = |a: u64, b: u64| {
            let place = |row: u64| {
                let list = starts.partition_point(|&start| start <= row) - 1;
                format!("list {list}, row {}", row - starts[list])
            };
            let (first, second) = (place(a.min(b)), place(a.max(b)));
            format!("{second}: id {} is there twice, first in {first}", ids[a as usize])
        };
        const FREE: u64 = u64::MAX;
        let rows = if last - first < ids.len() as u64 {
            // As many ids as rows: each row has its place.
            let mut rows = vec![FREE; ids.len()];
            for (row, id) in (0u64..).zip(&ids) {
                let place = &mut rows[(id - first) as usize];
                if *place != FREE {
                    return Err(twice(*place, row));
                }
                *place = row;
            }
            rows
        } else {
            let mut rows: Vec<u64> = (0..ids.len() as u64).collect();
            rows.sort_unstable_by_key(|&row| ids[row as usize]);
            let id = |row: u64| ids[row as usize];
            if let Some(pair) = rows.windows(2).find(|pair| id(pair[0]) == id(pair[1])) {
                return Err(twice(pair[0], pair[1]));
            }
            rows
        };
        Ok(Self { rows, starts, first, last })
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Id, list and place in it of the rows `range`.
    fn range<'a>(
        &'a self,
        range: std::ops::Range<usize>,
        lists: &'a [List],
    ) -> impl Iterator<Item = (u64, usize, usize)> + 'a {
        self.rows[range].iter().map(move |&row| {
            let list = self.starts.partition_point(|&start| start <= row) - 1;
            let at = (row - self.starts[list]) as usize;
            (lists[list].ids[at] as u64, list, at)
        })
    }
}

/// Code number `at` of a list as one codeword a byte. FAISS packs 4-bit codes low nibble first.
fn unpack(codes: &[u8], at: usize, ksub: usize, code: &mut [u8]) {
    let bytes = code_bytes(code.len(), ksub);
    let packed = &codes[at * bytes..(at + 1) * bytes];
    if ksub == 16 {
        for (two, byte) in code.chunks_mut(2).zip(packed) {
            two.iter_mut().zip([byte & 15, byte >> 4]).for_each(|(c, nibble)| *c = nibble);
        }
    } else {
        code.copy_from_slice(packed);
    }
}
