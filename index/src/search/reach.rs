//! The lists of a search with a filter.
//!
//! The nearest of the rows that a filter allows are farther away than the nearest of all rows, and
//! lie in more lists. So a filtered search scans more lists than `nprobe`: see
//! `docs/attributes.md` for the rule and what it was measured by.

use ocelli_vector::Simd;

use super::filter::{Reach, RowFilter};
use super::params::SearchParams;
use super::snapshot::Snapshot;
use crate::model::{ProbeBuffers, Query};

impl Snapshot {
    /// Whether a search scores each row that its filter allows, whatever list it is in.
    pub fn is_direct(&self, params: &SearchParams) -> bool {
        let nlist = self.model.parts().nlist;
        params.filter.as_ref().is_some_and(|filter| filter.is_direct(params.nprobe, nlist))
    }

    /// The lists that a search wants for its filter; `None` for `nprobe` lists.
    fn reach_of<'a>(&self, params: &'a SearchParams) -> Option<(&'a RowFilter, Reach)> {
        let filter = params.filter.as_deref().filter(|_| !self.is_direct(params))?;
        let reach = filter.reach(params.nprobe, self.model.parts().nlist, params.k as u64)?;
        Some((filter, reach))
    }

    /// Lists that a search asks the model for at first.
    pub(super) fn first_nprobe(&self, params: &SearchParams) -> usize {
        // A few more than will do on average, so that few searches ask twice.
        let more = |lists: usize| lists.saturating_add(lists / 2);
        self.reach_of(params).map_or(params.nprobe, |(_, reach)| more(reach.lists))
    }

    /// Makes the lists of a query, nearest first, those that its filter wants: with so many allowed
    /// rows that near ones are as likely found as without a filter, and at least k if there are k.
    pub(super) fn reach(
        &self,
        simd: Simd,
        query: &Query,
        params: &SearchParams,
        lists: &mut Vec<(u32, f32)>,
        probe: &mut ProbeBuffers,
    ) {
        let Some((filter, reach)) = self.reach_of(params) else { return };
        let nlist = self.model.parts().nlist;
        let mut asked = lists.len();
        while !filter.cut(lists, &reach) && asked < nlist {
            asked = asked.saturating_mul(4).min(nlist);
            *lists = self.model.probe_with(simd, query, asked, probe);
        }
    }
}
