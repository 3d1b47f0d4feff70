//! Decoded pixels to the pictures that a network sees: resized, cut and turned.
//!
//! Order of the steps, which is part of what a descriptor means:
//!
//! 1. [`decode`](crate::decode()) the stored pixels to 8-bit RGB;
//! 2. resize so that the longest side is S, once for each size ([`resize`](crate::resize));
//! 3. cut out the box, scaled like the image ([`geometry`]);
//! 4. rotate and mirror as EXIF says, or as the caller says instead ([`Rotation`]).
//!
//! (Steps 2 and 3 change places as [`ViewOptions::crop_first`] says.)
//!
//! Boxes are therefore always in stored pixels, whatever the orientation, and the part that is cut
//! out saw the same antialiasing as the same part of the whole image. (Gordo et al., "End-to-end
//! Learning of Deep Visual Representations for Image Retrieval", 2017, resize and crop queries in
//! this order.) ICC profiles are not applied.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use ocelli_index::{CropFirst, ResizeFilter};

use crate::decode::Decoded;
use crate::geometry::{self, PixelBox};
use crate::image_error::ImageError;
use crate::limits::{DEFAULT_MAX_PIXELS, DEFAULT_MIN_SIDE_PX};
use crate::resize::Resizer;

/// How stored pixels become views.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewOptions {
    /// Longest sides in pixels; one view each. Empty: one view of the stored size.
    pub sizes: Vec<u32>,
    /// Antialiased resampling filter.
    pub filter: ResizeFilter,
    /// Whether images smaller than a size are enlarged to it.
    pub upscale: bool,
    /// Whether the EXIF orientation is applied.
    pub exif: bool,
    /// Whether, and how, a box is cut out before the image is resized.
    pub crop_first: CropFirst,
    /// Width times height of the largest image that is decoded.
    pub max_pixels: u64,
    /// Shortest side in stored pixels of an image that is taken.
    pub min_side: u32,
}

impl Default for ViewOptions {
    /// One view of the stored size, upright, with the default limits.
    fn default() -> ViewOptions {
        ViewOptions {
            sizes: Vec::new(),
            filter: ResizeFilter::Bilinear,
            upscale: true,
            exif: true,
            crop_first: CropFirst::No,
            max_pixels: DEFAULT_MAX_PIXELS,
            min_side: DEFAULT_MIN_SIDE_PX,
        }
    }
}

/// A turn clockwise that makes one photo upright, in place of its EXIF orientation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// By 90 degrees: the left edge becomes the top.
    Quarter,
    /// By 180 degrees.
    Half,
    /// By 270 degrees: the right edge becomes the top.
    ThreeQuarters,
}

impl Rotation {
    /// The turn by 90, 180 or 270 degrees; None for any other number.
    #[must_use]
    pub fn of_degrees(degrees: i64) -> Option<Rotation> {
        match degrees {
            90 => Some(Rotation::Quarter),
            180 => Some(Rotation::Half),
            270 => Some(Rotation::ThreeQuarters),
            _ => None,
        }
    }

    /// The turn in degrees: 90, 180 or 270.
    #[must_use]
    pub fn degrees(self) -> u16 {
        match self {
            Rotation::Quarter => 90,
            Rotation::Half => 180,
            Rotation::ThreeQuarters => 270,
        }
    }

    /// Gives `photo` this turn in place of its EXIF orientation. Returns `options` with
    /// [`ViewOptions::exif`] set: [`views`] under them are turned, even where EXIF orientations
    /// are not applied.
    #[must_use]
    pub fn replace_exif(self, photo: &mut Decoded, options: &ViewOptions) -> ViewOptions {
        photo.orientation = match self {
            Rotation::Quarter => Orientation::Rotate90,
            Rotation::Half => Orientation::Rotate180,
            Rotation::ThreeQuarters => Orientation::Rotate270,
        };
        ViewOptions { exif: true, ..options.clone() }
    }
}

/// Makes the views of a decoded image: one for each of `sizes`, in that order.
///
/// # Errors
/// [`ImageError::TooSmall`]; [`ImageError::Box`] if the box is not a rectangle or has no pixel
/// inside the image.
pub fn views(
    decoded: &Decoded,
    bbox: Option<&PixelBox>,
    sizes: &[u32],
    options: &ViewOptions,
    resizer: &mut Resizer,
) -> Result<Vec<RgbImage>, ImageError> {
    let (width, height) = decoded.pixels.dimensions();
    if width.min(height) < options.min_side {
        return Err(ImageError::TooSmall { width, height, min_side: options.min_side });
    }
    // With the crop first, what is cut out takes the image's place.
    let cut = match bbox {
        Some(bbox) if options.crop_first != CropFirst::No => Some(decoded.part(bbox)?.pixels),
        _ => None,
    };
    let bbox = if cut.is_some() { None } else { bbox };
    let pixels = cut.as_ref().unwrap_or(&decoded.pixels);
    let stored = pixels.dimensions();
    let targets: Vec<Option<u32>> =
        if sizes.is_empty() { vec![None] } else { sizes.iter().copied().map(Some).collect() };
    targets
        .into_iter()
        .map(|longest_px| {
            // Of what is cut out, where it has the scale of the photo.
            let longest_px = match (longest_px, &cut, options.crop_first) {
                (Some(px), Some(_), CropFirst::PhotoScale) => {
                    Some(geometry::share(decoded.pixels.dimensions(), stored, px))
                }
                (longest_px, ..) => longest_px,
            };
            let scale = geometry::scale(stored, longest_px, options.upscale);
            let size = geometry::resized(stored, longest_px, options.upscale);
            let crop = bbox.map(|b| b.scaled(stored, scale, size)).transpose()?;
            let mut view = resizer.resize(pixels, size, options.filter)?;
            if let Some(c) = crop {
                view = image::imageops::crop_imm(&view, c.x, c.y, c.width, c.height).to_image();
            }
            Ok(if options.exif { upright(view, decoded.orientation) } else { view })
        })
        .collect()
}

/// The image turned and mirrored as `orientation` says.
pub(crate) fn upright(image: RgbImage, orientation: Orientation) -> RgbImage {
    let mut image = DynamicImage::ImageRgb8(image);
    image.apply_orientation(orientation);
    image.into_rgb8()
}
