//! Keypoints and descriptors of a picture.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::RgbImage;
use lowe_sift::{Feature, GrayImage, Sift, SiftConfig};

/// Numbers of a descriptor.
pub const DIM: usize = 128;

/// Longest side in pixels of a picture that is taken: the pyramid of a square one takes 1 GB.
pub const MAX_SIDE_PX: u32 = 2048;

/// Shortest side in pixels that can have a keypoint: the first octave has twice as many, and
/// keypoints keep away from its edges. Smaller pictures have no features.
pub const MIN_SIDE_PX: u32 = 16;

/// A component of a descriptor of length 1 times this, cut to 255, is its byte. The components of
/// real descriptors are below one half.
const SCALE: f32 = 510.0;

/// A place that can be found again in another photo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoint {
    /// Pixels from the upper left corner of the picture, x to the right, y down.
    pub at: [f32; 2],
    /// Radius in pixels: the sigma of the Gaussian that the place was found with.
    pub scale: f32,
    /// Direction of the gradient in radians from 0 to 2π, from x towards y.
    pub angle: f32,
}

/// Settings of the features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureOptions {
    /// Features of a picture, at most: those of the strongest response.
    pub most: usize,
    /// Least contrast of a keypoint: the response of the difference of Gaussians to values from 0
    /// to 1.
    pub contrast: f32,
}

impl Default for FeatureOptions {
    /// 1,500 features, and the contrast that OpenCV asks for.
    fn default() -> FeatureOptions {
        FeatureOptions { most: 1500, contrast: 0.04 / 3.0 }
    }
}

/// A picture that features cannot be computed of.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// The picture is too large.
    #[error("expected sides of at most {MAX_SIDE_PX} pixels, found {width} x {height}")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The contrast is no positive number.
    #[error("expected a contrast above 0, found {contrast}")]
    Contrast {
        /// The value that was given.
        contrast: f32,
    },
    /// The library of the features failed.
    #[error("the features of {width} x {height} pixels: {what}")]
    Failed {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The message of the library.
        what: String,
    },
}

/// The local features of a picture. Takes 144 bytes a feature.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    keypoints: Vec<Keypoint>,
    descriptors: Vec<[u8; DIM]>,
}

impl Features {
    /// The features of a picture, the strongest first. The descriptors are square roots of SIFT's,
    /// of length 1 (RootSIFT; Arandjelović, Zisserman, CVPR 2012), in bytes. A picture without
    /// texture, or with a side below [`MIN_SIDE_PX`], has none.
    ///
    /// # Errors
    /// [`FeatureError`]: a side above [`MAX_SIDE_PX`], a contrast that is not above 0, a failure of
    /// the library.
    pub fn of(picture: &RgbImage, options: &FeatureOptions) -> Result<Features, FeatureError> {
        Self::of_part(picture, options, |_| true)
    }

    /// As [`of`](Self::of), but only of the part whose places `keep` takes: the strongest of these.
    ///
    /// # Errors
    /// Those of [`of`](Self::of).
    pub fn of_part(
        picture: &RgbImage,
        options: &FeatureOptions,
        keep: impl Fn([f32; 2]) -> bool,
    ) -> Result<Features, FeatureError> {
        let (width, height) = picture.dimensions();
        if width.max(height) > MAX_SIDE_PX {
            return Err(FeatureError::TooLarge { width, height });
        }
        if width.min(height) < MIN_SIDE_PX {
            return Ok(Features::default());
        }
        let failed = |what: String| FeatureError::Failed { width, height, what };
        let contrast = options.contrast;
        let config = SiftConfig { contrast_threshold: contrast, ..SiftConfig::default() };
        let sift = Sift::new(config).map_err(|_| FeatureError::Contrast { contrast })?;
        let grey = GrayImage::new(width as usize, height as usize, grey(picture))
            .map_err(|e| failed(e.to_string()))?;
        // A library of others: if it panics, a photo has no features, and the job goes on.
        let mut found = catch_unwind(AssertUnwindSafe(|| sift.detect_and_compute(&grey)))
            .map_err(|panic| failed(ocelli_text::panic_text(panic.as_ref())))?;
        found.retain(|f| keep(Keypoint::of(&f.keypoint).at));
        Ok(Self::strongest(found, options.most))
    }

    /// Up to `most` features: the strongest, and of equal ones the first from the top.
    fn strongest(mut found: Vec<Feature>, most: usize) -> Features {
        found.retain(|f| {
            let k = &f.keypoint;
            [k.x, k.y, k.scale, k.angle, k.response].iter().all(|v| v.is_finite())
                && k.scale > 0.0
                && f.descriptor.as_slice().iter().all(|v| v.is_finite())
        });
        found.sort_by(|a, b| {
            let (a, b) = (&a.keypoint, &b.keypoint);
            let place = |k: &lowe_sift::Keypoint| [k.y, k.x, k.scale, k.angle];
            b.response.total_cmp(&a.response).then_with(|| {
                let pairs = place(a).into_iter().zip(place(b));
                pairs
                    .map(|(a, b)| a.total_cmp(&b))
                    .find(|o| o.is_ne())
                    .unwrap_or(a.x.total_cmp(&b.x))
            })
        });
        found.truncate(most);
        Features {
            keypoints: found.iter().map(|f| Keypoint::of(&f.keypoint)).collect(),
            descriptors: found.iter().map(|f| rooted(f.descriptor.as_slice())).collect(),
        }
    }

    /// Features at given places.
    #[cfg(test)]
    pub(crate) fn of_parts(keypoints: Vec<Keypoint>, descriptors: Vec<[u8; DIM]>) -> Features {
        Features { keypoints, descriptors }
    }

    /// The number of features.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keypoints.len()
    }

    /// Says whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keypoints.is_empty()
    }

    /// The places, the strongest first.
    #[must_use]
    pub fn keypoints(&self) -> &[Keypoint] {
        &self.keypoints
    }

    /// The descriptors, (n, 128): bytes of vectors of one length, in the order of the keypoints.
    #[must_use]
    pub fn descriptors(&self) -> &[[u8; DIM]] {
        &self.descriptors
    }
}

impl Keypoint {
    fn of(found: &lowe_sift::Keypoint) -> Keypoint {
        // The library counts from the centre of the first pixel.
        let at = [found.x + 0.5, found.y + 0.5];
        Keypoint { at, scale: found.scale, angle: found.angle }
    }
}

/// Luma of ITU-R BT.601, from 0 to 1, row by row.
fn grey(picture: &RgbImage) -> Vec<f32> {
    let luma = |&[r, g, b]: &[u8; 3]| {
        (0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b)) / 255.0
    };
    picture.as_raw().as_chunks::<3>().0.iter().map(luma).collect()
}

/// The bytes of the square roots of a descriptor whose components add up to 1.
fn rooted(values: &[f32; DIM]) -> [u8; DIM] {
    let sum = values.iter().sum::<f32>().max(1e-12);
    // A cast of a float to a byte cuts at 0 and 255.
    values.map(|value| ((value.max(0.0) / sum).sqrt() * SCALE).round() as u8)
}
