//! Commands for the life of an index, one module each.

pub mod backup;
pub mod recall;
pub mod restore;
pub mod verify;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC by the clock of this machine; 0 if it is before that.
fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    time.map_or(0, |time| time.as_millis() as u64)
}
