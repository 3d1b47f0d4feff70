//! Sorts entries of any length in bounded memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Result};

/// Bytes read or written of a file at once.
const BUFFER_BYTES: (usize, usize) = (4 * 1024, 64 * 1024);
/// Files that are merged at once: a process may not have many open.
const MERGED: usize = 64;

/// Memory for sorting, and where the rest goes.
#[derive(Clone, Debug)]
pub struct SpillMemory {
    /// Bytes of memory that entries may take; 0: as many as there are.
    pub bytes: usize,
    /// A folder for files without names.
    pub folder: PathBuf,
}

/// An entry that can be written to a file.
pub(super) trait Entry: Ord + Send + Sized {
    /// Appends the entry to `out`.
    fn put(&self, out: &mut Vec<u8>);
    /// The entry that [`Self::put`] wrote; None if it is none.
    fn get(bytes: &[u8]) -> Option<Self>;
    /// Bytes of the entry in memory.
    fn held(&self) -> usize;
}

/// Takes entries in any order.
pub(super) struct Sorter<E> {
    memory: SpillMemory,
    entries: Vec<E>,
    held: usize,
    /// Sorted files, each with the number of merges that it went through.
    files: Vec<(u32, File)>,
}

impl<E: Entry> Sorter<E> {
    pub(super) fn new(memory: &SpillMemory) -> Self {
        Self { memory: memory.clone(), entries: Vec::new(), held: 0, files: Vec::new() }
    }

    /// Takes an entry.
    pub(super) fn push(&mut self, entry: E) -> Result<()> {
        self.held += entry.held();
        self.entries.push(entry);
        match self.memory.bytes {
            // A vector that grows has as much again.
            limit if limit > 0 && 2 * self.held >= limit => self.spill(),
            _ => Ok(()),
        }
    }

    /// Writes what is in memory to a file without a name.
    fn spill(&mut self) -> Result<()> {
        self.entries.par_sort_unstable();
        let entries = self.entries.drain(..).map(Ok);
        self.files.push((0, write(&self.memory.folder, entries)?));
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
        let files = self.files.split_off(self.files.len().saturating_sub(MERGED));
        let merges = files.first().map_or(0, |file| file.0 + 1);
        let sorted = Sorted::new(files, Vec::new(), &self.memory)?;
        self.files.push((merges, write::<E>(&self.memory.folder, sorted)?));
        Ok(())
    }

    /// All entries in order.
    pub(super) fn finish(mut self) -> Result<Sorted<E>> {
        if !self.files.is_empty() {
            self.spill()?;
            self.entries = Vec::new();
        }
        while self.files.len() > MERGED {
            self.merge_last()?;
        }
        self.entries.par_sort_unstable();
        Sorted::new(self.files, self.entries, &self.memory)
    }
}

/// A file without a name of entries, each behind its length.
fn write<E: Entry>(folder: &Path, entries: impl Iterator<Item = Result<E>>) -> Result<File> {
    let failed = || Error::io("write a file in", folder);
    let file = tempfile::tempfile_in(folder).map_err(failed())?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES.1, file);
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.clear();
        entry?.put(&mut bytes);
        let length = (bytes.len() as u32).to_le_bytes();
        out.write_all(&length).and_then(|()| out.write_all(&bytes)).map_err(failed())?;
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
pub(super) struct Sorted<E> {
    sources: Vec<Source<E>>,
    heap: BinaryHeap<Reverse<(E, usize)>>,
    folder: PathBuf,
    bytes: Vec<u8>,
}

impl<E: Entry> Sorted<E> {
    fn new(files: Vec<(u32, File)>, entries: Vec<E>, memory: &SpillMemory) -> Result<Self> {
        let buffer = memory.bytes / files.len().max(1);
        let buffer = buffer.clamp(BUFFER_BYTES.0, BUFFER_BYTES.1);
        let source = |(_, file)| Source::File(BufReader::with_capacity(buffer, file));
        let mut sources: Vec<Source<E>> = files.into_iter().map(source).collect();
        sources.push(Source::Memory(entries.into_iter()));
        let folder = memory.folder.clone();
        let mut sorted = Self { sources, heap: BinaryHeap::new(), folder, bytes: Vec::new() };
        (0..sorted.sources.len()).try_for_each(|source| sorted.advance(source))?;
        Ok(sorted)
    }

