//! The page on which people look at clusters and judge pairs.
//!
//! One HTML file that needs no other: thumbnails are inside of it, as text in blocks of JSON that
//! the page reads when it shows them, so that it stays quick with 10,000 clusters and more. It
//! shows clusters by size, by weakest link, and by band of scores, pairs around the threshold and
//! those of a sample side by side with their difference, and saves verdicts as a file of labels
//! that [`calibrate`](super::calibrate) and [`keeper`](super::keeper) take.

mod choose;
mod data;
mod histogram;
mod html;
mod pictures;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ocelli_index::container::AtomicFile;
use serde::{Deserialize, Serialize};

use choose::{chosen_clusters, near_threshold};
use data::{Blocks, PairKind};
use histogram::Histogram;
pub use pictures::{FilePictures, Pictures};

use super::calibrate::SampledPair;
use super::clusters::Clusters;
use super::edge::Edge;
use super::output::FileCounts;
use super::rows::{Edges, Rows};
use crate::{ProgressFn, Result};

/// What a report shows at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportOptions {
    /// Clusters; of more, the largest ones, those of the weakest links, and those that free most.
    pub clusters: u32,
    /// Rows of a cluster.
    pub members: u32,
    /// Pairs above the threshold, and as many below.
    pub pairs: usize,
    /// Longest side of a thumbnail in pixels.
    pub thumbnail_px: u32,
    /// Longest side of the thumbnails of pairs in pixels.
    pub pair_px: u32,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self { clusters: 10_000, members: 24, pairs: 100, thumbnail_px: 144, pair_px: 256 }
    }
}

/// What a report is of.
#[derive(Clone, Debug)]
pub struct ReportHead<'a> {
    /// Name of what was looked through.
    pub name: &'a str,
    /// A text that tells runs apart: verdicts that a browser keeps are of one run.
    pub run: String,
    /// Rows of the run, those without a pair too.
    pub rows: u64,
    /// The threshold.
    pub threshold: f32,
    /// Counts of what becomes of files.
    pub files: FileCounts,
    /// Bytes that each cluster frees.
    pub freed_bytes: &'a [u64],
}

/// Result of [`write_report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportMade {
    /// The page.
    pub path: PathBuf,
    /// Clusters on it.
    pub clusters: u64,
    /// Pairs on it.
    pub pairs: u64,
    /// Thumbnails on it.
    pub thumbnails: u64,
    /// Photos that are missing, changed or cannot be read; a grey box says why.
    pub placeholders: u64,
    /// Size of the page.
    pub bytes: u64,
}

/// What a report is made from.
pub struct ReportParts<'a> {
    /// The pairs of the run.
    pub edges: &'a dyn Edges,
    /// Pairs below the threshold, a few.
    pub below: &'a [Edge],
    /// The rows of the run.
    pub rows: &'a dyn Rows,
    /// The clusters of the run.
    pub clusters: &'a Clusters,
    /// The source of thumbnails.
    pub pictures: &'a dyn Pictures,
    /// Pairs that are to be judged.
    pub sample: &'a [SampledPair],
}

/// Writes the page to `path`, which gets its name when it is complete. Memory is bounded by what
/// one block of clusters shows, and by the thumbnails of the pairs.
///
/// # Errors
/// Those of reading rows and edges, and of writing. A photo that cannot be read is none.
pub fn write_report(
    path: &Path,
    head: &ReportHead<'_>,
    parts: &ReportParts<'_>,
    options: &ReportOptions,
    progress: ProgressFn<'_>,
) -> Result<ReportMade> {
    let mut file = AtomicFile::create(path)?;
    let histogram = Histogram::of(parts.edges)?;
    let near = near_threshold(parts.edges, parts.below, head.threshold, options.pairs)?;
    let near = near.iter().map(|edge| PairKind::Near(*edge));
    let pairs: Vec<PairKind> =
        near.chain(parts.sample.iter().cloned().map(PairKind::Sampled)).collect();
    let chosen = chosen_clusters(parts.clusters, head.freed_bytes, options.clusters);
    let mut blocks = Blocks::new(parts, options);
    let mut bytes = 0;
    let mut append = |text: &str| {
        bytes += text.len() as u64;
        file.append(text.as_bytes())
    };
    append(&html::start(head, parts.clusters, &chosen, &histogram))?;
    blocks.pairs(&pairs, &mut append)?;
    blocks.clusters(&chosen, head.freed_bytes, &mut append, progress)?;
    append(&blocks.index(head, &histogram)?)?;
    append(&html::end())?;
    file.publish()?;
    Ok(ReportMade {
        path: path.to_owned(),
        clusters: chosen.len() as u64,
        pairs: pairs.len() as u64,
        thumbnails: blocks.thumbnails,
        placeholders: blocks.placeholders,
        bytes,
    })
}
