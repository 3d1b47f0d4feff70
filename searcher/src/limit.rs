//! Limits of the size of answers.

use ocelli_index::Value;
use ocelli_proto::status::Code;
use ocelli_proto::v1::ErrorReason;

use crate::error::{Error, Result};

/// What the client of a search may ask for instead.
pub const SMALLER_HITS: &str = "fewer hits (k), or hits without keys and attributes";
/// What the client of a batch may ask for instead.
pub const SMALLER_BATCH: &str =
    "fewer queries at a time, fewer hits (k), or hits without keys and attributes";
/// What the client of `GetVectors` may ask for instead.
pub const SMALLER_IMAGES: &str = "the vectors of fewer images at a time";

/// The bytes of an attribute that is null.
pub const NULL_BYTES: usize = 2;
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

/// The room for the attributes of all hits of an answer. They are counted while they are read, so
/// that no more of them are ever in memory.
#[derive(Clone, Copy, Debug)]
pub enum Room {
    /// In a message of at most so many bytes; and what the client may ask for instead.
    Message(usize, &'static str),
    /// In so many bytes of memory, until they are sent in several messages.
    Memory(usize),
}

impl Room {
    /// The bytes that a value takes.
    pub fn bytes(self, value: Option<&Value>) -> usize {
        match (self, value) {
            (Room::Message(..), value) => value_bytes(value),
            (Room::Memory(_), Some(Value::Text(text))) => size_of::<Option<Value>>() + text.len(),
            (Room::Memory(_), _) => size_of::<Option<Value>>(),
        }
    }

    /// Checks the `bytes` of all values that were read so far.
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(self, bytes: usize) -> Result<()> {
        match self {
            Room::Message(limit, smaller) => check(bytes, limit, smaller),
            Room::Memory(limit) if bytes <= limit => Ok(()),
            Room::Memory(limit) => {
                let message = format!(
                    "the attributes of the hits have {bytes} bytes or more; the limit is {limit} \
                     (max_range_bytes): ask for fewer hits (k, score_threshold), or fewer \
                     attributes"
                );
                Err(Error::new(Code::OutOfRange, message).because(ErrorReason::AnswerTooLarge))
            }
        }
    }
}
