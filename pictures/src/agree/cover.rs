//! How the frames of two pictures lie to each other.

use super::block::{BLOCK, Block};
use super::plane::Plane;
use super::transform::Transform;

/// A block that varies less (standard deviation of values 0 to 1) shows nothing at all: the empty
/// corner of a picture that was turned, a border of one colour.
const EMPTY: f32 = 0.003;
/// Middles of blocks may lie so far outside, in pixels.
const NEAR: f32 = 4.0;
/// Steps from an edge at which values on both sides are compared, in pixels.
const STEP: f32 = 2.0;
/// Distance of the lines beside an edge with which it is compared, in pixels.
const BESIDE: f32 = 6.0;
/// Least difference across an edge that is seen, in values 0 to 1.
const LEAST: f32 = 0.01;

/// The share of a picture that lies in another of `size` pixels: of all blocks but the empty ones
/// outside. `map` takes points of the picture to the other.
pub(super) fn cover(picture: &Plane, map: &Transform, size: [f32; 2]) -> f32 {
    let (mut inside, mut outside) = (0usize, 0usize);
    for block in Block::all(picture) {
        let middle = block.at.map(|at| at as f32 + BLOCK as f32 / 2.0);
        if is_inside(map.apply(middle), size, -NEAR * map.determinant().abs().sqrt()) {
            inside += 1;
        } else if block.length >= EMPTY * BLOCK as f32 {
            outside += 1;
        }
    }
    inside as f32 / (inside + outside).max(1) as f32
}

fn is_inside([x, y]: [f32; 2], size: [f32; 2], margin: f32) -> bool {
    x >= margin && y >= margin && x <= size[0] - margin && y <= size[1] - margin
}

/// How much stronger than beside it the edge is that the frame of another picture of `size` pixels
/// makes in this one: 1 where the scene goes on behind it. `map` takes points of the other picture
/// to this one. 0 if the frame does not lie in this picture.
pub(super) fn framed(picture: &Plane, map: &Transform, size: [f32; 2]) -> f32 {
    let corners = [[0.0, 0.0], [size[0], 0.0], size, [0.0, size[1]]].map(|at| map.apply(at));
    let own = [picture.width as f32, picture.height as f32];
    let (mut across, mut beside) = (0.0f32, 0.0f32);
    for (from, to) in corners.into_iter().zip(corners.into_iter().cycle().skip(1)) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy).max(1e-3);
        let normal = [-dy / length, dx / length];
        let at = |share: f32, off: f32| {
            let [x, y] = [from[0] + share * dx, from[1] + share * dy];
            [x + off * normal[0], y + off * normal[1]]
        };
        let difference = |share: f32, off: f32| {
            let [a, b] = [off - STEP, off + STEP].map(|off| at(share, off));
            (picture.sample(a[0], a[1]) - picture.sample(b[0], b[1])).abs()
        };
        let steps = (length / 2.0) as usize;
        for step in 0..steps {
            let share = (step as f32 + 0.5) / steps as f32;
            if !is_inside(at(share, 0.0), own, BESIDE) {
                continue;
            }
            across += difference(share, 0.0).max(LEAST);
            beside += difference(share, BESIDE).max(difference(share, -BESIDE)).max(LEAST);
        }
    }
    if beside > 0.0 { across / beside } else { 0.0 }
}
