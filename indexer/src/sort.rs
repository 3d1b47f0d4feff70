//! Sorts records of a few words in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Result};

/// A record: compared by its first word, then by the next ones. In a file, its words are
/// little-endian.
pub(crate) type Entry<const N: usize> = [u64; N];
/// Fewest and most bytes read of a file at once.
const BUFFER_BYTES: (usize, usize) = (4 * 1024, 64 * 1024);
/// Files that are merged at once: a process may not have many open.
const MERGED: usize = 64;

/// Memory for sorting, and where the rest goes.
#[derive(Clone, Debug)]
pub(crate) struct SortMemory {
    pub(crate) bytes: usize,
    pub(crate) folder: PathBuf,
}

/// Takes entries in any order. Each takes its bytes, in memory or in a file.
pub(crate) struct Sorter<const N: usize> {
    memory: Option<SortMemory>,
    entries: Vec<Entry<N>>,
    /// Sorted files, each with the number of merges that it went through.
    files: Vec<(u32, File)>,
}

impl<const N: usize> Sorter<N> {
    /// Bytes of an entry in memory and in a file.
    const ENTRY_BYTES: usize = 8 * N;

    /// Sorts in memory alone where that has no limit.
    pub(crate) fn new(memory: Option<SortMemory>) -> Self {
        Self { memory, entries: Vec::new(), files: Vec::new() }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, entry: Entry<N>) -> Result<()> {
        self.entries.push(entry);
        let full = self.memory.as_ref().map(|m| (m.bytes / Self::ENTRY_BYTES).max(1));
        if full.is_some_and(|full| self.entries.len() >= full) { self.spill() } else { Ok(()) }
    }

    /// Writes what is in memory to a file without a name.
    fn spill(&mut self) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        // By this thread alone: the caller may hold a lock that the jobs of others wait for.
        self.entries.sort_unstable();
        self.files.push((0, write_entries(&memory.folder, self.entries.drain(..).map(Ok))?));
        while let Some(alike) = self.files.last_chunk::<MERGED>()
            && alike.iter().all(|file| file.0 == alike[0].0)
        {
            self.merge_last()?;
        }
        Ok(())
    }

    /// Merges the last files into one.
    fn merge_last(&mut self) -> Result<()> {
        let Some(SortMemory { bytes, folder }) = &self.memory else { return Ok(()) };
        // Their memory is wanted to read the files.
        self.entries = Vec::new();
        let files = self.files.split_off(self.files.len().saturating_sub(MERGED));
        let merges = files.first().map_or(0, |file| file.0 + 1);
        let mut sorted = Sorted::<N>::new(files, Vec::new(), *bytes, folder)?;
        let entries = std::iter::from_fn(|| sorted.next().transpose());
        self.files.push((merges, write_entries(folder, entries)?));
        Ok(())
    }

    /// All entries in order.
    pub(crate) fn finish(mut self) -> Result<Sorted<N>> {
        let Some(SortMemory { bytes, folder }) = self.memory.clone() else {
            self.entries.par_sort_unstable();
            return Sorted::new(Vec::new(), self.entries, 0, Path::new(""));
        };
        if !self.files.is_empty() {
            self.spill()?;
            self.entries = Vec::new();
        }
        while self.files.len() > MERGED {
            self.merge_last()?;
        }
        self.entries.par_sort_unstable();
        Sorted::new(self.files, self.entries, bytes, &folder)
    }
}

/// A file without a name of entries.
fn write_entries<const N: usize>(
    folder: &Path,
    entries: impl Iterator<Item = Result<Entry<N>>>,
) -> Result<File> {
    let failed = || Error::io("write a file in", folder);
    let file = tempfile::tempfile_in(folder).map_err(failed())?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES.1, file);
    for entry in entries {
        let bytes = entry?.map(u64::to_le_bytes);
        out.write_all(bytes.as_flattened()).map_err(failed())?;
    }
    let mut file = out.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    Ok(file)
}

enum Source<const N: usize> {
    Memory(std::vec::IntoIter<Entry<N>>),
    File(BufReader<File>),
}

/// Entries in order.
pub(crate) struct Sorted<const N: usize> {
    sources: Vec<Source<N>>,
    heap: BinaryHeap<Reverse<(Entry<N>, usize)>>,
    folder: PathBuf,
}

impl<const N: usize> Sorted<N> {
    /// Entries of sorted files, which are read in `bytes`, and of memory.
    fn new(
        files: Vec<(u32, File)>,
        entries: Vec<Entry<N>>,
        bytes: usize,
        folder: &Path,
    ) -> Result<Self> {
        let buffer = (bytes / files.len().max(1)).clamp(BUFFER_BYTES.0, BUFFER_BYTES.1);
        let source = |(_, file)| Source::File(BufReader::with_capacity(buffer, file));
        let mut sources: Vec<Source<N>> = files.into_iter().map(source).collect();
        sources.push(Source::Memory(entries.into_iter()));
        let mut sorted = Self { sources, heap: BinaryHeap::new(), folder: folder.to_owned() };
        (0..sorted.sources.len()).try_for_each(|source| sorted.advance(source))?;
        Ok(sorted)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        let next = match &mut self.sources[source] {
            Source::Memory(entries) => entries.next(),
            Source::File(file) => read_entry(file, &self.folder)?,
        };
        self.heap.extend(next.map(|entry| Reverse((entry, source))));
        Ok(())
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Result<Option<Entry<N>>> {
        let Some(Reverse((entry, source))) = self.heap.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some(entry))
    }
}

impl Sorted<2> {
    /// Hands out the rows of each number that several rows have: of entries of a number and a row.
    pub(crate) fn each_group(mut self, mut take: impl FnMut(&[u64])) -> Result<()> {
        let mut group: Vec<u64> = Vec::new();
        let mut number = None;
        while let Some([next, row]) = self.next()? {
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

fn read_entry<const N: usize>(
    file: &mut BufReader<File>,
    folder: &Path,
) -> Result<Option<Entry<N>>> {
    let failed = Error::io("read a file in", folder);
    let ended = match std::io::BufRead::fill_buf(file) {
        Ok(bytes) => bytes.is_empty(),
        Err(e) => return Err(failed(e)),
    };
    if ended {
        return Ok(None);
    }
    let mut words = [[0u8; 8]; N];
    file.read_exact(words.as_flattened_mut()).map_err(failed)?;
    Ok(Some(words.map(u64::from_le_bytes)))
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
            for (row, &number) in (0..).zip(&numbers) {
                sorter.push([number, row]).unwrap();
                // With one entry a file there are thousands of them, but not at once.
                assert!(sorter.files.len() <= 3 * MERGED, "{} files", sorter.files.len());
            }
            let mut found = Vec::new();
            sorter.finish().unwrap().each_group(|rows| found.push(rows.to_vec())).unwrap();
            assert_eq!(found, want, "{bytes:?}");
        }
    }
}
