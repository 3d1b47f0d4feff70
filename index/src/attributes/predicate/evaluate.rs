//! Evaluates a predicate over the columns of a shard, block by block.

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;

use super::bind::{Bound, Node, Test, TextRange, float_key};
use crate::attributes::schema::ColumnType;
use crate::attributes::section::{BLOCK_SLOTS, BlockColumn, Bounds, Columns, Values};
use crate::base::error::Result;
use crate::files::container::Reader;

/// Words of a bit a slot of a block.
const WORDS: usize = BLOCK_SLOTS / 64;

/// Bits of a block.
type Bits = Box<[u64; WORDS]>;

/// The slots where a part of the predicate is true and those where it is false; elsewhere it is
/// unknown.
enum Truth {
    /// The same for each slot: true, false or unknown.
    Same(Option<bool>),
    /// Bits of the true and of the false slots.
    Bits { yes: Bits, no: Bits },
}

/// One block of a shard.
#[derive(Clone, Copy)]
struct Block<'a> {
    file: &'a Reader,
    columns: &'a Columns,
    number: usize,
    rows: usize,
}

impl Bound {
    /// The slots of a shard for which the predicate is true.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn slots(&self, file: &Reader, columns: &Columns) -> Result<RoaringBitmap> {
        let mut out = RoaringBitmap::new();
        for number in 0..columns.blocks() {
            let rows = columns.block_rows(number);
            let start = (number * BLOCK_SLOTS) as u32;
            match (Block { file, columns, number, rows }).truth(&self.node)? {
                Truth::Same(Some(true)) => {
                    out.insert_range(start..start + rows as u32);
                }
                Truth::Same(_) => {}
                Truth::Bits { yes, .. } => {
                    out |= RoaringBitmap::from_lsb0_bytes(start, bytemuck::cast_slice(&yes[..]));
                }
            }
        }
        file.intact()?;
        Ok(out)
    }

    /// Whether the predicate is true for a row of which every column is null.
    pub fn holds_for_nulls(&self) -> bool {
        nulls(&self.node) == Some(true)
    }
}

/// The predicate where every column is null.
fn nulls(node: &Node) -> Option<bool> {
    match node {
        Node::Test { test: Test::Null, .. } => Some(true),
        Node::Test { .. } => None,
        Node::Not(of) => nulls(of).map(|v| !v),
        Node::And(of) => settled(of, false),
        Node::Or(of) => settled(of, true),
    }
}

/// `and`, or `or`, where every column is null; a part that is `settles` decides.
fn settled(of: &[Node], settles: bool) -> Option<bool> {
    let parts: Vec<Option<bool>> = of.iter().map(nulls).collect();
    if parts.contains(&Some(settles)) {
        return Some(settles);
    }
    parts.iter().all(Option::is_some).then_some(!settles)
}

impl Block<'_> {
    fn truth(self, node: &Node) -> Result<Truth> {
        match node {
            Node::Not(of) => Ok(match self.truth(of)? {
                Truth::Same(same) => Truth::Same(same.map(|v| !v)),
                Truth::Bits { yes, no } => Truth::Bits { yes: no, no: yes },
            }),
            Node::And(of) => self.joined(of, false),
            Node::Or(of) => self.joined(of, true),
            Node::Test { column, ty, test } => {
                let Some(number) = self.columns.column(column) else {
                    return Ok(Truth::Same(matches!(test, Test::Null).then_some(true)));
                };
                let bounds = self.columns.bounds(self.number, number);
                if let Some(same) = known(*ty, test, &bounds) {
                    return Ok(Truth::Same(same));
                }
                let found = self.columns.block(self.file, self.number, number)?;
                let (mut yes, mut no) = (zeros(), zeros());
                mark(&found, test, &mut yes)
                    .map_err(|what| self.columns.corrupt(self.file, self.number, number, what))?;
                for word in 0..self.rows.div_ceil(64) {
                    let (all, null) = (self.all(word), found.null_bits(word));
                    if matches!(test, Test::Null) {
                        (yes[word], no[word]) = (null, !null & all);
                    } else {
                        yes[word] &= !null & all;
                        no[word] = !yes[word] & !null & all;
                    }
                }
                Ok(Truth::Bits { yes, no })
            }
        }
    }

    /// Bits of the slots that the block has in a word.
    fn all(self, word: usize) -> u64 {
        let rows = self.rows.saturating_sub(64 * word).min(64);
        if rows == 64 { u64::MAX } else { (1 << rows) - 1 }
    }

    /// `and`, or `or`, whose outcome is settled by a part that is `settles`.
    fn joined(self, of: &[Node], settles: bool) -> Result<Truth> {
        // What needs no values may settle it before any are read.
        let mut out = Truth::Same(Some(!settles));
        let mut rest = Vec::new();
        for node in of {
            match self.cheap(node) {
                Some(same) if same == Some(settles) => return Ok(Truth::Same(same)),
                Some(same) => out = self.join(out, Truth::Same(same), settles),
                None => rest.push(node),
            }
        }
        for node in rest {
            out = self.join(out, self.truth(node)?, settles);
            if matches!(out, Truth::Same(Some(v)) if v == settles) {
                break;
            }
        }
        Ok(out)
    }

    /// The outcome of a test that the bounds of the block decide.
    fn cheap(self, node: &Node) -> Option<Option<bool>> {
        let Node::Test { column, ty, test } = node else { return None };
        match self.columns.column(column) {
            None => Some(matches!(test, Test::Null).then_some(true)),
            Some(number) => known(*ty, test, &self.columns.bounds(self.number, number)),
        }
    }

    fn join(self, a: Truth, b: Truth, settles: bool) -> Truth {
        match (a, b) {
            (Truth::Same(Some(v)), other) | (other, Truth::Same(Some(v))) => {
                if v == settles {
                    Truth::Same(Some(v))
                } else {
                    other
                }
            }
            (Truth::Same(None), Truth::Same(None)) => Truth::Same(None),
            (Truth::Same(None), Truth::Bits { yes, no })
            | (Truth::Bits { yes, no }, Truth::Same(None)) => {
                // Unknown, but where the other part settles it.
                if settles {
                    Truth::Bits { yes, no: zeros() }
                } else {
                    Truth::Bits { yes: zeros(), no }
                }
            }
            (Truth::Bits { mut yes, mut no }, Truth::Bits { yes: yes_b, no: no_b }) => {
                for word in 0..self.rows.div_ceil(64) {
                    if settles {
                        yes[word] |= yes_b[word];
                        no[word] &= no_b[word];
                    } else {
                        yes[word] &= yes_b[word];
                        no[word] |= no_b[word];
                    }
                }
                Truth::Bits { yes, no }
            }
        }
    }
}

