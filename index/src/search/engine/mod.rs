//! The fast scan: the naive scan's answer, to the bit, without scoring every code.
//!
//! # Why nothing is lost
//!
//! Call *cost* what is minimised: the distance for L2, the negated inner product else. In real
//! numbers a row of list l costs b_l + Σⱼ cⱼ + t, with b_l from the centroid, cⱼ from the query's
//! table and, for L2, the row's term t. The byte table gives cⱼ ≥ lowⱼ + Δ · byteⱼ ([`ByteTable`]),
//! the row's scalar gives t ≥ min_l + step_l · byte, and `factor` = ⌊256 · step_l / Δ⌋ turns the
//! latter into the same unit, rounded down once more. So with the integer S of
//! [`ocelli_vector::scan`],
//!
//! ```text
//! cost ≥ b_l + Σⱼ lowⱼ + min_l + Δ · S            (saturation only lowers S)
//! ```
//!
//! A row may be discarded if that exceeds τ, the cost of the k-th best row so far. τ and b_l are
//! floats, and so were the numbers that table and scalars were rounded from: so τ gets a slack
//! first. With u = 2⁻²⁴:
//!
//! With R ≥ ‖r̂‖ of every code, and what the table and the terms were rounded from:
//!
//! - the error of the table is part of its own bound ([`ocelli_vector::lut`]);
//! - *inner product:* a cost is b_l, the very float, and a sum of d / 16 + 5 additions, off by so
//!   many u ‖q‖ R;
//! - *L2:* a cost is such a sum too ([`ocelli_vector::adc::l2_score`]), rounding q − c first moves
//!   it by at most 2u √(cost · b_l) ≤ u (cost + b_l), and b_l is a sum of its own; terms are off by
//!   (d / 16 + 8) u (R² + 2 ‖c‖ R), where 2 ‖c‖ R ≤ 2 (‖q‖ + √b_l) R ≤ 2 ‖q‖ R + b_l + R².
//!
//! The sum of these errors is at most (d / 8 + 24) · u · M, where M = 2 |b_l| + Σⱼ max |cⱼ| +
//! max |t| + 2 R² + 4 ‖q‖ R; twice that is given away, which is a small part of a unit.
//!
//! # Where τ comes from
//!
//! From the first few thousand rows: all their bounds are computed, and the rows with the k
//! smallest are scored. The worst of these is a τ; of the other rows, those whose bound is below it
//! are scored too. The lists that follow are scanned against a τ that is near the final one from
//! the start.
//!
//! # The path of a row
//!
//! scan ([`ocelli_vector::scan`]) → float score ([`survivors`], [`ocelli_vector::score`]) → keep
//! ([`keep`]). Rows are known by slot until the end, since ids lie in scattered memory; or as
//! candidates, where they are scored again by finer codes ([`candidates`]).
//!
//! # Many queries
//!
//! A single query reads half a megabyte of codes that no cache has. Queries that are near each
//! other probe much the same lists: [`scan_batch`] takes some of them through a list one after the
//! other, while its codes are in the first-level cache; or, where many queries want it, all at once
//! ([`shared`]). The order in which rows are looked at changes no answer.

use std::ops::Range;

use ocelli_vector::interleaved;
use ocelli_vector::lut::{ByteTable, Workings};
use ocelli_vector::scan::BlockBounds;
use ocelli_vector::{Level, Simd, prefetch_all};
use smallvec::SmallVec;

mod ask;
mod bound;
mod candidates;
mod excluded;
mod join;
mod keep;
mod lanes;
mod list;
mod query;
mod shared;
mod survivors;
#[cfg(test)]
mod tests;
mod warm;

use self::ask::Asked;
pub(crate) use self::candidates::{Candidate, Candidates, Remember};
pub(crate) use self::excluded::{Deleted, Excluded};
pub use self::join::JoinCounts;
pub(crate) use self::join::{JOIN_TILE, Near, Seeker, Sought, Wanted, join_tile};
use self::lanes::Lanes;
use self::list::ShardList;
use self::query::QueryScan;
use self::shared::Plan;
use crate::base::error::Result;
use crate::base::level::simd;
use crate::files::container::DiskReads;
use crate::model::{Model, ProbeBuffers, Query};
use crate::search::cancel::Cancel;
use crate::search::hit::Hit;
use crate::search::params::SearchParams;
use crate::shard::Shard;

