//! What is kept of a picture to compare it with others.

use super::features::{self, Feature};
use super::plane::Plane;
use crate::decode::Decoded;
use crate::image_error::ImageError;
use crate::preview::{self, Preview};
use crate::resize::Resizer;

/// Longest side of the grey picture in pixels. Nothing is enlarged.
pub const LONGEST_PX: u32 = preview::LONGEST_PX;

/// Standard deviation of the values (0 to 1) of a picture of usual contrast.
const USUAL_CONTRAST: f32 = 0.2;

/// A small grey picture and its local features: what [`agree`](super::agree()) compares. Made once
/// for each photo.
///
/// Takes at most 320 × 320 bytes of pixels and 400 features of 144 bytes, 160 KB; 4:3 photos take
/// 135 KB ([`Sketch::bytes`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    width: usize,
    height: usize,
    /// Pixels of the photo to one of the sketch, along a side.
    shrunk: f32,
    grey: Vec<u8>,
    features: Vec<Feature>,
}

impl Sketch {
    /// The sketch of a photo as it is seen, upright as EXIF says: that of its preview.
    ///
    /// # Errors
    /// [`ImageError::Resize`] if the photo has no pixel or the resampler refuses.
    pub fn of(photo: &Decoded, resizer: &mut Resizer) -> Result<Self, ImageError> {
        Self::of_preview(&Preview::of(photo, resizer)?)
    }

    /// The sketch of a photo by its preview.
    ///
    /// # Errors
    /// [`ImageError::Resize`] if the preview has no pixel, or a side of more than [`LONGEST_PX`].
    pub fn of_preview(preview: &Preview) -> Result<Self, ImageError> {
        let (width, height) = preview.picture.pixels.dimensions();
        let grey = |p: &[u8; 3]| {
            let [r, g, b] = p.map(u32::from);
            ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
        };
        let pixels = preview.picture.pixels.as_raw().as_chunks::<3>().0;
        let sketch = Self::of_grey(width, height, pixels.iter().map(grey).collect())?;
        Ok(Self { shrunk: preview.photo_px as f32 / width.max(height) as f32, ..sketch })
    }

    /// The sketch of a grey picture, row by row.
    ///
    /// # Errors
    /// [`ImageError::Resize`] if it has no pixel, another number of them than `width` × `height`,
    /// or a side of more than [`LONGEST_PX`].
    pub fn of_grey(width: u32, height: u32, grey: Vec<u8>) -> Result<Self, ImageError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels != grey.len() as u64 || width.max(height) > LONGEST_PX {
            let what = format!(
                "expected a grey picture of 1 to {LONGEST_PX} pixels a side, found {} bytes",
                grey.len()
            );
            return Err(ImageError::Resize { width, height, what });
        }
        let (width, height) = (width as usize, height as usize);
        let features = features::find(&Plane::of_grey(width, height, &grey));
        Ok(Self { width, height, shrunk: 1.0, grey, features })
    }

    /// The picture mirrored left to right.
    pub(super) fn mirrored(&self) -> Self {
        let grey = self.grey.chunks_exact(self.width).flat_map(|row| row.iter().rev());
        let grey = grey.copied().collect();
        let features = self.features.iter().map(|f| f.mirrored(self.width as f32)).collect();
        Self { grey, features, ..*self }
    }

    /// The grey picture; one of little contrast has more of it, up to three times.
    pub(super) fn plane(&self) -> Plane {
        let mut plane = Plane::of_grey(self.width, self.height, &self.grey);
        let gain = (USUAL_CONTRAST / plane.deviation().max(1e-3)).clamp(1.0, 3.0);
        plane.values.iter_mut().for_each(|value| *value *= gain);
        plane
    }

    /// Pixels of the photo to one of the sketch, along a side.
    pub(super) fn shrunk(&self) -> f32 {
        self.shrunk
    }

    pub(super) fn features(&self) -> &[Feature] {
        &self.features
    }

    /// Width and height of the grey picture in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width as u32, self.height as u32)
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.grey.capacity() + self.features.capacity() * size_of::<Feature>()
    }
}
