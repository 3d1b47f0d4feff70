//! PNG, row by row: three bytes a pixel and a row or two, whatever the file's samples are.
//!
//! Profiles and texts are not read: a few kilobytes of them unpack to a gigabyte.

use std::io::Cursor;

use image::RgbImage;
use png::{BitDepth, DecodingError, InterlaceInfo, Limits, Transformations};

use super::decoded::{Decoded, check_pixels, one_line};
use super::exif::Exif;
use super::pixels::{Alpha, append_rgb, eight_bits};
use crate::image_error::ImageError;

const FORMAT: &str = "PNG";

/// Memory that chunks beside the image and the rows under work may take.
const OTHER_BYTES: usize = 16 << 20;

/// Bytes that one byte of deflated data unpacks to at most: 258 for a bit of length and a bit of
/// distance.
pub(super) const DEFLATE_AT_MOST: u64 = 1032;

/// Decodes a PNG file to RGB over white; of an animation the default picture.
///
/// # Errors
/// [`ImageError::TooManyPixels`], [`ImageError::Truncated`], [`ImageError::Undecodable`].
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let limits = Limits { bytes: OTHER_BYTES };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(|e| refusal(&e))?;
    let (width, height) = (header.width, header.height);
    check_pixels(FORMAT, width, height, max_pixels)?;
    let raw = header.raw_row_length() as u64 * u64::from(height);
    if raw > DEFLATE_AT_MOST.saturating_mul(bytes.len() as u64) {
        let what = format!(
            "{width} x {height} pixels are {raw} bytes, more than {} bytes can hold deflated",
            bytes.len()
        );
        return Err(ImageError::Truncated { format: FORMAT, what });
    }
    let mut reader = decoder.read_info().map_err(|e| refusal(&e))?;
    let Exif { orientation, captured } = Exif::read(reader.info().exif_metadata.as_deref());
    let (colour, depth) = reader.output_color_type();
    let channels = colour.samples();

    let size = width as usize * height as usize * 3;
    let mut rgb = Vec::with_capacity(size);
    let (mut eight, mut line) = (Vec::new(), Vec::new());
    while let Some(row) = reader.next_interlaced_row().map_err(|e| refusal(&e))? {
        let samples = match depth {
            BitDepth::Sixteen => {
                eight.clear();
                let pairs = row.data().chunks_exact(2);
                eight.extend(pairs.map(|b| eight_bits(u16::from_be_bytes([b[0], b[1]]))));
                eight.as_slice()
            }
            _ => row.data(),
        };
        match row.interlace() {
            InterlaceInfo::Null(_) => append_rgb(&mut rgb, samples, channels, Alpha::Straight),
            InterlaceInfo::Adam7(place) => {
                line.clear();
                append_rgb(&mut line, samples, channels, Alpha::Straight);
                rgb.resize(size, 0);
                png::expand_interlaced_row(&mut rgb, width as usize * 3, &line, place, 24);
            }
        }
    }
    let found = rgb.len();
    let pixels = RgbImage::from_raw(width, height, rgb).ok_or_else(|| ImageError::Truncated {
        format: FORMAT,
        what: format!("expected {size} samples, found {found}"),
    })?;
    Ok(Decoded { pixels, orientation, captured })
}

fn refusal(error: &DecodingError) -> ImageError {
    let what = one_line(&error.to_string());
    match error {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format: FORMAT, what }
        }
        _ => ImageError::Undecodable { format: FORMAT, what },
    }
}
