//! Building an index: rows of descriptor parts, encoded under one model, as a new generation.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{
    CodeForm, CodeRows, Dba, DescriptorSpec, Encoded, FineCodec, Generation, Hash, Hasher,
    IndexDir, Model, NewGeneration, Part, RowEncoder, RowEncoderScratch, ShardBuilder, ShardEntry,
    out_of_range,
};
use ocelli_text::quoted;
use rayon::prelude::*;
use serde::Serialize;

use crate::dba::Neighbours;
use crate::evaluate::require_descriptors;
use crate::sample::{self, BLOCK_ROWS, count_rows};
use crate::{Error, Progress, ProgressFn, Result};

/// Rows that one task encodes: a whole number of the assignment kernel's blocks.
const TASK_ROWS: usize = 8 * 96;

/// How an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Shards; the rows are split into so many ranges of equal length.
    pub shards: usize,
    /// Threads that encode; 0: one per core. The result does not depend on it.
    pub threads: usize,
    /// Nearest rows by which each descriptor is augmented before it is coded (DBA); 0: none.
    pub dba: usize,
    /// What becomes of a row whose key or id another row has.
    pub on_duplicate: OnDuplicate,
}

/// What becomes of a row whose key or id an earlier row has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// It stops the build before anything is written.
    #[default]
    Stop,
    /// It is left out: the first row of a key or an id has it.
    Reject,
}

/// What was built, for people.
#[derive(Clone, Debug, Serialize)]
pub struct BuildReport {
    /// The index directory.
    pub index: PathBuf,
    /// Number of the generation, now current.
    pub generation: u64,
    /// Images.
    pub rows: u64,
    /// Smallest and largest id. Where the parts bring none, the build gives them: new ones each
    /// time.
    pub ids: (u64, u64),
    /// Whether all of the ids were given by this build.
    pub ids_given: bool,
    /// Rows that were left out, since an earlier one has their key or id.
    pub rejected: u64,
    /// The first of them, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejected_first: Vec<String>,
    /// Shards.
    pub shards: usize,
    /// Bytes of all shards, everything counted: codes, ids, keys, tables, padding.
    pub bytes: u64,
    /// `bytes` over `rows`.
    pub bytes_per_image: f64,
    /// Bytes of one code (m).
    pub code_bytes: usize,
    /// Bytes of one finer code; 0 where the model has no refinement.
    pub refine_bytes: usize,
    /// Bytes of the model, which all shards share.
    pub model_bytes: u64,
    /// How the descriptors were augmented, if they were.
    pub dba: Option<Dba>,
    /// Wall time.
    pub seconds: f64,
}

/// Builds a generation of the index at `dir` (made if missing) out of `parts`, and makes it
/// current. It replaces what the index held; earlier generations stay on disk.
///
/// Rows are numbered in the order of `parts` and split into contiguous ranges, one per shard. Ids
/// are those of the parts, or the parent generation's next id + row number: building the same parts
/// again gives such rows new ids. Equal parts, model, parent and options give equal bytes whatever
/// the number of threads. Until the last step, and where any step fails, the current generation
/// stays what it was; shards left by a stopped build are written over by the next or lie unused.
///
/// # Errors
/// Region parts, parts of another descriptor spec than the model's, codes that are to be augmented,
/// no rows, fewer rows than shards; ids and keys that are there twice, unless such rows are to be
/// left out, which does not go together with augmentation.
pub fn build(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    let start = Instant::now();
    if options.dba == 0 {
        return build_with(parts, model, dir, options, None, progress);
    }
    check_input(parts, model, options)?;
    if options.on_duplicate != OnDuplicate::Stop {
        return Err(Error::Invalid(
            "database-side augmentation needs rows of which none is left out".to_owned(),
        ));
    }
    if let Some(part) = parts.iter().find(|part| part.code_form().is_some()) {
        return Err(Error::Invalid(format!(
            "{}: codes; database-side augmentation needs descriptors",
            part.path().display()
        )));
    }
    IndexDir::create(dir)?;
    let find = || Neighbours::find(parts, model, options.threads, dir, options.dba, progress);
    let neighbours = pool(options.threads)?.install(find)?;
    let report = build_with(parts, model, dir, options, Some(&neighbours), progress)?;
    Ok(BuildReport { seconds: start.elapsed().as_secs_f64(), ..report })
}

