//! The section of a shard that holds the attributes of its rows, by slot.
//!
//! `docs/shard-format.md` specifies it. Blocks of [`BLOCK_SLOTS`] slots lie one after the other,
//! each column by column; then the directory, which says where and in what form each column of each
//! block is; then a trailer of fixed size.

mod layout;
mod reader;
mod values;
mod writer;

pub use layout::BLOCK_SLOTS;
pub use reader::Columns;
pub use values::{BlockColumn, Bounds, Dictionary, Values};
pub use writer::SectionWriter;
