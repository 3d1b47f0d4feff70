//! Image files to 8-bit RGB, by content and within limits.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::ImageError as CrateError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::ifd::{Ifd, exif_orientation};
use super::pixels::{Alpha, rgb_of};
use super::{ImageError, jpeg, png, tiff};

/// Bytes of a file's start that [`sniff`] looks at.
pub const SNIFF_BYTES: usize = 32;

/// Longest side that is decoded, in pixels: that of a JPEG.
pub const MAX_SIDE: u32 = 65_535;

/// Bytes that a decoder may make, for each pixel of the limit on pixels: four channels of 8 bits.
const DECODED_BYTES_PER_PIXEL: u64 = 4;

/// Brands of the ISO base media files that hold photos in HEVC (ISO/IEC 23008-12, annex B).
const HEIC_BRANDS: [&[u8; 4]; 9] =
    [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1"];

/// Stored pixels and how they want to be turned.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Stored pixels, (height, width, 3) u8, sRGB as stored.
    pub pixels: RgbImage,
    /// What EXIF asks for; not yet applied.
    pub orientation: Orientation,
}

/// The format that the first bytes of a file show.
///
/// # Errors
/// [`ImageError::Empty`], [`ImageError::NotAnImage`].
pub fn sniff(start: &[u8]) -> Result<ImageFormat, ImageError> {
    if start.is_empty() {
        return Err(ImageError::Empty);
    }
    if let Some(codec) = photo_of_iso_media(start) {
        return Err(ImageError::NotAnImage { found: format!("it looks like {codec}") });
    }
    let found = match image::guess_format(start) {
        _ if Ifd::starts_big(start) => return Ok(ImageFormat::Tiff),
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Gif
            | ImageFormat::Bmp
            | ImageFormat::Tiff),
        ) => return Ok(format),
        Ok(other) => format!("it looks like {other:?}"),
        Err(_) => {
            let hex: Vec<String> = start.iter().take(4).map(|b| format!("{b:02x}")).collect();
            format!("it starts with the bytes {}", hex.join(" "))
        }
    };
    Err(ImageError::NotAnImage { found })
}

/// The codec of a photo in an ISO base media file, by the brands at its start. One of the general
/// brand `mif1` says behind it what it is.
fn photo_of_iso_media(start: &[u8]) -> Option<&'static str> {
    let brands = start.get(8..).filter(|_| start[4..8] == *b"ftyp")?;
    let named = |name: &[u8; 4]| brands.chunks_exact(4).any(|brand| brand == name);
    if named(b"avif") || named(b"avis") {
        return Some("AVIF");
    }
    HEIC_BRANDS.iter().any(|brand| named(brand)).then_some("HEIC")
}

/// Decodes an image file to 8-bit RGB.
///
/// Grey becomes three equal channels, 16-bit samples are rounded to 8, palettes are looked up, CMYK
/// (JPEG: inverted, as Adobe stores it) is multiplied out without a profile, transparency is laid
/// over white, and of an animation the first frame is taken. The number of pixels is held against
/// `max_pixels`, and the pixels against what the file can hold, before anything is allocated for
/// them.
///
/// # Errors
/// Any [`ImageError`] but `Box` and `Resize`. A panic inside a decoder is `Undecodable` as well:
/// one odd file must not end a job over a million.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let format = sniff(bytes)?;
    let name = format_name(format);
    catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, max_pixels),
        ImageFormat::Png => png::decode(bytes, max_pixels),
        ImageFormat::Tiff => tiff::decode(bytes, max_pixels),
        _ => decode_other(bytes, format, max_pixels),
    }))
    .unwrap_or_else(|_| {
        Err(ImageError::Undecodable { format: name, what: "the decoder panicked".to_owned() })
    })
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
    if width.max(height) > MAX_SIDE {
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

fn decode_other(bytes: &[u8], format: ImageFormat, max_pixels: u64) -> Result<Decoded, ImageError> {
    let name = format_name(format);
    let refuse = |e: CrateError| refusal(name, &e);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    // Decoders may hold the pixels twice while they convert.
    let max_bytes = max_pixels.saturating_mul(2 * DECODED_BYTES_PER_PIXEL);
    limits.max_alloc = Some(max_bytes.max(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    check_pixels(name, width, height, max_pixels)?;
    check_bytes(width, height, decoder.total_bytes(), max_pixels)?;
    // An unreadable EXIF block is no reason to lose the image.
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.map_or(Orientation::NoTransforms, |block| exif_orientation(&block));
    let pixels = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    Ok(Decoded { pixels: rgb_of(pixels, Alpha::Straight), orientation })
}

/// The decoder's error in our words. Decoders say "unexpected end" in several ways.
pub(super) fn refusal(format: &'static str, error: &CrateError) -> ImageError {
    let what = one_line(&error.to_string());
    let ended = matches!(error, CrateError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof)
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

fn format_name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}
