//! How far apart the codes of near rows may be: measured on pairs of the index.
//!
//! A join compares codes, and what it finds is scored again by something finer. A pair that is near
//! must then be near by its codes too, or it is lost. So a ceiling is measured: lists are drawn by
//! a fixed seed, and some of their rows look for others as they do in the join, in all lists that
//! it compares, at first without a ceiling. The nearest of what each finds are scored, and some of
//! the rest. Of the pairs that reach the threshold, nearly all have codes within the ceiling. Where
//! such pairs are few, the nearest others say by how much codes are off.
//!
//! A row whose vector is known is compared as it is with what codes decode to. Then the error of
//! its own code is known too, and the code of a near row has nearly the same one. So the ceiling is
//! what the other code may cost beyond the row's own (docs/decisions/0049). In another list the
//! error is larger, so that there are two ceilings.

use ocelli_index::{
    Ceiling, FineKind, JoinPlan, Metric, Model, Pair, Row, Scratch, Seeking, Snapshot,
};
use rayon::prelude::*;

use super::row_set::RowSet;
use super::score::{RowPair, ScoreScratch, Scorer};
use crate::dedup::edge::{RowNumber, ScoredBy};
use crate::error::{Keep, carry};
use crate::least::{Least, Total};
use crate::sample::SplitMix64;
use crate::{Error, Result};

/// Lists that are drawn at a time, and at most: as long as few pairs reach the threshold.
const LISTS: (usize, usize) = (128, 2048);
/// Most rows of a list that are compared with others: at least, and so many of all lists.
const SEEKERS: (usize, usize) = (16, 2048);
/// Pairs of a row that are scored: those that are nearest by their codes; for a row whose vector is
/// known, which ranks near ones before others, and for one that is compared decoded.
const SCORED: (usize, usize) = (256, 2048);
/// Once the first lists have told, codes are looked at that are so many times as far beyond the
/// threshold as the ceiling is.
const FARTHER: f32 = 2.0;
/// Pairs of a row that are scored besides, drawn from the rest.
const DRAWN_PAIRS: usize = 64;
/// Pairs that reach the threshold and are enough.
const ENOUGH: usize = 1_000;
/// Fewest pairs that decide alone: of fewer, all must be within the ceiling, which says little.
const FEWEST: usize = 500;
/// Pairs near the threshold that say by how much codes are off, where few reach it.
const NEAREST: usize = 500;
/// Pairs of a row that are kept though they do not reach the threshold.
const KEPT_OTHERS: usize = 8;
/// Rows that are drawn: for their lists, and for the length of vectors.
const DRAWN: usize = 4_000;
/// Share of the near pairs whose codes are within the ceiling.
const KEPT: f64 = 0.998;
/// Share of a vector's squared norm that sums of floats may be off by.
const ROUNDING: f32 = 1e-5;
/// The seed of the draw.
const SEED: u64 = 21;

/// How near the codes of rows are that are scored again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeLimits {
    /// The worst score of two decoded rows.
    pub score: f32,
    /// What a decoded row costs at most, for a row whose vector is known, beyond what that one's
    /// own code costs: in the same list, and in another. None: no vectors are known.
    pub beyond: Option<[f32; 2]>,
}

impl CodeLimits {
    /// What is asked of others by a row whose vector is known, or not.
    pub(super) fn ceiling(&self, is_known: bool) -> Ceiling {
        match self.beyond.filter(|_| is_known) {
            Some(beyond) => Ceiling::Beyond(beyond),
            None => Ceiling::Score(self.score),
        }
    }
}

/// The ceilings of codes, and what they were measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Margin {
    /// The ceilings.
    pub limits: CodeLimits,
    /// What pairs are scored by, as far as all rows have it.
    pub scored_by: ScoredBy,
    /// Rows that were compared with others.
    pub rows: u64,
    /// Pairs of these that reach the threshold.
    pub pairs: u64,
    /// Mean squared norm of the drawn rows as their codes decode them.
    pub norm_sq: f32,
}

/// A pair by its costs.
#[derive(Clone, Copy)]
struct Measured {
    rows: RowPair,
    exact: f32,
    /// The cost of both decoded.
    code: f32,
    /// The cost of one decoded beyond that of the other's own code.
    beyond: f32,
    /// Whether they are in one list.
    is_own: bool,
}

