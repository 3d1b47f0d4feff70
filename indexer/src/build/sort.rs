//! Sorts numbers of rows in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Result};

/// A number and its row.
pub(crate) type Entry = (u64, u64);
/// Bytes of an entry in memory and in a file.
const ENTRY_BYTES: usize = 16;
/// Bytes read of a file at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// Memory for sorting, and where the rest goes.
#[derive(Clone, Debug)]
pub(crate) struct SortMemory {
    pub(crate) bytes: usize,
    pub(crate) folder: PathBuf,
}

/// Takes entries in any order.
pub(crate) struct Sorter {
    memory: Option<SortMemory>,
    entries: Vec<Entry>,
    files: Vec<File>,
}

impl Sorter {
    /// Sorts in memory alone where that has no limit.
    pub(crate) fn new(memory: Option<SortMemory>) -> Self {
        Self { memory, entries: Vec::new(), files: Vec::new() }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, number: u64, row: u64) -> Result<()> {
        self.entries.push((number, row));
        let full = self.memory.as_ref().map(|m| (m.bytes / ENTRY_BYTES).max(1));
        if full.is_some_and(|full| self.entries.len() >= full) { self.spill() } else { Ok(()) }
    }

    /// Writes what is in memory to a file without a name.
    fn spill(&mut self) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let folder = &memory.folder;
        self.entries.par_sort_unstable();
        let mut write = || {
            let file = tempfile::tempfile_in(folder)?;
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
            for (number, row) in self.entries.drain(..) {
                out.write_all(&number.to_le_bytes())?;
                out.write_all(&row.to_le_bytes())?;
            }
            let mut file = out.into_inner().map_err(|e| e.into_error())?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        };
        let file = write().map_err(Error::io("write a file in", folder))?;
        self.files.push(file);
        Ok(())
    }

    /// All entries in order.
    pub(crate) fn finish(mut self) -> Result<Sorted> {
        let folder = self.memory.as_ref().map(|m| m.folder.clone()).unwrap_or_default();
        if !self.files.is_empty() {
            self.spill()?;
        }
        self.entries.par_sort_unstable();
        let files = self.files.into_iter();
        let mut sources: Vec<Source> =
            files.map(|file| Source::File(BufReader::with_capacity(BUFFER_BYTES, file))).collect();
        sources.push(Source::Memory(self.entries.into_iter()));
        let mut sorted = Sorted { sources, heap: BinaryHeap::new(), folder };
        (0..sorted.sources.len()).try_for_each(|source| sorted.advance(source))?;
        Ok(sorted)
    }
}

enum Source {
    Memory(std::vec::IntoIter<Entry>),
    File(BufReader<File>),
}

/// Entries in order: by number, then by row.
pub(crate) struct Sorted {
    sources: Vec<Source>,
    heap: BinaryHeap<Reverse<(Entry, usize)>>,
    folder: PathBuf,
}

impl Sorted {
    fn advance(&mut self, source: usize) -> Result<()> {
        let next = match &mut self.sources[source] {
            Source::Memory(entries) => entries.next(),
            Source::File(file) => read_entry(file, &self.folder)?,
        };
        self.heap.extend(next.map(|entry| Reverse((entry, source))));
        Ok(())
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        let Some(Reverse((entry, source))) = self.heap.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some(entry))
    }

    /// Hands out the rows of each number that several rows have.
    pub(crate) fn each_group(mut self, mut take: impl FnMut(&[u64])) -> Result<()> {
        let mut group: Vec<u64> = Vec::new();
        let mut number = None;
        while let Some((next, row)) = self.next()? {
            if number != Some(next) {
                if group.len() > 1 {
                    take(&group);
                }
                group.clear();
                number = Some(next);
            }
            group.push(row);
        }
        if group.len() > 1 {
            take(&group);
        }
        Ok(())
    }
}

fn read_entry(file: &mut BufReader<File>, folder: &Path) -> Result<Option<Entry>> {
    let failed = Error::io("read a file in", folder);
    let ended = match std::io::BufRead::fill_buf(file) {
        Ok(bytes) => bytes.is_empty(),
        Err(e) => return Err(failed(e)),
    };
    if ended {
        return Ok(None);
    }
    let mut words = [[0u8; 8]; 2];
    file.read_exact(words.as_flattened_mut()).map_err(failed)?;
    Ok(Some((u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1]))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Against a map, in memory and in files.
    #[test]
    fn groups_are_those_of_a_map() {
        let folder = tempfile::tempdir().unwrap();
        let numbers: Vec<u64> =
            (0..5000u64).map(|i| i.wrapping_mul(2_654_435_761) % 3000).collect();
        let mut map: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (row, &number) in (0..).zip(&numbers) {
            map.entry(number).or_default().push(row);
        }
        let want: Vec<Vec<u64>> = map.into_values().filter(|rows| rows.len() > 1).collect();
        for bytes in [None, Some(1000 * 16), Some(16), Some(1 << 20)] {
            let memory = bytes.map(|bytes| SortMemory { bytes, folder: folder.path().to_owned() });
            let mut sorter = Sorter::new(memory);
            // With one entry a file there would be too many files.
            let few = if bytes == Some(16) { 100 } else { numbers.len() };
            for (row, &number) in (0..).zip(&numbers[..few]) {
                sorter.push(number, row).unwrap();
            }
            let mut found = Vec::new();
            sorter.finish().unwrap().each_group(|rows| found.push(rows.to_vec())).unwrap();
            if few == numbers.len() {
                assert_eq!(found, want, "{bytes:?}");
            }
        }
    }
}
