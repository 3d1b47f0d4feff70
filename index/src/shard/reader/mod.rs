//! A mapped shard. Structure is proven at open, bytes when they are first touched.

mod copy;
mod names;
mod packed_section;
#[cfg(test)]
mod tests;
mod verify;

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::attributes::Columns;
use crate::base::error::{Error, Result};
use crate::files::container::{FileKind, MappedLimit, Reader, Section, SectionKind};
use crate::files::keys::Keys;
use crate::files::metadata::read_meta;
use crate::files::packed;
use crate::model::{Metric, Model, ModelParts};

use self::packed_section::{PackedSection, partition_point};
use super::fine_codes::FineCodes;
use super::{IdEncoding, ListEntry, ShardMeta};

/// Refuses a shard of another shape than its model's, or without rows.
fn check_shape(path: &Path, meta: &ShardMeta, p: &ModelParts) -> Result<()> {
    let found = (meta.nlist as usize, meta.m as usize, meta.ksub as usize);
    if found == (p.nlist, p.m, p.ksub) && meta.rows > 0 {
        return Ok(());
    }
    Err(Error::corrupt(
        path,
        format!(
            "{} rows, nlist {}, m {}, ksub {}; its model has nlist {}, m {}, ksub {}",
            meta.rows, meta.nlist, meta.m, meta.ksub, p.nlist, p.m, p.ksub
        ),
    ))
}

/// The sections that lead from ordinals to ids and back, where ids have any.
fn open_ids(
    file: &Reader,
    meta: &ShardMeta,
) -> Result<(Option<PackedSection>, Option<PackedSection>)> {
    let (rows, bits) = (meta.rows, meta.ordinal_bits);
    let packed_ids = match meta.ids {
        IdEncoding::Packed { bits, .. } => {
            Some(PackedSection::new(file, SectionKind::Ids, 0, bits, rows)?)
        }
        _ => None,
    };
    let id_map = match meta.ids {
        IdEncoding::Affine { .. } => None,
        _ => Some(PackedSection::new(file, SectionKind::IdMap, 0, bits, rows)?),
    };
    if meta.ids == IdEncoding::Raw {
        let section = file.require(SectionKind::Ids)?;
        if section.len != 8 * u64::from(rows) {
            let what = format!("ids: {} bytes for {rows} rows", section.len);
            return Err(Error::corrupt(file.path(), what));
        }
    }
    Ok((packed_ids, id_map))
}

/// The keys and the map from keys to ordinals, where rows have keys.
fn open_keys(file: &Reader, meta: &ShardMeta) -> Result<(Option<Keys>, Option<PackedSection>)> {
    if meta.keyed == 0 {
        return Ok((None, None));
    }
    let hashes = 4 * u64::from(meta.keyed);
    let (kind, bits) = (SectionKind::KeyMap, meta.ordinal_bits);
    let map = PackedSection::new(file, kind, hashes, bits, meta.keyed)?;
    Ok((Some(Keys::open(file, meta.rows as usize)?), Some(map)))
}

/// The bytes of a list that a scan reads, proven.
#[derive(Clone, Copy, Debug)]
pub struct ListRows<'a> {
    /// The list's entry in the list table.
    pub entry: ListEntry,
    /// Codes in block order ([`ocelli_vector::codes`]).
    pub codes: &'a [u8],
    /// One byte a row for L2; inner product has none.
    pub scalars: Option<&'a [u8]>,
}

/// An opened shard.
#[derive(Debug)]
pub struct Shard {
    file: Reader,
    meta: ShardMeta,
    layout: ocelli_vector::codes::CodeLayout,
    list_table: Section,
    /// One bit a list: what a scan reads of it was proven.
    proven_lists: Vec<AtomicU64>,
    codes: Section,
    /// L2 only.
    scalars: Option<Section>,
    ordinals: PackedSection,
    list_of: PackedSection,
    packed_ids: Option<PackedSection>,
    id_map: Option<PackedSection>,
    key_map: Option<PackedSection>,
    keys: Option<Keys>,
    fine: Option<FineCodes>,
    attributes: Option<Columns>,
}