/// Measures the ceiling for pairs of rows of `joined` (rows of the scorer without those that others
/// stand for) that reach `threshold`.
///
/// # Errors
/// Damaged files.
pub(super) fn measure(
    joined: &Snapshot,
    scorer: &Scorer<'_>,
    threshold: f32,
    (plan, all_known): (&JoinPlan, bool),
    pool: &rayon::ThreadPool,
) -> Result<Margin> {
    let rows = scorer.rows;
    let drawn = draw_seekers(rows, joined);
    let (metric, scored_by) = (scorer.metric(), scorer.common_source());
    let norm_sq = mean_norm_sq(rows, &drawn)?;
    let cost = metric.cost(threshold);
    let slack = ROUNDING * (norm_sq + cost.abs());
    let limits = CodeLimits { score: metric.score(cost + slack), beyond: None };
    let mut margin = Margin { limits, scored_by, rows: 0, pairs: 0, norm_sq };
    if scored_by == ScoredBy::Codes {
        return Ok(margin);
    }
    let lists = lists_of(joined, rows, &drawn)?;
    // What a vector costs for itself. Inner products of vectors of other lengths have none.
    let own_cost = match (metric, is_unit(rows)) {
        (Metric::L2, _) => Some(0.0),
        (Metric::InnerProduct, true) => Some(-1.0),
        (Metric::InnerProduct, false) => None,
    };
    let own_cost = own_cost.filter(|_| scored_by == ScoredBy::Vectors && all_known);
    let plan = &plan.both_ways();
    let far = CodeLimits {
        score: metric.score(f32::INFINITY),
        beyond: own_cost.map(|_| [f32::INFINITY; 2]),
    };
    let scored = if own_cost.is_some() { SCORED.0 } else { SCORED.1 };
    let seekers = SEEKERS.0.max(SEEKERS.1 / lists.len().max(1));
    let sample = Sample { joined, scorer, cost, plan, far, scored, seekers, own_cost, slack };
    (margin.rows, margin.pairs, margin.limits) = sample.limits(&lists, pool)?;
    Ok(margin)
}

/// Rows that look for others, drawn by a fixed seed, in an order of chance.
fn draw_seekers(rows: &RowSet, joined: &Snapshot) -> Vec<RowNumber> {
    let is_out = |number| {
        let row = rows.row(number);
        joined.deleted(row.shard).is_some_and(|out| out.contains(row.ordinal))
    };
    let mut count = 0u64;
    rows.each_seeker(|number| count += u64::from(!is_out(number)));
    let drawn = draw(count, DRAWN);
    let (mut seekers, mut next, mut at) = (Vec::new(), drawn.iter().peekable(), 0u64);
    rows.each_seeker(|number| {
        if is_out(number) {
            return;
        }
        if next.next_if(|&&drawn| drawn == at).is_some() {
            seekers.push(number);
        }
        at += 1;
    });
    shuffle(&mut seekers);
    seekers
}

/// The lists of some rows, each once, in the order of the rows.
fn lists_of(joined: &Snapshot, rows: &RowSet, numbers: &[RowNumber]) -> Result<Vec<u32>> {
    let mut lists = Vec::new();
    let shards: Vec<_> = joined.shards().collect();
    for &number in numbers {
        let row = rows.row(number);
        let (list, _) = shards[row.shard as usize].code(row.ordinal)?;
        if !lists.contains(&list) {
            lists.push(list);
        }
        if lists.len() == LISTS.1 {
            break;
        }
    }
    Ok(lists)
}

/// At most `most` of the numbers below `count`, ascending, by a fixed seed.
fn draw(count: u64, most: usize) -> Vec<u64> {
    if count <= most as u64 {
        return (0..count).collect();
    }
    let (mut numbers, mut drawn) = (SplitMix64::new(SEED), Vec::new());
    while drawn.len() < most {
        let wanted = most - drawn.len();
        drawn.extend((0..wanted).map(|_| (numbers.fraction() * count as f64) as u64 % count));
        drawn.sort_unstable();
        drawn.dedup();
    }
    drawn
}

/// Puts rows into an order that has nothing to do with their numbers, the same each time.
fn shuffle(rows: &mut [RowNumber]) {
    let key = |row: &RowNumber| SplitMix64::new(SEED ^ row).next();
    rows.sort_by_cached_key(key);
}

