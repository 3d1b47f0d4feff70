//! The end of a join: its edges, of all tasks, are handed on.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ocelli_index::{DedupIndex, DedupJob, Metric, PlanFile, WorkArea};
use serde::Serialize;
use serde_json::Value;

use super::edge_file;
use super::groups::GroupCounts;
use super::join::BELOW;
use super::label::Labels;
use super::looks::{Looker, look_at};
use super::opinion::SecondOpinion;
use super::options::Settings;
use super::row_set::RowSet;
use super::score::{RowPair, ScoreScratch, Scorer};
use super::session::{AGAINST, INDEX, Opened, edge_files, job_of, open_rows};
use super::vectors::VectorCounts;
use crate::dedup::clusters::{Scored, Similarity};
use crate::dedup::edge::{Edge, Label, RowNumber, ScoredBy};
use crate::dedup::resolve::Resolved;
use crate::dedup::rows::Edges;
use crate::threads::pool;
use crate::{ProgressFn, Result};

/// Every parameter and count of a join that its pairs depend on, and no other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinSummary {
    /// The generation of the index.
    pub index: DedupIndex,
    /// The generation of the other index, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<DedupIndex>,
    /// Rows that were there in this generation are old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Rows of all, deleted ones left out.
    pub rows: u64,
    /// The metric of scores: `l2`, a squared distance, or `ip`, an inner product. Scores of pairs
    /// are those of the metric, squared distances with their sign turned: the larger, the nearer.
    pub metric: &'static str,
    /// Scores of the metric are at least as good.
    pub threshold: f64,
    /// Lists that the rows of a list were compared with.
    pub nprobe: usize,
    /// Scores by codes of pairs that were scored again are at least as good, where rows have no
    /// vector.
    pub code_score: f64,
    /// Where they have one, a code costs at most so much beyond the row's own code: in the same
    /// list, and in others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code_beyond: Option<[f64; 2]>,
    /// What pairs are scored by, as far as all rows have it.
    pub scored_by: ScoredBy,
    /// Rows and pairs on which `code_score` and `code_beyond` were measured.
    pub margin_rows: u64,
    /// See `margin_rows`.
    pub margin_pairs: u64,
    /// Most bits in which perceptual hashes of copies differ.
    pub phash_bits: u8,
    /// The second opinion, if one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opinion: Option<String>,
    /// Nearest pairs of a row that it looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<usize>,
    /// Rows of the files of vectors.
    pub vectors: VectorCounts,
    /// Rows that are equal to others.
    pub groups: GroupCounts,
    /// Pairs that were scored again.
    pub candidates: u64,
    /// Pairs that were looked at; beside them those that clusters asked for.
    pub looked_at: u64,
    /// Pairs that were not, since a photo was not there, or not as it was when it was encoded.
    pub unseen: u64,
}

impl JoinSummary {
    fn of(job: &DedupJob, settings: &Settings, rows: &RowSet) -> Result<Self> {
        let limits = settings.code_limits()?;
        Ok(Self {
            index: job.index.clone(),
            against: job.against.clone(),
            since: settings.since,
            rows: rows.all().rows(),
            metric: rows.model().metric().as_str(),
            threshold: Settings::number(&settings.threshold)?.into(),
            nprobe: settings.nprobe,
            code_score: limits.score.into(),
            code_beyond: limits.beyond.map(|beyond| beyond.map(f64::from)),
            scored_by: settings.scored_by,
            margin_rows: settings.margin_rows,
            margin_pairs: settings.margin_pairs,
            phash_bits: settings.phash_bits,
            opinion: settings.opinion.clone(),
            looks: settings.opinion.as_ref().map(|_| settings.looks),
            vectors: settings.vectors,
            groups: settings.groups,
            candidates: 0,
            looked_at: 0,
            unseen: 0,
        })
    }
}

/// What comes of a deduplication.
#[derive(Clone, Debug, Serialize)]
pub struct DedupReport {
    /// The way in which pairs were found.
    pub join: JoinSummary,
    /// Pairs of rows whose codes were compared; 0 where the plan had been committed before.
    pub compared: u64,
    /// What became of the pairs.
    #[serde(flatten)]
    pub resolved: Resolved,
    /// Wall time.
    pub seconds: f64,
}

