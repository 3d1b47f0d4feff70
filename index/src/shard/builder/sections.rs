//! The sections of a shard, made of its runs one after the other.

use std::path::PathBuf;

use ocelli_vector::adc;
use rayon::prelude::*;

use super::blobs::Blobs;
use super::facts::Facts;
use super::merge::{Merge, key_entries, key_of};
use super::numbers::Numbers;
use super::run::{Run, Stream};
use super::scalars::quantize_down;
use super::spool::Spool;
use crate::attributes::{Schema, SectionWriter};
use crate::base::error::{Error, Result};
use crate::base::times::{BuildStage, BuildTimes};
use crate::files::container::{SectionKind, Writer};
use crate::files::keys::{BLOCK_KEYS, KeyEncoder, head_bytes, sample_step};
use crate::files::packed;
use crate::model::{Metric, Model};
use crate::shard::fine_codes;
use crate::shard::{IdEncoding, ListEntry, ShardMeta};

/// Bytes handed over at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces of a batch of lists that threads take up, and blocks of keys that make one.
const PIECES: usize = 64;

/// Bytes of keys that are looked at to choose symbols, about.
const SAMPLED_BYTES: u64 = 4 << 20;

/// Memory that merging may take.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Codes of lists that are worked on at once.
    pub batch_bytes: usize,
    /// Bytes read of a column before their memory is given back.
    pub window: u64,
    /// Most bytes that one list may take, if there is a limit, and what to add to them for the
    /// whole budget.
    pub list_bytes: Option<(usize, usize)>,
    /// The folder of bytes that a later section needs; `None`: in memory.
    pub folder: Option<PathBuf>,
}

/// All runs of a shard, in the order of their ordinals.
pub(super) struct Sections<'r> {
    pub model: &'r Model,
    pub runs: &'r [Run],
    pub facts: Facts,
    pub bounds: Bounds,
    pub times: &'r BuildTimes,
}

/// Bytes that a list of so many rows takes: its codes, the codes in blocks, and a term and a byte a
/// row.
pub(super) fn list_bytes(model: &Model, rows: usize) -> usize {
    rows * (2 * model.parts().m + 5)
}

/// Codes of consecutive lists.
struct Batch {
    first: u32,
    /// Bytes of each list.
    lens: Vec<usize>,
    codes: Vec<u8>,
}

impl Batch {
    /// The codes of each list.
    fn lists(&self) -> Vec<(u32, &[u8])> {
        let mut rest = self.codes.as_slice();
        let take = |(list, &len): (u32, &usize)| {
            let (codes, others) = rest.split_at(len);
            rest = others;
            (list, codes)
        };
        (self.first..).zip(&self.lens).map(take).collect()
    }

    /// What `work` makes of each list, on all threads: in pieces, since lists can be short.
    fn each<R: Send>(
        &self,
        times: &BuildTimes,
        stage: BuildStage,
        work: impl Fn(u32, &[u8]) -> R + Sync,
    ) -> Vec<R> {
        let lists = self.lists();
        let piece = |lists: &[(u32, &[u8])]| -> Vec<R> {
            times.time(stage, || lists.iter().map(|&(list, codes)| work(list, codes)).collect())
        };
        let pieces = lists.par_chunks(lists.len().div_ceil(PIECES).max(1)).map(piece);
        pieces.collect::<Vec<_>>().into_iter().flatten().collect()
    }
}

