//! An index made anew under another model.

use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    BuildSeconds, Change, CommitOptions, DeletedNames, DescriptorSpec, Encoded, FineCodec, Gate,
    Generation, Hasher, IndexDir, Model, NewGeneration, NewRow, Part, Row, RowEncoder,
    RowEncoderScratch, ShardBuilder, ShardEntry, Snapshot,
};
use serde::Serialize;

use super::change::{commit_by, open_current};
use crate::build::{Onto, build_onto};
use crate::threads::pool;
use crate::{BuildOptions, BuildReport, Error, Progress, ProgressFn, Result};

/// Rows that are decoded and encoded together.
const BLOCK_ROWS: usize = 4096;

/// The result of [`rebuild`].
#[derive(Clone, Debug, Serialize)]
pub struct RebuildReport {
    /// The new generation.
    #[serde(flatten)]
    pub build: BuildReport,
    /// Rows that were left out because they were deleted.
    pub left_out_deleted: u64,
    /// Whether the vectors are those that the index decodes; else those of parts.
    pub from_index: bool,
    /// Warnings, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Makes the index at `dir` anew under `model`, of `parts`, or, if there are none, of the vectors
/// that the index itself decodes, with their ids, keys and attributes. Rows whose key or id the
/// delete log names, and no row has, are left out, unless `forget_deletes`; the log goes on.
///
/// # Errors
/// Those of [`build`](crate::build); an index without a generation; a change that came between.
pub fn rebuild(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    forget_deletes: bool,
    progress: ProgressFn<'_>,
) -> Result<RebuildReport> {
    rebuild_gated(parts, model, dir, options, forget_deletes, None, progress)
}

/// [`rebuild`] with a gate that may refuse the new generation.
///
/// # Errors
/// Those of [`rebuild`]; the gate's, and then the index stays as it was.
pub fn rebuild_gated(
    parts: &[Part],
    model: &Model,
    dir: &Path,
    options: &BuildOptions,
    forget_deletes: bool,
    gate: Option<Gate<'_>>,
    progress: ProgressFn<'_>,
) -> Result<RebuildReport> {
    let (index, current) = open_current(dir)?;
    let settings = [("model", model.hash().to_string())];
    let commit = CommitOptions { gate, ..commit_by("rebuild", &settings) };
    let deletes = current.deletes.filter(|_| !forget_deletes);
    if parts.is_empty() {
        return from_index(&index, &current, model, options, &commit, progress);
    }
    let names = match forget_deletes {
        true => DeletedNames::default(),
        false => index.deleted_names(&current)?,
    };
    let left_out = deleted_rows(parts, &names)?;
    let all: usize = parts.iter().map(Part::images).sum();
    if all > 0 && left_out.len() == all {
        return Err(Error::Invalid(format!(
            "all {all} rows of the parts were deleted from the index; --forget-deletes brings them \
             back"
        )));
    }
    let left_out_deleted = left_out.len() as u64;
    let seen = Some(Some(current.number));
    let onto = Onto { left_out: &left_out, seen, deletes, commit, ..Onto::default() };
    let (build, _) = build_onto(parts, (model, &index), options, None, &onto, progress)?;
    let mut warnings = Vec::new();
    if !names.is_empty() && nameless(parts)? {
        warnings.push(
            "rows without id and key cannot be told from deleted ones: if the parts have rows that \
             were deleted, they are back. A rebuild without parts leaves deleted rows out"
                .to_owned(),
        );
    }
    Ok(RebuildReport { build, left_out_deleted, from_index: false, warnings })
}

/// Whether a part has rows with neither id nor key. Parts have ids for all rows or for none.
fn nameless(parts: &[Part]) -> Result<bool> {
    for part in parts.iter().filter(|part| !part.has_ids()) {
        for image in 0..part.images() {
            if part.key(image)?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Numbers of the rows of parts that bear a deleted name.
pub(crate) fn deleted_rows(parts: &[Part], names: &DeletedNames) -> Result<Vec<usize>> {
    let mut rows = Vec::new();
    if names.is_empty() {
        return Ok(rows);
    }
    let mut first = 0;
    for part in parts {
        for image in 0..part.images() {
            if names.contains(part.id(image)?, &part.key(image)?) {
                rows.push(first + image);
            }
        }
        first += part.images();
    }
    Ok(rows)
}

/// [`rebuild`] of the vectors that the index decodes.
fn from_index(
    index: &IndexDir,
    current: &Generation,
    model: &Model,
    options: &BuildOptions,
    commit: &CommitOptions<'_>,
    progress: ProgressFn<'_>,
) -> Result<RebuildReport> {
    let start = Instant::now();
    let snapshot = Snapshot::open_candidate(index, current)?;
    let (old, new) = (&snapshot.model().parts().spec, &model.parts().spec);
    DescriptorSpec::same_or_err("the index under the new model", new, old)?;
    if options.dba != 0 {
        return Err(Error::Invalid("--dba needs the vectors of parts, found none".to_owned()));
    }
    let rows = living_rows(index, &snapshot)?;
    if rows.is_empty() {
        return Err(Error::Invalid("an index needs at least one row, found none".to_owned()));
    }
    if options.shards == 0 || options.shards > rows.len() {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {} (the number of rows), found {}",
            rows.len(),
            options.shards
        )));
    }
    let model_bytes = index.put_model(model)?.bytes;
    let (shards, ids) = encode_again(index, &snapshot, model, &rows, options, progress)?;
    let bytes = shards.iter().map(|shard| shard.bytes).sum();
    let new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: Default::default(),
        deletes: current.deletes,
        next_id: index.next_id(Some(current))?,
    };
    let change = Change::Replace { parent: Some(current.number), new, dba: current.dba };
    let committed = index.commit_change(&change, commit)?;
    let build = BuildReport {
        index: index.root().to_owned(),
        generation: committed.generation.number,
        rows: rows.len() as u64,
        ids,
        ids_given: false,
        rejected: 0,
        rejected_first: Vec::new(),
        shards: committed.generation.shards.len(),
        bytes,
        bytes_per_image: bytes as f64 / rows.len() as f64,
        code_bytes: model.parts().m,
        fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes),
        model_bytes,
        dba: current.dba,
        stage_seconds: BuildSeconds::default(),
        seconds: start.elapsed().as_secs_f64(),
    };
    let warnings = vec![what_is_lost(&snapshot)];
    Ok(RebuildReport { build, left_out_deleted: 0, from_index: true, warnings })
}