/// What a join has found.
pub struct Found<'a> {
    /// The rows.
    pub rows: &'a RowSet,
    /// The pairs.
    pub edges: &'a dyn Edges,
    /// Pairs that miss the threshold by least, a few.
    pub below: &'a [Edge],
    /// Scores of other pairs.
    pub similarity: &'a mut dyn Similarity,
    /// Least score of a pair. The larger a score, the nearer: squared distances have their sign
    /// turned.
    pub threshold: f32,
    /// Score of rows that are equal.
    pub best_score: f32,
    /// How the pairs were found.
    pub join: &'a JoinSummary,
    /// What the options of the plan said of it ([`super::DedupOptions::after`]).
    pub after: &'a Value,
    /// The folder that gets the files.
    pub out: &'a Path,
    /// Memory in bytes; 0: no limit.
    pub memory_bytes: usize,
}

/// Decides what becomes of the pairs, and writes the files.
pub type ResolveFn<'a> = &'a dyn Fn(Found<'_>) -> Result<Resolved>;

/// What became of a plan that was committed before: its work is gone, and its result is there.
///
/// # Errors
/// Those of opening the index.
pub(super) fn committed(file: &PlanFile) -> Result<Option<(JoinSummary, Resolved)>> {
    let Some((join, resolved)) = Resolved::read(&file.out) else { return Ok(None) };
    if WorkArea::beside(&file.out, file.hash).mark().is_some() {
        return Ok(None);
    }
    let job = job_of(file)?;
    let settings: Settings = job.settings.read()?;
    let mut expected = JoinSummary::of(job, &settings, &open_rows(file)?)?;
    // The plan does not say how many there were.
    let count = |name: &str| join.get(name).and_then(Value::as_u64).unwrap_or(0);
    expected.candidates = count("candidates");
    (expected.looked_at, expected.unseen) = (count("looked_at"), count("unseen"));
    // Numbers are read as those of the file were.
    let text = serde_json::to_string(&expected).unwrap_or_default();
    let is_of_plan = serde_json::from_str::<Value>(&text).is_ok_and(|expected| expected == join);
    Ok(is_of_plan.then_some((expected, resolved)))
}

/// A score of the metric as edges have it.
pub(super) fn edge_score(metric: Metric) -> fn(f32) -> f32 {
    match metric {
        Metric::L2 => |score| -score,
        Metric::InnerProduct => |score| score,
    }
}

/// The edges of a plan, which are read again and again.
struct PlanEdges {
    files: Vec<PathBuf>,
    /// The file of those that were looked at.
    looks: Option<PathBuf>,
    score: fn(f32) -> f32,
    threshold: f32,
}

impl PlanEdges {
    fn each_of(
        &self,
        is_wanted: impl Fn(&Edge) -> bool,
        take: &mut dyn FnMut(&Edge) -> Result<()>,
    ) -> Result<()> {
        let mut edges = edge_file::Edges::open(&self.files)?;
        let mut looks = edge_file::Edges::open(self.looks.as_slice())?;
        let mut look = looks.next_edge()?;
        while let Some(mut edge) = edges.next_edge()? {
            edge.score = (self.score)(edge.score);
            if let Some(looked) = look.filter(|look| (look.a, look.b) == (edge.a, edge.b)) {
                (edge.label, edge.agreement) = (looked.label, looked.agreement);
                look = looks.next_edge()?;
            }
            if is_wanted(&edge) {
                take(&edge)?;
            }
        }
        Ok(())
    }

    /// Those that miss the threshold by least, of all tasks, in ascending order of their rows, with
    /// their labels.
    fn below(&self, again: &ScoredAgain<'_>) -> Result<Vec<Edge>> {
        let mut below = Vec::new();
        self.each_of(|edge| !edge.counts(self.threshold), &mut |edge| {
            below.push(*edge);
            Ok(())
        })?;
        // Rows break ties, as they did in the tasks.
        below.sort_by(|a: &Edge, b| b.score.total_cmp(&a.score).then((a.a, a.b).cmp(&(b.a, b.b))));
        below.truncate(BELOW);
        below.sort_unstable_by_key(|edge| (edge.a, edge.b));
        let scored: Vec<(RowPair, f32, ScoredBy)> =
            below.iter().map(|edge| ((edge.a, edge.b), edge.score, edge.scored_by)).collect();
        again.labelled(&scored, true)
    }
}

impl Edges for PlanEdges {
    fn each(&self, take: &mut dyn FnMut(&Edge) -> Result<()>) -> Result<()> {
        self.each_of(|edge| edge.counts(self.threshold), take)
    }
}

/// The name of the file of all pairs, where tasks have left many.
const ALL_PAIRS: &str = "pairs";

/// Scores pairs as the join does.
struct ScoredAgain<'a> {
    pool: &'a rayon::ThreadPool,
    scorer: &'a Scorer<'a>,
    labels: &'a Labels<'a>,
    looker: Option<&'a Looker<'a>>,
    score: fn(f32) -> f32,
    /// Least score of a pair that is near.
    least: f32,
}

