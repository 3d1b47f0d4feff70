//! Builds one shard in memory and writes it.
//!
//! Given a model, equal input gives equal bytes: rows are pushed in plan order, lists keep ordinals
//! ascending, and nothing depends on threads, clocks or names.

use std::path::Path;

use ocelli_vector::adc;

use super::fine_codes;
use super::{IdEncoding, ListEntry, ShardEntry, ShardMeta, key_hash};
use crate::attributes::{Schema, SectionWriter};
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::base::level::simd;
use crate::base::names::{check_id, check_key};
use crate::files::container::{FileKind, SectionKind, Writer};
use crate::files::keys;
use crate::files::metadata::write_meta;
use crate::files::packed;
use crate::model::fine::FineCodec;
use crate::model::{Metric, Model};

/// Rows of one shard, in the order of their ordinals.
pub struct ShardBuilder<'a> {
    model: &'a Model,
    ids: Vec<u64>,
    keys: Vec<String>,
    lists: Vec<u32>,
    /// (rows, m).
    codes: Vec<u8>,
    /// Finer codes, (rows, bytes of one), or nothing.
    fine: Vec<u8>,
    /// Attributes of each row ([`crate::attributes::record`]), up to the last row that has any.
    records: Vec<Vec<u8>>,
}

impl<'a> ShardBuilder<'a> {
    /// A shard without rows.
    pub fn new(model: &'a Model) -> Self {
        Self {
            model,
            ids: Vec::new(),
            keys: Vec::new(),
            lists: Vec::new(),
            codes: Vec::new(),
            fine: Vec::new(),
            records: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Appends a vector x (dim,): transforms, assigns and encodes it, and makes its finer code
    /// where the model has a fine codec. An empty key is no key.
    ///
    /// # Errors
    /// Those of [`Model::transform`] and [`Self::push_code`], with the key.
    pub fn push(&mut self, id: u64, key: &str, x: &[f32]) -> Result<()> {
        let named = |e| match e {
            Error::Invalid { what } => Error::invalid(format!("{key:?} (id {id}): {what}")),
            other => other,
        };
        let z = self.model.transform(x).map_err(named)?;
        let list = self.model.assign(&z);
        let mut code = vec![0; self.model.parts().m];
        self.model.encode(&z, list, &mut code);
        let mut fine = Vec::new();
        self.model.encode_fine(simd(), &z, list, &code, &mut fine).map_err(named)?;
        self.push_fine(id, key, list, &code, &fine)
    }

    /// [`Self::push_code`] with the row's finer code. Either all rows have one or none has.
    ///
    /// # Errors
    /// As [`Self::push_code`]; [`Error::Dim`] for a finer code of another length.
    pub fn push_fine(
        &mut self,
        id: u64,
        key: &str,
        list: u32,
        code: &[u8],
        fine: &[u8],
    ) -> Result<()> {
        let expected = self.model.fine_codec().map_or(0, FineCodec::code_bytes);
        if fine.len() != expected {
            let what = format!("finer code of {key:?} (id {id})");
            return Err(Error::Dim { what, expected, found: fine.len() });
        }
        self.push_code(id, key, list, code)?;
        self.fine.extend_from_slice(fine);
        Ok(())
    }

    /// Appends a row whose list and code (m,) are known already.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an id of 2⁶³ or more, a key that is too long, a list or codeword that
    /// the model does not have, or a full shard; [`Error::Dim`] for a code of another m.
    pub fn push_code(&mut self, id: u64, key: &str, list: u32, code: &[u8]) -> Result<()> {
        let p = self.model.parts();
        check_id(id)?;
        check_key(key)?;
        if code.len() != p.m {
            return Err(Error::Dim {
                what: format!("code of {key:?}"),
                expected: p.m,
                found: code.len(),
            });
        }
        if list as usize >= p.nlist || code.iter().any(|&c| usize::from(c) >= p.ksub) {
            return Err(Error::invalid(format!(
                "{key:?}: list {list} or a codeword is not in the model (nlist {}, ksub {})",
                p.nlist, p.ksub
            )));
        }
        if self.ids.len() >= u32::MAX as usize {
            return Err(Error::invalid("a shard holds at most 2^32 - 1 rows"));
        }
        self.ids.push(id);
        self.keys.push(key.to_owned());
        self.lists.push(list);
        self.codes.extend_from_slice(code);
        Ok(())
    }

    /// Gives the row that was pushed last its attributes ([`crate::attributes::record`]); a row
    /// without has the empty record.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no row. What the bytes hold is judged when the shard is
    /// written.
    pub fn set_record(&mut self, record: &[u8]) -> Result<()> {
        let Some(last) = self.ids.len().checked_sub(1) else {
            return Err(Error::invalid("attributes of a shard without rows"));
        };
        if !record.is_empty() {
            self.records.resize(last, Vec::new());
            self.records.push(record.to_vec());
        }
        Ok(())
    }

    /// Writes the shard into `folder`, which is no index directory; for one of those, see
    /// [`IndexDir::put_shard`](crate::IndexDir::put_shard). The name is made of `plan`, `task` and
    /// the content. An equal shard that is there already is replaced by itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no rows, or an id or key of two rows; [`Error::Io`].
    pub fn write(self, folder: &Path, plan: Hash, task: u32) -> Result<ShardEntry> {
        self.write_to(Writer::create_in(folder, FileKind::Shard)?, plan, task)
    }

    /// Writes the shard to a new file and returns what a generation needs to know of it.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_to(self, mut file: Writer, plan: Hash, task: u32) -> Result<ShardEntry> {
        if self.ids.is_empty() {
            return Err(Error::invalid("a shard without rows"));
        }
        let rows = self.ids.len();
        let p = self.model.parts();
        let order = self.list_order();
        let ids = id_encoding(&self.ids);
        let ordinal_bits = packed::width_for(rows as u64 - 1);
        let (key_map, keyed) = self.key_map(ordinal_bits)?;
        let id_map = self.id_map(ids, ordinal_bits)?;

        let meta = ShardMeta {
            model: self.model.hash(),
            plan,
            task,
            rows: rows as u32,
            nlist: p.nlist as u32,
            m: p.m as u32,
            ksub: p.ksub as u32,
            ids,
            ordinal_bits,
            keyed,
        };
        write_meta(&mut file, &meta)?;
        let (table, codes, scalars) = self.lists(&order);
        file.section(SectionKind::ListTable, true, bytemuck::cast_slice(&table))?;
        file.section(SectionKind::Codes, true, &codes)?;
        if p.metric == Metric::L2 {
            file.section(SectionKind::Scalars, true, &scalars)?;
        }
        let ordinals = order.iter().map(|&o| u64::from(o));
        file.section(SectionKind::Ordinals, true, &packed::pack(ordinals, ordinal_bits))?;
        self.write_ids(&mut file, ids)?;
        let list_bits = packed::width_for(p.nlist as u64 - 1);
        let lists = self.lists.iter().map(|&l| u64::from(l));
        file.section(SectionKind::ListOf, true, &packed::pack(lists, list_bits))?;
        if let Some(map) = id_map {
            file.section(SectionKind::IdMap, true, &map)?;
        }
        if keyed > 0 {
            file.section(
                SectionKind::Keys,
                true,
                &keys::encode(self.keys.iter().map(String::as_str))?,
            )?;
            file.section(SectionKind::KeyMap, true, &key_map)?;
        }
        self.write_fine(&mut file, &order)?;
        self.write_attributes(&mut file, &order)?;
        // Lists and codes were computed from the model's centroids.
        self.model.intact()?;
        let written = file.finish_as(|checksum| shard_name(plan, task, checksum))?;
        Ok(ShardEntry {
            name: shard_name(plan, task, &written.checksum),
            bytes: written.bytes,
            checksum: written.checksum,
            rows: rows as u64,
            plan,
            task,
            seal: written.seal,
        })
    }

    /// Section of the ids, where their encoding needs one.
    fn write_ids(&self, file: &mut Writer, encoding: IdEncoding) -> Result<()> {
        match encoding {
            IdEncoding::Affine { .. } => Ok(()),
            IdEncoding::Packed { base, bits } => {
                let numbers = self.ids.iter().map(|id| id - base);
                file.section(SectionKind::Ids, true, &packed::pack(numbers, bits))
            }
            IdEncoding::Raw => {
                file.section(SectionKind::Ids, true, bytemuck::cast_slice(&self.ids))
            }
        }
    }

    /// Section of the finer codes, by slot, where rows have them.
    fn write_fine(&self, file: &mut Writer, order: &[u32]) -> Result<()> {
        let has_some = |codec: &&FineCodec| codec.code_bytes() == 0 || !self.fine.is_empty();
        let Some(codec) = self.model.fine_codec().filter(has_some) else { return Ok(()) };
        let bytes = codec.code_bytes();
        if self.fine.len() != self.ids.len() * bytes {
            return Err(Error::invalid(format!(
                "{} of {} rows have a finer code: expected all or none",
                self.fine.len().checked_div(bytes).unwrap_or(0),
                self.ids.len()
            )));
        }
        // A reader that does not know the section scans without it.
        file.begin(codec.section(), false)?;
        file.write(&fine_codes::header(codec))?;
        for &ordinal in order {
            file.write(&self.fine[ordinal as usize * bytes..][..bytes])?;
        }
        Ok(())
    }

    /// Section of the attributes, by slot, where rows have any.
    fn write_attributes(&self, file: &mut Writer, order: &[u32]) -> Result<()> {
        if self.records.is_empty() {
            return Ok(());
        }
        file.begin(SectionKind::Attributes, false)?;
        let mut section = SectionWriter::new(Schema::default());
        for &ordinal in order {
            let record = self.records.get(ordinal as usize).map_or(&[][..], Vec::as_slice);
            section.push(file, record)?;
        }
        section.finish(file)
    }

    /// Ordinals sorted by list, then by ordinal.
    fn list_order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.lists.len() as u32).collect();
        order.sort_by_key(|&o| self.lists[o as usize]); // Stable: ordinals stay ascending.
        order
    }

    /// List table, codes in block order, and the rounded-down scalars in list order.
    fn lists(&self, order: &[u32]) -> (Vec<ListEntry>, Vec<u8>, Vec<u8>) {
        let (p, layout) = (self.model.parts(), self.model.layout());
        let mut table = Vec::with_capacity(p.nlist);
        let (mut codes, mut scalars) = (Vec::new(), Vec::new());
        let mut residual = vec![0f32; p.d];
        let mut at = 0usize;
        for list in 0..p.nlist as u32 {
            let len = order[at..].iter().take_while(|&&o| self.lists[o as usize] == list).count();
            let rows = &order[at..at + len];
            let code = |o: u32| &self.codes[o as usize * p.m..(o as usize + 1) * p.m];
            let mut entry = ListEntry {
                codes_offset: codes.len() as u64,
                first: at as u32,
                len: len as u32,
                ..ListEntry::default()
            };
            let flat: Vec<u8> = rows.iter().flat_map(|&o| code(o)).copied().collect();
            layout.pack(&flat, &mut codes);
            if p.metric == Metric::L2 {
                let terms: Vec<f32> = rows
                    .iter()
                    .map(|&o| {
                        adc::decode(&p.codebooks, p.ksub, code(o), &mut residual);
                        adc::l2_term(self.model.centroid(list), &residual)
                    })
                    .collect();
                (entry.scalar_min, entry.scalar_step) = quantize_down(&terms, &mut scalars);
            }
            table.push(entry);
            at += len;
        }
        (table, codes, scalars)
    }

    /// Section `key map` and the number of rows that have a key.
    fn key_map(&self, ordinal_bits: u32) -> Result<(Vec<u8>, u32)> {
        let mut entries: Vec<(u32, u32)> = (0u32..)
            .zip(&self.keys)
            .filter(|(_, key)| !key.is_empty())
            .map(|(ordinal, key)| (key_hash(key), ordinal))
            .collect();
        entries.sort_unstable();
        let key = |ordinal: u32| &self.keys[ordinal as usize];
        for group in entries.chunk_by(|a, b| a.0 == b.0).filter(|g| g.len() > 1) {
            let mut same: Vec<&String> = group.iter().map(|&(_, o)| key(o)).collect();
            same.sort_unstable();
            if let Some(pair) = same.windows(2).find(|w| w[0] == w[1]) {
                return Err(Error::invalid(format!("key {:?} occurs twice in one shard", pair[0])));
            }
        }
        let hashes: Vec<u32> = entries.iter().map(|e| e.0).collect();
        let mut out: Vec<u8> = bytemuck::cast_slice(&hashes).to_vec();
        out.extend(packed::pack(entries.iter().map(|e| u64::from(e.1)), ordinal_bits));
        Ok((out, entries.len() as u32))
    }

    /// Section `id map`, unless ids are affine and need none.
    fn id_map(&self, ids: IdEncoding, ordinal_bits: u32) -> Result<Option<Vec<u8>>> {
        if matches!(ids, IdEncoding::Affine { .. }) {
            return Ok(None);
        }
        let mut by_id: Vec<u32> = (0..self.ids.len() as u32).collect();
        by_id.sort_unstable_by_key(|&o| self.ids[o as usize]);
        let id = |o: u32| self.ids[o as usize];
        if let Some(pair) = by_id.windows(2).find(|w| id(w[0]) == id(w[1])) {
            return Err(Error::invalid(format!("id {} occurs twice in one shard", id(pair[0]))));
        }
        Ok(Some(packed::pack(by_id.iter().map(|&o| u64::from(o)), ordinal_bits)))
    }
}

