//! Opens a snapshot: every file of a generation, or its mapping in an earlier snapshot.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::evaluated::Evaluated;
use super::{Member, Snapshot};
use crate::base::error::{Error, FileTrouble, Result};
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Reader, SectionKind};
use crate::generations::named::open_named;
use crate::generations::storage::Version;
use crate::generations::{Generation, IndexDir};
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::search::engine::Deleted;
use crate::search::params::ShardFailure;
use crate::shard::{Shard, ShardEntry};

/// An earlier snapshot of the same directory, whose files are still mapped.
struct Earlier<'a> {
    snapshot: Option<&'a Snapshot>,
    /// The files that were taken over from it, each with the reason.
    kept: Vec<ShardFailure>,
    /// Shards that were taken over from it, since their files have not changed.
    reused: usize,
}

impl Earlier<'_> {
    /// The shard of this entry, if it is open and its file is as it was.
    fn unchanged(&mut self, entry: &ShardEntry, version: Option<&Version>) -> Option<Arc<Shard>> {
        let before = self.snapshot?;
        let shard = before.kept_shard(entry)?;
        let then = before.member(&entry.name)?.version.as_ref();
        let same = version.is_some() && then == version;
        self.reused += usize::from(same);
        same.then_some(shard)
    }

    /// `opened`; or, where the operating system refuses to open the file `name`, the result of
    /// `find` in the earlier snapshot. A mapping outlives the right to open its file.
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
        // The version first: a file that is replaced meanwhile is opened again the next time.
        let version = dir.shard_version(&entry.name).ok().flatten();
        let (shard, version) = match earlier.unchanged(entry, version.as_ref()) {
            Some(shard) => (shard, version),
            None => {
                let opened = open_named(&dir.shard_path(&entry.name)?, model, entry).map(Arc::new);
                let kept = earlier.kept.len();
                let shard =
                    earlier.or_kept(&entry.name, opened, |before| before.kept_shard(entry))?;
                // The mapping of a file that cannot be opened is tried again.
                (shard, version.filter(|_| kept == earlier.kept.len()))
            }
        };
        let deleted = match generation.tombstones.get(&entry.name) {
            Some(hash) => {
                let deleted = open_deleted(dir, model, entry, &shard, hash, earlier.snapshot);
                Some(earlier.or_kept(&entry.name, deleted, |before| {
                    before.same_deleted(entry, hash).cloned()
                })?)
            }
            None => None,
        };
        Ok(Self { name: entry.name.clone(), shard, deleted, version })
    }
}

/// Deleted rows of a shard by the hash of their file. Those that an earlier snapshot has are taken
/// from it; from those of the same shard, lists without a change keep what was made for them.
fn open_deleted(
    dir: &IndexDir,
    model: &Model,
    entry: &ShardEntry,
    shard: &Arc<Shard>,
    hash: &Hash,
    before: Option<&Snapshot>,
) -> Result<Arc<Deleted>> {
    if let Some(same) = before.and_then(|before| before.same_deleted(entry, hash)) {
        return Ok(Arc::clone(same));
    }
    let tombstones = dir.tombstones(hash, shard.rows())?;
    let member = before.and_then(|before| before.member(&entry.name));
    let member = member.filter(|member| Arc::ptr_eq(&member.shard, shard));
    Ok(Arc::new(match member.and_then(|member| member.deleted.as_ref()) {
        Some(fewer) => Deleted::after(fewer, tombstones, shard)?,
        None => Deleted::new(tombstones, model.parts().nlist),
    }))
}

impl Snapshot {
    /// Opens a generation of the index directory `root`: the current one, or the one asked for.
    ///
    /// # Errors
    /// [`Error::NotFound`] for no such directory or generation; [`Error::ModelMismatch`];
    /// [`Error::Corrupt`]; [`Error::Io`].
    pub fn open(root: &Path, generation: Option<u64>) -> Result<Self> {
        Self::open_in(&IndexDir::open(root)?, generation)
    }

