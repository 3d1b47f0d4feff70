//! The result that every decoder makes, and the checks that each of them does.

use std::io;

use image::RgbImage;
use image::error::ImageError as CrateError;
use image::imageops::crop_imm;
use image::metadata::Orientation;

use super::captured::Captured;
use crate::geometry::{BoxError, PixelBox};
use crate::image_error::ImageError;
use crate::limits::{DECODED_BYTES_PER_PIXEL, MAX_SIDE_PX};

/// Stored pixels and how they want to be turned.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Stored pixels, (height, width, 3) u8, sRGB as stored.
    pub pixels: RgbImage,
    /// The orientation that EXIF asks for; not yet applied.
    pub orientation: Orientation,
    /// When EXIF says that the photo was taken.
    pub captured: Option<Captured>,
}

impl Decoded {
    /// The box of stored pixels that is the box `upright` after the turn that EXIF asks for.
    #[must_use]
    pub fn stored_box(&self, upright: PixelBox) -> PixelBox {
        let (width, height) = self.pixels.dimensions();
        let (width, height) = (f64::from(width), f64::from(height));
        // The stored place of the upright point (x, y).
        let stored = |x: f64, y: f64| match self.orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (width - x, y),
            Orientation::Rotate180 => (width - x, height - y),
            Orientation::FlipVertical => (x, height - y),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate90 => (y, height - x),
            Orientation::Rotate270FlipH => (width - y, height - x),
            Orientation::Rotate270 => (width - y, x),
        };
        let (ax, ay) = stored(upright.x0, upright.y0);
        let (bx, by) = stored(upright.x1, upright.y1);
        PixelBox { x0: ax.min(bx), y0: ay.min(by), x1: ax.max(bx), y1: ay.max(by) }
    }

    /// The part in a box of stored pixels, which takes memory of its own.
    ///
    /// # Errors
    /// A box that is no rectangle or lies outside.
    pub fn part(&self, bbox: &PixelBox) -> Result<Self, BoxError> {
        let stored = self.pixels.dimensions();
        let c = bbox.scaled(stored, 1.0, stored)?;
        let pixels = crop_imm(&self.pixels, c.x, c.y, c.width, c.height).to_image();
        Ok(Self { pixels, orientation: self.orientation, captured: self.captured })
    }
}

/// Refuses more pixels than allowed, and images without any.
pub(super) fn check_pixels(
    format: &'static str,
    width: u32,
    height: u32,
    max_pixels: u64,
) -> Result<(), ImageError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        let what = format!("{width} x {height} pixels");
        return Err(ImageError::Undecodable { format, what });
    }
    if pixels > max_pixels {
        return Err(ImageError::TooManyPixels { width, height, max_pixels });
    }
    if width.max(height) > MAX_SIDE_PX {
        return Err(ImageError::TooLong { width, height });
    }
    Ok(())
}

/// Refuses images whose samples take more memory than those of the largest plain one.
pub(super) fn check_bytes(
    width: u32,
    height: u32,
    bytes: u64,
    max_pixels: u64,
) -> Result<(), ImageError> {
    let max_bytes = max_pixels.saturating_mul(DECODED_BYTES_PER_PIXEL);
    if bytes > max_bytes {
        return Err(ImageError::TooManyBytes { width, height, bytes, max_bytes });
    }
    Ok(())
}

/// The decoder's error in our words. Decoders say "unexpected end" in several ways.
pub(super) fn refusal(format: &'static str, error: &CrateError) -> ImageError {
    let what = one_line(&error.to_string());
    let eof = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
    let ended = matches!(error, CrateError::IoError(e) if eof(e))
        || ["unexpected eof", "unexpected end", "end of file", "failed to fill"]
            .iter()
            .any(|sign| what.to_ascii_lowercase().contains(sign));
    if ended {
        ImageError::Truncated { format, what }
    } else {
        ImageError::Undecodable { format, what }
    }
}

/// The same text without line breaks.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