fn zeros() -> Bits {
    Box::new([0; WORDS])
}

/// The outcome of a test that is the same for all slots by what the directory says.
fn known(ty: ColumnType, test: &Test, bounds: &Bounds) -> Option<Option<bool>> {
    if bounds.nulls == bounds.rows {
        return Some(matches!(test, Test::Null).then_some(true));
    }
    if bounds.nulls > 0 {
        // Slots without a value differ from those with one; false is false where none passes.
        return None;
    }
    let (min, max) = match (test, ty) {
        (Test::Null, _) => return Some(Some(false)),
        (Test::Ranges(_), ColumnType::Float64) => {
            (float_key(f64::from_bits(bounds.min)), float_key(f64::from_bits(bounds.max)))
        }
        (Test::Ranges(_), _) => (bounds.min as i64, bounds.max as i64),
        _ => return None,
    };
    let Test::Ranges(ranges) = test else { return None };
    if ranges.iter().any(|r| *r.start() <= min && max <= *r.end()) {
        return Some(Some(true));
    }
    let none = ranges.iter().all(|r| *r.end() < min || max < *r.start());
    none.then_some(Some(false))
}

/// Sets the bits of slots whose value passes; those of null are of no account.
fn mark(
    column: &BlockColumn<'_>,
    test: &Test,
    out: &mut [u64; WORDS],
) -> std::result::Result<(), &'static str> {
    let rows = column.rows();
    match test {
        Test::Null => Ok(()),
        Test::Ranges(ranges) => {
            numbers(column, ranges, out);
            Ok(())
        }
        Test::Texts(ranges) => {
            let Values::Texts(dictionary, numbers) = column.values() else {
                return Err("no texts in a column of text");
            };
            // Each text is judged once.
            let mut pass = vec![false; dictionary.len()];
            for (i, pass) in pass.iter_mut().enumerate() {
                let text = dictionary.get(i).ok_or("a text that is not in the dictionary")?;
                *pass = passes(ranges, text);
            }
            for slot in 0..rows {
                let number = numbers.get(slot) as usize;
                let pass = match pass.get(number) {
                    Some(pass) => *pass,
                    None if column.is_null(slot) => false,
                    None => return Err("a text that is not in the dictionary"),
                };
                out[slot / 64] |= u64::from(pass) << (slot % 64);
            }
            Ok(())
        }
        Test::Bytes { set, not } => {
            let mut judge = |slot: usize, bytes: &[u8]| {
                let pass = set.contains(bytes) != *not;
                out[slot / 64] |= u64::from(pass) << (slot % 64);
            };
            match column.values() {
                Values::Bytes8(of) => of.iter().enumerate().for_each(|(i, b)| judge(i, b)),
                Values::Bytes32(of) => of.iter().enumerate().for_each(|(i, b)| judge(i, b)),
                _ => return Err("no bytes in a column of bytes"),
            }
            Ok(())
        }
    }
}

fn passes(ranges: &[TextRange], text: &str) -> bool {
    let after = ranges.partition_point(|range| range.begins_up_to(text));
    after > 0 && ranges[after - 1].contains(text)
}

fn numbers(column: &BlockColumn<'_>, ranges: &[RangeInclusive<i64>], out: &mut [u64; WORDS]) {
    let within = |v: i64| match ranges {
        [one] => one.contains(&v),
        many => {
            let after = many.partition_point(|range| *range.start() <= v);
            after > 0 && v <= *many[after - 1].end()
        }
    };
    let float = column.ty() == ColumnType::Float64;
    let mut set = |slot: usize, bits: u64| {
        let v = if float { float_key(f64::from_bits(bits)) } else { bits as i64 };
        out[slot / 64] |= u64::from(within(v)) << (slot % 64);
    };
    let rows = column.rows();
    match column.values() {
        Values::Constant(bits) => (0..rows).for_each(|slot| set(slot, *bits)),
        Values::Packed(min, packed) => {
            (0..rows).for_each(|slot| set(slot, min.wrapping_add(packed.get(slot))));
        }
        Values::Words(words) => {
            words.iter().enumerate().for_each(|(slot, w)| set(slot, u64::from_le_bytes(*w)));
        }
        Values::Singles(words) => {
            let wide = |w: &[u8; 4]| f64::from(f32::from_le_bytes(*w)).to_bits();
            words.iter().enumerate().for_each(|(slot, w)| set(slot, wide(w)));
        }
        _ => {}
    }
}
