//! Rows of a list against lists: the scan of a self-join.
//!
//! Rows of one list are compared with the same lists. So their tables are interleaved once, up to
//! 64 of them ([`super::lanes`]), and each list is then scanned for all of them at once. A row's
//! ceiling is given and does not move: a list that is too far from all rows of the tile is not
//! looked at.

use ocelli_vector::Simd;
use ocelli_vector::interleaved::{self, MAX_LANES};
use ocelli_vector::lut::ByteTable;
use ocelli_vector::scan;
use ocelli_vector::score::{self, Tables};

use super::bound::{ListBound, QueryBound};
use super::lanes::threshold;
use super::list::ShardList;
use super::query::is_set;
use super::{Scratch, Target, fill_table};
use crate::base::error::Result;
use crate::model::Query;
use crate::search::cancel::Cancel;

/// Rows that are compared at once.
pub(crate) const JOIN_TILE: usize = MAX_LANES;

/// Near rows that are handed out before the next list is scanned.
const MOST_NEAR: usize = 1 << 16;

/// A row that looks for near ones.
#[derive(Clone, Debug)]
pub(crate) struct Seeker {
    /// The row's vector, or what its code decodes to, as a query.
    pub query: Query,
    /// Ordinal of the row.
    pub ordinal: u32,
    /// Place of the row in its list.
    pub place: u32,
    /// Rows of its own list that cost more are not near; and of other lists.
    pub ceilings: [f32; 2],
    /// What the row's own code costs.
    pub own_cost: f32,
}

impl Seeker {
    /// Rows of a list that cost more are not near.
    fn ceiling(&self, sought: &Sought<'_>) -> f32 {
        self.ceilings[usize::from(!sought.is_own)]
    }
}

/// A list of one shard that the seekers are compared with.
pub(crate) struct Sought<'a> {
    /// The shard, and the rows of it that are left out.
    pub target: Target<'a>,
    /// Number of the list.
    pub list: u32,
    /// Whether the list has the seekers' number.
    pub is_own: bool,
    /// The rows of the list that are wanted.
    pub wanted: Wanted,
}

/// The rows of a list that a seeker is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All.
    All,
    /// The seeker is a row of the list: those behind it.
    Behind,
    /// The seeker is a row of the list: all but itself.
    Others,
}

/// A row that is near a seeker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Near {
    /// Number of the seeker.
    pub seeker: u32,
    /// Number of the list among those that were sought.
    pub sought: u32,
    /// Place in the list.
    pub place: u32,
    /// The cost of the row for the seeker.
    pub cost: f32,
}

/// What a join has looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinCounts {
    /// Pairs of rows whose bounds were computed.
    pub scanned: u64,
    /// Pairs that might be near and were scored.
    pub scored: u64,
    /// Lists that were too far from all rows that were compared at once, or from one where rows
    /// are compared one by one.
    pub skipped: u64,
}

/// A list as one seeker sees it.
#[derive(Clone, Copy)]
struct Seen {
    base: f32,
    bound: ListBound,
}

/// Up to [`JOIN_TILE`] seekers, ready to scan.
struct Tile<'s> {
    seekers: &'s [Seeker],
    tables: Vec<ByteTable>,
    bounds: Vec<QueryBound>,
    units: Vec<f64>,
    /// (lists, seekers).
    seen: Vec<Seen>,
    /// Whether their tables are interleaved.
    together: bool,
}

