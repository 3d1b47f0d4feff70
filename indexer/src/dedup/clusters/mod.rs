//! Clusters that do not chain.
//!
//! Rows of equal files or pixels are one *unit*: what is near one of them is near all. The units
//! are ordered by the keeper's rules, old rows first, then by id. Edges below the threshold, and
//! those of pairs that the user knows to be distinct, do not count. An old unit never joins
//! another one.
//!
//! * [`Linkage::Leader`]: at first groups of copies are made, so that no copy is hidden by what is
//!   merely near: in the order, a unit joins the first leader of a group with which it has the edge
//!   of a copy; else the first leader of the group of such a unit, if that turns out to be its copy
//!   when a [`Similarity`] is asked for. Then the components are found by union-find. The first
//!   unit of a component represents each group whose units are all within the threshold of it, by
//!   their edges or by what is asked for. What is not is split off by leader clustering of the
//!   groups, in the order: a group joins the first leader with which its first unit has an edge;
//!   else the first leader of a unit with which that has an edge, if it is within the threshold;
//!   but only if all others of the group are, too. Else it is a cluster itself.
//! * [`Linkage::Components`]: the components as they are.
//! * [`Linkage::Complete`]: in the order, a unit joins the first cluster with each unit of which it
//!   is within the threshold. Where it has edges with at least half of a cluster's units, the rest
//!   is asked for.
//!
//! So the work and the questions are linear in the edges, a star of any size included.
//!
//! In a cluster a row is a *duplicate* of its representative, or of the first of its group of
//! copies, if their label is one of those that may be removed and their similarity is within the
//! threshold. Of what is left, a row is a duplicate of the first kept row of the cluster with which
//! it has such an edge. Old rows are duplicates of nothing, and of two rows that the user knows to
//! be distinct at most one goes for a third.
//!
//! Nothing depends on the order of the edges, on threads, or on the memory. Memory is [`ROW_BYTES`]
//! for each row that has an edge; edges are sorted in a budget of their own.

mod copies;
mod graph;
mod leaders;
mod split;
#[cfg(test)]
mod tests;
mod union;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::edge::{Label, RowNumber};
use super::order::Order;
use super::rows::Edges;
use crate::Result;
use crate::sort::SortMemory;
use graph::Graph;
use split::Split;

/// Memory for each row that has an edge, while clusters are made; with what [`Order`] has.
pub const ROW_BYTES: usize = 90;

/// No number.
const NONE: u32 = u32::MAX;

/// The way in which rows become clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Linkage {
    /// Connected components, in which a row may be far from the representative.
    Components,
    /// Each member is within the threshold of the representative.
    #[default]
    Leader,
    /// Each two members are within the threshold.
    Complete,
}

/// Options of [`cluster`].
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Least score of an edge that counts; those of equal pixels always do.
    pub threshold: f32,
    /// Score of rows of equal pixels.
    pub best_score: f32,
    /// The way in which rows become clusters.
    pub linkage: Linkage,
    /// The weakest label of a row that may be removed; None: nothing is.
    pub remove: Option<Label>,
    /// Memory to sort edges; None: as much as they need.
    pub memory: Option<SortMemory>,
}

/// Score and label of a pair without an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The score of the pair, as an edge has it.
    pub score: f32,
    /// The relation of the two.
    pub label: Label,
}

/// Scores of pairs that the join did not report.
pub trait Similarity {
    /// Score and label of each pair of rows; None where it cannot be known. With `look`, labels say
    /// what the pictures show, which takes milliseconds a pair.
    ///
    /// # Errors
    /// Damaged or unreadable files.
    fn ask(&mut self, pairs: &[(RowNumber, RowNumber)], look: bool) -> Result<Vec<Option<Scored>>>;
}

/// A [`Similarity`] that knows nothing.
#[derive(Clone, Copy, Debug)]
pub struct NothingKnown;

impl Similarity for NothingKnown {
    fn ask(&mut self, pairs: &[(RowNumber, RowNumber)], _: bool) -> Result<Vec<Option<Scored>>> {
        Ok(vec![None; pairs.len()])
    }
}

