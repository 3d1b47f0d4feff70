//! The shards that generations name.

use std::path::Path;

use crate::base::error::{Error, Result};
use crate::model::Model;
use crate::shard::{Shard, ShardEntry};

/// Opens the shard that a generation names, and compares it with the generation's entry.
///
/// # Errors
/// Those of [`Shard::open`]; [`Error::Misplaced`].
pub(crate) fn open_named(path: &Path, model: &Model, entry: &ShardEntry) -> Result<Shard> {
    // A file of another kind or model may be sound: it is only in the wrong place.
    let misplaced = |what, expected: String, found: String| Error::Misplaced {
        path: path.to_owned(),
        what,
        expected,
        found,
    };
    let shard = Shard::open(path, model).map_err(|error| match error {
        Error::WrongKind { expected, found, .. } => misplaced("kind", expected, found),
        Error::ModelMismatch { expected, found, .. } => {
            misplaced("model", expected.to_string(), found.to_string())
        }
        other => other,
    })?;
    let (meta, file) = (shard.meta(), shard.file());
    // The facts that people know come first, for the message; the seal decides.
    let facts = [
        ("plan", entry.plan.to_string(), meta.plan.to_string()),
        ("task", entry.task.to_string(), meta.task.to_string()),
        ("rows", entry.rows.to_string(), meta.rows.to_string()),
        ("bytes", entry.bytes.to_string(), file.bytes().to_string()),
        ("seal", entry.seal.to_string(), file.seal().to_string()),
    ];
    shard.intact()?;
    match facts.into_iter().find(|(_, expected, found)| expected != found) {
        Some((what, expected, found)) => Err(misplaced(what, expected, found)),
        None => Ok(shard),
    }
}
