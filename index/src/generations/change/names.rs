//! Lists of names of rows: ids and keys, sorted, in memory or in a file.
//!
//! A list of names may be longer than the memory for it. It is then sorted piece by piece in files
//! without a name, which are merged into one. Keys are sorted by their hashes, as the key maps of
//! shards are: names that follow each other are looked up in places near each other.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::files::container::scratch_file;
use crate::shard::key_hash64;

/// Bytes read of a file at once, if there are few.
const BUFFER_BYTES: usize = 64 * 1024;
/// Fewest bytes read of a file at once.
const LEAST_BUFFER_BYTES: usize = 4 * 1024;
/// Files that are merged at once: a process may not have many open.
const MERGED: usize = 64;

/// Ids and keys of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Ids.
    pub ids: Vec<u64>,
    /// Keys, none of them empty.
    pub keys: Vec<String>,
}

impl Names {
    /// Number of ids and keys.
    pub fn count(&self) -> usize {
        self.ids.len() + self.keys.len()
    }
}

/// An id or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRef<'a> {
    /// An id.
    Id(u64),
    /// A key.
    Key(&'a str),
}

/// A name of a list. Ids come first, ascending; then keys by their hashes, those of one hash by
/// their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    is_key: bool,
    /// The id, or the hash of the key.
    number: u64,
    key: &'a [u8],
}

impl<'a> Entry<'a> {
    fn of(name: NameRef<'a>) -> Self {
        match name {
            NameRef::Id(number) => Self { is_key: false, number, key: &[] },
            NameRef::Key(key) => {
                let key = key.as_bytes();
                Self { is_key: true, number: key_hash64(key), key }
            }
        }
    }

    fn name(self) -> Result<NameRef<'a>> {
        if !self.is_key {
            return Ok(NameRef::Id(self.number));
        }
        let key = std::str::from_utf8(self.key);
        key.map(NameRef::Key).map_err(|_| Error::invalid("a key of a list of names is no text"))
    }

    fn write(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&[u8::from(self.is_key)])?;
        out.write_all(&self.number.to_le_bytes())?;
        out.write_all(&(self.key.len() as u32).to_le_bytes())?;
        out.write_all(self.key)
    }
}

/// A name that was read from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    is_key: bool,
    number: u64,
    key: Vec<u8>,
}

impl Owned {
    fn entry(&self) -> Entry<'_> {
        Entry { is_key: self.is_key, number: self.number, key: &self.key }
    }

    /// Reads the next name; false at the end.
    fn read(&mut self, from: &mut impl Read) -> io::Result<bool> {
        let mut head = [0; 13];
        let mut read = 0;
        while read < head.len() {
            match from.read(&mut head[read..]) {
                Ok(0) if read == 0 => return Ok(false),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
        self.is_key = head[0] != 0;
        self.number = word(&head[1..9]);
        self.key.resize(word(&head[9..]) as usize, 0);
        from.read_exact(&mut self.key).map(|()| true)
    }
}

/// Names in memory, one after the other.
#[derive(Debug, Default)]
struct Chunk {
    keys: Vec<u8>,
    /// Whether it is a key, its number, and where its bytes are in `keys`.
    entries: Vec<(bool, u64, usize, u32)>,
}

impl Chunk {
    fn push(&mut self, Entry { is_key, number, key }: Entry<'_>) {
        self.entries.push((is_key, number, self.keys.len(), key.len() as u32));
        self.keys.extend_from_slice(key);
    }

    fn bytes(&self) -> usize {
        self.keys.len() + size_of::<(bool, u64, usize, u32)>() * self.entries.len()
    }

    fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.entries.iter().map(|&entry| entry_of(&self.keys, entry))
    }

    /// Sorts, and leaves each name once.
    fn sort(&mut self) {
        let keys = &self.keys;
        self.entries.sort_unstable_by(|&a, &b| entry_of(keys, a).cmp(&entry_of(keys, b)));
        self.entries.dedup_by(|a, b| entry_of(keys, *a) == entry_of(keys, *b));
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.entries.clear();
    }
}

fn entry_of(keys: &[u8], (is_key, number, start, len): (bool, u64, usize, u32)) -> Entry<'_> {
    Entry { is_key, number, key: &keys[start..start + len as usize] }
}

/// Collects names for a [`NameList`].
#[derive(Debug, Default)]
pub struct NameListBuilder {
    /// Memory for names, in bytes, and the folder of those that do not fit.
    bounds: Option<(usize, PathBuf)>,
    chunk: Chunk,
    /// Sorted files, each with the number of merges that it went through.
    runs: Vec<(u32, File)>,
    given: [u64; 2],
}