/// Queries whose lists are chosen together: so many times fewer reads of the centroids.
pub(crate) const PROBE_TILE: usize = 4;
/// Queries that are taken through lists in turn: their tables, 4 KB each at m = 16, stay in the
/// second-level cache.
const SCAN_TILE: usize = 24;
/// Bytes of tables of queries that may share lists: the more queries there are, the more of them
/// want a list.
const SHARED_BYTES: usize = 64 << 20;

/// How many of a batch's queries should be scanned at a time, and whether they should share lists:
/// few, whose tables stay in the second-level cache, unless lists can be shared. `rows` are those
/// of a shard.
pub(crate) fn queries_at_a_time(
    scratch: &Scratch,
    model: &Model,
    params: &SearchParams,
    queries: usize,
    rows: u64,
) -> (usize, Sharing) {
    let (layout, nlist) = (model.layout(), model.parts().nlist);
    let nprobe = params.nprobe.min(nlist);
    let k = params.k.max(params.refine_candidates).min(rows as usize).max(1);
    // Each has a table for its own lists with minima of it, one for shared lists, its lists, and
    // what it found.
    let bytes = 2 * (layout.m() << layout.bits()) + 224 * layout.m() + 24 * nprobe + 128 * k;
    let most = (SHARED_BYTES / bytes).max(SCAN_TILE);
    match scratch.buffers.tuning.sharing {
        Sharing::Never => return (SCAN_TILE, Sharing::Never),
        Sharing::Always => return (most, Sharing::Always),
        Sharing::WherePays => {}
    }
    let len = rows as usize / nlist;
    let warm = query::warm_rows(scratch.buffers.tuning.warm_rows, k) / len.max(1);
    let wants = nprobe.saturating_sub(warm) * queries.min(most) / nlist;
    // The lists that most queries want have more of them than that, and more rows.
    let pays = interleaved::shared(scratch.simd, layout, 2 * wants, len + len / 2) > 0;
    if pays { (most, Sharing::WherePays) } else { (SCAN_TILE, Sharing::Never) }
}

/// The lists that queries of a batch scan together. Answers do not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Lists for which that is faster.
    #[default]
    WherePays,
    /// All that can be.
    Always,
    /// None.
    Never,
}

/// Rows whose bounds the warm-up looks at: enough that the k-th best of them is near the final one,
/// few enough to cost less than it saves.
const WARM_ROWS: usize = 3000;
/// The same with AVX2, where later lists are scanned in half the time of the first ones
/// ([`ocelli_vector::scan::Minima`]).
const WARM_ROWS_AVX2: usize = 2000;

/// Numbers that decide how a search proceeds, and no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub sharing: Sharing,
    pub warm_rows: usize,
    /// Whether scans ask the disk whether they need it or not.
    pub asks: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { sharing: Sharing::default(), warm_rows: WARM_ROWS, asks: false }
    }
}

/// Buffers that searches of one thread use again and again.
#[derive(Debug)]
pub struct Scratch {
    /// The instruction level of every kernel that is called with these buffers.
    pub(crate) simd: Simd,
    pub(crate) probe: [ProbeBuffers; PROBE_TILE],
    pub(crate) tables: Vec<ByteTable>,
    pub(crate) workings: Workings,
    pub(crate) buffers: Buffers,
}

impl Default for Scratch {
    fn default() -> Self {
        Self::at(simd())
    }
}

impl Scratch {
    /// What the searches with these buffers have looked at since [`Scratch::take_counts`] was last
    /// called. Rows that a filter allows and that are scored one by one are not counted.
    pub fn counts(&self) -> ScanCounts {
        self.buffers.counts
    }

    /// [`Scratch::counts`], which begins anew.
    pub fn take_counts(&mut self) -> ScanCounts {
        std::mem::take(&mut self.buffers.counts)
    }

    /// The instruction level of the kernels: "avx512vbmi".
    pub fn level(&self) -> &'static str {
        self.simd.level().name()
    }

    /// The same buffers; whether their scans ask the disk for what they will read although it did
    /// not read for the last one.
    #[cfg(test)]
    pub(crate) fn asking(mut self, asks: bool) -> Self {
        self.buffers.tuning.asks = asks;
        self
    }

    /// The same buffers, for batches that share other lists.
    pub fn sharing(mut self, sharing: Sharing) -> Self {
        self.buffers.tuning.sharing = sharing;
        self
    }

    /// Buffers for searches with the instructions of one level; the answers are the same.
    pub fn at(simd: Simd) -> Self {
        let mut buffers = Buffers::default();
        if simd.level() == Level::Avx2 {
            buffers.tuning.warm_rows = WARM_ROWS_AVX2;
        }
        Self {
            simd,
            probe: Default::default(),
            tables: vec![ByteTable::default()],
            workings: Workings::default(),
            buffers,
        }
    }
}

