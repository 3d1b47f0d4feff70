//! Several runs made one: where there are more of them than the memory to merge them.

use std::fs;
use std::io;
use std::path::Path;

use super::chunk::ENTRY_BYTES;
use super::merge::Merge;
use super::run::{Run, RunMeta, Stream};
use super::run_path;
use crate::base::error::{Error, Result};
use crate::files::container::{FileKind, SectionKind, Writer};
use crate::files::metadata::write_meta;

/// Bytes handed over at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What folding needs to know of a shard.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub nlist: usize,
    /// Bytes of a code and of a finer code.
    pub code_bytes: usize,
    pub fine_bytes: usize,
    /// Bytes read of a column before their memory is given back.
    pub window: u64,
}

/// Folds runs that follow each other, at least one, into one. Their files are removed: by another
/// attempt at the same task, perhaps.
pub(super) fn into_one(mut runs: Vec<Run>, folder: &Path, shape: Shape) -> Result<Run> {
    if runs.len() == 1 {
        return Ok(runs.remove(0));
    }
    let meta = RunMeta::of_all(&runs).ok_or_else(|| Error::invalid("no runs to fold"))?;
    let path = run_path(folder, meta.first);
    fold(&runs, &path, shape)?;
    let folded = Run::open(&path)?.require(&meta, &path)?;
    for other in &runs[1..] {
        let path = run_path(folder, other.meta.first);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&path, "remove", e));
            }
            _ => {}
        }
    }
    Ok(folded)
}

/// Writes runs that follow each other, at least one, into one, at `path`.
fn fold(runs: &[Run], path: &Path, shape: Shape) -> Result<()> {
    let Some(meta) = RunMeta::of_all(runs) else { return Ok(()) };
    let mut file = Writer::create(path, FileKind::Run)?;
    write_meta(&mut file, &meta)?;
    let mut fold = Fold { runs, shape, first: meta.first, file, piece: Vec::new() };
    for kind in meta.columns() {
        fold.file.begin(kind, true)?;
        match kind {
            SectionKind::ListTable => fold.list_table()?,
            SectionKind::Ordinals => fold.ordinals()?,
            SectionKind::Codes => fold.by_list(kind, shape.code_bytes)?,
            SectionKind::FineCodes => fold.by_list(kind, shape.fine_bytes)?,
            SectionKind::Attributes => fold.records()?,
            SectionKind::Ids => fold.one_by_one(kind, 8)?,
            SectionKind::Lists => fold.one_by_one(kind, 4)?,
            SectionKind::Keys => fold.keys()?,
            SectionKind::RowStarts => fold.key_starts()?,
            _ => fold.entries(kind)?,
        }
        fold.end()?;
    }
    runs.iter().try_for_each(Run::intact)?;
    fold.file.finish().map(drop)
}

struct Fold<'r> {
    runs: &'r [Run],
    shape: Shape,
    /// Ordinal of the first row.
    first: u32,
    file: Writer,
    /// Bytes on their way to the file.
    piece: Vec<u8>,
}

impl<'r> Fold<'r> {
    fn streams(&self, kind: SectionKind) -> Result<Vec<Stream<'r>>> {
        self.runs.iter().map(|run| run.stream(kind, self.shape.window)).collect()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        if self.piece.len() + bytes.len() > PIECE_BYTES {
            self.end()?;
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.file.write(&self.piece)?;
        self.piece.clear();
        Ok(())
    }

    /// Rows of each list.
    fn list_table(&mut self) -> Result<()> {
        let mut lens = self.streams(SectionKind::ListTable)?;
        for _ in 0..self.shape.nlist {
            let mut sum = 0;
            for lens in &mut lens {
                sum += lens.number()?;
            }
            self.put(&sum.to_le_bytes())?;
        }
        Ok(())
    }

    /// Ordinals list by list, counted from the first row of all.
    fn ordinals(&mut self) -> Result<()> {
        let mut lens = self.streams(SectionKind::ListTable)?;
        let mut rows = self.streams(SectionKind::Ordinals)?;
        for _ in 0..self.shape.nlist {
            for ((run, lens), rows) in self.runs.iter().zip(&mut lens).zip(&mut rows) {
                for _ in 0..lens.number()? {
                    let ordinal = run.meta.first - self.first + rows.number()?;
                    self.put(&ordinal.to_le_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// A column of `width` bytes a row that is in the order of lists.
    fn by_list(&mut self, kind: SectionKind, width: usize) -> Result<()> {
        let mut lens = self.streams(SectionKind::ListTable)?;
        let mut rows = self.streams(kind)?;
        let most = (PIECE_BYTES / width.max(1)).max(1);
        for _ in 0..self.shape.nlist {
            for (lens, rows) in lens.iter_mut().zip(&mut rows) {
                let mut left = lens.number()? as usize;
                while left > 0 {
                    let n = left.min(most);
                    self.put(rows.take(n * width)?)?;
                    left -= n;
                }
            }
        }
        Ok(())
    }

    /// Attribute records list by list.
    fn records(&mut self) -> Result<()> {
        let mut lens = self.streams(SectionKind::ListTable)?;
        let mut records = self.streams(SectionKind::Attributes)?;
        for _ in 0..self.shape.nlist {
            for (lens, records) in lens.iter_mut().zip(&mut records) {
                for _ in 0..lens.number()? {
                    let record = records.blob()?;
                    self.put(&(record.len() as u32).to_le_bytes())?;
                    self.put(record)?;
                }
            }
        }
        Ok(())
    }

    /// A column of `width` bytes a row that is in the order of ordinals.
    fn one_by_one(&mut self, kind: SectionKind, width: usize) -> Result<()> {
        for (run, mut rows) in self.runs.iter().zip(self.streams(kind)?) {
            let mut left = width * run.meta.facts.rows as usize;
            while left > 0 {
                let n = left.min(PIECE_BYTES);
                self.put(rows.take(n)?)?;
                left -= n;
            }
        }
        Ok(())
    }

    fn keys(&mut self) -> Result<()> {
        self.each_key(|fold, key| {
            fold.put(&(key.len() as u32).to_le_bytes())?;
            fold.put(key)
        })
    }

    /// The place of every 32nd key.
    fn key_starts(&mut self) -> Result<()> {
        let (mut row, mut at) = (0usize, 0u64);
        self.each_key(|fold, key| {
            if row.is_multiple_of(super::blobs::STEP) {
                fold.put(&at.to_le_bytes())?;
            }
            row += 1;
            at += (super::blobs::LENGTH_BYTES + key.len()) as u64;
            Ok(())
        })
    }

    fn each_key(&mut self, mut take: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        for (run, mut keys) in self.runs.iter().zip(self.streams(SectionKind::Keys)?) {
            for _ in 0..run.meta.facts.rows {
                take(self, keys.blob()?)?;
            }
        }
        Ok(())
    }

    /// Ids or hashes of keys, ascending.
    fn entries(&mut self, kind: SectionKind) -> Result<()> {
        let mut merge = Merge::new(self.runs, kind, self.shape.window)?;
        while let Some((number, ordinal)) = merge.next()? {
            let mut entry = [0; ENTRY_BYTES];
            entry[..8].copy_from_slice(&number.to_le_bytes());
            entry[8..].copy_from_slice(&(ordinal - self.first).to_le_bytes());
            self.put(&entry)?;
        }
        Ok(())
    }
}
