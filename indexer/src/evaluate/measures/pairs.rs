//! Micro average precision: one ranking of the pairs of all queries.

use serde::Serialize;

use super::Ties;

/// A query and an image that a search found for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Score; higher is more similar. Never NaN.
    pub score: f64,
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
    /// The last score that had a place; no lower one gets one.
    floor: f64,
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
    pub threshold_at_p90: Option<f64>,
    /// Pairs that were judged.
    pub pairs: usize,
    /// Whether more pairs were found than the limit, so that the worst were left out.
    pub cut: bool,
}

impl Pairs {
    /// No pairs yet. The best `limit` are judged; DISC21 allows 500,000.
    pub fn new(limit: usize) -> Self {
        Self { limit, kept: Vec::new(), floor: f64::NEG_INFINITY, pushed: 0 }
    }

    /// Adds a pair. A score that is NaN is the lowest, minus infinity: files with such scores are
    /// refused where they are read.
    pub fn push(&mut self, score: f64, positive: bool, query: u32) {
        let score = if score.is_nan() { f64::NEG_INFINITY } else { score };
        self.pushed += 1;
        if score < self.floor {
            return;
        }
        self.kept.push(Pair { score, query, positive });
        if self.kept.len() >= self.limit.saturating_mul(3).max(1) {
            self.prune();
        }
    }