/// [`build`] with the neighbours known by which rows are augmented.
pub(crate) fn build_with(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    neighbours: Option<&Neighbours>,
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    let start = Instant::now();
    let rows = check_input(parts, model, options)?;
    let index = IndexDir::create(dir)?;
    let parent = index.current()?;
    let first_id = index.next_id(parent.as_ref())?;
    let rows_meta = RowsMeta::read(parts, first_id, options.on_duplicate)?;
    rows_meta.check_ids(dir, parent.as_ref())?;
    let model_path = index.put_model(model)?;

    let dba = neighbours.map(Neighbours::record);
    let plan = plan_hash(parts, model, options, dba, &rows_meta);
    let pool = pool(options.threads)?;
    let encoder = ShardEncoder {
        parts,
        model,
        encoder: RowEncoder::new(model),
        rows_meta: &rows_meta,
        neighbours,
        rows,
        progress,
    };
    let shards = (0..options.shards)
        .map(|task| {
            let range = rows * task / options.shards..rows * (task + 1) / options.shards;
            let builder = pool.install(|| encoder.shard(range))?;
            Ok(builder.write(&index.shards_folder(), plan, task as u32)?)
        })
        .collect::<Result<Vec<ShardEntry>>>()?;

    let bytes = shards.iter().map(|shard| shard.bytes).sum();
    let generation = index.commit_augmented(
        parent.map(|g| g.number),
        NewGeneration {
            model: model.hash(),
            shards,
            tombstones: BTreeMap::new(),
            deletes: None,
            next_id: rows_meta.next_id,
        },
        dba,
    )?;
    let model_bytes = model_path.metadata().map_err(Error::io("read", &model_path))?.len();
    let left_out = rows_meta.left_out.len();
    let rows = rows - left_out;
    let kept = || rows_meta.kept().map(|row| rows_meta.ids[row]);
    Ok(BuildReport {
        index: dir.to_owned(),
        generation: generation.number,
        rows: rows as u64,
        ids: (kept().min().unwrap_or(0), kept().max().unwrap_or(0)),
        ids_given: rows_meta.ids_given,
        rejected: left_out as u64,
        rejected_first: rows_meta.reasons.clone(),
        shards: generation.shards.len(),
        bytes,
        bytes_per_image: bytes as f64 / rows as f64,
        code_bytes: model.parts().m,
        refine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes),
        model_bytes,
        dba,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::Invalid(format!("cannot start {threads} threads: {e}")))
}

/// All that can be judged without reading rows. Returns their number.
fn check_input(parts: &[Part], model: &Model, options: &BuildOptions) -> Result<usize> {
    for part in parts {
        match part.code_form() {
            None => require_descriptors(part)?,
            Some(form) => require_form(part, form, model)?,
        }
        DescriptorSpec::same_or_err(
            &format!("{} under the model", part.path().display()),
            &model.parts().spec,
            part.spec(),
        )?;
    }
    refuse_copies(parts)?;
    let rows = count_rows(parts);
    if rows == 0 {
        return Err(Error::Invalid("an index needs at least one row, found none".to_owned()));
    }
    if options.shards == 0 || options.shards > rows {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {rows} (the number of rows), found {}",
            options.shards
        )));
    }
    Ok(rows)
}

/// Keys and ids that are there twice are found by themselves; copies of parts without are not.
fn refuse_copies(parts: &[Part]) -> Result<()> {
    let mut without_names = Vec::new();
    for part in parts {
        if part.images() > 0 && !part.has_ids() && part.key(0)?.is_empty() {
            without_names.push(part);
        }
    }
    sample::refuse_copies(without_names)
}

/// Codes are used as they are, so they must be this model's, finer ones included.
fn require_form(part: &Part, form: &CodeForm, model: &Model) -> Result<()> {
    let expected = CodeForm::of(model);
    if *form == expected {
        return Ok(());
    }
    let finer = |form: &CodeForm| {
        form.fine_codec.map_or("without finer codes".to_owned(), |r| format!("refinement {r}"))
    };
    Err(Error::Invalid(format!(
        "{}: codes of model {}, {} bytes, {}; expected model {}, {} bytes, {}",
        part.path().display(),
        form.model,
        form.m,
        finer(form),
        expected.model,
        expected.m,
        finer(&expected)
    )))
}

/// Ids and keys of all rows, in plan order.
struct RowsMeta {
    ids: Vec<u64>,
    keys: Vec<String>,
    /// Rows whose key or id an earlier row has, ascending.
    left_out: Vec<usize>,
    /// Why, for the first few of them.
    reasons: Vec<String>,
    /// Whether no part brought ids.
    ids_given: bool,
    first_id: u64,
    /// Smallest id never given out, after this build.
    next_id: u64,
}

/// Rows left out whose reasons are told.
const TOLD: usize = 3;

