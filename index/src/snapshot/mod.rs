//! One opened generation: its model and its shards. What it holds is here, how it is searched in
//! `search`.

mod search;
#[cfg(test)]
mod tests;
mod verify;

use std::path::Path;
use std::sync::Arc;

use roaring::RoaringBitmap;

pub use self::search::{RangeResult, SearchParams, SearchResult, StageTimes};
use crate::commit::{open_named, read_tombstones};
use crate::engine::Deleted;
use crate::error::{Error, FileTrouble, Result};
use crate::filter::{Filter, Name, RowFilter, ShardFilter};
use crate::manifest::{Generation, IndexDir, ShardEntry};
use crate::model::Model;
use crate::refine::{Refinement, refined_model};
use crate::shard::Shard;

/// A row of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    /// Which of the snapshot's shards ([`Snapshot::shards`]).
    pub shard: u32,
    /// Row number in it.
    pub ordinal: u32,
}

/// A shard that could not answer, or a file that could not be opened.
#[derive(Clone, Debug)]
pub struct ShardFailure {
    /// Its name in the generation.
    pub name: String,
    /// Why.
    pub error: Error,
}

/// A shard of a snapshot with its deleted rows.
#[derive(Debug)]
struct Member {
    name: String,
    shard: Arc<Shard>,
    deleted: Option<Arc<Deleted>>,
}

/// What an earlier snapshot of the same directory still has mapped.
struct Earlier<'a> {
    snapshot: Option<&'a Snapshot>,
    /// What was taken over from it, and why.
    kept: Vec<ShardFailure>,
}

impl Earlier<'_> {
    /// `opened`; or, where the operating system does not give the file `name` any more, what `find`
    /// finds of it in the earlier snapshot. A mapping outlives the right to open its file.
    fn or_kept<T>(
        &mut self,
        name: &str,
        opened: Result<T>,
        find: impl FnOnce(&Snapshot) -> Option<T>,
    ) -> Result<T> {
        let error = match opened {
            Err(error) if error.trouble() == Some(FileTrouble::Refused) => error,
            other => return other,
        };
        let Some(found) = self.snapshot.and_then(find) else { return Err(error) };
        self.kept.push(ShardFailure { name: name.to_owned(), error });
        Ok(found)
    }
}

impl Member {
    fn open(
        dir: &IndexDir,
        model: &Model,
        generation: &Generation,
        entry: &ShardEntry,
        earlier: &mut Earlier<'_>,
    ) -> Result<Self> {
        let opened = open_named(&dir.shard_path(&entry.name)?, model, entry).map(Arc::new);
        let shard = earlier.or_kept(&entry.name, opened, |before| before.kept_shard(entry))?;
        let deleted = match generation.tombstones.get(&entry.name) {
            Some(hash) => {
                let path = dir.tombstones_path(hash);
                let tombstones = read_tombstones(&path, hash, shard.rows());
                let nlist = model.parts().nlist;
                let deleted = tombstones.map(|t| Arc::new(Deleted::new(t, nlist)));
                Some(earlier.or_kept(&entry.name, deleted, |before| {
                    let same = before.generation.tombstones.get(&entry.name) == Some(hash);
                    before.member(&entry.name).filter(|_| same)?.deleted.clone()
                })?)
            }
            None => None,
        };
        Ok(Self { name: entry.name.clone(), shard, deleted })
    }

    fn alive(&self, ordinal: u32) -> bool {
        self.deleted.as_ref().is_none_or(|d| !d.ordinals().contains(ordinal))
    }
}

/// One opened generation. Immutable; share it by `Arc` and keep it for the whole of a query.
#[derive(Debug)]
pub struct Snapshot {
    generation: Generation,
    model: Arc<Model>,
    members: Vec<Member>,
    /// Shards that could not be opened, where that was allowed: each fails alone.
    missing: Vec<ShardFailure>,
    /// Files that answer from an earlier mapping, since they could not be opened again.
    kept: Vec<ShardFailure>,
    dir: IndexDir,
}

impl Snapshot {
    /// Opens a generation of the index directory `root`: the current one, or the one asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such directory or generation; [`Error::ModelMismatch`];
    /// [`Error::Corrupt`]; [`Error::Io`].
    pub fn open(root: &Path, generation: Option<u64>) -> Result<Self> {
        Self::open_shards(root, generation, None, Err)
    }

    /// [`Self::open`], but a shard whose file is damaged, missing or refused fails alone: as one
    /// whose damage shows in the scan, it fails searches unless they allow a partial answer
    /// ([`Self::missing`]). What the operating system refuses to open answers from its mapping in
    /// `before`, a snapshot of the same directory, if that has it ([`Self::kept`]).
    ///
    /// # Errors
    /// As [`Self::open`], also where no shard can be opened.
    pub fn open_degraded(
        root: &Path,
        generation: Option<u64>,
        before: Option<&Self>,
    ) -> Result<Self> {
        Self::open_shards(root, generation, before, |error| match error.trouble() {
            Some(_) => Ok(error),
            None => Err(error),
        })
    }

