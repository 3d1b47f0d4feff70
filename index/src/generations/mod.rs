//! Generations: which shards are the index, and which generation is current.
//!
//! ```text
//! models/<hash>.model         immutable
//! shards/<name>.shard         immutable
//! tombstones/<hash>.roaring   immutable
//! deletes/<hash>              immutable
//! generations/<n>.json        immutable
//! erased/<hash>.json          which names were erased, and which shards hold rows of them
//! CURRENT                     "<n> <checksum>", changed by compare-and-swap only
//! ```

pub mod change;
pub mod commit;
pub mod deletes;
pub mod erased;
pub mod garbage;
pub mod manifest;
pub(crate) mod named;
pub mod names;
pub mod recover;
pub mod storage;
#[cfg(test)]
mod tests;
pub(crate) mod unique;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roaring::RoaringBitmap;

use self::change::{Change, CommitOptions};
use self::manifest::{Sealed, checksum_of};
use self::storage::{LocalStorage, Storage, Version};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Writer, Written};
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::shard::{ShardBuilder, ShardEntry};

pub use self::manifest::{Dba, Generation, MadeBy, NewGeneration};

const CURRENT: &str = "CURRENT";

/// An index directory: the names of its objects, and the generations among them. All of it goes
/// through one [`Storage`].
#[derive(Clone, Debug)]
pub struct IndexDir {
    storage: Arc<dyn Storage>,
}

