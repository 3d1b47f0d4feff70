//! Image files to 8-bit RGB, by content and within limits.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::ImageError as CrateError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::{ImageError, jpeg};

/// Bytes of a file's start that [`sniff`] looks at.
pub const SNIFF_BYTES: usize = 32;

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
    let found = match image::guess_format(start) {
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

/// Decodes an image file to 8-bit RGB.
///
/// Grey becomes three equal channels, 16-bit samples are rounded to 8, palettes are looked up, CMYK
/// (JPEG: inverted, as Adobe stores it) is multiplied out without a profile, transparency is laid
/// over white, and of an animation the first frame is taken. The number of pixels is held against
/// `max_pixels` before anything is allocated for them.
///
/// # Errors
/// Any [`ImageError`] but `Box` and `Resize`. A panic inside a decoder is `Undecodable` as well: one
/// odd file must not end a job over a million.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded, ImageError> {
    let format = sniff(bytes)?;
    let name = format_name(format);
    catch_unwind(AssertUnwindSafe(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, max_pixels),
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
    Ok(())
}

fn decode_other(bytes: &[u8], format: ImageFormat, max_pixels: u64) -> Result<Decoded, ImageError> {
    let name = format_name(format);
    let refuse = |e: CrateError| refusal(name, &e);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // Decoders may hold the pixels twice while they convert: 16 bytes a pixel is RGBA in 16 bits,
    // twice.
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(16).max(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    check_pixels(name, width, height, max_pixels)?;
    // An unreadable EXIF block is no reason to lose the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let pixels = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    Ok(Decoded { pixels: over_white(pixels), orientation })
}

/// Drops the alpha channel by composition over white: c a + 255 (1 - a), rounded.
fn over_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(from[3]);
        for channel in 0..3 {
            // At most 255 * 255 + 127; the quotient is at most 255.
            let sum = u32::from(from[channel]) * alpha + 255 * (255 - alpha) + 127;
            to[channel] = (sum / 255) as u8;
        }
    }
    rgb
}

/// The decoder's error in our words. Decoders say "unexpected end" in several ways.
fn refusal(format: &'static str, error: &CrateError) -> ImageError {
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