/// Pairs of rows that the user knows to be no duplicates. 32 bytes a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distinct {
    /// Each pair in both orders, ascending.
    pairs: Vec<(RowNumber, RowNumber)>,
}

impl Distinct {
    /// The pairs, each in any order.
    pub fn new(pairs: impl IntoIterator<Item = (RowNumber, RowNumber)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect();
        pairs.sort_unstable();
        pairs.dedup();
        Self { pairs }
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len() / 2
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Whether the two rows are known to be no duplicates.
    pub fn has(&self, a: RowNumber, b: RowNumber) -> bool {
        self.pairs.binary_search(&(a, b)).is_ok()
    }

    /// The rows that are known to be no duplicates of a row.
    pub fn others(&self, row: RowNumber) -> impl Iterator<Item = RowNumber> + '_ {
        let start = self.pairs.partition_point(|&(a, _)| a < row);
        self.pairs[start..].iter().take_while(move |&&(a, _)| a == row).map(|&(_, b)| b)
    }

    /// Whether a row is in one of the pairs.
    pub fn names(&self, row: RowNumber) -> bool {
        self.others(row).next().is_some()
    }
}

/// A row of a cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// The row.
    pub row: RowNumber,
    /// Similarity to the representative, if it is known; 1.0 for equal pixels, and for itself.
    pub similarity: Option<f32>,
    /// The relation with the representative, if it is known; None for itself.
    pub label: Option<Label>,
    /// The kept row of which this one is a duplicate; None: it is kept.
    pub duplicate_of: Option<RowNumber>,
}

/// A cluster of at least two rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Number of the cluster, from 0, in the order of the representatives.
    pub number: u32,
    /// Rows, in the order of keeping; the first is the representative.
    pub members: Vec<Member>,
    /// Least score of an edge within the cluster; None if its rows are only known by similarities
    /// that were asked for.
    pub weakest_edge: Option<f32>,
    /// Least similarity of a member to the representative; None if one is not known.
    pub weakest_similarity: Option<f32>,
}

/// Counts of [`cluster`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterCounts {
    /// Rows that have an edge of at least the threshold.
    pub rows: u64,
    /// Edges of at least the threshold.
    pub edges: u64,
    /// Edges that were left out because the user knows the pair to be distinct.
    pub distinct: u64,
    /// Components of at least two rows.
    pub components: u64,
    /// Rows of the largest component.
    pub largest_component: u64,
    /// Pairs whose similarity was asked for.
    pub asked: u64,
    /// Clusters.
    pub clusters: u64,
    /// Rows in clusters.
    pub clustered: u64,
    /// Rows of the largest cluster.
    pub largest_cluster: u64,
    /// Rows that are duplicates.
    pub duplicates: u64,
}

/// The clusters of a run.
#[derive(Debug)]
pub struct Clusters {
    order: Order,
    split: Split,
    /// Ranks of members, cluster by cluster, each in order.
    members: Vec<u32>,
    /// Where the members of each cluster start, and where those of the last end.
    starts: Vec<u32>,
    /// The cluster of each rank.
    number: Vec<u32>,
    counts: ClusterCounts,
}

/// Makes clusters of the rows of `order`, which must be those with an edge of at least the
/// threshold.
///
/// # Errors
/// Those of `edges` and `similarity`; of writing and reading what does not fit in memory.
pub fn cluster(
    edges: &dyn Edges,
    order: Order,
    distinct: &Distinct,
    similarity: &mut dyn Similarity,
    options: &ClusterOptions,
) -> Result<Clusters> {
    let graph = Graph::read(edges, &order, distinct, options)?;
    let split = Split::new(&graph, &order, distinct, similarity, options)?;
    Ok(Clusters::gather(order, graph, split))
}

