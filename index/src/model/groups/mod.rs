//! Coarse probing at large nlist: groups of centroids instead of all of them.
//!
//! # What is found
//!
//! Centroids are grouped by k-means when a model is written. A query looks at the members of the
//! `groups` groups whose centres have the smallest exact cost (ties to the smaller group), and of
//! these members it takes the `nprobe` best by exact cost (ties to the smaller list). Both steps
//! are defined by floats in [`ocelli_vector::dense`]'s one order, so that the lists and their costs
//! are the same at every level, in a batch and alone. What is approximate is only that a near
//! centroid may sit in a group that is not looked at; with all groups, probing is exact.
//!
//! # How it is found
//!
//! Members lie together as bytes relative to their centre ([`ocelli_vector::relative`]): lower
//! bounds of their costs, and a proven error. The first groups give a threshold that the
//! `nprobe`-th best cannot exceed; a row whose bound is above it is out. Exact floats decide among
//! the rest. Below the level that has 8-bit products, floats decide among all members.

mod build;
mod section;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ocelli_vector::nearest::GroupedRows;
use ocelli_vector::relative::{self, ByteQuery, Rounded, Rows};
use ocelli_vector::smallest::kth_smallest_at_most;
use ocelli_vector::{Metric, Simd, dense, norm_sq};

use self::section::GroupsSection;
use crate::base::error::Result;
use crate::base::hash::Hash;
use crate::files::container::Reader;

/// Models of fewer lists get no groups: looking at all centroids is exact there and still cheap.
/// See `docs/decisions/0007-coarse-groups.md`.
pub const MIN_NLIST: usize = 1 << 16;

/// Models of so many lists put rows in lists by groups; with fewer lists all centroids are
/// compared. See `docs/decisions/0046-rows-meet-near-groups.md`.
pub const MIN_ASSIGN_NLIST: usize = 1 << 13;

/// Members looked at for the first threshold, for each list that is wanted.
const WARM_PER_LIST: usize = 4;

/// Number of groups that a model of `nlist` lists gets: 2 √nlist. Fewer groups have fewer centres
/// to look at, more of them come closer to what is near; around this number either hardly matters.
pub(crate) fn groups_of(nlist: usize) -> usize {
    (2 * nlist.isqrt()).clamp(1, nlist.max(1))
}

/// Groups that a query looks at unless told otherwise, of `groups`, when it wants `nprobe` lists: 3
/// √groups at nprobe 64, half of that at nprobe 1. `docs/decisions/0007-coarse-groups.md` has the
/// measurement.
pub(crate) fn default_effort(groups: usize, nprobe: usize) -> usize {
    let quarters = 6 + nprobe.max(1).ilog2() as usize;
    (groups.isqrt() * quarters).div_ceil(4).clamp(1, groups.max(1))
}

/// Groups that a row looks at on its way to a list, of `groups`: as many as a query that wants one
/// list.
pub(crate) fn assign_effort(groups: usize) -> usize {
    default_effort(groups, 1)
}

/// What a row or a query is compared with on its way to the nearest centroids, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Met {
    /// Centroids, and centres of groups.
    pub vectors: usize,
    /// Groups whose centroids they are; 0 if all are looked at.
    pub groups: usize,
}

impl Met {
    /// Those of a row on its way to one of `nlist` lists.
    pub fn by_row(nlist: usize) -> Self {
        Self::by(nlist, MIN_ASSIGN_NLIST, 1)
    }

    /// Those of a query that looks for the nearest `nprobe` of `nlist` lists.
    pub fn by_query(nlist: usize, nprobe: usize) -> Self {
        Self::by(nlist, MIN_NLIST, nprobe)
    }

    fn by(nlist: usize, grouped_from: usize, nprobe: usize) -> Self {
        if nlist < grouped_from {
            return Self { vectors: nlist, groups: 0 };
        }
        let all = groups_of(nlist);
        let groups = default_effort(all, nprobe);
        Self { vectors: all + groups * nlist / all, groups }
    }
}

/// Centroids in groups, ready to be probed.
#[derive(Debug)]
pub(crate) struct CoarseGroups {
    section: GroupsSection,
    centres: Centres,
}

/// Centres of groups as bytes relative to their mean.
#[derive(Debug)]
struct Centres {
    mean: Vec<f32>,
    /// At least the largest norm of a centre and of their mean.
    largest_norm: f32,
    bytes: Vec<u8>,
    norms: Vec<f32>,
    rounded: Rounded,
}

