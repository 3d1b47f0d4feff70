//! Runs: rows sorted by list, in memory or in a file, read column by column.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blobs::{LENGTH_BYTES, find};
use super::chunk::{Chunk, ENTRY_BYTES, Sorted};
use super::facts::Facts;
use crate::base::error::{Error, Result};
use crate::files::container::{FileKind, Reader, Section, SectionKind, Writer};
use crate::files::metadata::{read_meta, write_meta};

/// Version of a run's file.
const FORMAT: u32 = 1;

/// A run's own facts, as JSON in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunMeta {
    pub format: u32,
    /// The shard that the rows are for.
    pub name: String,
    /// Ordinal of the first row.
    pub first: u32,
    /// Rows of the source that this run and those before it cover, where rows end with one.
    pub position: Option<u64>,
    /// Whether ids ascend with ordinals.
    pub ids_ascend: bool,
    pub facts: Facts,
}

impl RunMeta {
    /// The head of a run of the rows of `chunk`.
    pub fn new(name: &str, first: u32, position: Option<u64>, chunk: &Chunk, facts: Facts) -> Self {
        let ids_ascend = chunk.ids_ascend();
        Self { format: FORMAT, name: name.to_owned(), first, position, ids_ascend, facts }
    }

    /// The head of a run of the rows of all `runs`, which follow each other; none of no runs.
    pub fn of_all(runs: &[Run]) -> Option<Self> {
        let (first, last) = (&runs.first()?.meta, &runs.last()?.meta);
        let mut facts = Facts::default();
        let mut ids_ascend = true;
        for Run { meta, .. } in runs {
            let follows = facts.rows == 0 || facts.max_id < meta.facts.min_id;
            ids_ascend &= meta.ids_ascend && follows;
            facts.add(&meta.facts);
        }
        let (name, position) = (first.name.clone(), last.position);
        Some(Self { format: FORMAT, name, first: first.first, position, ids_ascend, facts })
    }

    /// The columns of such a run.
    pub fn columns(&self) -> Vec<SectionKind> {
        let mut kinds = vec![
            SectionKind::ListTable,
            SectionKind::Ordinals,
            SectionKind::Codes,
            SectionKind::Ids,
            SectionKind::Lists,
        ];
        if self.facts.fine_rows > 0 {
            kinds.push(SectionKind::FineCodes);
        }
        if self.facts.recorded > 0 {
            kinds.push(SectionKind::Attributes);
        }
        if !self.ids_ascend {
            kinds.push(SectionKind::IdMap);
        }
        if self.facts.keyed > 0 {
            kinds.extend([SectionKind::Keys, SectionKind::RowStarts, SectionKind::KeyMap]);
        }
        kinds
    }
}

/// Rows of a shard, sorted by list.
pub(super) struct Run {
    pub meta: RunMeta,
    columns: Columns,
}

enum Columns {
    Memory(Box<(Chunk, Sorted)>),
    File(Reader),
}

impl Run {
    /// A run that stays in memory.
    pub fn in_memory(meta: RunMeta, chunk: Chunk, nlist: usize) -> Self {
        let sorted = chunk.sort(nlist);
        Self { meta, columns: Columns::Memory(Box::new((chunk, sorted))) }
    }

    /// Writes the rows of `chunk` to a file that is complete once it has its name.
    pub fn write(meta: &RunMeta, chunk: &Chunk, path: &Path, nlist: usize) -> Result<()> {
        let sorted = chunk.sort(nlist);
        let mut file = Writer::create(path, FileKind::Run)?;
        write_meta(&mut file, meta)?;
        for kind in meta.columns() {
            file.begin(kind, true)?;
            chunk.column(kind, &sorted, &mut |bytes| file.write(bytes))?;
        }
        file.finish().map(drop)
    }