    fn open_shards(
        root: &Path,
        generation: Option<u64>,
        before: Option<&Self>,
        broken: impl Fn(Error) -> Result<Error>,
    ) -> Result<Self> {
        let dir = IndexDir::open(root)?;
        let generation = match generation {
            Some(number) => dir.generation(number)?,
            None => dir.current()?.ok_or_else(|| {
                Error::not_found(format!("{}: the index has no generation yet", root.display()))
            })?,
        };
        let mut earlier = Earlier { snapshot: before, kept: Vec::new() };
        let path = dir.model_path(&generation.model);
        let kept_model = |before: &Self| {
            let same = before.model.hash() == generation.model && before.model.intact().is_ok();
            same.then(|| Arc::clone(&before.model))
        };
        let opened = Model::open(&path).and_then(|model| match model.hash() {
            found if found != generation.model => {
                Err(Error::ModelMismatch { path: path.clone(), expected: generation.model, found })
            }
            _ => Ok(Arc::new(model)),
        });
        let plain = earlier.or_kept("model", opened, kept_model)?;
        let mut members = Vec::with_capacity(generation.shards.len());
        let mut missing = Vec::new();
        for entry in &generation.shards {
            match Member::open(&dir, &plain, &generation, entry, &mut earlier) {
                Ok(member) => members.push(member),
                Err(error) => {
                    missing.push(ShardFailure { name: entry.name.clone(), error: broken(error)? });
                }
            }
        }
        if members.is_empty()
            && let Some(first) = missing.first()
        {
            return Err(first.error.clone());
        }
        let shards = || members.iter().map(|m| &*m.shard);
        let model = refined_model(&dir, plain, shards());
        let model = earlier.or_kept("refinement", model, |before| {
            let model = kept_model(before)?;
            let refinement = model.refinement()?;
            let fits = |shard: &Shard| match shard.fine() {
                Some(codes) => codes.check(shard.path(), refinement).is_ok(),
                None => true,
            };
            shards().all(fits).then(|| Arc::clone(&model))
        })?;
        let kept = earlier.kept;
        Ok(Self { generation, model, members, missing, kept, dir })
    }

    /// The member of this name.
    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The shard of this entry, if it is mapped here and sound as far as is known.
    fn kept_shard(&self, entry: &ShardEntry) -> Option<Arc<Shard>> {
        let same = self.generation.shards.contains(entry);
        let member = self.member(&entry.name).filter(|_| same)?;
        member.shard.intact().is_ok().then(|| Arc::clone(&member.shard))
    }

    /// The generation.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Its model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its shards, in plan order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.members.iter().map(|m| &*m.shard)
    }

    /// By what the best rows can be scored again: `None` unless every shard has finer codes.
    pub fn refinement(&self) -> Option<&Refinement> {
        let all = self.members.iter().all(|m| m.shard.fine().is_some());
        self.model.refinement().filter(|_| all)
    }

    /// Rows that are not deleted.
    pub fn rows(&self) -> u64 {
        let dead = |m: &Member| m.deleted.as_ref().map_or(0, |d| d.ordinals().len());
        self.members
            .iter()
            .map(|m| u64::from(m.shard.rows()) - dead(m).min(u64::from(m.shard.rows())))
            .sum()
    }

    /// Shards that could not be opened, with the reason; they are not among [`Self::shards`].
    pub fn missing(&self) -> impl ExactSizeIterator<Item = ShardFailure> {
        self.missing.iter().cloned()
    }

    /// Shards that answer from the mapping of an earlier snapshot, since the operating system did
    /// not let their files be opened again, each with the reason; also the model, as `model` or
    /// `refinement`. They would not be there after a restart.
    pub fn kept(&self) -> &[ShardFailure] {
        &self.kept
    }

    /// Name of the shard of a row.
    pub fn shard_name(&self, row: Row) -> Option<&str> {
        self.members.get(row.shard as usize).map(|m| m.name.as_str())
    }

    /// The shards that answer, each with its name.
    pub fn named_shards(&self) -> impl ExactSizeIterator<Item = (&str, &Shard)> {
        self.members.iter().map(|m| (m.name.as_str(), &*m.shard))
    }

    /// Proves all bytes of all shards that are not proven yet, which also brings them into memory:
    /// afterwards no search pays for it. Returns what failed; the others are warm.
    pub fn warm(&self) -> Vec<ShardFailure> {
        let prove = |m: &Member| match m.shard.file().prove_all().and_then(|()| m.shard.intact()) {
            Ok(()) => None,
            Err(error) => Some(ShardFailure { name: m.name.clone(), error }),
        };
        self.members.iter().filter_map(prove).collect()
    }

    /// The first row for which `find` finds an ordinal that is not deleted.
    fn find(&self, find: impl Fn(&Shard) -> Result<Option<u32>>) -> Result<Option<Row>> {
        for (shard, member) in (0u32..).zip(&self.members) {
            if let Some(ordinal) = find(&member.shard)?.filter(|&o| member.alive(o)) {
                return Ok(Some(Row { shard, ordinal }));
            }
        }
        Ok(None)
    }

    /// `row`, unless it was not found and a shard is missing that may hold it.
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

    fn shard_of(&self, row: Row) -> Result<&Shard> {
        let member = self.members.get(row.shard as usize);
        member
            .map(|m| &*m.shard)
            .ok_or_else(|| Error::not_found(format!("no shard {} in the generation", row.shard)))
    }

    /// Vector of a row in the space of x, (dim,): what its finest code says.
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
            // What is decoded is filled in below.
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

    /// ẑ (d,) of a row: what its finest code says.
    fn decoded(&self, row: Row) -> Result<Vec<f32>> {
        let shard = self.shard_of(row)?;
        match (self.model.refinement(), shard.fine()) {
            (Some(refinement), Some(_)) => refinement.row(&self.model, shard, row.ordinal),
            _ => {
                let (list, code) = shard.code(row.ordinal)?;
                Ok(self.model.decode(list, &code))
            }
        }
    }

    /// Key of a row, empty where it has none.
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
