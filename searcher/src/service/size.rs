//! Estimates the size of an answer before it is a message, so that an answer too large to send is
//! not searched to its end.

use super::OpenIndex;
use crate::config::Config;
use crate::error::Result;
use crate::limit::{NULL_BYTES, SMALLER_BATCH, SMALLER_HITS, check, value_bytes};
use crate::options::Options;
use crate::root::Merged;

/// The fewest bytes of a hit: one for its id, four for its score.
const HIT_BYTES: usize = 5;
/// The fewest bytes beside a key.
const KEY_BYTES: usize = 2;

/// Checks the answers to `queries` queries before they are searched, by their least size. If
/// nothing excludes hits, each answer has k hits, or one for each row.
///
/// # Errors
/// As [`check`].
pub fn check_expected(
    queries: usize,
    options: &Options,
    index: &OpenIndex,
    limits: &Config,
) -> Result<()> {
    let search = &options.search;
    let all = search.nprobe >= index.nlist
        && options.filter.is_none()
        && options.threshold.is_none()
        && !search.allow_partial;
    if !all {
        return Ok(());
    }
    let hits = search.k.min(usize::try_from(index.rows).unwrap_or(usize::MAX));
    let key = if options.with_keys { KEY_BYTES } else { 0 };
    let hit = HIT_BYTES + key + options.attributes.len() * NULL_BYTES;
    let bytes = queries.saturating_mul(hits).saturating_mul(hit);
    let smaller = if queries > 1 { SMALLER_BATCH } else { SMALLER_HITS };
    check(bytes, limits.max_message_bytes, smaller)
}

/// The least size of `merged` in a message, in bytes.
pub fn at_least(merged: &Merged) -> usize {
    let keys = merged.keys.iter().map(|key| KEY_BYTES + key.len());
    let values = merged.attributes.iter().flatten().map(|value| value_bytes(value.as_ref()));
    merged.ids.len() * HIT_BYTES + keys.sum::<usize>() + values.sum::<usize>()
}
