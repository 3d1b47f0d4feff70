//! From the edges of a run to its files, in one call.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::calibrate::{sample, write_sample};
use super::clusters::{
    ClusterCounts, ClusterOptions, Clusters, Linkage, ROW_BYTES, Similarity, cluster,
};
use super::edge::{Edge, Label};
use super::keeper::{KnownPairs, Policy, order};
use super::order::touched;
use super::output::{
    self, ClustersWritten, FileCounts, OutputFile, PairCounts, SCHEMA_VERSION, SUMMARY, Summary,
    TableForm, names, write_clusters, write_pairs, write_summary,
};
use super::report::{Pictures, ReportHead, ReportMade, ReportOptions, ReportParts, write_report};
use super::rows::{Edges, Rows};
use crate::sort::SortMemory;
use crate::{Error, ProgressFn, Result};

/// Options of [`resolve`].
#[derive(Clone, Debug)]
pub struct ResolveOptions {
    /// The folder of the files; it is made.
    pub out: PathBuf,
    /// Name of what is looked through, for people.
    pub name: String,
    /// Least score of an edge that counts.
    pub threshold: f32,
    /// Score of rows of equal pixels.
    pub best_score: f32,
    /// The way in which rows become clusters.
    pub linkage: Linkage,
    /// The weakest label of a row that may be removed; None: nothing is.
    pub remove: Option<Label>,
    /// Which row of a cluster stays.
    pub keep: Policy,
    /// Pairs that are no duplicates.
    pub known_pairs: KnownPairs,
    /// Forms of tables besides Parquet.
    pub forms: Vec<TableForm>,
    /// The page for people, if one is wanted.
    pub report: Option<ReportOptions>,
    /// Pairs to judge of each band of scores; 0: none.
    pub sample_per_band: usize,
    /// Memory of rows and edges in bytes; 0: as much as they need.
    pub memory_bytes: usize,
    /// Pairs that miss the threshold by least, for the page.
    pub below: Vec<Edge>,
    /// Parameters and hashes of the join, for the summary.
    pub join: Value,
}

impl ResolveOptions {
    /// Refuses what would fail after an hour: the threshold must be a number, columns of rules must
    /// be there.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, rows: &dyn Rows) -> Result<()> {
        if !self.threshold.is_finite() {
            let found = self.threshold;
            return Err(Error::Invalid(format!("threshold: expected a number, found {found}")));
        }
        self.keep.columns(rows.schema()).map(drop)
    }
}

/// Report of [`resolve`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// The folder of the files.
    pub out: PathBuf,
    /// Counts of pairs.
    pub pairs: PairCounts,
    /// Counts of clusters.
    pub clusters: ClusterCounts,
    /// What becomes of the files of duplicates.
    pub files: FileCounts,
    /// The page, if one was wanted.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportMade>,
    /// The files, with their hashes.
    pub outputs: Vec<OutputFile>,
}

impl Resolved {
    /// What became of the run whose summary is in `out`, and what that says of the join. None
    /// without a summary of this version.
    pub(super) fn read(out: &Path) -> Option<(Value, Self)> {
        let mut summary: Value = serde_json::from_slice(&fs::read(out.join(SUMMARY)).ok()?).ok()?;
        let fields = summary.as_object_mut()?;
        let version = fields.get("schema_version").and_then(Value::as_u64);
        let join = fields.remove("join")?;
        fields.insert("out".to_owned(), out.to_str()?.into());
        let resolved = serde_json::from_value(summary).ok()?;
        (version == Some(SCHEMA_VERSION.into())).then_some((join, resolved))
    }
}

