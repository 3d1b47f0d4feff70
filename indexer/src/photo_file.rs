//! Photos of a page: files that are read and decoded within limits.

use std::io::Read as _;
use std::path::Path;

use ocelli_index::foreign::open_regular;
use ocelli_pictures::limits::{DEFAULT_MAX_PIXELS, MAX_FILE_BYTES};
use ocelli_pictures::{Decoded, Preview, Previews, Resizer, decode};

/// The photo in the file at `path`, not turned yet.
///
/// # Errors
/// Why there is none, for people.
pub(crate) fn decoded(path: &Path) -> Result<Decoded, String> {
    let file = open_regular(path).map_err(|e| format!("cannot read: {e}"))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("cannot read: {e}"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("a file of more than {MAX_FILE_BYTES} bytes"));
    }
    decode(&bytes, DEFAULT_MAX_PIXELS).map_err(|e| e.to_string())
}

/// The preview of the photo at `path`, whose file had the hash `sha256`: one that was kept, or one
/// that is made now.
///
/// # Errors
/// Why there is none, for people.
pub(crate) fn preview(
    path: &Path,
    sha256: Option<[u8; 32]>,
    previews: Option<&Previews>,
) -> Result<Preview, String> {
    if let Some(kept) = previews.zip(sha256).and_then(|(previews, photo)| previews.get(photo)) {
        return Ok(kept);
    }
    Preview::of(&decoded(path)?, &mut Resizer::new()).map_err(|e| e.to_string())
}
