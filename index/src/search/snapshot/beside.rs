//! Rows that are compared with each other: of one index or two, without some.

use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use super::evaluated::Evaluated;
use super::{Member, Snapshot};
use crate::base::error::{Error, Result};
use crate::base::level::simd;
use crate::model::Metric;
use crate::model::fine::{FineCodec, FineKind};
use crate::search::engine::Deleted;
use crate::search::hit::Row;
use crate::search::refine::decoded_row;

impl Snapshot {
    /// The same rows and, behind them, those of `other`, as if they were of one index: shards of
    /// `other` come behind its own. Rows of `left_out` (ordinals by shard; shards past its end lose
    /// none) are in no answer, as if they were deleted.
    ///
    /// # Errors
    /// [`Error::ModelMismatch`], [`Error::FineCodecMismatch`] for an `other` whose codes mean
    /// something else; the error of a shard that is missing.
    pub fn beside(&self, other: Option<&Self>, left_out: &[RoaringBitmap]) -> Result<Self> {
        if let Some(other) = other {
            self.same_codes(other)?;
        }
        let both = || std::iter::once(self).chain(other);
        if let Some(missing) = both().flat_map(|snapshot| &snapshot.missing).next() {
            return Err(missing.error.clone());
        }
        let (nlist, none) = (self.model.parts().nlist, RoaringBitmap::new());
        let mut members = Vec::new();
        for member in both().flat_map(|snapshot| &snapshot.members) {
            let out = left_out.get(members.len()).unwrap_or(&none);
            let deleted = match &member.deleted {
                deleted if out.is_empty() => deleted.clone(),
                Some(deleted) => Some(Arc::new(Deleted::new(deleted.ordinals() | out, nlist))),
                None => Some(Arc::new(Deleted::new(out.clone(), nlist))),
            };
            let Member { name, shard, version, .. } = member;
            let (name, shard, version) = (name.clone(), Arc::clone(shard), version.clone());
            members.push(Member { name, shard, deleted, version });
        }
        Ok(Self {
            generation: self.generation.clone(),
            model: Arc::clone(&self.model),
            members,
            missing: Vec::new(),
            kept: Vec::new(),
            evaluated: Evaluated::default(),
            schema: OnceLock::new(),
            model_versions: self.model_versions.clone(),
            reused: 0,
            dir: self.dir.clone(),
        })
    }

    /// Whether codes of the two mean the same.
    fn same_codes(&self, other: &Self) -> Result<()> {
        let (expected, found) = (self.model.hash(), other.model.hash());
        let path = other.dir.root().to_owned();
        if expected != found {
            return Err(Error::ModelMismatch { path, expected, found });
        }
        let codec = |snapshot: &Self| snapshot.model.fine_codec().map(FineCodec::hash);
        match (codec(self), codec(other)) {
            (Some(expected), Some(found)) if expected != found => {
                let name = self.model.fine_codec().map_or_else(String::new, FineCodec::name);
                let expected = format!("{expected} ({name})");
                Err(Error::FineCodecMismatch { path, expected, found })
            }
            (None, Some(_)) => Err(Error::invalid(format!(
                "{}: its rows have finer codes and those of {} have none: give them in the other \
                 order",
                path.display(),
                self.dir.root().display()
            ))),
            _ => Ok(()),
        }
    }

    /// Whether a row has a finer code.
    pub fn has_finer(&self, row: Row) -> bool {
        let member = self.members.get(row.shard as usize);
        self.model.fine_codec().is_some() && member.is_some_and(|member| member.shard.has_fine())
    }

    /// Appends ẑ (d,) of a row to `z`, decoded from its finer code, or else from the code that is
    /// scanned.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`]; [`Error::Invalid`] for a row without a finer code.
    pub fn decode_row(&self, row: Row, finer: bool, z: &mut Vec<f32>) -> Result<()> {
        let shard = self.shard_of(row)?;
        if finer {
            z.extend(decoded_row(&self.model, shard, row.ordinal)?);
        } else {
            let (list, code) = shard.code(row.ordinal)?;
            z.extend(self.model.decode(list, &code));
        }
        Ok(())
    }

    /// The scores of the decoded row `a` (d,) with each of the numbered `rows` (n, d), decoded the
    /// same way: writes `out` (numbers,). The same bits at every level. The score is the metric's;
    /// of finer codes that are compared by the cosine, it is the cosine.
    ///
    /// # Panics
    /// If a number is not that of a row.
    pub fn scores_of_decoded(
        &self,
        a: &[f32],
        rows: &[f32],
        numbers: &[u32],
        finer: bool,
        out: &mut Vec<f32>,
    ) {
        let (metric, query) = (self.model.metric(), self.model.as_query(a.to_vec()));
        let codec = self.model.fine_codec().filter(|_| finer);
        if let Some(codec) = codec.filter(|codec| codec.kind() == FineKind::Cosine) {
            let d = a.len();
            let row = |number: &u32| &rows[*number as usize * d..][..d];
            out.clear();
            out.extend(numbers.iter().map(|number| codec.score(&query, metric, row(number))));
            return;
        }
        metric.of_rows(simd(), &query.z, rows, numbers, out);
        if metric == Metric::InnerProduct {
            out.iter_mut().for_each(|score| *score = query.with_offset(metric, *score));
        }
    }
}
