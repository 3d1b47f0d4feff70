//! Rows on their way into shards.

use std::collections::VecDeque;
use std::ops::Range;

use ocelli_index::{
    BuildJob, BuildStage, BuildTimes, CodeRows, Encoded, FineCodec, Model, NewRow, RowEncoder,
    RowEncoderScratch, ShardBuilder, out_of_range,
};
use ocelli_text::quoted;
use rayon::prelude::*;

use super::rows::place;
use super::source::Source;
use crate::dba::Neighbours;
use crate::{Error, Progress, ProgressFn, Result};

/// Encodes the rows of a build, shard by shard.
pub(super) struct ShardEncoder<'a> {
    pub(super) sources: &'a [Source<'a>],
    pub(super) model: &'a Model,
    pub(super) encoder: &'a RowEncoder<'a>,
    pub(super) job: &'a BuildJob,
    pub(super) neighbours: Option<&'a Neighbours>,
    /// Rows that are read and encoded together.
    pub(super) block_rows: usize,
    /// Bytes of names and attributes from which on a block ends.
    pub(super) name_bytes: usize,
    pub(super) times: &'a BuildTimes,
    pub(super) progress: ProgressFn<'a>,
}

/// Rows whose names are read at once: keys may be long.
const NAMED_ROWS: usize = 256;

/// Rows of one source that are encoded together.
struct Block<'a> {
    source: Source<'a>,
    images: Range<usize>,
    /// Number of the first row in plan order.
    first: u64,
}

/// A block that was read.
struct Rows<'a> {
    block: Block<'a>,
    values: Values,
    names: Vec<(u64, String)>,
    records: Vec<Vec<u8>>,
}

enum Values {
    /// (n, dim).
    Vectors(Vec<f32>),
    Codes(CodeRows),
}

impl<'a> ShardEncoder<'a> {
    /// Appends the rows `range` in plan order to `builder`, but for those that it has already.
    pub(super) fn shard(&self, builder: &mut ShardBuilder<'_>, range: Range<u64>) -> Result<()> {
        let mut blocks: VecDeque<_> =
            self.blocks(range.start + builder.position()..range.end).into();
        let mut read = || -> Result<_> {
            let Some(block) = blocks.pop_front() else { return Ok(None) };
            let (rows, rest) = self.times.time(BuildStage::Read, || self.read(block))?;
            if let Some(rest) = rest {
                blocks.push_front(rest);
            }
            Ok(Some(rows))
        };
        let mut next = read()?;
        while let Some(rows) = next {
            let encode = || self.times.time(BuildStage::Encode, || self.encode(&rows));
            let (codes, following) = rayon::join(encode, &mut read);
            let codes = codes?;
            self.times.time(BuildStage::Sort, || self.push(builder, &rows, &codes))?;
            let end = rows.block.first + rows.block.images.len() as u64;
            builder.checkpoint(end - range.start)?;
            (self.progress)(Progress { stage: "encode", done: end, total: self.job.rows() });
            next = following?;
        }
        Ok(())
    }