impl IndexDir {
    /// An index directory of the local file system that exists.
    ///
    /// # Errors
    /// [`Error::NotFound`] if `root` is no folder.
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_in(Arc::new(LocalStorage::new(root)))
    }

    /// An index directory of the local file system, made if it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(root: &Path) -> Result<Self> {
        Self::create_in(Arc::new(LocalStorage::new(root)))
    }

    /// The index in a storage that exists.
    ///
    /// # Errors
    /// Those of [`Storage::check`].
    pub fn open_in(storage: Arc<dyn Storage>) -> Result<Self> {
        storage.check()?;
        Ok(Self { storage })
    }

    /// The index in a storage, which is prepared for its first object.
    ///
    /// # Errors
    /// Those of [`Storage::prepare`].
    pub fn create_in(storage: Arc<dyn Storage>) -> Result<Self> {
        storage.prepare()?;
        Ok(Self { storage })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.storage.root()
    }

    /// Local file of a model.
    ///
    /// # Errors
    /// Those of [`Storage::local_path`].
    pub fn model_path(&self, model: &Hash) -> Result<PathBuf> {
        self.storage.local_path(&names::model(model, None))
    }

    /// Local file of a model together with one of its fine codecs.
    ///
    /// # Errors
    /// Those of [`Storage::local_path`].
    pub fn fine_model_path(&self, model: &Hash, codec: &Hash) -> Result<PathBuf> {
        self.storage.local_path(&names::model(model, Some(codec)))
    }

    /// Opens a model, with one of its fine codecs if that is named.
    ///
    /// # Errors
    /// Those of [`Model::open`]; [`Error::ModelMismatch`] and [`Error::FineCodecMismatch`] where
    /// the file holds another one than its name says.
    pub fn model(&self, model: &Hash, codec: Option<&Hash>) -> Result<Model> {
        let path = match codec {
            Some(codec) => self.fine_model_path(model, codec)?,
            None => self.model_path(model)?,
        };
        let opened = Model::open(&path)?;
        if opened.hash() != *model {
            return Err(Error::ModelMismatch { path, expected: *model, found: opened.hash() });
        }
        let Some(codec) = codec else { return Ok(opened) };
        match opened.fine_codec().map(FineCodec::hash) {
            Some(found) if found == *codec => Ok(opened),
            Some(found) => {
                Err(Error::FineCodecMismatch { path, expected: codec.to_string(), found })
            }
            None => Err(Error::corrupt(&path, format!("no fine codec, expected {codec}"))),
        }
    }

    /// Local file of a shard.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the name is no plain file name: a manifest must not lead out of the
    /// directory; those of [`Storage::local_path`].
    pub fn shard_path(&self, name: &str) -> Result<PathBuf> {
        self.storage.local_path(&names::shard(name)?)
    }

    /// The version of a shard's file, or `None` if there is no such file.
    ///
    /// # Errors
    /// [`Error::Invalid`] as in [`IndexDir::shard_path`]; those of [`Storage::version`].
    pub fn shard_version(&self, name: &str) -> Result<Option<Version>> {
        self.storage.version(&names::shard(name)?)
    }

    /// The versions of a model's file, and of the one that also holds `codec`, if that is given.
    /// `None` means a file that is missing or cannot be looked at.
    pub(crate) fn model_versions(
        &self,
        model: &Hash,
        codec: Option<&Hash>,
    ) -> [Option<Version>; 2] {
        let version =
            |codec: Option<&Hash>| self.storage.version(&names::model(model, codec)).ok().flatten();
        [version(None), codec.and_then(|codec| version(Some(codec)))]
    }

    /// The number and checksum in CURRENT, without a look at the generation; `None` in an index
    /// without one. Equal ones name one generation.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Io`].
    pub fn current_name(&self) -> Result<Option<(u64, Hash)>> {
        Ok(self.read_current()?.map(|(number, checksum, _)| (number, checksum)))
    }

    /// The versions of the files that decide whether the current generation can be opened, by name.
    /// Equal versions mean that another attempt to open it would end as the last one did. `None`
    /// means a file that is missing or cannot be looked at.
    pub fn versions(&self) -> Vec<(String, Option<Version>)> {
        let mut names = vec![CURRENT.to_owned()];
        let generations = self.storage.list("generations").unwrap_or_default();
        names.extend(generations.into_iter().map(|name| format!("generations/{name}")));
        if let Ok(Some(generation)) = self.current() {
            names.push(names::model(&generation.model, None));
            let shards = generation.shards.iter();
            names.extend(shards.filter_map(|entry| names::shard(&entry.name).ok()));
        }
        let version = |name: &String| self.storage.version(name).ok().flatten();
        names.into_iter().map(|name| (name.clone(), version(&name))).collect()
    }

    /// Writes the file of a model, and if it has a fine codec, a second one that holds it too.
    /// So no file is ever replaced by another content: earlier generations keep the codec that they
    /// had. Returns the file that holds everything.
    ///
    /// # Errors
    /// [`Error::Io`]; those of [`Model::verify`].
    pub fn put_model(&self, model: &Model) -> Result<Written> {
        let put = |codec: Option<&FineCodec>| {
            let name = names::model(&model.hash(), codec.map(FineCodec::hash).as_ref());
            let file = self.storage.start("models", name.strip_prefix("models/"))?;
            model.write_to(Writer::new(file, FileKind::Model), codec)
        };
        let plain = put(None)?;
        match model.fine_codec() {
            Some(codec) => put(Some(codec)),
            None => Ok(plain),
        }
    }

    /// Writes a shard under a name made of `plan`, `task` and its content, and returns what a
    /// generation needs to know of it. An equal shard that is there already is replaced by itself.
    ///
    /// # Errors
    /// Those of [`ShardBuilder::write`].
    pub fn put_shard(&self, shard: ShardBuilder<'_>, plan: Hash, task: u32) -> Result<ShardEntry> {
        let file = Writer::new(self.storage.start("shards", None)?, FileKind::Shard);
        shard.write_to(file, plan, task)
    }

    /// Writes the set of a shard's deleted ordinals, and returns the hash that names it. A damaged
    /// object of that name is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn put_tombstones(&self, ordinals: &RoaringBitmap) -> Result<Hash> {
        let bytes = tombstone_bytes(ordinals)?;
        let hash = Hash::of(&bytes);
        self.put_hashed(&names::tombstones(&hash), &bytes)?;
        Ok(hash)
    }

    /// Writes an object that its SHA-256 names. One that has other bytes is damaged, and replaced.
    fn put_hashed(&self, name: &str, bytes: &[u8]) -> Result<()> {
        match self.storage.create(name, bytes) {
            Err(Error::Conflict { .. }) => {
                let damaged = self.storage.read(name)?;
                self.storage.swap(name, damaged.as_deref(), bytes)
            }
            done => done,
        }
    }

    /// The path and the bytes of an object that its SHA-256 names.
    fn read_hashed(&self, name: &str, hash: &Hash) -> Result<(PathBuf, Vec<u8>)> {
        let path = self.root().join(name);
        let missing = || Error::io(&path, "read", io::ErrorKind::NotFound.into());
        let bytes = self.storage.read(name)?.ok_or_else(missing)?;
        let found = Hash::of(&bytes);
        if found != *hash {
            return Err(Error::corrupt(&path, format!("SHA-256 {found}, expected {hash}")));
        }
        Ok((path, bytes))
    }

    /// Deleted rows of a shard of `rows` rows: a roaring bitmap whose object is named by its
    /// SHA-256.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`].
    pub fn tombstones(&self, hash: &Hash, rows: u32) -> Result<RoaringBitmap> {
        let (path, bytes) = self.read_hashed(&names::tombstones(hash), hash)?;
        let tombstones = RoaringBitmap::deserialize_from(bytes.as_slice())
            .map_err(|e| Error::corrupt(&path, e.to_string()))?;
        match tombstones.max().filter(|&last| last >= rows) {
            Some(last) => Err(Error::corrupt(&path, format!("ordinal {last} of {rows} rows"))),
            None => Ok(tombstones),
        }
    }

    /// Numbers of the generations that exist, ascending.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn generations(&self) -> Result<Vec<u64>> {
        let names = self.storage.list("generations")?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The number of the current generation and the checksum that CURRENT gives for it.
    fn read_current(&self) -> Result<Option<(u64, Hash, Vec<u8>)>> {
        let Some(bytes) = self.storage.read(CURRENT)? else { return Ok(None) };
        let parsed = std::str::from_utf8(&bytes).ok().and_then(|text| {
            let (number, hash) = text.strip_suffix('\n')?.split_once(' ')?;
            Some((number.parse().ok()?, hash.parse().ok()?))
        });
        match parsed {
            Some((number, hash)) => Ok(Some((number, hash, bytes))),
            None => Err(Error::corrupt(
                &self.root().join(CURRENT),
                format!(
                    "expected \"<number> <checksum>\", found {:?}",
                    String::from_utf8_lossy(&bytes)
                ),
            )),
        }
    }

    /// The current generation, or `None` in an index without one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NotFound`], [`Error::Io`].
    pub fn current(&self) -> Result<Option<Generation>> {
        self.while_current(|| self.current_now())
    }

    /// Does `look`, which looks at what is current and needs no lock. While it looks, others may
    /// become current, and files go that no generation needs any more: what was lost for that
    /// reason is looked for again.
    ///
    /// # Errors
    /// Those of `look`, about what is still current.
    pub(crate) fn while_current<T>(&self, look: impl Fn() -> Result<T>) -> Result<T> {
        let name = || self.current_name().ok().flatten();
        let mut before = name();
        loop {
            let error = match look() {
                Err(error) if error.is_lost() => error,
                done => return done,
            };
            let now = name();
            if now == before {
                return Err(error);
            }
            before = now;
        }
    }

    fn current_now(&self) -> Result<Option<Generation>> {
        let Some((number, checksum, _)) = self.read_current()? else { return Ok(None) };
        let generation = self.generation(number)?;
        let found = checksum_of(&generation)?;
        if found != checksum {
            return Err(Error::corrupt(
                &self.root().join(CURRENT),
                format!("names generation {number} with checksum {checksum}, its file has {found}"),
            ));
        }
        Ok(Some(generation))
    }

    /// Refuses an index that has generations and no CURRENT: it is not known which one is current.
    ///
    /// # Errors
    /// [`Error::NotFound`] for such an index; [`Error::Io`].
    pub fn refuse_lost_current(&self) -> Result<()> {
        let Some(last) = self.generations()?.last().copied() else { return Ok(()) };
        if self.storage.read(CURRENT)?.is_some() {
            return Ok(());
        }
        let root = self.root().display();
        Err(Error::not_found(format!(
            "{root}: there is no CURRENT, though there are generations up to {last}: expected the \
             file that says which one is current; `ocelli doctor {root}` says how to go on"
        )))
    }

    /// [`Self::refuse_lost_current`], where a change begins an index. A first build that was killed
    /// before it became current leaves a generation that was made from none: such ones are no
    /// reason to refuse.
    ///
    /// # Errors
    /// Those of [`Self::refuse_lost_current`].
    pub fn refuse_new_beginning(&self) -> Result<()> {
        for number in self.generations()? {
            let is_first = match self.generation(number) {
                Ok(found) => found.parent.is_none() && found.deletes.is_none(),
                // A change that lost its swap takes its file back.
                Err(Error::NotFound { .. }) => true,
                Err(_) => false,
            };
            if !is_first {
                return self.refuse_lost_current();
            }
        }
        Ok(())
    }

    /// Smallest id that was never given out: the largest that the current generation and those made
    /// after it say. Without a current one it is the largest of all: CURRENT may have been lost,
    /// and its ids were given out.
    ///
    /// # Errors
    /// Those of [`Self::generation`].
    pub fn next_id(&self, current: Option<&Generation>) -> Result<u64> {
        let (from, next) = current.map_or((0, 0), |current| (current.number, current.next_id));
        let mut later = self.generations()?.into_iter().filter(|&number| number > from);
        later.try_fold(next, |next, number| match self.generation(number) {
            Ok(generation) => Ok(next.max(generation.next_id)),
            // A change that lost its swap takes its file back.
            Err(Error::NotFound { .. }) => Ok(next),
            Err(error) => Err(error),
        })
    }

    /// A generation by number.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`], [`Error::NewerVersion`], [`Error::Io`].
    pub fn generation(&self, number: u64) -> Result<Generation> {
        let name = names::generation(number);
        let path = self.root().join(&name);
        let bytes = self.storage.read(&name)?.ok_or_else(|| {
            Error::not_found(format!("{}: no generation {number}", self.root().display()))
        })?;
        let (generation, _) = Generation::from_file(&path, number, &bytes)?;
        Ok(generation)
    }

    /// The bytes of CURRENT and the generation that they name, as they are now.
    fn see_current(&self) -> Result<Seen> {
        let bytes = self.read_current()?.map(|(.., bytes)| bytes);
        let generation = self.current()?;
        Ok(Seen { bytes, generation })
    }

    /// Writes the file of a generation.
    fn put_generation(&self, generation: &Generation) -> Result<()> {
        generation.check().map_err(|what| Error::invalid(format!("generation: {what}")))?;
        let checksum = checksum_of(generation)?;
        let name = names::generation(generation.number);
        let sealed = Sealed { generation: generation.clone(), checksum };
        let json = serde_json::to_vec_pretty(&sealed)
            .map_err(|e| Error::invalid(format!("generation: {e}")))?;
        self.storage.create(&name, &json)
    }

    /// Makes a generation the current one, if CURRENT is still as it was seen.
    fn swap_current(&self, seen: &Seen, generation: &Generation) -> Result<()> {
        let line = generation.line()? + "\n";
        self.storage.swap(CURRENT, seen.bytes.as_deref(), line.as_bytes())
    }

    /// Makes a generation that exists the current one, if the current one is still `expected`.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such generation; [`Error::Conflict`] if another one is or became
    /// current; [`Error::Invalid`] if rows would come back that were deleted since;
    /// [`Error::Corrupt`]; [`Error::Io`]. The earlier generation is then still current.
    pub fn activate(&self, expected: u64, number: u64) -> Result<Generation> {
        let target = self.generation(number)?;
        let seen = self.see_current()?;
        let deletes = seen.generation.as_ref().and_then(|current| current.deletes);
        if seen.generation.as_ref().is_some_and(|current| current.number == expected)
            && self.asked_for_between(target.deletes, deletes)?.count() > 0
        {
            return Err(Error::invalid(format!(
                "{}: generation {number} holds rows that were deleted since; `ocelli rollback --to \
                 {number}` goes back and keeps them deleted",
                self.root().display()
            )));
        }
        let change = Change::Rollback { expected, to: number, undo_deletes: false };
        Ok(self.commit_change(&change, &CommitOptions::default())?.generation)
    }
}

/// Bytes of the object of a shard's deleted ordinals.
fn tombstone_bytes(ordinals: &RoaringBitmap) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(ordinals.serialized_size());
    ordinals.serialize_into(&mut bytes).map_err(|e| Error::invalid(format!("tombstones: {e}")))?;
    Ok(bytes)
}

/// The hash that names the object of a shard's deleted ordinals ([`IndexDir::put_tombstones`]).
///
/// # Errors
/// [`Error::Invalid`] for a set that cannot be written.
pub fn hash_of_tombstones(ordinals: &RoaringBitmap) -> Result<Hash> {
    Ok(Hash::of(&tombstone_bytes(ordinals)?))
}

/// The current generation at one moment.
struct Seen {
    /// Bytes of CURRENT; none if there is no such object.
    bytes: Option<Vec<u8>>,
    generation: Option<Generation>,
}