impl RowsMeta {
    fn read(parts: &[Part], first_id: u64, on_duplicate: OnDuplicate) -> Result<Self> {
        let (mut ids, mut keys) = (Vec::new(), Vec::new());
        let mut ids_given = true;
        for part in parts {
            for image in 0..part.images() {
                let own = part.id(image)?;
                ids_given &= own.is_none();
                ids.push(own.unwrap_or(first_id + ids.len() as u64));
            }
            keys.extend(part.keys()?);
        }
        let (mut left_out, mut reasons) = (Vec::new(), Vec::new());
        let mut seen_keys: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
        let mut seen_ids: HashMap<u64, usize> = HashMap::with_capacity(ids.len());
        for (row, (key, &id)) in keys.iter().zip(&ids).enumerate() {
            let by_key = (!key.is_empty()).then(|| seen_keys.get(key.as_str())).flatten();
            let twice = match (by_key, seen_ids.get(&id)) {
                (Some(&first), _) => Some((format!("key {}", quoted(key)), first)),
                (None, Some(&first)) => Some((format!("id {id}"), first)),
                (None, None) => None,
            };
            let Some((what, first)) = twice else {
                if !key.is_empty() {
                    seen_keys.insert(key, row);
                }
                seen_ids.insert(id, row);
                continue;
            };
            let reason =
                format!("{what} is there twice: {} and {}", place(parts, first), place(parts, row));
            match on_duplicate {
                OnDuplicate::Stop => {
                    let hint = "--on-duplicate reject leaves the second one out";
                    return Err(Error::Invalid(format!("{reason}; {hint}")));
                }
                OnDuplicate::Reject if reasons.len() < TOLD => reasons.push(reason),
                OnDuplicate::Reject => {}
            }
            left_out.push(row);
        }
        let next_id = ids.iter().map(|id| id + 1).max().unwrap_or(0).max(first_id);
        Ok(Self { ids, keys, left_out, reasons, ids_given, first_id, next_id })
    }

    /// Whether the ids that follow the last one are below 2⁶³, where rows need such ids.
    fn check_ids(&self, dir: &Path, parent: Option<&Generation>) -> Result<()> {
        if self.next_id <= 1 << 63 {
            return Ok(());
        }
        let last = match parent {
            Some(parent) => format!("generation {} has given out", parent.number),
            None => "its generations have given out".to_owned(),
        };
        Err(Error::Invalid(format!(
            "{}: {last} ids up to {}; expected ids below 2^63, so those that follow do not suffice for \
             rows without ids: give the rows ids (import vectors --id-column), or build into another \
             directory",
            dir.display(),
            self.first_id - 1
        )))
    }

    fn is_left_out(&self, row: usize) -> bool {
        self.left_out.binary_search(&row).is_ok()
    }

    /// The rows that are not left out.
    fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.ids.len()).filter(|&row| !self.is_left_out(row))
    }
}

/// Where a row stands, by its number in plan order.
fn place(parts: &[Part], row: usize) -> String {
    let mut row = row;
    for part in parts {
        if row < part.images() {
            return format!("{} (image {row})", part.path().display());
        }
        row -= part.images();
    }
    format!("row {row}")
}

/// Name of the plan, so that an equal build writes equal files over those it finds. Paths do not
/// count, contents do.
fn plan_hash(
    parts: &[Part],
    model: &Model,
    options: &BuildOptions,
    dba: Option<Dba>,
    rows_meta: &RowsMeta,
) -> Hash {
    let mut hasher = Hasher::new();
    let head = format!(
        "ocelli build 1\nmodel {}\nshards {}\nfirst id {}\n",
        model.hash(),
        options.shards,
        rows_meta.first_id
    );
    hasher.update(head.as_bytes());
    if !rows_meta.left_out.is_empty() {
        hasher.update(format!("left out {:?}\n", rows_meta.left_out).as_bytes());
    }
    if let Some(refinement) = model.fine_codec() {
        hasher.update(format!("refinement {}\n", refinement.hash()).as_bytes());
    }
    if let Some(Dba { k, exact }) = dba {
        hasher.update(format!("dba {k} {exact}\n").as_bytes());
    }
    for part in parts {
        hasher.update(format!("part {}\n", part.file().checksum()).as_bytes());
    }
    hasher.finish()
}

struct ShardEncoder<'a> {
    parts: &'a [Part],
    model: &'a Model,
    encoder: RowEncoder<'a>,
    rows_meta: &'a RowsMeta,
    neighbours: Option<&'a Neighbours>,
    rows: usize,
    progress: ProgressFn<'a>,
}

