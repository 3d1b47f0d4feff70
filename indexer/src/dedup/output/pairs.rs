//! The table of pairs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lines::PairLine;
use super::sink::Sink;
use super::{TableForm, names};
use crate::Result;
use crate::dedup::clusters::Clusters;
use crate::dedup::edge::{Edge, Label, ScoredBy};
use crate::dedup::rows::{Edges, Rows, facts_of};

/// Pairs whose rows are looked up together.
const BLOCK_PAIRS: usize = 4096;

/// Counts of pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// All pairs.
    pub pairs: u64,
    /// Pairs by their label.
    pub by_label: BTreeMap<Label, u64>,
    /// Pairs by what their score was computed from.
    pub by_score: BTreeMap<ScoredBy, u64>,
}

/// Writes `pairs.parquet`: every edge, those below the threshold too.
///
/// # Errors
/// Those of reading and writing.
pub fn write_pairs(
    out: &Path,
    edges: &dyn Edges,
    rows: &dyn Rows,
    clusters: &Clusters,
    forms: &[TableForm],
) -> Result<PairCounts> {
    let mut sink = Sink::create(out, names::PAIRS, forms)?;
    let (mut block, mut counts) = (Vec::new(), PairCounts::default());
    edges.each(&mut |edge| {
        counts.pairs += 1;
        *counts.by_label.entry(edge.label).or_default() += 1;
        *counts.by_score.entry(edge.scored_by).or_default() += 1;
        block.push(*edge);
        if block.len() == BLOCK_PAIRS {
            put(&mut sink, &block, rows, clusters)?;
            block.clear();
        }
        Ok(())
    })?;
    put(&mut sink, &block, rows, clusters)?;
    sink.finish()?;
    Ok(counts)
}

fn put(
    sink: &mut Sink<PairLine>,
    block: &[Edge],
    rows: &dyn Rows,
    clusters: &Clusters,
) -> Result<()> {
    let facts = facts_of(rows, block.iter().flat_map(|edge| [edge.a, edge.b]))?;
    for edge in block {
        let (Some(a), Some(b)) = (facts.get(&edge.a), facts.get(&edge.b)) else { continue };
        let cluster = clusters.number_of(edge.a);
        sink.push(PairLine {
            id_a: a.id,
            id_b: b.id,
            key_a: a.key.clone(),
            key_b: b.key.clone(),
            score: edge.score,
            scored_by: edge.scored_by,
            label: edge.label,
            phash_distance: edge.phash_distance,
            agreement: edge.agreement,
            cluster: cluster.filter(|_| clusters.number_of(edge.b) == cluster),
        })?;
    }
    Ok(())
}
