//! Hard triplets of a pool of descriptors.
//!
//! Gordo, Almazán, Revaud, Larlus (IJCV 2017): of a pool of N random images, whose descriptors are
//! refreshed every few iterations, a query is drawn at random, and then one of the triplets with
//! the largest losses that the image is the query of.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rand::{Rng, RngExt};

use crate::loss::Triplet;

/// Draws for each triplet that is wanted, before fewer are given.
const DRAWS: usize = 50;

/// Descriptors and classes of the pool. Memory: 4 bytes for each dimension of each row.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    /// (n, dim), row-major, of length 1.
    pub descriptors: &'a [f32],
    /// Dimension of a row, at least 1.
    pub dim: usize,
    /// Classes of the n rows.
    pub classes: &'a [u32],
}

/// The numbers of mining.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hardness {
    /// The margin of the loss.
    pub margin: f64,
    /// A triplet is drawn from this many hardest ones of its query.
    pub hardest: usize,
    /// Whether negatives are farther than the positive: the loss of such a triplet is at most half
    /// the margin, and does not fall when all descriptors become equal (Schroff, Kalenichenko,
    /// Philbin: "FaceNet", CVPR 2015).
    pub semi_hard: bool,
    /// Only so many nearest positives of a query are taken (Xuan, Stylianou, Pless: "Improved
    /// embeddings with easy positive triplet mining", WACV 2020); 0: all of them.
    pub nearest: usize,
}

/// The triplets of a draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mined {
    /// Rows of the pool.
    pub triplets: Vec<Triplet>,
    /// Queries that were drawn and have no triplet with a loss.
    pub without: usize,
}

impl Pool<'_> {
    /// Rows in the pool.
    #[must_use]
    pub fn len(&self) -> usize {
        self.classes.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    fn row(&self, at: usize) -> &[f32] {
        self.descriptors.get(at * self.dim..(at + 1) * self.dim).unwrap_or_default()
    }

    /// ‖a − b‖² of two rows.
    fn apart(&self, a: usize, b: usize) -> f64 {
        let differences = self.row(a).iter().zip(self.row(b));
        differences.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
    }

    /// The triplets of `query` with the largest losses, all above 0, hardest first: at most
    /// `hardness.hardest`. Equal ones are ordered by the positive's distance, then the negative's.
    ///
    /// The i-th farthest positive and the j-th nearest negative have (i + 1)(j + 1) − 1 pairs at
    /// least as hard before them, so that few pairs need a look; where negatives are farther, those
    /// of each positive have only each other.
    #[must_use]
    pub fn hardest(&self, query: usize, hardness: Hardness) -> Vec<Triplet> {
        let Some(&class) = self.classes.get(query) else { return Vec::new() };
        let (mut positives, mut negatives) = (Vec::new(), Vec::new());
        for (at, &other) in self.classes.iter().enumerate() {
            match (at == query, other == class) {
                (true, _) => {}
                (false, true) => positives.push((self.apart(query, at), at)),
                (false, false) => negatives.push((self.apart(query, at), at)),
            }
        }
        let by_distance = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0);
        positives.sort_by(|a, b| by_distance(b, a).then(a.1.cmp(&b.1)));
        if hardness.nearest > 0 {
            positives.drain(..positives.len().saturating_sub(hardness.nearest));
        }
        negatives.sort_by(|a, b| by_distance(a, b).then(a.1.cmp(&b.1)));
        let most = hardness.hardest;
        let mut found: Vec<(f64, usize, usize)> = Vec::new();
        for (i, positive) in positives.iter().enumerate() {
            let harder = negatives.iter().take_while(|negative| negative.0 <= positive.0).count();
            let (first, count) = match hardness.semi_hard {
                true => (harder, most),
                false => (0, most / (i + 1)),
            };
            for (j, negative) in negatives.iter().enumerate().skip(first).take(count) {
                let excess = positive.0 - negative.0 + hardness.margin;
                if excess > 0.0 {
                    found.push((excess, i, j));
                }
            }
        }
        found.sort_by(harder);
        found.truncate(most);
        let triplet = |(_, i, j): (f64, usize, usize)| {
            let (positive, negative) = (positives.get(i)?.1, negatives.get(j)?.1);
            Some(Triplet { query, positive, negative })
        };
        found.into_iter().filter_map(triplet).collect()
    }

    /// Draws `count` triplets: a row at random, then one of its hardest triplets at random. Rows
    /// without one are counted, and another is drawn; fewer triplets come where hardly any row has
    /// one.
    pub fn draw(&self, count: usize, hardness: Hardness, rng: &mut impl Rng) -> Mined {
        let mut mined = Mined::default();
        if self.is_empty() {
            return mined;
        }
        let mut known: BTreeMap<usize, Vec<Triplet>> = BTreeMap::new();
        for _ in 0..count.saturating_mul(DRAWS) {
            if mined.triplets.len() == count {
                break;
            }
            let query = rng.random_range(0..self.len());
            let hard = known.entry(query).or_insert_with(|| self.hardest(query, hardness));
            if hard.is_empty() {
                mined.without += 1;
            } else if let Some(&triplet) = hard.get(rng.random_range(0..hard.len())) {
                mined.triplets.push(triplet);
            }
        }
        mined
    }
}

