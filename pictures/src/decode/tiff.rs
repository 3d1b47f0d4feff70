//! TIFF: what the decoder below overlooks, mended or refused by name.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::tiff::TiffDecoder;
use image::{DynamicImage, ImageDecoder};

use super::decoded::{Decoded, check_bytes, check_pixels, refusal};
use super::exif::Exif;
use super::ifd::{Ifd, tag};
use super::pixels::{Alpha, rgb_of};
use crate::image_error::ImageError;

const FORMAT: &str = "TIFF";

/// Bytes that one byte of compressed data unpacks to at most, of the codecs that have a bound: LZW,
/// 4,096 bytes for 12 bits.
const COMPRESSED_AT_MOST: u64 = 2731;

/// Ways in which a file stores its samples, as numbers of the TIFF 6.0 specification.
mod code {
    pub const NONE: u64 = 1;
    pub const CCITT_RLE: u64 = 2;
    pub const GROUP_3: u64 = 3;
    pub const LZW: u64 = 5;
    pub const OLD_JPEG: u64 = 6;
    pub const JPEG: u64 = 7;
    pub const DEFLATE: [u64; 2] = [8, 32946];
    pub const PACK_BITS: u64 = 32773;

    pub const PALETTE: u64 = 3;
    pub const YCBCR: u64 = 6;
}

/// Decodes the first image of a TIFF or BigTIFF file to RGB over white.
///
/// # Errors
/// [`ImageError::TooManyPixels`], [`ImageError::TooManyBytes`], [`ImageError::Truncated`],
/// [`ImageError::Undecodable`].
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let unreadable = || ImageError::Truncated {
        format: FORMAT,
        what: "its directory lies outside of the file".to_owned(),
    };
    let ifd = Ifd::first(bytes).ok_or_else(unreadable)?;
    let side = |tag| ifd.value(tag).and_then(|px| u32::try_from(px).ok()).unwrap_or(0);
    let (width, height) = (side(tag::WIDTH), side(tag::HEIGHT));
    check_pixels(FORMAT, width, height, max_pixels)?;
    let layout = Layout::read(&ifd);
    layout.check(&ifd)?;
    layout.check_size(&ifd, width, height, max_pixels)?;

    let bytes = in_usual_order(bytes, &ifd, &layout);
    let refuse = |e: image::ImageError| refusal(FORMAT, &e);
    let mut decoder = TiffDecoder::new(Cursor::new(bytes.as_ref())).map_err(refuse)?;
    let mut limits = image::Limits::no_limits();
    limits.max_alloc = Some(layout.decoded_bytes(width, height).saturating_mul(2).max(64 << 20));
    decoder.set_limits(limits).map_err(refuse)?;
    let pixels = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    let Exif { orientation, captured } = Exif::of(&ifd);
    Ok(Decoded { pixels: rgb_of(pixels, layout.alpha), orientation, captured })
}

/// The layout of the samples, from the tags.
struct Layout {
    compression: u64,
    photometric: u64,
    samples: u64,
    bits: u64,
    reversed: bool,
    alpha: Alpha,
}

impl Layout {
    fn read(ifd: &Ifd<'_>) -> Layout {
        let or = |tag, default| ifd.value(tag).unwrap_or(default);
        let alpha = match ifd.value(tag::EXTRA_SAMPLES) {
            Some(1) => Alpha::Premultiplied,
            Some(2) => Alpha::Straight,
            // Unspecified data; other readers show the colours alone.
            _ => Alpha::Ignored,
        };
        Layout {
            compression: or(tag::COMPRESSION, code::NONE),
            photometric: or(tag::PHOTOMETRIC, 0),
            samples: or(tag::SAMPLES_PER_PIXEL, 1),
            bits: or(tag::BITS_PER_SAMPLE, 1),
            reversed: or(tag::FILL_ORDER, 1) == 2,
            alpha,
        }
    }