impl Clusters {
    fn gather(order: Order, graph: Graph, split: Split) -> Self {
        let mut counts = graph.counts;
        drop(graph);
        let rows = order.len();
        let (mut sizes, mut has_new) = (vec![0u32; rows], vec![false; rows]);
        for (rank, &leader) in (0u32..).zip(&split.leader) {
            sizes[leader as usize] += 1;
            has_new[leader as usize] |= !order.is_old(rank);
        }
        let (mut number, mut starts, mut next) = (vec![NONE; rows], vec![0], 0u32);
        for (number, (&size, &has_new)) in number.iter_mut().zip(sizes.iter().zip(&has_new)) {
            if size > 1 && has_new {
                *number = starts.len() as u32 - 1;
                next += size;
                starts.push(next);
            }
        }
        let mut free: Vec<u32> = starts.clone();
        let mut members = vec![0u32; next as usize];
        for (rank, (&leader, &duplicate)) in (0u32..).zip(split.leader.iter().zip(&split.duplicate))
        {
            // A leader comes before its members.
            let cluster = number[leader as usize];
            number[rank as usize] = cluster;
            if cluster != NONE {
                let free = &mut free[cluster as usize];
                members[*free as usize] = rank;
                *free += 1;
                counts.duplicates += u64::from(duplicate != rank);
            }
        }
        counts.rows = rows as u64;
        counts.asked = split.asked;
        counts.clusters = starts.len() as u64 - 1;
        counts.clustered = u64::from(next);
        let sizes = starts.windows(2).map(|ends| u64::from(ends[1] - ends[0]));
        counts.largest_cluster = sizes.max().unwrap_or(0);
        Self { order, split, members, starts, number, counts }
    }

    /// Counts of the run.
    pub fn counts(&self) -> ClusterCounts {
        self.counts
    }

    /// Number of clusters.
    pub fn len(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// Whether there is no cluster.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The order of the rows.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The number of the cluster that a row is in.
    pub fn number_of(&self, row: RowNumber) -> Option<u32> {
        let rank = self.order.rank(row)?;
        Some(self.number[rank as usize]).filter(|&number| number != NONE)
    }

    /// Rows of a cluster below [`Self::len`].
    pub fn size(&self, number: u32) -> u32 {
        self.starts[number as usize + 1] - self.starts[number as usize]
    }

    /// Members of a cluster from the one at `from` on, at most `most`.
    pub fn members(&self, number: u32, from: u32, most: u32) -> Vec<Member> {
        let end = self.starts[number as usize + 1];
        let start = self.starts[number as usize].saturating_add(from).min(end);
        let end = start.saturating_add(most).min(end);
        let ranks = &self.members[start as usize..end as usize];
        ranks.iter().map(|&rank| self.member(rank)).collect()
    }

    fn member(&self, rank: u32) -> Member {
        let split = &self.split;
        let at = rank as usize;
        let duplicate = split.duplicate[at];
        Member {
            row: self.order.row(rank),
            similarity: Some(split.similarity[at]).filter(|similarity| !similarity.is_nan()),
            label: split.label(rank),
            duplicate_of: (duplicate != rank).then(|| self.order.row(duplicate)),
        }
    }

    /// Least score of an edge, and least similarity to the representative, of a cluster below
    /// [`Self::len`]; None where none is known, or not each.
    pub fn weakest(&self, number: u32) -> (Option<f32>, Option<f32>) {
        let members = self.starts[number as usize]..self.starts[number as usize + 1];
        let members = &self.members[members.start as usize..members.end as usize];
        let edge = self.split.weakest[members[0] as usize];
        // `f32::min` would ignore what is not known.
        let lesser = |least: f32, found: f32| match least.is_nan() || found >= least {
            true => least,
            false => found,
        };
        let similarities = members.iter().map(|&rank| self.split.similarity[rank as usize]);
        let similarity = similarities.fold(f32::INFINITY, lesser);
        (Some(edge).filter(|e| e.is_finite()), Some(similarity).filter(|s| !s.is_nan()))
    }

    /// A cluster whose number is below [`Self::len`]. Takes memory for all of its members.
    pub fn get(&self, number: u32) -> Cluster {
        let (weakest_edge, weakest_similarity) = self.weakest(number);
        let members = self.members(number, 0, u32::MAX);
        Cluster { number, members, weakest_edge, weakest_similarity }
    }

    /// All clusters, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = Cluster> + '_ {
        (0..self.len()).map(|number| self.get(number))
    }
}