/// Mean squared norm of decoded rows.
fn mean_norm_sq(rows: &RowSet, numbers: &[RowNumber]) -> Result<f32> {
    let (mut sum, mut z) = (0.0f64, Vec::new());
    for &number in numbers {
        z.clear();
        rows.all().decode_row(rows.row(number), false, &mut z)?;
        sum += f64::from(ocelli_vector::dense::norm_sq(&z));
    }
    Ok((sum / numbers.len().max(1) as f64) as f32)
}

/// Pairs that are looked at.
struct Sample<'a> {
    joined: &'a Snapshot,
    scorer: &'a Scorer<'a>,
    cost: f32,
    /// The lists that the join compares, each with all of them.
    plan: &'a JoinPlan,
    /// How near the codes of pairs are that are looked at.
    far: CodeLimits,
    /// Pairs of a row that are scored.
    scored: usize,
    /// Rows of a list that are compared with others.
    seekers: usize,
    /// The cost of a vector for itself, where rows are compared as they are.
    own_cost: Option<f32>,
    /// What sums of floats may be off by.
    slack: f32,
}

/// A row that was found, by what it costs beyond the seeker's own code.
type Other = (Total, RowNumber);

/// Rows that one row has found: the nearest by their codes, and some of the rest, so that a row
/// with more near ones than are kept tells how far their codes are, too.
#[derive(Clone)]
struct Others {
    best: Least<Other>,
    /// By a hash each.
    drawn: Least<(u64, Other)>,
}

impl Others {
    fn new(most: usize) -> Self {
        Self { best: Least::new(most), drawn: Least::new(DRAWN_PAIRS) }
    }

    fn push(&mut self, other: Other) {
        if let Some((far, ())) = self.best.push(other, ()) {
            self.drawn.push((SplitMix64::new(SEED ^ far.1).next(), far), ());
        }
    }
}

/// A join of the sample, as the index asks for what it needs.
struct Side<'a, 'k> {
    sample: &'a Sample<'a>,
    /// Ascending.
    seekers: &'a [RowNumber],
    /// The rows that each of them has found.
    found: Vec<Others>,
    keep: &'a mut Keep<'k>,
}

impl Side<'_, '_> {
    fn seeker(&self, row: Row) -> Option<usize> {
        self.seekers.binary_search(&self.sample.scorer.rows.number(row)).ok()
    }
}

impl Seeking for Side<'_, '_> {
    fn seeks(&self, row: Row) -> bool {
        self.seeker(row).is_some()
    }

    fn ceiling(&self, _: Row, is_known: bool) -> Ceiling {
        self.sample.far.ceiling(is_known)
    }

    fn vectors(&mut self, rows: &[Row]) -> ocelli_index::Result<Vec<Option<Vec<f32>>>> {
        if self.sample.far.beyond.is_none() {
            return Ok(vec![None; rows.len()]);
        }
        self.sample.scorer.vectors_of(rows, &mut ScoreScratch::default(), self.keep)
    }

    fn take(&mut self, pairs: &mut Vec<Pair>) -> ocelli_index::Result<()> {
        let scorer = self.sample.scorer;
        for pair in pairs.drain(..) {
            let Some(found) = self.seeker(pair.a).map(|at| &mut self.found[at]) else { continue };
            found.push((Total(pair.beyond), scorer.rows.number(pair.b)));
        }
        Ok(())
    }
}