impl Shard {
    /// Opens a shard built under `model` and proves its structure.
    ///
    /// # Errors
    /// Those of [`Reader::open`]; [`Error::ModelMismatch`]; [`Error::Corrupt`].
    pub fn open(path: &Path, model: &Model) -> Result<Self> {
        let file = Reader::open(path, FileKind::Shard)?;
        let meta: ShardMeta = read_meta(&file)?;
        if meta.model != model.hash() {
            return Err(Error::ModelMismatch {
                path: path.to_owned(),
                expected: model.hash(),
                found: meta.model,
            });
        }
        let p = model.parts();
        check_shape(path, &meta, p)?;
        let (rows, bits) = (meta.rows, meta.ordinal_bits);
        let (packed_ids, id_map) = open_ids(&file, &meta)?;
        let (keys, key_map) = open_keys(&file, &meta)?;
        let list_bits = packed::width_for(u64::from(meta.nlist) - 1);
        let shard = Self {
            list_table: *file.require(SectionKind::ListTable)?,
            proven_lists: (0..meta.nlist.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            codes: *file.require(SectionKind::Codes)?,
            scalars: match p.metric {
                Metric::L2 => Some(*file.require(SectionKind::Scalars)?),
                Metric::InnerProduct => None,
            },
            ordinals: PackedSection::new(&file, SectionKind::Ordinals, 0, bits, rows)?,
            list_of: PackedSection::new(&file, SectionKind::ListOf, 0, list_bits, rows)?,
            packed_ids,
            id_map,
            key_map,
            keys,
            fine: FineCodes::open(&file, rows, model)?,
            attributes: Columns::open(&file, rows)?,
            layout: model.layout(),
            file,
            meta,
        };
        shard.check_lists()?;
        shard.intact()?;
        Ok(shard)
    }

    /// Checks the list table against the other sections.
    fn check_lists(&self) -> Result<()> {
        let corrupt =
            |what: String| Err(Error::corrupt(self.path(), format!("list table: {what}")));
        let (mut offset, mut first) = (0u64, 0u64);
        let nlist = self.meta.nlist as usize;
        let table: &[ListEntry] = self.file.read_numbers(SectionKind::ListTable, nlist)?;
        for (list, e) in table.iter().enumerate() {
            if (e.codes_offset, u64::from(e.first)) != (offset, first) {
                return corrupt(format!("list {list} does not begin where the one before ends"));
            }
            offset += self.layout.list_bytes(e.len as usize) as u64;
            first += u64::from(e.len);
        }
        if first != u64::from(self.meta.rows) || offset != self.codes.len {
            return corrupt(format!(
                "{first} rows and {offset} bytes of codes, expected {} and {}",
                self.meta.rows, self.codes.len
            ));
        }
        if self.scalars.is_some_and(|s| s.len != first) {
            return corrupt("there is not one scalar a row".into());
        }
        Ok(())
    }

    /// Whether all that this thread has read of the shard were its bytes. Bytes of a file that is
    /// cut, or of a disk that fails, turn into zeros: a caller of [`Self::list`],
    /// [`Self::list_rows`], [`Self::list_codes`] or [`Self::ordinal`] asks here before the outcome
    /// is believed. What needs more than one of these ([`Self::code`], [`Self::key`],
    /// [`Self::find_id`], …) asks itself.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the offset.
    #[inline]
    pub fn intact(&self) -> Result<()> {
        self.file.intact()
    }

    /// The list table, proven when the shard was opened. Zeros in its place are lists without rows;
    /// they lead nowhere.
    #[inline]
    fn table(&self) -> Result<&[ListEntry]> {
        bytemuck::try_cast_slice(self.file.read_proven(&self.list_table))
            .map_err(|_| Error::corrupt(self.path(), "list table is not aligned"))
    }

    /// The path of the shard's file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file underneath, for inspection.
    pub fn file(&self) -> &Reader {
        &self.file
    }

    /// Scalar facts of the shard.
    pub fn meta(&self) -> &ShardMeta {
        &self.meta
    }

    /// Number of rows.
    pub fn rows(&self) -> u32 {
        self.meta.rows
    }

    /// Entry of a list.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] for a list that the model does not have.
    #[inline]
    pub fn list(&self, list: u32) -> Result<ListEntry> {
        let entry = self.table()?.get(list as usize).copied();
        entry.ok_or_else(|| Error::not_found(format!("{}: no list {list}", self.path().display())))
    }

    /// The list that a slot is in.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the last slot.
    pub(crate) fn list_of_slot(&self, slot: u32) -> Result<u32> {
        let table = self.table()?;
        let after = table.partition_point(|entry| entry.first <= slot);
        // Of lists that begin at the same slot all but the last are empty.
        match table[..after].last() {
            Some(entry) if slot - entry.first < entry.len => Ok(after as u32 - 1),
            _ => Err(Error::corrupt(self.path(), format!("slot {slot} is in no list"))),
        }
    }

    /// Codes of a list in block order ([`ocelli_vector::codes`]), proven.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn list_codes(&self, entry: &ListEntry) -> Result<&[u8]> {
        self.file.read(
            &self.codes,
            entry.codes_offset,
            self.layout.list_bytes(entry.len as usize) as u64,
        )
    }

