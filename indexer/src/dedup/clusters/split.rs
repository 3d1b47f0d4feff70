//! The leader of each row, and what it is a duplicate of.

use super::graph::{Graph, Link};
use super::{ClusterOptions, Distinct, Linkage, NONE, Scored, Similarity};
use crate::Result;
use crate::dedup::edge::{Label, RowNumber};
use crate::dedup::order::Order;

/// Pairs whose similarity is asked for at once.
const ASKED: usize = 4096;

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
        match options.linkage {
            Linkage::Components => run.join_components(true)?,
            Linkage::Leader => {
                run.join_components(false)?;
                run.join_leaders()?;
            }
            Linkage::Complete => run.join_complete()?,
        }
        run.find_duplicates()?;
        run.spread();
        Ok(split)
    }

    /// The label of a rank.
    pub(super) fn label(&self, rank: u32) -> Option<Label> {
        Label::ALL.get(usize::from(self.labels[rank as usize])).copied()
    }

    fn set(&mut self, rank: u32, scored: Scored) {
        self.similarity[rank as usize] = scored.score;
        self.labels[rank as usize] = scored.label as u8;
    }

    fn join(&mut self, rank: u32, leader: u32, scored: Scored) {
        self.leader[rank as usize] = leader;
        self.set(rank, scored);
    }

    fn leads(&self, rank: u32) -> bool {
        self.leader[rank as usize] == rank
    }
}

/// A split on its way. Until [`Run::spread`] only the first rows of units are looked at.
struct Run<'a> {
    graph: &'a Graph,
    order: &'a Order,
    distinct: &'a Distinct,
    similarity: &'a mut dyn Similarity,
    options: &'a ClusterOptions,
    split: &'a mut Split,
}

impl Run<'_> {
    fn is_unit(&self, rank: u32) -> bool {
        self.graph.unit[rank as usize] == rank
    }

    /// Asks for similarities of pairs of ranks.
    fn ask(&mut self, pairs: &[(u32, u32)]) -> Result<Vec<Option<Scored>>> {
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
            false => self.similarity.ask(&asked)?.into_iter(),
        };
        let one = |&(a, b): &(RowNumber, RowNumber)| match self.distinct.has(a, b) {
            true => None,
            false => found.next().flatten().filter(|scored| !scored.score.is_nan()),
        };
        Ok(rows.iter().map(one).collect())
    }

    fn is_within(&self, scored: Scored) -> bool {
        scored.score >= self.options.threshold
    }

    /// Joins each unit with the first one of its component: if it is within the threshold of it,
    /// or, with `all`, always.
    fn join_components(&mut self, all: bool) -> Result<()> {
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
            if !self.is_unit(rank) || rank == first || !all && self.order.is_old(rank) {
                continue;
            }
            if all || !self.split.similarity[rank as usize].is_nan() {
                self.split.leader[rank as usize] = first;
            }
            if self.split.similarity[rank as usize].is_nan() {
                waiting.push((first, rank));
            }
            if waiting.len() == ASKED {
                self.settle(&waiting, all)?;
                waiting.clear();
            }
        }
        self.settle(&waiting, all)
    }

    /// Asks for the similarities of units to the first ones of their components.
    fn settle(&mut self, pairs: &[(u32, u32)], all: bool) -> Result<()> {
        let found = self.ask(pairs)?;
        for (&(first, rank), scored) in pairs.iter().zip(found) {
            match scored {
                Some(scored) if all || self.is_within(scored) => {
                    self.split.join(rank, first, scored);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Hands out the links of each unit that has any with earlier ones, in order.
    fn each_unit(
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

    /// Leader clustering of the units that [`Self::join_components`] left.
    fn join_leaders(&mut self) -> Result<()> {
        self.each_unit(|run, unit, links| {
            let first = run.graph.component[unit as usize];
            if !run.split.leads(unit) || run.order.is_old(unit) {
                return Ok(());
            }
            if let Some(link) = links.iter().find(|link| run.split.leads(link.earlier)) {
                run.split.join(unit, link.earlier, link.scored);
                return Ok(());
            }
            let leader = |link: &Link| run.split.leader[link.earlier as usize];
            let mut leaders: Vec<u32> =
                links.iter().map(leader).filter(|&leader| leader != first).collect();
            leaders.sort_unstable();
            leaders.dedup();
            run.join_asked(unit, &leaders)
        })
    }

    /// Joins a unit with the first of `leaders` of which it is within the threshold.
    fn join_asked(&mut self, unit: u32, leaders: &[u32]) -> Result<()> {
        for leaders in leaders.chunks(ASKED) {
            let pairs: Vec<(u32, u32)> = leaders.iter().map(|&leader| (leader, unit)).collect();
            let found = self.ask(&pairs)?;
            for (&leader, scored) in leaders.iter().zip(found) {
                if let Some(scored) = scored.filter(|&scored| self.is_within(scored)) {
                    self.split.join(unit, leader, scored);
                    return Ok(());
                }
            }
        }
        Ok(())
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
            let found = self.ask(&pairs)?;
            for (&member, scored) in members.iter().zip(found) {
                let Some(scored) = scored.filter(|&scored| self.is_within(scored)) else {
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
    fn find_duplicates(&mut self) -> Result<()> {
        let may = |label: Label| self.options.remove.is_some_and(|weakest| label <= weakest);
        for rank in 0..self.order.len() as u32 {
            let at = rank as usize;
            if self.order.is_old(rank) || self.split.leads(rank) {
                continue;
            }
            let is_near = self.split.similarity[at] >= self.options.threshold;
            if is_near && self.split.label(rank).is_some_and(may) {
                self.split.duplicate[at] = self.split.leader[at];
            }
        }
        self.each_unit(|run, unit, links| {
            let split = &*run.split;
            let leader = split.leader[unit as usize];
            let own = |link: &&Link| split.leader[link.earlier as usize] == leader;
            let strong = |link: &&Link| {
                may(link.scored.label) && split.duplicate[link.earlier as usize] == link.earlier
            };
            let scores = links.iter().filter(own).map(|link| link.scored.score);
            let weakest = scores.fold(split.weakest[leader as usize], f32::min);
            let is_kept = split.duplicate[unit as usize] == unit && unit != leader;
            let strong = links.iter().filter(own).find(strong).map(|link| link.earlier);
            let duplicate = strong.filter(|_| is_kept && !run.order.is_old(unit));
            run.split.weakest[leader as usize] = weakest;
            if let Some(duplicate) = duplicate {
                run.split.duplicate[unit as usize] = duplicate;
            }
            Ok(())
        })
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
