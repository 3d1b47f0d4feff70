//! What blocks of two pictures say when one lies on the other.

use super::block::Block;
use super::plane::Plane;

/// A block agrees if its correlation is at least this.
const AGREES: f32 = 0.7;
/// Gaussians by which the sharper picture is made as little sharp as the other: standard deviations
/// in pixels.
const BLURS: [f32; 6] = [0.7, 1.0, 1.4, 2.0, 2.8, 4.0];
/// Pictures whose roughness differs by less (of the logarithm) are equally sharp.
const EQUAL: f32 = 0.1;

/// What blocks say of a map.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// Blocks that lie in both pictures, and are not flat in both.
    pub blocks: usize,
    /// Blocks that agree.
    pub agreeing: usize,
    /// Mean correlation of those that agree.
    pub correlation: f32,
    /// How much less sharp one of the pictures is: the difference of the logarithms of roughness.
    pub blur: f32,
}

/// Compares a picture with what is `seen` of another in its frame (NaN: nothing), at the sharpness
/// of the less sharp of them.
pub(super) fn judge(frame: &Plane, seen: &Plane) -> Found {
    let [own, other] = [frame, seen].map(|plane| roughness(plane, seen));
    let blur = (own / other).ln().abs();
    let (sharp, least) = if own > other { (frame, other) } else { (seen, own) };
    let (mut best, mut gap) = (None, blur);
    for sigma in BLURS {
        if gap < EQUAL {
            break;
        }
        let blurred = sharp.blurred_inside(sigma);
        let left = (roughness(&blurred, seen) / least).ln().abs();
        if left >= gap {
            break;
        }
        (best, gap) = (Some(blurred), left);
    }
    let found = match &best {
        Some(blurred) if own > other => count(blurred, seen),
        Some(blurred) => count(frame, blurred),
        None => count(frame, seen),
    };
    Found { blur, ..found }
}

/// Counts the blocks that agree.
fn count(frame: &Plane, seen: &Plane) -> Found {
    let (mut found, mut sum) = (Found::default(), 0.0);
    for block in Block::all(frame) {
        let other = Block::of(seen, block.at);
        // NaN: a part of it is not in the other picture.
        if other.length.is_nan() || (block.is_flat() && other.is_flat()) {
            continue;
        }
        found.blocks += 1;
        let correlation = block.correlation(seen, block.at);
        if correlation >= AGREES {
            found.agreeing += 1;
            sum += correlation;
        }
    }
    found.correlation = if found.agreeing > 0 { sum / found.agreeing as f32 } else { 0.0 };
    found
}

/// Mean square of differences of neighbours, as a share of the variance, where `inside` has values.
fn roughness(plane: &Plane, inside: &Plane) -> f32 {
    let (mut steps, mut sum, mut square, mut count) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for y in 0..plane.height - 1 {
        let (row, below, mask) = (plane.row(y), plane.row(y + 1), inside.row(y));
        for x in 0..plane.width - 1 {
            let (value, right, down) = (row[x], row[x + 1], below[x]);
            let all = mask[x] + mask[x + 1] + inside.at(x, y + 1);
            if all.is_nan() {
                continue;
            }
            steps += f64::from((right - value).powi(2) + (down - value).powi(2));
            sum += f64::from(value);
            square += f64::from(value * value);
            count += 1.0;
        }
    }
    let variance = square / count.max(1.0) - (sum / count.max(1.0)).powi(2);
    (steps / count.max(1.0) / variance.max(1e-6)).max(1e-9) as f32
}
