//! The leader of each row, and what it is a duplicate of.

use std::collections::HashSet;

use super::copies::Copies;
use super::graph::{Graph, Link};
use super::{ClusterOptions, Distinct, Linkage, NONE, Scored, Similarity};
use crate::Result;
use crate::dedup::edge::{Label, RowNumber};
use crate::dedup::order::Order;

/// Pairs whose similarity is asked for at once.
pub(super) const ASKED: usize = 4096;

/// What each row has, by rank.
#[derive(Debug)]
pub(super) struct Split {
    /// The representative.
    pub(super) leader: Vec<u32>,
    /// Similarity to the representative; NaN: not known.
    pub(super) similarity: Vec<f32>,
    /// Number of the label, [`NO_LABEL`]: not known.
    labels: Vec<u8>,
    /// The kept row of which it is a duplicate; the row itself: it is kept.
    pub(super) duplicate: Vec<u32>,
    /// In a representative, the least score of an edge in its cluster; infinite: there is none.
    pub(super) weakest: Vec<f32>,
    pub(super) asked: u64,
}

const NO_LABEL: u8 = u8::MAX;

impl Split {
    pub(super) fn new(
        graph: &Graph,
        order: &Order,
        distinct: &Distinct,
        similarity: &mut dyn Similarity,
        options: &ClusterOptions,
    ) -> Result<Self> {
        let rows = order.len();
        let mut split = Self {
            leader: (0..rows as u32).collect(),
            similarity: vec![f32::NAN; rows],
            labels: vec![NO_LABEL; rows],
            duplicate: (0..rows as u32).collect(),
            weakest: vec![f32::INFINITY; rows],
            asked: 0,
        };
        let mut run = Run { graph, order, distinct, similarity, options, split: &mut split };
        let mut copies = Copies::default();
        match options.linkage {
            Linkage::Components => run.join_components()?,
            Linkage::Leader => copies = run.join_leaders()?,
            Linkage::Complete => run.join_complete()?,
        }
        run.find_duplicates(&copies)?;
        run.spread();
        Ok(split)
    }

    /// The label of a rank.
    pub(super) fn label(&self, rank: u32) -> Option<Label> {
        Label::ALL.get(usize::from(self.labels[rank as usize])).copied()
    }

    pub(super) fn set(&mut self, rank: u32, scored: Scored) {
        self.similarity[rank as usize] = scored.score;
        self.labels[rank as usize] = scored.label as u8;
    }

    pub(super) fn join(&mut self, rank: u32, leader: u32, scored: Scored) {
        self.leader[rank as usize] = leader;
        self.set(rank, scored);
    }

    /// Makes a unit a leader of whose similarity nothing is known.
    pub(super) fn forget(&mut self, unit: u32) {
        self.leader[unit as usize] = unit;
        self.similarity[unit as usize] = f32::NAN;
        self.labels[unit as usize] = NO_LABEL;
    }

    pub(super) fn leads(&self, rank: u32) -> bool {
        self.leader[rank as usize] == rank
    }
}

/// A split on its way. Until [`Run::spread`] only the first rows of units are looked at.
pub(super) struct Run<'a> {
    pub(super) graph: &'a Graph,
    pub(super) order: &'a Order,
    distinct: &'a Distinct,
    similarity: &'a mut dyn Similarity,
    options: &'a ClusterOptions,
    pub(super) split: &'a mut Split,
}