    /// Forgets the pairs that are not among the best `limit` under any [`Ties`]. Of the pairs of
    /// the last score that has a place, it keeps as many positives as there are places and as many
    /// negatives, those that were pushed first.
    fn prune(&mut self) {
        let limit = self.limit;
        if self.kept.len() <= limit {
            return;
        }
        let Some(last) = limit.checked_sub(1) else {
            self.kept.clear();
            return;
        };
        let mut scores: Vec<f64> = self.kept.iter().map(|pair| pair.score).collect();
        let (_, &mut last, _) = scores.select_nth_unstable_by(last, |a, b| b.total_cmp(a));
        self.floor = last;
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
    /// and with [`Ties::Order`] what was pushed first. The limit cuts this order.
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
        let mut best: Option<(usize, f64)> = None;
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

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const ALL_TIES: [Ties; 3] = [Ties::Against, Ties::For, Ties::Order];

    fn pairs(limit: usize, of: &[(f64, bool)]) -> Pairs {
        let mut pairs = Pairs::new(limit);
        of.iter().zip(0..).for_each(|(&(score, positive), query)| {
            pairs.push(score, positive, query);
        });
        pairs
    }

    /// By hand: `P P N P` of 4 positives. µAP (1/1 + 2/2 + 3/4) / 4 = 11/16. Precision 0.9 holds to
    /// the second pair, recall 2/4.
    #[test]
    fn one_ranking_by_hand() {
        let pairs = pairs(10, &[(0.9, true), (0.5, true), (0.4, false), (0.3, true)]);
        let found = pairs.finish(4, Ties::Against);
        let expected = MicroAp {
            micro_ap: 11.0 / 16.0,
            recall_at_p90: Some(0.5),
            threshold_at_p90: Some(0.5),
            pairs: 4,
            cut: false,
        };
        assert_eq!(found, expected);
    }

    /// By hand: ten pairs, of which the first is negative, have precision 9/10 at the last, so
    /// recall 9/9 at its score.
    #[test]
    fn precision_of_nine_tenths_is_enough() {
        let mut of = vec![(1.0, false)];
        of.extend((0..9).map(|i| (0.9 - f64::from(i) * 0.1, true)));
        let found = pairs(10, &of).finish(9, Ties::Against);
        assert_eq!((found.recall_at_p90, found.threshold_at_p90), (Some(1.0), Some(of[9].0)));
        let found = pairs(9, &of).finish(9, Ties::Against);
        assert_eq!((found.recall_at_p90, found.threshold_at_p90), (None, None));
        assert!(found.cut);
    }

    /// By hand, equal scores in the order `P N P`, all 2 positives. Against `N P P`:
    /// (1/2 + 2/3)/2 = 7/12. For: 1. In the order of pushing: (1 + 2/3)/2 = 5/6. Of the first two
    /// alone: `N P` (1/2)/2, `P P` 1, `P N` 1/2.
    #[test]
    fn ties_by_hand() {
        let of = [(0.5, true), (0.5, false), (0.5, true)];
        for (ties, all, two) in [
            (Ties::Against, 7.0 / 12.0, 0.25),
            (Ties::For, 1.0, 1.0),
            (Ties::Order, 5.0 / 6.0, 0.5),
        ] {
            for (limit, expected) in [(3, all), (2, two)] {
                let found = pairs(limit, &of).finish(2, ties);
                assert!((found.micro_ap - expected).abs() < 1e-12, "{ties:?}, {limit}: {found:?}");
                assert_eq!((found.pairs, found.cut), (limit, limit == 2));
            }
        }
        // Of two places after 0.9, Against gives none to a positive.
        let of = [(0.5, true), (0.9, true), (0.5, false), (0.5, false), (0.5, true)];
        assert_eq!(pairs(3, &of).finish(1, Ties::Against).micro_ap, 1.0);
        assert_eq!(pairs(3, &of).finish(3, Ties::For).micro_ap, 1.0);
    }

    #[test]
    fn odd_scores_and_limits() {
        // Zeros are equal, NaN is the last, as minus infinity is.
        let of = [(f64::NAN, true), (f64::NEG_INFINITY, false), (0.0, true), (-0.0, false)];
        let ranked = pairs(4, &of).ranked(Ties::Against);
        assert_eq!(ranked.iter().map(|pair| pair.query).collect::<Vec<_>>(), [3, 2, 1, 0]);
        for limit in 0..4 {
            let ranked = pairs(limit, &of.repeat(5)).ranked(Ties::Against);
            assert_eq!(ranked.len(), limit);
            assert!(ranked.iter().all(|pair| pair.score == 0.0 && !pair.positive));
        }
        let nothing = MicroAp {
            micro_ap: 0.0,
            recall_at_p90: None,
            threshold_at_p90: None,
            pairs: 0,
            cut: false,
        };
        assert_eq!(Pairs::new(10).finish(3, Ties::Against), nothing);
        assert_eq!(Pairs::new(0).finish(0, Ties::Against), nothing);
        assert_eq!(pairs(10, &[(0.5, false)]).finish(0, Ties::For).micro_ap, 0.0);
    }

    /// The challenge's program: sort by (score, not positive), turn around, cumulative sums,
    /// precisions and recalls of all places; µAP is the sum of recall steps times precision.
    /// `place` is the rule for equals, lower first.
    fn transcription(of: &[(f64, u32)], limit: usize, positives: usize) -> MicroAp {
        let mut order: Vec<(f64, u32, bool)> =
            of.iter().map(|&(score, key)| (score, key >> 1, key & 1 == 1)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        order.reverse();
        order.truncate(limit);
        let mut precisions = Vec::new();
        let mut recalls = Vec::new();
        for n in 1..=order.len() {
            let true_positives = order[..n].iter().filter(|pair| pair.2).count() as f64;
            precisions.push(true_positives / n as f64);
            recalls.push(true_positives / positives as f64);
        }
        let (mut sum, mut last) = (0.0, 0.0);
        for (precision, recall) in precisions.iter().zip(&recalls) {
            sum += (recall - last) * precision;
            last = *recall;
        }
        let (mut recall_at_p90, mut threshold_at_p90) = (None, None);
        for i in 0..order.len() {
            if precisions[i] >= 0.9 && recall_at_p90.is_none_or(|best| recalls[i] > best) {
                recall_at_p90 = Some(recalls[i]);
                threshold_at_p90 = Some(order[i].0);
            }
        }
        MicroAp {
            micro_ap: sum,
            recall_at_p90,
            threshold_at_p90,
            pairs: order.len(),
            cut: of.len() > limit,
        }
    }

    /// Pairs of few scores with the place among equals of each rule, and whether they are positive
    /// in the lowest bit.
    fn keyed(of: &[(f64, bool)], ties: Ties) -> Vec<(f64, u32)> {
        let key = |i: u32, positive: bool| match ties {
            Ties::Against => u32::from(positive),
            Ties::For => u32::from(!positive),
            Ties::Order => i,
        };
        of.iter()
            .zip(0..)
            .map(|(&(score, positive), i)| (score, key(i, positive) << 1 | u32::from(positive)))
            .collect()
    }

    #[test]
    fn finish_is_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut cut = 0;
        for _ in 0..3_000 {
            let (scores, share) = (rng.random_range(1..200), rng.random::<f64>());
            let of: Vec<(f64, bool)> = (0..rng.random_range(0..200))
                .map(|_| (f64::from(rng.random_range(0..scores)) / 7.0, rng.random_bool(share)))
                .collect();
            let found = of.iter().filter(|pair| pair.1).count();
            let positives = (found + rng.random_range(0..5)).max(1);
            let limit = [1, 7, 30, 1000][rng.random_range(0..4)];
            let pairs = pairs(limit, &of);
            assert!(pairs.kept.len() <= 3 * limit);
            for ties in ALL_TIES {
                let expected = transcription(&keyed(&of, ties), limit, positives);
                let found = pairs.finish(positives, ties);
                assert!((found.micro_ap - expected.micro_ap).abs() < 1e-12, "{ties:?}, {limit}");
                let found = MicroAp { micro_ap: expected.micro_ap, ..found };
                assert_eq!(found, expected, "{ties:?}, {limit}: {of:?}");
                cut += usize::from(found.cut);
            }
        }
        assert!(cut > 1_000);
    }

    /// Against is the worst of all orders of pushing, For the best, with a limit too.
    #[test]
    fn ties_are_the_extremes_of_all_orders() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for _ in 0..300 {
            let of: Vec<(f64, bool)> = (0..rng.random_range(1..=5))
                .map(|_| (f64::from(rng.random_range(0..3)), rng.random()))
                .collect();
            let limit = rng.random_range(1..=of.len());
            let mut values = Vec::new();
            let mut rest = vec![(Vec::new(), of.clone())];
            while let Some((head, left)) = rest.pop() {
                if left.is_empty() {
                    values.push(pairs(limit, &head).finish(of.len(), Ties::Order).micro_ap);
                }
                for i in 0..left.len() {
                    let (mut head, mut left) = (head.clone(), left.clone());
                    head.push(left.remove(i));
                    rest.push((head, left));
                }
            }
            let found = |ties| pairs(limit, &of).finish(of.len(), ties).micro_ap;
            let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
            assert!((found(Ties::Against) - lowest).abs() < 1e-12, "{of:?}, {limit}");
            let highest = values.iter().copied().fold(0.0, f64::max);
            assert!((found(Ties::For) - highest).abs() < 1e-12, "{of:?}, {limit}");
        }
    }
}
