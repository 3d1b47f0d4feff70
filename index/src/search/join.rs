//! Pairs of near rows of one index: what deduplication starts from.
//!
//! Each row is compared, as its code decodes it, with the rows of the lists that are near its own.
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
    /// Squared distance or inner product of the decoded rows, as the metric says.
    pub score: f32,
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
        let keep = |_: &mut Vec<Pair>| Ok(());
        self.join_list_by(plan, list, threshold, cancel, scratch, pairs, keep)
    }

    /// [`Self::join_list`], which calls `take` with `pairs` from time to time: a few rows' pairs
    /// come between two calls, so that memory stays small where there are many.
    ///
    /// # Errors
    /// As [`Self::join_list`]; those of `take`.
    #[allow(clippy::too_many_arguments, reason = "those of a search, and where the pairs go")]
    pub fn join_list_by(
        &self,
        plan: &JoinPlan,
        list: u32,
        threshold: impl Fn(Row) -> Option<f32>,
        cancel: Option<&Cancel>,
        scratch: &mut Scratch,
        pairs: &mut Vec<Pair>,
        mut take: impl FnMut(&mut Vec<Pair>) -> Result<()>,
    ) -> Result<JoinCounts> {
        if let Some(missing) = self.missing.first() {
            return Err(missing.error.clone());
        }
        let (mut counts, mut near) = (JoinCounts::default(), Vec::new());
        for shard in 0..self.members.len() {
            let sought = self.sought(plan, list, shard, scratch)?;
            let mut next = 0;
            loop {
                let seekers = self.seekers(list, shard, &mut next, &threshold)?;
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
                            pairs.push(Pair { a, b, score: self.model.metric().score(cost) });
                        }
                        take(pairs)
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
                sought.push(Sought { target, list: other, wanted });
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
        threshold: &impl Fn(Row) -> Option<f32>,
    ) -> Result<Vec<Seeker>> {
        let (metric, member) = (self.model.metric(), &self.members[shard]);
        let entry = member.shard.list(list)?;
        let codes = member.shard.list_codes(&entry)?;
        let mut code = vec![0; self.model.layout().m()];
        let mut seekers = Vec::with_capacity(JOIN_TILE);
        while *next < entry.len && seekers.len() < JOIN_TILE {
            let place = *next;
            *next += 1;
            let ordinal = member.shard.ordinal(entry.first + place)?;
            let row = Row { shard: shard as u32, ordinal };
            let Some(limit) = threshold(row).filter(|_| member.alive(ordinal)) else { continue };
            self.model.layout().get(codes, entry.len as usize, place as usize, &mut code);
            let query = self.model.as_query(self.model.decode(list, &code));
            seekers.push(Seeker { query, ordinal, place, ceiling: metric.cost(limit) + 0.0 });
        }
        Ok(seekers)
    }
}
