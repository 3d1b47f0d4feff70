//! The data of a page: blocks of JSON.

use std::collections::HashMap;
use std::num::NonZero;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;
use serde::Serialize;

use super::histogram::Histogram;
use super::{ReportHead, ReportOptions, ReportParts};
use crate::dedup::calibrate::SampledPair;
use crate::dedup::clusters::Member;
use crate::dedup::edge::{Edge, RowNumber};
use crate::dedup::rows::{Facts, facts_of};
use crate::threads::pool;
use crate::{Error, Progress, ProgressFn, Result};

/// Clusters and pairs of a block.
const CLUSTER_BLOCK: usize = 24;
const PAIR_BLOCK: usize = 12;
/// Most photos that are decoded at once: each may take all pixels that one photo may have.
const MAX_THREADS: usize = 8;

/// A thumbnail in base64, or why there is none.
type Small = std::result::Result<String, String>;

/// A pair that is shown.
#[derive(Clone, Debug)]
pub(super) enum PairKind {
    /// A pair near the threshold.
    Near(Edge),
    /// A pair that is to be judged.
    Sampled(SampledPair),
}

impl PairKind {
    fn edge(&self) -> &Edge {
        match self {
            Self::Near(edge) => edge,
            Self::Sampled(pair) => &pair.edge,
        }
    }
}

/// A row as the page has it. Ids are texts: a script's numbers do not hold all of them.
#[derive(Clone, Debug, Serialize)]
struct ShownRow {
    row: RowNumber,
    id: String,
    key: String,
    similarity: Option<f32>,
    /// Number of the label.
    label: Option<u8>,
    duplicate_of: Option<RowNumber>,
    old: bool,
    w: Option<u32>,
    h: Option<u32>,
    bytes: Option<u64>,
    /// The thumbnail in base64.
    t: Option<String>,
    /// The reason why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

#[derive(Serialize)]
struct ShownCluster {
    rows: Vec<ShownRow>,
}

#[derive(Serialize)]
struct ShownPair {
    a: ShownRow,
    b: ShownRow,
    score: f32,
    label: u8,
    phash: Option<u8>,
    agreement: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    band: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    band_pairs: Option<u64>,
}

/// Facts of all clusters and pairs of the page, by which it sorts and filters.
#[derive(Default, Serialize)]
struct Index {
    number: Vec<u32>,
    size: Vec<u32>,
    duplicates: Vec<u32>,
    weakest: Vec<Option<f32>>,
    edge: Vec<Option<f32>>,
    freed: Vec<u64>,
    /// A bit for each label that a member has.
    labels: Vec<u8>,
    pair_score: Vec<f32>,
    pair_label: Vec<u8>,
    /// 1: to be judged.
    pair_kind: Vec<u8>,
}

#[derive(Serialize)]
struct Head<'a> {
    run: &'a str,
    threshold: f32,
    least: f64,
    most: f64,
    cluster_block: usize,
    pair_block: usize,
}

/// Writes blocks, one after the other.
pub(super) struct Blocks<'a> {
    parts: &'a ReportParts<'a>,
    options: &'a ReportOptions,
    index: Index,
    /// Thumbnails of the rows of pairs, which clusters show as well.
    known: HashMap<RowNumber, Small>,
    pub(super) thumbnails: u64,
    pub(super) placeholders: u64,
}

type Append<'a> = dyn FnMut(&str) -> ocelli_index::Result<()> + 'a;

impl<'a> Blocks<'a> {
    pub(super) fn new(parts: &'a ReportParts<'a>, options: &'a ReportOptions) -> Self {
        let (index, known) = (Index::default(), HashMap::new());
        Self { parts, options, index, known, thumbnails: 0, placeholders: 0 }
    }

    /// Writes the blocks of pairs.
    pub(super) fn pairs(&mut self, pairs: &[PairKind], append: &mut Append<'_>) -> Result<()> {
        for (number, block) in pairs.chunks(PAIR_BLOCK).enumerate() {
            let rows = block.iter().flat_map(|pair| [pair.edge().a, pair.edge().b]);
            let facts: HashMap<RowNumber, Facts> =
                facts_of(self.parts.rows, rows)?.into_iter().collect();
            let new: Vec<RowNumber> =
                facts.keys().filter(|row| !self.known.contains_key(row)).copied().collect();
            let made = self.make(&new, &facts, self.options.pair_px)?;
            self.known.extend(made);
            let mut shown = Vec::with_capacity(block.len());
            for pair in block {
                let edge = pair.edge();
                let (Some(a), Some(b)) = (facts.get(&edge.a), facts.get(&edge.b)) else { continue };
                let (band, band_pairs) = match pair {
                    PairKind::Near(_) => (None, None),
                    PairKind::Sampled(pair) => (Some(pair.band.clone()), Some(pair.band_pairs)),
                };
                self.index.pair_score.push(edge.score);
                self.index.pair_label.push(edge.label as u8);
                self.index.pair_kind.push(u8::from(band.is_some()));
                shown.push(ShownPair {
                    a: self.shown(&plain(edge.a), a, self.known.get(&edge.a)),
                    b: self.shown(&plain(edge.b), b, self.known.get(&edge.b)),
                    score: edge.score,
                    label: edge.label as u8,
                    phash: edge.phash_distance,
                    agreement: edge.agreement,
                    band,
                    band_pairs,
                });
            }
            append(&script(&format!("p{number}"), &shown)?)?;
        }
        Ok(())
    }