    /// [`Self::open`] of an index in any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(dir: &IndexDir, generation: Option<u64>) -> Result<Self> {
        Self::open_asked(dir, generation, None, Err)
    }

    /// [`Self::open_in`] of a generation that is not in the directory yet: one that is about to be
    /// committed ([`crate::Gate`]).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_candidate(dir: &IndexDir, generation: &Generation) -> Result<Self> {
        Self::open_shards(dir, generation.clone(), None, Err)
    }

    /// [`Self::open`], but what `before`, a snapshot of the same directory, has open is taken over
    /// from it, as far as the files have not changed: shards with what is known of their bytes,
    /// their deleted rows, the model. It costs what is new.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_after(root: &Path, generation: Option<u64>, before: Option<&Self>) -> Result<Self> {
        Self::open_asked(&IndexDir::open(root)?, generation, before, Err)
    }

    /// A generation by number, or the current one.
    fn named(dir: &IndexDir, generation: Option<u64>) -> Result<Generation> {
        match generation {
            Some(number) => dir.generation(number),
            None => match dir.current()? {
                Some(current) => Ok(current),
                None => {
                    dir.refuse_lost_current()?;
                    let root = dir.root().display();
                    Err(Error::not_found(format!("{root}: the index has no generation yet")))
                }
            },
        }
    }

    /// [`Self::open`], but a shard whose file is damaged, missing or refused fails alone: as one
    /// whose damage shows in the scan, it fails searches unless they allow a partial answer
    /// ([`Self::missing`]). A file that the operating system refuses to open answers from its
    /// mapping in `before`, a snapshot of the same directory, if that has one ([`Self::kept`]).
    ///
    /// # Errors
    /// As [`Self::open`], also where no shard can be opened.
    pub fn open_degraded(
        root: &Path,
        generation: Option<u64>,
        before: Option<&Self>,
    ) -> Result<Self> {
        let dir = IndexDir::open(root)?;
        let left_out = |error: Error| match error.trouble() {
            Some(_) => Ok(error),
            None => Err(error),
        };
        let number = |snapshot: &Self| snapshot.generation.number;
        let mut opened = Self::open_asked(&dir, generation, before, left_out)?;
        // Shards may be missing since another generation became current meanwhile.
        let current = || dir.current_name().ok().flatten();
        while generation.is_none()
            && !opened.missing.is_empty()
            && current().is_some_and(|(current, _)| current != number(&opened))
        {
            opened = Self::open_asked(&dir, None, before, left_out)?;
        }
        Ok(opened)
    }

    /// Opens a generation by number, or the one that is current.
    fn open_asked(
        dir: &IndexDir,
        generation: Option<u64>,
        before: Option<&Self>,
        broken: impl Fn(Error) -> Result<Error> + Copy,
    ) -> Result<Self> {
        let open = || Self::open_shards(dir, Self::named(dir, generation)?, before, broken);
        match generation {
            Some(_) => open(),
            None => dir.while_current(open),
        }
    }

    fn open_shards(
        dir: &IndexDir,
        generation: Generation,
        before: Option<&Self>,
        broken: impl Fn(Error) -> Result<Error>,
    ) -> Result<Self> {
        let mut earlier = Earlier { snapshot: before, kept: Vec::new(), reused: 0 };
        let unchanged = before.and_then(|before| before.unchanged_model(dir, &generation));
        let plain = match &unchanged {
            Some(model) => Arc::clone(model),
            None => {
                let opened = dir.model(&generation.model, None).map(Arc::new);
                earlier.or_kept("model", opened, |before| before.kept_model(&generation))?
            }
        };
        let mut members = Vec::with_capacity(generation.shards.len());
        let mut missing = Vec::new();
        for entry in &generation.shards {
            match Member::open(dir, &plain, &generation, entry, &mut earlier) {
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
        let fits = |codec: Option<&FineCodec>| shards().all(|shard| fits(shard, codec));
        let model = match unchanged.filter(|model| fits(model.fine_codec())) {
            Some(model) => model,
            None => {
                // A model that is used already may have another codec, or none: it is opened anew.
                let alone = match Arc::strong_count(&plain) {
                    1 => plain,
                    _ => dir.model(&generation.model, None).map_or(plain, Arc::new),
                };
                let model = with_fine_codec_of(dir, alone, shards());
                earlier.or_kept("fine codec", model, |before| {
                    before.kept_model(&generation).filter(|model| fits(model.fine_codec()))
                })?
            }
        };
        let codec = model.fine_codec().map(FineCodec::hash);
        let model_versions = dir.model_versions(&generation.model, codec.as_ref());
        let Earlier { kept, reused, .. } = earlier;
        let (dir, evaluated) = (dir.clone(), Evaluated::default());
        Ok(Self {
            generation,
            model,
            members,
            missing,
            kept,
            evaluated,
            schema: OnceLock::new(),
            model_versions,
            reused,
            dir,
        })
    }

    /// The model of `generation`, if it is open here and sound as far as is known.
    fn kept_model(&self, generation: &Generation) -> Option<Arc<Model>> {
        let same = self.model.hash() == generation.model && self.model.intact().is_ok();
        same.then(|| Arc::clone(&self.model))
    }

    /// [`Self::kept_model`], if its files are as they were.
    fn unchanged_model(&self, dir: &IndexDir, generation: &Generation) -> Option<Arc<Model>> {
        let model = self.kept_model(generation)?;
        let codec = model.fine_codec().map(FineCodec::hash);
        let now = dir.model_versions(&generation.model, codec.as_ref());
        let known = now[0].is_some() && (codec.is_none() || now[1].is_some());
        (known && now == self.model_versions).then_some(model)
    }

    /// The deleted rows of the shard of this entry, if they are those that `hash` names.
    fn same_deleted(&self, entry: &ShardEntry, hash: &Hash) -> Option<&Arc<Deleted>> {
        let same = self.generation.tombstones.get(&entry.name) == Some(hash);
        self.member(&entry.name).filter(|_| same)?.deleted.as_ref()
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
}

/// Whether a shard's finer codes are those of `codec`, or it has none.
fn fits(shard: &Shard, codec: Option<&FineCodec>) -> bool {
    match (shard.fine(), codec) {
        (Some(codes), Some(codec)) => codes.check(shard.path(), codec).is_ok(),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// The model of a generation, with the fine codec that its shards name. The codec is in a file of
/// its own, together with the model, and only the codec is read from that file.
///
/// # Errors
/// [`Error::Io`] if that file is not there; [`Error::Corrupt`]; [`Error::FineCodecMismatch`] if
/// shards name different ones.
fn with_fine_codec_of<'a>(
    dir: &IndexDir,
    mut model: Arc<Model>,
    shards: impl Iterator<Item = &'a Shard>,
) -> Result<Arc<Model>> {
    for shard in shards {
        let Some(codes) = shard.fine() else { continue };
        if model.fine_codec().is_none() {
            let path = dir.fine_model_path(&model.hash(), &codes.codec())?;
            let file = Reader::open(&path, FileKind::Model)?;
            let codec = FineCodec::read(&file, model.hash(), model.parts().d)?;
            let codec = codec.ok_or_else(|| {
                let name = SectionKind::FineCodebooks.name();
                Error::corrupt(&path, format!("section \"{name}\" is missing"))
            })?;
            // While it is being opened, there is no other reference to it.
            let alone = Arc::into_inner(model)
                .ok_or_else(|| Error::invalid("fine codec: the model is used already"))?;
            model = Arc::new(alone.with_fine_codec(codec)?);
        }
        if let Some(codec) = model.fine_codec() {
            codes.check(shard.path(), codec)?;
        }
    }
    Ok(model)
}
