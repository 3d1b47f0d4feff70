//! Collections: folders of photos and the index of them, kept up to date by one call.
//!
//! [`update`] looks through the photos, has the encoder make descriptors of those that are new or
//! changed, and builds the index anew from the kept and the new descriptors. [`find`] searches it
//! in this process. Everything lies in one directory:
//!
//! | file | content |
//! |---|---|
//! | `CURRENT`, `generations/`, `models/`, `shards/` | the index, as `ocelli serve` takes it |
//! | `photos/collection.json` | what the collection is made of, and how ([`Settings`]) |
//! | `photos/state.jsonl` | each photo: file, size, time of change, id, and the place of its row |
//! | `photos/rejected.jsonl` | the photos that have no descriptor, and why |
//! | `photos/NNNNNNNN/` | a batch of photos: `plan.jsonl`, `list.jsonl`, parts of descriptors |
//! | `photos/lock` | held by the run that changes the directory |
//! | `collection.pack` | the pack that made it; beside it the weights, if it lacks them |
//! | `logs/` | what the encoder and the servers say |
//!
//! A run that is killed loses at most the part that it was encoding. The next run takes over every
//! part that is complete, whatever has become of the photos meanwhile, and plans the rest anew in a
//! batch of its own. The state is written when a batch is complete, and names the batches that it
//! knows. So no file of an earlier run is ever changed, and an encoder that outlives its run does
//! no harm.

mod batch;
mod find;
mod folder;
mod maker;
mod page;
mod photos;
mod plan;
mod settings;
mod sources;
mod state;
mod thumbnail;
mod update;

#[cfg(test)]
mod tests;

pub use find::{FindHit, FindOptions, FindReport, Query, Scores, find, nprobe};
pub use maker::{EncodeFn, Maker};
pub use page::{CollectionPage, SCRIPT, find_page, hits_fragment, home_page};
pub use photos::{Photos, near_misses};
pub use settings::{Settings, Source, SourceKind};
pub use thumbnail::{THUMBNAIL_PX, thumbnail};
pub use update::{UpdateOptions, UpdateReport, update};
