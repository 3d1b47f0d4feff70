//! Sorts entries in bounded memory: records of a few words, or of any length.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Result};

/// Fewest and most bytes read of a file at once.
const BUFFER_BYTES: (usize, usize) = (4 * 1024, 64 * 1024);
/// Files that are merged at once: a process may not have many open.
const MERGED: usize = 64;

/// Memory for sorting, and where the rest goes.
#[derive(Clone, Debug)]
pub struct SortMemory {
    /// Bytes of memory that entries may take.
    pub bytes: usize,
    /// A folder for files without names.
    pub folder: PathBuf,
}

/// An entry that can be written to a file.
pub(crate) trait Entry: Ord + Send + Sized {
    /// Bytes in a file, where all entries have as many; else each is behind its length.
    const BYTES: Option<usize> = None;

    /// Appends the entry to `out`.
    fn put(&self, out: &mut Vec<u8>);
    /// The entry that [`Self::put`] wrote; None if it is none.
    fn get(bytes: &[u8]) -> Option<Self>;
    /// Bytes of the entry in memory.
    fn held(&self) -> usize;
}

/// A record: compared by its first word, then by the next ones. In a file, its words are
/// little-endian.
impl<const N: usize> Entry for [u64; N] {
    const BYTES: Option<usize> = Some(8 * N);

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.map(u64::to_le_bytes).as_flattened());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let words: [[u8; 8]; N] = bytes.as_chunks().0.try_into().ok()?;
        Some(words.map(u64::from_le_bytes))
    }

    fn held(&self) -> usize {
        8 * N
    }
}

/// Takes entries in any order. Each takes its bytes, in memory or in a file.
pub(crate) struct Sorter<E> {
    memory: Option<SortMemory>,
    entries: Vec<E>,
    held: usize,
    /// Sorted files, each with the number of merges that it went through.
    files: Vec<(u32, File)>,
}

impl<E: Entry> Sorter<E> {
    /// Sorts in memory alone where that has no limit.
    pub(crate) fn new(memory: Option<SortMemory>) -> Self {
        Self { memory, entries: Vec::new(), held: 0, files: Vec::new() }
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, entry: E) -> Result<()> {
        let bytes = entry.held();
        self.held += bytes;
        self.entries.push(entry);
        // Another one of this size would not fit.
        let is_full = |memory: &SortMemory| self.held + bytes > memory.bytes;
        if self.memory.as_ref().is_some_and(is_full) { self.spill() } else { Ok(()) }
    }

