//! Why an image is refused.

use crate::geometry::BoxError;

/// Why an image was refused. The text is what `rejected.jsonl` and the service's clients read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file has no bytes.
    #[error("empty file")]
    Empty,
    /// The first bytes are those of no supported format.
    #[error("not an image: {found}; expected JPEG, PNG, WebP, GIF, BMP or TIFF (by content)")]
    NotAnImage {
        /// The kind of file that the first bytes suggest.
        found: String,
    },
    /// The header declares more pixels than the limit. Nothing was decoded.
    #[error("{width} x {height} pixels, the limit is {max_pixels} in all")]
    TooManyPixels {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Largest allowed product of the two.
        max_pixels: u64,
    },
    /// A side is longer than any that is decoded. Nothing was decoded.
    #[error("{width} x {height} pixels, the limit is {} a side", crate::limits::MAX_SIDE_PX)]
    TooLong {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
    },
    /// The samples would take more memory than those of a plain image of the largest size. Nothing
    /// was decoded.
    #[error(
        "{width} x {height} pixels take {bytes} bytes decoded, the limit is {max_bytes} (four for \
         each of max_pixels)"
    )]
    TooManyBytes {
        /// Declared width in pixels.
        width: u32,
        /// Declared height in pixels.
        height: u32,
        /// Bytes that the pixels would take.
        bytes: u64,
        /// Bytes that pixels may take.
        max_bytes: u64,
    },
    /// The image is too small to say anything.
    #[error(
        "{width} x {height} pixels, expected at least {min_side} a side (--min-side, min_side)"
    )]
    TooSmall {
        /// Stored width in pixels.
        width: u32,
        /// Stored height in pixels.
        height: u32,
        /// Shortest side that is taken.
        min_side: u32,
    },
    /// The file ends before the image does.
    #[error("truncated {format}: {what}")]
    Truncated {
        /// Name of the format.
        format: &'static str,
        /// The part that is missing.
        what: String,
    },
    /// The decoder gave up.
    #[error("undecodable {format}: {what}")]
    Undecodable {
        /// Name of the format.
        format: &'static str,
        /// The decoder's reason, one line.
        what: String,
    },
    /// The box is not a rectangle, or lies outside the image.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// Resampling failed.
    #[error("cannot resize to {width} x {height} pixels: {what}")]
    Resize {
        /// Width asked for, in pixels.
        width: u32,
        /// Height asked for, in pixels.
        height: u32,
        /// The resampler's reason.
        what: String,
    },
}