impl Sections<'_> {
    /// Writes all sections behind `meta`.
    pub fn write(&self, file: &mut Writer, meta: &ShardMeta) -> Result<()> {
        let counts = self.counts()?;
        self.check_rows(&counts)?;
        self.check_lists(&counts)?;
        let mut key_map = Spool::new(self.bounds.folder.as_deref())?;
        if meta.keyed > 0 {
            key_entries(self.runs, self.bounds.window, &mut key_map)?;
        }
        let (table, mut scalars) = self.table(&counts)?;
        crate::files::metadata::write_meta(file, meta)?;
        file.section(SectionKind::ListTable, true, bytemuck::cast_slice(&table))?;
        drop(table);
        file.begin(SectionKind::Codes, true)?;
        self.codes(&counts, file)?;
        if self.model.metric() == Metric::L2 {
            file.begin(SectionKind::Scalars, true)?;
            scalars.each(|bytes| file.write(bytes))?;
        }
        drop(scalars);
        file.begin(SectionKind::Ordinals, true)?;
        self.ordinals(&counts, meta.ordinal_bits, file)?;
        self.ids(file, meta.ids)?;
        file.begin(SectionKind::ListOf, true)?;
        let list_bits = packed::width_for(u64::from(meta.nlist) - 1);
        self.numbers(SectionKind::Lists, list_bits, |s| Ok(u64::from(s.number()?)), file)?;
        if !matches!(meta.ids, IdEncoding::Affine { .. }) {
            file.begin(SectionKind::IdMap, true)?;
            self.id_map(meta.ordinal_bits, file)?;
        }
        if meta.keyed > 0 {
            self.keys(file)?;
            file.begin(SectionKind::KeyMap, true)?;
            self.key_map(&mut key_map, meta.ordinal_bits, file)?;
        }
        drop(key_map);
        self.fine(&counts, file)?;
        self.attributes(file)?;
        self.runs.iter().try_for_each(Run::intact)
    }

    fn streams(&self, kind: SectionKind) -> Result<Vec<Stream<'_>>> {
        self.runs.iter().map(|run| run.stream(kind, self.bounds.window)).collect()
    }

    /// Rows of each list of each run, as one long row of numbers a run; and their sums.
    fn counts(&self) -> Result<Vec<u32>> {
        let mut counts = vec![0u32; self.model.parts().nlist];
        for mut stream in self.streams(SectionKind::ListTable)? {
            for count in &mut counts {
                *count += stream.number()?;
            }
        }
        Ok(counts)
    }

    /// Refuses runs of other rows than were pushed.
    fn check_rows(&self, counts: &[u32]) -> Result<()> {
        let rows: u64 = counts.iter().map(|&rows| u64::from(rows)).sum();
        if rows == u64::from(self.facts.rows) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the runs of a shard have {rows} rows in their lists, expected {}: another process may \
             have worked on this task with other settings; start the task again",
            self.facts.rows
        )))
    }

    /// Refuses a list that does not fit.
    fn check_lists(&self, counts: &[u32]) -> Result<()> {
        let Some((most, beside)) = self.bounds.list_bytes else { return Ok(()) };
        let Some((list, &rows)) = counts.iter().enumerate().max_by_key(|(_, rows)| **rows) else {
            return Ok(());
        };
        let bytes = list_bytes(self.model, rows as usize);
        if bytes <= most {
            return Ok(());
        }
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        Err(Error::invalid(format!(
            "memory budget: list {list} has {rows} rows, whose codes take {} MiB to sort, and {} \
             MiB are left for them; the smallest budget that works is {} MiB",
            mib(bytes),
            most >> 20,
            mib(bytes.saturating_mul(4).saturating_add(beside))
        )))
    }

    /// Hands out the rows of a column of `width` bytes a row, list by list and in each list by
    /// ordinal, in pieces of whole rows.
    fn by_list(
        &self,
        counts: &[u32],
        (kind, width): (SectionKind, usize),
        mut take: impl FnMut(u32, &Run, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut lens = self.streams(SectionKind::ListTable)?;
        let mut rows = self.streams(kind)?;
        let most = (PIECE_BYTES / width.max(1)).max(1);
        for (list, &count) in (0u32..).zip(counts) {
            let mut found = 0;
            for ((run, lens), rows) in self.runs.iter().zip(&mut lens).zip(&mut rows) {
                let mut left = lens.number()? as usize;
                found += left as u32;
                while left > 0 {
                    let n = left.min(most);
                    take(list, run, rows.take(n * width)?)?;
                    left -= n;
                }
            }
            debug_assert_eq!(found, count);
        }
        Ok(())
    }

    /// Hands out the codes of all lists in batches.
    fn batches(&self, counts: &[u32], mut take: impl FnMut(&Batch) -> Result<()>) -> Result<()> {
        let m = self.model.parts().m;
        let mut batch = Batch { first: 0, lens: Vec::new(), codes: Vec::new() };
        let len_of = |list: usize| counts[list] as usize * m;
        // The lists that a batch has: at least one, and no more than fit.
        let begin = |batch: &mut Batch, first: u32| {
            batch.first = first;
            batch.lens.clear();
            batch.codes.clear();
            let mut bytes = 0;
            for list in first as usize..counts.len() {
                bytes += len_of(list);
                if bytes > self.bounds.batch_bytes && !batch.lens.is_empty() {
                    break;
                }
                batch.lens.push(len_of(list));
            }
        };
        begin(&mut batch, 0);
        self.by_list(counts, (SectionKind::Codes, m), |list, _, codes| {
            while (list - batch.first) as usize >= batch.lens.len() {
                take(&batch)?;
                let next = batch.first + batch.lens.len() as u32;
                begin(&mut batch, next);
            }
            batch.codes.extend_from_slice(codes);
            Ok(())
        })?;
        take(&batch)?;
        // Lists without rows at the end.
        while batch.first as usize + batch.lens.len() < counts.len() {
            let next = batch.first + batch.lens.len() as u32;
            begin(&mut batch, next);
            take(&batch)?;
        }
        Ok(())
    }

    /// The list table, and the rounded-down scalars in list order.
    fn table(&self, counts: &[u32]) -> Result<(Vec<ListEntry>, Spool)> {
        let (p, layout) = (self.model.parts(), self.model.layout());
        let (mut first, mut codes_offset) = (0u32, 0u64);
        let mut table: Vec<ListEntry> = Vec::with_capacity(counts.len());
        for &len in counts {
            table.push(ListEntry { codes_offset, first, len, ..ListEntry::default() });
            first += len;
            codes_offset += layout.list_bytes(len as usize) as u64;
        }
        let mut scalars = Spool::new(self.bounds.folder.as_deref())?;
        if p.metric != Metric::L2 {
            return Ok((table, scalars));
        }
        self.batches(counts, |batch| {
            let terms = |list, codes: &[u8]| self.rounded_terms(list, codes);
            let rounded = batch.each(self.times, BuildStage::Encode, terms);
            for (entry, (min, step, bytes)) in table[batch.first as usize..].iter_mut().zip(rounded)
            {
                (entry.scalar_min, entry.scalar_step) = (min, step);
                scalars.write(&bytes)?;
            }
            Ok(())
        })?;
        Ok((table, scalars))
    }

    /// The terms of a list's codes (n, m), rounded down: the least, the step, and a byte each.
    fn rounded_terms(&self, list: u32, codes: &[u8]) -> (f32, f32, Vec<u8>) {
        let p = self.model.parts();
        let mut residual = vec![0f32; p.d];
        let mut term = |code: &[u8]| {
            adc::decode(&p.codebooks, p.ksub, code, &mut residual);
            adc::l2_term(self.model.centroid(list), &residual)
        };
        let terms: Vec<f32> = codes.chunks_exact(p.m).map(&mut term).collect();
        let mut bytes = Vec::with_capacity(terms.len());
        let (min, step) = quantize_down(&terms, &mut bytes);
        (min, step, bytes)
    }

    /// Codes in block order.
    fn codes(&self, counts: &[u32], file: &mut Writer) -> Result<()> {
        let layout = self.model.layout();
        self.batches(counts, |batch| {
            let pack = |_, codes: &[u8]| {
                let mut out = Vec::new();
                layout.pack(codes, &mut out);
                out
            };
            let packed = batch.each(self.times, BuildStage::Write, pack);
            packed.iter().try_for_each(|codes| file.write(codes))
        })
    }

    fn ordinals(&self, counts: &[u32], bits: u32, file: &mut Writer) -> Result<()> {
        let mut out = Numbers::new(bits, file);
        self.by_list(counts, (SectionKind::Ordinals, 4), |_, run, rows| {
            rows.as_chunks::<4>().0.iter().try_for_each(|row| {
                out.push(u64::from(run.meta.first) + u64::from(u32::from_le_bytes(*row)))
            })
        })?;
        out.finish()
    }

    /// Section of the ids, where their encoding needs one.
    fn ids(&self, file: &mut Writer, encoding: IdEncoding) -> Result<()> {
        match encoding {
            IdEncoding::Affine { .. } => Ok(()),
            IdEncoding::Packed { base, bits } => {
                file.begin(SectionKind::Ids, true)?;
                self.numbers(SectionKind::Ids, bits, |ids| Ok(ids.word()? - base), file)
            }
            IdEncoding::Raw => {
                file.begin(SectionKind::Ids, true)?;
                for (run, mut ids) in self.runs.iter().zip(self.streams(SectionKind::Ids)?) {
                    let mut left = 8 * run.meta.facts.rows as usize;
                    while left > 0 {
                        let n = left.min(PIECE_BYTES);
                        file.write(ids.take(n)?)?;
                        left -= n;
                    }
                }
                Ok(())
            }
        }
    }

    /// A number of each row in the order of ordinals, packed.
    fn numbers(
        &self,
        kind: SectionKind,
        bits: u32,
        next: impl Fn(&mut Stream<'_>) -> Result<u64>,
        file: &mut Writer,
    ) -> Result<()> {
        let mut out = Numbers::new(bits, file);
        for (run, mut stream) in self.runs.iter().zip(self.streams(kind)?) {
            for _ in 0..run.meta.facts.rows {
                out.push(next(&mut stream)?)?;
            }
        }
        out.finish()
    }

    /// Section `id map`.
    fn id_map(&self, bits: u32, file: &mut Writer) -> Result<()> {
        let mut merge = Merge::new(self.runs, SectionKind::IdMap, self.bounds.window)?;
        let mut out = Numbers::new(bits, file);
        let mut before = None;
        while let Some((id, ordinal)) = merge.next()? {
            if before == Some(id) {
                return Err(Error::invalid(format!("id {id} occurs twice in one shard")));
            }
            before = Some(id);
            out.push(u64::from(ordinal))?;
        }
        out.finish()
    }

    /// Section `key map` of the entries that were sorted.
    fn key_map(&self, entries: &mut Spool, bits: u32, file: &mut Writer) -> Result<()> {
        entries.each(|bytes| {
            bytes.as_chunks::<8>().0.iter().try_for_each(|entry| file.write(&entry[..4]))
        })?;
        let mut out = Numbers::new(bits, file);
        entries.each(|bytes| {
            let entries = bytes.as_chunks::<8>().0.iter();
            entries
                .map(|&[_, _, _, _, a, b, c, d]| u32::from_le_bytes([a, b, c, d]))
                .try_for_each(|ordinal| out.push(u64::from(ordinal)))
        })?;
        out.finish()
    }

    /// The symbols of all keys, chosen by those of some blocks.
    fn train_keys(&self) -> Result<KeyEncoder> {
        let rows = self.facts.rows as usize;
        let bytes: u64 = self.runs.iter().map(Run::key_bytes).sum();
        // Few of them where they are long.
        let fewer = bytes.div_ceil(SAMPLED_BYTES) as usize;
        let step = sample_step(rows).max(fewer) * BLOCK_KEYS;
        let mut sample = Blobs::default();
        for (number, start) in (0..rows).step_by(step).enumerate() {
            // The blocks lie far apart, and each has pages of its own.
            if number.is_multiple_of(16) {
                self.runs.iter().for_each(Run::release);
            }
            for ordinal in start..(start + BLOCK_KEYS).min(rows) {
                sample.push(&key_of(self.runs, ordinal as u32)?);
            }
        }
        let keys: Vec<&[u8]> = (0..sample.len()).map(|i| sample.get(i)).collect();
        Ok(KeyEncoder::train(keys.chunks(BLOCK_KEYS)))
    }

    /// Section `keys`.
    fn keys(&self, file: &mut Writer) -> Result<()> {
        let encoder = self.train_keys()?;
        let blocks = (self.facts.rows as usize).div_ceil(BLOCK_KEYS);
        let folder = self.bounds.folder.as_deref();
        let (mut starts, mut body) = (Spool::new(folder)?, Spool::new(folder)?);
        let mut at = head_bytes(blocks);
        let mut waiting = Blobs::default();
        let mut flush = |waiting: &mut Blobs| -> Result<()> {
            let keys: Vec<&[u8]> = (0..waiting.len()).map(|i| waiting.get(i)).collect();
            let encode = |block: &[&[u8]]| {
                let mut out = Vec::new();
                encoder.block(block, &mut out).map(|()| out)
            };
            let piece = |keys: &[&[u8]]| -> Result<Vec<Vec<u8>>> {
                let blocks = || keys.chunks(BLOCK_KEYS).map(encode).collect();
                self.times.time(BuildStage::Write, blocks)
            };
            let encoded: Vec<Vec<Vec<u8>>> =
                keys.par_chunks(BLOCK_KEYS * PIECES).map(piece).collect::<Result<_>>()?;
            for block in encoded.into_iter().flatten() {
                starts.write(&at.to_le_bytes())?;
                body.write(&block)?;
                at += block.len() as u64;
            }
            waiting.clear();
            Ok(())
        };
        for (run, mut keys) in self.runs.iter().zip(self.streams(SectionKind::Keys)?) {
            for _ in 0..run.meta.facts.rows {
                waiting.push(keys.blob()?);
                let full = waiting.bytes().len() >= self.bounds.batch_bytes / 4;
                if full && waiting.len().is_multiple_of(BLOCK_KEYS) {
                    flush(&mut waiting)?;
                }
            }
        }
        flush(&mut waiting)?;
        file.begin(SectionKind::Keys, true)?;
        file.write(&encoder.table())?;
        starts.each(|bytes| file.write(bytes))?;
        file.write(&at.to_le_bytes())?;
        body.each(|bytes| file.write(bytes))
    }

    /// Section of the finer codes, by slot, where rows have them.
    fn fine(&self, counts: &[u32], file: &mut Writer) -> Result<()> {
        let Some(codec) = self.model.fine_codec() else { return Ok(()) };
        let width = codec.code_bytes();
        if width > 0 && self.facts.fine_rows == 0 {
            return Ok(());
        }
        // A reader that does not know the section scans without it.
        file.begin(codec.section(), false)?;
        file.write(&fine_codes::header(codec))?;
        if width == 0 {
            return Ok(());
        }
        self.by_list(counts, (SectionKind::FineCodes, width), |_, _, codes| file.write(codes))
    }

    /// Section of the attributes, by slot, where rows have any.
    fn attributes(&self, file: &mut Writer) -> Result<()> {
        if self.facts.recorded == 0 {
            return Ok(());
        }
        file.begin(SectionKind::Attributes, false)?;
        let mut section = SectionWriter::new(Schema::default());
        let mut lens = self.streams(SectionKind::ListTable)?;
        let mut records = self.streams(SectionKind::Attributes)?;
        for _ in 0..self.model.parts().nlist {
            for (lens, records) in lens.iter_mut().zip(&mut records) {
                for _ in 0..lens.number()? {
                    section.push(file, records.blob()?)?;
                }
            }
        }
        section.finish(file)
    }
}