/// Hands out the rows of the lists that cost a seeker no more than its ceiling, collected in `near`
/// as long as they are few. There are
/// at most [`JOIN_TILE`] seekers, all of one list, and the lists are of one model.
///
/// # Errors
/// [`crate::Error::Corrupt`].
pub(crate) fn join_tile(
    seekers: &[Seeker],
    sought: &[Sought<'_>],
    cancel: Option<&Cancel>,
    scratch: &mut Scratch,
    near: &mut Vec<Near>,
    counts: &mut JoinCounts,
    hand_out: &mut dyn FnMut(&mut Vec<Near>) -> Result<()>,
) -> Result<()> {
    if seekers.is_empty() || sought.is_empty() {
        return Ok(());
    }
    let tile = Tile::new(scratch.simd, seekers, sought, scratch)?;
    let done = scan_lists(&tile, sought, cancel, scratch, (near, counts), hand_out);
    scratch.tables = tile.tables;
    done
}

/// [`join_tile`] with a tile that is ready.
fn scan_lists(
    tile: &Tile<'_>,
    sought: &[Sought<'_>],
    cancel: Option<&Cancel>,
    scratch: &mut Scratch,
    (near, counts): (&mut Vec<Near>, &mut JoinCounts),
    hand_out: &mut dyn FnMut(&mut Vec<Near>) -> Result<()>,
) -> Result<()> {
    let seekers = tile.seekers.len();
    let of = |i: usize| sought.get(i).map(|s| ShardList::of(&s.target, s.list)).transpose();
    let mut ahead = of(0)?;
    for (i, here) in sought.iter().enumerate() {
        let Some(list) = ahead else { break };
        ahead = of(i + 1)?;
        cancel.map_or(Ok(()), Cancel::check)?;
        let next = ahead.map_or(&[][..], |next| next.codes);
        let seen = &tile.seen[i * seekers..][..seekers];
        let mut scan = Scan { tile, here, list, seen, number: i as u32, near, counts };
        if tile.together {
            scan.together(next, scratch)?;
        } else {
            scan.in_turn(scratch)?;
        }
        if near.len() >= MOST_NEAR {
            hand_out(near)?;
            near.clear();
        }
    }
    hand_out(near)
}

impl<'s> Tile<'s> {
    /// Makes the seekers' tables, and leaves them interleaved where that is faster.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    fn new(
        simd: Simd,
        seekers: &'s [Seeker],
        sought: &[Sought<'_>],
        scratch: &mut Scratch,
    ) -> Result<Self> {
        let model = sought[0].target.model;
        let metric = model.metric();
        let Scratch { workings, buffers, tables, .. } = scratch;
        let mut tables = std::mem::take(tables);
        tables.resize_with(tables.len().max(seekers.len()), ByteTable::default);
        let mut entries = Vec::with_capacity(sought.len());
        for s in sought {
            entries.push(s.target.shard.list(s.list)?);
        }
        let lists: Vec<u32> = sought.iter().map(|s| s.list).collect();
        let mut tile = Self {
            seekers,
            tables,
            bounds: Vec::with_capacity(seekers.len()),
            units: vec![1.0; seekers.len()],
            seen: Vec::with_capacity(seekers.len() * sought.len()),
            together: seekers.len() >= interleaved::fewest(simd, model.layout()),
        };
        let mut bases = Vec::with_capacity(seekers.len());
        for (seeker, table) in seekers.iter().zip(&mut tile.tables) {
            fill_table(simd, model, &seeker.query, table, workings);
            tile.bounds.push(QueryBound::new(model, &seeker.query.z, table));
            let mut scores = Vec::with_capacity(lists.len());
            metric.of_rows(simd, &seeker.query.z, &model.parts().coarse, &lists, &mut scores);
            scores.iter_mut().for_each(|s| *s = seeker.query.with_offset(metric, *s));
            bases.push(scores);
        }
        for (i, entry) in entries.iter().enumerate() {
            let see = |(bases, bound): (&Vec<f32>, &QueryBound)| Seen {
                base: bases[i],
                bound: bound.of(entry, bases[i]),
            };
            tile.seen.extend(bases.iter().zip(&tile.bounds).map(see));
        }
        if tile.together {
            buffers.lanes.start(model, seekers.len());
            for (lane, seeker) in seekers.iter().enumerate() {
                let seen = tile.seen.iter().skip(lane).step_by(seekers.len());
                let room = seen
                    .zip(sought)
                    .map(|(seen, list)| QueryBound::room(&seen.bound, seeker.ceiling(list)))
                    .fold(0.0, f64::max);
                let unit = buffers.lanes.set(simd, lane, &tile.tables[lane], room);
                tile.units[lane] = unit.unwrap_or(f64::INFINITY);
            }
            buffers.lanes.interleave(simd, 0..seekers.len());
        }
        Ok(tile)
    }
}

/// One list that is scanned for a tile.
struct Scan<'a, 't> {
    tile: &'t Tile<'t>,
    here: &'t Sought<'a>,
    list: ShardList<'a>,
    seen: &'t [Seen],
    number: u32,
    near: &'t mut Vec<Near>,
    counts: &'t mut JoinCounts,
}

impl<'a> Scan<'a, '_> {
    /// Scans the list with the interleaved tables. `next` will be scanned after it.
    ///
    /// # Errors
    /// As [`join_tile`].
    fn together(&mut self, next: &'a [u8], scratch: &mut Scratch) -> Result<()> {
        let (simd, model) = (scratch.simd, self.here.target.model);
        let mut thresholds = [0; MAX_LANES];
        let mut some = 0u64;
        for (lane, seen) in self.seen.iter().enumerate() {
            let room = QueryBound::room(&seen.bound, self.ceiling(lane));
            let unit = self.tile.units[lane];
            // Without a unit every row is scored.
            let limit = if unit.is_finite() && self.tile.bounds[lane].sound() {
                threshold(&seen.bound, room, unit)
            } else {
                Some(u16::MAX)
            };
            if let Some(limit) = limit {
                thresholds[lane] = limit;
                some |= 1 << lane;
            }
        }
        if some == 0 {
            self.counts.skipped += 1;
            return Ok(());
        }
        let any_dead = self.any_dead(scratch)?;
        let units = self.tile.units.iter().copied();
        if self.list.terms().is_some() {
            scratch.buffers.lanes.terms(simd, &self.list.entry, units);
        }
        let (mut start, mut next) = (0, next);
        while start < self.list.len() {
            let next = (std::mem::take(&mut next), std::iter::empty());
            let lanes = &mut scratch.buffers.lanes;
            let end = lanes.scan(simd, model, &self.list, start, &thresholds, next);
            self.counts.scanned += u64::from(some.count_ones()) * (end - start) as u64;
            for lane in (0..self.seen.len()).filter(|lane| some >> lane & 1 == 1) {
                let mut places = std::mem::take(scratch.buffers.lanes.found(lane));
                self.score(lane, any_dead, &mut places, scratch);
                *scratch.buffers.lanes.found(lane) = places;
            }
            start = end;
        }
        Ok(())
    }

    /// Scans the list for one seeker after the other.
    ///
    /// # Errors
    /// As [`join_tile`].
    fn in_turn(&mut self, scratch: &mut Scratch) -> Result<()> {
        let (simd, layout) = (scratch.simd, self.here.target.model.layout());
        let any_dead = self.any_dead(scratch)?;
        let mut places = Vec::new();
        for (lane, seen) in self.seen.iter().enumerate() {
            places.clear();
            let bound = &self.tile.bounds[lane];
            if bound.sound() {
                let ceiling = self.ceiling(lane);
                let Some(limit) = bound.threshold(&seen.bound, ceiling) else {
                    self.counts.skipped += 1;
                    continue;
                };
                let (len, factor) = (self.list.len(), seen.bound.factor);
                let blocks = self.list.blocks(layout.columns(), 0..len, factor, &[]);
                let table = &self.tile.tables[lane].bytes;
                scan::survivors(simd, layout, blocks, table, limit, &mut places);
            } else {
                places.extend(0..self.list.len() as u32);
            }
            self.counts.scanned += self.list.len() as u64;
            self.score(lane, any_dead, &mut places, scratch);
        }
        Ok(())
    }

    /// Rows of the list that cost a seeker more are not near.
    fn ceiling(&self, lane: usize) -> f32 {
        self.tile.seekers[lane].ceiling(self.here)
    }

    /// Leaves a bit a row in the buffers, set where the row is left out; false where none is.
    fn any_dead(&self, scratch: &mut Scratch) -> Result<bool> {
        let (Target { shard, excluded, .. }, list) = (self.here.target, &self.list);
        excluded.of_list(shard, list.number, &list.entry, &mut scratch.buffers.excluded)
    }

    /// Scores the rows at `places` for a seeker, and keeps the near ones.
    fn score(&mut self, lane: usize, any_dead: bool, places: &mut Vec<u32>, scratch: &mut Scratch) {
        let (seeker, ceiling) = (&self.tile.seekers[lane], self.ceiling(lane));
        match self.here.wanted {
            Wanted::All => {}
            Wanted::Behind => places.retain(|&place| place > seeker.place),
            Wanted::Others => places.retain(|&place| place != seeker.place),
        }
        if any_dead {
            places.retain(|&place| !is_set(&scratch.buffers.excluded, place));
        }
        if places.is_empty() {
            return;
        }
        let model = self.here.target.model;
        let codebooks = &model.parts().codebooks;
        let tables = Tables { layout: model.layout(), query: &seeker.query.z, codebooks };
        let rows = self.list.rows(self.seen[lane].base, places);
        let scores = &mut scratch.buffers.scores;
        score::scores(scratch.simd, model.metric(), &tables, &rows, scores);
        model.metric().turn_to_costs(scores);
        self.counts.scored += places.len() as u64;
        for (&place, &cost) in places.iter().zip(&*scores) {
            if cost <= ceiling {
                let (seeker, sought) = (lane as u32, self.number);
                self.near.push(Near { seeker, sought, place, cost });
            }
        }
    }
}
