//! A mapped shard. Structure is proven at open, bytes when they are first touched.

mod verify;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::error::{Error, Result};
use crate::files::container::{FileKind, Reader, Section, SectionKind};
use crate::files::keys::Keys;
use crate::files::metadata::read_meta;
use crate::files::packed;
use crate::model::{Metric, Model};

use super::fine_codes::FineCodes;
use super::key_hash;
use super::{IdEncoding, ListEntry, ShardMeta};

/// A packed array in a section, read element by element so that only touched tiles are proven.
#[derive(Clone, Copy, Debug)]
struct PackedSection {
    section: Section,
    /// Byte of the section where the array begins.
    start: u64,
    width: u32,
    len: u32,
}

impl PackedSection {
    fn new(file: &Reader, kind: SectionKind, start: u64, width: u32, len: u32) -> Result<Self> {
        let section = *file.require(kind)?;
        let want = start + packed::bytes_for(len as usize, width) as u64;
        if width > packed::MAX_WIDTH || section.len != want {
            return Err(Error::corrupt(
                file.path(),
                format!("{}: {} bytes, expected {want}", kind.name(), section.len),
            ));
        }
        Ok(Self { section, start, width, len })
    }

    /// Asks for the memory of element `i`, which will be wanted soon.
    #[inline]
    fn prefetch(&self, file: &Reader, i: u32) {
        file.prefetch(&self.section, self.at(i).0);
    }

    #[inline]
    fn get(&self, file: &Reader, i: u32) -> Result<u64> {
        if i >= self.len {
            return Err(self.outside(file, i));
        }
        let (byte, shift) = self.at(i);
        let word = file.read_word(&self.section, byte)?;
        Ok((word >> shift) & self.mask())
    }

    /// [`Self::get`] where [`Self::prove`] has been.
    #[inline]
    fn get_proven(&self, file: &Reader, i: u32) -> Result<u64> {
        let (byte, shift) = self.at(i);
        let word = file.reread(&self.section, byte, 8).and_then(|b| b.first_chunk::<8>());
        let word = word.ok_or_else(|| self.outside(file, i))?;
        Ok((u64::from_le_bytes(*word) >> shift) & self.mask())
    }

    /// Proves elements `from .. from + len`.
    fn prove(&self, file: &Reader, from: u32, len: u32) -> Result<()> {
        let (Some(last), true) = (len.checked_sub(1), from <= self.len && len <= self.len - from)
        else {
            return if len == 0 { Ok(()) } else { Err(self.outside(file, from)) };
        };
        let (first, last) = (self.at(from).0, self.at(from + last).0);
        file.read(&self.section, first, last + 8 - first).map(|_| ())
    }

    /// Byte where an element's word begins, and its first bit in that.
    #[inline]
    fn at(&self, i: u32) -> (u64, u64) {
        let bit = u64::from(i) * u64::from(self.width);
        (self.start + bit / 8, bit % 8)
    }

    #[inline]
    fn mask(&self) -> u64 {
        (1u64 << self.width) - 1
    }

    #[cold]
    fn outside(&self, file: &Reader, i: u32) -> Error {
        Error::corrupt(file.path(), format!("element {i} of an array of {}", self.len))
    }
}

/// First position in `0..len` for which `less` is false, where `less` is true for a prefix.
fn partition_point(len: u32, mut less: impl FnMut(u32) -> Result<bool>) -> Result<u32> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let mid = low + (high - low) / 2;
        if less(mid)? {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    Ok(low)
}

