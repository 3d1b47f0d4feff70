//! Writes the section from records in slot order, one block in memory at a time.

use std::collections::{BTreeMap, HashMap};

use super::layout::{BLOCK_SLOTS, Encoding, Entry, Trailer, VERSION, padding, presence_bytes};
use crate::attributes::record;
use crate::attributes::schema::{Column, ColumnType, Schema};
use crate::attributes::value::ValueRef;
use crate::base::error::Result;
use crate::files::container::Writer;
use crate::files::packed;

/// The values of one column in the block that is being filled.
#[derive(Debug, Default)]
struct Pending {
    /// A bit a slot.
    present: Vec<u64>,
    /// Slots that have a value.
    count: usize,
    /// Bits of numbers, or numbers of texts, by slot; 0 for null.
    words: Vec<u64>,
    /// Fixed bytes by slot; 0 for null.
    bytes: Vec<u8>,
    texts: HashMap<Box<str>, u64>,
}

/// A column of the section and its entries so far.
#[derive(Debug)]
struct Part {
    ty: ColumnType,
    pending: Pending,
    /// One a block, from block 0; those of blocks before the column first appeared are null.
    entries: Vec<Entry>,
}

/// Writes the attributes of a shard's rows. Columns are those of the schema, and those that records
/// bring.
#[derive(Debug)]
pub struct SectionWriter {
    /// Known columns, for their types.
    schema: Schema,
    parts: BTreeMap<String, Part>,
    /// Slots in the block that is being filled.
    filled: usize,
    blocks: usize,
    rows: u64,
    /// Bytes of the section so far.
    at: u64,
}

impl SectionWriter {
    /// A writer for records whose columns have the types of `schema`; a record may bring others.
    pub fn new(schema: Schema) -> Self {
        Self { schema, parts: BTreeMap::new(), filled: 0, blocks: 0, rows: 0, at: 0 }
    }

    /// Most bytes that a writer holds for rows of records of `record_bytes` on average and
    /// `columns` columns.
    pub fn memory(record_bytes: usize, columns: usize) -> usize {
        // Words and texts of a block, and the chunk that is made of them.
        BLOCK_SLOTS * (16 * columns + 4 * record_bytes)
    }

    /// Appends the record of the next slot to the section that `file` has begun.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] if the bytes are no record, or a column has another type than in
    /// an earlier one; [`crate::Error::Io`].
    pub fn push(&mut self, file: &mut Writer, record: &[u8]) -> Result<()> {
        let slot = self.filled;
        for field in record::fields(record) {
            let (name, value) = field?;
            match self.parts.get_mut(name) {
                Some(part) if part.ty == value.ty() => part.pending.set(slot, value),
                _ => {
                    self.schema.add(Column { name: name.to_owned(), ty: value.ty() })?;
                    let entries = vec![Entry::null(BLOCK_SLOTS); self.blocks];
                    let mut part = Part { ty: value.ty(), pending: Pending::default(), entries };
                    part.pending.set(slot, value);
                    self.parts.insert(name.to_owned(), part);
                }
            }
        }
        self.filled += 1;
        self.rows += 1;
        if self.filled == BLOCK_SLOTS { self.end_block(file) } else { Ok(()) }
    }

    /// Writes the last block, the directory and the trailer.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn finish(mut self, file: &mut Writer) -> Result<()> {
        if self.filled > 0 {
            self.end_block(file)?;
        }
        let directory = self.at;
        let mut out = Vec::new();
        for (name, part) in &self.parts {
            out.extend([part.ty.number(), name.len() as u8]);
            out.extend_from_slice(name.as_bytes());
        }
        out.resize(out.len() + padding(out.len() as u64), 0);
        for block in 0..self.blocks {
            for part in self.parts.values() {
                out.extend_from_slice(bytemuck::bytes_of(&part.entries[block]));
            }
        }
        let trailer = Trailer {
            rows: self.rows,
            directory,
            columns: self.parts.len() as u32,
            block_slots: BLOCK_SLOTS as u32,
            version: VERSION,
            zero: 0,
        };
        out.extend_from_slice(bytemuck::bytes_of(&trailer));
        file.write(&out)
    }

    fn end_block(&mut self, file: &mut Writer) -> Result<()> {
        let rows = std::mem::take(&mut self.filled);
        for part in self.parts.values_mut() {
            let (mut entry, mut chunk) = std::mem::take(&mut part.pending).chunk(part.ty, rows);
            chunk.resize(chunk.len() + padding(chunk.len() as u64), 0);
            entry.offset = self.at;
            entry.len = chunk.len() as u32;
            file.write(&chunk)?;
            self.at += chunk.len() as u64;
            part.entries.push(entry);
        }
        self.blocks += 1;
        Ok(())
    }
}

impl Entry {
    fn null(rows: usize) -> Self {
        Self { nulls: rows as u32, ..Self::default() }
    }
}

impl Pending {
    fn set(&mut self, slot: usize, value: ValueRef<'_>) {
        let word = slot / 64;
        if self.present.len() <= word {
            self.present.resize(word + 1, 0);
        }
        self.present[word] |= 1 << (slot % 64);
        self.count += 1;
        let bits = match value {
            ValueRef::Int(v) => v as u64,
            ValueRef::Float(v) => v.to_bits(),
            ValueRef::Bool(v) => u64::from(v),
            ValueRef::Text(text) => match self.texts.get(text) {
                Some(&number) => number,
                None => {
                    let number = self.texts.len() as u64;
                    self.texts.insert(text.into(), number);
                    number
                }
            },
            ValueRef::Bytes8(v) => return self.set_bytes(slot, v),
            ValueRef::Bytes32(v) => return self.set_bytes(slot, v),
        };
        self.words.resize(slot, 0);
        self.words.push(bits);
    }