    /// The rows of a range, in blocks of one source each.
    fn blocks(&self, range: Range<u64>) -> Vec<Block<'a>> {
        let mut blocks = Vec::new();
        let mut source_start = 0;
        for &source in self.sources {
            let source_end = source_start + source.rows() as u64;
            let (from, to) = (range.start.max(source_start), range.end.min(source_end));
            for first in (from..to).step_by(self.block_rows) {
                let end = (first + self.block_rows as u64).min(to);
                let images = (first - source_start) as usize..(end - source_start) as usize;
                blocks.push(Block { source, images, first });
            }
            source_start = source_end;
        }
        blocks
    }

    /// Reads a block: all of it, or as much as its names leave room for, and what is left then.
    fn read(&self, mut block: Block<'a>) -> Result<(Rows<'a>, Option<Block<'a>>)> {
        let source = block.source;
        let (mut names, mut records, mut bytes) = (Vec::new(), Vec::new(), 0);
        let all = block.images.clone();
        for start in all.clone().step_by(NAMED_ROWS) {
            let images = start..(start + NAMED_ROWS).min(all.end);
            let first = block.first + (start - all.start) as u64;
            let some = source.names(images.clone(), self.job.first_id + first)?;
            let of_some = source.records(images.clone())?;
            bytes += some.iter().map(|(_, key)| key.len()).sum::<usize>();
            bytes += of_some.iter().map(Vec::len).sum::<usize>();
            names.extend(some);
            records.extend(of_some);
            block.images.end = images.end;
            if bytes >= self.name_bytes {
                break;
            }
        }
        let images = block.images.clone();
        let first = block.first + images.len() as u64;
        let rest = images.end..all.end;
        let rest = (!rest.is_empty()).then_some(Block { source, images: rest, first });
        let values = match source {
            Source::Part(part) if part.code_form().is_some() => {
                Values::Codes(part.read_codes(images.clone())?)
            }
            _ => Values::Vectors(source.read(images)?),
        };
        // What was mapped is in memory twice now.
        source.release();
        Ok((Rows { block, values, names, records }, rest))
    }

    /// A row by its number in plan order.
    fn row(&self, row: usize) -> Result<Vec<f32>> {
        let mut start = 0;
        for source in self.sources {
            let here = row - start;
            if here < source.rows() {
                return source.read(here..here + 1);
            }
            start += source.rows();
        }
        Err(Error::Invalid(format!("row {row}: beyond {start}")))
    }

    /// The error of encoding `x` (n, dim), whose first row is row `first`, with the place of the
    /// row that is out of range: rows of parts are in range, their augmented ones need not be.
    fn at_row(&self, first: u64, x: &[f32], error: Error) -> Error {
        let mut rows = x.chunks_exact(self.model.parts().dim).map(out_of_range);
        let Some(i) = rows.position(|why| why.is_some()) else { return error };
        let how = if self.neighbours.is_some() { ", augmented (--dba)" } else { "" };
        Error::Invalid(format!("{}{how}: {error}", place(self.sources, first + i as u64)))
    }

    /// The codes of a block's rows.
    fn encode(&self, rows: &Rows<'_>) -> Result<CodeRows> {
        match &rows.values {
            Values::Codes(codes) => {
                self.check_codes(rows, codes)?;
                Ok(codes.clone())
            }
            Values::Vectors(x) => match self.neighbours {
                None => self.encode_vectors(rows, x),
                Some(neighbours) => {
                    let (first, dim) = (rows.block.first as usize, self.model.parts().dim);
                    let x = neighbours.augment(first, x, dim, |row| self.row(row))?;
                    self.encode_vectors(rows, &x)
                }
            },
        }
    }

    /// Refuses codes that the model does not have.
    fn check_codes(&self, rows: &Rows<'_>, CodeRows { lists, codes, .. }: &CodeRows) -> Result<()> {
        let p = self.model.parts();
        for (i, (&list, code)) in lists.iter().zip(codes.chunks(p.m)).enumerate() {
            let left_out = || self.job.is_left_out(rows.block.first + i as u64);
            let unknown = list as usize >= p.nlist || code.iter().any(|&c| c as usize >= p.ksub);
            if unknown && !left_out() {
                let (id, key) = &rows.names[i];
                return Err(Error::Invalid(format!(
                    "{}: {} (id {id}): list {list}, code {code:?}; the model has {} lists and {} \
                     codewords",
                    rows.block.source.path().display(),
                    quoted(key),
                    p.nlist,
                    p.ksub
                )));
            }
        }
        Ok(())
    }

    /// Encodes the rows `x` `(n, dim)` of a block on all threads.
    fn encode_vectors(&self, rows: &Rows<'_>, x: &[f32]) -> Result<CodeRows> {
        let (dim, m) = (self.model.parts().dim, self.model.parts().m);
        let simd = ocelli_index::simd();
        let d = self.model.parts().d;
        let task_rows = self.encoder.rows_at_a_time();
        let encoded: Vec<CodeRows> = x
            .par_chunks(task_rows * dim)
            .enumerate()
            .map_init(RowEncoderScratch::default, |scratch, (task, x)| {
                let mut out = Encoded::default();
                let first = task * task_rows;
                let named = |e: ocelli_index::Error| {
                    self.at_row(rows.block.first + first as u64, x, e.into())
                };
                let assign = || self.encoder.assign(x, scratch, &mut out);
                self.times.time(BuildStage::Assign, assign).map_err(named)?;
                self.times.time(BuildStage::Encode, || {
                    self.encoder.encode_assigned(scratch, &mut out).map_err(named)?;
                    let mut fine = Vec::new();
                    let parts = out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m));
                    for (row, ((z, &list), code)) in (first..).zip(parts) {
                        self.model.encode_fine(simd, z, list, code, &mut fine).map_err(|e| {
                            let (id, key) = &rows.names[row];
                            Error::Invalid(format!("{} (id {id}): {e}", quoted(key)))
                        })?;
                    }
                    Ok(CodeRows { lists: out.lists, codes: out.codes, fine })
                })
            })
            .collect::<Result<_>>()?;
        let mut all = CodeRows::default();
        for mut some in encoded {
            all.lists.append(&mut some.lists);
            all.codes.append(&mut some.codes);
            all.fine.append(&mut some.fine);
        }
        Ok(all)
    }

    /// Appends a block's rows but for those that are left out.
    fn push(
        &self,
        builder: &mut ShardBuilder<'_>,
        rows: &Rows<'_>,
        CodeRows { lists, codes, fine }: &CodeRows,
    ) -> Result<()> {
        let m = self.model.parts().m;
        let fine_bytes = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        let named = rows.names.iter().zip(&rows.records);
        for (i, (((id, key), record), (&list, code))) in
            named.zip(lists.iter().zip(codes.chunks(m))).enumerate()
        {
            if self.job.is_left_out(rows.block.first + i as u64) {
                continue;
            }
            let fine = &fine[i * fine_bytes..(i + 1) * fine_bytes];
            builder.push_row(&NewRow { id: *id, key, list, code, fine, record })?;
        }
        Ok(())
    }
}