impl Centres {
    fn new(centres: &[f32], d: usize) -> Self {
        let mut sums = vec![0f64; d];
        for centre in centres.chunks_exact(d) {
            sums.iter_mut().zip(centre).for_each(|(s, &x)| *s += f64::from(x));
        }
        let n = (centres.len() / d) as f64;
        let mean: Vec<f32> = sums.iter().map(|s| (s / n) as f32).collect();
        let (mut bytes, mut norms) = (Vec::new(), Vec::new());
        let rounded = relative::round(centres.chunks_exact(d), &mean, &mut bytes, &mut norms);
        // Above what rounding can take off a sum of d squares.
        let norm = |row: &[f32]| norm_sq(row).sqrt() * (1.0 + (d + 8) as f32 * f32::EPSILON);
        let largest_norm = centres.chunks_exact(d).map(norm).fold(norm(&mean), f32::max);
        Self { mean, largest_norm, bytes, norms, rounded }
    }
}

/// A query that asks for lists.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The metric that compares the query and the centroids.
    pub metric: Metric,
    /// The query, (d,).
    pub q: &'a [f32],
    /// Number of lists wanted.
    pub nprobe: usize,
}

impl CoarseGroups {
    fn new(section: GroupsSection, d: usize) -> Self {
        let centres = Centres::new(section.centres(), d);
        Self { section, centres }
    }

    /// Groups `coarse` (nlist, d) of the model with this hash.
    pub fn build(simd: Simd, coarse: &[f32], d: usize, groups: usize, model: Hash) -> Self {
        Self::new(GroupsSection::build(simd, coarse, d, groups, model), d)
    }

