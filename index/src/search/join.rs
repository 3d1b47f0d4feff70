//! Pairs of near rows of one index: what deduplication starts from.
//!
//! Each row is compared, as its vector is or as its code decodes it, with the decoded rows of the
//! lists that are near its own.
//! A pair is looked at once: two lists are compared if either is near the other, and then from the
//! one with the smaller number; rows of one list are compared with those behind them.
//!
//! Lists are work that can be done side by side: [`Snapshot::join_list`] finds the pairs of one.

use super::cancel::Cancel;
use super::engine::{
    Excluded, JOIN_TILE, JoinCounts, Near, Scratch, Seeker, Sought, Target, Wanted, join_tile,
};
use super::hit::Row;
use super::snapshot::Snapshot;
use crate::base::error::{Error, Result};
use crate::model::ProbeBuffers;

/// Lists that a tile of rows is compared with before others.
const LISTS: usize = 4096;

/// Two rows that are near each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The row whose threshold decided.
    pub a: Row,
    /// The other.
    pub b: Row,
    /// Squared distance or inner product of the first row's vector, or what its code decodes to,
    /// with the second, decoded, as the metric says.
    pub score: f32,
    /// By how much that is worse than the score of the first row with its own code.
    pub beyond: f32,
}

/// How near rows are by their codes that are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ceiling {
    /// The score of a row is at least as good.
    Score(f32),
    /// The score of a row is worse than that of the first row with its own code by so much at most,
    /// in the list of that row, and in other lists. Codes of rows that are near have nearly the
    /// same error, so that this tells them better than a score, where the first row's vector is
    /// known.
    Beyond([f32; 2]),
}

/// What a join asks of whoever runs it.
pub trait Seeking {
    /// Whether a row is compared with others from its side.
    fn seeks(&self, row: Row) -> bool;

    /// The vectors of rows, each (dim,), where they are known. Such a row looks for others as a
    /// query of its vector does, and not as its code decodes it.
    ///
    /// # Errors
    /// What ends the join.
    fn vectors(&mut self, rows: &[Row]) -> Result<Vec<Option<Vec<f32>>>> {
        Ok(vec![None; rows.len()])
    }

    /// How near other rows must be to a row that seeks, whose vector is known or not.
    fn ceiling(&self, row: Row, is_known: bool) -> Ceiling;

    /// Takes pairs out of `pairs`, as many as it likes; called from time to time.
    ///
    /// # Errors
    /// What ends the join.
    fn take(&mut self, pairs: &mut Vec<Pair>) -> Result<()>;
}

/// A join by scores of codes that leaves all pairs where they are.
struct All<F>(F);

impl<F: Fn(Row) -> Option<f32>> Seeking for All<F> {
    fn seeks(&self, row: Row) -> bool {
        self.0(row).is_some()
    }

    fn ceiling(&self, row: Row, _: bool) -> Ceiling {
        // No other row is asked for.
        Ceiling::Score(self.0(row).unwrap_or(f32::NAN))
    }

    fn take(&mut self, _: &mut Vec<Pair>) -> Result<()> {
        Ok(())
    }
}

/// The lists that are compared with each other: eight bytes for each two of them, twice that where
/// rows look both ways.
#[derive(Clone, Debug)]
pub struct JoinPlan {
    /// Of each list, the end of its part of `with`.
    ends: Vec<usize>,
    /// Lists, ascending; not below the one they are compared with, unless rows look both ways.
    with: Vec<u32>,
    /// Whether rows of a list are compared with those of smaller lists too.
    both_ways: bool,
}

