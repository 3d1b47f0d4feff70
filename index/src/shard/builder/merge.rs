//! Ids and keys of all runs, ascending.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::run::{Entries, Run};
use super::spool::Spool;
use crate::base::error::{Error, Result};
use crate::files::container::SectionKind;

/// The entries of several runs in one order: by number, then by ordinal.
pub(super) struct Merge<'a> {
    sources: Vec<Entries<'a>>,
    heap: BinaryHeap<Reverse<(u64, u32, usize)>>,
}

impl<'a> Merge<'a> {
    /// The entries of a kind of all `runs`.
    pub fn new(runs: &'a [Run], kind: SectionKind, window: u64) -> Result<Self> {
        let sources = runs.iter().map(|run| run.entries(kind, window)).collect::<Result<Vec<_>>>();
        let mut merge = Self { sources: sources?, heap: BinaryHeap::with_capacity(runs.len()) };
        (0..merge.sources.len()).try_for_each(|source| merge.advance(source))?;
        Ok(merge)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        if let Some((number, ordinal)) = self.sources[source].next()? {
            self.heap.push(Reverse((number, ordinal, source)));
        }
        Ok(())
    }

    /// The next entry.
    pub fn next(&mut self) -> Result<Option<(u64, u32)>> {
        let Some(Reverse((number, ordinal, source))) = self.heap.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some((number, ordinal)))
    }
}

/// The key of an ordinal.
pub(super) fn key_of(runs: &[Run], ordinal: u32) -> Result<Vec<u8>> {
    let after = runs.partition_point(|run| run.meta.first <= ordinal);
    match after.checked_sub(1).map(|i| &runs[i]) {
        Some(run) => run.key(ordinal - run.meta.first),
        None => Ok(Vec::new()),
    }
}

/// Appends the entries of the key map to `out`: hash and ordinal, four bytes each, ascending.
///
/// # Errors
/// [`Error::Invalid`] naming a key of two rows.
pub(super) fn key_entries(runs: &[Run], window: u64, out: &mut Spool) -> Result<()> {
    let mut merge = Merge::new(runs, SectionKind::KeyMap, window)?;
    // The entries of one short hash.
    let mut group: Vec<u32> = Vec::new();
    let mut short = 0u32;
    let mut before: Option<(u64, u32)> = None;
    let mut flush = |group: &mut Vec<u32>, hash: u32| -> Result<()> {
        group.sort_unstable();
        for ordinal in group.drain(..) {
            out.write(&hash.to_le_bytes())?;
            out.write(&ordinal.to_le_bytes())?;
        }
        Ok(())
    };
    while let Some((hash, ordinal)) = merge.next()? {
        if let Some((_, other)) = before.filter(|&(last, _)| last == hash) {
            let [key, same] = [key_of(runs, other)?, key_of(runs, ordinal)?];
            // Two keys of one long hash that differ are as good as impossible, but no error.
            if key == same {
                let key = String::from_utf8_lossy(&key).into_owned();
                return Err(Error::invalid(format!("key {key:?} occurs twice in one shard")));
            }
        }
        before = Some((hash, ordinal));
        let next_short = (hash >> 32) as u32;
        if next_short != short {
            flush(&mut group, short)?;
            short = next_short;
        }
        group.push(ordinal);
    }
    flush(&mut group, short)
}