impl Sample<'_> {
    /// Rows that were compared, pairs of them that reach the threshold, and the ceilings that these
    /// give.
    fn limits(mut self, lists: &[u32], pool: &rayon::ThreadPool) -> Result<(u64, u64, CodeLimits)> {
        let (mut rows, mut near, mut measured) = (0, 0, Vec::new());
        for lists in lists.chunks(LISTS.0) {
            let sample = &self;
            let of_lists: Vec<(usize, Vec<Measured>)> = pool.install(|| {
                let of_list = |scratch: &mut Scratch, &list: &u32| sample.of_list(list, scratch);
                lists.par_iter().map_init(Scratch::default, of_list).collect::<Result<_>>()
            })?;
            for (seekers, pairs) in of_lists {
                rows += seekers as u64;
                measured.extend(pairs);
            }
            // Of a pair that was found from both sides, the side on which it is harder to find.
            measured.sort_unstable_by(|a: &Measured, b| {
                a.rows.cmp(&b.rows).then(b.beyond.total_cmp(&a.beyond))
            });
            measured.dedup_by_key(|pair| pair.rows);
            near = measured.iter().filter(|pair| pair.exact <= self.cost).count() as u64;
            if near >= ENOUGH as u64 {
                break;
            }
            self.far = self.farther(self.ceilings(&measured));
        }
        Ok((rows, near, self.ceilings(&measured)))
    }

    /// The ceilings that pairs give.
    fn ceilings(&self, measured: &[Measured]) -> CodeLimits {
        let costs = |pair: &Measured| (pair.exact, pair.code, pair.rows);
        let of_codes = ceiling(measured.iter().map(costs).collect(), self.cost);
        let beyond = |own_cost: f32, is_own: bool| {
            let of = measured.iter().filter(|pair| pair.is_own == is_own);
            let costs = |pair: &Measured| (pair.exact - own_cost, pair.beyond, pair.rows);
            ceiling(of.map(costs).collect(), self.cost - own_cost).max(0.0) + self.slack
        };
        let both = |own_cost: f32| [true, false].map(|is_own| beyond(own_cost, is_own));
        CodeLimits {
            score: self.scorer.metric().score(of_codes.max(self.cost) + self.slack),
            beyond: self.own_cost.map(both),
        }
    }

    /// Limits beyond ceilings, for lists that are looked at after the first ones.
    fn farther(&self, limits: CodeLimits) -> CodeLimits {
        let metric = self.scorer.metric();
        let far = |found: f32, least: f32| least + FARTHER * (found - least).max(self.slack);
        let beyond = |own_cost: f32, found: [f32; 2]| {
            let far = found.map(|found| far(found, self.cost - own_cost));
            [far[0].max(far[1]); 2]
        };
        CodeLimits {
            score: metric.score(far(metric.cost(limits.score), self.cost)),
            beyond: self.own_cost.zip(limits.beyond).map(|(own, found)| beyond(own, found)),
        }
    }

    /// The number of rows of a list that were compared, and the pairs of them with rows of the
    /// lists that the join compares: those that reach the threshold, and the nearest others.
    fn of_list(&self, list: u32, scratch: &mut Scratch) -> Result<(usize, Vec<Measured>)> {
        let seekers = spread(&self.seekers_of(list)?, self.seekers);
        let found = carry(|keep| {
            let found = vec![Others::new(self.scored); seekers.len()];
            let mut side = Side { sample: self, seekers: &seekers, found, keep };
            let pairs = &mut Vec::new();
            self.joined.join_list_by(self.plan, list, &mut side, None, scratch, pairs)?;
            Ok(side.found)
        })?;
        let mut pairs: Vec<(RowPair, f32)> = Vec::new();
        for (&seeker, found) in seekers.iter().zip(found) {
            let drawn = found.drawn.into_entries().map(|((_, other), ())| other);
            let all = found.best.into_entries().map(|(other, ())| other).chain(drawn);
            pairs.extend(
                all.map(|(Total(beyond), other)| ((seeker.min(other), seeker.max(other)), beyond)),
            );
        }
        pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        pairs.dedup_by_key(|pair| pair.0);
        Ok((seekers.len(), self.costs(&pairs, seekers.len())?))
    }

    /// Rows of a list that look for others, ascending.
    fn seekers_of(&self, list: u32) -> Result<Vec<RowNumber>> {
        let mut numbers = Vec::new();
        for (shard, of_shard) in (0u32..).zip(self.joined.shards()) {
            let (entry, out) = (of_shard.list(list)?, self.joined.deleted(shard));
            for slot in entry.first..entry.first.saturating_add(entry.len) {
                let row = Row { shard, ordinal: of_shard.ordinal(slot)? };
                let is_out = out.is_some_and(|out| out.contains(row.ordinal));
                if !is_out && !self.scorer.rows.is_old(row) {
                    numbers.push(self.scorer.rows.number(row));
                }
            }
            of_shard.intact()?;
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The costs of those of the pairs of so many rows that are kept; each pair has what it costs
    /// beyond the own code of a row.
    fn costs(&self, pairs: &[(RowPair, f32)], seekers: usize) -> Result<Vec<Measured>> {
        let (metric, wanted) = (self.scorer.metric(), self.scorer.common_source());
        let mut scratch = ScoreScratch::default();
        let rows: Vec<RowPair> = pairs.iter().map(|&(rows, _)| rows).collect();
        let (mut kept, mut others): (Vec<Measured>, Vec<Measured>) = (Vec::new(), Vec::new());
        self.scorer.score(&rows, &mut scratch, |i, score, by| {
            let (rows, beyond) = pairs[i];
            let exact = metric.cost(score);
            let pair = Measured { rows, exact, code: 0.0, beyond, is_own: false };
            // Rows that lack a vector say nothing about those that have one.
            if by == wanted && pair.exact.is_finite() {
                let is_near = pair.exact <= self.cost;
                if is_near { &mut kept } else { &mut others }.push(pair);
            }
        })?;
        let order =
            |a: &Measured, b: &Measured| a.exact.total_cmp(&b.exact).then(a.rows.cmp(&b.rows));
        let most = KEPT_OTHERS * seekers;
        if others.len() > most && most > 0 {
            others.select_nth_unstable_by(most - 1, order);
            others.truncate(most);
        }
        kept.extend(others);
        kept.sort_unstable_by_key(|pair| pair.rows);
        let by_codes: Vec<RowPair> = kept.iter().map(|pair| pair.rows).collect();
        self.scorer.score_by_codes(&by_codes, &mut scratch, |i, score| {
            kept[i].code = metric.cost(score);
        })?;
        kept.retain(|pair| pair.code.is_finite());
        for pair in &mut kept {
            pair.is_own = self.list(pair.rows.0)? == self.list(pair.rows.1)?;
        }
        Ok(kept)
    }

    /// The list of a row.
    fn list(&self, number: RowNumber) -> Result<Option<u32>> {
        let row = self.scorer.rows.row(number);
        let shard = self.scorer.rows.all().shards().nth(row.shard as usize);
        Ok(shard.map(|shard| shard.code(row.ordinal)).transpose()?.map(|(list, _)| list))
    }
}

/// At most `most` of the rows, evenly spread.
fn spread(rows: &[RowNumber], most: usize) -> Vec<RowNumber> {
    match rows.len() <= most {
        true => rows.to_vec(),
        false => (0..most).map(|i| rows[i * rows.len() / most]).collect(),
    }
}

/// The cost by codes that nearly all pairs have at most whose exact cost is at most `cost`, of
/// pairs with both costs.
fn ceiling(mut measured: Vec<(f32, f32, RowPair)>, cost: f32) -> f32 {
    let mut near: Vec<f32> =
        measured.iter().filter(|&&(exact, ..)| exact <= cost).map(|&(_, code, _)| code).collect();
    let of_near = quantile(&mut near).unwrap_or(cost);
    if near.len() >= FEWEST {
        return of_near;
    }
    measured.sort_unstable_by(|a, b| {
        let distance = |pair: &(f32, f32, RowPair)| (pair.0 - cost).abs();
        distance(a).total_cmp(&distance(b)).then(a.2.cmp(&b.2))
    });
    let nearest = &measured[..measured.len().min(NEAREST)];
    let mut off: Vec<f32> = nearest.iter().map(|&(exact, code, _)| code - exact).collect();
    of_near.max(cost + quantile(&mut off).unwrap_or(0.0))
}

/// The value that [`KEPT`] of the values are at most; of few values the largest.
fn quantile(values: &mut [f32]) -> Option<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let rank = (KEPT * (values.len() + 1) as f64).ceil() as usize;
    values.get(rank.clamp(1, values.len().max(1)) - 1).copied()
}

