//! The neighbours by which a build augments its rows.

use std::path::Path;

use ocelli_index::{Model, Part, Scratch, SearchParams, SearchResult, Snapshot};
use rayon::prelude::*;

use super::options::BuildOptions;
use super::rows::OnDuplicate;
use super::shards::{Onto, build_with};
use crate::dba::{EXACT_ROWS, MISSING, Neighbours, check_k};
use crate::sample::{BLOCK_ROWS, count_rows};
use crate::{Error, Progress, ProgressFn, Result};

/// Lists that are searched for the neighbours of many rows.
const NPROBE: usize = 32;

/// The neighbours that an index of plain codes under `model` finds for each row of `parts`, without
/// the row itself. The index is under `scratch_dir` meanwhile.
fn by_index(
    parts: &[Part],
    model: &Model,
    asked: &BuildOptions,
    scratch_dir: &Path,
    progress: ProgressFn<'_>,
) -> Result<Neighbours> {
    let (n, k) = (count_rows(parts), asked.dba);
    check_k(k, n)?;
    let dir = scratch_dir.join("dba.tmp");
    let remove = || match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &dir)(e)),
        _ => Ok(()),
    };
    remove()?;
    // In one shard a row's ordinal is its number.
    let options = BuildOptions {
        shards: 1,
        threads: asked.threads,
        dba: 0,
        on_duplicate: OnDuplicate::Stop,
        memory_budget_bytes: asked.memory_budget_bytes,
    };
    build_with(parts, model, &dir, &options, None, &Onto::default(), progress)?;
    let snapshot = Snapshot::open(&dir, None)?;
    let refine_candidates = if snapshot.fine_codec().is_some() { 4 * (k + 1) } else { 0 };
    let nprobe = NPROBE.min(model.parts().nlist);
    let params = SearchParams { k: k + 1, nprobe, refine_candidates, ..SearchParams::default() };
    let dim = model.parts().dim;
    let mut rows = Vec::with_capacity(n * k);
    for part in parts {
        for start in (0..part.rows()).step_by(BLOCK_ROWS) {
            let x = part.read(start..(start + BLOCK_ROWS).min(part.rows()))?;
            let first = rows.len() / k;
            let found: Vec<Vec<u32>> = x
                .par_chunks(256 * dim)
                .map_init(Scratch::default, |scratch, x| {
                    let results = snapshot.search_batch(x, &params, scratch)?;
                    let rows_of = |result: &SearchResult| {
                        result.hits.iter().map(|hit| hit.row.ordinal).collect()
                    };
                    Ok(results.iter().map(rows_of).collect())
                })
                .collect::<Result<Vec<Vec<Vec<u32>>>>>()?
                .concat();
            for (row, hits) in (first..).zip(found) {
                let others = hits.into_iter().filter(|&hit| hit as usize != row);
                rows.extend(others.chain(std::iter::repeat(MISSING)).take(k));
            }
            let (done, total) = ((rows.len() / k) as u64, n as u64);
            progress(Progress { stage: "neighbours", done, total });
        }
    }
    drop(snapshot);
    remove()?;
    Ok(Neighbours::found(k, rows))
}

/// The exact neighbours of the rows of `parts` up to [`EXACT_ROWS`] rows, and those that an index
/// finds for more.
pub(super) fn neighbours(
    parts: &[Part],
    model: &Model,
    options: &BuildOptions,
    scratch_dir: &Path,
    progress: ProgressFn<'_>,
) -> Result<Neighbours> {
    if count_rows(parts) > EXACT_ROWS {
        return by_index(parts, model, options, scratch_dir, progress);
    }
    let mut x = Vec::new();
    for part in parts {
        x.extend(part.read(0..part.rows())?);
    }
    Neighbours::exact(&x, model.parts().dim, model.metric(), options.dba)
}
