//! JPEG, strictly.
//!
//! The `image` crate decodes JPEG leniently: what is missing at the end of a file becomes grey
//! pixels without an error, and a grey half is a wrong descriptor that nobody sees. Hence this
//! direct use of the same decoder in its strict mode, after a walk over the file's segments that
//! finds where the image ends.

use image::RgbImage;
use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::ImageError;
use super::decode::{Decoded, check_pixels, one_line};

const FORMAT: &str = "JPEG";

/// Decodes a JPEG file (baseline or progressive; grey, YCbCr, RGB, CMYK, YCCK) to RGB.
///
/// # Errors
/// [`ImageError::TooManyPixels`], [`ImageError::Truncated`], [`ImageError::Undecodable`].
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let undecodable = |e: zune_jpeg::errors::DecodeErrors| ImageError::Undecodable {
        format: FORMAT,
        what: one_line(&e.to_string()),
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let headers = decoder.decode_headers();
    // A file cut inside its headers has no end either, and that is the better reason.
    let end = end_of_image(bytes);
    if let (Err(_), End::Missing) = (&headers, end) {
        return Err(truncated());
    }
    headers.map_err(undecodable)?;
    let (width, height) = decoder.dimensions().unwrap_or((0, 0));
    // The format itself stops at 65,535 a side.
    let (width, height) = (width as u32, height as u32);
    check_pixels(FORMAT, width, height, max_pixels)?;
    if end == End::Missing {
        return Err(truncated());
    }
    let orientation = decoder
        .exif()
        .and_then(|chunk| Orientation::from_exif_chunk(chunk))
        .unwrap_or(Orientation::NoTransforms);
    let rgb = decoder.decode().map_err(undecodable)?;
    let found = rgb.len();
    let pixels = RgbImage::from_raw(width, height, rgb).ok_or_else(|| ImageError::Undecodable {
        format: FORMAT,
        what: format!("expected {width} x {height} x 3 samples, found {found}"),
    })?;
    Ok(Decoded { pixels, orientation })
}

fn truncated() -> ImageError {
    ImageError::Truncated {
        format: FORMAT,
        what: "the file ends before the end-of-image marker".to_owned(),
    }
}

/// Whether the file's first image has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The end-of-image marker was reached through the segments.
    Found,
    /// The bytes ran out first.
    Missing,
}

/// Walks segment by segment, skipping their contents (a thumbnail inside EXIF has an end-of-image
/// marker of its own), and over entropy-coded data, to the end-of-image marker. Whatever follows it
/// (a second picture, padding) does not matter.
fn end_of_image(bytes: &[u8]) -> End {
    let mut at = 2; // behind the start-of-image marker
    loop {
        // The next marker: entropy-coded data and fill bytes are skipped alike.
        let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff))
        else {
            return End::Missing;
        };
        at += found + 1;
        match bytes.get(at).copied() {
            None => return End::Missing,
            // A stuffed 0xff of the data, or a restart marker, or a marker without a length.
            Some(0x00 | 0x01 | 0xd0..=0xd8) => at += 1,
            // A fill byte: the marker's code is still to come.
            Some(0xff) => {}
            Some(0xd9) => return End::Found,
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(length) => at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return End::Missing,
            },
        }
    }
}
