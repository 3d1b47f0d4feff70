//! Hits: what a search finds, and the best of them.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::model::Metric;

/// A row of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Number of its shard among those of the snapshot ([`crate::Snapshot::shards`]).
    pub shard: u32,
    /// Row number in it.
    pub ordinal: u32,
}

/// One found image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Id of the image.
    pub id: u64,
    /// Squared distance or inner product, as the metric says.
    pub score: f32,
    /// Shard and row of the image.
    pub row: Row,
    /// Its number among the candidates of a search that scores it again; 0 when that is done.
    pub(crate) candidate: u32,
}

impl Hit {
    /// Best first, ties by smaller id. A total order, also of scores that are no numbers.
    pub fn order(&self, other: &Self, metric: Metric) -> Ordering {
        metric.order(self.score, other.score).then(self.id.cmp(&other.id))
    }
}

/// A hit with the order in which the *worst* is the greatest.
#[derive(Debug)]
struct Candidate {
    /// Score turned so that smaller is better.
    cost: f32,
    hit: Hit,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cost.total_cmp(&other.cost).then(self.hit.id.cmp(&other.hit.id))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Candidate {}

/// The k best hits seen so far; ties go to the smaller id.
#[derive(Debug)]
pub struct Best {
    k: usize,
    metric: Metric,
    worst_first: BinaryHeap<Candidate>,
}

impl Best {
    /// Room for `k` hits.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, worst_first: BinaryHeap::new() }
    }

    /// Whether a hit of this score might be kept (its id decides where it ties with the last).
    #[inline]
    pub fn admits(&self, score: f32) -> bool {
        self.worst_first.len() < self.k
            || self
                .worst_first
                .peek()
                .is_some_and(|w| self.metric.cost(score).total_cmp(&w.cost).is_le())
    }

    /// Keeps the hit if it is among the k best.
    pub fn push(&mut self, hit: Hit) {
        let candidate = Candidate { cost: self.metric.cost(hit.score), hit };
        if self.worst_first.len() < self.k {
            self.worst_first.push(candidate);
        } else if let Some(mut worst) = self.worst_first.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// The hits, best first.
    pub fn into_sorted(self) -> Vec<Hit> {
        self.worst_first.into_sorted_vec().into_iter().map(|c| c.hit).collect()
    }
}

/// The k best hits of several shards.
#[derive(Debug)]
pub(crate) struct Merge {
    k: usize,
    metric: Metric,
    hits: Vec<Hit>,
    /// Whether the hits are in order: one shard's are.
    sorted: bool,
}

impl Merge {
    /// Room for `k` hits.
    pub fn new(k: usize, metric: Metric) -> Self {
        Self { k, metric, hits: Vec::new(), sorted: true }
    }

    /// Takes in the hits of a shard, best first.
    pub fn add(&mut self, hits: Vec<Hit>) {
        if self.hits.is_empty() {
            self.hits = hits;
        } else if !hits.is_empty() {
            self.hits.extend(hits);
            self.sorted = false;
        }
        if self.hits.len() > self.k {
            let order = |a: &Hit, b: &Hit| a.order(b, self.metric);
            self.hits.select_nth_unstable_by(self.k - 1, order);
            self.hits.truncate(self.k);
            self.sorted = false;
        }
    }

    /// The cost (smaller is better) that a further hit must not exceed; infinite while there is
    /// room.
    pub fn ceiling(&self) -> f32 {
        if self.hits.len() < self.k {
            return f32::INFINITY;
        }
        self.hits.iter().map(|hit| self.metric.cost(hit.score)).fold(f32::NEG_INFINITY, f32::max)
    }

    /// The hits in no order.
    pub fn into_unsorted(self) -> Vec<Hit> {
        self.hits
    }

    /// The hits, best first.
    pub fn into_sorted(mut self) -> Vec<Hit> {
        if !self.sorted {
            self.hits.sort_unstable_by(|a, b| a.order(b, self.metric));
        }
        self.hits
    }
}
