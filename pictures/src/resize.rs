//! Antialiased resampling of 8-bit RGB.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions};
use image::RgbImage;
use ocelli_index::ResizeFilter;

use crate::image_error::ImageError;

/// Resamples images; keeps its buffers between calls, so each thread has one of its own.
///
/// Convolution whose support grows with the reduction (antialiased), in 8-bit fixed point,
/// horizontal then vertical: the arithmetic of Pillow's `Image.resize`, on which published networks
/// were trained and evaluated. One value in some thousands differs from Pillow's, by one level.
#[derive(Default)]
pub struct Resizer {
    inner: fast_image_resize::Resizer,
}

impl Resizer {
    /// A resizer with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Resizes `source` to `size` (width, height) pixels; equal sizes are copied.
    ///
    /// # Errors
    /// [`ImageError::Resize`] if the resampler refuses the sizes.
    pub fn resize(
        &mut self,
        source: &RgbImage,
        size: (u32, u32),
        filter: ResizeFilter,
    ) -> Result<RgbImage, ImageError> {
        let (width, height) = size;
        let (stored_width, stored_height) = source.dimensions();
        if (stored_width, stored_height) == size {
            return Ok(source.clone());
        }
        if width == stored_width || height == stored_height {
            return self.pass(source, size, filter);
        }
        // Asked for both at once the resampler goes down the columns first, since that is a little
        // faster. What is rounded in between is then not what Pillow rounds: an eighth of all
        // values would differ.
        let rows = self.pass(source, (width, stored_height), filter)?;
        self.pass(&rows, size, filter)
    }

    fn pass(
        &mut self,
        source: &RgbImage,
        size: (u32, u32),
        filter: ResizeFilter,
    ) -> Result<RgbImage, ImageError> {
        let (width, height) = size;
        let failed = |what: String| ImageError::Resize { width, height, what };
        let mut target = RgbImage::new(width, height);
        // Typed: images of any type would bring the code of all thirteen, a minute of compiling.
        let from =
            TypedImageRef::<U8x3>::from_buffer(source.width(), source.height(), source.as_raw())
                .map_err(|e| failed(e.to_string()))?;
        let mut to = TypedImage::<U8x3>::from_buffer(width, height, &mut target)
            .map_err(|e| failed(e.to_string()))?;
        let kind = match filter {
            ResizeFilter::Bilinear => FilterType::Bilinear,
            ResizeFilter::CatmullRom => FilterType::CatmullRom,
            ResizeFilter::Lanczos3 => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kind));
        self.inner
            .resize_typed(&from, &mut to, Some(&options))
            .map_err(|e| failed(e.to_string()))?;
        Ok(target)
    }
}
