//! Files of edges, sorted by their rows.
//!
//! An edge is four little-endian words of eight bytes: its rows, the bits of its score with those
//! of its agreement, and three bytes for its label, the source of its score, and the distance of
//! its perceptual hashes. Sorted words are sorted edges. The hash of a file is known to whoever
//! reads it.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ocelli_index::container::AtomicFile;
use ocelli_index::{Hash, Hasher};

use crate::dedup::edge::{Edge, Label, ScoredBy};
use crate::sort::{SortMemory, Sorter};
use crate::{Error, Result};

/// Words of an edge.
pub(super) const WORDS: usize = 4;
/// Stands for a perceptual hash, or an agreement, that is not there.
const NONE: u8 = u8::MAX;
/// Bytes that are read of a file at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// Files that are merged at once: a process may not have many open.
const MERGED: usize = 64;

/// The words of an edge.
pub(super) fn to_words(edge: &Edge) -> [u64; WORDS] {
    let agreement = edge.agreement.unwrap_or(f32::NAN);
    let scores = u64::from(edge.score.to_bits()) << 32 | u64::from(agreement.to_bits());
    let of = |all: &[&'static str], name| all.iter().position(|n| *n == name).unwrap_or(0) as u64;
    let label = of(&Label::ALL.map(Label::name), edge.label.name());
    let scored_by = of(&ScoredBy::ALL.map(ScoredBy::name), edge.scored_by.name());
    let phash = u64::from(edge.phash_distance.unwrap_or(NONE));
    [edge.a, edge.b, scores, label << 16 | scored_by << 8 | phash]
}

/// The edge of some words; none if they are no edge's.
pub(super) fn from_words([a, b, scores, rest]: [u64; WORDS]) -> Option<Edge> {
    let agreement = f32::from_bits(scores as u32);
    let phash = rest as u8;
    if a >= b || rest >> 24 != 0 {
        return None;
    }
    Some(Edge {
        a,
        b,
        score: f32::from_bits((scores >> 32) as u32),
        scored_by: *ScoredBy::ALL.get((rest >> 8 & 0xff) as usize)?,
        label: *Label::ALL.get((rest >> 16) as usize)?,
        phash_distance: (phash != NONE).then_some(phash),
        agreement: (!agreement.is_nan()).then_some(agreement),
    })
}

/// Files with the edges of `files`: these; or, where they are more than may be open at once, one
/// at `path` that has them all.
///
/// # Errors
/// Those of reading, sorting and writing.
pub(super) fn merged(
    files: Vec<PathBuf>,
    path: &Path,
    memory: Option<SortMemory>,
) -> Result<Vec<PathBuf>> {
    if files.len() <= MERGED {
        return Ok(files);
    }
    let mut sorter = Sorter::new(memory);
    for path in &files {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        while let Some(words) = read(&mut file, path)? {
            sorter.push(words)?;
        }
    }
    write_sorted(path, sorter)?;
    Ok(vec![path.to_owned()])
}

/// Facts of a file of edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EdgeFacts {
    pub(super) sha256: Hash,
    pub(super) edges: u64,
}

/// Writes sorted edges, each pair of rows once, to the file at `path`.
///
/// # Errors
/// Those of writing; those of the edges.
pub(super) fn write(
    path: &Path,
    mut next: impl FnMut() -> Result<Option<[u64; WORDS]>>,
) -> Result<EdgeFacts> {
    let (mut out, mut hasher) = (AtomicFile::create(path)?, Hasher::new());
    let (mut edges, mut last) = (0, None);
    while let Some(words) = next()? {
        if last == Some((words[0], words[1])) {
            continue;
        }
        last = Some((words[0], words[1]));
        let bytes = words.map(u64::to_le_bytes);
        hasher.update(bytes.as_flattened());
        out.append(bytes.as_flattened())?;
        edges += 1;
    }
    out.flush().map_err(Error::io("write", path))?;
    out.publish()?;
    Ok(EdgeFacts { sha256: hasher.finish(), edges })
}

/// [`write`] of what was sorted.
///
/// # Errors
/// As [`write`].
pub(super) fn write_sorted(path: &Path, sorter: Sorter<[u64; WORDS]>) -> Result<EdgeFacts> {
    let mut sorted = sorter.finish()?;
    write(path, || sorted.next())
}

/// Refuses a file that is not the one of this hash.
///
/// # Errors
/// A file that is not there, or has other content.
pub(super) fn require_hash(path: &Path, expected: &Hash) -> Result<()> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let found = Hash::of_reader(&mut file).map_err(Error::io("read", path))?;
    if found == *expected {
        return Ok(());
    }
    Err(Error::File {
        path: path.to_owned(),
        what: format!("SHA-256 {found}, expected {expected}: the file was changed"),
    })
}