    /// Writes what is in memory to a file without a name.
    fn spill(&mut self) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        // By this thread alone: the caller may hold a lock that the jobs of others wait for.
        self.entries.sort_unstable();
        self.files.push((0, write_entries(&memory.folder, self.entries.drain(..).map(Ok))?));
        self.held = 0;
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
        let sorted = Sorted::<E>::new(files, Vec::new(), *bytes, folder)?;
        self.files.push((merges, write_entries(folder, sorted.entries())?));
        Ok(())
    }

    /// All entries in order.
    pub(crate) fn finish(mut self) -> Result<Sorted<E>> {
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
fn write_entries<E: Entry>(
    folder: &Path,
    entries: impl Iterator<Item = Result<E>>,
) -> Result<File> {
    let failed = || Error::io("write a file in", folder);
    let file = tempfile::tempfile_in(folder).map_err(failed())?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES.1, file);
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.clear();
        entry?.put(&mut bytes);
        if E::BYTES.is_none() {
            let length = (bytes.len() as u32).to_le_bytes();
            out.write_all(&length).map_err(failed())?;
        }
        out.write_all(&bytes).map_err(failed())?;
    }
    let mut file = out.into_inner().map_err(|e| failed()(e.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    Ok(file)
}

enum Source<E> {
    Memory(std::vec::IntoIter<E>),
    File(BufReader<File>),
}

/// Entries in order.
pub(crate) struct Sorted<E> {
    sources: Vec<Source<E>>,
    heap: BinaryHeap<Reverse<(E, usize)>>,
    folder: PathBuf,
    /// Bytes of the entry that is read.
    bytes: Vec<u8>,
}

impl<E: Entry> Sorted<E> {
    /// Entries of sorted files, which are read in `bytes`, and of memory.
    fn new(files: Vec<(u32, File)>, entries: Vec<E>, bytes: usize, folder: &Path) -> Result<Self> {
        let buffer = (bytes / files.len().max(1)).clamp(BUFFER_BYTES.0, BUFFER_BYTES.1);
        let source = |(_, file)| Source::File(BufReader::with_capacity(buffer, file));
        let mut sources: Vec<Source<E>> = files.into_iter().map(source).collect();
        sources.push(Source::Memory(entries.into_iter()));
        let (heap, folder) = (BinaryHeap::new(), folder.to_owned());
        let mut sorted = Self { sources, heap, folder, bytes: Vec::new() };
        (0..sorted.sources.len()).try_for_each(|source| sorted.advance(source))?;
        Ok(sorted)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        let next = match &mut self.sources[source] {
            Source::Memory(entries) => entries.next(),
            Source::File(file) => read_entry(file, &mut self.bytes, &self.folder)?,
        };
        self.heap.extend(next.map(|entry| Reverse((entry, source))));
        Ok(())
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Result<Option<E>> {
        let Some(Reverse((entry, source))) = self.heap.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some(entry))
    }

    /// All that are left.
    pub(crate) fn entries(mut self) -> impl Iterator<Item = Result<E>> {
        std::iter::from_fn(move || self.next().transpose())
    }
}

/// Entries of a number and a row.
pub(crate) type NumberedRows = Sorted<[u64; 2]>;

impl NumberedRows {
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

/// The next entry of a file, which is read into `bytes`.
fn read_entry<E: Entry>(
    file: &mut BufReader<File>,
    bytes: &mut Vec<u8>,
    folder: &Path,
) -> Result<Option<E>> {
    let failed = || Error::io("read a file in", folder);
    if std::io::BufRead::fill_buf(file).map_err(failed())?.is_empty() {
        return Ok(None);
    }
    let length = match E::BYTES {
        Some(length) => length,
        None => {
            let mut length = [0; 4];
            file.read_exact(&mut length).map_err(failed())?;
            u32::from_le_bytes(length) as usize
        }
    };
    bytes.resize(length, 0);
    file.read_exact(bytes).map_err(failed())?;
    let damaged = || Error::File { path: folder.to_owned(), what: "a damaged entry".to_owned() };
    E::get(bytes).map(Some).ok_or_else(damaged)
}

/// Entries in order, which can be read again and again: in memory if they fit in half of what they
/// may take, else in a file without a name.
pub(crate) enum Stored<E> {
    Memory(Vec<E>),
    File(File, PathBuf),
}

impl<E: Entry> Stored<E> {
    pub(crate) fn new(
        entries: impl Iterator<Item = Result<E>>,
        memory: Option<&SortMemory>,
    ) -> Result<Self> {
        let (mut kept, mut held) = (Vec::new(), 0);
        let mut entries = entries.fuse();
        for entry in entries.by_ref() {
            let entry = entry?;
            held += entry.held();
            kept.push(entry);
            if let Some(memory) = memory.filter(|memory| 2 * held >= memory.bytes) {
                let all = kept.into_iter().map(Ok).chain(entries);
                let file = write_entries(&memory.folder, all)?;
                return Ok(Self::File(file, memory.folder.clone()));
            }
        }
        Ok(Self::Memory(kept))
    }

    /// Hands out all entries in order.
    pub(crate) fn each(&self, mut take: impl FnMut(&E) -> Result<()>) -> Result<()> {
        match self {
            Self::Memory(entries) => entries.iter().try_for_each(take),
            Self::File(file, folder) => {
                let failed = || Error::io("read a file in", folder);
                let mut file = file.try_clone().map_err(failed())?;
                file.seek(SeekFrom::Start(0)).map_err(failed())?;
                let mut file = BufReader::with_capacity(BUFFER_BYTES.1, file);
                let mut bytes = Vec::new();
                while let Some(entry) = read_entry(&mut file, &mut bytes, folder)? {
                    take(&entry)?;
                }
                Ok(())
            }
        }
    }
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

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Word(Vec<u8>);

    impl Entry for Word {
        fn put(&self, out: &mut Vec<u8>) {
            out.extend(&self.0);
        }

        fn get(bytes: &[u8]) -> Option<Self> {
            Some(Self(bytes.to_vec()))
        }

        fn held(&self) -> usize {
            // A vector that grows has as much again.
            2 * (24 + self.0.len())
        }
    }

    /// Words of all lengths, many of them equal, come out in order in any memory: also in one that
    /// holds two at a time, so that files of files are merged.
    #[test]
    fn entries_are_sorted_in_any_memory() {
        let folder = tempfile::tempdir().unwrap();
        let word = |i: usize| Word((0..i % 7).map(|j| (i * (j + 31) % 251) as u8).collect());
        let words: Vec<Word> = (0..20_000).map(word).collect();
        let mut expected = words.clone();
        expected.sort();
        for bytes in [None, Some(1), Some(100), Some(10_000), Some(1 << 30)] {
            let memory = bytes.map(|bytes| SortMemory { bytes, folder: folder.path().to_owned() });
            let mut sorter = Sorter::new(memory.clone());
            words.iter().for_each(|word| sorter.push(word.clone()).unwrap());
            let stored = Stored::new(sorter.finish().unwrap().entries(), memory.as_ref()).unwrap();
            let is_small = bytes.is_some_and(|bytes| bytes < 1 << 20);
            assert_eq!(matches!(stored, Stored::File(..)), is_small);
            for _ in 0..2 {
                let mut found = Vec::new();
                stored
                    .each(|word| {
                        found.push(word.clone());
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(found, expected, "{bytes:?}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A file that ends within an entry is an error.
    #[test]
    fn a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let words = [Word(vec![1, 2, 3]), Word(vec![4, 5, 6])];
        let file = write_entries(folder.path(), words.into_iter().map(Ok)).unwrap();
        file.set_len(12).unwrap();
        let stored = Stored::<Word>::File(file, folder.path().to_owned());
        let mut found = 0;
        let outcome = stored.each(|_| {
            found += 1;
            Ok(())
        });
        assert!(outcome.is_err());
        assert_eq!(found, 1);
    }
}