impl ScoredAgain<'_> {
    /// The edges of pairs, which with `look` are looked at.
    fn labelled(&self, scored: &[(RowPair, f32, ScoredBy)], look: bool) -> Result<Vec<Edge>> {
        let mut edges = self.labels.edges(scored)?;
        if let Some(looker) = self.looker.filter(|_| look) {
            self.pool.install(|| looker.look(&mut edges))?;
        }
        Ok(edges)
    }
}

impl Similarity for ScoredAgain<'_> {
    fn ask(&mut self, pairs: &[(RowNumber, RowNumber)], look: bool) -> Result<Vec<Option<Scored>>> {
        let mut sorted: Vec<RowPair> = pairs.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut scored: Vec<(RowPair, f32, ScoredBy)> = Vec::with_capacity(sorted.len());
        self.scorer.score(&sorted, &mut ScoreScratch::default(), |i, score, by| {
            scored.push((sorted[i], score, by));
        })?;
        // What is not near enough is not looked at.
        let is_near = |&(_, score, _): &(RowPair, f32, ScoredBy)| (self.score)(score) >= self.least;
        let (near, far): (Vec<_>, Vec<_>) = scored.into_iter().partition(is_near);
        let mut edges = self.labelled(&near, look)?;
        edges.extend(far.iter().map(|&((a, b), score, scored_by)| Edge {
            a,
            b,
            score,
            scored_by,
            label: Label::Near,
            phash_distance: None,
            agreement: None,
        }));
        edges.sort_unstable_by_key(|edge| (edge.a, edge.b));
        let found = |&(a, b): &(RowNumber, RowNumber)| {
            let pair = (a.min(b), a.max(b));
            let at = edges.binary_search_by_key(&pair, |edge| (edge.a, edge.b)).ok()?;
            Some(Scored { score: (self.score)(edges[at].score), label: edges[at].label })
        };
        Ok(pairs.iter().map(found).collect())
    }
}

/// Removes the marks of a plan in its indexes. One that is read-only has none.
pub(super) fn remove_marks(file: &PlanFile) {
    for place in [INDEX, AGAINST].into_iter().filter_map(|name| file.places.get(name)) {
        let _ = WorkArea::new(place, file.hash).remove();
    }
}

/// Looks at the nearest pairs of the plan in `path`, hands its edges on to `resolve`, and removes
/// what its tasks have left.
///
/// # Errors
/// Tasks that have not ended; files that have changed; those of `resolve`.
pub(super) fn finish(
    path: &Path,
    file: PlanFile,
    (threads, budget_bytes): (usize, usize),
    opinion: Option<&dyn SecondOpinion>,
    (resolve, progress): (ResolveFn<'_>, ProgressFn<'_>),
) -> Result<DedupReport> {
    let start = Instant::now();
    let (files, sums) = edge_files(path, &file)?;
    let opened = Opened::new(file, 1, budget_bytes)?;
    let (scorer, labels) = (opened.scorer(), opened.labels()?);
    let looker = opened.looker(opinion)?;
    let mut join = JoinSummary::of(&opened.job, &opened.settings, &opened.rows)?;
    join.candidates = sums.candidates;
    let metric = opened.rows.model().metric();
    let score = edge_score(metric);
    let all = opened.work.folder().join(ALL_PAIRS);
    let files = edge_file::merged(files, &all, opened.sort_memory())?;
    let threshold = score(Settings::number(&opened.settings.threshold)?);
    let mut edges = PlanEdges { files, looks: None, score, threshold };
    let pool = &pool(threads)?;
    if let Some(looker) = &looker {
        let place = (opened.work.folder(), opened.sort_memory());
        let (looks, counts) =
            look_at(&edges, looker, opened.settings.looks, place, (pool, progress))?;
        edges.looks = Some(looks);
        (join.looked_at, join.unseen) = (counts.looked_at, counts.unseen);
    }
    let (looker, least) = (looker.as_ref(), threshold);
    let mut similarity =
        ScoredAgain { pool, scorer: &scorer, labels: &labels, looker, score, least };
    let below = edges.below(&similarity)?;
    let resolved = resolve(Found {
        rows: &opened.rows,
        edges: &edges,
        below: &below,
        similarity: &mut similarity,
        threshold,
        best_score: match metric {
            Metric::L2 => 0.0,
            Metric::InnerProduct => 1.0,
        },
        join: &join,
        after: &opened.settings.after,
        out: &opened.file.out,
        memory_bytes: budget_bytes,
    })?;
    remove_marks(&opened.file);
    opened.work.remove()?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(DedupReport { join, compared: sums.compared, resolved, seconds })
}
