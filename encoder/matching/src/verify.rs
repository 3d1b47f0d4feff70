//! The affine map that most matches agree on.
//!
//! Each match alone proposes a map: its two keypoints have a place, a scale and a direction, which
//! fix a similarity (Philbin, Chum, Isard, Sivic, Zisserman: "Object retrieval with large
//! vocabularies and fast spatial matching", CVPR 2007). So no choice is random, and the work is
//! linear in the proposals. The best ones are fitted to their inliers, again and again.

use std::collections::BTreeSet;
use std::f64::consts::TAU;

use crate::affine::{Affine, Pair};
use crate::features::{Features, Keypoint};
use crate::ratio::Match;

/// Matches that propose a map, at most: those of the smallest ratios.
const PROPOSALS: usize = 400;

/// Proposals that are fitted: those of the most inliers.
const FITTED: usize = 8;

/// A proposal takes inliers at so many times the tolerance: scale and direction of one keypoint are
/// coarse.
const COARSE: f64 = 4.0;

/// Fits of a proposal: the tolerance falls to its final value in these.
const FITS: [f64; 5] = [3.0, 2.0, 1.5, 1.0, 1.0];

/// Matches whose points are in one square of so many pixels to a side, in either picture, count
/// once: a place may have several directions and scales.
const SAME_PX: f64 = 3.0;

/// Settings of a verification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerifyOptions {
    /// Inliers at least.
    pub least: usize,
    /// Distance in pixels, in both pictures, that an inlier may have from its image.
    pub tolerance_px: f64,
    /// The most that the map may enlarge or shrink any direction.
    pub most_stretch: f64,
    /// The most that it may stretch one direction more than the one across.
    pub most_skew: f64,
}

impl Default for VerifyOptions {
    /// 8 inliers within 6 pixels, sizes from a fifth to five times, skews of up to 2.5.
    fn default() -> VerifyOptions {
        VerifyOptions { least: 8, tolerance_px: 6.0, most_stretch: 5.0, most_skew: 2.5 }
    }
}

/// A map between two pictures that enough matches agree on.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The map from the first picture to the second, in pixels.
    pub map: Affine,
    /// The matches that agree, in the order given.
    pub inliers: Vec<Match>,
    /// Different places among them, in whichever picture has fewer.
    pub places: usize,
}

impl VerifyOptions {
    /// Says whether two photos of one thing may differ by the map: it does not mirror, flatten, or
    /// stretch more than is allowed.
    #[must_use]
    pub fn is_sound(&self, map: &Affine) -> bool {
        let [longer, shorter] = map.stretch();
        map.is_finite()
            && map.determinant() > 0.0
            && longer <= self.most_stretch
            && shorter * self.most_stretch >= 1.0
            && longer <= self.most_skew * shorter
    }
}