/// The warning that decoded vectors are not those that were encoded.
fn what_is_lost(snapshot: &Snapshot) -> String {
    let kind = match snapshot.fine_codec() {
        Some(codec) => format!("finer codes ({})", codec.name()),
        None => format!("codes of {} bytes", snapshot.model().parts().m),
    };
    format!(
        "the vectors are those that the {kind} of the index stand for: what the codes lost stays \
         lost; with the parts, the index is as good as a new one"
    )
}

/// Writes shards of the rows of a snapshot under another model. Returns their smallest and largest
/// id too.
fn encode_again(
    index: &IndexDir,
    snapshot: &Snapshot,
    model: &Model,
    rows: &[Row],
    options: &BuildOptions,
    progress: ProgressFn<'_>,
) -> Result<(Vec<ShardEntry>, (u64, u64))> {
    let current = snapshot.generation();
    let mut hasher = Hasher::new();
    hasher.update(format!("rebuild {} {}\n", current.number, model.hash()).as_bytes());
    for shard in &current.shards {
        let tombstones = current.tombstones.get(&shard.name);
        hasher.update(format!("{} {tombstones:?}\n", shard.checksum).as_bytes());
    }
    let plan = hasher.finish();
    let pool = pool(options.threads)?;
    let mut shards: Vec<ShardEntry> = Vec::new();
    let mut ids = (u64::MAX, 0);
    for task in 0..options.shards {
        let range = rows.len() * task / options.shards..rows.len() * (task + 1) / options.shards;
        let mut builder = ShardBuilder::new(model);
        for block in rows[range].chunks(BLOCK_ROWS) {
            pool.install(|| push_rows(snapshot, model, block, &mut builder))?;
            let done = shards.iter().map(|shard| shard.rows).sum::<u64>() + builder.rows() as u64;
            progress(Progress { stage: "encode", done, total: rows.len() as u64 });
        }
        if let Some((first, last)) = builder.ids() {
            ids = (ids.0.min(first), ids.1.max(last));
        }
        shards.push(index.put_shard(builder, plan, task as u32)?);
    }
    Ok((shards, ids))
}

/// Rows of a snapshot that are not deleted, in the order of shards and ordinals.
fn living_rows(index: &IndexDir, snapshot: &Snapshot) -> Result<Vec<Row>> {
    let generation = snapshot.generation();
    let mut rows = Vec::with_capacity(snapshot.rows() as usize);
    for (number, (shard, entry)) in (0u32..).zip(snapshot.shards().zip(&generation.shards)) {
        let dead = match generation.tombstones.get(&entry.name) {
            Some(hash) => index.tombstones(hash, shard.rows())?,
            None => Default::default(),
        };
        let alive = (0..shard.rows()).filter(|&ordinal| !dead.contains(ordinal));
        rows.extend(alive.map(|ordinal| Row { shard: number, ordinal }));
    }
    Ok(rows)
}

/// Decodes rows of a snapshot and encodes them under `model`.
fn push_rows(
    snapshot: &Snapshot,
    model: &Model,
    rows: &[Row],
    builder: &mut ShardBuilder<'_>,
) -> Result<()> {
    let mut x = Vec::with_capacity(rows.len() * model.parts().dim);
    for vector in snapshot.vectors(rows.iter().copied())? {
        x.extend(vector?);
    }
    let mut out = Encoded::default();
    RowEncoder::new(model).encode(&x, &mut RowEncoderScratch::default(), &mut out)?;
    let (m, d) = (model.parts().m, model.parts().d);
    let shards: Vec<_> = snapshot.shards().collect();
    let encoded = out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m));
    for (row, ((z, &list), code)) in rows.iter().zip(encoded) {
        let shard = shards[row.shard as usize];
        let mut fine = Vec::new();
        model.encode_fine(ocelli_index::simd(), z, list, code, &mut fine)?;
        builder.push_row(&NewRow {
            id: shard.id(row.ordinal)?,
            key: &shard.key(row.ordinal)?,
            list,
            code,
            fine: &fine,
            record: &shard.record(row.ordinal)?,
        })?;
    }
    Ok(())
}
