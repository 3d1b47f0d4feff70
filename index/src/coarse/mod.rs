//! Coarse probing at large nlist: groups of centroids instead of all of them.
//!
//! # What is found
//!
//! Centroids are grouped by k-means when a model is written. A query looks at the members of the `groups`
//! groups whose centres have the smallest exact cost (ties to the smaller group), and of these members it
//! takes the `nprobe` best by exact cost (ties to the smaller list). Both steps are defined by floats in
//! [`ocelli_vector::dense`]'s one order, so that the lists and their costs are the same at every level, in
//! a batch and alone. What is approximate is only that a near centroid may sit in a group that is not
//! looked at; with all groups, probing is exact.
//!
//! # How it is found
//!
//! Members lie together as bytes relative to their centre ([`ocelli_vector::relative`]): lower bounds of
//! their costs, and a proven error. The first groups give a threshold that the `nprobe`-th best cannot
//! exceed; whoever's bound is above it is out. Exact floats decide among the rest, about one and a half
//! times `nprobe`. Below the level that has 8-bit products, floats decide among all members.

mod build;
mod section;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ocelli_vector::relative::{self, ByteQuery, Cost};
use ocelli_vector::shortlist::{ByteRows, kth_smallest_at_most};
use ocelli_vector::{Simd, dense};

use self::section::GroupsSection;
use crate::container::Reader;
use crate::error::Result;
use crate::hash::Hash;

/// Models of fewer lists get no groups: looking at all centroids is as fast, and exact. See
/// `docs/decisions/0005-coarse-groups.md`.
pub const MIN_NLIST: usize = 1 << 15;

/// Members looked at for the first threshold, for each list that is wanted.
const WARM_PER_LIST: usize = 4;

/// Number of groups that a model of `nlist` lists gets: the power of two next to 4 √nlist.
pub(crate) fn groups_of(nlist: usize) -> usize {
    let root = (nlist.max(1) as f64).sqrt();
    ((4.0 * root).log2().round().exp2() as usize).clamp(1, nlist.max(1))
}

/// Groups that a query looks at unless told otherwise, of `groups`, when it wants `nprobe` lists.
pub(crate) fn default_effort(groups: usize, nprobe: usize) -> usize {
    let _ = nprobe;
    groups.min(64)
}

/// Centroids in groups, ready to be probed.
#[derive(Debug)]
pub(crate) struct CoarseGroups {
    section: GroupsSection,
    /// Centres as bytes.
    centres: ByteRows,
}

impl CoarseGroups {
    fn new(section: GroupsSection, d: usize) -> Self {
        let centres = ByteRows::new(section.centres(), d);
        Self { section, centres }
    }

    /// Groups `coarse` (nlist, d) of the model with this hash.
    pub fn build(simd: Simd, coarse: &[f32], d: usize, groups: usize, model: Hash) -> Self {
        Self::new(GroupsSection::build(simd, coarse, d, groups, model), d)
    }