    fn set_bytes(&mut self, slot: usize, bytes: &[u8]) {
        self.bytes.resize(slot * bytes.len(), 0);
        self.bytes.extend_from_slice(bytes);
    }

    /// The chunk of a column in a block of `rows` slots, and its entry without a place.
    fn chunk(mut self, ty: ColumnType, rows: usize) -> (Entry, Vec<u8>) {
        if self.count == 0 {
            return (Entry::null(rows), Vec::new());
        }
        let nulls = rows - self.count;
        let mut out = Vec::new();
        if nulls > 0 {
            self.present.resize(presence_bytes(rows) / 8, 0);
            out.extend_from_slice(bytemuck::cast_slice(&self.present));
        }
        let mut entry = Entry { nulls: nulls as u32, ..Entry::default() };
        let encoding = match ty {
            ColumnType::Bytes8 | ColumnType::Bytes32 => {
                self.bytes.resize(rows * ty.fixed().unwrap_or(0), 0);
                out.extend_from_slice(&self.bytes);
                Encoding::Fixed
            }
            ColumnType::String => {
                self.words.resize(rows, 0);
                self.texts(&mut out);
                Encoding::Dictionary
            }
            ColumnType::Int64 | ColumnType::Bool => {
                self.words.resize(rows, 0);
                self.whole(&mut entry, &mut out)
            }
            ColumnType::Float64 => {
                self.words.resize(rows, 0);
                self.floats(&mut entry, &mut out)
            }
        };
        entry.encoding = encoding.number();
        (entry, out)
    }

    /// Bits of the values that are there.
    fn values(&self) -> impl Iterator<Item = u64> {
        let there = |slot: usize| {
            self.present.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
        };
        (0..).zip(&self.words).filter(move |&(slot, _)| there(slot)).map(|(_, &word)| word)
    }

    fn whole(&self, entry: &mut Entry, out: &mut Vec<u8>) -> Encoding {
        let values = || self.values().map(|v| v as i64);
        let (min, max) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
        (entry.min, entry.max) = (min as u64, max as u64);
        let width = packed::width_for(max.wrapping_sub(min) as u64);
        if width == 0 {
            return Encoding::Constant;
        }
        if width > packed::MAX_WIDTH {
            out.extend_from_slice(bytemuck::cast_slice(&self.words));
            return Encoding::Words;
        }
        entry.width = width;
        let mask = (1u64 << width) - 1;
        // What stands for null is never read, and is zero.
        let there = |slot: usize| self.present[slot / 64] >> (slot % 64) & 1 == 1;
        let distances = self.words.iter().enumerate().map(|(slot, &v)| {
            if entry.nulls == 0 || there(slot) { v.wrapping_sub(min as u64) & mask } else { 0 }
        });
        out.extend(packed::pack(distances, width));
        Encoding::Packed
    }

    fn floats(&self, entry: &mut Entry, out: &mut Vec<u8>) -> Encoding {
        let values = || self.values().map(f64::from_bits);
        let min = values().fold(f64::INFINITY, f64::min);
        let max = values().fold(f64::NEG_INFINITY, f64::max);
        (entry.min, entry.max) = (min.to_bits(), max.to_bits());
        if min.to_bits() == max.to_bits() {
            return Encoding::Constant;
        }
        if values().all(|v| f64::from(v as f32).to_bits() == v.to_bits()) {
            let singles = self.words.iter().map(|&v| f64::from_bits(v) as f32);
            out.extend(singles.flat_map(f32::to_le_bytes));
            return Encoding::Singles;
        }
        out.extend_from_slice(bytemuck::cast_slice(&self.words));
        Encoding::Words
    }

    /// The different texts, sorted: their number (u32), the bits of an end (u32), their ends,
    /// packed at these bits; the number of each slot's text, packed; the texts themselves.
    fn texts(&self, out: &mut Vec<u8>) {
        let mut sorted: Vec<(&str, u64)> =
            self.texts.iter().map(|(text, &number)| (&**text, number)).collect();
        sorted.sort_unstable();
        let mut place = vec![0u64; sorted.len()];
        let mut ends = Vec::with_capacity(sorted.len());
        let mut end = 0u64;
        for (sorted_at, (text, number)) in (0u64..).zip(&sorted) {
            place[*number as usize] = sorted_at;
            end += text.len() as u64;
            ends.push(end);
        }
        let bits = packed::width_for(end);
        out.extend((sorted.len() as u32).to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(packed::pack(ends.into_iter(), bits));
        let there = |slot: usize| {
            self.present.get(slot / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
        };
        let width = packed::width_for(sorted.len() as u64 - 1);
        let numbers = (0..self.words.len())
            .map(|slot| if there(slot) { place[self.words[slot] as usize] } else { 0 });
        out.extend(packed::pack(numbers, width));
        sorted.iter().for_each(|(text, _)| out.extend_from_slice(text.as_bytes()));
    }
}