/// The name of a shard's file.
fn shard_name(plan: Hash, task: u32, checksum: &Hash) -> String {
    format!("{}-{task:05}-{}.shard", plan.short(), checksum.short())
}

/// The smallest encoding that holds the ids.
fn id_encoding(ids: &[u64]) -> IdEncoding {
    let base = ids.iter().copied().min().unwrap_or(0);
    let max = ids.iter().copied().max().unwrap_or(0);
    let first = ids.first().copied().unwrap_or(0);
    if ids.iter().zip(first..).all(|(&id, want)| id == want) {
        return IdEncoding::Affine { base: first };
    }
    match packed::width_for(max - base) {
        bits if bits <= packed::MAX_WIDTH => IdEncoding::Packed { base, bits },
        _ => IdEncoding::Raw,
    }
}

/// Appends one byte a term to `out`, rounded down, and returns (min, step): `min + step · byte`, in
/// f32, never exceeds the term. So the scan may discard a row by it without losing a hit.
fn quantize_down(terms: &[f32], out: &mut Vec<u8>) -> (f32, f32) {
    let min = terms.iter().copied().fold(f32::INFINITY, f32::min);
    let max = terms.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = if max > min { (max - min) / 255.0 } else { 0.0 };
    if terms.is_empty() || !step.is_finite() || !min.is_finite() {
        // The safe bound without information: every byte 0, and the lowest minimum.
        out.extend(std::iter::repeat_n(0, terms.len()));
        return if terms.is_empty() { (0.0, 0.0) } else { (f32::MIN, 0.0) };
    }
    for &t in terms {
        let mut byte = if step > 0.0 { ((t - min) / step).clamp(0.0, 255.0) as u8 } else { 0 };
        // The division rounds: step back until the bound holds as the scan will compute it.
        while byte > 0 && min + step * f32::from(byte) > t {
            byte -= 1;
        }
        out.push(byte);
    }
    (min, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scalars_never_exceed_their_terms(terms in prop::collection::vec(-1e6f32..1e6, 1..100)) {
            let mut bytes = Vec::new();
            let (min, step) = quantize_down(&terms, &mut bytes);
            prop_assert_eq!(bytes.len(), terms.len());
            for (&t, &b) in terms.iter().zip(&bytes) {
                let bound = min + step * f32::from(b);
                prop_assert!(bound <= t, "{bound} > {t}");
                prop_assert!(t - bound <= 2.01 * step + 1e-3, "{t} is far above {bound}");
            }
        }
    }

    #[test]
    fn ids_take_the_smallest_encoding() {
        assert_eq!(id_encoding(&[5, 6, 7]), IdEncoding::Affine { base: 5 });
        assert_eq!(id_encoding(&[5, 7, 6]), IdEncoding::Packed { base: 5, bits: 2 });
        assert_eq!(id_encoding(&[1 << 62, 3]), IdEncoding::Raw);
    }
}