/// Makes clusters of edges, decides what stays, and writes the files that
/// [`output`] names. Equal edges, rows and options give equal bytes.
///
/// # Errors
/// Those of [`ResolveOptions::check`]; a memory that does not hold the rows that have an edge, with
/// the smallest that does; those of reading and writing. The folder has no summary then.
pub fn resolve(
    edges: &dyn Edges,
    rows: &dyn Rows,
    similarity: &mut dyn Similarity,
    pictures: &dyn Pictures,
    options: &ResolveOptions,
    progress: ProgressFn<'_>,
) -> Result<Resolved> {
    options.check(rows)?;
    output::start(&options.out, &options.forms)?;
    let clusters = make_clusters(edges, rows, similarity, options)?;
    let pairs = write_pairs(&options.out, edges, rows, &clusters, &options.forms)?;
    let written = write_clusters(&options.out, rows, &clusters, &options.forms, progress)?;
    let sampled = sample(edges, options.sample_per_band)?;
    if options.sample_per_band > 0 {
        write_sample(&options.out.join(names::SAMPLE), &sampled, rows)?;
    }
    let parts = ReportParts {
        edges,
        below: &options.below,
        rows,
        clusters: &clusters,
        pictures,
        sample: &sampled,
    };
    let report = make_report(&parts, &written, options, progress)?;
    let outputs = outputs(options)?;
    let summary = Summary {
        schema_version: SCHEMA_VERSION,
        ocelli: env!("CARGO_PKG_VERSION"),
        join: options.join.clone(),
        threshold: options.threshold,
        linkage: options.linkage,
        remove: options.remove,
        keep: options.keep.clone(),
        known_pairs: options.known_pairs.counts.clone(),
        pairs: pairs.clone(),
        clusters: clusters.counts(),
        files: written.files,
        outputs: outputs.clone(),
    };
    write_summary(&options.out, &summary)?;
    let (out, clusters, files) = (options.out.clone(), clusters.counts(), written.files);
    Ok(Resolved { out, pairs, clusters, files, report, outputs })
}

fn make_clusters(
    edges: &dyn Edges,
    rows: &dyn Rows,
    similarity: &mut dyn Similarity,
    options: &ResolveOptions,
) -> Result<Clusters> {
    let (touched, _) = touched(edges, options.threshold, rows.rows())?;
    let bytes = sort_bytes(options.memory_bytes, touched.len())?;
    let memory = bytes.map(|bytes| SortMemory { bytes, folder: options.out.clone() });
    let order = order(rows, touched, &options.keep, memory.as_ref())?;
    let cluster_options = ClusterOptions {
        threshold: options.threshold,
        best_score: options.best_score,
        linkage: options.linkage,
        remove: options.remove,
        memory,
    };
    cluster(edges, order, &options.known_pairs.distinct, similarity, &cluster_options)
}

/// What a memory leaves to sort in, beside so many rows that have an edge; None: no limit.
///
/// # Errors
/// A memory that is too small, with the smallest that works.
fn sort_bytes(memory_bytes: usize, rows: usize) -> Result<Option<usize>> {
    const LEAST_BYTES: usize = 4 << 20;
    if memory_bytes == 0 {
        return Ok(None);
    }
    let rows_bytes = rows * ROW_BYTES;
    match memory_bytes.checked_sub(rows_bytes) {
        Some(rest) if rest >= LEAST_BYTES => Ok(Some(rest)),
        _ => Err(Error::Invalid(format!(
            "memory budget: {} MiB do not hold {rows} rows that are near others; the smallest that \
             works is {} MiB, or a higher threshold",
            memory_bytes >> 20,
            (rows_bytes + LEAST_BYTES).div_ceil(1 << 20)
        ))),
    }
}

fn make_report(
    parts: &ReportParts<'_>,
    written: &ClustersWritten,
    options: &ResolveOptions,
    progress: ProgressFn<'_>,
) -> Result<Option<ReportMade>> {
    let Some(report) = &options.report else { return Ok(None) };
    // Verdicts of one run are not those of another, whose rows may have other numbers.
    let table = OutputFile::of(&options.out, &format!("{}.parquet", names::CLUSTERS))?;
    let head = ReportHead {
        name: &options.name,
        run: table.sha256.to_string(),
        rows: parts.rows.rows(),
        threshold: options.threshold,
        files: written.files,
        freed_bytes: &written.freed_bytes,
    };
    let path = options.out.join(names::REPORT);
    write_report(&path, &head, parts, report, progress).map(Some)
}

/// The files that were written, with their hashes.
fn outputs(options: &ResolveOptions) -> Result<Vec<OutputFile>> {
    let tables = [names::PAIRS, names::CLUSTERS, names::STATS];
    let endings = options.forms.iter().map(|form| form.ending());
    let endings: Vec<&str> = ["parquet"].into_iter().chain(endings).collect();
    let mut all: Vec<String> = tables
        .iter()
        .flat_map(|name| endings.iter().map(move |ending| format!("{name}.{ending}")))
        .collect();
    all.extend([names::REMOVE_IDS, names::REMOVE_FILES].map(str::to_owned));
    all.extend(options.report.map(|_| names::REPORT.to_owned()));
    all.extend((options.sample_per_band > 0).then(|| names::SAMPLE.to_owned()));
    all.sort();
    all.iter().map(|name| OutputFile::of(&options.out, name)).collect()
}