impl Run<'_> {
    pub(super) fn is_unit(&self, rank: u32) -> bool {
        self.graph.unit[rank as usize] == rank
    }

    /// Asks for similarities of pairs of ranks, and with `look` for what their pictures show.
    pub(super) fn ask(&mut self, pairs: &[(u32, u32)], look: bool) -> Result<Vec<Option<Scored>>> {
        let rows = |&(a, b): &(u32, u32)| {
            let (a, b) = (self.order.row(a), self.order.row(b));
            (a.min(b), a.max(b))
        };
        let rows: Vec<(RowNumber, RowNumber)> = pairs.iter().map(rows).collect();
        let may = |&&(a, b): &&(RowNumber, RowNumber)| !self.distinct.has(a, b);
        let asked: Vec<(RowNumber, RowNumber)> = rows.iter().filter(may).copied().collect();
        self.split.asked += asked.len() as u64;
        let mut found = match asked.is_empty() {
            true => Vec::new().into_iter(),
            false => self.similarity.ask(&asked, look)?.into_iter(),
        };
        let one = |&(a, b): &(RowNumber, RowNumber)| match self.distinct.has(a, b) {
            true => None,
            false => found.next().flatten().filter(|scored| !scored.score.is_nan()),
        };
        Ok(rows.iter().map(one).collect())
    }

    pub(super) fn reaches(&self, score: f32) -> bool {
        score >= self.options.threshold
    }

    /// Joins each unit with the first one of its component.
    fn join_components(&mut self) -> Result<()> {
        self.ask_first(true, |_, _| true)?;
        let graph = self.graph;
        for rank in (0..self.order.len() as u32).filter(|&rank| graph.unit[rank as usize] == rank) {
            self.split.leader[rank as usize] = graph.component[rank as usize];
        }
        Ok(())
    }

    /// Finds the similarity of each unit that `is_wanted` to the first one of its component, where
    /// it can be known; with `look` what their pictures show, too.
    pub(super) fn ask_first(
        &mut self,
        look: bool,
        is_wanted: impl Fn(&Self, u32) -> bool,
    ) -> Result<()> {
        let (graph, split) = (self.graph, &mut *self.split);
        graph.links.each(|link| {
            if graph.component[link.later as usize] == link.earlier {
                split.set(link.later, link.scored);
            }
            Ok(())
        })?;
        let mut waiting: Vec<(u32, u32)> = Vec::new();
        for rank in 0..self.order.len() as u32 {
            let first = graph.component[rank as usize];
            let is_known = !self.split.similarity[rank as usize].is_nan();
            if self.is_unit(rank) && rank != first && !is_known && is_wanted(self, rank) {
                waiting.push((first, rank));
            }
            if waiting.len() == ASKED {
                self.settle(&waiting, look)?;
                waiting.clear();
            }
        }
        self.settle(&waiting, look)
    }

    /// Asks for the similarities of units to the first ones of their components.
    fn settle(&mut self, pairs: &[(u32, u32)], look: bool) -> Result<()> {
        let found = self.ask(pairs, look)?;
        for (&(_, rank), scored) in pairs.iter().zip(found) {
            scored.into_iter().for_each(|scored| self.split.set(rank, scored));
        }
        Ok(())
    }

    /// Hands out the links of each unit that has any with earlier ones, in order.
    pub(super) fn each_unit(
        &mut self,
        mut take: impl FnMut(&mut Self, u32, &[Link]) -> Result<()>,
    ) -> Result<()> {
        let graph = self.graph;
        let mut group: Vec<Link> = Vec::new();
        graph.links.each(|link| {
            if group.first().is_some_and(|first| first.later != link.later) {
                take(self, group[0].later, &group)?;
                group.clear();
            }
            group.push(*link);
            Ok(())
        })?;
        match group.first() {
            Some(first) => take(self, first.later, &group),
            None => Ok(()),
        }
    }

    /// Complete linkage.
    fn join_complete(&mut self) -> Result<()> {
        let rows = self.order.len();
        // Units of each cluster, in its leader; and a list of them, the last first.
        let mut sizes = vec![1u32; rows];
        let (mut last, mut before): (Vec<u32>, Vec<u32>) =
            ((0..rows as u32).collect(), vec![NONE; rows]);
        self.each_unit(|run, unit, links| {
            if run.order.is_old(unit) {
                return Ok(());
            }
            let mut near: Vec<(u32, u32)> = links
                .iter()
                .map(|link| (run.split.leader[link.earlier as usize], link.earlier))
                .collect();
            near.sort_unstable();
            for near in near.chunk_by(|a, b| a.0 == b.0) {
                let leader = near[0].0;
                if 2 * near.len() < sizes[leader as usize] as usize {
                    continue;
                }
                let members = std::iter::successors(Some(last[leader as usize]), |&member| {
                    Some(before[member as usize]).filter(|&member| member != NONE)
                });
                let is_missing = |&member: &u32| near.binary_search(&(leader, member)).is_err();
                let missing: Vec<u32> = members.filter(is_missing).collect();
                let link = links.iter().find(|link| link.earlier == leader);
                let scored =
                    run.all_within(unit, leader, &missing, link.map(|link| link.scored))?;
                if let Some(scored) = scored {
                    run.split.join(unit, leader, scored);
                    sizes[leader as usize] += 1;
                    before[unit as usize] = last[leader as usize];
                    last[leader as usize] = unit;
                    break;
                }
            }
            Ok(())
        })
    }

    /// Whether a unit is within the threshold of all of `missing`: then what is known of it and
    /// the leader, which may be `linked` or missing.
    fn all_within(
        &mut self,
        unit: u32,
        leader: u32,
        missing: &[u32],
        linked: Option<Scored>,
    ) -> Result<Option<Scored>> {
        let mut to_leader = linked;
        for members in missing.chunks(ASKED) {
            let pairs: Vec<(u32, u32)> = members.iter().map(|&member| (member, unit)).collect();
            let found = self.ask(&pairs, false)?;
            for (&member, scored) in members.iter().zip(found) {
                let Some(scored) = scored.filter(|scored| self.reaches(scored.score)) else {
                    return Ok(None);
                };
                if member == leader {
                    to_leader = Some(scored);
                }
            }
        }
        Ok(to_leader)
    }

    /// Finds what each unit is a duplicate of, and the weakest edges.
    fn find_duplicates(&mut self, copies: &Copies) -> Result<()> {
        let may = |label: Label| self.options.remove.is_some_and(|weakest| label <= weakest);
        // Whether others go for a unit: then it stays.
        let mut stands = vec![false; self.order.len()];
        for rank in 0..self.order.len() as u32 {
            if self.order.is_old(rank) || self.split.leads(rank) || !self.is_unit(rank) {
                continue;
            }
            let leader = self.split.leader[rank as usize];
            let is_near = self.split.similarity[rank as usize] >= self.options.threshold;
            let label = self.split.label(rank).filter(|_| is_near);
            let copy = copies.of(rank).map(|(other, scored)| (other, scored.label));
            let mut others = label.map(|label| (leader, label)).into_iter().chain(copy);
            let barred = self.barred(rank);
            let goes = |&(other, label): &(u32, Label)| may(label) && self.stays(other, &barred);
            if let Some((other, _)) = others.find(goes) {
                self.split.duplicate[rank as usize] = other;
                stands[other as usize] = true;
            }
        }
        self.each_unit(|run, unit, links| {
            let leader = run.split.leader[unit as usize];
            let own = |link: &&Link| run.split.leader[link.earlier as usize] == leader;
            let scores = links.iter().filter(own).map(|link| link.scored.score);
            let weakest = scores.fold(run.split.weakest[leader as usize], f32::min);
            let is_kept = run.split.duplicate[unit as usize] == unit && unit != leader;
            let looks = is_kept && !run.order.is_old(unit) && !stands[unit as usize];
            let barred = if looks { run.barred(unit) } else { HashSet::new() };
            let strong = |link: &&Link| may(link.scored.label) && run.stays(link.earlier, &barred);
            let strong = links.iter().filter(|_| looks).filter(own).find(strong);
            let duplicate = strong.map(|link| link.earlier);
            run.split.weakest[leader as usize] = weakest;
            if let Some(duplicate) = duplicate {
                run.split.duplicate[unit as usize] = duplicate;
            }
            Ok(())
        })
    }

    /// The units that are known to be distinct from a unit, and those for which they go.
    fn barred(&self, unit: u32) -> HashSet<u32> {
        let ranks = self.distinct.others(self.order.row(unit)).filter_map(|r| self.order.rank(r));
        ranks.flat_map(|rank| [rank, self.split.duplicate[rank as usize]]).collect()
    }

    /// Whether a unit is kept, and not `barred` for another one that may go for it.
    fn stays(&self, unit: u32, barred: &HashSet<u32>) -> bool {
        self.split.duplicate[unit as usize] == unit && !barred.contains(&unit)
    }

    /// Gives the rows of each unit what its first row has.
    fn spread(&mut self) {
        let best = self.options.best_score;
        let (graph, split) = (self.graph, &mut *self.split);
        let may = |label: Label| self.options.remove.is_some_and(|weakest| label <= weakest);
        for rank in 0..self.order.len() as u32 {
            let (at, unit, file) =
                (rank as usize, graph.unit[rank as usize], graph.file[rank as usize]);
            let leader = split.leader[unit as usize];
            split.leader[at] = leader;
            if unit == leader {
                let same_file = file == graph.file[leader as usize];
                let label = if same_file { Label::SameFile } else { Label::SamePixels };
                split.set(rank, Scored { score: best, label });
            } else if unit != rank {
                split.similarity[at] = split.similarity[unit as usize];
                split.labels[at] = split.labels[unit as usize];
            }
            if rank == leader {
                split.labels[at] = NO_LABEL;
            }
            if unit != rank {
                // An edge of equal rows is within the cluster.
                let weakest = &mut split.weakest[leader as usize];
                *weakest = weakest.min(best);
                if !self.order.is_old(rank) {
                    split.duplicate[at] = match () {
                        () if may(Label::SamePixels) => split.duplicate[unit as usize],
                        () if may(Label::SameFile) && file != rank => {
                            split.duplicate[file as usize]
                        }
                        () => rank,
                    };
                }
            }
        }
    }
}
