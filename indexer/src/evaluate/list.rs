//! List files that the encoder reads (`ocelli encode --list`).

use std::path::PathBuf;

use serde::Serialize;

use super::dataset::BoundingBox;
use crate::{Error, Result};

/// A line of a list file: a photo, as it is to be encoded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListLine {
    /// The file.
    pub path: PathBuf,
    /// The key of its descriptor.
    pub key: String,
    /// The part of the photo that is encoded; None: all of it.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bounding_box: Option<BoundingBox>,
    /// A turn in place of the one that EXIF says, in degrees clockwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate: Option<u16>,
}

/// The text of a list file, JSON lines.
///
/// # Errors
/// A path that is not UTF-8, which JSON cannot have.
pub fn list_text(lines: &[ListLine]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line)
            .map_err(|e| Error::Invalid(format!("{}: {e}", line.path.display())))?;
        text.push(b'\n');
    }
    Ok(text)
}
