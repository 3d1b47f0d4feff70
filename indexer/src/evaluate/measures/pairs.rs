//! Micro average precision: one ranking of the pairs of all queries.

use serde::Serialize;

use super::Ties;

/// A query and an image that a search found for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Score; higher is more similar. Never NaN.
    pub score: f32,
    /// The query's number.
    pub query: u32,
    /// Whether the image is one that the query should find.
    pub positive: bool,
}

/// The best pairs of all queries, in bounded memory: at most three times the limit.
#[derive(Clone, Debug)]
pub struct Pairs {
    limit: usize,
    /// In the order of pushing. After [`Self::prune`] it has whatever any [`Ties`] may want of the
    /// best `limit`, which are at most `2 * limit`.
    kept: Vec<Pair>,
    pushed: usize,
}

/// Micro average precision and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MicroAp {
    /// µAP, 0 to 1. 0 without positives.
    pub micro_ap: f64,
    /// Highest recall at which the precision is at least 0.9; None if it never is.
    pub recall_at_p90: Option<f64>,
    /// Score of the last pair of that recall: pairs from it on are the answer.
    pub threshold_at_p90: Option<f32>,
    /// Pairs that were judged.
    pub pairs: usize,
    /// Whether more pairs were found than the limit, so that the worst were left out.
    pub cut: bool,
}

impl Pairs {
    /// No pairs yet. The best `limit` are judged; DISC21 allows 500,000.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), pushed: 0 }
    }

    /// Adds a pair. A score that is NaN is the lowest, minus infinity: files with such scores are
    /// refused where they are read.
    pub fn push(&mut self, score: f32, positive: bool, query: u32) {
        let score = if score.is_nan() { f32::NEG_INFINITY } else { score };
        self.kept.push(Pair { score, query, positive });
        self.pushed += 1;
        if self.kept.len() >= self.limit.saturating_mul(3).max(1) {
            self.prune();
        }
    }

    /// Forgets the pairs that are not among the best `limit` under any [`Ties`]. Of those that
    /// equal the last score, `limit` are positive or negative at most, whichever come first.
    fn prune(&mut self) {
        let limit = self.limit;
        if self.kept.len() <= limit {
            return;
        }
        let Some(last) = limit.checked_sub(1) else {
            self.kept.clear();
            return;
        };
        let mut scores: Vec<f32> = self.kept.iter().map(|pair| pair.score).collect();
        let (_, &mut last, _) = scores.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
        let above = self.kept.iter().filter(|pair| pair.score > last).count();
        let mut places = [limit - above; 2];
        self.kept.retain(|pair| {
            let equals = &mut places[usize::from(pair.positive)];
            // Zeros of both signs are equal.
            if pair.score != last {
                return pair.score > last;
            }
            let place = *equals > 0;
            *equals = equals.saturating_sub(1);
            place
        });
    }

    /// The pairs that are judged, best first.
    ///
    /// Of equal scores, with [`Ties::Against`] negatives come first, with [`Ties::For`] positives,
    /// and with [`Ties::Order`] what was pushed first. So it is at the limit too.
    pub fn ranked(&self, ties: Ties) -> Vec<Pair> {
        let mut ranked = self.kept.clone();
        // The sort is stable, so equals stay in the order of pushing.
        ranked.sort_by(|a, b| {
            let scores = b.score.partial_cmp(&a.score).unwrap_or(std::cmp::Ordering::Equal);
            scores.then(match ties {
                Ties::Against => a.positive.cmp(&b.positive),
                Ties::For => b.positive.cmp(&a.positive),
                Ties::Order => std::cmp::Ordering::Equal,
            })
        });
        ranked.truncate(self.limit);
        ranked
    }

    /// Micro average precision: all pairs are one ranking, and each positive pair in it adds the
    /// precision at its place; the sum is divided by `positives`, the number of all pairs that
    /// exist. 0 to 1.
    ///
    /// Source: Douze et al., *The 2021 Image Similarity Dataset and Challenge* (DISC21), and its
    /// program: ties count against. The recall at precision 0.9 is the highest of any prefix of
    /// the ranking whose precision is at least 0.9.
    pub fn finish(&self, positives: usize, ties: Ties) -> MicroAp {
        let ranked = self.ranked(ties);
        let (mut sum, mut found) = (0.0, 0usize);
        let mut best: Option<(usize, f32)> = None;
        for (place, pair) in ranked.iter().enumerate() {
            if !pair.positive {
                continue;
            }
            found += 1;
            let precision = found as f64 / (place + 1) as f64;
            sum += precision;
            // A prefix that ends in a negative has the recall of a shorter one and less precision.
            if precision >= 0.9 {
                best = Some((found, pair.score));
            }
        }
        let of_all = |part: f64| if positives == 0 { 0.0 } else { part / positives as f64 };
        MicroAp {
            micro_ap: of_all(sum),
            recall_at_p90: best.map(|(found, _)| of_all(found as f64)),
            threshold_at_p90: best.map(|(_, score)| score),
            pairs: ranked.len(),
            cut: self.pushed > self.limit,
        }
    }
}