/// What a scan reads of a list, proven.
#[derive(Clone, Copy, Debug)]
pub struct ListRows<'a> {
    /// Its line of the list table.
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
        if (meta.nlist as usize, meta.m as usize, meta.ksub as usize) != (p.nlist, p.m, p.ksub)
            || meta.rows == 0
        {
            return Err(Error::corrupt(
                path,
                format!(
                    "{} rows, nlist {}, m {}, ksub {}; its model has nlist {}, m {}, ksub {}",
                    meta.rows, meta.nlist, meta.m, meta.ksub, p.nlist, p.m, p.ksub
                ),
            ));
        }
        let (rows, bits) = (meta.rows, meta.ordinal_bits);
        let packed_ids = match meta.ids {
            IdEncoding::Packed { bits, .. } => {
                Some(PackedSection::new(&file, SectionKind::Ids, 0, bits, rows)?)
            }
            _ => None,
        };
        let id_map = match meta.ids {
            IdEncoding::Affine { .. } => None,
            _ => Some(PackedSection::new(&file, SectionKind::IdMap, 0, bits, rows)?),
        };
        if meta.ids == IdEncoding::Raw {
            let section = file.require(SectionKind::Ids)?;
            if section.len != 8 * u64::from(rows) {
                return Err(Error::corrupt(
                    path,
                    format!("ids: {} bytes for {rows} rows", section.len),
                ));
            }
        }
        let key_map = if meta.keyed > 0 {
            Some(PackedSection::new(
                &file,
                SectionKind::KeyMap,
                4 * u64::from(meta.keyed),
                bits,
                meta.keyed,
            )?)
        } else {
            None
        };
        let keys = match meta.keyed {
            0 => None,
            _ => Some(Keys::open(&file, rows as usize)?),
        };
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
            layout: model.layout(),
            file,
            meta,
        };
        shard.check_lists()?;
        shard.intact()?;
        Ok(shard)
    }

    /// Holds the list table against the other sections.
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
    /// cut, or of a disk that fails, turn into zeros: whoever calls [`Self::list`],
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

    /// Where the shard stands.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file underneath, for inspection.
    pub fn file(&self) -> &Reader {
        &self.file
    }

    /// Its own scalar facts.
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

    /// What a scan reads of a list. It and the ordinals of its rows are proven tile by tile the
    /// first time, and remembered as a whole.
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

    /// [`Self::list_rows`] of a list that was proven; `None` where the table leads nowhere any
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
        if let Some(word) = self.proven_lists.get(list as usize / 64) {
            word.fetch_or(1 << (list % 64), Ordering::Relaxed);
        }
        Ok(ListRows { entry, codes, scalars })
    }

    /// Ordinal of a slot: row `i` of a list stands in slot `entry.first + i`.
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

    /// Id of an ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    #[inline]
    pub fn id(&self, ordinal: u32) -> Result<u64> {
        if ordinal >= self.meta.rows {
            return Err(Error::not_found(format!(
                "{}: no ordinal {ordinal}",
                self.path().display()
            )));
        }
        let (base, number) = match (self.meta.ids, &self.packed_ids) {
            (IdEncoding::Affine { base }, _) => (base, u64::from(ordinal)),
            (IdEncoding::Packed { base, .. }, Some(packed)) => {
                let number = packed.get(&self.file, ordinal)?;
                self.intact()?;
                (base, number)
            }
            _ => {
                let bytes = self.file.read(
                    self.file.require(SectionKind::Ids)?,
                    8 * u64::from(ordinal),
                    8,
                )?;
                let mut word = [0u8; 8];
                word.copy_from_slice(bytes);
                self.intact()?;
                (0, u64::from_le_bytes(word))
            }
        };
        base.checked_add(number).filter(|id| id >> 63 == 0).ok_or_else(|| {
            Error::corrupt(self.path(), format!("id of ordinal {ordinal} is over 2^63"))
        })
    }

    /// Key of an ordinal, empty where it has none.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub fn key(&self, ordinal: u32) -> Result<String> {
        match &self.keys {
            Some(keys) => keys.get(&self.file, ordinal as usize),
            None if ordinal < self.meta.rows => Ok(String::new()),
            None => {
                Err(Error::not_found(format!("{}: no ordinal {ordinal}", self.path().display())))
            }
        }
    }

    /// Ordinal of an id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_id(&self, id: u64) -> Result<Option<u32>> {
        let Some(map) = &self.id_map else {
            let ordinal = match self.meta.ids {
                IdEncoding::Affine { base } => id.checked_sub(base),
                _ => None,
            };
            return Ok(ordinal.filter(|&o| o < u64::from(self.meta.rows)).map(|o| o as u32));
        };
        let at = |i: u32| self.checked(map.get(&self.file, i)?);
        let i = partition_point(self.meta.rows, |i| Ok(self.id(at(i)?)? < id))?;
        let ordinal = if i < self.meta.rows { Some(at(i)?) } else { None };
        let found = match ordinal {
            Some(ordinal) => self.id(ordinal)? == id,
            None => false,
        };
        self.intact()?;
        Ok(ordinal.filter(|_| found))
    }

    /// The id that is number `rank` in ascending order, and its ordinal.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::NotFound`] past the end.
    pub(crate) fn ranked(&self, rank: u32) -> Result<(u64, u32)> {
        let ordinal = match &self.id_map {
            Some(map) => self.checked(map.get(&self.file, rank)?)?,
            None => rank,
        };
        Ok((self.id(ordinal)?, ordinal))
    }

    /// Ordinal of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find_key(&self, key: &str) -> Result<Option<u32>> {
        let (Some(map), Some(keys), false) = (&self.key_map, &self.keys, key.is_empty()) else {
            return Ok(None);
        };
        let hash = key_hash(key);
        let hash_at = |i: u32| -> Result<u32> {
            let bytes = self.file.read(&map.section, 4 * u64::from(i), 4)?;
            Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let mut i = partition_point(map.len, |i| Ok(hash_at(i)? < hash))?;
        while i < map.len && hash_at(i)? == hash {
            let ordinal = self.checked(map.get(&self.file, i)?)?;
            if keys.is(&self.file, ordinal as usize, key)? {
                self.intact()?;
                return Ok(Some(ordinal));
            }
            i += 1;
        }
        self.intact()?;
        Ok(None)
    }

    /// Its finer codes, where it has them.
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

    /// List, slot and code (m,) of an ordinal.
    pub(crate) fn place(&self, ordinal: u32) -> Result<(u32, u32, Vec<u8>)> {
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
        let mut code = vec![0; self.layout.m()];
        self.layout.get(self.list_codes(&entry)?, entry.len as usize, i as usize, &mut code);
        self.intact()?;
        Ok((list, entry.first + i, code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use crate::model::tests::small;
    use crate::shard::ShardBuilder;
    use crate::testing::stride;
    use rand::{RngExt, SeedableRng};

    type Rows = Vec<(u64, String, Vec<f32>)>;

    fn rows(n: usize, id: impl Fn(u64) -> u64) -> Rows {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(n as u64);
        (0..n as u64)
            .map(|i| {
                (id(i), format!("k/{i}"), (0..12).map(|_| rng.random_range(-1.0..1.0)).collect())
            })
            .collect()
    }

    fn write(dir: &Path, model: &Model, rows: &Rows) -> crate::shard::ShardEntry {
        let mut b = ShardBuilder::new(model);
        rows.iter().for_each(|(id, key, x)| b.push(*id, key, x).unwrap());
        b.write(dir, Hash::of(b"plan"), 0).unwrap()
    }

    /// Everything that went in comes out, for each way of storing ids.
    #[test]
    fn round_trip_for_every_id_encoding() {
        let dir = tempfile::tempdir().unwrap();
        let ids: [fn(u64) -> u64; 3] =
            [|i| 100 + i, |i| 1000 - 3 * i, |i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1];
        for (metric, id) in [Metric::L2, Metric::InnerProduct, Metric::L2].into_iter().zip(ids) {
            let model = small(metric, false, 9);
            let rows = rows(201, id);
            let entry = write(dir.path(), &model, &rows);
            let shard = Shard::open(&dir.path().join(&entry.name), &model).unwrap();
            shard.verify().unwrap();
            assert_eq!(shard.file().checksum(), entry.checksum);
            for (ordinal, (id, key, x)) in rows.iter().enumerate() {
                let ordinal = ordinal as u32;
                assert_eq!(shard.id(ordinal).unwrap(), *id);
                assert_eq!(&shard.key(ordinal).unwrap(), key);
                assert_eq!(shard.find_id(*id).unwrap(), Some(ordinal));
                assert_eq!(shard.find_key(key).unwrap(), Some(ordinal));
                let z = model.transform(x).unwrap();
                let mut code = vec![0; 4];
                model.encode(&z, model.assign(&z), &mut code);
                assert_eq!(shard.code(ordinal).unwrap(), (model.assign(&z), code));
            }
            assert_eq!(shard.find_id(99).unwrap(), None);
            assert_eq!(shard.find_key("nobody").unwrap(), None);
            assert!(shard.id(201).is_err() && shard.code(201).is_err() && shard.key(201).is_err());
        }
    }

    #[test]
    fn equal_input_gives_equal_bytes_and_duplicates_are_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let model = small(Metric::L2, true, 1);
        let mut rows = rows(70, |i| i);
        assert_eq!(write(a.path(), &model, &rows), write(b.path(), &model, &rows));
        for spoil in [|r: &mut Rows| r[3].0 = 9, |r: &mut Rows| r[3].1 = "k/9".into()] {
            let good = rows.clone();
            spoil(&mut rows);
            let mut builder = ShardBuilder::new(&model);
            rows.iter().for_each(|(id, key, x)| builder.push(*id, key, x).unwrap());
            let message = builder.write(a.path(), Hash::of(b"plan"), 0).unwrap_err().to_string();
            assert!(message.contains("twice"), "{message}");
            rows = good;
        }
    }

    #[test]
    fn a_shard_of_another_model_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let entry = write(dir.path(), &small(Metric::L2, false, 1), &rows(10, |i| i));
        let error =
            Shard::open(&dir.path().join(entry.name), &small(Metric::L2, false, 2)).unwrap_err();
        assert!(matches!(error, Error::ModelMismatch { .. }), "{error}");
    }

    /// No flipped bit in a small shard goes unreported, at whatever place it is.
    #[test]
    fn every_flipped_byte_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let model = small(Metric::L2, false, 1);
        let entry = write(dir.path(), &model, &rows(40, |i| 7 * i));
        let path = dir.path().join(entry.name);
        let good = std::fs::read(&path).unwrap();
        let bad_path = dir.path().join("bad");
        for at in (0..good.len()).step_by(stride(61)).chain(good.len() - 300..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&bad_path, &bad).unwrap();
            let outcome = Shard::open(&bad_path, &model).and_then(|s| s.verify());
            assert!(outcome.is_err(), "byte {at} of {}", good.len());
        }
    }
}
