//! An index made anew under another model.

use std::path::Path;
use std::time::Instant;

use ocelli_index::{
    BuildSeconds, Change, CommitOptions, DescriptorSpec, FineCodec, Gate, IndexDir, Model,
    NameList, NameListBuilder, NewGeneration, Part, Snapshot,
};
use serde::Serialize;

use super::change::{commit_by, hold_current};
use super::deleted::deleted_rows;
use super::stored::Again;
use crate::build::{Onto, build_onto};
use crate::memory::{Memory, cores};
use crate::sort::SortMemory;
use crate::{BuildOptions, BuildReport, Error, ProgressFn, Result};

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
    let (index, current, held) = hold_current(dir)?;
    let settings = [("model", model.hash().to_string())];
    let commit = CommitOptions { gate, ..commit_by("rebuild", &settings) };
    let deletes = current.deletes.filter(|_| !forget_deletes);
    if parts.is_empty() {
        let snapshot = Snapshot::open_candidate(&index, &current)?;
        drop(held);
        return from_index(&index, &snapshot, model, options, &commit, progress);
    }
    let rows = parts.iter().map(Part::rows).sum();
    let memory = options.memory(model, rows)?;
    let _limit = memory.limit();
    let sorting = memory.sort_bytes.map(|bytes| {
        let folder = index.root().join("shards");
        SortMemory { bytes: bytes / 2, folder }
    });
    let names = match forget_deletes {
        true => NameList::default(),
        false => {
            let names = sorting.as_ref().map(|m| NameListBuilder::bounded(m.bytes, &m.folder));
            index.deleted_names(&current, names.unwrap_or_default())?
        }
    };
    drop(held);
    let left_out = deleted_rows(parts, &names, sorting.as_ref())?;
    let all: usize = parts.iter().map(Part::images).sum();
    if all > 0 && left_out.len() == all {
        return Err(Error::Invalid(format!(
            "all {all} rows of the parts were deleted from the index; --forget-deletes brings them \
             back"
        )));
    }
    let left_out_deleted = left_out.len() as u64;
    let some_deleted = names.count() > 0;
    drop(names);
    let seen = Some(Some(current.number));
    let onto = Onto { left_out: &left_out, seen, deletes, commit, ..Onto::default() };
    let (build, _) = build_onto(parts, (model, &index), options, None, &onto, progress)?;
    let mut warnings = Vec::new();
    if some_deleted && nameless(parts)? {
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

/// [`rebuild`] of the vectors that the index decodes.
fn from_index(
    index: &IndexDir,
    snapshot: &Snapshot,
    model: &Model,
    options: &BuildOptions,
    commit: &CommitOptions<'_>,
    progress: ProgressFn<'_>,
) -> Result<RebuildReport> {
    let start = Instant::now();
    let current = snapshot.generation();
    let (old, new) = (&snapshot.model().parts().spec, &model.parts().spec);
    DescriptorSpec::same_or_err("the index under the new model", new, old)?;
    if options.dba != 0 {
        return Err(Error::Invalid("--dba needs the vectors of parts, found none".to_owned()));
    }
    let rows = snapshot.rows();
    if rows == 0 {
        return Err(Error::Invalid("an index needs at least one row, found none".to_owned()));
    }
    if options.shards == 0 || options.shards as u64 > rows {
        return Err(Error::Invalid(format!(
            "shards: expected 1 to {rows} (the number of rows), found {}",
            options.shards
        )));
    }
    let (budget, threads) = (options.memory_budget_bytes, cores(options.threads));
    let memory = Memory::to_encode_again(budget, (snapshot.model(), model), threads)?;
    let _limit = memory.limit();
    let model_bytes = index.put_model(model)?.bytes;
    let again = Again::new(index, snapshot, model, options, memory, progress)?;
    let work = again.work();
    let (shards, ids) = again.run()?;
    let bytes = shards.iter().map(|shard| shard.bytes).sum();
    let new = NewGeneration {
        model: model.hash(),
        shards,
        tombstones: Default::default(),
        deletes: current.deletes,
        next_id: index.next_id(Some(current))?,
    };
    let change = Change::Replace { parent: Some(current.number), new, dba: current.dba };
    let committed = index.commit_change(&change, commit).inspect_err(|error| {
        // What a gate has refused will be refused again: nobody needs the shards.
        if matches!(error, ocelli_index::Error::Invalid { .. }) {
            let _ = work.remove();
        }
    })?;
    work.remove()?;
    let build = BuildReport {
        index: index.root().to_owned(),
        generation: committed.generation.number,
        rows,
        ids,
        ids_given: false,
        rejected: 0,
        rejected_first: Vec::new(),
        shards: committed.generation.shards.len(),
        bytes,
        bytes_per_image: bytes as f64 / rows as f64,
        code_bytes: model.parts().m,
        fine_bytes: model.fine_codec().map_or(0, FineCodec::code_bytes),
        model_bytes,
        dba: current.dba,
        stage_seconds: BuildSeconds::default(),
        seconds: start.elapsed().as_secs_f64(),
    };
    let warnings = vec![what_is_lost(snapshot)];
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