/// Refuses a threshold that no pair has, or that codes cannot tell.
///
/// # Errors
/// The threshold, with the nearest that can be used.
pub(super) fn check_threshold(rows: &RowSet, threshold: f32) -> Result<()> {
    let model = rows.model();
    let is_unit = is_unit(rows);
    let (least, most) = match (model.metric(), is_unit) {
        (Metric::L2, false) => (0.0, f32::MAX),
        (Metric::L2, true) => (0.0, 4.0),
        (Metric::InnerProduct, false) => (f32::MIN, f32::MAX),
        (Metric::InnerProduct, true) => (-1.0, 1.0),
    };
    if (least..=most).contains(&threshold) {
        return Ok(());
    }
    let what = match (model.metric(), is_unit) {
        (Metric::L2, true) => "a squared distance from 0 to 4",
        (Metric::L2, false) => "a squared distance, 0 or more",
        (Metric::InnerProduct, true) => "a cosine from -1 to 1",
        (Metric::InnerProduct, false) => "an inner product, a finite number",
    };
    Err(Error::Invalid(format!("threshold: expected {what}, found {threshold}")))
}

/// Whether scores are those of vectors of length 1.
pub(super) fn is_unit(rows: &RowSet) -> bool {
    let p = rows.model().parts();
    p.renormalize || matches!(p.spec, ocelli_index::DescriptorSpec::Network(_))
}

