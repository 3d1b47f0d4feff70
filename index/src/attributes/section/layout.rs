//! The fixed parts of the section: directory entries and trailer.

use bytemuck::{Pod, Zeroable};

use crate::attributes::schema::ColumnType;

/// Slots of a block; the last block may have fewer.
pub const BLOCK_SLOTS: usize = 16_384;

/// Version of the section's layout.
pub(super) const VERSION: u32 = 1;

/// Chunks and the directory begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// Zeros up to the next multiple of [`ALIGN`] from `at`.
pub(super) fn padding(at: u64) -> usize {
    (at.next_multiple_of(ALIGN as u64) - at) as usize
}

/// The last bytes of the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Trailer {
    /// Slots: the shard's rows.
    pub rows: u64,
    /// First byte of the directory in the section.
    pub directory: u64,
    /// Columns.
    pub columns: u32,
    /// [`BLOCK_SLOTS`].
    pub block_slots: u32,
    /// [`VERSION`].
    pub version: u32,
    /// Zero.
    pub zero: u32,
}

/// One column of one block in the directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Entry {
    /// First byte of the chunk in the section.
    pub offset: u64,
    /// Bytes of the chunk.
    pub len: u32,
    /// Slots whose value is null.
    pub nulls: u32,
    /// Number of the [`Encoding`].
    pub encoding: u32,
    /// Bits of a packed number, else 0.
    pub width: u32,
    /// Smallest value: an i64, the bits of an f64, or 0 and 1. Zero for text and bytes.
    pub min: u64,
    /// Largest value.
    pub max: u64,
}

/// The form in which the values of a chunk are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// No value: each slot is null.
    Null,
    /// The entry's `min` is the value of each slot that is not null.
    Constant,
    /// Whole numbers as packed distances from `min`.
    Packed,
    /// Eight bytes a slot.
    Words,
    /// Single precision, which holds each of the numbers exactly.
    Singles,
    /// The bytes of each slot.
    Fixed,
    /// Different texts in ascending order, and a packed number of one of them a slot.
    Dictionary,
}

impl Encoding {
    const ALL: [Self; 7] = [
        Self::Null,
        Self::Constant,
        Self::Packed,
        Self::Words,
        Self::Singles,
        Self::Fixed,
        Self::Dictionary,
    ];

    pub fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Constant => 1,
            Self::Packed => 2,
            Self::Words => 3,
            Self::Singles => 4,
            Self::Fixed => 5,
            Self::Dictionary => 6,
        }
    }

    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.number() == number)
    }

    /// Whether a column of this type may be stored so.
    pub fn fits(self, ty: ColumnType) -> bool {
        use ColumnType as T;
        match self {
            Self::Null => true,
            Self::Constant => matches!(ty, T::Int64 | T::Float64 | T::Bool),
            Self::Packed => matches!(ty, T::Int64 | T::Bool),
            Self::Words => matches!(ty, T::Int64 | T::Float64),
            Self::Singles => ty == T::Float64,
            Self::Fixed => ty.fixed().is_some(),
            Self::Dictionary => ty == T::String,
        }
    }
}

/// Bytes of the bits that say which slots have a value, padding included.
pub(super) fn presence_bytes(rows: usize) -> usize {
    rows.div_ceil(64) * 8
}