impl<'a> ShardEncoder<'a> {
    /// The shard of the rows `range` in plan order.
    fn shard(&self, range: Range<usize>) -> Result<ShardBuilder<'a>> {
        let mut builder = ShardBuilder::new(self.model);
        let mut part_start = 0;
        for part in self.parts {
            let part_end = part_start + part.rows();
            let (from, to) = (range.start.max(part_start), range.end.min(part_end));
            for start in (from..to).step_by(BLOCK_ROWS) {
                let end = (start + BLOCK_ROWS).min(to);
                let block = start - part_start..end - part_start;
                if part.code_form().is_some() {
                    self.push_codes(&mut builder, start, part, block)?;
                } else {
                    let mut x = part.read(block)?;
                    if let Some(neighbours) = self.neighbours {
                        let dim = self.model.parts().dim;
                        x = neighbours.augment(start, &x, dim, |row| self.row(row))?;
                    }
                    self.push_block(&mut builder, start, &x)?;
                }
                let (done, total) = (end as u64, self.rows as u64);
                (self.progress)(Progress { stage: "encode", done, total });
            }
            part_start = part_end;
        }
        Ok(builder)
    }

    /// A row by its number in plan order.
    fn row(&self, row: usize) -> Result<Vec<f32>> {
        let mut start = 0;
        for part in self.parts {
            let here = row - start;
            if here < part.rows() {
                return Ok(part.read(here..here + 1)?);
            }
            start += part.rows();
        }
        Err(Error::Invalid(format!("row {row}: beyond {start}")))
    }

    /// The error of encoding `x` (n, dim), whose first row is row `first`, with the place of the
    /// row that is out of range: rows of parts are in range, their augmented ones need not be.
    fn at_row(&self, first: usize, x: &[f32], error: Error) -> Error {
        let mut rows = x.chunks_exact(self.model.parts().dim).map(out_of_range);
        let Some(i) = rows.position(|why| why.is_some()) else { return error };
        let how = if self.neighbours.is_some() { ", augmented (--dba)" } else { "" };
        Error::Invalid(format!("{}{how}: {error}", place(self.parts, first + i)))
    }

    /// Appends the codes of the rows `block` of `part`, the first of which is row `first`.
    fn push_codes(
        &self,
        builder: &mut ShardBuilder<'_>,
        first: usize,
        part: &Part,
        block: Range<usize>,
    ) -> Result<()> {
        let p = self.model.parts();
        let fine_bytes = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        let CodeRows { lists, codes, fine } = part.read_codes(block)?;
        for (i, (&list, code)) in lists.iter().zip(codes.chunks(p.m)).enumerate() {
            let row = first + i;
            if self.rows_meta.is_left_out(row) {
                continue;
            }
            let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
            if list as usize >= p.nlist || code.iter().any(|&c| usize::from(c) >= p.ksub) {
                return Err(Error::Invalid(format!(
                    "{}: {} (id {id}): list {list}, code {code:?}; the model has {} lists and {} codewords",
                    part.path().display(),
                    quoted(key),
                    p.nlist,
                    p.ksub
                )));
            }
            let fine = &fine[i * fine_bytes..(i + 1) * fine_bytes];
            builder.push_fine(id, key, list, code, fine)?;
        }
        Ok(())
    }

    /// Encodes the rows `x` `(n, dim)`, the first of which is row `first`, on all threads, and
    /// appends them in order.
    fn push_block(&self, builder: &mut ShardBuilder<'_>, first: usize, x: &[f32]) -> Result<()> {
        let (dim, m) = (self.model.parts().dim, self.model.parts().m);
        let simd = ocelli_index::simd();
        let d = self.model.parts().d;
        let encoded: Vec<(Encoded, Vec<u8>)> = x
            .par_chunks(TASK_ROWS * dim)
            .enumerate()
            .map_init(RowEncoderScratch::default, |scratch, (task, x)| {
                let mut out = Encoded::default();
                let encoded = self.encoder.encode(x, scratch, &mut out);
                encoded.map_err(|e| self.at_row(first + task * TASK_ROWS, x, e.into()))?;
                let mut fine = Vec::new();
                let rows = out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m));
                for (row, ((z, &list), code)) in (first + task * TASK_ROWS..).zip(rows) {
                    self.model.encode_fine(simd, z, list, code, &mut fine).map_err(|e| {
                        let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
                        Error::Invalid(format!("{} (id {id}): {e}", quoted(key)))
                    })?;
                }
                Ok((out, fine))
            })
            .collect::<Result<_>>()?;
        let fine_bytes = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        let mut row = first;
        for (encoded, fine) in &encoded {
            for (i, (&list, code)) in encoded.lists.iter().zip(encoded.codes.chunks(m)).enumerate()
            {
                let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
                let fine = &fine[i * fine_bytes..(i + 1) * fine_bytes];
                if !self.rows_meta.is_left_out(row) {
                    builder.push_fine(id, key, list, code, fine)?;
                }
                row += 1;
            }
        }
        Ok(())
    }
}