/// Edges of several files, in order, each pair of rows once.
pub struct Edges {
    files: Vec<(PathBuf, BufReader<File>, Option<[u64; WORDS]>)>,
    last: Option<(u64, u64)>,
}

impl Edges {
    /// The edges of files, whose hashes were looked at, and which are few.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn open(files: &[PathBuf]) -> Result<Self> {
        let open = |path: &PathBuf| {
            let file = File::open(path).map_err(Error::io("open", path))?;
            let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
            let next = read(&mut file, path)?;
            Ok((path.clone(), file, next))
        };
        Ok(Self { files: files.iter().map(open).collect::<Result<_>>()?, last: None })
    }

    /// The next edge.
    ///
    /// # Errors
    /// Those of reading; words that are no edge.
    pub fn next_edge(&mut self) -> Result<Option<Edge>> {
        while let Some(words) = self.next_words()? {
            let rows = (words[0], words[1]);
            if self.last.replace(rows) == Some(rows) {
                continue;
            }
            let edge = from_words(words);
            let wrong = || Error::Invalid(format!("edges: words {words:x?} are no edge"));
            return Ok(Some(edge.ok_or_else(wrong)?));
        }
        Ok(None)
    }

    fn next_words(&mut self) -> Result<Option<[u64; WORDS]>> {
        let least = self.files.iter_mut().filter(|file| file.2.is_some()).min_by_key(|file| file.2);
        let Some((path, file, next)) = least else { return Ok(None) };
        let words = next.take();
        *next = read(file, path)?;
        Ok(words)
    }
}

impl Iterator for Edges {
    type Item = Result<Edge>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_edge().transpose()
    }
}

/// The words of the next edge of a file.
fn read(file: &mut BufReader<File>, path: &Path) -> Result<Option<[u64; WORDS]>> {
    let failed = Error::io("read", path);
    let mut words = [[0u8; 8]; WORDS];
    let ended = match std::io::BufRead::fill_buf(file) {
        Ok(bytes) => bytes.is_empty(),
        Err(e) => return Err(failed(e)),
    };
    if ended {
        return Ok(None);
    }
    file.read_exact(words.as_flattened_mut()).map_err(failed)?;
    Ok(Some(words.map(u64::from_le_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(a: u64, b: u64, phash_distance: Option<u8>) -> Edge {
        let (score, agreement) = (0.5, phash_distance.map(f32::from));
        let (scored_by, label) = (ScoredBy::Codes, Label::Near);
        Edge { a, b, score, scored_by, label, phash_distance, agreement }
    }

    /// Edges come back as they were, whatever they say.
    #[test]
    fn edges_come_back() {
        for label in Label::ALL {
            for scored_by in ScoredBy::ALL {
                for phash_distance in [None, Some(0), Some(64)] {
                    let before = Edge { label, scored_by, ..edge(3, 1 << 60, phash_distance) };
                    assert_eq!(from_words(to_words(&before)), Some(before));
                }
            }
        }
        assert_eq!(from_words([2, 2, 0, 0]), None);
        assert_eq!(from_words([1, 2, 0, 4 << 16]), None);
        assert_eq!(from_words([1, 2, 0, 5 << 8]), None);
        assert_eq!(from_words([1, 2, 0, 1 << 24]), None);
    }

    /// Few files and many, with edges that are there twice: in order, each once.
    #[test]
    fn files_are_merged() {
        let tmp = tempfile::tempdir().unwrap();
        for count in [0, 1, 7, MERGED + 3] {
            let mut files = Vec::new();
            let mut want = Vec::new();
            for number in 0..count as u64 {
                let path = tmp.path().join(format!("{count}-{number}"));
                let mut sorter = Sorter::new(None);
                for i in (0..20).rev() {
                    let edge = edge(i, 100 + (i * number) % 13, None);
                    sorter.push(to_words(&edge)).unwrap();
                    sorter.push(to_words(&edge)).unwrap();
                    want.push((edge.a, edge.b));
                }
                let facts = write_sorted(&path, sorter).unwrap();
                assert_eq!(facts.edges, 20);
                require_hash(&path, &facts.sha256).unwrap();
                assert!(require_hash(&path, &Hash::of(b"other")).is_err());
                files.push(path);
            }
            want.sort_unstable();
            want.dedup();
            let files = merged(files, &tmp.path().join("merged"), None).unwrap();
            assert!(files.len() <= MERGED);
            let edges = Edges::open(&files).unwrap();
            let found: Vec<(u64, u64)> =
                edges.map(|edge| edge.map(|e| (e.a, e.b)).unwrap()).collect();
            assert_eq!(found, want, "{count} files");
        }
    }

    #[test]
    fn a_file_that_is_cut_is_an_error() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("edges");
        std::fs::write(&path, [1; 33]).unwrap();
        let mut edges = Edges::open(&[path]).unwrap();
        assert!(edges.next_edge().is_err());
    }
}
