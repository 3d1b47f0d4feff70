//! Rows of a snapshot: found by id and key; their vectors, ids and keys.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::{Member, Snapshot};
use crate::attributes::Predicate;
use crate::attributes::predicate::Bound;
use crate::base::error::{Error, Result};
use crate::search::filter::{Filter, Name, RowFilter, ShardFilter};
use crate::search::hit::Row;
use crate::search::refine::decoded_row;
use crate::shard::Shard;

impl Snapshot {
    /// The first row for which `find` finds an ordinal that is not deleted.
    fn find(&self, find: impl Fn(&Shard) -> Result<Option<u32>>) -> Result<Option<Row>> {
        for (shard, member) in (0u32..).zip(&self.members) {
            if let Some(ordinal) = find(&member.shard)?.filter(|&o| member.alive(o)) {
                return Ok(Some(Row { shard, ordinal }));
            }
        }
        Ok(None)
    }

    /// `row`; an error where it was not found and a shard is missing that may hold it.
    fn certain(&self, row: Option<Row>) -> Result<Option<Row>> {
        match (row, self.missing.first()) {
            (None, Some(missing)) => Err(missing.error.clone()),
            (row, _) => Ok(row),
        }
    }

    /// Row of an id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_id(&self, id: u64) -> Result<Option<Row>> {
        self.certain(self.find(|shard| shard.find_id(id))?)
    }

    /// Row of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_key(&self, key: &str) -> Result<Option<Row>> {
        self.certain(self.find(|shard| shard.find_key(key))?)
    }

    pub(in crate::search) fn shard_of(&self, row: Row) -> Result<&Shard> {
        let member = self.members.get(row.shard as usize);
        member
            .map(|m| &*m.shard)
            .ok_or_else(|| Error::not_found(format!("no shard {} in the generation", row.shard)))
    }

    /// Vector of a row in the space of x, (dim,), decoded from its finest code.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn vector(&self, row: Row) -> Result<Vec<f32>> {
        let vector = self.model.restore(self.decoded(row)?);
        self.model.intact()?;
        Ok(vector)
    }

    /// [`Self::vector`] of each of `rows`, the same bits; several are several times as fast
    /// together where the model has a rotation.
    ///
    /// # Errors
    /// A damaged model; for each row, as [`Self::vector`].
    pub fn vectors(&self, rows: impl IntoIterator<Item = Row>) -> Result<Vec<Result<Vec<f32>>>> {
        let (mut z, mut vectors) = (Vec::new(), Vec::new());
        for row in rows {
            // The vector itself is filled in below.
            vectors.push(self.decoded(row).map(|decoded| {
                z.extend(decoded);
                Vec::new()
            }));
        }
        let x = self.model.restore(z);
        let decoded = vectors.iter_mut().flatten();
        decoded.zip(x.chunks_exact(self.model.parts().dim)).for_each(|(v, x)| *v = x.to_vec());
        self.model.intact()?;
        Ok(vectors)
    }

    /// ẑ (d,) of a row, decoded from its finest code.
    fn decoded(&self, row: Row) -> Result<Vec<f32>> {
        let shard = self.shard_of(row)?;
        if self.model.fine_codec().is_some() && shard.fine().is_some() {
            return decoded_row(&self.model, shard, row.ordinal);
        }
        let (list, code) = shard.code(row.ordinal)?;
        Ok(self.model.decode(list, &code))
    }

    /// Key of a row, empty if it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn key(&self, row: Row) -> Result<String> {
        self.shard_of(row)?.key(row.ordinal)
    }

    /// Id of a row.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn id(&self, row: Row) -> Result<u64> {
        self.shard_of(row)?.id(row.ordinal)
    }

    /// Attributes of a row ([`crate::attributes::record`]); empty if it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`].
    pub fn record(&self, row: Row) -> Result<Vec<u8>> {
        self.shard_of(row)?.record(row.ordinal)
    }

    /// Looks the names of a filter up and evaluates its predicate, so that searches of this
    /// snapshot can use it. The last predicates are remembered.
    ///
    /// # Errors
    /// [`Error::Corrupt`], but where attributes are damaged: these fail the searches;
    /// [`Error::Invalid`] for a predicate that does not fit the columns ([`Predicate::bind`]).
    pub fn resolve(&self, filter: &Filter) -> Result<RowFilter> {
        let passing = filter.predicate.as_ref().map(|p| self.passing(p)).transpose()?;
        if let Some(passing) = &passing
            && filter.allow.is_none()
            && filter.deny.is_empty()
        {
            return Ok(passing.clone());
        }
        let (mut shards, mut failed) = (self.rows_by_name(filter)?, Vec::new());
        if let Some(passing) = passing {
            failed = passing.failed;
            for (shard, passing) in shards.iter_mut().zip(passing.shards) {
                shard.allow = match (shard.allow.take(), passing.allow) {
                    (Some(names), Some(passing)) => Some(Arc::new(&*names & &*passing)),
                    (one, other) => one.or(other),
                };
            }
        }
        self.row_filter(shards, failed)
    }

    /// The rows that a filter's names allow and deny.
    fn rows_by_name(&self, filter: &Filter) -> Result<Vec<ShardFilter>> {
        let mut shards = vec![ShardFilter::default(); self.members.len()];
        let row = |name: &Name| match name {
            Name::Id(id) => self.find(|shard| shard.find_id(*id)),
            Name::Key(key) => self.find(|shard| shard.find_key(key)),
        };
        let slot = |row: Row| Ok::<u32, Error>(self.shard_of(row)?.place(row.ordinal)?.1);
        for name in &filter.deny {
            if let Some(row) = row(name)? {
                shards[row.shard as usize].deny.insert(slot(row)?);
            }
        }
        if let Some(allow) = &filter.allow {
            let mut slots = vec![RoaringBitmap::new(); shards.len()];
            for name in allow {
                if let Some(row) = row(name)? {
                    slots[row.shard as usize].insert(slot(row)?);
                }
            }
            shards.iter_mut().zip(slots).for_each(|(s, slots)| s.allow = Some(Arc::new(slots)));
        }
        Ok(shards)
    }

    /// The rows for which a predicate is true and that are not deleted.
    fn passing(&self, predicate: &Predicate) -> Result<RowFilter> {
        self.evaluated.get(&predicate.to_string(), || {
            let schema = self.schema()?;
            let bound = match self.missing.is_empty() {
                true => predicate.bind(&schema)?,
                false => predicate.bind_without(&schema)?,
            };
            let mut shards = Vec::with_capacity(self.members.len());
            let mut failed = Vec::new();
            for member in &self.members {
                let slots = passing_slots(member, &bound).unwrap_or_else(|error| {
                    failed.push((member.name.clone(), error));
                    RoaringBitmap::new()
                });
                let allow = Some(Arc::new(slots));
                shards.push(ShardFilter { allow, ..ShardFilter::default() });
            }
            self.row_filter(shards, failed)
        })
    }

    /// A filter of these rows.
    fn row_filter(
        &self,
        shards: Vec<ShardFilter>,
        failed: Vec<(String, Error)>,
    ) -> Result<RowFilter> {
        let count = |s: &ShardFilter| s.allow.as_ref().map(|allow| allow.len());
        let allowed: Option<u64> = shards.iter().map(count).sum();
        let allowed = allowed.filter(|_| !shards.is_empty());
        let list_rows = allowed.map(|_| self.list_rows(&shards)).transpose()?;
        let (generation, direct) = (self.generation.number, RowFilter::DIRECT);
        let rows = self.members.iter().map(|member| u64::from(member.shard.rows())).sum();
        Ok(RowFilter { shards, generation, allowed, rows, list_rows, failed, direct })
    }

    /// Allowed rows of each list in all shards.
    fn list_rows(&self, shards: &[ShardFilter]) -> Result<Arc<[u32]>> {
        let mut rows = vec![0u32; self.model.parts().nlist];
        for (member, ShardFilter { allow, deny }) in self.members.iter().zip(shards) {
            let Some(allow) = allow else { continue };
            let without = (!deny.is_empty()).then(|| &**allow - deny);
            let slots = without.as_ref().unwrap_or(allow);
            for (list, rows) in (0u32..).zip(&mut rows) {
                let entry = member.shard.list(list)?;
                let end = entry.first.saturating_add(entry.len);
                let of_list = slots.range_cardinality(entry.first..end);
                *rows = rows.saturating_add(of_list as u32);
            }
            member.shard.intact()?;
        }
        Ok(rows.into())
    }
}

/// The slots of a shard for which a predicate is true, without deleted rows.
fn passing_slots(member: &Member, bound: &Bound) -> Result<RoaringBitmap> {
    let shard = &member.shard;
    let mut slots = match shard.columns() {
        Some(columns) => bound.slots(shard.file(), columns)?,
        None if bound.holds_for_nulls() => {
            let mut all = RoaringBitmap::new();
            all.insert_range(0..shard.rows());
            all
        }
        None => RoaringBitmap::new(),
    };
    if let Some(deleted) = &member.deleted {
        slots -= deleted.slots(shard)?;
    }
    Ok(slots)
}