/// Buffers of a scan.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Bounds of the warm-up's lists, one after the other.
    warm: Vec<BlockBounds>,
    survivors: Vec<u32>,
    scores: Vec<f32>,
    excluded: Vec<u64>,
    /// Rows that may be hits, where they are scored again afterwards.
    pub(crate) candidates: Candidates,
    /// Of each list, where the chain of a tile's queries begins that scan it.
    chains: Vec<u32>,
    lanes: Lanes,
    pub(crate) tuning: Tuning,
    counts: ScanCounts,
    /// What this thread has read from the disk.
    disk: DiskReads,
    /// Whether scans ask for what they will read, since not all of it is in memory.
    reads_disk: bool,
    /// Places of what is asked for.
    ranges: Vec<Range<u64>>,
}

impl Buffers {
    /// Makes ready for a scan.
    ///
    /// If the last one has read from the disk, this one asks for everything that it will read
    /// before it reads any of it. The disk then does many things at once, and reads no more around
    /// each of them than is wanted.
    pub(crate) fn start(&mut self, remember: Remember) {
        self.reads_disk = self.disk.since_last_look() || self.tuning.asks;
        self.candidates.start(remember, self.reads_disk);
    }
}

/// What scans have looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// Codes whose bounds were computed.
    pub scanned: u64,
    /// Codes that might still have been hits and were scored.
    pub survived: u64,
}

/// Fills the table of a query.
pub(crate) fn fill_table(
    simd: Simd,
    model: &Model,
    query: &Query,
    table: &mut ByteTable,
    workings: &mut Workings,
) {
    let scale = f64::from(model.metric().products());
    table.fill(simd, model.whole_books(), &query.z, scale, workings);
}

/// One shard of a scan, and the rows that the scan leaves out.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub model: &'a Model,
    pub simd: Simd,
    pub shard: &'a Shard,
    /// Number of the shard in its snapshot.
    pub index: u32,
    /// Rows that no query finds.
    pub excluded: Excluded<'a>,
}

/// One query of a scan.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The query in the model's space, (d,).
    pub z: &'a [f32],
    pub table: &'a ByteTable,
    /// Probed lists, best first, each with the score that its centroid gives.
    pub lists: &'a [(u32, f32)],
    /// Hits wanted.
    pub k: usize,
    /// Rows that cost more are of no interest.
    pub ceiling: f32,
    /// Whether all rows up to the ceiling are wanted: then there is no threshold to be found.
    pub range: bool,
    /// Looked at between two lists.
    pub cancel: Option<&'a Cancel>,
}

/// The k best rows of one shard's probed lists for one query, best first.
///
/// # Errors
/// [`crate::Error::Corrupt`].
pub(crate) fn scan_one<'a>(
    target: &'a Target<'a>,
    request: &Request<'a>,
    buffers: &mut Buffers,
) -> Result<Vec<Hit>> {
    request.lists.iter().for_each(|l| target.shard.prefetch_list(l.0));
    let mut asked = Asked::default();
    asked.ahead_of(0, request.lists, |l| l.0, target, buffers);
    let mut scan = QueryScan::new(target, request);
    let (warm, rest) =
        request.lists.split_at(scan.warm_lists(request.lists, buffers.tuning.warm_rows)?);
    if let Some(&(first, _)) = request.lists.first() {
        // No scan before it could fetch it.
        prefetch_all(target.shard.list_rows(first)?.codes);
    }
    scan.warm_up(warm, !rest.is_empty(), buffers)?;
    let of = |place: usize| rest.get(place).map(|l| ShardList::of(target, l.0)).transpose();
    let mut ahead = of(0)?;
    for (place, &(_, base)) in (1..).zip(rest) {
        asked.ahead_of(warm.len() + place, request.lists, |l| l.0, target, buffers);
        let Some(list) = ahead else { break };
        ahead = of(place)?;
        // The scan fetches a line for a line; what a longer list has beyond that is asked for here.
        let next = ahead.map_or(&[][..], |next| next.codes);
        prefetch_all(next.get(list.codes.len()..).unwrap_or_default());
        scan.list(&list, base, ahead.map_or(&[], |next| next.codes), buffers)?;
    }
    scan.finish(&buffers.candidates)
}

