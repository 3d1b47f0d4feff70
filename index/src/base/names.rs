//! The rules for the names of an image: its id and its key.

use crate::base::error::{Error, Result};

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;

/// Refuses an id of 2⁶³ or more.
///
/// # Errors
/// [`Error::Invalid`] with the id.
pub fn check_id(id: u64) -> Result<()> {
    if id >> 63 == 0 {
        Ok(())
    } else {
        Err(Error::invalid(format!("id {id}: expected an id below 2^63")))
    }
}

/// Refuses a key of more than [`MAX_KEY_BYTES`].
///
/// # Errors
/// [`Error::Invalid`] with the key's length and its first characters.
pub fn check_key(key: &str) -> Result<()> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(format!(
            "key has {} bytes, expected at most {MAX_KEY_BYTES}: {}…",
            key.len(),
            key.chars().take(40).collect::<String>()
        )));
    }
    Ok(())
}