    /// The groups in a model's file, proven; none if the file has no groups.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn open(file: &Arc<Reader>, nlist: usize, d: usize, model: Hash) -> Result<Option<Self>> {
        Ok(GroupsSection::open(file, nlist, d, model)?.map(|section| Self::new(section, d)))
    }

    /// The bytes of the section, as they are in a file.
    pub fn bytes(&self) -> &[u8] {
        self.section.bytes()
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.section.groups()
    }

    /// The groups to look at, best first, each with its centre's cost: the `effort` whose centres
    /// cost least, at least one, and as many more as it takes to have `nprobe` members.
    pub fn choose(&self, simd: Simd, want: &Wanted<'_>, effort: usize) -> Vec<(u32, f32)> {
        let mut effort = effort.clamp(1, self.groups());
        loop {
            let chosen = self.nearest(simd, want, effort);
            let members: usize = chosen.iter().map(|c| self.section.len(c.0)).sum();
            if members >= want.nprobe || effort == self.groups() {
                return chosen;
            }
            effort = (2 * effort).min(self.groups());
        }
    }

    /// Writes to `out` lists among which the `nprobe` best by exact cost of all members of the
    /// `chosen` groups are.
    pub fn gather(&self, simd: Simd, want: &Wanted<'_>, chosen: &[(u32, f32)], out: &mut Vec<u32>) {
        out.clear();
        if !self.shortlist(simd, want, chosen, out) {
            out.clear();
            chosen.iter().for_each(|&(group, _)| out.extend(self.section.members(group)));
        }
    }

    /// The centroids `coarse` (nlist, d), which are in these groups, for the assignment of many
    /// rows: with [`assign_effort`], what [`Self::assign`] says of each.
    pub fn rows<'a>(&'a self, coarse: &'a [f32], d: usize) -> GroupedRows<'a> {
        let members = (0..self.groups() as u32).map(|group| self.section.members(group));
        GroupedRows::new(coarse, d, self.section.centres(), members)
    }

    /// The nearest by L2 to z (d,) of the centroids in the groups whose centres are nearest to it,
    /// ties to the smaller list. Groups without a centroid do not count.
    pub fn assign(&self, simd: Simd, coarse: &[f32], z: &[f32]) -> u32 {
        let want = Wanted { metric: Metric::L2, q: z, nprobe: 1 };
        let near = self.nearest(simd, &want, self.groups());
        let filled = near.iter().filter(|(group, _)| self.section.len(*group) > 0);
        let looked_at = filled.take(assign_effort(self.groups()));
        let lists: Vec<u32> =
            looked_at.flat_map(|(group, _)| self.section.members(*group)).copied().collect();
        let mut distances = Vec::new();
        dense::l2_sqs_of(simd, z, coarse, &lists, &mut distances);
        let nearest = distances.into_iter().zip(lists).min_by(|a, b| {
            let (by_distance, by_list) = (a.0.total_cmp(&b.0), a.1.cmp(&b.1));
            by_distance.then(by_list)
        });
        nearest.map_or(0, |(_, list)| list)
    }

    /// The `wanted` groups whose centres cost least, best first, each with that cost.
    fn nearest(&self, simd: Simd, want: &Wanted<'_>, wanted: usize) -> Vec<(u32, f32)> {
        let (mut ids, mut costs) = (Vec::new(), Vec::new());
        if !self.near_centres(simd, want, wanted, &mut ids) {
            ids.clear();
            ids.extend(0..self.groups() as u32);
        }
        want.metric.of_rows(simd, want.q, self.section.centres(), &ids, &mut costs);
        want.metric.turn_to_costs(&mut costs);
        let mut groups: Vec<(u32, f32)> = ids.into_iter().zip(costs).collect();
        let best_first = |a: &(u32, f32), b: &(u32, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
        if wanted < groups.len() {
            groups.select_nth_unstable_by(wanted - 1, best_first);
            groups.truncate(wanted);
        }
        groups.sort_unstable_by(best_first);
        groups
    }

    /// Writes to `out` groups among which the `wanted` nearest are. False where bytes cannot tell.
    fn near_centres(
        &self,
        simd: Simd,
        want: &Wanted<'_>,
        wanted: usize,
        out: &mut Vec<u32>,
    ) -> bool {
        let Centres { mean, largest_norm, bytes, norms, rounded } = &self.centres;
        let q = want.q;
        if !has_bytes(simd, q) || 2 * wanted > self.groups() {
            return false;
        }
        let mut query = ByteQuery::default();
        let base = want.metric.cost(want.metric.of(q, mean));
        query.fill(simd, q, (want.metric == Metric::L2).then_some(mean));
        let slack = query.slack(want.metric, rounded, *largest_norm, base);
        if !is_sound(slack, base) {
            return false;
        }
        let mut bounds = Vec::new();
        let rows = Rows { len: self.groups(), bytes, norms, rounded: *rounded, next: &[] };
        query.survivors(simd, want.metric, &rows, base, slack, f32::INFINITY, 0, &mut bounds, out);
        let limit = limit(simd, &bounds, wanted, slack);
        keep(&mut bounds, out, limit);
        true
    }

    /// As [`Self::gather`], by bytes. False where bytes cannot tell.
    fn shortlist(
        &self,
        simd: Simd,
        want: &Wanted<'_>,
        chosen: &[(u32, f32)],
        out: &mut Vec<u32>,
    ) -> bool {
        let Wanted { metric, q, nprobe } = *want;
        if !has_bytes(simd, q) {
            return false;
        }
        let (mut bounds, mut slots) = (Vec::new(), Vec::new());
        let mut query = ByteQuery::default();
        if metric == Metric::InnerProduct {
            query.fill(simd, q, None);
        }
        let centres = self.section.centres();
        let (mut largest_slack, mut threshold) = (0f64, f32::INFINITY);
        let warm = nprobe.saturating_mul(WARM_PER_LIST);
        let mut refresh = warm;
        for (i, &(group, base)) in chosen.iter().enumerate() {
            let mut rows = self.section.rows(group);
            if let Some(&(next, _)) = chosen.get(i + 1) {
                rows.next = self.section.rows(next).bytes;
            }
            if metric == Metric::L2 {
                query.fill(simd, q, Some(&centres[group as usize * q.len()..][..q.len()]));
            }
            let slack = query.slack(metric, &rows.rounded, self.centres.largest_norm, base);
            if !is_sound(slack, base) {
                return false;
            }
            largest_slack = largest_slack.max(slack);
            let first = self.section.first(group);
            query.survivors(
                simd,
                metric,
                &rows,
                base,
                slack,
                threshold,
                first,
                &mut bounds,
                &mut slots,
            );
            if bounds.len() >= refresh || i + 1 == chosen.len() {
                threshold = threshold.min(limit(simd, &bounds, nprobe, largest_slack));
                keep(&mut bounds, &mut slots, threshold);
                refresh = bounds.len() + warm;
            }
        }
        let lists = self.section.lists();
        out.extend(slots.iter().map(|&slot| lists[slot as usize]));
        true
    }
}

/// Whether bytes can be used for a query at all.
fn has_bytes(simd: Simd, q: &[f32]) -> bool {
    relative::has_level(simd) && q.len() <= relative::MAX_D
}

/// Whether sums of bounds, thresholds and slacks stay floats.
fn is_sound(slack: f64, base: f32) -> bool {
    slack + f64::from(base.abs()) < f64::from(f32::MAX) / 8.0
}

/// The most that the `wanted`-th best row costs: a row's cost is at most its bound and twice its
/// slack. A row that certainly costs more is not among the best.
fn limit(simd: Simd, bounds: &[f32], wanted: usize, largest_slack: f64) -> f32 {
    let reached = kth_smallest_at_most(simd, bounds, wanted.min(bounds.len()));
    ((f64::from(reached) + 2.0 * largest_slack) as f32).next_up()
}

/// Drops rows whose bounds are above `limit`.
fn keep(bounds: &mut Vec<f32>, rows: &mut Vec<u32>, limit: f32) {
    let mut kept = 0;
    for at in 0..bounds.len() {
        bounds[kept] = bounds[at];
        rows[kept] = rows[at];
        kept += usize::from(bounds[at] <= limit);
    }
    bounds.truncate(kept);
    rows.truncate(kept);
}
