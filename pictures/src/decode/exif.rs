//! What EXIF says of a photo.

use image::metadata::Orientation;

use super::captured::Captured;
use super::ifd::Ifd;

/// Facts in an EXIF block: how the photo wants to be turned, and when it was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exif {
    pub orientation: Orientation,
    pub captured: Option<Captured>,
}

impl Exif {
    /// The facts in a block; none where it cannot be read, which is no reason to lose the image.
    /// The block begins with the TIFF header, or with "Exif" and two zeros before it.
    pub fn read(block: Option<&[u8]>) -> Self {
        let tiff = block.map(|block| block.strip_prefix(b"Exif\0\0").unwrap_or(block));
        match tiff.and_then(Ifd::first) {
            Some(ifd) => Self::of(&ifd),
            None => Self { orientation: Orientation::NoTransforms, captured: None },
        }
    }

    /// The facts in the directories of a file.
    pub fn of(ifd: &Ifd<'_>) -> Self {
        Self { orientation: ifd.orientation(), captured: Captured::read(ifd) }
    }
}
