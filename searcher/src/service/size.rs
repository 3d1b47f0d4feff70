//! Estimates the size of an answer before it is a message, so that an answer too large to send is
//! not searched to its end.

use ocelli_index::Value;
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;

use super::OpenIndex;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::root::Merged;

/// What the client of a search may ask for instead.
pub const SMALLER_HITS: &str = "fewer hits (k), or hits without keys and attributes";
/// What the client of a batch may ask for instead.
pub const SMALLER_BATCH: &str =
    "fewer queries at a time, fewer hits (k), or hits without keys and attributes";
/// What the client of `GetVectors` may ask for instead.
pub const SMALLER_IMAGES: &str = "the vectors of fewer images at a time";

/// The fewest bytes of a hit: one for its id, four for its score.
const HIT_BYTES: usize = 5;
/// The fewest bytes beside a key.
const KEY_BYTES: usize = 2;
/// The bytes of an attribute that is null.
const NULL_BYTES: usize = 2;
/// Bytes of a value's numbers and lengths beyond the fewest that it may have, at most.
pub const VALUE_SPARE_BYTES: usize = 12;

/// Checks an answer that has `bytes` bytes or more against the `limit` of messages.
///
/// # Errors
/// [`Code::OutOfRange`], whose message names what to ask for instead: `smaller`.
pub fn check(bytes: usize, limit: usize, smaller: &str) -> Result<()> {
    if bytes <= limit {
        return Ok(());
    }
    let message = format!(
        "the answer has {bytes} bytes or more; the limit is {limit} (max_message_bytes): ask for \
         {smaller}"
    );
    Err(Error::new(Code::OutOfRange, message).because(ErrorReason::AnswerTooLarge))
}

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

/// The least size of an attribute in a message, in bytes.
pub fn value_bytes(value: Option<&Value>) -> usize {
    NULL_BYTES
        + match value {
            None => 0,
            Some(Value::Int(_) | Value::Bool(_)) => 2,
            Some(Value::Float(_)) => 9,
            Some(Value::Text(text)) => 2 + text.len(),
            Some(Value::Bytes8(bytes)) => 2 + bytes.len(),
            Some(Value::Bytes32(bytes)) => 2 + bytes.len(),
        }
}