/// The larger excess first, then the lower places.
fn harder(a: &(f64, usize, usize), b: &(f64, usize, usize)) -> Ordering {
    b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// All triplets of a query that have a loss, sorted by it.
    fn slow(pool: &Pool<'_>, query: usize, hardness: Hardness) -> Vec<Triplet> {
        let mut all = Vec::new();
        let is_positive = |&at: &usize| at != query && pool.classes[at] == pool.classes[query];
        let mut positives: Vec<usize> = (0..pool.len()).filter(is_positive).collect();
        let far = |&at: &usize| pool.apart(query, at);
        positives.sort_by(|a, b| far(a).total_cmp(&far(b)).then(b.cmp(a)));
        positives.truncate(if hardness.nearest == 0 { usize::MAX } else { hardness.nearest });
        for positive in positives {
            for negative in 0..pool.len() {
                let class = |at: usize| pool.classes[at];
                if class(negative) == class(query) {
                    continue;
                }
                let (near, far) = (pool.apart(query, negative), pool.apart(query, positive));
                if far - near + hardness.margin > 0.0 && (!hardness.semi_hard || near > far) {
                    all.push((far - near + hardness.margin, far, near, positive, negative));
                }
            }
        }
        all.sort_by(|a, b| {
            let by_loss = b.0.total_cmp(&a.0);
            let by_positive = b.1.total_cmp(&a.1).then(a.3.cmp(&b.3));
            by_loss.then(by_positive).then(a.2.total_cmp(&b.2)).then(a.4.cmp(&b.4))
        });
        let triplets = all.into_iter().take(hardness.hardest);
        triplets.map(|t| Triplet { query, positive: t.3, negative: t.4 }).collect()
    }

    /// Random pools, also such with equal rows, and margins that exclude some.
    #[test]
    fn the_hardest_are_those_of_the_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(17);
        let mut found = 0;
        for round in 0..60 {
            let (n, dim) = (rng.random_range(1..30), 3);
            let coarse = round % 2 == 0;
            let value = |rng: &mut ChaCha8Rng| match coarse {
                true => rng.random_range(-1..2) as f32,
                false => rng.random_range(-0.5f32..0.5),
            };
            let descriptors: Vec<f32> = (0..n * dim).map(|_| value(&mut rng)).collect();
            let classes: Vec<u32> = (0..n).map(|_| rng.random_range(0..4)).collect();
            let pool = Pool { descriptors: &descriptors, dim, classes: &classes };
            for (hardest, semi_hard, nearest) in [
                (1, false, 0),
                (4, false, 0),
                (25, false, 0),
                (25, false, 2),
                (3, true, 0),
                (40, true, 1),
            ] {
                let margin = if semi_hard { 0.4 } else { [0.1, -0.2][round % 2] };
                let hardness = Hardness { margin, hardest, semi_hard, nearest };
                for query in 0..n {
                    let hard = pool.hardest(query, hardness);
                    assert_eq!(hard, slow(&pool, query, hardness), "{round} {query} {hardest}");
                    found += hard.len();
                }
            }
        }
        assert!(found > 1000, "{found}");
    }

    /// Each draw is one of the hardest of its query; all queries come, equal seeds draw equally,
    /// and rows without a positive are counted.
    #[test]
    fn draws_are_among_the_hardest() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let descriptors: Vec<f32> = (0..11 * 4).map(|_| rng.random_range(-0.5f32..0.5)).collect();
        let classes = [0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3];
        let pool = Pool { descriptors: &descriptors, dim: 4, classes: &classes };
        let hardness = Hardness { margin: 2.0, hardest: 3, semi_hard: false, nearest: 0 };
        let draw = |seed| pool.draw(400, hardness, &mut ChaCha8Rng::seed_from_u64(seed));
        let mined = draw(1);
        assert_eq!(mined.triplets.len(), 400);
        assert!(mined.without > 10, "row 10 has no positive: {}", mined.without);
        let drawn: BTreeSet<Triplet> = mined.triplets.iter().copied().collect();
        let all: BTreeSet<Triplet> = (0..11).flat_map(|q| slow(&pool, q, hardness)).collect();
        assert_eq!(drawn, all);
        assert_eq!(mined, draw(1));
        assert_ne!(mined, draw(2));
    }

    /// Nothing to draw from ends.
    #[test]
    fn one_class_has_no_triplets() {
        let pool = Pool { descriptors: &[1.0, 0.0, 0.0, 1.0], dim: 2, classes: &[0, 0] };
        let hardness = Hardness { margin: 0.1, hardest: 25, semi_hard: false, nearest: 0 };
        let mined = pool.draw(2, hardness, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(mined, Mined { triplets: Vec::new(), without: 100 });
        let empty = Pool { descriptors: &[], dim: 2, classes: &[] };
        let mined = empty.draw(2, hardness, &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(mined, Mined::default());
    }
}
