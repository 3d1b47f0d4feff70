//! JPEG, strictly.
//!
//! Most decoders turn missing data into grey pixels without an error, and layouts that they do not
//! know into coloured noise. Both would give wrong descriptors without a warning. Therefore a walk
//! over the file ([`walk`]) finds out its [`layout`]. Then a decoder that is known to be right for
//! that layout gets a copy of the file in which it cannot overlook missing data. See
//! `docs/decisions/0019-two-jpeg-decoders.md`.

mod dc;
mod layout;
mod walk;

use image::RgbImage;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use self::layout::{Colour, Decoder};
use super::decoded::{Decoded, check_bytes, one_line};
use super::exif::Exif;
use crate::image_error::ImageError;

const FORMAT: &str = "JPEG";

/// Scans of a progressive file that are decoded. Each passes over all coefficients, so a small file
/// with thousands of them would keep a worker for minutes. Encoders write some ten.
const MAX_SCANS: usize = 64;

/// Decodes a JPEG file (sequential or progressive, Huffman coded, 8 bits; grey, YCbCr, RGB, CMYK,
/// YCCK) to RGB.
///
/// # Errors
/// [`ImageError::TooManyPixels`], [`ImageError::Truncated`], [`ImageError::Undecodable`].
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let walked = walk::walk(bytes, max_pixels)?;
    let layout = &walked.layout;
    // Both came from 16 bits.
    let (width, height) = (layout.frame.width as u32, layout.frame.height as u32);
    let decoder = layout.decoder()?;
    let rgb = match decoder {
        Decoder::Zune => with_zune(&walked.clean)?,
        Decoder::JpegDecoder => {
            // Beside the pixels it holds all samples, twice or with their coefficients.
            let held =
                u64::from(width) * u64::from(height) * 2 * layout.frame.components.len() as u64;
            check_bytes(width, height, held, max_pixels)?;
            with_jpeg_decoder(&walked.clean, layout.colour)?
        }
    };
    let found = rgb.len();
    let pixels = RgbImage::from_raw(width, height, rgb).ok_or_else(|| {
        undecodable(format!("expected {width} x {height} x 3 samples, found {found}"))
    })?;
    let Exif { orientation, captured } = Exif::read(walked.exif);
    Ok(Decoded { pixels, orientation, captured })
}

fn with_zune(clean: &[u8]) -> Result<Vec<u8>, ImageError> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_max_scans(MAX_SCANS)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(clean), options);
    decoder.decode().map_err(|e| {
        let what = one_line(&e.to_string());
        // The ones that stand behind the data.
        if what.contains("Bad Huffman Code 0xFFFF") { cut(&what) } else { undecodable(what) }
    })
}

fn with_jpeg_decoder(clean: &[u8], colour: Colour) -> Result<Vec<u8>, ImageError> {
    let mut decoder = jpeg_decoder::Decoder::new(clean);
    let samples = decoder.decode().map_err(|e| {
        let what = one_line(&e.to_string());
        if what.contains("failed to decode huffman code") { cut(&what) } else { undecodable(what) }
    })?;
    Ok(match colour {
        Colour::Grey => samples.into_iter().flat_map(|v| [v; 3]).collect(),
        Colour::YCbCr | Colour::Rgb => samples,
        // The decoder has inverted what Adobe stores inverted.
        Colour::Cmyk | Colour::Ycck => samples
            .chunks_exact(4)
            .flat_map(|ink| {
                let black = 255 - u32::from(ink[3]);
                // At most 255 * 255 + 127; the quotient is at most 255.
                [ink[0], ink[1], ink[2]].map(|v| (((255 - u32::from(v)) * black + 127) / 255) as u8)
            })
            .collect(),
    })
}

fn cut(what: &str) -> ImageError {
    let what = format!("the coded data end before the image does, or are damaged ({what})");
    ImageError::Truncated { format: FORMAT, what }
}

fn undecodable(what: impl Into<String>) -> ImageError {
    ImageError::Undecodable { format: FORMAT, what: what.into() }
}
