//! Precision and recall with intervals.

use serde::Serialize;

use super::labels::JudgedPair;
use crate::{Error, Result};

/// The 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Precision and recall at a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The threshold: the score of a judged pair.
    pub threshold: f32,
    /// Judged pairs of at least this score.
    pub judged: u64,
    /// Share of right ones among the pairs of at least this score.
    pub precision: f64,
    /// Wilson's 95 % interval of the precision.
    pub precision_interval: [f64; 2],
    /// Share of the right pairs that have at least this score.
    pub recall: f64,
    /// Wilson's 95 % interval of the recall.
    pub recall_interval: [f64; 2],
}

/// Result of [`calibrate`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Judged pairs.
    pub judged: u64,
    /// Right ones among them.
    pub right: u64,
    /// One point for each score that a judged pair has, the highest first.
    pub points: Vec<Point>,
    /// The wanted precision.
    pub wanted_precision: f64,
    /// The smallest threshold whose precision is at least the wanted one.
    pub threshold: Option<f32>,
    /// The smallest threshold whose precision is so in the whole of its interval.
    pub sure_threshold: Option<f32>,
}

/// Sums over pairs, each of which stands for `weight` pairs.
#[derive(Clone, Copy, Default)]
struct Sum {
    weight: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, weight: f64) {
        self.weight += weight;
        self.squares += weight * weight;
    }

    /// The number of pairs of equal weight that say as much (Kish, *Survey Sampling*, 1965).
    fn effective(self) -> f64 {
        if self.squares > 0.0 { self.weight * self.weight / self.squares } else { 0.0 }
    }
}

/// The interval of a share that was seen in `n` trials (Wilson, *Probable Inference, the Law of
/// Succession, and Statistical Inference*, 1927). All of 0 to 1 without a trial.
pub(super) fn wilson(share: f64, n: f64) -> [f64; 2] {
    if n <= 0.0 {
        return [0.0, 1.0];
    }
    let square = Z * Z;
    let middle = (share + square / (2.0 * n)) / (1.0 + square / n);
    let spread = (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let half = Z * spread / (1.0 + square / n);
    [(middle - half).max(0.0), (middle + half).min(1.0)]
}

/// Precision and recall at each score of the judged pairs, and the thresholds for a precision.
///
/// # Errors
/// [`Error::Invalid`] without a judged pair, and for a precision that is not above 0 and at most 1.
pub fn calibrate(judged: &[JudgedPair], wanted_precision: f64) -> Result<Calibration> {
    check_precision(wanted_precision)?;
    if judged.is_empty() {
        return Err(Error::Invalid(
            "calibration: expected pairs that are judged right or wrong, found none".to_owned(),
        ));
    }
    let mut by_score: Vec<(f32, &JudgedPair)> =
        judged.iter().filter_map(|pair| Some((pair.score?, pair))).collect();
    by_score.sort_by(|a, b| b.0.total_cmp(&a.0));
    let all_right: Sum =
        judged.iter().filter(|pair| pair.right).fold(Sum::default(), |mut s, p| {
            s.add(p.weight);
            s
        });
    let mut points = Vec::new();
    let (mut seen, mut right, mut count) = (Sum::default(), 0.0, 0);
    for group in by_score.chunk_by(|a, b| a.0 == b.0) {
        for (_, pair) in group {
            seen.add(pair.weight);
            right += if pair.right { pair.weight } else { 0.0 };
            count += 1;
        }
        let share = |part: f64, all: f64| if all > 0.0 { (part / all).min(1.0) } else { 0.0 };
        let (precision, recall) = (share(right, seen.weight), share(right, all_right.weight));
        points.push(Point {
            threshold: group[0].0,
            judged: count,
            precision,
            precision_interval: wilson(precision, seen.effective()),
            recall,
            recall_interval: wilson(recall, all_right.effective()),
        });
    }
    let smallest = |holds: &dyn Fn(&Point) -> bool| {
        points.iter().rev().find(|point| holds(point)).map(|point| point.threshold)
    };
    Ok(Calibration {
        judged: judged.len() as u64,
        right: judged.iter().filter(|pair| pair.right).count() as u64,
        wanted_precision,
        threshold: smallest(&|point| point.precision >= wanted_precision),
        sure_threshold: smallest(&|point| point.precision_interval[0] >= wanted_precision),
        points,
    })
}

fn check_precision(wanted: f64) -> Result<()> {
    match wanted > 0.0 && wanted <= 1.0 {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "precision: expected a share above 0 and at most 1, found {wanted}"
        ))),
    }
}