impl NameListBuilder {
    /// A list in memory alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// A list of which at most so many bytes are in memory; the others go to files without a name
    /// in `folder`.
    pub fn bounded(bytes: usize, folder: &Path) -> Self {
        Self { bounds: Some((bytes, folder.to_owned())), ..Self::default() }
    }

    /// Adds a name. One that is there already is not there twice.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    pub fn push(&mut self, name: NameRef<'_>) -> Result<()> {
        self.given[usize::from(matches!(name, NameRef::Key(_)))] += 1;
        self.chunk.push(Entry::of(name));
        match &self.bounds {
            // Half of it: what grows is there twice for a moment.
            Some((bytes, _)) if self.chunk.bytes() >= bytes / 2 => self.spill(),
            _ => Ok(()),
        }
    }

    fn spill(&mut self) -> Result<()> {
        let Some((_, folder)) = &self.bounds else { return Ok(()) };
        self.chunk.sort();
        let chunk = &self.chunk;
        let write = || {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, scratch(folder)?);
            chunk.iter().try_for_each(|entry| entry.write(&mut out))?;
            rewound(out)
        };
        self.runs.push((0, write().map_err(|e| Error::io(folder, "write a file in", e))?));
        self.chunk.clear();
        while let Some(alike) = self.runs.last_chunk::<MERGED>()
            && alike.iter().all(|run| run.0 == alike[0].0)
        {
            self.merge_last()?;
        }
        Ok(())
    }

    /// Merges the last files into one.
    fn merge_last(&mut self) -> Result<()> {
        let Some((bytes, folder)) = &self.bounds else { return Ok(()) };
        // Its memory is wanted to read the files.
        self.chunk = Chunk::default();
        let runs = self.runs.split_off(self.runs.len().saturating_sub(MERGED));
        let merges = runs.first().map_or(0, |run| run.0 + 1);
        let merged = merge(runs, *bytes / 2, folder);
        let (file, _) = merged.map_err(|e| Error::io(folder, "write a file in", e))?;
        self.runs.push((merges, file));
        Ok(())
    }

    /// The list.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk included.
    pub fn finish(mut self) -> Result<NameList> {
        let given = self.given;
        if self.runs.is_empty() {
            self.chunk.sort();
            let count = self.chunk.entries.len() as u64;
            let names = Arc::new(Stored::Memory(self.chunk));
            return Ok(NameList { names, count, given });
        }
        self.spill()?;
        self.chunk = Chunk::default();
        while self.runs.len() > MERGED {
            self.merge_last()?;
        }
        let Some((bytes, folder)) = self.bounds else { return Ok(NameList::default()) };
        let merged = merge(self.runs, bytes, &folder);
        let (file, count) = merged.map_err(|e| Error::io(&folder, "write a file in", e))?;
        Ok(NameList { names: Arc::new(Stored::File { folder, file }), count, given })
    }
}

/// A file without a name.
fn scratch(folder: &Path) -> io::Result<File> {
    scratch_file(folder).map_err(io::Error::other)
}

/// The file that was written, at its beginning.
fn rewound(out: BufWriter<File>) -> io::Result<File> {
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// One file of the names of all runs, each once, and how many they are.
fn merge(runs: Vec<(u32, File)>, bytes: usize, folder: &Path) -> io::Result<(File, u64)> {
    let buffer = (bytes / runs.len()).clamp(LEAST_BUFFER_BYTES, BUFFER_BYTES);
    let mut runs: Vec<_> =
        runs.into_iter().map(|(_, run)| BufReader::with_capacity(buffer, run)).collect();
    let mut heap = BinaryHeap::with_capacity(runs.len());
    for (number, run) in runs.iter_mut().enumerate() {
        let mut name = Owned::default();
        if name.read(run)? {
            heap.push(Reverse((name, number)));
        }
    }
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, scratch(folder)?);
    let (mut last, mut count) = (None, 0);
    while let Some(Reverse((name, number))) = heap.pop() {
        let mut next = Owned::default();
        if next.read(&mut runs[number])? {
            heap.push(Reverse((next, number)));
        }
        if last.as_ref() != Some(&name) {
            name.entry().write(&mut out)?;
            count += 1;
            last = Some(name);
        }
    }
    Ok((rewound(out)?, count))
}

