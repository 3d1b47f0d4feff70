//! Attributes: facts of rows, in columns that have a name and a type.
//!
//! A row's attributes travel as one [`record`], opaque bytes in one canonical form. A shard keeps
//! the records of its rows in a section of columns ([`SectionWriter`], [`Columns`]), in blocks of
//! [`BLOCK_SLOTS`] slots. A column that a shard lacks is null in each of its rows, so that columns
//! may be added to an index later.

pub mod predicate;
pub mod record;
mod schema;
mod section;
#[cfg(test)]
mod tests;
mod value;

pub use predicate::{Comparison, Literal, Predicate};
pub use schema::{Column, ColumnType, MAX_COLUMNS, MAX_NAME_BYTES, Schema, check_name, names};
pub use section::{BLOCK_SLOTS, BlockColumn, Bounds, Columns, Dictionary, SectionWriter, Values};
pub use value::{MAX_TEXT_BYTES, Value, ValueRef};
