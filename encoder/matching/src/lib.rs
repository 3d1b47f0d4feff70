//! Local features of photos, and whether two photos show the same thing.
//!
//! SIFT (Lowe, IJCV 2004) of each photo, the ratio of first to second neighbour, and an affine map
//! that many matches agree on (Philbin, Chum, Isard, Sivic, Zisserman, CVPR 2007). This crate knows
//! no network, no file and no thread: pixels → features → matches → a verified map.
//!
//! | module | what it does |
//! |---|---|
//! | [`features`] | keypoints and descriptors of a picture |
//! | [`mod@ratio`] | matches of two sets of features, by the ratio test |
//! | [`affine`] | affine maps of the plane, and fits of them |
//! | [`mod@verify`] | the affine map that most matches agree on |
//!
//! # Example
//! A picture meets itself, and the map is the one that changes nothing:
//!
//! ```
//! use image::{Rgb, RgbImage};
//! use ocelli_matching::{Features, FeatureOptions, VerifyOptions, ratio, verify};
//!
//! let cell = |x: u32, y: u32| (x / 9 * 37 + y / 11 * 91 + (x / 9) * (y / 11) * 53) as u8;
//! let picture = RgbImage::from_fn(240, 180, |x, y| Rgb([cell(x, y); 3]));
//! let features = Features::of(&picture, &FeatureOptions::default())?;
//! let matches = ratio::matches(&features, &features, 0.8);
//! let found = verify(&features, &features, &matches, &VerifyOptions::default());
//! let verified = found.expect("a picture shows what it shows");
//! let [x, y] = verified.map.apply([100.0, 50.0]);
//! assert!((x - 100.0).abs() < 0.01 && (y - 50.0).abs() < 0.01);
//! # Ok::<(), ocelli_matching::FeatureError>(())
//! ```

#![forbid(unsafe_code)]

pub mod affine;
pub mod features;
pub mod ratio;
pub mod verify;

#[cfg(test)]
mod tests;

pub use affine::Affine;
pub use features::{FeatureError, FeatureOptions, Features, Keypoint};
pub use ratio::Match;
pub use verify::{Verified, VerifyOptions, verify};
