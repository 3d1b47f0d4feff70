//! Ids and keys of living rows are there once, over all shards. Each shard's own are all
//! different.
//!
//! Shards have their ids, and the hashes of their keys, in ascending order. They are gone through
//! together, range by range.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::super::Member;
use crate::base::error::{Error, Result};

/// Something that every shard has in ascending order, with the row that it belongs to.
trait Sorted {
    /// Number of entries in a shard.
    fn len(&self, member: &Member) -> u32;
    /// Entry number `place`: its value and its ordinal.
    fn at(&self, member: &Member, place: u32) -> Result<(u64, u32)>;
    /// The fault of rows of the same value: (member, ordinal) each.
    fn alike(&self, members: &[Member], value: u64, rows: &[(usize, u32)]) -> Result<()>;
}

struct Ids;
struct Keys;

/// Where a row is, for people.
fn place(member: &Member, ordinal: u32) -> Result<String> {
    let key = member.shard.key(ordinal)?;
    Ok(format!("{} (ordinal {ordinal}, key {key:?})", member.shard.path().display()))
}

fn twice(members: &[Member], what: &str, rows: [(usize, u32); 2]) -> Result<Error> {
    let [first, second] = rows.map(|(number, ordinal)| place(&members[number], ordinal));
    Ok(Error::invalid(format!(
        "{what} is twice in the generation: in {} and in {}",
        first?, second?
    )))
}

impl Sorted for Ids {
    fn len(&self, member: &Member) -> u32 {
        member.shard.rows()
    }

    fn at(&self, member: &Member, place: u32) -> Result<(u64, u32)> {
        member.shard.ranked(place)
    }

    fn alike(&self, members: &[Member], id: u64, rows: &[(usize, u32)]) -> Result<()> {
        match *rows {
            [first, second, ..] => Err(twice(members, &format!("id {id}"), [first, second])?),
            _ => Ok(()),
        }
    }
}

impl Sorted for Keys {
    fn len(&self, member: &Member) -> u32 {
        member.shard.keyed()
    }

    fn at(&self, member: &Member, place: u32) -> Result<(u64, u32)> {
        member.shard.key_at(place).map(|(hash, ordinal)| (u64::from(hash), ordinal))
    }

    fn alike(&self, members: &[Member], _hash: u64, rows: &[(usize, u32)]) -> Result<()> {
        let mut named = Vec::with_capacity(rows.len());
        for &(number, ordinal) in rows {
            named.push((members[number].shard.key(ordinal)?, (number, ordinal)));
        }
        named.sort_unstable();
        match named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some([(key, first), (_, second)]) => {
                Err(twice(members, &format!("key {key:?}"), [*first, *second])?)
            }
            _ => Ok(()),
        }
    }
}

/// Ranges of ids that together hold all of them, with about as many rows in each.
pub(super) fn id_ranges(members: &[Member], pieces: u64) -> Result<Vec<Range<u64>>> {
    let Some(largest) = members.iter().max_by_key(|member| member.shard.rows()) else {
        return Ok(Vec::new());
    };
    let rows = u64::from(largest.shard.rows());
    let mut bounds = vec![0];
    for piece in 1..pieces.min(rows) {
        bounds.push(largest.shard.ranked((rows * piece / pieces) as u32)?.0);
    }
    bounds.push(u64::MAX);
    bounds.dedup();
    Ok(bounds.windows(2).map(|bounds| bounds[0]..bounds[1]).collect())
}

/// As many ranges of hashes, of equal width; none for no pieces.
pub(super) fn key_ranges(pieces: u64) -> Vec<Range<u64>> {
    let bound = |piece| (piece << 32) / pieces;
    (0..pieces).map(|piece| bound(piece)..bound(piece + 1)).collect()
}

/// Refuses an id in `range` of two living rows.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(super) fn ids(members: &[Member], range: Range<u64>) -> Result<()> {
    merge(&Ids, members, range)
}

/// Refuses a key of two living rows, of the keys whose hashes are in `range`.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(super) fn keys(members: &[Member], range: Range<u64>) -> Result<()> {
    merge(&Keys, members, range)
}

/// First entry of a member whose value is at least `value`.
fn first(sorted: &impl Sorted, member: &Member, value: u64) -> Result<u32> {
    let (mut low, mut high) = (0, sorted.len(member));
    while low < high {
        let middle = low + (high - low) / 2;
        if sorted.at(member, middle)?.0 < value {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Goes through the values of all members within `range` in ascending order.
fn merge(sorted: &impl Sorted, members: &[Member], range: Range<u64>) -> Result<()> {
    let mut heap = BinaryHeap::with_capacity(members.len());
    // Puts the next living row of a member on the heap.
    let push = |heap: &mut BinaryHeap<_>, number: usize, from: u32| -> Result<()> {
        let member = &members[number];
        for place in from..sorted.len(member) {
            let (value, ordinal) = sorted.at(member, place)?;
            if value >= range.end {
                break;
            }
            if member.alive(ordinal) {
                heap.push(Reverse((value, number, place, ordinal)));
                break;
            }
        }
        Ok(())
    };
    for (number, member) in members.iter().enumerate() {
        push(&mut heap, number, first(sorted, member, range.start)?)?;
    }
    let (mut last, mut alike) = (None, Vec::new());
    // With one member left nothing can be twice, but what is on its way.
    while let Some(Reverse((value, number, place, ordinal))) = heap.pop() {
        if last != Some(value) {
            if alike.len() > 1 {
                sorted.alike(members, last.unwrap_or_default(), &alike)?;
            }
            alike.clear();
            last = Some(value);
        }
        alike.push((number, ordinal));
        if heap.is_empty() && alike.len() == 1 {
            return members.iter().try_for_each(|member| member.shard.intact());
        }
        push(&mut heap, number, place + 1)?;
    }
    if alike.len() > 1 {
        sorted.alike(members, last.unwrap_or_default(), &alike)?;
    }
    members.iter().try_for_each(|member| member.shard.intact())
}
