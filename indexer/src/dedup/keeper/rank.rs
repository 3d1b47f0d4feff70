//! Ranks of rows by a policy.

use ocelli_index::Value;

use super::rule::{Policy, Rule};
use crate::Result;
use crate::dedup::edge::RowNumber;
use crate::dedup::order::Order;
use crate::dedup::rows::{Facts, Rows};
use crate::least::ordered;
use crate::sort::{Entry, SortMemory, Sorter};

/// Rows whose facts are read together.
const BLOCK_ROWS: usize = 4096;

/// A row with bytes whose order is that of the policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    key: Vec<u8>,
    /// Index of the row among those that are ranked.
    at: u32,
}

impl Entry for Ranked {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.at.to_le_bytes());
        out.extend(&self.key);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let (at, key) = bytes.split_first_chunk()?;
        Some(Self { key: key.to_vec(), at: u32::from_le_bytes(*at) })
    }

    fn held(&self) -> usize {
        // A vector that grows has as much again.
        2 * (size_of::<Self>() + self.key.capacity())
    }
}

/// The order of `numbers`, which ascend, by the policy.
///
/// # Errors
/// Those of [`Policy::columns`] and of reading the facts.
pub fn order(
    rows: &dyn Rows,
    numbers: Vec<RowNumber>,
    policy: &Policy,
    memory: Option<&SortMemory>,
) -> Result<Order> {
    let columns = policy.columns(rows.schema())?;
    let mut sorter = Sorter::new(memory.cloned());
    let (mut old, mut at) = (0, 0u32);
    for block in numbers.chunks(BLOCK_ROWS) {
        for (&row, facts) in block.iter().zip(rows.facts(block, &columns)?) {
            let is_old = rows.is_old(row);
            old += u32::from(is_old);
            let key = key(&facts, is_old, policy);
            sorter.push(Ranked { key, at })?;
            at += 1;
        }
    }
    let mut by_rank = Vec::with_capacity(numbers.len());
    for ranked in sorter.finish()?.entries() {
        by_rank.push(ranked?.at);
    }
    Order::new(numbers, by_rank, old)
}

/// Bytes of a row: of two rows, the one whose bytes come first is kept.
fn key(facts: &Facts, is_old: bool, policy: &Policy) -> Vec<u8> {
    let mut key = vec![u8::from(!is_old)];
    let mut columns = facts.columns.iter();
    for rule in policy.rules() {
        match rule {
            Rule::MostPixels => put(&mut key, facts.pixels().map(largest)),
            Rule::LargestFile => put(&mut key, facts.bytes.map(largest)),
            Rule::LeastCompressed => {
                let pixels = facts.pixels().filter(|&pixels| pixels > 0);
                let share = facts.bytes.zip(pixels).map(|(b, pixels)| b as f64 / pixels as f64);
                put(&mut key, share.map(|share| largest(ordered(share))));
            }
            Rule::Oldest => {
                let time = facts.captured_ms.or(facts.modified_ms);
                put(&mut key, time.map(|time| int(time).to_be_bytes()));
            }
            Rule::FirstKey => {
                let name = Some(facts.key.as_bytes()).filter(|name| !name.is_empty());
                put(&mut key, name.map(text));
            }
            Rule::Folder(folder) => key.push(u8::from(!is_in(facts, folder))),
            Rule::Column { descending, .. } => {
                let value = columns.next().and_then(Option::as_ref).map(value);
                let turned = |mut bytes: Vec<u8>| {
                    bytes.iter_mut().for_each(|byte| *byte = !*byte);
                    bytes
                };
                put(&mut key, if *descending { value.map(turned) } else { value });
            }
        }
    }
    key.extend(facts.id.to_be_bytes());
    key.shrink_to_fit();
    key
}

/// Appends a value; none comes after all others.
fn put(key: &mut Vec<u8>, value: Option<impl AsRef<[u8]>>) {
    key.push(u8::from(value.is_none()));
    if let Some(value) = value {
        key.extend(value.as_ref());
    }
}

/// Bytes that come first for the largest number.
fn largest(number: u64) -> [u8; 8] {
    (!number).to_be_bytes()
}

/// A number in the order of `value`.
fn int(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}

/// Bytes in the order of `bytes`, none the beginning of another: a zero is followed by 255, and two
/// zeros are the end.
fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    for &byte in bytes {
        out.push(byte);
        if byte == 0 {
            out.push(255);
        }
    }
    out.extend([0, 0]);
    out
}

fn value(value: &Value) -> Vec<u8> {
    match value {
        Value::Int(value) => int(*value).to_be_bytes().to_vec(),
        Value::Float(value) => ordered(*value).to_be_bytes().to_vec(),
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Text(value) => text(value.as_bytes()),
        Value::Bytes8(value) => value.to_vec(),
        Value::Bytes32(value) => value.to_vec(),
    }
}

/// Whether the key of a row, or its file, is in a folder.
fn is_in(facts: &Facts, folder: &str) -> bool {
    let key = facts.key.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    key || facts
        .path
        .as_ref()
        .is_some_and(|path| path.starts_with(folder) && path.as_os_str() != folder)
}
