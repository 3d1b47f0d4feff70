//! Ids and keys of the rows that are not deleted are all different, across all shards.
//!
//! Memory is bounded: the shards' own maps of ids and keys are merged, or the rows of a small shard
//! are looked up in the maps of a large one ([`shared`]), so that a small addition costs no pass
//! over it.

pub(crate) mod shared;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use roaring::RoaringBitmap;

use crate::base::error::{Error, Result};
use crate::shard::Shard;

/// A shard and those of its rows that are deleted.
pub(crate) type WithDeleted<'a> = (&'a Shard, Option<&'a RoaringBitmap>);

/// A map that every shard has in ascending order, with the row of each entry.
trait Sorted {
    /// Number of entries of a shard.
    fn len(&self, shard: &Shard) -> u32;
    /// Entry number `place`: its value and its ordinal.
    fn at(&self, shard: &Shard, place: u32) -> Result<(u64, u32)>;
    /// The fault of rows of the same value, if there is one.
    fn alike(&self, value: u64, rows: &[(&Shard, u32)]) -> Result<()>;
}

struct Ids;
struct Keys;

impl Sorted for Ids {
    fn len(&self, shard: &Shard) -> u32 {
        shard.rows()
    }

    fn at(&self, shard: &Shard, place: u32) -> Result<(u64, u32)> {
        shard.ranked(place)
    }

    fn alike(&self, id: u64, rows: &[(&Shard, u32)]) -> Result<()> {
        match *rows {
            [first, second, ..] => Err(twice(format!("id {id}"), first, second)),
            _ => Ok(()),
        }
    }
}

impl Sorted for Keys {
    fn len(&self, shard: &Shard) -> u32 {
        shard.keyed()
    }

    fn at(&self, shard: &Shard, place: u32) -> Result<(u64, u32)> {
        shard.key_at(place).map(|(hash, ordinal)| (u64::from(hash), ordinal))
    }

    fn alike(&self, _hash: u64, rows: &[(&Shard, u32)]) -> Result<()> {
        let mut named = Vec::with_capacity(rows.len());
        for (number, (shard, ordinal)) in rows.iter().enumerate() {
            named.push((shard.key(*ordinal)?, number));
        }
        named.sort_unstable();
        match named.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some([(key, first), (_, second)]) => {
                Err(twice(format!("key {key:?}"), rows[*first], rows[*second]))
            }
            _ => Ok(()),
        }
    }
}

/// The error of two rows with one id or key.
pub(super) fn twice(what: String, first: (&Shard, u32), second: (&Shard, u32)) -> Error {
    let place = |(shard, ordinal): (&Shard, u32)| {
        let path = shard.path().display();
        Ok::<_, Error>(format!(
            "{path} (ordinal {ordinal}, id {}, key {:?})",
            shard.id(ordinal)?,
            shard.key(ordinal)?
        ))
    };
    match (place(first), place(second)) {
        (Ok(first), Ok(second)) => {
            Error::invalid(format!("{what} is twice in the generation: in {first} and in {second}"))
        }
        (Err(error), _) | (_, Err(error)) => error,
    }
}

/// Refuses an id of two rows that are not deleted. Each shard's own ids are all
/// different. Shards whose ids lie in ranges that do not touch cost nothing; the others are read
/// through in the order of their ids.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(super) fn unique_ids(shards: &[WithDeleted<'_>]) -> Result<()> {
    let mut ranges = Vec::with_capacity(shards.len());
    for (number, (shard, _)) in shards.iter().enumerate() {
        let [first, last] = [0, shard.rows() - 1].map(|rank| shard.ranked(rank));
        ranges.push((first?.0, last?.0, number));
    }
    ranges.sort_unstable();
    let mut rest = ranges.as_slice();
    while let Some(&(_, mut end, _)) = rest.first() {
        let mut together = 1;
        while let Some(&(_, last, _)) = rest.get(together).filter(|next| next.0 <= end) {
            end = end.max(last);
            together += 1;
        }
        let (group, others) = rest.split_at(together);
        if together > 1 {
            let group: Vec<_> = group.iter().map(|&(_, _, number)| shards[number]).collect();
            ids_in(&group, 0..u64::MAX)?;
        }
        rest = others;
    }
    Ok(())
}

