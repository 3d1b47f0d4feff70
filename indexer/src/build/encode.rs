//! Rows on their way into shards.

use std::ops::Range;

use ocelli_index::{
    CodeRows, Encoded, FineCodec, Model, Part, RowEncoder, RowEncoderScratch, ShardBuilder,
    out_of_range,
};
use ocelli_text::quoted;
use rayon::prelude::*;

use super::rows::{RowsMeta, place};
use crate::dba::Neighbours;
use crate::sample::BLOCK_ROWS;
use crate::{Error, Progress, ProgressFn, Result};

/// Rows that one task encodes: a whole number of the assignment kernel's blocks.
const TASK_ROWS: usize = 8 * 96;

/// Encodes the rows of a build, shard by shard.
pub(super) struct ShardEncoder<'a> {
    pub(super) parts: &'a [Part],
    pub(super) model: &'a Model,
    pub(super) encoder: RowEncoder<'a>,
    pub(super) rows_meta: &'a RowsMeta,
    pub(super) neighbours: Option<&'a Neighbours>,
    pub(super) rows: usize,
    pub(super) progress: ProgressFn<'a>,
}

impl<'a> ShardEncoder<'a> {
    /// The shard of the rows `range` in plan order.
    pub(super) fn shard(&self, range: Range<usize>) -> Result<ShardBuilder<'a>> {
        let mut builder = ShardBuilder::new(self.model);
        let mut part_start = 0;
        for part in self.parts {
            let part_end = part_start + part.rows();
            let (from, to) = (range.start.max(part_start), range.end.min(part_end));
            for start in (from..to).step_by(BLOCK_ROWS) {
                let end = (start + BLOCK_ROWS).min(to);
                let block = start - part_start..end - part_start;
                if part.code_form().is_some() {
                    self.push_codes(&mut builder, start, part, block)?;
                } else {
                    let mut x = part.read(block.clone())?;
                    if let Some(neighbours) = self.neighbours {
                        let dim = self.model.parts().dim;
                        x = neighbours.augment(start, &x, dim, |row| self.row(row))?;
                    }
                    self.push_block(&mut builder, start, &x, (part, block.start))?;
                }
                let (done, total) = (end as u64, self.rows as u64);
                (self.progress)(Progress { stage: "encode", done, total });
            }
            part_start = part_end;
        }
        Ok(builder)
    }

    /// A row by its number in plan order.
    fn row(&self, row: usize) -> Result<Vec<f32>> {
        let mut start = 0;
        for part in self.parts {
            let here = row - start;
            if here < part.rows() {
                return Ok(part.read(here..here + 1)?);
            }
            start += part.rows();
        }
        Err(Error::Invalid(format!("row {row}: beyond {start}")))
    }

    /// The error of encoding `x` (n, dim), whose first row is row `first`, with the place of the
    /// row that is out of range: rows of parts are in range, their augmented ones need not be.
    fn at_row(&self, first: usize, x: &[f32], error: Error) -> Error {
        let mut rows = x.chunks_exact(self.model.parts().dim).map(out_of_range);
        let Some(i) = rows.position(|why| why.is_some()) else { return error };
        let how = if self.neighbours.is_some() { ", augmented (--dba)" } else { "" };
        Error::Invalid(format!("{}{how}: {error}", place(self.parts, first + i)))
    }

    /// Appends the codes of the rows `block` of `part`, the first of which is row `first`.
    fn push_codes(
        &self,
        builder: &mut ShardBuilder<'_>,
        first: usize,
        part: &Part,
        block: Range<usize>,
    ) -> Result<()> {
        let p = self.model.parts();
        let fine_bytes = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        let images = block.start;
        let CodeRows { lists, codes, fine } = part.read_codes(block)?;
        for (i, (&list, code)) in lists.iter().zip(codes.chunks(p.m)).enumerate() {
            let row = first + i;
            if self.rows_meta.is_left_out(row) {
                continue;
            }
            let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
            if list as usize >= p.nlist || code.iter().any(|&c| usize::from(c) >= p.ksub) {
                return Err(Error::Invalid(format!(
                    "{}: {} (id {id}): list {list}, code {code:?}; the model has {} lists and {} \
                     codewords",
                    part.path().display(),
                    quoted(key),
                    p.nlist,
                    p.ksub
                )));
            }
            let fine = &fine[i * fine_bytes..(i + 1) * fine_bytes];
            builder.push_fine(id, key, list, code, fine)?;
            builder.set_record(&part.record(images + i)?)?;
        }
        Ok(())
    }

    /// Encodes the rows `x` `(n, dim)`, the first of which is row `first`, on all threads, and
    /// appends them in order. Their attributes are those of the images of `part` from number
    /// `image`.
    fn push_block(
        &self,
        builder: &mut ShardBuilder<'_>,
        first: usize,
        x: &[f32],
        (part, image): (&Part, usize),
    ) -> Result<()> {
        let (dim, m) = (self.model.parts().dim, self.model.parts().m);
        let simd = ocelli_index::simd();
        let d = self.model.parts().d;
        let encoded: Vec<(Encoded, Vec<u8>)> = x
            .par_chunks(TASK_ROWS * dim)
            .enumerate()
            .map_init(RowEncoderScratch::default, |scratch, (task, x)| {
                let mut out = Encoded::default();
                let encoded = self.encoder.encode(x, scratch, &mut out);
                encoded.map_err(|e| self.at_row(first + task * TASK_ROWS, x, e.into()))?;
                let mut fine = Vec::new();
                let rows = out.z.chunks(d).zip(&out.lists).zip(out.codes.chunks(m));
                for (row, ((z, &list), code)) in (first + task * TASK_ROWS..).zip(rows) {
                    self.model.encode_fine(simd, z, list, code, &mut fine).map_err(|e| {
                        let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
                        Error::Invalid(format!("{} (id {id}): {e}", quoted(key)))
                    })?;
                }
                Ok((out, fine))
            })
            .collect::<Result<_>>()?;
        let fine_bytes = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        let mut row = first;
        for (encoded, fine) in &encoded {
            for (i, (&list, code)) in encoded.lists.iter().zip(encoded.codes.chunks(m)).enumerate()
            {
                let (id, key) = (self.rows_meta.ids[row], &self.rows_meta.keys[row]);
                let fine = &fine[i * fine_bytes..(i + 1) * fine_bytes];
                if !self.rows_meta.is_left_out(row) {
                    builder.push_fine(id, key, list, code, fine)?;
                    builder.set_record(&part.record(image + row - first)?)?;
                }
                row += 1;
            }
        }
        Ok(())
    }
}
