//! Rows of a snapshot: found by id and key; their vectors, ids and keys.

use roaring::RoaringBitmap;

use super::Snapshot;
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

    /// Looks the names of a filter up, so that searches of this snapshot can use it.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn resolve(&self, filter: &Filter) -> Result<RowFilter> {
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
            shards.iter_mut().for_each(|shard| shard.allow = Some(RoaringBitmap::new()));
            for name in allow {
                if let Some(row) = row(name)?
                    && let Some(allow) = &mut shards[row.shard as usize].allow
                {
                    allow.insert(slot(row)?);
                }
            }
        }
        let count = |s: &ShardFilter| s.allow.as_ref().map_or(0, RoaringBitmap::len);
        let allowed = filter.allow.as_ref().map(|_| shards.iter().map(count).sum());
        let (generation, direct) = (self.generation.number, RowFilter::DIRECT);
        Ok(RowFilter { shards, generation, allowed, direct })
    }
}