/// Refuses a key of two rows that are not deleted. Each shard's own keys are all different. The
/// maps of keys are merged in the order of their hashes.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(super) fn unique_keys(shards: &[WithDeleted<'_>]) -> Result<()> {
    let keyed: Vec<WithDeleted<'_>> =
        shards.iter().copied().filter(|(shard, _)| shard.keyed() > 0).collect();
    if keyed.len() < 2 {
        return Ok(());
    }
    keys_in(&keyed, 0..u64::MAX)
}

/// Ranges of ids that together hold all of them, with about as many rows in each. Where an id
/// cannot be read, a range is larger.
pub(crate) fn id_ranges(shards: &[WithDeleted<'_>], pieces: u64) -> Vec<Range<u64>> {
    let Some((largest, _)) = shards.iter().max_by_key(|(shard, _)| shard.rows()) else {
        return Vec::new();
    };
    let rows = u64::from(largest.rows());
    let mut bounds = vec![0];
    for piece in 1..pieces.min(rows) {
        let bound = largest.ranked((rows * piece / pieces) as u32);
        bounds.extend(bound.ok().map(|(id, _)| id));
    }
    bounds.push(u64::MAX);
    bounds.dedup();
    bounds.windows(2).map(|bounds| bounds[0]..bounds[1]).collect()
}

/// As many ranges of hashes of keys, of equal width; none for no pieces.
pub(crate) fn key_ranges(pieces: u64) -> Vec<Range<u64>> {
    let bound = |piece| (piece << 32) / pieces;
    (0..pieces).map(|piece| bound(piece)..bound(piece + 1)).collect()
}

/// Refuses an id in `range` of two rows that are not deleted.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(crate) fn ids_in(shards: &[WithDeleted<'_>], range: Range<u64>) -> Result<()> {
    merge(&Ids, shards, range)
}

/// Refuses a key of two rows that are not deleted, of the keys whose hashes are in `range`.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(crate) fn keys_in(shards: &[WithDeleted<'_>], range: Range<u64>) -> Result<()> {
    merge(&Keys, shards, range)
}

/// First entry of a shard whose value is at least `value`.
fn first(sorted: &impl Sorted, shard: &Shard, value: u64) -> Result<u32> {
    let (mut low, mut high) = (0, sorted.len(shard));
    while low < high {
        let middle = low + (high - low) / 2;
        if sorted.at(shard, middle)?.0 < value {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Goes through the values of all shards within `range` in ascending order.
fn merge(sorted: &impl Sorted, shards: &[WithDeleted<'_>], range: Range<u64>) -> Result<()> {
    let mut heap = BinaryHeap::with_capacity(shards.len());
    // Puts the next row of a shard that is not deleted on the heap.
    let push = |heap: &mut BinaryHeap<_>, number: usize, from: u32| -> Result<()> {
        let (shard, deleted) = shards[number];
        for place in from..sorted.len(shard) {
            let (value, ordinal) = sorted.at(shard, place)?;
            if value >= range.end {
                break;
            }
            if deleted.is_none_or(|deleted| !deleted.contains(ordinal)) {
                heap.push(Reverse((value, number, place, ordinal)));
                break;
            }
        }
        Ok(())
    };
    for (number, (shard, _)) in shards.iter().enumerate() {
        push(&mut heap, number, first(sorted, shard, range.start)?)?;
    }
    let (mut last, mut alike, mut steps) = (0, Vec::new(), 0);
    while let Some(Reverse((value, number, place, ordinal))) = heap.pop() {
        if last != value {
            sorted.alike(last, &alike)?;
            alike.clear();
            last = value;
        }
        alike.push((shards[number].0, ordinal));
        // With one shard left nothing can be twice.
        if heap.is_empty() && alike.len() == 1 {
            break;
        }
        push(&mut heap, number, place + 1)?;
        release_sometimes(&mut steps, shards);
    }
    sorted.alike(last, &alike)?;
    shards.iter().try_for_each(|(shard, _)| shard.intact())
}

/// Gives back the memory of what was read of the shards, after so many rows: pages that are mapped
/// count as this process's.
fn release_sometimes(steps: &mut usize, shards: &[WithDeleted<'_>]) {
    *steps += 1;
    if steps.is_multiple_of(1 << 16) {
        shards.iter().for_each(|(shard, _)| shard.file().release());
    }
}
