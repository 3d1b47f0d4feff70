//! Thresholds for a wanted precision, from what a calibration has measured.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, Result};

/// The precision that is wanted where nobody says another one.
pub const DEFAULT_PRECISION: f64 = 0.99;

/// Precision by threshold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Calibrated {
    points: Vec<Measured>,
}

/// The precision of the pairs of at least one score.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Measured {
    /// The score.
    pub threshold: f32,
    /// Share of right pairs, 0 to 1.
    pub precision: f64,
}

impl Calibrated {
    /// A calibration of measured points.
    pub fn new(points: Vec<Measured>) -> Self {
        Self { points }
    }

    /// The file that `ocelli dedup calibrate --format json` printed.
    ///
    /// # Errors
    /// A file that cannot be read, or is none of these.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::File {
            path: path.to_owned(),
            what: format!("expected what `ocelli dedup calibrate --format json` prints: {e}"),
        })
    }

    /// The smallest threshold of at least this precision.
    ///
    /// # Errors
    /// A precision that is no share; one that no threshold has, with the best that one has.
    pub fn threshold(&self, precision: f64) -> Result<f32> {
        if !(precision > 0.0 && precision <= 1.0) {
            return Err(Error::Invalid(format!(
                "precision: expected a share above 0 and at most 1, found {precision}"
            )));
        }
        let enough = self.points.iter().filter(|point| point.precision >= precision);
        enough.map(|point| point.threshold).min_by(f32::total_cmp).ok_or_else(|| {
            let best = self.points.iter().map(|point| point.precision).fold(0.0, f64::max);
            Error::Invalid(format!(
                "precision {precision}: no threshold has it by the calibration, whose best is \
                 {best:.4}; expected that or less, or --threshold"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_threshold_that_is_precise_enough() {
        let point = |threshold, precision| Measured { threshold, precision };
        let found = Calibrated::new(vec![point(0.9, 1.0), point(0.8, 0.99), point(0.7, 0.5)]);
        assert_eq!(found.threshold(0.99).unwrap(), 0.8);
        assert_eq!(found.threshold(0.995).unwrap(), 0.9);
        assert_eq!(found.threshold(0.1).unwrap(), 0.7);
        let less = Calibrated::new(vec![point(0.7, 0.5)]);
        let error = less.threshold(0.9).unwrap_err().to_string();
        assert!(error.contains("precision 0.9") && error.contains("0.5000"), "{error}");
        for wrong in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(found.threshold(wrong).is_err());
        }
    }
}
