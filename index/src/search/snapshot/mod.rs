//! One opened generation: its model and its shards.

mod agree;
mod beside;
mod evaluated;
mod open;
mod rows;
mod values;
mod verify;

use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;

use self::evaluated::Evaluated;
use super::engine::Deleted;
use super::hit::Row;
use super::params::ShardFailure;
use crate::attributes::Schema;
use crate::base::error::Result;
use crate::generations::storage::Version;
use crate::generations::{Generation, IndexDir};
use crate::model::Model;
use crate::model::fine::FineCodec;
use crate::shard::Shard;

pub use self::verify::Proof;

/// A shard of a snapshot with its deleted rows.
#[derive(Debug)]
pub(super) struct Member {
    pub name: String,
    pub shard: Arc<Shard>,
    pub deleted: Option<Arc<Deleted>>,
    /// Version of the shard's file when it was opened; `None` if it could not be looked at.
    version: Option<Version>,
}

impl Member {
    /// Whether a row is not deleted.
    pub fn alive(&self, ordinal: u32) -> bool {
        self.deleted.as_ref().is_none_or(|d| !d.ordinals().contains(ordinal))
    }
}

/// One opened generation. Immutable; share it by `Arc` and keep it for the whole of a query.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) generation: Generation,
    pub(super) model: Arc<Model>,
    pub(super) members: Vec<Member>,
    /// Shards that could not be opened, where that was allowed: each fails alone.
    pub(super) missing: Vec<ShardFailure>,
    /// Files that answer from an earlier mapping, since they could not be opened again.
    kept: Vec<ShardFailure>,
    /// Filters by attributes that were asked for lately.
    evaluated: Evaluated,
    /// The columns of all shards, once they were asked for.
    schema: OnceLock<Result<Arc<Schema>>>,
    /// Versions of the model's files when they were opened.
    model_versions: [Option<Version>; 2],
    /// Number of files that were taken over from an earlier snapshot, since they have not changed.
    reused: usize,
    dir: IndexDir,
}

impl Snapshot {
    /// The generation.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The model of the generation.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The shards of the generation, in plan order.
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &Shard> {
        self.members.iter().map(|m| &*m.shard)
    }

    /// The fine codec by which the best rows can be scored again: `None` unless every shard has
    /// finer codes.
    pub fn fine_codec(&self) -> Option<&FineCodec> {
        let all = self.members.iter().all(|m| m.shard.fine().is_some());
        self.model.fine_codec().filter(|_| all)
    }

    /// Rows that are not deleted.
    pub fn rows(&self) -> u64 {
        let dead = |m: &Member| m.deleted.as_ref().map_or(0, |d| d.ordinals().len());
        self.members
            .iter()
            .map(|m| u64::from(m.shard.rows()) - dead(m).min(u64::from(m.shard.rows())))
            .sum()
    }

    /// Shards that were open already in the snapshot before and were taken over from it.
    pub fn reused(&self) -> usize {
        self.reused
    }

    /// Ordinals of the deleted rows of a shard, by its number among those of [`Self::shards`]; none
    /// if none of its rows is deleted.
    pub fn deleted(&self, shard: u32) -> Option<&RoaringBitmap> {
        Some(self.members.get(shard as usize)?.deleted.as_ref()?.ordinals())
    }

    /// Shards that could not be opened, with the reason; they are not among [`Self::shards`].
    pub fn missing(&self) -> impl ExactSizeIterator<Item = ShardFailure> {
        self.missing.iter().cloned()
    }

    /// Shards that answer from the mapping of an earlier snapshot, since the operating system did
    /// not let their files be opened again, each with the reason; also the model, as `model` or
    /// `fine codec`. They would not be there after a restart.
    pub fn kept(&self) -> &[ShardFailure] {
        &self.kept
    }

    /// Name of the shard of a row.
    pub fn shard_name(&self, row: Row) -> Option<&str> {
        self.members.get(row.shard as usize).map(|m| m.name.as_str())
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
}
