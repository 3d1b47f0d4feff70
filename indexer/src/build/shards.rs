//! The steps of a build: checks, shards, generation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{
    CodeForm, Dba, DescriptorSpec, FineCodec, Hash, Hasher, IndexDir, Model, NewGeneration, Part,
    RowEncoder, ShardEntry,
};
use serde::Serialize;

use super::encode::ShardEncoder;
use super::rows::{OnDuplicate, RowsMeta};
use crate::dba::Neighbours;
use crate::sample::{self, count_rows, require_descriptors};
use crate::threads::pool;
use crate::{Error, ProgressFn, Result};

/// Options of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildOptions {
    /// Shards; the rows are split into so many ranges of equal length.
    pub shards: usize,
    /// Threads that encode; 0: one per core. The result does not depend on it.
    pub threads: usize,
    /// Nearest rows by which each descriptor is augmented before it is coded (DBA); 0: none.
    pub dba: usize,
    /// Treatment of a row whose key or id an earlier row has.
    pub on_duplicate: OnDuplicate,
}

/// Report of a build.
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
    /// The first of these rows and why, a sentence each.
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
    /// Bytes of one finer code; 0 if the model has no finer codes.
    pub fine_bytes: usize,
    /// Bytes of the model, which all shards share.
    pub model_bytes: u64,
    /// How the descriptors were augmented, if they were.
    pub dba: Option<Dba>,
    /// Wall time.
    pub seconds: f64,
}

/// [`super::build`] with the neighbours known by which rows are augmented, and without the rows
/// `left_out`, ascending numbers in plan order.
pub(super) fn build_with(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    neighbours: Option<&Neighbours>,
    left_out: &[usize],
    progress: ProgressFn<'_>,
) -> Result<BuildReport> {
    let start = Instant::now();
    let rows = check_input(parts, model, options)?;
    let index = IndexDir::create(dir)?;
    let parent = index.current()?;
    let first_id = index.next_id(parent.as_ref())?;
    let rows_meta = RowsMeta::read(parts, first_id, options.on_duplicate, left_out)?;
    rows_meta.check_ids(dir, parent.as_ref())?;
    let model_bytes = index.put_model(model)?.bytes;

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
    let range = |task| rows * task / options.shards..rows * (task + 1) / options.shards;
    let shards = (0..options.shards)
        .map(|task| (task, range(task)))
        // A shard has rows.
        .filter(|(_, range)| range.clone().any(|row| !rows_meta.is_left_out(row)))
        .map(|(task, range)| {
            let builder = pool.install(|| encoder.shard(range))?;
            Ok(index.put_shard(builder, plan, task as u32)?)
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
    let rows = rows - rows_meta.left_out.len();
    let kept = || rows_meta.kept().map(|row| rows_meta.ids[row]);
    Ok(BuildReport {
        index: dir.to_owned(),
        generation: generation.number,
        rows: rows as u64,
        ids: (kept().min().unwrap_or(0), kept().max().unwrap_or(0)),
        ids_given: rows_meta.ids_given,
        rejected: rows_meta.rejected as u64,
        rejected_first: rows_meta.reasons.clone(),
        shards: generation.shards.len(),
        bytes,
        bytes_per_image: bytes as f64 / rows as f64,
        code_bytes: model.parts().m,
        fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes),
        model_bytes,
        dba,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// All that can be judged without reading rows. Returns their number.
pub(super) fn check_input(parts: &[Part], model: &Model, options: &BuildOptions) -> Result<usize> {
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
        form.fine_codec.map_or("without finer codes".to_owned(), |r| format!("finer codes {r}"))
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
    if let Some(codec) = model.fine_codec() {
        hasher.update(format!("refinement {}\n", codec.hash()).as_bytes());
    }
    if let Some(Dba { k, exact }) = dba {
        hasher.update(format!("dba {k} {exact}\n").as_bytes());
    }
    for part in parts {
        hasher.update(format!("part {}\n", part.file().checksum()).as_bytes());
    }
    hasher.finish()
}
