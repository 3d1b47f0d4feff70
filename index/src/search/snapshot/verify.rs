//! Proves that every file of a generation is sound, and that the files agree.

use super::Snapshot;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::files::container::{FileKind, Reader};
use crate::generations::unique::{unique_ids, unique_keys};
use crate::model::Model;
use crate::model::fine::FineCodec;

impl Snapshot {
    /// Proves every byte of every file of the generation: its own file, the model's with and
    /// without fine codec, the shards, the tombstones; and that they agree: hashes, lists,
    /// ordinals, ids, keys, codes, and the bounds that a scan relies on. Mapped files are read
    /// from their mapping, the others anew.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Misplaced`] and those of opening, naming the first thing that
    /// is wrong.
    pub fn verify(&self) -> Result<()> {
        let generation = self.dir.generation(self.generation.number)?;
        if generation != self.generation {
            let what = format!("generation {} is another one now", generation.number);
            return Err(Error::corrupt(self.dir.root(), what));
        }
        self.verify_models()?;
        if let Some(missing) = self.missing.first() {
            return Err(missing.error.clone());
        }
        let mut rows = Vec::with_capacity(self.members.len());
        for (member, entry) in self.members.iter().zip(&generation.shards) {
            let shard = &member.shard;
            shard.verify()?;
            shard.verify_codes(&self.model)?;
            let found = shard.file().checksum();
            if entry.checksum != found {
                return Err(Error::Misplaced {
                    path: shard.path().to_owned(),
                    what: "SHA-256",
                    expected: entry.checksum.to_string(),
                    found: found.to_string(),
                });
            }
            if let Some(hash) = generation.tombstones.get(&entry.name) {
                self.dir.tombstones(hash, shard.rows())?;
            }
            rows.push((&**shard, member.deleted.as_ref().map(|deleted| deleted.ordinals())));
        }
        unique_ids(&rows)?;
        unique_keys(&rows)
    }

    /// The file of the model, and if it has a fine codec, the one that holds both.
    fn verify_models(&self) -> Result<()> {
        let expected = self.generation.model;
        let codec = self.model.fine_codec().map(FineCodec::hash);
        let mut paths = vec![self.dir.model_path(&expected)?];
        if let Some(codec) = &codec {
            paths.push(self.dir.fine_model_path(&expected, codec)?);
        }
        for (path, codec) in paths.iter().zip([None, codec]) {
            Reader::open(path, FileKind::Model)?.verify()?;
            let model = Model::open(path)?;
            model.verify()?;
            if model.hash() != expected {
                let (path, found) = (path.clone(), model.hash());
                return Err(Error::ModelMismatch { path, expected, found });
            }
            let found = model.fine_codec().map(FineCodec::hash);
            if found != codec {
                let name = |hash: Option<Hash>| hash.map_or("none".into(), |hash| hash.to_string());
                return Err(Error::Misplaced {
                    path: path.clone(),
                    what: "fine codec",
                    expected: name(codec),
                    found: name(found),
                });
            }
        }
        Ok(())
    }
}
