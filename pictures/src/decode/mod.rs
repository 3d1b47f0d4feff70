//! Image files to 8-bit RGB, by content and within limits.

mod captured;
mod decoded;
mod exif;
mod ifd;
mod jpeg;
mod pixels;
mod png;
mod tiff;

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::ImageError as CrateError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::image_error::ImageError;
use crate::limits::DECODED_BYTES_PER_PIXEL;
pub use captured::Captured;
pub use decoded::Decoded;
use decoded::{check_bytes, check_pixels, refusal};
use exif::Exif;
use ifd::Ifd;
use pixels::{Alpha, rgb_of};

/// Bytes of a file's start that [`sniff`] looks at.
pub const SNIFF_BYTES: usize = 32;

/// Brands of the ISO base media files that hold photos in HEVC (ISO/IEC 23008-12, annex B).
const HEIC_BRANDS: [&[u8; 4]; 9] =
    [b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1"];

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
    let Exif { orientation, captured } = Exif::read(exif.as_deref());
    let pixels = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    Ok(Decoded { pixels: rgb_of(pixels, Alpha::Straight), orientation, captured })
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