/// The map that most of `matches` agree on, if [`VerifyOptions::least`] of them do at different
/// places. Equal inputs give equal results.
#[must_use]
pub fn verify(
    a: &Features,
    b: &Features,
    matches: &[Match],
    options: &VerifyOptions,
) -> Option<Verified> {
    if matches.len() < options.least.max(3) {
        return None;
    }
    let pairs: Vec<(Keypoint, Keypoint)> = matches
        .iter()
        .filter_map(|m| {
            let from = a.keypoints().get(m.from as usize)?;
            Some((*from, *b.keypoints().get(m.to as usize)?))
        })
        .collect();
    // A match that names no feature: these are not the features that were matched.
    if pairs.len() < matches.len() {
        return None;
    }
    let points: Vec<Pair> = pairs.iter().map(|(from, to)| pair(from, to)).collect();
    let mut order: Vec<usize> = (0..matches.len()).collect();
    order.sort_by(|&x, &y| {
        let ratio = |at: usize| matches.get(at).map_or(1.0, |m| m.ratio);
        ratio(x).total_cmp(&ratio(y)).then(x.cmp(&y))
    });
    order.truncate(PROPOSALS);
    let coarse = VerifyOptions { tolerance_px: COARSE * options.tolerance_px, ..*options };
    let mut proposals: Vec<(usize, Affine)> = order
        .iter()
        .filter_map(|&at| pairs.get(at))
        .map(|(from, to)| proposal(from, to))
        .filter(|map| options.is_sound(map))
        .map(|map| (inliers(&map, &points, &coarse).len(), map))
        .filter(|(count, _)| *count >= options.least.max(3))
        .collect();
    // Stable: of equal ones that of the better match.
    proposals.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    proposals.truncate(FITTED);
    let fitted = proposals.iter().filter_map(|(_, map)| fitted(map, &points, options));
    let mut best: Option<(usize, Affine, Vec<usize>)> = None;
    for (map, agree) in fitted {
        let count = places(&points, &agree);
        if best.as_ref().is_none_or(|(most, ..)| count > *most) {
            best = Some((count, map, agree));
        }
    }
    let (places, map, agree) = best.filter(|(count, ..)| *count >= options.least)?;
    let inliers = agree.iter().filter_map(|&at| matches.get(at).copied()).collect();
    Some(Verified { map, inliers, places })
}

fn pair(from: &Keypoint, to: &Keypoint) -> Pair {
    Pair { from: from.at.map(f64::from), to: to.at.map(f64::from) }
}

/// The similarity that takes one keypoint to the other, with scale and direction.
fn proposal(from: &Keypoint, to: &Keypoint) -> Affine {
    let scale = f64::from(to.scale) / f64::from(from.scale);
    let angle = (f64::from(to.angle) - f64::from(from.angle)).rem_euclid(TAU);
    let points = pair(from, to);
    Affine::similarity(scale, angle, points.from, points.to)
}

/// Places of the pairs that are one after the map, within the tolerance in both pictures. None
/// where the map has no way back.
fn inliers(map: &Affine, points: &[Pair], options: &VerifyOptions) -> Vec<usize> {
    let Some(back) = map.inverse() else { return Vec::new() };
    let within = |[x, y]: [f64; 2], [u, v]: [f64; 2]| {
        let (x, y) = (x - u, y - v);
        x * x + y * y <= options.tolerance_px * options.tolerance_px
    };
    let agree = |pair: &Pair| {
        within(map.apply(pair.from), pair.to) && within(back.apply(pair.to), pair.from)
    };
    points.iter().enumerate().filter(|(_, pair)| agree(pair)).map(|(at, _)| at).collect()
}

/// A proposal fitted to its inliers, with those that it has in the end; None where they do not tell
/// a sound map.
fn fitted(map: &Affine, points: &[Pair], options: &VerifyOptions) -> Option<(Affine, Vec<usize>)> {
    let tolerance =
        |times: f64| VerifyOptions { tolerance_px: times * options.tolerance_px, ..*options };
    let mut map = *map;
    let mut agree = inliers(&map, points, &tolerance(COARSE));
    for times in FITS {
        let chosen: Vec<Pair> = agree.iter().filter_map(|&at| points.get(at).copied()).collect();
        map = Affine::fit(&chosen).filter(|map| options.is_sound(map))?;
        agree = inliers(&map, points, &tolerance(times));
    }
    Some((map, agree))
}

/// The number of different places of some pairs, in the picture that has fewer.
fn places(points: &[Pair], chosen: &[usize]) -> usize {
    let square = |[x, y]: [f64; 2]| [(x / SAME_PX) as i64, (y / SAME_PX) as i64];
    let chosen = || chosen.iter().filter_map(|&at| points.get(at));
    let from: BTreeSet<[i64; 2]> = chosen().map(|pair| square(pair.from)).collect();
    let to: BTreeSet<[i64; 2]> = chosen().map(|pair| square(pair.to)).collect();
    from.len().min(to.len())
}