/// The squared distance below which codes tell little: twice the squared error of a decoded row, as
/// it was measured when the model was trained, or else as codebooks say.
fn resolution_sq(model: &Model, finer: bool) -> f64 {
    // The cosine is that of the codes that are scanned.
    let finer = finer && model.fine_codec().is_some_and(|codec| codec.kind() != FineKind::Cosine);
    let measured = model.parts().training.get("mse").and_then(|mse| mse.parse::<f64>().ok());
    match measured.filter(|mse| !finer && mse.is_finite()) {
        Some(mse) => 2.0 * mse,
        None => model.resolution_sq(finer),
    }
}

/// Refuses a threshold that codes cannot tell, where pairs are scored by them.
///
/// # Errors
/// The threshold, with the nearest that can be used.
pub(super) fn check_resolution(rows: &RowSet, margin: &Margin, threshold: f32) -> Result<()> {
    let model = rows.model();
    let (finer, codes) = match margin.scored_by {
        ScoredBy::Codes => (false, "codes"),
        ScoredBy::FineCodes => (true, "finer codes"),
        ScoredBy::Hash | ScoredBy::Vectors | ScoredBy::Images => return Ok(()),
    };
    let step = resolution_sq(model, finer) as f32;
    let norm_sq = if is_unit(rows) { 1.0 } else { margin.norm_sq };
    let (nearest, is_sound) = match model.metric() {
        Metric::L2 => (step, threshold >= step),
        Metric::InnerProduct => (norm_sq - step / 2.0, threshold <= norm_sq - step / 2.0),
    };
    if is_sound {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "threshold {threshold}: the {codes} of the index cannot tell rows that are so near apart; \
         expected --vectors with the files that the index was built of, or {} {nearest:.4}",
        match model.metric() {
            Metric::L2 => "a threshold of at least",
            Metric::InnerProduct => "a threshold of at most",
        }
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(exact: f32, code: f32, row: u64) -> (f32, f32, RowPair) {
        (exact, code, (row, row + 1))
    }

    /// Many near pairs decide alone; few of them together with those around the threshold.
    #[test]
    fn the_ceiling_keeps_nearly_all_near_pairs() {
        let mut many: Vec<_> = (0..1000).map(|i| pair(0.5, i as f32 / 1000.0, i)).collect();
        many.push(pair(2.0, 90.0, 5000));
        assert_eq!(ceiling(many, 1.0), 0.998);
        let mut few: Vec<_> = (0..50).map(|i| pair(0.5, 0.7, i)).collect();
        few.extend((0..600).map(|i| pair(1.5 + i as f32 * 0.01, 1.8 + i as f32 * 0.01, 100 + i)));
        let found = ceiling(few, 1.0);
        assert!((found - 1.3).abs() < 1e-4, "{found}");
        assert_eq!(ceiling(Vec::new(), 1.0), 1.0);
        assert_eq!(ceiling(vec![pair(0.5, 4.0, 1)], 1.0), 4.5);
    }

    #[test]
    fn rows_are_drawn_alike_each_time() {
        assert_eq!(draw(3, 10), [0, 1, 2]);
        let drawn = draw(1_000_000, 500);
        assert_eq!(drawn.len(), 500);
        assert!(drawn.is_sorted_by(|a, b| a < b) && drawn[499] < 1_000_000);
        assert_eq!(drawn, draw(1_000_000, 500));
    }
}
