//! Ids and keys of the rows that are not deleted are all different, across all shards.
//!
//! Memory is bounded: the shards' own maps of ids and keys are merged, or the rows of a small shard
//! are looked up in the maps of a large one, so that a small addition costs no pass over it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use crate::base::error::{Error, Result};
use crate::shard::Shard;

/// A lookup of a row costs so many steps of a pass over the rows.
const LOOKUP_STEPS: u64 = 32;

/// A shard and those of its rows that are deleted.
pub(crate) type WithDeleted<'a> = (&'a Shard, Option<&'a RoaringBitmap>);

/// Refuses an id of two rows that are not deleted. Each shard's own ids are all
/// different. Shards whose ids lie in ranges that do not touch cost nothing; the others are read
/// through in the order of their ids.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(crate) fn unique_ids(shards: &[WithDeleted<'_>]) -> Result<()> {
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
            merge_ids(&group)?;
        }
        rest = others;
    }
    Ok(())
}

/// Goes through the ids of shards in ascending order.
fn merge_ids(shards: &[WithDeleted<'_>]) -> Result<()> {
    let mut heap = BinaryHeap::with_capacity(shards.len());
    let push = |heap: &mut BinaryHeap<_>, number: usize, from: u32| -> Result<()> {
        let (shard, deleted) = shards[number];
        for rank in from..shard.rows() {
            let (id, ordinal) = shard.ranked(rank)?;
            if deleted.is_none_or(|deleted| !deleted.contains(ordinal)) {
                heap.push(Reverse((id, number, rank, ordinal)));
                break;
            }
        }
        Ok(())
    };
    for number in 0..shards.len() {
        push(&mut heap, number, 0)?;
    }
    let mut before: Option<(u64, usize, u32)> = None;
    let mut steps = 0;
    while let Some(Reverse((id, number, rank, ordinal))) = heap.pop() {
        if let Some((_, other, row)) = before.filter(|&(last, ..)| last == id) {
            return Err(twice(
                format!("id {id}"),
                (shards[other].0, row),
                (shards[number].0, ordinal),
            ));
        }
        before = Some((id, number, ordinal));
        push(&mut heap, number, rank + 1)?;
        release_sometimes(&mut steps, shards);
    }
    Ok(())
}

/// Gives back the memory of what was read of the shards, after so many rows: pages that are mapped
/// count as this process's.
fn release_sometimes(steps: &mut usize, shards: &[WithDeleted<'_>]) {
    *steps += 1;
    if steps.is_multiple_of(1 << 16) {
        shards.iter().for_each(|(shard, _)| shard.file().release());
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

/// Refuses a key of two rows that are not deleted. Each shard's own keys are all different. The
/// maps of keys are merged in the order of their hashes.
///
/// # Errors
/// [`Error::Invalid`] naming both rows; [`Error::Corrupt`].
pub(crate) fn unique_keys(shards: &[WithDeleted<'_>]) -> Result<()> {
    let keyed: Vec<WithDeleted<'_>> =
        shards.iter().copied().filter(|(shard, _)| shard.keyed() > 0).collect();
    if keyed.len() < 2 {
        return Ok(());
    }
    let mut heap = BinaryHeap::with_capacity(keyed.len());
    for (number, &rows) in keyed.iter().enumerate() {
        let next = next_keyed(rows, 0)?;
        heap.extend(next.map(|(hash, ordinal, at)| Reverse((hash, number, ordinal, at))));
    }
    let (mut of_hash, mut steps) = (None, 0);
    let mut same: Vec<(usize, u32)> = Vec::new();
    while let Some(Reverse((hash, number, ordinal, at))) = heap.pop() {
        if of_hash != Some(hash) {
            (of_hash, same) = (Some(hash), Vec::new());
        }
        for &(other, row) in &same {
            let (first, second): (&Shard, &Shard) = (keyed[other].0, keyed[number].0);
            let key = second.key(ordinal)?;
            if first.key(row)? == key {
                return Err(twice(format!("key {key:?}"), (first, row), (second, ordinal)));
            }
        }
        same.push((number, ordinal));
        release_sometimes(&mut steps, &keyed);
        let next = next_keyed(keyed[number], at + 1)?;
        heap.extend(next.map(|(hash, ordinal, at)| Reverse((hash, number, ordinal, at))));
    }
    Ok(())
}

/// The next row with a key that is not deleted, from place `from` of the key map: the key's hash,
/// the ordinal and the place.
fn next_keyed((shard, deleted): WithDeleted<'_>, from: u32) -> Result<Option<(u32, u32, u32)>> {
    for at in from..shard.keyed() {
        let (hash, ordinal) = shard.key_at(at)?;
        if deleted.is_none_or(|deleted| !deleted.contains(ordinal)) {
            return Ok(Some((hash, ordinal, at)));
        }
    }
    Ok(None)
}

/// What two rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Id,
    Key,
}

/// Hands out each pair of rows that are not deleted, one of `new` and one of `old`, that have an id
/// or a key in common: the ordinals in `new` and in `old`.
///
/// # Errors
/// [`Error::Corrupt`]; those of `take`.
pub(super) fn in_both(
    new: WithDeleted<'_>,
    old: WithDeleted<'_>,
    mut take: impl FnMut(Shared, u32, u32) -> Result<()>,
) -> Result<()> {
    let alive = |(_, deleted): WithDeleted<'_>, ordinal: u32| {
        deleted.is_none_or(|deleted: &RoaringBitmap| !deleted.contains(ordinal))
    };
    let mut take = |shared, one: u32, other: u32| match alive(new, one) && alive(old, other) {
        true => take(shared, one, other),
        false => Ok(()),
    };
    let few = u64::from(new.0.rows()) * LOOKUP_STEPS < u64::from(old.0.rows());
    let range =
        |shard: &Shard| Ok::<_, Error>((shard.ranked(0)?.0, shard.ranked(shard.rows() - 1)?.0));
    let (of_new, of_old) = (range(new.0)?, range(old.0)?);
    if of_new.0 <= of_old.1 && of_old.0 <= of_new.1 {
        if few {
            for ordinal in 0..new.0.rows() {
                if let Some(other) = old.0.find_id(new.0.id(ordinal)?)? {
                    take(Shared::Id, ordinal, other)?;
                }
            }
        } else {
            same_ids(new.0, old.0, |one, other| take(Shared::Id, one, other))?;
        }
    }
    if new.0.keyed() == 0 || old.0.keyed() == 0 {
        return Ok(());
    }
    if few {
        for ordinal in 0..new.0.rows() {
            if let Some(other) = old.0.find_key(&new.0.key(ordinal)?)? {
                take(Shared::Key, ordinal, other)?;
            }
        }
        return Ok(());
    }
    same_keys(new.0, old.0, |one, other| take(Shared::Key, one, other))
}

/// Hands out the ordinals of the rows of two shards with one id.
fn same_ids(
    one: &Shard,
    other: &Shard,
    mut take: impl FnMut(u32, u32) -> Result<()>,
) -> Result<()> {
    let (mut i, mut j) = (0, 0);
    while i < one.rows() && j < other.rows() {
        let (a, b) = (one.ranked(i)?, other.ranked(j)?);
        if a.0 == b.0 {
            take(a.1, b.1)?;
        }
        i += u32::from(a.0 <= b.0);
        j += u32::from(b.0 <= a.0);
    }
    Ok(())
}

/// Hands out the ordinals of the rows of two shards with one key.
fn same_keys(
    one: &Shard,
    other: &Shard,
    mut take: impl FnMut(u32, u32) -> Result<()>,
) -> Result<()> {
    let (mut i, mut j) = (0, 0);
    while i < one.keyed() && j < other.keyed() {
        let (a, b) = (one.key_at(i)?, other.key_at(j)?);
        if a.0 == b.0 {
            // Several keys may have one hash: all of the other's are looked at.
            let key = one.key(a.1)?;
            let mut at = j;
            while at < other.keyed() && other.key_at(at)?.0 == a.0 {
                let ordinal = other.key_at(at)?.1;
                if other.key(ordinal)? == key {
                    take(a.1, ordinal)?;
                }
                at += 1;
            }
        }
        i += u32::from(a.0 <= b.0);
        j += u32::from(b.0 < a.0);
    }
    Ok(())
}