    /// Writes the blocks of clusters.
    pub(super) fn clusters(
        &mut self,
        chosen: &[u32],
        freed: &[u64],
        append: &mut Append<'_>,
        progress: ProgressFn<'_>,
    ) -> Result<()> {
        let clusters = self.parts.clusters;
        for (number, block) in chosen.chunks(CLUSTER_BLOCK).enumerate() {
            let members: Vec<Vec<Member>> = block
                .iter()
                .map(|&number| clusters.members(number, 0, self.options.members.max(2)))
                .collect();
            let rows: Vec<RowNumber> = members.iter().flatten().map(|member| member.row).collect();
            let facts: HashMap<RowNumber, Facts> =
                facts_of(self.parts.rows, rows.iter().copied())?.into_iter().collect();
            let new: Vec<RowNumber> =
                rows.into_iter().filter(|row| !self.known.contains_key(row)).collect();
            let made = self.make(&new, &facts, self.options.thumbnail_px)?;
            let mut shown = Vec::with_capacity(block.len());
            for (&number, members) in block.iter().zip(&members) {
                let row = |member: &Member| {
                    let small = self.known.get(&member.row).or_else(|| made.get(&member.row));
                    Some(self.shown(member, facts.get(&member.row)?, small))
                };
                shown.push(ShownCluster { rows: members.iter().filter_map(row).collect() });
                self.note(number, freed.get(number as usize).copied().unwrap_or(0));
            }
            append(&script(&format!("c{number}"), &shown)?)?;
            let done = (CLUSTER_BLOCK * number + block.len()) as u64;
            progress(Progress { stage: "report", done, total: chosen.len() as u64 });
        }
        Ok(())
    }

    /// Notes what a cluster is sorted by.
    fn note(&mut self, number: u32, freed: u64) {
        let clusters = self.parts.clusters;
        let (edge, weakest) = clusters.weakest(number);
        let (mut labels, mut duplicates, mut from) = (0u8, 0, 0);
        loop {
            let members = clusters.members(number, from, 4096);
            if members.is_empty() {
                break;
            }
            from += members.len() as u32;
            for member in members {
                labels |= member.label.map_or(0, |label| 1 << label as u8);
                duplicates += u32::from(member.duplicate_of.is_some());
            }
        }
        let index = &mut self.index;
        index.number.push(number);
        index.size.push(clusters.size(number));
        index.duplicates.push(duplicates);
        index.weakest.push(weakest);
        index.edge.push(edge);
        index.freed.push(freed);
        index.labels.push(labels);
    }

    /// Makes the thumbnails of rows.
    fn make(
        &mut self,
        rows: &[RowNumber],
        facts: &HashMap<RowNumber, Facts>,
        longest_px: u32,
    ) -> Result<HashMap<RowNumber, Small>> {
        let pictures = self.parts.pictures;
        let one = |row: &RowNumber| {
            let facts = facts.get(row)?;
            let small = pictures.jpeg(facts, longest_px).map(|file| STANDARD.encode(file));
            Some((*row, small))
        };
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
        let made: HashMap<RowNumber, Small> =
            pool(threads)?.install(|| rows.par_iter().filter_map(one).collect());
        let good = made.values().filter(|small| small.is_ok()).count();
        self.thumbnails += good as u64;
        self.placeholders += (made.len() - good) as u64;
        Ok(made)
    }

    fn shown(&self, member: &Member, facts: &Facts, small: Option<&Small>) -> ShownRow {
        let (t, why) = match small {
            Some(Ok(small)) => (Some(small.clone()), String::new()),
            Some(Err(why)) => (None, why.clone()),
            None => (None, "no thumbnail".to_owned()),
        };
        ShownRow {
            row: member.row,
            id: facts.id.to_string(),
            key: facts.key.clone(),
            similarity: member.similarity,
            label: member.label.map(|label| label as u8),
            duplicate_of: member.duplicate_of,
            old: self.parts.rows.is_old(member.row),
            w: facts.width,
            h: facts.height,
            bytes: facts.bytes,
            t,
            why,
        }
    }

    /// The blocks by which the page starts.
    pub(super) fn index(&self, head: &ReportHead<'_>, histogram: &Histogram) -> Result<String> {
        let (least, most) = histogram.limits();
        let head = Head {
            run: &head.run,
            threshold: head.threshold,
            least,
            most,
            cluster_block: CLUSTER_BLOCK,
            pair_block: PAIR_BLOCK,
        };
        Ok(script("index", &self.index)? + &script("head", &head)?)
    }
}

/// A row that is shown as one of a pair.
fn plain(row: RowNumber) -> Member {
    Member { row, similarity: None, label: None, duplicate_of: None }
}

/// A block of JSON in the page. Nothing in it ends the block.
fn script(id: &str, data: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(data)
        .map_err(|e| Error::Invalid(format!("the report cannot be written: {e}")))?;
    let json = json.replace('<', "\\u003c");
    Ok(format!("<script type=\"application/json\" id=\"{id}\">{json}</script>\n"))
}