    /// Refuses by name what the decoder takes for something else.
    fn check(&self, ifd: &Ifd<'_>) -> Result<(), ImageError> {
        let compressed = self.compression;
        let feature = if compressed == code::OLD_JPEG {
            "compression 6 (the JPEG of TIFF before 1995)".to_owned()
        } else if self.photometric == code::PALETTE {
            "colours from a palette".to_owned()
        } else if self.photometric == code::YCBCR {
            "YCbCr colours".to_owned()
        } else if self.photometric > code::YCBCR {
            format!("colour model {} (PhotometricInterpretation)", self.photometric)
        } else if compressed == code::CCITT_RLE {
            "compression 2 (CCITT without line ends)".to_owned()
        } else if compressed == code::GROUP_3 && ifd.value(tag::T4_OPTIONS).unwrap_or(0) & 1 == 1 {
            "Group 3 in two dimensions".to_owned()
        } else if ifd.values(tag::BITS_PER_SAMPLE).iter().any(|&bits| bits != self.bits) {
            "samples of unequal numbers of bits".to_owned()
        } else if ifd.value(tag::PLANAR) == Some(2) && ifd.value(tag::TILE_BYTES).is_some() {
            "planes of their own for the colours, in tiles".to_owned()
        } else if self.samples == 2 {
            "grey with another channel".to_owned()
        } else if !matches!(self.bits, 1 | 8 | 16 | 32) || (self.bits == 32 && self.samples == 1) {
            format!("{} bits a sample", self.bits)
        } else {
            return Ok(());
        };
        Err(ImageError::Undecodable { format: FORMAT, what: format!("not supported: {feature}") })
    }

    /// Bytes that the decoder makes.
    fn decoded_bytes(&self, width: u32, height: u32) -> u64 {
        let bits = self.samples.saturating_mul(self.bits.max(8));
        (u64::from(width) * u64::from(height)).saturating_mul(bits.div_ceil(8))
    }

    /// Limits what is decoded, and holds it against what the file can hold.
    fn check_size(
        &self,
        ifd: &Ifd<'_>,
        width: u32,
        height: u32,
        max_pixels: u64,
    ) -> Result<(), ImageError> {
        check_bytes(width, height, self.decoded_bytes(width, height), max_pixels)?;
        let row =
            u64::from(width).saturating_mul(self.bits).saturating_mul(self.samples).div_ceil(8);
        let raw = row.saturating_mul(u64::from(height));
        let [strips, tiles] = [tag::STRIP_BYTES, tag::TILE_BYTES]
            .map(|tag| ifd.values(tag).into_iter().fold(0_u64, u64::saturating_add));
        let stored = strips.max(tiles);
        let most = match self.compression {
            code::NONE => stored,
            code::LZW | code::PACK_BITS => stored.saturating_mul(COMPRESSED_AT_MOST),
            c if code::DEFLATE.contains(&c) => stored.saturating_mul(super::png::DEFLATE_AT_MOST),
            _ => return Ok(()),
        };
        // Subsampled colours take half.
        if most < raw / 2 {
            let what = format!(
                "{width} x {height} pixels are {raw} bytes, more than {stored} stored bytes can \
                 hold"
            );
            return Err(ImageError::Truncated { format: FORMAT, what });
        }
        Ok(())
    }
}

/// The file with its data's bits in the usual order: FillOrder 2 stores the first pixel in a byte's
/// lowest bit, and the decoder does not look.
fn in_usual_order<'a>(bytes: &'a [u8], ifd: &Ifd<'_>, layout: &Layout) -> Cow<'a, [u8]> {
    if !layout.reversed || layout.compression == code::JPEG {
        return Cow::Borrowed(bytes);
    }
    let mut copy = bytes.to_vec();
    for (offsets, counts) in
        [(tag::STRIP_OFFSETS, tag::STRIP_BYTES), (tag::TILE_OFFSETS, tag::TILE_BYTES)]
    {
        for (offset, count) in ifd.values(offsets).into_iter().zip(ifd.values(counts)) {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let to = usize::try_from(offset.saturating_add(count)).unwrap_or(usize::MAX);
            if let Some(data) = copy.get_mut(from..to) {
                data.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
            }
        }
    }
    Cow::Owned(copy)
}