    /// The groups that stand in a model's file, if they do, proven.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn open(file: &Arc<Reader>, nlist: usize, d: usize, model: Hash) -> Result<Option<Self>> {
        Ok(GroupsSection::open(file, nlist, d, model)?.map(|section| Self::new(section, d)))
    }

    /// The section, as it stands in a file.
    pub fn bytes(&self) -> &[u8] {
        self.section.bytes()
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        self.section.groups()
    }

    /// Writes to `out` lists among which the `nprobe` best by exact cost of all members of the `effort`
    /// best groups are: at least one group, and as many more as it takes to have `nprobe` members.
    /// `beside` is a number that will be added to each exact cost.
    #[allow(clippy::too_many_arguments, reason = "a kernel on slices")]
    pub fn candidates(
        &self,
        simd: Simd,
        cost: Cost,
        q: &[f32],
        beside: f32,
        nprobe: usize,
        effort: usize,
        out: &mut Vec<u32>,
    ) {
        let mut effort = effort.clamp(1, self.groups());
        let mut chosen = self.nearest(simd, cost, q, effort);
        while effort < self.groups()
            && chosen.iter().map(|c| self.section.len(c.0)).sum::<usize>() < nprobe
        {
            effort = (2 * effort).min(self.groups());
            chosen = self.nearest(simd, cost, q, effort);
        }
        out.clear();
        let short = relative::has_level(simd) && q.len() <= relative::MAX_D;
        if !short || !self.shortlist(simd, cost, q, beside, nprobe, &chosen, out) {
            out.clear();
            chosen.iter().for_each(|&(group, _)| out.extend(self.section.members(group)));
        }
    }

    /// The `wanted` groups whose centres cost least, best first, each with that cost.
    fn nearest(&self, simd: Simd, cost: Cost, q: &[f32], wanted: usize) -> Vec<(u32, f32)> {
        let (mut ids, mut costs) = (Vec::new(), Vec::new());
        if !self.centres.shortlist(simd, cost, q, wanted, &mut costs, &mut ids) {
            ids.clear();
            ids.extend(0..self.groups() as u32);
        }
        match cost {
            Cost::L2 => dense::l2_sqs_of(simd, q, self.section.centres(), &ids, &mut costs),
            Cost::InnerProduct => {
                dense::dots_of(simd, q, self.section.centres(), &ids, &mut costs);
                costs.iter_mut().for_each(|c| *c = -*c);
            }
        }
        let mut groups: Vec<(u32, f32)> = ids.into_iter().zip(costs).collect();
        let best_first = |a: &(u32, f32), b: &(u32, f32)| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0));
        if wanted < groups.len() {
            groups.select_nth_unstable_by(wanted - 1, best_first);
            groups.truncate(wanted);
        }
        groups.sort_unstable_by(best_first);
        groups
    }

    /// As [`Self::candidates`] for chosen groups, by bytes. False where numbers are too large.
    #[allow(clippy::too_many_arguments, reason = "a kernel on slices")]
    fn shortlist(
        &self,
        simd: Simd,
        cost: Cost,
        q: &[f32],
        beside: f32,
        nprobe: usize,
        chosen: &[(u32, f32)],
        out: &mut Vec<u32>,
    ) -> bool {
        let (mut bounds, mut slots) = (Vec::new(), Vec::new());
        let mut query = ByteQuery::default();
        if cost == Cost::InnerProduct {
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
            if cost == Cost::L2 {
                query.fill(simd, q, Some(&centres[group as usize * q.len()..][..q.len()]));
            }
            let slack = query.slack(cost, &rows.rounded, base, beside);
            // So small that sums of a bound, a threshold and slacks stay floats.
            if !slack.is_finite() || slack + f64::from(base.abs()) > f64::from(f32::MAX) / 8.0 {
                return false;
            }
            largest_slack = largest_slack.max(slack);
            let first = self.section.first(group);
            query.survivors(
                simd,
                cost,
                &rows,
                base,
                slack,
                threshold,
                first,
                &mut bounds,
                &mut slots,
            );
            if bounds.len() >= refresh || i + 1 == chosen.len() {
                // A row's cost is at most its bound and twice its slack. So `nprobe` rows cost no more
                // than this, and who certainly costs more is out.
                let reached = kth_smallest_at_most(simd, &bounds, nprobe.min(bounds.len()));
                let limit = (f64::from(reached) + 2.0 * largest_slack) as f32;
                threshold = threshold.min(limit.next_up());
                let mut kept = 0;
                for at in 0..bounds.len() {
                    bounds[kept] = bounds[at];
                    slots[kept] = slots[at];
                    kept += usize::from(bounds[at] <= threshold);
                }
                bounds.truncate(kept);
                slots.truncate(kept);
                refresh = kept + warm;
            }
        }
        let lists = self.section.lists();
        out.extend(slots.iter().map(|&slot| lists[slot as usize]));
        true
    }
}
