//! Opens a snapshot: every file of a generation, or its mapping in an earlier snapshot.

use std::path::Path;
use std::sync::Arc;

use super::evaluated::Evaluated;
use super::{Member, Snapshot};
use crate::base::error::{Error, FileTrouble, Result};
use crate::files::container::{FileKind, Reader, SectionKind};
use crate::generations::commit::open_named;
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
}

impl Earlier<'_> {
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
        let opened = open_named(&dir.shard_path(&entry.name)?, model, entry).map(Arc::new);
        let shard = earlier.or_kept(&entry.name, opened, |before| before.kept_shard(entry))?;
        let deleted = match generation.tombstones.get(&entry.name) {
            Some(hash) => {
                let tombstones = dir.tombstones(hash, shard.rows());
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
        Self::open_shards(dir, generation, None, Err)
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
        Self::open_shards(&IndexDir::open(root)?, generation, before, |error| {
            match error.trouble() {
                Some(_) => Ok(error),
                None => Err(error),
            }
        })
    }

    fn open_shards(
        dir: &IndexDir,
        generation: Option<u64>,
        before: Option<&Self>,
        broken: impl Fn(Error) -> Result<Error>,
    ) -> Result<Self> {
        let generation = match generation {
            Some(number) => dir.generation(number)?,
            None => dir.current()?.ok_or_else(|| {
                Error::not_found(format!(
                    "{}: the index has no generation yet",
                    dir.root().display()
                ))
            })?,
        };
        let mut earlier = Earlier { snapshot: before, kept: Vec::new() };
        let path = dir.model_path(&generation.model)?;
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
        let model = with_fine_codec_of(dir, plain, shards());
        let model = earlier.or_kept("fine codec", model, |before| {
            let model = kept_model(before)?;
            let codec = model.fine_codec()?;
            let fits = |shard: &Shard| match shard.fine() {
                Some(codes) => codes.check(shard.path(), codec).is_ok(),
                None => true,
            };
            shards().all(fits).then(|| Arc::clone(&model))
        })?;
        let kept = earlier.kept;
        let (dir, evaluated) = (dir.clone(), Evaluated::default());
        Ok(Self { generation, model, members, missing, kept, dir, evaluated })
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
