//! Guesses of the map between two pictures, from their features.

use std::f32::consts::{PI, TAU};

use super::features::{DIMS, Feature};
use super::transform::{Pair, Transform};

/// A match is kept if its distance is below this share of that to the next feature elsewhere.
const RATIO: f32 = 0.87;
/// Features nearer than this, in units of their scale, are at one place.
const SAME_PLACE: f32 = 2.0;
/// Most matches that are looked at.
const MOST: usize = 160;
/// How far a match may be off a map to agree with it, as a share of the longest side.
const WIDE: f32 = 0.04;
/// And in pixels, when the map has been fitted.
const NARROW_PX: f32 = 4.0;
/// Differences of scale (octaves) and of angle (radians) of matches of one map.
const OCTAVES: f32 = 0.7;
const RADIANS: f32 = 0.45;
/// Matches that a guess needs.
const LEAST: usize = 3;

/// A feature of one picture and that of the other which is most like it.
struct Match<'a> {
    a: &'a Feature,
    b: &'a Feature,
    ratio: f32,
}

/// The maps from `a` to `b` that most matches share, at most `most`, the best first. `longest` is
/// the longest side of the second picture.
pub(super) fn guesses(a: &[Feature], b: &[Feature], longest: f32, most: usize) -> Vec<Transform> {
    let mut matches = matches(a, b);
    matches.sort_by(|x, y| x.ratio.total_cmp(&y.ratio));
    matches.truncate(MOST);
    let mut left: Vec<bool> = vec![true; matches.len()];
    let maps: Vec<Transform> = matches.iter().map(of_match).collect();
    let mut votes: Vec<(usize, usize)> = maps
        .iter()
        .enumerate()
        .map(|(i, map)| (agreeing(&matches, i, map, longest).count(), i))
        .collect();
    // Equal numbers: the match of the lower ratio first.
    votes.sort_by_key(|&(count, i)| (std::cmp::Reverse(count), i));
    let mut guesses = Vec::new();
    for (count, i) in votes {
        if count < LEAST || guesses.len() == most {
            break;
        }
        if !left[i] {
            continue;
        }
        let inliers: Vec<usize> = agreeing(&matches, i, &maps[i], longest).collect();
        for &j in &inliers {
            left[j] = false;
        }
        let pairs: Vec<Pair> = inliers.iter().map(|&j| matches[j].pair()).collect();
        guesses.push(refined(&maps[i], &pairs));
    }
    guesses
}

impl Match<'_> {
    fn pair(&self) -> Pair {
        Pair { from: self.a.at, to: self.b.at, weight: 1.0 }
    }
}

/// For each feature of `a` its nearest of `b`, where that is clearly the nearest.
fn matches<'a>(a: &'a [Feature], b: &'a [Feature]) -> Vec<Match<'a>> {
    let lengths: Vec<i32> = b.iter().map(|f| dot(&f.descriptor, &f.descriptor)).collect();
    let mut distances = vec![0i32; b.len()];
    let mut found = Vec::new();
    for feature in a {
        let own = dot(&feature.descriptor, &feature.descriptor);
        let mut best = 0;
        for (place, other) in b.iter().enumerate() {
            let product = dot(&feature.descriptor, &other.descriptor);
            distances[place] = own + lengths[place] - 2 * product;
            if distances[place] < distances[best] {
                best = place;
            }
        }
        let Some(nearest) = b.get(best) else { continue };
        let elsewhere = |other: &Feature| {
            let off = (other.at[0] - nearest.at[0]).hypot(other.at[1] - nearest.at[1]);
            off > SAME_PLACE * nearest.scale.max(other.scale)
        };
        let mut next = i32::MAX;
        for (other, &distance) in b.iter().zip(&distances) {
            if distance < next && elsewhere(other) {
                next = distance;
            }
        }
        let ratio = (distances[best].max(0) as f32 / next.max(1) as f32).sqrt();
        if ratio < RATIO {
            found.push(Match { a: feature, b: nearest, ratio });
        }
    }
    found
}

fn dot(a: &[u8; DIMS], b: &[u8; DIMS]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// The map of one match: its scales, angles and places tell all of it.
fn of_match(found: &Match<'_>) -> Transform {
    let (a, b) = (found.a, found.b);
    Transform::similarity(b.scale / a.scale, b.angle - a.angle, a.at, b.at)
}

/// The matches that agree with the map of match `i`.
fn agreeing<'a>(
    matches: &'a [Match<'_>],
    i: usize,
    map: &'a Transform,
    longest: f32,
) -> impl Iterator<Item = usize> + 'a {
    let turn = |m: &Match<'_>| m.b.angle - m.a.angle;
    let octaves = |m: &Match<'_>| (m.b.scale / m.a.scale).log2();
    let (angle, octave) = (turn(&matches[i]), octaves(&matches[i]));
    let scale = octave.exp2();
    // Of a much smaller picture inside another less is allowed.
    let wide = WIDE * longest * scale.clamp(0.4, 1.0);
    matches.iter().enumerate().filter_map(move |(j, other)| {
        let to = map.apply(other.a.at);
        let near = (to[0] - other.b.at[0]).hypot(to[1] - other.b.at[1]) <= wide;
        let turned = (turn(other) - angle + PI).rem_euclid(TAU) - PI;
        (near && turned.abs() <= RADIANS && (octaves(other) - octave).abs() <= OCTAVES).then_some(j)
    })
}

/// The map fitted to the matches, in steps that allow less and less.
fn refined(first: &Transform, pairs: &[Pair]) -> Transform {
    let mut map = *first;
    let scale = first.stretch()[0];
    for (step, pixels) in [3.0, 2.0, 1.0, 1.0].into_iter().enumerate() {
        let limit = NARROW_PX * pixels * scale.max(1.0);
        let near = |pair: &&Pair| {
            let to = map.apply(pair.from);
            step == 0 || (to[0] - pair.to[0]).hypot(to[1] - pair.to[1]) <= limit
        };
        let near: Vec<Pair> = pairs.iter().filter(near).copied().collect();
        if near.len() < LEAST {
            break;
        }
        // Few points say little of a shear.
        let fitted = if step >= 2 && near.len() >= 8 {
            Transform::fit(&near)
        } else {
            Transform::fit_similarity(&near)
        };
        let Some(fitted) = fitted.filter(sound) else { break };
        map = fitted;
    }
    map
}

/// Whether a map is what edits of pictures do: neither flattened nor larger than all that is seen.
pub(super) fn sound(map: &Transform) -> bool {
    let [long, short] = map.stretch();
    map.determinant() > 0.0 && short > 0.06 && long < 16.0 && long / short < 2.0
}