    /// Opens a run's file, without a look at its rows.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Reader::open(path, FileKind::Run)?;
        let meta: RunMeta = read_meta(&file)?;
        if meta.format != FORMAT {
            return Err(Error::NewerVersion {
                path: path.to_owned(),
                found: meta.format,
                supported: FORMAT,
            });
        }
        meta.columns().into_iter().try_for_each(|kind| file.require(kind).map(drop))?;
        Ok(Self { meta, columns: Columns::File(file) })
    }

    /// The run, if it is the one of `meta`: another attempt at the same task may have written its
    /// own under this name.
    ///
    /// # Errors
    /// [`Error::Conflict`].
    pub fn require(self, meta: &RunMeta, path: &Path) -> Result<Self> {
        if self.meta == *meta {
            return Ok(self);
        }
        Err(Error::Conflict {
            what: format!(
                "{}: another process works on this task with other settings; let one end, and \
                 start the task again",
                path.display()
            ),
        })
    }

    /// Proves every byte of a file.
    pub fn verify(&self) -> Result<()> {
        match &self.columns {
            Columns::Memory(_) => Ok(()),
            Columns::File(file) => file.verify_released(),
        }
    }

    /// Gives back the memory of what was read of a file.
    pub fn release(&self) {
        if let Columns::File(file) = &self.columns {
            file.release();
        }
    }

    /// Whether all that was read of a file could be read.
    pub fn intact(&self) -> Result<()> {
        match &self.columns {
            Columns::Memory(_) => Ok(()),
            Columns::File(file) => file.intact(),
        }
    }

    /// A column from its beginning. A file's memory is given back after every `window` bytes.
    pub fn stream(&self, kind: SectionKind, window: u64) -> Result<Stream<'_>> {
        let source = match &self.columns {
            _ if !self.meta.columns().contains(&kind) => Source::Nothing,
            Columns::File(file) => Source::File(file, *file.require(kind)?),
            Columns::Memory(rows) => {
                let (chunk, sorted) = &**rows;
                Source::Memory(match chunk.stored(kind) {
                    Some(stored) => stored.into(),
                    None => {
                        let mut all = Vec::new();
                        chunk.column(kind, sorted, &mut |bytes| {
                            all.extend_from_slice(bytes);
                            Ok(())
                        })?;
                        all.into()
                    }
                })
            }
        };
        Ok(Stream { source, at: 0, held: 0, window })
    }

    /// Bytes of all keys and of their lengths.
    pub fn key_bytes(&self) -> u64 {
        match &self.columns {
            Columns::Memory(rows) => rows.0.keys.bytes().len() as u64,
            Columns::File(file) => file.find(SectionKind::Keys).map_or(0, |keys| keys.len),
        }
    }

    /// The key of row number `row` of this run.
    pub fn key(&self, row: u32) -> Result<Vec<u8>> {
        let row = row as usize;
        match &self.columns {
            _ if self.meta.facts.keyed == 0 => Ok(Vec::new()),
            Columns::Memory(rows) => Ok(rows.0.keys.get(row).to_vec()),
            Columns::File(file) => {
                let keys = *file.require(SectionKind::Keys)?;
                let starts = *file.require(SectionKind::RowStarts)?;
                let start = |i: usize| file.read_word(&starts, 8 * i as u64);
                let read = |at, len: usize| Ok(file.read(&keys, at, len as u64)?.to_vec());
                find(row, start, read)
            }
        }
    }

    /// Ids or hashes of keys, ascending, each with its row's ordinal in the shard.
    pub fn entries(&self, kind: SectionKind, window: u64) -> Result<Entries<'_>> {
        let in_order = kind == SectionKind::IdMap && self.meta.ids_ascend;
        let column = if in_order { SectionKind::Ids } else { kind };
        let stream = self.stream(column, window)?;
        let count = match kind {
            SectionKind::KeyMap => self.meta.facts.keyed,
            _ => self.meta.facts.rows,
        };
        Ok(Entries { stream, first: self.meta.first, in_order, next: 0, count })
    }
}

/// A column, read from its beginning to its end.
pub(super) struct Stream<'a> {
    source: Source<'a>,
    at: u64,
    /// Bytes taken since memory was given back.
    held: u64,
    window: u64,
}

enum Source<'a> {
    /// A column that the run does not have.
    Nothing,
    Memory(Cow<'a, [u8]>),
    File(&'a Reader, Section),
}

impl Stream<'_> {
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&[u8]> {
        let at = self.at;
        self.at += n as u64;
        match &self.source {
            Source::Memory(all) => all
                .get(at as usize..at as usize + n)
                .ok_or_else(|| Error::invalid("a run's column ends before its rows")),
            Source::Nothing => Err(Error::invalid("a run lacks a column")),
            Source::File(file, section) => {
                if self.held >= self.window {
                    file.release();
                    self.held = 0;
                }
                self.held += n as u64;
                file.read(section, at, n as u64)
            }
        }
    }

    /// The next string; an empty one if the run has no such column.
    pub fn blob(&mut self) -> Result<&[u8]> {
        if matches!(self.source, Source::Nothing) {
            return Ok(&[]);
        }
        let len = self.number()? as usize;
        self.take(len)
    }

    /// The next number of four bytes.
    pub fn number(&mut self) -> Result<u32> {
        let mut bytes = [0; LENGTH_BYTES];
        bytes.copy_from_slice(self.take(LENGTH_BYTES)?);
        Ok(u32::from_le_bytes(bytes))
    }

    /// The next number of eight bytes.
    pub fn word(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Numbers with ordinals, ascending.
pub(super) struct Entries<'a> {
    stream: Stream<'a>,
    first: u32,
    /// The numbers are in the order of ordinals, which are not stored then.
    in_order: bool,
    next: u32,
    count: u32,
}

impl Entries<'_> {
    /// The next number and its row's ordinal.
    pub fn next(&mut self) -> Result<Option<(u64, u32)>> {
        if self.next == self.count {
            return Ok(None);
        }
        let row = self.next;
        self.next += 1;
        if self.in_order {
            return Ok(Some((self.stream.word()?, self.first + row)));
        }
        let mut bytes = [0; ENTRY_BYTES];
        bytes.copy_from_slice(self.stream.take(ENTRY_BYTES)?);
        let (number, row) = bytes.split_at(8);
        let number = number.iter().rev().fold(0u64, |n, &b| n << 8 | u64::from(b));
        let row = row.iter().rev().fold(0u32, |n, &b| n << 8 | u32::from(b));
        Ok(Some((number, self.first + row)))
    }
}