    /// The bytes of a list that a scan reads. They and the ordinals of its rows are proven tile by
    /// tile the first time, and remembered as a whole.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] for a list that the model does not have.
    #[inline]
    pub fn list_rows(&self, list: u32) -> Result<ListRows<'_>> {
        let word = self.proven_lists.get(list as usize / 64);
        // Relaxed: the bit guards no other memory; the mapped bytes never change.
        if word.is_some_and(|w| w.load(Ordering::Relaxed) >> (list % 64) & 1 == 1)
            && let Some(rows) = self.list_again(list)
        {
            return Ok(rows);
        }
        self.prove_list(list)
    }

    /// Asks for a list's line of the list table, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch_list(&self, list: u32) {
        self.file.prefetch(&self.list_table, size_of::<ListEntry>() as u64 * u64::from(list));
    }

    /// Asks the system to read everything that scans of `lists` touch, and does not wait. `ranges`
    /// is a buffer.
    pub(crate) fn will_need(&self, lists: impl Iterator<Item = u32>, ranges: &mut Vec<Range<u64>>) {
        ranges.clear();
        for list in lists {
            let Ok(ListEntry { first, len, codes_offset, .. }) = self.list(list) else { continue };
            let codes_start = self.codes.offset.saturating_add(codes_offset);
            let codes = self.layout.list_bytes(len as usize) as u64;
            let scalars = self.scalars.iter().map(|section| {
                let start = section.offset + u64::from(first);
                start..start + u64::from(len)
            });
            ranges.push(codes_start..codes_start.saturating_add(codes));
            ranges.extend(scalars);
            ranges.push(self.ordinals.place(first, len));
        }
        self.file.will_need(ranges);
    }

    /// [`Self::list_rows`] of a list that was proven; `None` if the table leads nowhere any
    /// more.
    #[inline(always)]
    fn list_again(&self, list: u32) -> Option<ListRows<'_>> {
        let table = self.file.read_proven(&self.list_table);
        let (table, _) = table.as_chunks::<{ size_of::<ListEntry>() }>();
        let entry: ListEntry = bytemuck::cast(*table.get(list as usize)?);
        let len = self.layout.list_bytes(entry.len as usize) as u64;
        let codes = self.file.reread(&self.codes, entry.codes_offset, len)?;
        let scalars = match &self.scalars {
            Some(section) => {
                Some(self.file.reread(section, u64::from(entry.first), u64::from(entry.len))?)
            }
            None => None,
        };
        Some(ListRows { entry, codes, scalars })
    }

    /// [`Self::list_rows`] for the first time.
    #[cold]
    fn prove_list(&self, list: u32) -> Result<ListRows<'_>> {
        let entry = self.list(list)?;
        let codes = self.list_codes(&entry)?;
        let scalars = match &self.scalars {
            Some(section) => {
                Some(self.file.read(section, u64::from(entry.first), u64::from(entry.len))?)
            }
            None => None,
        };
        self.ordinals.prove(&self.file, entry.first, entry.len)?;
        // Where mapped pages have a limit, what is read is counted each time.
        if let Some(word) = self.proven_lists.get(list as usize / 64)
            && MappedLimit::in_force().is_none()
        {
            word.fetch_or(1 << (list % 64), Ordering::Relaxed);
        }
        Ok(ListRows { entry, codes, scalars })
    }

    /// Ordinal of a slot: row `i` of a list is in slot `entry.first + i`.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn ordinal(&self, slot: u32) -> Result<u32> {
        self.checked(self.ordinals.get(&self.file, slot)?)
    }

    /// [`Self::ordinal`] of a row of a list that [`Self::list_rows`] gave.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    #[inline]
    pub fn ordinal_in_list(&self, slot: u32) -> Result<u32> {
        self.checked(self.ordinals.get_proven(&self.file, slot)?)
    }

    /// Asks for the memory of a slot's ordinal, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch_ordinal(&self, slot: u32) {
        self.ordinals.prefetch(&self.file, slot);
    }

    /// A number that must be an ordinal.
    #[inline]
    fn checked(&self, ordinal: u64) -> Result<u32> {
        if ordinal < u64::from(self.meta.rows) {
            Ok(ordinal as u32)
        } else {
            self.no_ordinal(ordinal)
        }
    }

    #[cold]
    fn no_ordinal(&self, ordinal: u64) -> Result<u32> {
        Err(Error::corrupt(self.path(), format!("ordinal {ordinal} of {} rows", self.meta.rows)))
    }

    /// List of an ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also past the last ordinal.
    pub(crate) fn list_of(&self, ordinal: u32) -> Result<u32> {
        Ok(self.list_of.get(&self.file, ordinal)? as u32)
    }

    /// Whether the shard has finer codes.
    pub fn has_fine(&self) -> bool {
        self.fine.is_some()
    }

    /// The finer code of the row in a slot; empty if the shard has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], also past the last slot.
    pub fn fine_of_slot(&self, slot: u32) -> Result<&[u8]> {
        match &self.fine {
            Some(codes) => codes.get(&self.file, slot),
            None => Ok(&[]),
        }
    }

    /// The finer codes, if the shard has them.
    pub(crate) fn fine(&self) -> Option<&FineCodes> {
        self.fine.as_ref()
    }

    /// List and code (m,) of an ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn code(&self, ordinal: u32) -> Result<(u32, Vec<u8>)> {
        let (list, _, code) = self.place(ordinal)?;
        Ok((list, code))
    }

    /// The columns of the rows' attributes, by slot, if rows have any.
    pub fn columns(&self) -> Option<&Columns> {
        self.attributes.as_ref()
    }

    /// Attributes of a row ([`crate::attributes::record`]); empty if it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn record(&self, ordinal: u32) -> Result<Vec<u8>> {
        self.record_of_slot(self.slot(ordinal)?)
    }

    /// Slot of an ordinal: where its attributes are.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn slot(&self, ordinal: u32) -> Result<u32> {
        let (_, entry, i) = self.find(ordinal)?;
        Ok(entry.first + i)
    }

    /// [`Self::record`] of the row in a slot.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn record_of_slot(&self, slot: u32) -> Result<Vec<u8>> {
        match &self.attributes {
            Some(columns) => columns.record(&self.file, slot),
            None => Ok(Vec::new()),
        }
    }

    /// List, slot and code (m,) of an ordinal.
    pub(crate) fn place(&self, ordinal: u32) -> Result<(u32, u32, Vec<u8>)> {
        let (list, entry, i) = self.find(ordinal)?;
        let mut code = vec![0; self.layout.m()];
        self.layout.get(self.list_codes(&entry)?, entry.len as usize, i as usize, &mut code);
        self.intact()?;
        Ok((list, entry.first + i, code))
    }

    /// The list of an ordinal, its entry, and the row's place in it.
    fn find(&self, ordinal: u32) -> Result<(u32, ListEntry, u32)> {
        if ordinal >= self.meta.rows {
            return Err(Error::not_found(format!(
                "{}: no ordinal {ordinal}",
                self.path().display()
            )));
        }
        let list = self.list_of.get(&self.file, ordinal)? as u32;
        let entry = self.list(list).map_err(|_| {
            Error::corrupt(self.path(), format!("ordinal {ordinal} in list {list}"))
        })?;
        // Ordinals ascend within a list.
        let i = partition_point(entry.len, |i| Ok(self.ordinal(entry.first + i)? < ordinal))?;
        if i == entry.len || self.ordinal(entry.first + i)? != ordinal {
            return Err(Error::corrupt(
                self.path(),
                format!("ordinal {ordinal} is not in its list {list}"),
            ));
        }
        Ok((list, entry, i))
    }
}
