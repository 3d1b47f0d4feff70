//! Lists that many queries of a batch want.
//!
//! Where enough queries want a list, their tables are interleaved ([`super::lanes`]) and the list
//! is scanned once for up to 64 of them. That pays the more, the longer the list is and the more
//! queries there are: a [`Plan`] decides list by list. Lists that a query looks at to find its
//! first threshold are its own.

use ocelli_vector::interleaved::{self, MAX_LANES};

use super::ask::Asked;
use super::bound::ListBound;
use super::lanes::threshold;
use super::list::ShardList;
use super::query::{QueryScan, is_set};
use super::{Buffers, Request, Sharing, Target};
use crate::base::error::Result;

/// A query that wants a list, and the part of the score that the list's centroid decides.
#[derive(Clone, Copy)]
struct Want {
    query: u32,
    base: f32,
}

/// The lists that each query scans, alone or with others.
#[derive(Default)]
pub(super) struct Plan {
    /// Lists that each query scans alone, one query after the other; its end for each query.
    alone: Vec<(u32, f32)>,
    ends: Vec<usize>,
    /// Shared lists in the order of their numbers' ranks; the end of each one's wants.
    lists: Vec<(u32, usize)>,
    wants: Vec<Want>,
}

impl Plan {
    /// Decides for each list that the queries want, but for the first `warm` lists of each.
    pub fn new(
        target: &Target<'_>,
        requests: &[Request<'_>],
        warm: &[usize],
        sharing: Sharing,
    ) -> Result<Self> {
        let wanted = || requests.iter().zip(warm).map(|(r, &warm)| &r.lists[warm..]);
        let layout = target.model.layout();
        let mut plan = Self::default();
        if sharing == Sharing::Never {
            for lists in wanted() {
                plan.alone.extend_from_slice(lists);
                plan.ends.push(plan.alone.len());
            }
            return Ok(plan);
        }
        let mut shared = vec![0u32; target.model.parts().nlist];
        wanted().flatten().for_each(|&(list, _)| shared[list as usize] += 1);
        let mut lists = Vec::new();
        let mut end = 0;
        // In an order in which lists that follow each other are near: so are those who want them.
        for &list in target.model.lists_by_rank() {
            let count = &mut shared[list as usize];
            if *count > 0 {
                let rows = target.shard.list(list)?.len as usize;
                let queries = *count as usize;
                *count = match sharing {
                    Sharing::WherePays => interleaved::shared(target.simd, layout, queries, rows),
                    Sharing::Always if layout.bits() == 8 => queries,
                    _ => 0,
                } as u32;
            }
            if *count > 0 {
                end += *count as usize;
                lists.push((list, end));
            }
        }
        let mut at = vec![0; if lists.is_empty() { 0 } else { shared.len() }];
        let mut start = 0;
        for &(list, end) in &lists {
            at[list as usize] = std::mem::replace(&mut start, end);
        }
        plan.lists = lists;
        plan.wants.resize(end, Want { query: 0, base: 0.0 });
        for (query, lists) in (0u32..).zip(wanted()) {
            for &(list, base) in lists {
                let left = &mut shared[list as usize];
                if *left > 0 {
                    *left -= 1;
                    plan.wants[at[list as usize]] = Want { query, base };
                    at[list as usize] += 1;
                } else {
                    plan.alone.push((list, base));
                }
            }
            plan.ends.push(plan.alone.len());
        }
        Ok(plan)
    }

    /// The lists that a query scans alone.
    pub fn alone(&self, query: usize) -> &[(u32, f32)] {
        let start = if query == 0 { 0 } else { self.ends[query - 1] };
        &self.alone[start..self.ends[query]]
    }

    /// Scans the shared lists.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Cancelled`].
    pub fn scan<'a>(
        &self,
        target: &Target<'a>,
        scans: &mut [QueryScan<'a>],
        buffers: &mut Buffers,
    ) -> Result<()> {
        if self.lists.is_empty() {
            return Ok(());
        }
        let units = self.units(target, scans, buffers)?;
        let mut asked = Asked::default();
        asked.ahead_of(0, &self.lists, |l| l.0, target, buffers);
        let of = |i: usize| self.lists.get(i).map(|l| ShardList::of(target, l.0)).transpose();
        let mut ahead = of(0)?;
        let mut start = 0;
        for (i, &(_, end)) in self.lists.iter().enumerate() {
            asked.ahead_of(i + 1, &self.lists, |l| l.0, target, buffers);
            let Some(list) = ahead else { break };
            ahead = of(i + 1)?;
            let mut next = ahead.map_or(&[][..], |next| next.codes);
            if !target.excluded.skips(&list.entry) {
                let mut together = Together { target, list, scans, units: &units };
                for first in (start..end).step_by(MAX_LANES) {
                    let (now, later) = self.wants[first..].split_at(MAX_LANES.min(end - first));
                    let soon = &later[..MAX_LANES.min(later.len())];
                    together.scan(now, (std::mem::take(&mut next), soon), buffers)?;
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Each query's unit; its table in that unit is left in the buffers. Queries that have no
    /// threshold yet have no unit.
    fn units<'a>(
        &self,
        target: &Target<'a>,
        scans: &[QueryScan<'a>],
        buffers: &mut Buffers,
    ) -> Result<Vec<Option<f64>>> {
        let mut room = vec![f64::NEG_INFINITY; scans.len()];
        let mut start = 0;
        for &(list, end) in &self.lists {
            let entry = target.shard.list(list)?;
            for want in &self.wants[start..end] {
                let query = want.query as usize;
                let bound = scans[query].bound(&entry, want.base);
                room[query] = room[query].max(scans[query].room(&bound));
            }
            start = end;
        }
        buffers.lanes.start(target.model, scans.len());
        let units = scans.iter().zip(room).enumerate().map(|(query, (scan, room))| {
            let some = room > f64::NEG_INFINITY && scan.sound();
            some.then(|| buffers.lanes.set(target.simd, query, scan.table(), room)).flatten()
        });
        Ok(units.collect())
    }
}

/// A query that scans a list with others.
struct Taken {
    query: usize,
    base: f32,
    bound: ListBound,
    unit: f64,
}

/// Codes and queries that are wanted next.
type Next<'a> = (&'a [u8], &'a [Want]);

/// A list and the queries that may scan it together.
struct Together<'a, 'b> {
    target: &'b Target<'a>,
    list: ShardList<'a>,
    scans: &'b mut [QueryScan<'a>],
    units: &'b [Option<f64>],
}

impl<'a> Together<'a, '_> {
    /// Scans the list for up to [`MAX_LANES`] queries. `next` is wanted after that.
    ///
    /// # Errors
    /// As [`Plan::scan`].
    fn scan(&mut self, wants: &[Want], next: Next<'_>, buffers: &mut Buffers) -> Result<()> {
        let list = self.list;
        let mut taken: Vec<Taken> = Vec::with_capacity(wants.len());
        for &Want { query, base } in wants {
            let query = query as usize;
            let scan = &mut self.scans[query];
            scan.check()?;
            let bound = scan.bound(&list.entry, base);
            match self.units[query] {
                Some(unit) if threshold(&bound, scan.room(&bound), unit).is_some() => {
                    taken.push(Taken { query, base, bound, unit });
                }
                Some(_) => {}
                None => scan.list(&list, base, &[], buffers)?,
            }
        }
        if taken.is_empty() { Ok(()) } else { self.scan_for(&taken, next, buffers) }
    }

    /// Scans the list for `taken`, and scores what is found.
    ///
    /// # Errors
    /// As [`Plan::scan`].
    fn scan_for(&mut self, taken: &[Taken], next: Next<'_>, buffers: &mut Buffers) -> Result<()> {
        let (target, list) = (self.target, self.list);
        let dead = &mut buffers.excluded;
        let any_dead = target.excluded.of_list(target.shard, list.number, &list.entry, dead)?;
        let simd = target.simd;
        buffers.lanes.interleave(simd, taken.iter().map(|t| t.query));
        if list.terms().is_some() {
            buffers.lanes.terms(simd, &list.entry, taken.iter().map(|t| t.unit));
        }
        let (mut start, mut next) = (0, next);
        while start < list.len() {
            let mut thresholds = [0; MAX_LANES];
            for (out, t) in thresholds.iter_mut().zip(taken) {
                // Thresholds fall while the list is scanned; with 0 few rows are found, and none
                // is kept.
                let room = self.scans[t.query].room(&t.bound);
                *out = threshold(&t.bound, room, t.unit).unwrap_or(0);
            }
            let (codes, wants) = std::mem::take(&mut next);
            let next = (codes, wants.iter().map(|want| want.query as usize));
            let end = buffers.lanes.scan(simd, target.model, &list, start, &thresholds, next);
            buffers.counts.scanned += (taken.len() * (end - start)) as u64;
            for (lane, t) in taken.iter().enumerate() {
                let mut places = std::mem::take(buffers.lanes.found(lane));
                if any_dead {
                    places.retain(|&place| !is_set(&buffers.excluded, place));
                }
                self.scans[t.query].score(&list, t.base, &places, buffers)?;
                *buffers.lanes.found(lane) = places;
            }
            start = end;
        }
        Ok(())
    }
}
