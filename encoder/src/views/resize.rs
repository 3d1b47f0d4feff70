//! Antialiased resampling of 8-bit RGB.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions};
use image::RgbImage;
use ocelli_index::ResizeFilter;

use super::ImageError;

/// Resamples images; keeps its buffers between calls, so each thread has one of its own.
///
/// Convolution whose support grows with the reduction (antialiased), in 8-bit fixed point, horizontal
/// then vertical: the arithmetic of Pillow's `Image.resize`, to within a level.
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
        if source.dimensions() == size {
            return Ok(source.clone());
        }
        let (width, height) = size;
        let failed = |what: String| ImageError::Resize { width, height, what };
        let mut target = RgbImage::new(width, height);
        let from = ImageRef::new(source.width(), source.height(), source.as_raw(), PixelType::U8x3)
            .map_err(|e| failed(e.to_string()))?;
        let mut to = Image::from_slice_u8(width, height, &mut target, PixelType::U8x3)
            .map_err(|e| failed(e.to_string()))?;
        let kind = match filter {
            ResizeFilter::Bilinear => FilterType::Bilinear,
            ResizeFilter::CatmullRom => FilterType::CatmullRom,
            ResizeFilter::Lanczos3 => FilterType::Lanczos3,
        };
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(kind));
        self.inner.resize(&from, &mut to, Some(&options)).map_err(|e| failed(e.to_string()))?;
        Ok(target)
    }
}