impl JoinPlan {
    /// A plan of the pairs of lists, each with the smaller first.
    fn new(nlist: u32, mut pairs: Vec<(u32, u32)>, both_ways: bool) -> Self {
        if both_ways {
            pairs.extend(pairs.clone().iter().map(|&(list, other)| (other, list)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let ends = (0..nlist).map(|list| pairs.partition_point(|pair| pair.0 <= list)).collect();
        Self { ends, with: pairs.into_iter().map(|pair| pair.1).collect(), both_ways }
    }

    /// The same lists, of which each is compared with all that are near it. So a row that has a
    /// threshold meets every row that is near it, whether that one has a threshold or not. Two
    /// rows with thresholds may then meet twice.
    pub fn both_ways(&self) -> Self {
        let nlist = self.ends.len() as u32;
        let of = |list: u32| self.with(list).iter().map(move |&other| (list, other));
        Self::new(nlist, (0..nlist).flat_map(of).collect(), true)
    }

    /// Whether rows look both ways.
    pub fn looks_both_ways(&self) -> bool {
        self.both_ways
    }

    /// The lists that rows of `list` are compared with, ascending: itself and larger ones; of
    /// [`Self::both_ways`] all that are near.
    ///
    /// # Panics
    /// If there is no such list.
    pub fn with(&self, list: u32) -> &[u32] {
        let list = list as usize;
        let start = if list == 0 { 0 } else { self.ends[list - 1] };
        &self.with[start..self.ends[list]]
    }
}

impl Snapshot {
    /// Compares each list with the `nprobe` lists that a query at its centroid probes, and with
    /// those whose centroids probe it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `nprobe` is 0; [`Error::Corrupt`]; [`Error::Cancelled`].
    pub fn join_plan(
        &self,
        nprobe: usize,
        cancel: Option<&Cancel>,
        scratch: &mut Scratch,
    ) -> Result<JoinPlan> {
        if nprobe == 0 {
            return Err(Error::invalid("nprobe = 0: must be at least 1"));
        }
        let nlist = self.model.parts().nlist as u32;
        let nprobe = nprobe.min(nlist as usize);
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(nlist as usize * (nprobe + 1));
        let mut buffers = ProbeBuffers::default();
        for list in 0..nlist {
            cancel.map_or(Ok(()), Cancel::check)?;
            let centroid = self.model.as_query(self.model.centroid(list).to_vec());
            let near = self.model.probe_with(scratch.simd, &centroid, nprobe, &mut buffers);
            pairs.push((list, list));
            pairs.extend(near.iter().map(|&(other, _)| (list.min(other), list.max(other))));
        }
        self.model.intact()?;
        Ok(JoinPlan::new(nlist, pairs, false))
    }

    /// Appends to `pairs` those of rows of `list` with the rows that the plan compares them with:
    /// every pair whose score is at least as good as the `threshold` of its first row. Rows whose
    /// threshold is `None` are not compared from their side. Deleted rows are in no pair.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Cancelled`]; that of a shard that is missing.
    pub fn join_list(
        &self,
        plan: &JoinPlan,
        list: u32,
        threshold: impl Fn(Row) -> Option<f32>,
        cancel: Option<&Cancel>,
        scratch: &mut Scratch,
        pairs: &mut Vec<Pair>,
    ) -> Result<JoinCounts> {
        self.join_list_by(plan, list, &mut All(threshold), cancel, scratch, pairs)
    }

    /// [`Self::join_list`], with what `seeking` knows and wants. A few rows' pairs come between two
    /// calls of [`Seeking::take`], so that memory stays small where there are many.
    ///
    /// # Errors
    /// As [`Self::join_list`]; those of `seeking`.
    pub fn join_list_by(
        &self,
        plan: &JoinPlan,
        list: u32,
        seeking: &mut impl Seeking,
        cancel: Option<&Cancel>,
        scratch: &mut Scratch,
        pairs: &mut Vec<Pair>,
    ) -> Result<JoinCounts> {
        if let Some(missing) = self.missing.first() {
            return Err(missing.error.clone());
        }
        let (mut counts, mut near) = (JoinCounts::default(), Vec::new());
        for shard in 0..self.members.len() {
            let sought = self.sought(plan, list, shard, scratch)?;
            let mut next = 0;
            loop {
                let seekers = self.seekers(list, shard, &mut next, seeking)?;
                if seekers.is_empty() {
                    break;
                }
                // Of each list something is remembered for each seeker: so many at a time.
                for sought in sought.chunks(LISTS) {
                    near.clear();
                    let mut hand_out = |near: &mut Vec<Near>| {
                        for &Near { seeker, sought: number, place, cost } in &*near {
                            let Sought { target, list, .. } = &sought[number as usize];
                            let slot = target.shard.list(*list)?.first + place;
                            let ordinal = seekers[seeker as usize].ordinal;
                            let a = Row { shard: shard as u32, ordinal };
                            let ordinal = target.shard.ordinal(slot)?;
                            let b = Row { shard: target.index, ordinal };
                            let score = self.model.metric().score(cost);
                            let beyond = cost - seekers[seeker as usize].own_cost;
                            pairs.push(Pair { a, b, score, beyond });
                        }
                        seeking.take(pairs)
                    };
                    let near = &mut near;
                    join_tile(&seekers, sought, cancel, scratch, near, &mut counts, &mut hand_out)?;
                }
            }
        }
        self.members.iter().try_for_each(|member| member.shard.intact())?;
        self.model.intact()?;
        Ok(counts)
    }

    /// The lists of all shards that rows of `list` in `shard` are compared with.
    fn sought(
        &self,
        plan: &JoinPlan,
        list: u32,
        shard: usize,
        scratch: &Scratch,
    ) -> Result<Vec<Sought<'_>>> {
        let mut sought = Vec::new();
        for &other in plan.with(list) {
            for (index, member) in self.members.iter().enumerate() {
                // Rows of one list in two shards are compared from the first of them.
                let is_done = !plan.both_ways && other == list && index < shard;
                if is_done || member.shard.list(other)?.len == 0 {
                    continue;
                }
                let wanted = match (other == list && index == shard, plan.both_ways) {
                    (false, _) => Wanted::All,
                    (true, false) => Wanted::Behind,
                    (true, true) => Wanted::Others,
                };
                let excluded = Excluded { deleted: member.deleted.as_deref(), filter: None };
                let target = Target {
                    model: &self.model,
                    simd: scratch.simd,
                    shard: &member.shard,
                    index: index as u32,
                    excluded,
                };
                sought.push(Sought { target, list: other, is_own: other == list, wanted });
            }
        }
        Ok(sought)
    }

    /// The next rows of a list of a shard that have a threshold, as queries; none at its end.
    /// `next` is the place of the first row that was not looked at yet.
    fn seekers(
        &self,
        list: u32,
        shard: usize,
        next: &mut u32,
        seeking: &mut impl Seeking,
    ) -> Result<Vec<Seeker>> {
        let (metric, member) = (self.model.metric(), &self.members[shard]);
        let entry = member.shard.list(list)?;
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        while *next < entry.len && rows.len() < JOIN_TILE {
            let place = *next;
            *next += 1;
            let ordinal = member.shard.ordinal(entry.first + place)?;
            let row = Row { shard: shard as u32, ordinal };
            if member.alive(ordinal) && seeking.seeks(row) {
                rows.push(row);
                places.push(place);
            }
        }
        let codes = member.shard.list_codes(&entry)?;
        let mut code = vec![0; self.model.layout().m()];
        let vectors = if rows.is_empty() { Vec::new() } else { seeking.vectors(&rows)? };
        let mut seekers = Vec::with_capacity(rows.len());
        for ((&row, place), x) in rows.iter().zip(places).zip(vectors) {
            self.model.layout().get(codes, entry.len as usize, place as usize, &mut code);
            let own = self.model.decode(list, &code);
            // A vector without a direction has none to look in.
            let known = x.and_then(|x| self.model.prepare(&x).ok());
            let is_known = known.is_some();
            let query = known.unwrap_or_else(|| self.model.as_query(own.clone()));
            let own_cost = metric.cost(query.score(metric, &own));
            let ceilings = match seeking.ceiling(row, is_known) {
                Ceiling::Score(score) => [metric.cost(score) + 0.0; 2],
                Ceiling::Beyond(costs) => costs.map(|cost| own_cost + cost),
            };
            seekers.push(Seeker { query, ordinal: row.ordinal, place, ceilings, own_cost });
        }
        Ok(seekers)
    }
}
