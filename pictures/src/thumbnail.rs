//! Small JPEG files of photos, for people to look at.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use ocelli_index::ResizeFilter;

use crate::decode::Decoded;
use crate::geometry::resized;
use crate::image_error::ImageError;
use crate::resize::Resizer;
use crate::views::upright;

/// Quality of the JPEG, 1 to 100: no visible blocks at the size of a thumbnail.
const QUALITY: u8 = 85;

/// A JPEG file of the photo, upright as its EXIF block says, its longest side `longest_px` pixels
/// or less: nothing is enlarged.
///
/// ```
/// use image::RgbImage;
/// use image::metadata::Orientation;
/// use ocelli_pictures::{Decoded, Resizer, decode, thumbnail};
///
/// let pixels = RgbImage::new(400, 300);
/// let photo = Decoded { pixels, orientation: Orientation::Rotate90, captured: None };
/// let file = thumbnail::jpeg(&photo, 100, &mut Resizer::new())?;
/// assert_eq!(decode(&file, 10_000)?.pixels.dimensions(), (75, 100));
/// # Ok::<(), ocelli_pictures::ImageError>(())
/// ```
///
/// # Errors
/// [`ImageError::Resize`] if `longest_px` is 0 or the resampler or the JPEG encoder refuses.
pub fn jpeg(
    photo: &Decoded,
    longest_px: u32,
    resizer: &mut Resizer,
) -> Result<Vec<u8>, ImageError> {
    let (width, height) = resized(photo.pixels.dimensions(), Some(longest_px), false);
    let failed = |what: String| ImageError::Resize { width, height, what };
    if longest_px == 0 {
        return Err(failed("expected a longest side of at least 1 pixel".to_owned()));
    }
    let small = resizer.resize(&photo.pixels, (width, height), ResizeFilter::Bilinear)?;
    let upright: RgbImage = upright(small, photo.orientation);
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, QUALITY)
        .encode_image(&upright)
        .map_err(|e| failed(e.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use image::metadata::Orientation;

    use super::*;
    use crate::decode;

    /// Sizes keep the aspect, small photos stay small, and the colour is that of the photo.
    #[test]
    fn thumbnails_are_never_larger() {
        for (stored, expected) in [((400, 200), (64, 32)), ((40, 30), (40, 30))] {
            let pixels = RgbImage::from_pixel(stored.0, stored.1, Rgb([200, 40, 90]));
            let photo = Decoded { pixels, orientation: Orientation::NoTransforms, captured: None };
            let file = jpeg(&photo, 64, &mut Resizer::new()).unwrap();
            let found = decode(&file, 10_000).unwrap().pixels;
            assert_eq!(found.dimensions(), expected);
            let near = |(a, b): (&u8, &u8)| a.abs_diff(*b) < 5;
            assert!(found.get_pixel(9, 9).0.iter().zip(&[200, 40, 90]).all(near));
            assert!(jpeg(&photo, 0, &mut Resizer::new()).is_err());
        }
    }
}