#[derive(Debug)]
enum Stored {
    Memory(Chunk),
    File { folder: PathBuf, file: File },
}

/// Ids and keys, each once.
#[derive(Clone, Debug)]
pub struct NameList {
    names: Arc<Stored>,
    count: u64,
    given: [u64; 2],
}

impl Default for NameList {
    fn default() -> Self {
        Self { names: Arc::new(Stored::Memory(Chunk::default())), count: 0, given: [0; 2] }
    }
}

/// Reads a file from its beginning, whoever else reads it.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl NameList {
    /// The list of names in memory.
    ///
    /// # Errors
    /// None: nothing is written.
    pub fn of(names: &Names) -> Result<Self> {
        let mut list = NameListBuilder::new();
        names.ids.iter().try_for_each(|&id| list.push(NameRef::Id(id)))?;
        names.keys.iter().try_for_each(|key| list.push(NameRef::Key(key)))?;
        list.finish()
    }

    /// Number of names.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Numbers of ids and keys that were given, those that were given twice counted twice.
    pub fn given(&self) -> (u64, u64) {
        (self.given[0], self.given[1])
    }

    /// Hands out all names in order, each with its number in the list.
    ///
    /// # Errors
    /// [`Error::Io`]; those of `take`.
    pub fn each(&self, mut take: impl FnMut(u64, NameRef<'_>) -> Result<()>) -> Result<()> {
        match &*self.names {
            Stored::Memory(chunk) => {
                (0..).zip(chunk.iter()).try_for_each(|(i, entry)| take(i, entry.name()?))
            }
            Stored::File { folder, file } => {
                let file = FromStart { file, at: 0 };
                let mut from = BufReader::with_capacity(BUFFER_BYTES, file);
                let (mut name, mut number) = (Owned::default(), 0);
                let failed = |e| Error::io(folder, "read a file in", e);
                while name.read(&mut from).map_err(failed)? {
                    take(number, name.entry().name()?)?;
                    number += 1;
                }
                Ok(())
            }
        }
    }

    /// The names in memory.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn to_names(&self) -> Result<Names> {
        let mut names = Names::default();
        self.each(|_, name| {
            match name {
                NameRef::Id(id) => names.ids.push(id),
                NameRef::Key(key) => names.keys.push(key.to_owned()),
            }
            Ok(())
        })?;
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// However many names there are, few files are open.
    #[test]
    fn many_runs_are_merged_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut built = NameListBuilder::bounded(1, folder.path());
        let mut expected = BTreeSet::new();
        for i in 0..9000u64 {
            let id = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 7000;
            expected.insert(id);
            built.push(NameRef::Id(id)).unwrap();
            assert!(built.runs.len() <= 3 * MERGED, "{} files after {i}", built.runs.len());
        }
        assert!(built.runs.iter().any(|run| run.0 > 1), "no run was merged twice");
        let list = built.finish().unwrap();
        assert!(list.to_names().unwrap().ids.into_iter().eq(expected));
    }

    /// In memory and in files the same names come back, each once.
    #[test]
    fn names_come_back_once_whatever_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Names::default();
        for i in 0..5000u64 {
            names.ids.push(i.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 900);
            names.keys.push(format!("photos/{}/{}.jpg", i % 7, i % 1300));
        }
        let mut ids: Vec<u64> = names.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let keys: BTreeSet<&String> = names.keys.iter().collect();
        let in_memory = NameList::of(&names).unwrap();
        let mut built = NameListBuilder::bounded(4096, folder.path());
        names.ids.iter().for_each(|&id| built.push(NameRef::Id(id)).unwrap());
        names.keys.iter().for_each(|key| built.push(NameRef::Key(key)).unwrap());
        assert!(built.runs.len() > 10, "{} runs", built.runs.len());
        assert!(built.runs.iter().any(|run| run.0 > 0), "no run was merged");
        let in_files = built.finish().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "files without names");
        for list in [&in_memory, &in_files] {
            assert_eq!(list.count(), (ids.len() + keys.len()) as u64);
            assert_eq!(list.given(), (5000, 5000));
            let found = list.to_names().unwrap();
            assert_eq!(found.ids, ids);
            assert_eq!(found.keys.iter().collect::<BTreeSet<_>>(), keys);
            assert_eq!(found.keys.len(), keys.len());
            // A second pass gives the same.
            assert_eq!(list.to_names().unwrap(), found);
        }
        assert_eq!(in_memory.to_names().unwrap(), in_files.to_names().unwrap());
    }
}