    fn advance(&mut self, source: usize) -> Result<()> {
        let next = match &mut self.sources[source] {
            Source::Memory(entries) => entries.next(),
            Source::File(file) => read(file, &mut self.bytes, &self.folder)?,
        };
        self.heap.extend(next.map(|entry| Reverse((entry, source))));
        Ok(())
    }

    fn pull(&mut self) -> Result<Option<E>> {
        let Some(Reverse((entry, source))) = self.heap.pop() else { return Ok(None) };
        self.advance(source)?;
        Ok(Some(entry))
    }
}

impl<E: Entry> Iterator for Sorted<E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Result<E>> {
        self.pull().transpose()
    }
}

/// The next entry of a file.
fn read<E: Entry>(
    file: &mut BufReader<File>,
    bytes: &mut Vec<u8>,
    folder: &Path,
) -> Result<Option<E>> {
    let failed = || Error::io("read a file in", folder);
    if std::io::BufRead::fill_buf(file).map_err(failed())?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    file.read_exact(&mut length).map_err(failed())?;
    bytes.resize(u32::from_le_bytes(length) as usize, 0);
    file.read_exact(bytes).map_err(failed())?;
    let damaged = || Error::File { path: folder.to_owned(), what: "a damaged entry".to_owned() };
    E::get(bytes).map(Some).ok_or_else(damaged)
}

/// Entries in order, which can be read again and again: in memory if they fit in half of what they
/// may take, else in a file without a name.
pub(super) enum Stored<E> {
    Memory(Vec<E>),
    File(File, PathBuf),
}

impl<E: Entry> Stored<E> {
    pub(super) fn new(
        entries: impl Iterator<Item = Result<E>>,
        memory: &SpillMemory,
    ) -> Result<Self> {
        let (mut kept, mut held) = (Vec::new(), 0);
        let mut entries = entries.fuse();
        for entry in entries.by_ref() {
            let entry = entry?;
            held += entry.held();
            kept.push(entry);
            if memory.bytes > 0 && 4 * held >= memory.bytes {
                let all = kept.into_iter().map(Ok).chain(entries);
                let file = write(&memory.folder, all)?;
                return Ok(Self::File(file, memory.folder.clone()));
            }
        }
        Ok(Self::Memory(kept))
    }

    /// Hands out all entries in order.
    pub(super) fn each(&self, mut take: impl FnMut(&E) -> Result<()>) -> Result<()> {
        match self {
            Self::Memory(entries) => entries.iter().try_for_each(take),
            Self::File(file, folder) => {
                let failed = || Error::io("read a file in", folder);
                let mut file = file.try_clone().map_err(failed())?;
                file.seek(SeekFrom::Start(0)).map_err(failed())?;
                let mut file = BufReader::with_capacity(BUFFER_BYTES.1, file);
                let mut bytes = Vec::new();
                while let Some(entry) = read(&mut file, &mut bytes, folder)? {
                    take(&entry)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            24 + self.0.len()
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
        for bytes in [0, 1, 100, 10_000, 1 << 30] {
            let memory = SpillMemory { bytes, folder: folder.path().to_owned() };
            let mut sorter = Sorter::new(&memory);
            words.iter().for_each(|word| sorter.push(word.clone()).unwrap());
            let stored = Stored::new(sorter.finish().unwrap(), &memory).unwrap();
            assert_eq!(matches!(stored, Stored::File(..)), bytes > 0 && bytes < 1 << 20);
            for _ in 0..2 {
                let mut found = Vec::new();
                stored
                    .each(|word| {
                        found.push(word.clone());
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(found, expected, "{bytes}");
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// A file that ends within an entry is an error.
    #[test]
    fn a_cut_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let words = [Word(vec![1, 2, 3]), Word(vec![4, 5, 6])];
        let file = write(folder.path(), words.into_iter().map(Ok)).unwrap();
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
