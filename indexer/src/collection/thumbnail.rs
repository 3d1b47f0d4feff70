//! Small pictures of the photos of a collection.

use std::io::Read as _;
use std::path::Path;

use ocelli_index::foreign::open_regular;
use ocelli_pictures::limits::{DEFAULT_MAX_PIXELS, MAX_FILE_BYTES};
use ocelli_pictures::{Resizer, decode, thumbnail as small};

/// Longest side of a thumbnail in pixels.
pub const THUMBNAIL_PX: u32 = 240;

/// A small JPEG file of the photo at `path`, upright, its longest side [`THUMBNAIL_PX`] at most.
///
/// # Errors
/// Why there is none, for people.
pub fn thumbnail(path: &Path) -> Result<Vec<u8>, String> {
    let file = open_regular(path).map_err(|e| format!("cannot read: {e}"))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("cannot read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("a file of more than {MAX_FILE_BYTES} bytes"));
    }
    of_bytes(&bytes)
}

/// As [`thumbnail`], of a file's bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let photo = decode(bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())?;
    small::jpeg(&photo, THUMBNAIL_PX, &mut Resizer::new()).map_err(|e| e.to_string())
}
