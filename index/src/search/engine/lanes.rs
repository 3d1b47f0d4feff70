//! Tables of many queries side by side, and the scan of a list with them.
//!
//! # Why nothing is lost
//!
//! With a query's unit Δ′ ≥ Δ its entries are ⌊Δ · byte / Δ′⌋ at most ([`ByteTable::coarser`]), and
//! so with the sum S′ of a row, of which saturation may have cut a part, cost ≥ b_l + Σⱼ lowⱼ +
//! min_l + Δ′ · S′, as with S in the [module docs](super). The threshold is that of
//! [`QueryBound::threshold`] in units of Δ′.
//!
//! [`QueryBound::threshold`]: super::bound::QueryBound::threshold

use ocelli_vector::Simd;
use ocelli_vector::interleaved::{self, Found, LARGEST, List, MAX_LANES, Tables};
use ocelli_vector::lut::ByteTable;
use smallvec::SmallVec;

use super::bound::ListBound;
use super::list::ShardList;
use crate::model::Model;
use crate::shard::ListEntry;

/// Rows of a list that are scanned at a time: thresholds follow what was found, and what is found
/// stays near.
pub(super) const SEGMENT: usize = 4096;
/// Bytes between the tables of two queries: were tables a power of two apart, the same entry of all
/// of them would compete for one place of the first-level cache.
const APART: usize = 64;

/// Tables of queries in units of their own, and what a scan with some of them needs.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// Bytes of a table.
    entries: usize,
    /// The queries' tables, [`APART`] bytes apart.
    own: Vec<u8>,
    tables: Tables,
    found: Vec<Found>,
    /// Rows that were found, for each query that scans.
    places: Vec<Vec<u32>>,
}

impl Lanes {
    /// Room for the tables of `queries`.
    pub fn start(&mut self, model: &Model, queries: usize) {
        self.entries = model.layout().m() << model.layout().bits();
        self.own.resize(queries * (self.entries + APART), 0);
        self.places.resize_with(MAX_LANES, Vec::new);
    }

    /// Sets the table of a query, in a unit for which `room`, what rows may cost above their least,
    /// is as much as a sum can tell. Returns the unit; `None` where no unit is.
    pub fn set(&mut self, simd: Simd, query: usize, table: &ByteTable, room: f64) -> Option<f64> {
        let step = room.max(0.0) / f64::from(LARGEST) * (1.0 + 1e-9);
        let own = &mut self.own[query * (self.entries + APART)..][..self.entries];
        step.is_finite().then(|| table.coarser(simd, step, own))
    }

    /// Interleaves the tables of some queries, up to [`MAX_LANES`].
    pub fn interleave(&mut self, simd: Simd, queries: impl ExactSizeIterator<Item = usize>) {
        let mut lanes: [&[u8]; MAX_LANES] = [&[]; MAX_LANES];
        let len = queries.len();
        for (lane, query) in lanes.iter_mut().zip(queries) {
            *lane = &self.own[query * (self.entries + APART)..][..self.entries];
        }
        self.tables.fill(simd, &lanes[..len]);
    }

    /// Sets what the rows' terms of a list add to each of the interleaved queries' sums; `units`
    /// are the queries'.
    pub fn terms(
        &mut self,
        simd: Simd,
        entry: &ListEntry,
        units: impl ExactSizeIterator<Item = f64>,
    ) {
        let mut factors = [0; MAX_LANES];
        for (factor, unit) in factors.iter_mut().zip(units) {
            // A cast saturates, and rounds down as it must.
            *factor = (256.0 * f64::from(entry.scalar_step) / unit * (1.0 - 1e-9)) as u16;
        }
        self.tables.set_terms(simd, &factors);
    }

    /// Scans rows `start..` of a list, at most [`SEGMENT`], for the interleaved queries, and gives
    /// the number of the rows' end. [`Self::found`] then has what was found. `next` is what will be
    /// wanted next: codes, and queries.
    pub fn scan(
        &mut self,
        simd: Simd,
        model: &Model,
        list: &ShardList<'_>,
        start: usize,
        thresholds: &[u16; MAX_LANES],
        next: (&[u8], impl Iterator<Item = usize>),
    ) -> usize {
        let end = (start + SEGMENT).min(list.len());
        let table = |query| &self.own[query * (self.entries + APART)..][..self.entries];
        let mut soon: SmallVec<[&[u8]; MAX_LANES + 1]> = next.1.map(table).collect();
        soon.push(next.0);
        let part = List {
            codes: &list.codes[start * model.layout().columns()..],
            len: end - start,
            terms: list.terms().map_or(&[], |terms| &terms[start..end]),
            next: &soon,
        };
        self.found.clear();
        let found = &mut self.found;
        interleaved::survivors(simd, model.layout(), part, &self.tables, thresholds, found);
        self.places.iter_mut().for_each(Vec::clear);
        for Found { row, lanes } in &self.found {
            let mut lanes = *lanes;
            while lanes != 0 {
                self.places[lanes.trailing_zeros() as usize].push(row + start as u32);
                lanes &= lanes - 1;
            }
        }
        end
    }

    /// The places in the list of what was found for one of the interleaved queries, ascending.
    pub fn found(&mut self, lane: usize) -> &mut Vec<u32> {
        &mut self.places[lane]
    }
}

/// The threshold of a sum in units: rows whose sum is above it cost more than `room` above their
/// least. `None` where every row does, whatever its sum.
pub(super) fn threshold(bound: &ListBound, room: f64, unit: f64) -> Option<u16> {
    if !bound.sound {
        return Some(u16::MAX);
    }
    // A cast saturates, and then every row is found. A NaN is no room.
    (room >= 0.0).then_some((room / unit) as u16)
}
