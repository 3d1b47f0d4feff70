//! Rows of two shards that have an id or a key in common.

use roaring::RoaringBitmap;

use super::WithDeleted;
use crate::base::error::{Error, Result};
use crate::base::hash::Hash;
use crate::shard::Shard;

/// A lookup of a row costs so many steps of a pass over the rows.
const LOOKUP_STEPS: u64 = 32;

/// What two rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    Id,
    Key,
}

/// Hands out each pair of rows that are not deleted, one of `new` and one of `old`, that have an id
/// or a key in common: the ordinals in `new` and in `old`.
///
/// # Errors
/// [`Error::Corrupt`]; those of `take`.
pub(crate) fn in_both(
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

/// Pairs of rows whose keys are compared together.
const PAIRS: usize = 1 << 17;

/// Hands out the ordinals of the rows of two shards with one key.
///
/// Rows whose keys have one hash lie anywhere in both shards. So many pairs are collected, and
/// their keys are read in the order of the rows of one shard, then of the other.
fn same_keys(
    one: &Shard,
    other: &Shard,
    mut take: impl FnMut(u32, u32) -> Result<()>,
) -> Result<()> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < one.keyed() && j < other.keyed() {
        let (a, b) = (one.key_at(i)?, other.key_at(j)?);
        if a.0 == b.0 {
            // Several keys may have one hash: all of the other's are looked at.
            let mut at = j;
            while at < other.keyed() && other.key_at(at)?.0 == a.0 {
                pairs.push((a.1, other.key_at(at)?.1));
                at += 1;
            }
            if pairs.len() >= PAIRS {
                compare(one, other, &mut pairs, &mut take)?;
            }
        }
        i += u32::from(a.0 <= b.0);
        j += u32::from(b.0 < a.0);
    }
    compare(one, other, &mut pairs, &mut take)
}

/// Hands out those of the pairs that have one key, and leaves none.
fn compare(
    one: &Shard,
    other: &Shard,
    pairs: &mut Vec<(u32, u32)>,
    take: &mut impl FnMut(u32, u32) -> Result<()>,
) -> Result<()> {
    pairs.sort_unstable();
    let mut by_other = Vec::with_capacity(pairs.len());
    for &(row, of_other) in pairs.iter() {
        by_other.push((of_other, row, Hash::of(one.key(row)?.as_bytes())));
    }
    pairs.clear();
    by_other.sort_unstable_by_key(|&(of_other, row, _)| (of_other, row));
    for (of_other, row, key) in by_other {
        if Hash::of(other.key(of_other)?.as_bytes()) == key {
            take(row, of_other)?;
        }
    }
    Ok(())
}
