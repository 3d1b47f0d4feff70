//! Samples of any kind to 8-bit RGB, row by row, so that no second copy of an image is made.

use image::{DynamicImage, RgbImage};

/// The meaning of a fourth (or second) channel for the colours before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alpha {
    /// Colours are as they would be without transparency.
    Straight,
    /// Colours are multiplied by it already (TIFF: associated alpha).
    Premultiplied,
    /// Nothing: it is some other measurement.
    Ignored,
}

/// Appends a row of 8-bit samples, `channels` (1 to 4) of them interleaved, as RGB over white.
pub(super) fn append_rgb(rgb: &mut Vec<u8>, row: &[u8], channels: usize, alpha: Alpha) {
    match channels {
        1 => rgb.extend(row.iter().flat_map(|&v| [v; 3])),
        2 => rgb.extend(row.chunks_exact(2).flat_map(|p| [over_white(p[0], p[1], alpha); 3])),
        3 => rgb.extend_from_slice(row),
        _ => rgb.extend(
            row.chunks_exact(4)
                .flat_map(|p| [p[0], p[1], p[2]].map(|value| over_white(value, p[3], alpha))),
        ),
    }
}

/// A sample of 16 bits, rounded to 8.
pub(super) fn eight_bits(sample: u16) -> u8 {
    // 65,535 / 257 = 255.
    ((u32::from(sample) + 128) / 257) as u8
}

/// c a + 255 (1 - a), rounded.
fn over_white(value: u8, alpha: u8, kind: Alpha) -> u8 {
    match kind {
        // At most 255 * 255 + 127; the quotient is at most 255.
        Alpha::Straight => {
            let (value, alpha) = (u32::from(value), u32::from(alpha));
            ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        }
        Alpha::Premultiplied => value.saturating_add(255 - alpha),
        Alpha::Ignored => value,
    }
}

/// A decoded image as RGB over white.
pub(super) fn rgb_of(image: DynamicImage, alpha: Alpha) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let channels = usize::from(image.color().channel_count());
    let samples = width as usize * channels;
    let deep = match &image {
        DynamicImage::ImageRgb8(_) => return image.into_rgb8(),
        DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageRgba8(_) => false,
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => true,
        // Floating point, of which no format here gives more than its own conversion.
        _ if image.color().has_alpha() => {
            return rgb_of(DynamicImage::ImageRgba8(image.into_rgba8()), alpha);
        }
        _ => return image.into_rgb8(),
    };
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    if deep {
        let mut row = Vec::with_capacity(samples);
        for bytes in image.as_bytes().chunks_exact(2 * samples) {
            row.clear();
            row.extend(bytes.chunks_exact(2).map(|b| eight_bits(u16::from_ne_bytes([b[0], b[1]]))));
            append_rgb(&mut rgb, &row, channels, alpha);
        }
    } else {
        for row in image.as_bytes().chunks_exact(samples) {
            append_rgb(&mut rgb, row, channels, alpha);
        }
    }
    // As many samples as pixels were appended.
    RgbImage::from_raw(width, height, rgb).unwrap_or_else(|| image.into_rgb8())
}
