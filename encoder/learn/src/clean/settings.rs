//! Everything that decides the result of a cleaning.

use clap::ValueEnum;
use ocelli_matching::{FeatureOptions, VerifyOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the matching: they decide the record of a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchSettings {
    /// Longest side in pixels of the pictures that are matched; smaller photos stay as they are.
    pub size_px: u32,
    /// Features of a photo, at most.
    pub keypoints: usize,
    /// Distance of the first neighbour over that of the second, at most.
    pub ratio: f32,
    /// Matches at different places that must agree on the map of a pair.
    pub min_inliers: usize,
    /// Distance in pixels of the pictures that an inlier may have.
    pub tolerance_px: f64,
    /// Pairs of a class that are compared, at most; but each photo is compared with at least 20
    /// others, or all.
    pub max_pairs: usize,
}

impl Default for MatchSettings {
    /// 640 pixels, 1,500 features, ratio 0.8, 8 inliers within 6 pixels, 20,000 pairs.
    fn default() -> MatchSettings {
        MatchSettings {
            size_px: 640,
            keypoints: 1500,
            ratio: 0.8,
            min_inliers: 8,
            tolerance_px: 6.0,
            max_pairs: 20_000,
        }
    }
}

/// Sizes that pictures may be matched at, in pixels.
const SIZES: std::ops::RangeInclusive<u32> = 64..=ocelli_matching::features::MAX_SIDE_PX;

impl MatchSettings {
    /// Refuses values that no class can be matched with.
    ///
    /// # Errors
    /// `Invalid`, with the flag.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::invalid(what));
        if !SIZES.contains(&self.size_px) {
            let (least, most) = (SIZES.start(), SIZES.end());
            return refuse(format!("--size: expected {least} to {most}, found {}", self.size_px));
        }
        if !(3..=100_000).contains(&self.keypoints) {
            return refuse(format!("--keypoints: expected 3 to 100000, found {}", self.keypoints));
        }
        if !(self.ratio > 0.0 && self.ratio <= 1.0) {
            return refuse(format!("--ratio: expected above 0, at most 1, found {}", self.ratio));
        }
        if !(4..=self.keypoints).contains(&self.min_inliers) {
            return refuse(format!(
                "--min-inliers: expected 4 to the {} of --keypoints, found {}",
                self.keypoints, self.min_inliers
            ));
        }
        if !(self.tolerance_px > 0.0 && self.tolerance_px <= 100.0) {
            return refuse(format!(
                "--tolerance: expected above 0, at most 100, found {}",
                self.tolerance_px
            ));
        }
        if self.max_pairs == 0 {
            return refuse("--max-pairs: expected at least 1, found 0".to_owned());
        }
        Ok(())
    }

    /// Settings of the features.
    #[must_use]
    pub fn features(&self) -> FeatureOptions {
        FeatureOptions { most: self.keypoints, ..FeatureOptions::default() }
    }

    /// Settings of the verification.
    #[must_use]
    pub fn verify(&self) -> VerifyOptions {
        VerifyOptions {
            least: self.min_inliers,
            tolerance_px: self.tolerance_px,
            ..VerifyOptions::default()
        }
    }
}

/// The connected components of a class that stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Components {
    /// The largest: photos that show the thing that most photos show.
    #[default]
    Largest,
    /// All that are large enough, as one class.
    All,
}

/// Settings of what stays: they decide the list that is made of the records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeepSettings {
    /// The components that stay.
    pub components: Components,
    /// Photos of a component that stays, at least; copies by their bytes count once.
    pub min_photos: usize,
    /// Says whether boxes are written.
    pub boxes: bool,
    /// The share of its width and height by which a box grows on each side before it is cut to the
    /// photo.
    pub box_margin: f64,
}

impl KeepSettings {
    /// Refuses a margin that is no share.
    ///
    /// # Errors
    /// `Invalid`, with the flag.
    pub fn check(&self) -> Result<()> {
        if (0.0..=2.0).contains(&self.box_margin) {
            return Ok(());
        }
        let found = self.box_margin;
        Err(Error::invalid(format!("--box-margin: expected 0 to 2, found {found}")))
    }
}

impl Default for KeepSettings {
    /// The largest component, from 3 photos on, with boxes that grow by 0.15 on each side.
    fn default() -> KeepSettings {
        KeepSettings {
            components: Components::Largest,
            min_photos: 3,
            boxes: true,
            box_margin: 0.15,
        }
    }
}
