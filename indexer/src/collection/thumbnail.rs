//! Small pictures of the photos of a collection.

use std::path::Path;

use ocelli_pictures::{Resizer, thumbnail as small};

use crate::photo_file;

/// Longest side of a thumbnail in pixels.
pub const THUMBNAIL_PX: u32 = 240;

/// A small JPEG file of the photo at `path`, upright, its longest side [`THUMBNAIL_PX`] at most.
///
/// # Errors
/// Why there is none, for people.
pub fn thumbnail(path: &Path) -> Result<Vec<u8>, String> {
    let photo = photo_file::decoded(path)?;
    small::jpeg(&photo, THUMBNAIL_PX, &mut Resizer::new()).map_err(|e| e.to_string())
}