/// The k best of the rows that the filter allows, whatever lists they are in: each of them is
/// scored, and no list is scanned. Best first. `base` gives the score of a list's centroid.
///
/// # Errors
/// [`crate::Error::Corrupt`].
pub(crate) fn score_allowed<'a>(
    target: &'a Target<'a>,
    request: &Request<'a>,
    base: impl Fn(u32) -> f32,
    buffers: &mut Buffers,
) -> Result<Vec<Hit>> {
    let mut scan = QueryScan::new(target, request);
    scan.allowed(base, buffers)?;
    scan.finish(&buffers.candidates)
}

/// [`scan_one`] for several queries, with the same answers.
///
/// # Errors
/// [`crate::Error::Corrupt`].
pub(crate) fn scan_batch<'a>(
    target: &'a Target<'a>,
    requests: &[Request<'a>],
    sharing: Sharing,
    buffers: &mut Buffers,
) -> Result<Vec<Vec<Hit>>> {
    let mut scans: Vec<QueryScan<'a>> =
        requests.iter().map(|request| QueryScan::new(target, request)).collect();
    let warm_lists = |(scan, r): (&QueryScan<'_>, &Request<'_>)| {
        scan.warm_lists(r.lists, buffers.tuning.warm_rows)
    };
    let warm = scans.iter().zip(requests).map(warm_lists).collect::<Result<Vec<usize>>>()?;
    let plan = Plan::new(target, requests, &warm, sharing)?;
    for first in (0..scans.len()).step_by(SCAN_TILE) {
        let tile = first..(first + SCAN_TILE).min(scans.len());
        if buffers.reads_disk {
            let warm = tile.clone().flat_map(|i| &requests[i].lists[..warm[i]]);
            target.shard.will_need(warm.map(|l| l.0), &mut buffers.ranges);
        }
        for i in tile.clone() {
            let (lists, rest) = requests[i].lists.split_at(warm[i]);
            scans[i].warm_up(lists, !rest.is_empty(), buffers)?;
        }
        let alone: SmallVec<[&[(u32, f32)]; SCAN_TILE]> =
            tile.clone().map(|i| plan.alone(i)).collect();
        in_turn(target, &mut scans[tile], &alone, buffers)?;
    }
    plan.scan(target, &mut scans, buffers)?;
    scans.into_iter().map(|scan| scan.finish(&buffers.candidates)).collect()
}

/// Takes a tile of queries through the `lists` that each of them scans alone.
fn in_turn<'a>(
    target: &Target<'a>,
    scans: &mut [QueryScan<'a>],
    lists: &[&[(u32, f32)]],
    buffers: &mut Buffers,
) -> Result<()> {
    /// No link: the end of a chain, or a list without one.
    const NONE: u32 = u32::MAX;
    /// A query that scans a list; and the next one that does.
    struct Link {
        query: u32,
        base: f32,
        next: u32,
    }

    // Lists in the order in which the queries want them, nearest first, each with its chain of
    // queries.
    let mut chains = std::mem::take(&mut buffers.chains);
    chains.clear();
    chains.resize(target.model.parts().nlist, NONE);
    let (mut order, mut links) = (Vec::new(), Vec::new());
    for rank in 0..lists.iter().map(|lists| lists.len()).max().unwrap_or(0) {
        for (query, lists) in (0u32..).zip(lists) {
            let Some(&(list, base)) = lists.get(rank) else { continue };
            let chain = &mut chains[list as usize];
            if *chain == NONE {
                target.shard.prefetch_list(list);
                order.push(list);
            }
            links.push(Link { query, base, next: *chain });
            *chain = links.len() as u32 - 1;
        }
    }
    let mut asked = Asked::default();
    asked.ahead_of(0, &order, |&l| l, target, buffers);
    let of = |place: usize| order.get(place).map(|&l| ShardList::of(target, l)).transpose();
    let mut ahead = of(0)?;
    for (place, &number) in (1..).zip(&order) {
        asked.ahead_of(place, &order, |&l| l, target, buffers);
        let Some(list) = ahead else { break };
        ahead = of(place)?;
        // The first query of a list fetches the next list; for the others that is done.
        let mut next = ahead.map_or(&[][..], |next| next.codes);
        prefetch_all(next.get(list.codes.len()..).unwrap_or_default());
        let mut at = chains[number as usize];
        while let Some(link) = links.get(at as usize) {
            let scan = &mut scans[link.query as usize];
            scan.list(&list, link.base, std::mem::take(&mut next), buffers)?;
            at = link.next;
        }
    }
    buffers.chains = chains;
    Ok(())
}
