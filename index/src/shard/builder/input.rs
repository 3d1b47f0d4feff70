//! The input of a builder: rows, and the bounds of its memory.

use std::path::PathBuf;

/// A row on its way into a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRow<'a> {
    /// The row's id.
    pub id: u64,
    /// The row's key; an empty key is no key.
    pub key: &'a str,
    /// The row's list.
    pub list: u32,
    /// The row's code, (m,).
    pub code: &'a [u8],
    /// The row's finer code, where the model has a fine codec; either all rows have one or none
    /// has.
    pub fine: &'a [u8],
    /// The row's attributes, in their one encoding; empty if it has none.
    pub record: &'a [u8],
}

/// Settings of a shard that is built in bounded memory.
#[derive(Clone, Debug)]
pub struct Spill {
    /// The folder of this shard's runs, made if it is missing. Runs of this shard that are there
    /// already are used.
    pub folder: PathBuf,
    /// The name of the shard in its runs: runs of another name are not used.
    pub name: String,
    /// Memory for the builder alone, in bytes.
    pub budget_bytes: usize,
    /// Memory of the caller's whole budget besides, in bytes: for messages.
    pub beside_bytes: usize,
}
