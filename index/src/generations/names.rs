//! Names of the objects of an index, relative to its root.

use crate::base::error::{Error, Result};
use crate::base::hash::Hash;

/// The object of a generation.
pub fn generation(number: u64) -> String {
    format!("generations/{number}.json")
}

/// The object of a model, alone or together with a fine codec.
pub fn model(model: &Hash, codec: Option<&Hash>) -> String {
    match codec {
        Some(codec) => format!("models/{model}-{codec}.model"),
        None => format!("models/{model}.model"),
    }
}

/// The object of a shard. A manifest must not lead out of the directory.
///
/// # Errors
/// [`Error::Invalid`] if the name is no plain file name.
pub fn shard(name: &str) -> Result<String> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(Error::invalid(format!("shard name {name:?} is no plain file name")));
    }
    Ok(format!("shards/{name}"))
}

/// The object of a shard's deleted rows.
pub fn tombstones(hash: &Hash) -> String {
    format!("tombstones/{hash}.roaring")
}

/// The object of one file of the delete log.
pub fn deletes(hash: &Hash) -> String {
    format!("deletes/{hash}")
}
