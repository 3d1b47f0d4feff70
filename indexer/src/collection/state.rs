//! What is known of each photo, from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use ocelli_index::container::AtomicFile;
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use crate::{Error, Result};

/// Version of `state.jsonl`.
const FORMAT: u32 = 1;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// A photo's file as it was looked at, and which part of it counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// Absolute path.
    pub(super) path: PathBuf,
    /// Size of the file.
    pub(super) bytes: u64,
    /// When it was last written, in milliseconds since 1970.
    pub(super) modified_ms: Option<i64>,
    /// Box in stored pixels, where a list gives one.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub(super) bounding_box: Option<[f64; 4]>,
    /// Degrees clockwise, where a list gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rotate: Option<u16>,
}

impl Seen {
    /// Whether the photo is the same, as far as can be told without reading it.
    pub(super) fn is_unchanged(&self, now: &Seen) -> bool {
        self.bytes == now.bytes
            && self.modified_ms == now.modified_ms
            && self.bounding_box == now.bounding_box
            && self.rotate == now.rotate
    }
}

/// The place of a photo's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "(u32, u32, u32)", from = "(u32, u32, u32)")]
pub(super) struct Place {
    pub(super) batch: u32,
    pub(super) part: u32,
    pub(super) row: u32,
}

impl From<Place> for (u32, u32, u32) {
    fn from(Place { batch, part, row }: Place) -> Self {
        (batch, part, row)
    }
}

impl From<(u32, u32, u32)> for Place {
    fn from((batch, part, row): (u32, u32, u32)) -> Self {
        Place { batch, part, row }
    }
}

/// What became of a photo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// A row of a part.
    At(Place),
    /// No descriptor; the reason.
    Rejected(String),
}

/// A photo that was encoded or rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) seen: Seen,
    /// Id of the photo in the index, which stays.
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// A generation of the index, and the rows that it was built of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Built {
    /// Number of the generation.
    pub(super) generation: u64,
    /// Hash of the rows and of how they were built.
    pub(super) rows: String,
}

/// The first line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    next_id: u64,
    next_batch: u32,
    batches: BTreeSet<u32>,
    built: Option<Built>,
}

/// A line behind it.
#[derive(Serialize, Deserialize)]
struct Line<K, E> {
    key: K,
    #[serde(flatten)]
    entry: E,
}

/// All photos of a collection by their keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    /// Smallest id that was never given.
    pub(super) next_id: u64,
    /// Smallest number that no batch ever had.
    pub(super) next_batch: u32,
    /// Batches whose rows are here. Others were left by a run that was killed.
    pub(super) batches: BTreeSet<u32>,
    /// The index as this program left it.
    pub(super) built: Option<Built>,
    pub(super) photos: BTreeMap<String, Entry>,
}

impl State {
    /// The state of a collection, empty if it has none.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn read(folder: &Folder) -> Result<Self> {
        let path = folder.state();
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(Error::io("read", &path))?,
        };
        let mut lines = Lines::new(&path, file);
        let Some(head) = lines.next::<Head>()? else { return Ok(Self::default()) };
        if head.format != FORMAT {
            let what = format!("format {}; this program reads format {FORMAT}", head.format);
            return Err(Error::File { path, what });
        }
        let Head { next_id, next_batch, batches, built, .. } = head;
        let mut photos = BTreeMap::new();
        while let Some(Line { key, entry }) = lines.next::<Line<String, Entry>>()? {
            photos.insert(key, entry);
        }
        Ok(State { next_id, next_batch, batches, built, photos })
    }

    /// Writes the state; until that is done, the earlier one stands.
    ///
    /// # Errors
    /// A full disk; a path that is not UTF-8.
    pub(super) fn write(&self, folder: &Folder) -> Result<()> {
        let path = folder.state();
        let mut out = LineWriter::create(&path)?;
        out.push(&Head {
            format: FORMAT,
            next_id: self.next_id,
            next_batch: self.next_batch,
            batches: self.batches.clone(),
            built: self.built.clone(),
        })?;
        for (key, entry) in &self.photos {
            out.push(&Line { key, entry })?;
        }
        out.finish()
    }

    /// Photos that have a descriptor.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, &Entry, Place)> {
        self.photos.iter().filter_map(|(key, entry)| match entry.outcome {
            Outcome::At(place) => Some((key.as_str(), entry, place)),
            Outcome::Rejected(_) => None,
        })
    }

    /// Photos that have none, with the reasons.
    pub(super) fn rejected(&self) -> impl Iterator<Item = (&str, &str)> {
        self.photos.iter().filter_map(|(key, entry)| match &entry.outcome {
            Outcome::At(_) => None,
            Outcome::Rejected(reason) => Some((key.as_str(), reason.as_str())),
        })
    }
}

/// A photo that is to be encoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Planned {
    #[serde(flatten)]
    pub(super) seen: Seen,
    pub(super) id: u64,
}

/// Writes the photos of a batch.
///
/// # Errors
/// As [`State::write`].
pub(super) fn write_plan(path: &Path, photos: &[(String, Planned)]) -> Result<()> {
    let mut out = LineWriter::create(path)?;
    for (key, entry) in photos {
        out.push(&Line { key, entry })?;
    }
    out.finish()
}

/// Reads the photos of a batch; None if the batch was never begun.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn read_plan(path: &Path) -> Result<Option<Vec<(String, Planned)>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io("read", path))?,
    };
    let mut lines = Lines::new(path, file);
    let mut photos = Vec::new();
    while let Some(Line { key, entry }) = lines.next::<Line<String, Planned>>()? {
        photos.push((key, entry));
    }
    Ok(Some(photos))
}

/// The lines of a file of JSON objects.
struct Lines<'p> {
    path: &'p Path,
    from: BufReader<File>,
    line: Vec<u8>,
    number: u64,
}

impl<'p> Lines<'p> {
    fn new(path: &'p Path, file: File) -> Self {
        Lines { path, from: BufReader::with_capacity(CHUNK, file), line: Vec::new(), number: 0 }
    }

    fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.line.clear();
        self.number += 1;
        let read = self.from.read_until(b'\n', &mut self.line);
        if read.map_err(Error::io("read", self.path))? == 0 {
            return Ok(None);
        }
        serde_json::from_slice(&self.line).map(Some).map_err(|e| Error::File {
            path: self.path.to_owned(),
            what: format!(
                "line {}: {e}; remove the file, and the next run of `ocelli index` makes it again \
                 from the parts",
                self.number
            ),
        })
    }
}

/// Writes a file of JSON objects, a line each.
pub(super) struct LineWriter {
    path: PathBuf,
    file: AtomicFile,
    line: Vec<u8>,
}

impl LineWriter {
    /// # Errors
    /// A folder that cannot be written.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = AtomicFile::create(path)?;
        Ok(LineWriter { path: path.to_owned(), file, line: Vec::new() })
    }

    /// # Errors
    /// A full disk; a path that is not UTF-8.
    pub(super) fn push(&mut self, line: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, line)
            .map_err(|e| Error::Invalid(format!("{}: {e}", self.path.display())))?;
        self.line.push(b'\n');
        Ok(self.file.append(&self.line)?)
    }

    /// # Errors
    /// A full disk.
    pub(super) fn finish(self) -> Result<()> {
        self.file.publish()?;
        Ok(())
    }
}
