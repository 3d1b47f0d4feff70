//! The values of one column in one block, read in place.

use crate::attributes::schema::ColumnType;
use crate::attributes::value::ValueRef;
use crate::files::packed::{self, Packed};

use super::layout::{Encoding, Entry, presence_bytes};

/// The values of a block by slot, without the nulls among them.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// Each slot is null.
    Null,
    /// The bits of the one number of all slots.
    Constant(u64),
    /// Whole numbers: the smallest, and the distances from it.
    Packed(u64, Packed<'a>),
    /// Bits of numbers.
    Words(&'a [[u8; 8]]),
    /// Numbers in single precision.
    Singles(&'a [[u8; 4]]),
    /// Eight bytes each.
    Bytes8(&'a [[u8; 8]]),
    /// Thirty-two bytes each.
    Bytes32(&'a [[u8; 32]]),
    /// Different texts, and which of them each slot has.
    Texts(Dictionary<'a>, Packed<'a>),
}

/// The different texts of a block in ascending order.
#[derive(Clone, Copy)]
pub struct Dictionary<'a> {
    ends: Packed<'a>,
    texts: &'a [u8],
}

impl<'a> Dictionary<'a> {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A text; `None` past the end, or if the bytes are no text.
    pub fn get(&self, i: usize) -> Option<&'a str> {
        if i >= self.ends.len() {
            return None;
        }
        let start = if i == 0 { 0 } else { self.ends.get(i - 1) };
        let bytes = self.texts.get(start as usize..self.ends.get(i) as usize)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// The facts of a column of a block that are known before its values are read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Slots.
    pub rows: usize,
    /// Slots whose value is null.
    pub nulls: usize,
    /// Smallest number that is not null, as its bits; a truth value is 0 or 1; 0 for text and
    /// bytes.
    pub min: u64,
    /// Largest number.
    pub max: u64,
}

/// One column of one block.
#[derive(Clone, Copy)]
pub struct BlockColumn<'a> {
    ty: ColumnType,
    rows: usize,
    nulls: usize,
    present: Option<&'a [[u8; 8]]>,
    values: Values<'a>,
    min: u64,
    max: u64,
}

impl<'a> BlockColumn<'a> {
    /// A column that the shard does not have.
    pub fn absent(ty: ColumnType, rows: usize) -> Self {
        let values = Values::Null;
        Self { ty, rows, nulls: rows, present: None, values, min: 0, max: 0 }
    }

    /// The column in a chunk, or what is wrong with it. `entry` was checked when the section was
    /// opened.
    pub(super) fn new(
        ty: ColumnType,
        rows: usize,
        entry: &Entry,
        chunk: &'a [u8],
    ) -> Result<Self, &'static str> {
        let nulls = entry.nulls as usize;
        let (min, max) = (entry.min, entry.max);
        let encoding = Encoding::from_number(entry.encoding).ok_or("an unknown encoding")?;
        if encoding == Encoding::Null {
            return Ok(Self::absent(ty, rows));
        }
        let (present, data) = if nulls > 0 {
            let (bits, data) =
                chunk.split_at_checked(presence_bytes(rows)).ok_or("bits of presence cut short")?;
            (Some(bits.as_chunks().0), data)
        } else {
            (None, chunk)
        };
        let take = |bytes: usize| data.get(..bytes).ok_or("values cut short");
        let values = match encoding {
            Encoding::Null => Values::Null,
            Encoding::Constant => Values::Constant(min),
            Encoding::Packed => {
                let bytes = take(packed::bytes_for(rows, entry.width))?;
                let packed = Packed::new(bytes, entry.width, rows).ok_or("packed cut short")?;
                Values::Packed(min, packed)
            }
            Encoding::Words => Values::Words(take(8 * rows)?.as_chunks().0),
            Encoding::Singles => Values::Singles(take(4 * rows)?.as_chunks().0),
            Encoding::Fixed if ty == ColumnType::Bytes8 => {
                Values::Bytes8(take(8 * rows)?.as_chunks().0)
            }
            Encoding::Fixed => Values::Bytes32(take(32 * rows)?.as_chunks().0),
            Encoding::Dictionary => texts(rows, data)?,
        };
        Ok(Self { ty, rows, nulls, present, values, min, max })
    }

    /// The type of the column.
    pub fn ty(&self) -> ColumnType {
        self.ty
    }

    /// Slots of the block.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Slots whose value is null.
    pub fn nulls(&self) -> usize {
        self.nulls
    }

    /// The values, from which [`Self::is_null`] takes some away.
    pub fn values(&self) -> &Values<'a> {
        &self.values
    }

    /// A word of 64 slots, from slot 64 · `word`: the bits of those that are null.
    pub fn null_bits(&self, word: usize) -> u64 {
        let rows = self.rows.saturating_sub(64 * word).min(64);
        let all = if rows == 64 { u64::MAX } else { (1 << rows) - 1 };
        if self.nulls == self.rows {
            return all;
        }
        match self.present.and_then(|present| present.get(word)) {
            Some(bits) => !u64::from_le_bytes(*bits) & all,
            None => 0,
        }
    }

    /// Smallest and largest whole number that is not null, in a column of numbers or truth values.
    pub fn whole_range(&self) -> Option<(i64, i64)> {
        let whole = matches!(self.ty, ColumnType::Int64 | ColumnType::Bool);
        (whole && self.nulls < self.rows).then_some((self.min as i64, self.max as i64))
    }

    /// Smallest and largest float that is not null, in a column of floats.
    pub fn float_range(&self) -> Option<(f64, f64)> {
        let floats = self.ty == ColumnType::Float64 && self.nulls < self.rows;
        floats.then(|| (f64::from_bits(self.min), f64::from_bits(self.max)))
    }

    /// Whether a slot's value is null, or it is past the end.
    pub fn is_null(&self, slot: usize) -> bool {
        slot >= self.rows || self.null_bits(slot / 64) >> (slot % 64) & 1 == 1
    }

    /// The bits of a slot's number.
    #[inline]
    pub fn bits(&self, slot: usize) -> Option<u64> {
        Some(match &self.values {
            Values::Constant(bits) => *bits,
            Values::Packed(min, packed) if slot < self.rows => min.wrapping_add(packed.get(slot)),
            Values::Words(words) => u64::from_le_bytes(*words.get(slot)?),
            Values::Singles(singles) => {
                f64::from(f32::from_le_bytes(*singles.get(slot)?)).to_bits()
            }
            _ => return None,
        })
    }

    /// The value of a slot: `Ok(None)` if it is null.
    ///
    /// # Errors
    /// The fault of the bytes.
    pub fn value(&self, slot: usize) -> Result<Option<ValueRef<'a>>, &'static str> {
        if self.is_null(slot) {
            return Ok(None);
        }
        let value = match &self.values {
            Values::Texts(texts, numbers) => {
                let text = texts.get(numbers.get(slot) as usize);
                text.map(ValueRef::Text).ok_or("a text that is not in the dictionary")?
            }
            Values::Bytes8(bytes) => ValueRef::Bytes8(bytes.get(slot).ok_or("bytes cut short")?),
            Values::Bytes32(bytes) => ValueRef::Bytes32(bytes.get(slot).ok_or("bytes cut short")?),
            _ => {
                let bits = self.bits(slot).ok_or("a number that is not there")?;
                match self.ty {
                    ColumnType::Bool => ValueRef::Bool(bits != 0),
                    ColumnType::Float64 => {
                        let v = f64::from_bits(bits);
                        if v.is_nan() {
                            return Err("NaN in a column of numbers");
                        }
                        ValueRef::Float(v + 0.0)
                    }
                    _ => ValueRef::Int(bits as i64),
                }
            }
        };
        Ok(Some(value))
    }
}

/// The dictionary of a chunk, and the numbers of its slots' texts.
fn texts(rows: usize, data: &[u8]) -> Result<Values<'_>, &'static str> {
    let cut = "dictionary cut short";
    let (head, rest) = data.split_at_checked(8).ok_or(cut)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (count, bits) = (word(0) as usize, word(4));
    if count == 0 || count > rows || bits > packed::MAX_WIDTH {
        return Err("a dictionary of an impossible size");
    }
    let (ends, rest) = rest.split_at_checked(packed::bytes_for(count, bits)).ok_or(cut)?;
    let ends = Packed::new(ends, bits, count).ok_or(cut)?;
    let width = packed::width_for(count as u64 - 1);
    let (numbers, texts) = rest.split_at_checked(packed::bytes_for(rows, width)).ok_or(cut)?;
    let numbers = Packed::new(numbers, width, rows).ok_or(cut)?;
    Ok(Values::Texts(Dictionary { ends, texts }, numbers))
}
